"""The numbers that OpenDocument writes before the items of lists and before headings.

Source: OpenDocument 1.3, part 3, 5.3 (lists), 16.30 to 16.34 (list styles, the outline of headings); 19.880
(`style:num-format`). LibreOffice states the whole form beside it: `第%1%条`.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from ingest.readers.numerals import numeral

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

BULLET = "- "
_FORMS = {
    "1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman",
    "一": "chineseCounting", "壹": "chineseLegalSimplified", "甲": "ideographTraditional", "子": "ideographZodiac",
    "①": "decimalEnclosedCircle", "１": "decimalFullWidth",
}  # fmt: skip
_PLACE = re.compile(r"%(\d{1,2})%")
_LEVELS = 10


class _Level(NamedTuple):
    """How the items of a level are numbered."""

    form: str  # of ST_NumberFormat; "" for none
    prefix: str
    suffix: str
    shown: int  # levels whose numbers are written
    start: int
    whole: str  # prefix, numbers and suffix as one, where that is stated


class Numbers:
    """The list styles of a document, and how far each list has been counted."""

    def __init__(self, roots: "list[Element]") -> None:
        self._styles: dict[str, dict[int, _Level]] = {}
        self._outline: dict[int, _Level] = {}
        for root in roots:
            for style in root.iter("{*}list-style"):
                self._styles[_attribute(style, "name")] = _levels(style)
            for outline in root.iter("{*}outline-style"):
                self._outline = _levels(outline)
        self._counts: dict[tuple[str, int], int] = {}

    def begin(self, style: str, level: int, *, goes_on: bool) -> None:
        """A list begins; one that `goes_on` counts on from the one before."""
        if not goes_on:
            self._counts.pop((style, level), None)

    def item(self, style: str, level: int, stated: str = "") -> str:
        """What stands before the next item of a level (from 1); `stated` is the number that it says itself."""
        levels = self._styles.get(style, {})
        own = levels.get(level)
        if own is None:
            return BULLET
        return self._next(style, levels, level, stated) or BULLET

    def heading(self, level: int) -> str:
        """What stands before the next heading of a level; "" where headings are not numbered."""
        return self._next("", self._outline, level, "") if level in self._outline else ""

    def _next(self, style: str, levels: dict[int, _Level], level: int, stated: str) -> str:
        own = levels[level]
        before = self._counts.get((style, level), own.start - 1)
        number = int(stated) if stated.isdecimal() and len(stated) < 6 else before + 1
        self._counts[style, level] = number
        for deeper in range(level + 1, _LEVELS + 1):
            self._counts.pop((style, deeper), None)
        if not own.form:
            return ""

        def written(at: int) -> str:
            each = levels.get(at, own)
            return numeral(self._counts.get((style, at), each.start), each.form or "decimal")

        if own.whole:
            return _PLACE.sub(lambda place: written(int(place[1])), own.whole).strip() + " "
        numbers = ".".join(written(at) for at in range(max(level - own.shown + 1, 1), level + 1))
        return f"{own.prefix}{numbers}{own.suffix}".strip() + " "


def _levels(style: "Element") -> dict[int, _Level]:
    found: dict[int, _Level] = {}
    for level in style.iterchildren("{*}list-level-style-number", "{*}outline-level-style"):
        place = _attribute(level, "level")
        if not place.isdecimal() or not 0 < int(place[:3]) <= _LEVELS:
            continue
        form = _attribute(level, "num-format")
        shown, start = _attribute(level, "display-levels"), _attribute(level, "start-value")
        found[int(place)] = _Level(
            _FORMS.get(form[:1], "decimal") if form else "",
            _attribute(level, "num-prefix"),
            _attribute(level, "num-suffix"),
            int(shown) if shown.isdecimal() and len(shown) < 3 else 1,
            int(start) if start.isdecimal() and len(start) < 6 else 1,
            _attribute(level, "num-list-format"),
        )
    return found


def _attribute(element: "Element", name: str) -> str:
    return next((value for key, value in element.attrib.items() if str(key).endswith(f"}}{name}")), "")
