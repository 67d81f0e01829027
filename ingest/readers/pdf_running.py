"""What runs on over the pages of a document: headers, footers, page numbers, cut words, tables."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ingest.readers.paragraphs import CUT_MARK, joint
from ingest.readers.pdf_layout import Item
from ingest.readers.pdf_tables import Table
from ingest.readers.text import collapse

_ZONE = 3  # lines at the top and at the bottom of a page
_SHARE = 0.4  # of the pages: left and right ones may have their own
_LONGEST = 150  # characters
_NUMBER = re.compile(r"\d+")
_PAGE = re.compile(
    r"[-–—|\s]*(?:(?:page|seite|p\.|pg\.?)\s*)?(\d{1,4}|[ivxl]{1,6})\s*(?:(?:of|von|/)\s*\d{1,4})?[-–—|\s]*"
    r"|第\s*(\d{1,4})\s*页.{0,12}",
    re.I,
)
_CUT_END = re.compile(rf"([^\W\d_]+)(?:{CUT_MARK}|-)\s*$")
_FIRST_WORD = re.compile(r"[^\W\d_]+[^\w\s]?")


def join_pages(pages: Sequence[list[Item]]) -> None:
    """Put together in place what page ends cut: running lines are kept once, tables keep the names of their columns."""
    typed = [page for page in pages if page]
    if len(typed) < 2:
        return
    headers, footers = _running(typed, top=True), _running(typed, top=False)
    typed[0][:0] = headers
    typed[-1] += footers
    for before, after in pairwise(pages):
        if before and after:
            _join_word(before, after)
            _join_table(before, after)


def _running(pages: Sequence[list[Item]], top: bool) -> list[str]:
    """Take out the lines that run on, and the page numbers; the first of each kind of line is returned."""
    zones = [_zone(page, top) for page in pages]
    keys: Counter[str] = Counter()
    for zone in zones:
        keys.update({_key(text) for _, text in zone})
    least = 2 if len(pages) < 5 else max(3, int(_SHARE * len(pages)))
    running = {key for key, count in keys.items() if count >= least and _counts_up(key, zones)}
    offsets = Counter(
        offset
        for number, zone in enumerate(zones)
        for offset in {n - number for _, text in zone for n in _numbers(text)}
    )
    usual = {offset for offset, count in offsets.items() if count >= least}
    kept: dict[str, str] = {}
    for number, (page, zone) in enumerate(zip(pages, zones, strict=True)):
        for index, text in sorted(zone, reverse=True):
            if _PAGE.fullmatch(text):
                if any(n - number in usual for n in _numbers(text)):
                    del page[index]
            elif _key(text) in running:
                kept.setdefault(_key(text), text)
                del page[index]
    return list(kept.values())[::-1]


def _zone(page: list[Item], top: bool) -> list[tuple[int, str]]:
    """The outermost lines of a page, as far as no table begins."""
    order = range(len(page)) if top else range(len(page) - 1, -1, -1)
    found: list[tuple[int, str]] = []
    for index in order:
        item = page[index]
        if not isinstance(item, str) or len(found) == _ZONE:
            break
        text = collapse(item)
        if text and len(text) <= _LONGEST:
            found.append((index, text))
    return found


def _key(text: str) -> str:
    return _NUMBER.sub("#", text).casefold()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(text) if len(number) < 5] if _PAGE.fullmatch(text) else []


def _counts_up(key: str, zones: Sequence[list[tuple[int, str]]]) -> bool:
    """Whether the numbers of a line are the same on all pages, or one of them grows with the pages."""
    if not re.sub(r"[#\W]", "", key):
        return False
    if "#" not in key:
        return True
    found: list[tuple[int, list[int]]] = []
    for page, zone in enumerate(zones):
        found += [(page, [int(n[:9]) for n in _NUMBER.findall(text)]) for _, text in zone if _key(text) == key]
    width = min(len(numbers) for _, numbers in found)
    for place in range(width):
        values = {numbers[place] for _, numbers in found}
        steps = {numbers[place] - page for page, numbers in found}
        if len(values) > 1 and len(steps) > max(1, len(found) // 3):
            return False
    return True


def _join_word(before: list[Item], after: list[Item]) -> None:
    """A word that is cut by the end of a page is put together before it."""
    last, first = before[-1], after[0]
    if not isinstance(last, str) or not isinstance(first, str):
        return
    cut, rest = _CUT_END.search(last), _FIRST_WORD.match(first)
    if cut and rest and rest[0][0].islower():
        before[-1] = last[: cut.end(1)] + joint(cut[1], rest[0], last) + rest[0]
        after[0] = first[rest.end() :].lstrip()
        if not after[0]:
            del after[0]


def _join_table(before: list[Item], after: list[Item]) -> None:
    """A table that goes on at the top of a page is given the names of its columns."""
    if not before or not after:
        return
    last, first = before[-1], after[0]
    if not isinstance(last, Table) or not isinstance(first, Table) or not last.head:
        return
    if len(last.rows[0]) != len(first.rows[0]):
        return
    names = last.names()
    if first.names() == names:
        return
    alike = sum(abs(a - b) < 12 for a, b in zip(last.edges, first.edges, strict=False))
    if 2 * alike >= len(last.edges):
        first.rows.insert(0, names)
        first.head = 1
