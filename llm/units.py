"""A passage -> what of it can be quoted: sentences, list items, rows of tables and sheets, and what they belong to.

What belongs together is known by its group: a list with what leads into it, a table with its header and the sentence
that announces it, an article of a law.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.text import openings, sentences

Kind = Literal["sentence", "title", "item", "row", "record"]

_HEADING = re.compile(r"#{1,6}\s+(.*)")
_RULE = re.compile(r"[\s|:\-=_*]*")
_ITEM = re.compile(
    r"[-*+•·●▪◦‣–]\s+|[（(](?:[一二三四五六七八九十]{1,3}|\d{1,2}|[a-z])[）)]"
    r"|\d{1,2}(?:[.)]\s+|、|[）)])|[一二三四五六七八九十]{1,3}、|[①-⑳]|[a-z][.)]\s+"
)
_ENDS = re.compile(r"[。！？!?；;：:….][”’」』）)】》\"']*$")
_OPEN = re.compile(
    r"[：:]$|(?:如下|下列|以下)[^。]{0,6}[。：:]?$|(?:as follows|following)[^.]{0,20}[.:]?$", re.IGNORECASE
)
_BULLETS = "-*+•·●▪◦‣–"
_PARTS = "章节编"  # of a law, which hold articles
_LONG = 100  # characters of an item beyond which its next sentence is one by itself
_FAR = 4  # units before a list or table among which the one may be that announces it
_TITLE = 30  # characters of the longest line without an end that stands for a title; of other scripts three times that
_WRAPPED = 15  # characters of the shortest line that may go on in the next one; likewise


@dataclass(eq=False, slots=True)
class Group:
    """Units that are read together; `lead` is what announces them."""

    kind: Literal["text", "list", "table", "records", "article"]
    units: "list[Unit]" = field(default_factory=list)
    lead: "Unit | None" = None

    @property
    def length(self) -> int:
        """Characters of all of it, in the width of Chinese."""
        return sum(unit.length for unit in self.units)


@dataclass(eq=False, slots=True)
class Unit:
    """A sentence, item, row or record at its `place` in the passage; `heading` is the line that it stands under.

    `paragraph` counts the paragraphs before it.
    """

    place: int
    text: str
    kind: Kind
    heading: str
    paragraph: int
    group: Group
    article: Group | None = None

    @property
    def length(self) -> int:
        """Characters, in the width of Chinese: of other scripts three are one."""
        return width(self.text)


def width(text: str) -> int:
    """The length of a text in Chinese characters; three others count as one.

    >>> width("年假五天"), width("five days")
    (4, 3)
    """
    wide = sum(map(is_wide, text))
    return wide + (len(text) - wide) // 3


def units(text: str, names: frozenset[str] = frozenset()) -> list[Unit]:
    """What a passage says, in order; lines that are one of its `names` (title, headings) are only what follows stands
    under.
    """
    found: list[Unit] = []
    heading, paragraph, group = "", 0, Group("text")
    for number, kind, line in _typed(text, names):
        if number != paragraph and group.kind == "text":
            group = Group("text")
        paragraph = number
        if kind == "heading":
            heading, group = line, Group("text")
            continue
        if kind == "row" and group.kind == "table" and line == group.units[0].text:
            continue  # the header once more, where a long table was cut
        if group.kind != _GROUPS[kind]:
            group = Group(_GROUPS[kind], lead=None if _GROUPS[kind] == "text" else _lead(found, heading))
        if kind == "title":
            heading, group = line, Group("text")
        unit = Unit(len(found), line, kind, "" if kind == "title" else heading, paragraph, group)
        group.units.append(unit)
        found.append(unit)
    _articles(found)
    return found


_GROUPS: "dict[Kind, Literal['text', 'list', 'table', 'records']]" = {
    "sentence": "text", "title": "text", "item": "list", "row": "table", "record": "records",
}  # fmt: skip


def _typed(text: str, names: frozenset[str]) -> Iterator[tuple[int, "Kind | Literal['heading']", str]]:
    """(paragraph, kind, text) of all that says something."""
    lines = list(_lines(text))
    for at, (paragraph, line) in enumerate(lines):
        after = lines[at + 1][1] if at + 1 < len(lines) else ""
        if _RULE.fullmatch(line):
            continue
        if match := _HEADING.fullmatch(line):
            yield paragraph, "heading", match[1]
        elif line in names:
            yield paragraph, "heading", line
        elif line.startswith("|"):
            yield paragraph, "row", line
        elif " | " in line:
            yield paragraph, "record", line
        elif _is_title(line, after):
            yield paragraph, "title", line
        else:
            for kind, piece in _pieces(line):
                yield paragraph, kind, piece


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(paragraph, line), where what was wrapped is one line again."""
    paragraph, held = 0, ""
    for line in (line.strip().removeprefix("> ") for line in text.split("\n")):
        plain = bool(line) and not line.startswith(("|", "#")) and not _ITEM.match(line) and not openings(line)
        if held and plain and _goes_on(held):
            held += line if is_wide(held[-1]) or is_wide(line[0]) else f" {line}"
            continue
        if held:
            yield paragraph, held
        held = line
        if not line:
            paragraph += 1
    if held:
        yield paragraph, held


def is_wide(c: str) -> bool:
    """Whether a character is as wide as Chinese ones, which no space parts."""
    return c >= "\u2e80"


def _goes_on(line: str) -> bool:
    """Whether a line ends within a sentence: it is long, and nothing ends it."""
    return not (line.startswith(("|", "#")) or " | " in line or _ENDS.search(line)) and width(line) >= _WRAPPED


def _is_title(line: str, after: str) -> bool:
    """Whether a line is what the next ones stand under: short, and no sentence; numbered, but nothing is listed."""
    if _ENDS.search(line) or width(line) > _TITLE:
        return False
    if _ITEM.match(line):
        return line[0] not in _BULLETS and bool(after) and not _ITEM.match(after)
    return not openings(line) or line.split()[0][-1] in _PARTS


def _pieces(line: str) -> "Iterator[tuple[Literal['item', 'sentence'], str]]":
    """The sentences of a line; an item of a list is whole, and several may stand in one line."""
    item = ""
    for piece in _whole(line):
        if _ITEM.match(piece):
            if item:
                yield "item", item
            item = piece
        elif item and width(item) < _LONG:
            item += piece if is_wide(item[-1]) else f" {piece}"
        else:
            if item:
                yield "item", item
            item = ""
            yield "sentence", piece
    if item:
        yield "item", item


def _whole(line: str) -> Iterator[str]:
    """The sentences; the number of an item is none, and a colon ends what leads into items."""
    held = ""
    for piece in map(str.strip, sentences(line)):
        held = f"{held} {piece}".strip()
        if not held or _ITEM.fullmatch(f"{held} "):
            continue
        lead, colon, rest = held.partition("：")
        if colon and _ITEM.match(rest):
            yield lead + colon
            held = rest
        yield held
        held = ""
    if held:
        yield held


def _lead(found: Sequence[Unit], heading: str) -> Unit | None:
    """The sentence that announces what comes next: a few others may stand between."""
    near = [unit for unit in found[-_FAR:] if unit.heading == heading and unit.kind == "sentence"]
    return next((unit for unit in reversed(near) if announces(unit.text)), None)


def announces(text: str) -> bool:
    """Whether a sentence says that something follows.

    >>> announces("年休假天数如下表。"), announces("The rates are as follows:"), announces("Nothing.")
    (True, True, False)
    """
    return bool(_OPEN.search(text.strip()))


def _articles(found: Sequence[Unit]) -> None:
    """Let the units of each article know it."""
    article: Group | None = None
    heading = ""
    for unit in found:
        if unit.kind == "title" or unit.heading != heading:
            article = None
        heading = unit.text if unit.kind == "title" else unit.heading
        if unit.kind in ("sentence", "item") and openings(unit.text):
            article = Group("article")
        if article:
            article.units.append(unit)
            unit.article = article
