"""The strings that the cells of an .xlsx share (ISO/IEC 29500-1, 18.4), and what of them nobody sees."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from ingest.readers.raised import raised
from ingest.readers.sheet_styles import Colours, is_struck, is_tiny
from ingest.readers.unseen import Colour

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

PARSING: dict[str, Any] = {
    "resolve_entities": False, "load_dtd": False, "no_network": True, "recover": True, "remove_comments": True,
    "remove_pis": True,
}  # fmt: skip


_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


@dataclass(frozen=True, slots=True)
class String:
    """What of a string is read, what is struck out in it, what is tiny, and whether runs have sizes of their own.

    `runs`, where one has a colour of its own: each text, whether it has one, and which, if that is known.
    """

    text: str
    struck: str = ""
    runs: tuple[tuple[str, bool, Colour | None], ...] = ()
    tiny: str = ""
    sized: bool = False


def string_of(item: "Element", colours: Colours) -> String:
    """A string, its runs joined; how it is pronounced is left out."""
    runs: list[tuple[str, bool, Colour | None]] = []
    struck: list[str] = []
    tiny: list[str] = []
    sized = False
    for text in item.iter("{*}t"):
        text.text = unescaped(text.text or "")
    for child in item:
        tag = str(child.tag).rpartition("}")[2]
        if tag == "t":
            runs.append((child.text or "", False, None))
        elif tag == "r":
            run = "".join(text.text or "" for text in child.iterchildren("{*}t"))
            style = child.find("{*}rPr")
            if style is not None and is_struck(style):
                struck.append(run)
                continue
            sized = sized or (style is not None and style.find("{*}sz") is not None)
            if style is not None and is_tiny(style):
                tiny.append(run)
                continue
            high = style is not None and style.find("{*}vertAlign[@val='superscript']") is not None
            written = raised("".join(text for text, *_ in runs), run) if high else run
            stated = style.find("{*}color") if style is not None else None
            runs.append((written, stated is not None, None if stated is None else colours.of(stated)))
    own = any(stated for _, stated, _ in runs)
    return String(
        "".join(text for text, *_ in runs), " ".join(struck), tuple(runs) if own else (), " ".join(tiny), sized
    )


def unescaped(text: str) -> str:
    r"""A string without the escapes of characters that XML cannot hold or would change (22.9.2.19).

    >>> unescaped("Tokyo_x000D_"), unescaped("_x005F_x0041_")
    ('Tokyo\r', '_x0041_')
    """
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def forget(element: "Element") -> None:
    """Give back the memory of an element and of those before it."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def strings(archive: ZipFile, members: dict[str, str], member: str, colours: Colours) -> list[String]:
    """The strings of a workbook in order; none where it has no such member."""
    import lxml.etree as etree

    found: list[String] = []
    if member in members:
        with archive.open(members[member]) as stream:
            for _, item in etree.iterparse(stream, tag="{*}si", **PARSING):
                found.append(string_of(item, colours))
                forget(item)
    return found
