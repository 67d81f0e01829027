"""The numbers of the items of a list on a web page, as they are shown.

Source: HTML Standard, 4.4.5 (ol: start, type, reversed; li: value); CSS Counter Styles 3, 6 and 7 (list-style-type).
"""

import re
from typing import TYPE_CHECKING

from ingest.readers.numerals import numeral

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

BULLET = "- "
_TYPES = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman", "1": "decimal"}
_STYLES = {
    "lower-alpha": "lowerLetter", "lower-latin": "lowerLetter", "upper-alpha": "upperLetter",
    "upper-latin": "upperLetter", "lower-roman": "lowerRoman", "upper-roman": "upperRoman", "decimal": "decimal",
    "decimal-leading-zero": "decimalZero", "cjk-decimal": "ideographDigital",
    "cjk-ideographic": "chineseCountingThousand", "simp-chinese-informal": "chineseCountingThousand",
    "trad-chinese-informal": "chineseCountingThousand", "simp-chinese-formal": "chineseLegalSimplified",
    "cjk-heavenly-stem": "ideographTraditional",
}  # fmt: skip
_CHINESE = frozenset(form for style, form in _STYLES.items() if "chinese" in style or style.startswith("cjk-"))
_STYLE = re.compile(r"list-style(?:-type)?\s*:[^;]*?(?<![\w-])([a-z][\w-]*)(?![\w-])", re.I)
_NUMBER = re.compile(r"\s*([-+]?\d{1,9})")
_MARKS = frozenset(("none", "disc", "circle", "square"))


class ListNumbers:
    """Counts the items of one list; one without order has a bullet before each."""

    def __init__(self, element: "Element") -> None:
        self.ordered = element.tag == "ol"
        self.step = -1 if element.get("reversed") is not None else 1
        items = sum(1 for _ in element.iterchildren("li"))
        self.next = _whole(element.get("start", ""), items if self.step < 0 else 1)
        self.form = _form(element) or "decimal"

    def label(self, item: "Element") -> str:
        """What stands before an item."""
        if not self.ordered:
            return BULLET
        number = _whole(item.get("value", ""), self.next)
        self.next = number + self.step
        form = _form(item) or self.form
        if form in _MARKS:
            return "" if form == "none" else BULLET
        return f"{numeral(number, form)}{'、' if form in _CHINESE else '. '}" if number > 0 else f"{number}. "


def _form(element: "Element") -> str:
    """The form of the numbers, or of the marks, that an element asks for; empty where it does not."""
    stated = (each.lower() for each in _STYLE.findall(element.get("style", "")))
    styled = (_STYLES.get(each, each if each in _MARKS else "") for each in stated)
    return next(filter(None, styled), "") or _TYPES.get(element.get("type", "").strip(), "")


def _whole(text: str, other: int) -> int:
    found = _NUMBER.match(text)
    return int(found[1]) if found else other
