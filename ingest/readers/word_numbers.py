"""The numbers and letters that Word puts before paragraphs by itself: `第四条`, `3.3`, `(a)`.

They stand nowhere in the text: `numbering.xml` says how each level of a list counts, and the place of a paragraph says
how far. Source: ISO/IEC 29500-1, 17.9 (numbering).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.readers.numerals import numeral
from ingest.readers.symbols import TICKED, UNTICKED, symbolic, unicode_of

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")
BULLET = "- "


@dataclass(frozen=True, slots=True)
class _Level:
    start: int
    form: str
    pattern: str  # of the form `custom`
    text: str
    gap: str
    legal: bool  # all numbers in it as digits
    restart: int | None  # 0: never; n: after a paragraph of level n or above, counted from 1; None: of any above


class _List:
    """A list of a document (`num`), its levels, and the counters that it shares with others of the same kind."""

    def __init__(self, levels: dict[int, _Level], starts: dict[int, int], counts: list[int | None]) -> None:
        self.levels = levels
        self.starts = starts  # where this list begins anew, by level
        self.counts = counts


class Numbers:
    """The lists of a document; `label` is to be asked for each numbered paragraph, in their order."""

    def __init__(self, numbering: "Element | None", styles: "Element") -> None:
        self._lists: dict[str, _List] = {}
        self._level_of_style: dict[tuple[str, str], int] = {}
        if numbering is not None:
            self._read(numbering, styles)

    def _read(self, numbering: "Element", styles: "Element") -> None:
        kinds = {kind.get(f"{_W}abstractNumId", ""): kind for kind in numbering.iterfind(f"{_W}abstractNum")}
        numbers = {number.get(f"{_W}numId", ""): number for number in numbering.iterfind(f"{_W}num")}
        linked = {
            style.get(f"{_W}styleId", ""): value(style.find(f"{_W}pPr/{_W}numPr"), "numId")
            for style in styles.iterfind(f"{_W}style")
            if style.get(f"{_W}type") == "numbering"
        }
        counts: dict[str, list[int | None]] = {}
        for key, number in numbers.items():
            kind = value(number, "abstractNumId")
            link = value(kinds.get(kind), "numStyleLink")
            if link and linked.get(link) in numbers:  # its levels are those of a numbering style
                kind = value(numbers[linked[link]], "abstractNumId")
            elements = {_int(level.get(f"{_W}ilvl"), 0): level for level in _levels_in(kinds.get(kind))}
            starts: dict[int, int] = {}
            for override in number.iterfind(f"{_W}lvlOverride"):
                place = _int(override.get(f"{_W}ilvl"), 0)
                level = override.find(f"{_W}lvl")
                if level is not None:
                    elements[place] = level
                if override.find(f"{_W}startOverride") is not None:
                    starts[place] = _int(value(override, "startOverride"), 0)
            for place, level in elements.items():
                if style := value(level, "pStyle"):
                    self._level_of_style[key, style] = place
            levels = {place: _level(level) for place, level in elements.items() if 0 <= place < _LEVELS}
            self._lists[key] = _List(levels, starts, counts.setdefault(kind, [None] * _LEVELS))

    def level_of(self, number: str, styles: Iterable[str]) -> int:
        """The level of a list that a paragraph style stands for, or the first of those that it is based on."""
        return next(
            (self._level_of_style[number, style] for style in styles if (number, style) in self._level_of_style), 0
        )

    def label(self, number: str, level: int) -> str:
        """What stands before the next paragraph of this level of a list, with the gap behind it; empty for nothing."""
        found = self._lists.get(number)
        here = found.levels.get(level) if found else None
        if found is None or here is None:
            return BULLET if found is None and number not in ("", "0") else ""
        counts = found.counts
        begun = found.starts.pop(level, None)
        before = counts[level]
        counts[level] = begun if begun is not None else here.start if before is None else before + 1
        for above in range(level):
            if counts[above] is None:
                counts[above] = found.levels[above].start if above in found.levels else 1
        for below in range(level + 1, _LEVELS):
            rule = found.levels[below].restart if below in found.levels else None
            if rule is None or level < rule:
                counts[below] = None
        return _written(found.levels, here, counts)


def _written(levels: dict[int, _Level], here: _Level, counts: list[int | None]) -> str:
    if here.form == "bullet":
        return f"{here.text} " if here.text in (TICKED, UNTICKED) else BULLET

    def number(found: re.Match[str]) -> str:
        place = int(found[1]) - 1
        level, count = levels.get(place), counts[place]
        if level is None or count is None or level.form == "bullet":
            return ""
        form = "decimal" if here.legal and level.form != "none" else level.form
        return numeral(count, form, level.pattern)

    text = _PLACE.sub(number, here.text)
    return text + here.gap if text.strip() else ""


def _levels_in(kind: "Element | None") -> "list[Element]":
    return kind.findall(f"{_W}lvl") if kind is not None else []


def _level(level: "Element") -> _Level:
    form = next(iter(level.iterfind(f".//{_W}numFmt")), None)  # within AlternateContent the exact one comes first
    name = form.get(f"{_W}val", "decimal") if form is not None else "decimal"
    text = value(level, "lvlText")
    fonts = level.find(f"{_W}rPr/{_W}rFonts")
    font = fonts.get(f"{_W}ascii", "") if fonts is not None else ""
    if name == "bullet" and symbolic(font):
        text = unicode_of(text, font)
    gap = {"nothing": "", "space": " "}.get(value(level, "suff"), " ")
    legal = level.find(f"{_W}isLgl")
    restart = level.find(f"{_W}lvlRestart")
    return _Level(
        _int(value(level, "start"), 0),
        name,
        form.get(f"{_W}format", "") if form is not None else "",
        text,
        gap,
        legal is not None and legal.get(f"{_W}val", "1") not in ("0", "false", "off"),
        _int(restart.get(f"{_W}val"), 0) if restart is not None else None,
    )


def value(parent: "Element | None", name: str) -> str:
    """The value of a child element; empty where there is none."""
    child = parent.find(_W + name) if parent is not None else None
    return child.get(f"{_W}val", "") if child is not None else ""


def _int(text: str | None, other: int) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,6}", text) else other
