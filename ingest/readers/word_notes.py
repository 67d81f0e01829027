"""Foot- and endnotes and comments of a Word document, and which of its headers and footers are seen.

Source: ISO/IEC 29500-1, 17.10 (headers and footers), 17.11 (footnotes and endnotes), 17.13.4 (comments).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ingest.readers.numerals import numeral
from ingest.readers.text import collapse
from ingest.readers.word_numbers import value

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_SEPARATORS = ("separator", "continuationSeparator", "continuationNotice")
_DELETED = (f"{_W}del", f"{_W}moveFrom")


class Notes:
    """The notes of a document by kind and id; each is written once, where it is first referred to."""

    def __init__(self, parts: "Mapping[str, Element]") -> None:
        self.notes = {
            (kind, note.get(f"{_W}id", "")): note
            for kind, root in parts.items()
            for note in root.iterchildren(f"{_W}{kind}")
            if note.get(f"{_W}type") not in _SEPARATORS
        }
        self.shown: dict[tuple[str, str], str] = {}

    def marks(self, body: "Element", settings: "Element | None") -> dict[tuple[str, str], str]:
        """The mark of each foot- and endnote, counted in the order of the text."""
        for kind, usual in (("footnote", "decimal"), ("endnote", "lowerRoman")):
            stated = [next(body.iter(f"{_W}{kind}Pr"), None)]
            stated += [settings.find(f"{_W}{kind}Pr")] if settings is not None else []
            form = next((form for about in stated if (form := value(about, "numFmt"))), usual)
            start = next((start for about in stated if (start := value(about, "numStart"))), "1")
            number = int(start) if start.isdecimal() and len(start) < 6 else 1
            for reference in body.iter(f"{_W}{kind}Reference"):
                key = (kind, reference.get(f"{_W}id", ""))
                own = reference.get(f"{_W}customMarkFollows", "0") not in ("0", "false", "off")
                if key in self.shown or any(parent.tag in _DELETED for parent in reference.iterancestors()):
                    continue
                self.shown[key] = "" if own else numeral(number, form)
                number += not own
        return self.shown

    def lines(self, key: tuple[str, str], read: "Callable[[Element], list[str]]") -> list[str]:
        """A note as a line that begins with its mark; nothing where there is none, or it was written before."""
        note = self.notes.pop(key, None)
        text = collapse("\n".join(read(note))) if note is not None else ""
        if note is None or not text:
            return []
        if key[0] != "comment":
            mark = self.shown.get(key, "")
            return [f"[{mark}] {text}" if mark else text]
        author = collapse(note.get(f"{_W}author", ""))
        return [f"[comment by {author}] {text}" if author else f"[comment] {text}"]

    def rest(self) -> list[str]:
        """The comments that are left: nothing in the text refers to them."""
        left = [note for (kind, _), note in self.notes.items() if kind == "comment"]
        texts = (collapse("\n".join(text.text or "" for text in note.iter(f"{_W}t"))) for note in left)
        return [f"[comment] {text}" for text in texts if text]


def margins(body: "Element", settings: "Element | None") -> tuple[list[str], list[str]]:
    """The ids of the relationships of the headers and of the footers that stand on some page, in their order."""
    both_sides = settings is not None and _is_on(settings, "evenAndOddHeaders")
    keys: tuple[list[str], list[str]] = ([], [])
    for section in body.iter(f"{_W}sectPr"):
        if any(parent.tag == f"{_W}sectPrChange" for parent in section.iterancestors()):
            continue
        for found, name in zip(keys, ("header", "footer"), strict=True):
            found += _references(section, name, both_sides)
    return keys


def _references(section: "Element", name: str, both_sides: bool) -> Iterator[str]:
    references = {each.get(f"{_W}type", "default"): each for each in section.iterfind(f"{_W}{name}Reference")}
    seen = {"first": _is_on(section, "titlePg"), "default": True, "even": both_sides}
    for kind in ("first", "default", "even"):
        if seen[kind] and kind in references:
            yield references[kind].get(f"{_R}id", "")


def _is_on(parent: "Element", name: str) -> bool:
    toggle = parent.find(_W + name)
    return toggle is not None and toggle.get(f"{_W}val", "1") not in ("0", "false", "off")
