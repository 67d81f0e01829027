"""What is quoted of a passage for a unit of it, and how it is written: with its list, its table, its article."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.types import Source
from llm.units import Group, Unit, is_wide

_SHORT = 60  # a sentence below this takes the next one along; lengths are in characters, in the width of Chinese
_ROWS = 10  # a table of no more rows is quoted whole
_LIST, _ARTICLE = 260, 200  # a list or an article that is no longer is quoted whole

# What begins so says little without the sentence before it.
_BACK = re.compile(
    r"[它其这该此但而他她]|因此|所以|(?:This|That|These|Those|It|They|He|She|But|However|So|Its|His|Her)\b"
)


@dataclass(eq=False, slots=True)
class Quote:
    """Units of a source that are quoted together, in order."""

    source: Source
    units: list[Unit]

    def takes(self, other: "Quote") -> bool:
        """Whether another quote goes on where this one ends, or the other way about, or is of the same table."""
        if self.source is not other.source:
            return False
        own, more = [unit.place for unit in self.units], [unit.place for unit in other.units]
        tables = {unit.group for unit in self.units if unit.kind == "row"}
        near = min(more) <= max(own) + 1 and max(more) >= min(own) - 1
        near = near and self.about() == other.about()
        return near or any(unit.group in tables for unit in other.units)

    def about(self) -> set[tuple[int, Group | None]]:
        """The paragraphs and articles that it is of."""
        return {(unit.paragraph, unit.article) for unit in self.units}

    def add(self, other: "Quote") -> None:
        """Take another's units in."""
        self.units = sorted({*self.units, *other.units}, key=lambda unit: unit.place)


def span(unit: Unit, there: Sequence[Unit]) -> list[Unit]:
    """A unit with what belongs to it, of all that is there: its list, its table, its article, what it announces."""
    if unit.article and unit.kind != "row" and unit.article.length <= _ARTICLE:
        return unit.article.units
    announced = next((other.group for other in there if other.group.lead is unit), None)
    if announced:
        return [*there[unit.place : announced.units[0].place], *_part(announced, announced.units[0], there)]
    if unit.group.kind in ("list", "table"):
        return _part(unit.group, unit, there)
    after = there[unit.place + 1] if unit.place + 1 < len(there) else None
    if unit.kind == "title":
        return [unit, *_below(unit, there)]
    if unit.kind == "sentence" and after and after.kind == "sentence" and after.paragraph == unit.paragraph:
        before = there[unit.place - 1] if unit.place else None
        if before and before.kind == "sentence" and before.paragraph == unit.paragraph and _BACK.match(unit.text):
            return [before, unit]
        if unit.length < _SHORT:
            return [unit, after]
    return [unit]


def whole(group: Group) -> bool:
    """Whether a list or table is so small that it is quoted whole."""
    return len(group.units) <= _ROWS + 1 if group.kind == "table" else group.length <= _LIST


def _part(group: Group, unit: Unit, there: Sequence[Unit]) -> list[Unit]:
    """A list or table whole where it is small, else the unit alone, the head of a table with it; and what leads in."""
    lead = group.lead
    between = there[lead.place : group.units[0].place] if lead and group.kind == "table" else [lead] if lead else []
    if whole(group):
        return [*between, *group.units]
    return [*([lead] if lead else []), *dict.fromkeys([group.units[0], unit] if group.kind == "table" else [unit])]


def _below(title: Unit, there: Sequence[Unit]) -> list[Unit]:
    """The beginning of what stands under a title."""
    found: list[Unit] = []
    for unit in there[title.place + 1 :]:
        if unit.kind == "title" or sum(u.length for u in found) >= _SHORT:
            break
        found.append(unit)
    return found


def marked(quote: Quote) -> str:
    """A quote as Markdown, with its mark: in the last cell where it ends with a table."""
    lines: list[str] = []
    before: Unit | None = None
    for unit in quote.units:
        head = unit.group.units[0]
        if unit.kind == "row" and (before is None or before.group is not unit.group):
            lines += [head.text, "|" + " --- |" * (head.text.count("|") - 1)]
        joins = before and before.kind == unit.kind == "sentence" and before.paragraph == unit.paragraph
        if joins and before and before.place + 1 == unit.place:
            lines[-1] += unit.text if is_wide(lines[-1][-1]) else f" {unit.text}"
        elif unit.kind != "row" or unit is not head:
            lines.append(unit.text)
        before = unit
    mark = f" [{quote.source.n}]"
    text = "\n".join(lines)
    return f"{text[:-1].rstrip()}{mark} |" if text.startswith("|", text.rfind("\n") + 1) else text + mark
