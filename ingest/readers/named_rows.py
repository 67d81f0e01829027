"""The rows of a sheet or of delimited text -> a line a row, each value beside the name of its column.

A chunk holds a few rows, mostly far from the header. `Region: North | Sales: 100` can be found by either name or
value, understood and quoted alone, and skips empty cells; repeating the header every so many rows does none of that
reliably, because chunks are cut by tokens.

An empty row ends a table, a row of names begins one. Names may be years, months and codes, and stand in up to three
rows. What is no table is written as it stands.
"""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ingest.readers.text import collapse

Row = list[str]
Comments = Mapping[int, Mapping[int, str]]  # row -> column, both from 0 -> what is written on the cell

_LOOK_AHEAD = 200  # rows of a table that its columns are judged by
_HEAD = 20  # rows in which a header is looked for
_MOST_NAMES = 3  # rows that the names of columns take
_MAX_LABEL = 80
_VALUE = re.compile(
    r"[-+−(]*(?:[$¥€£￥]|[A-Z]{3} ?)?[-+−(]*[\d.,:/'  \s年月日时分秒-]*\d[\d.,:/'  \s年月日时分秒-]*\)?\s?"
    r"(?:%|‰|[$¥€£￥元]|[万亿]元?|[ap]m)?\)?|true|false|#[A-Z/0!?]+",
    re.I,
)
_NOTHING = re.compile(r"[-–—−/.\s]*|n/?a|none|null|nil|无|无数据", re.I)
_YEAR = re.compile(r"(?:FY\s?)?(?:19|20|21)\d\d(?:\s?[年AE])?(?:[/–-]\d\d(?:\d\d)?)?|民国\d+年", re.I)
_PERIOD = re.compile(
    r"(?:19|20)\d\d\s?[-/.年]\s?(?:0?[1-9]|1[0-2])(?:月|[-/.月](?:0?[1-9]|[12]\d|3[01])日?)?"
    r"|\d\d?, (?:19|20)\d\d"
    r"|(?:0?[1-9]|1[0-2])月(?:\d\d?日)?|\d\d?[-/]\d\d?[-/](?:19|20)\d\d|第?[一二三四1-4]季度|\d\d?[:：]\d\d"
)
_INTEGER = re.compile(r"\d{1,12}")
_UNIT = re.compile(r"[()（）%/€$¥]|^\w{1,4}$")


@dataclass(slots=True)
class _Table:
    """The names of the columns of a table, and which of its columns hold values."""

    names: list[str]
    values: set[int] = field(default_factory=set)


class Copy(str):
    """The text of a merged cell where it covers a column more, cleaned and on one line."""


def lines(rows: Iterable[tuple[int, Row]], comments: Comments | None = None) -> Iterator[str]:
    """The lines for some rows, (number, cells) each; a comment follows the line of its cell."""
    comments = comments or {}
    above: _Table | None = None
    for block in _joined(_blocks(rows)):
        parts = _side_by_side(block)
        for part in parts:
            above = yield from _block(part, above if len(parts) == 1 else None, comments)


def _joined(blocks: Iterable[list[tuple[int, Row]]]) -> Iterator[list[tuple[int, Row]]]:
    """Blocks, names of columns that stand alone with the rows below them."""
    held: list[tuple[int, Row]] = []
    for block in blocks:
        last = held[-1][1] if held else []
        if last and _header([row for _, row in block], 0) is None and len(last) == len(block[0][1]):
            held += block
            continue
        if held:
            yield held
        cells = [cell for cell in block[-1][1] if cell]
        alone = len(cells) > 1 and all(map(_is_text, cells)) and _header([row for _, row in block], 0) is None
        if alone:
            held = block
        else:
            held = []
            yield block
    if held:
        yield held


def _blocks(rows: Iterable[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    block: list[tuple[int, Row]] = []
    for number, row in rows:
        cells = [cell if type(cell) is Copy else collapse(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            if block and number > block[-1][0] + 1:
                yield block
                block = []
            block.append((number, cells))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _side_by_side(block: list[tuple[int, Row]]) -> list[list[tuple[int, Row]]]:
    """Tables that stand beside each other, an empty column between: the right one begins with names of its own rows.

    An empty column before bare figures only sets them apart.
    """
    width = max(len(row) for _, row in block)
    used = [False] * width
    for _, row in block:
        for column, cell in enumerate(row):
            used[column] = used[column] or bool(cell)
    starts = [c for c in range(width) if used[c] and (c == 0 or not used[c - 1])]
    if len(starts) < 2:
        return [block]
    cuts = [0]
    for start, end in zip(starts[1:], [*starts[2:], width], strict=True):
        first = [row[start] for _, row in block[:_LOOK_AHEAD] if len(row) > start and row[start]]
        texts = [cell for cell in first if _is_text(cell)]
        if end - start > 1 and used[start + 1] and 2 * len(texts) > len(first) and any(used[cuts[-1] : start]):
            cuts.append(start)
    if len(cuts) == 1:
        return [block]
    parts: list[list[tuple[int, Row]]] = []
    for start, end in zip(cuts, [*cuts[1:], width], strict=True):
        cut = [(number, [""] * start + row[start:end]) for number, row in block if any(row[start:end])]
        if cut:
            parts.append(cut)
    return parts


def figures(cell: str) -> bool:
    """Whether a cell holds a figure, and no year or month."""
    return bool(cell) and _is_value(cell) and not _is_time(cell)


def head_of(rows: Sequence[Row]) -> int | None:
    """How many rows name the columns where the first of them does; None where it does not."""
    found = _header(rows, 0)
    return found[1] if found and found[0] == 0 else None


def name_rows(rows: Sequence[Row], start: int, size: int) -> Row:
    """The names of the columns that some rows give together."""
    return _table(rows, start, size).names


def _block(
    block: list[tuple[int, Row]], above: _Table | None, comments: Comments
) -> "Generator[str, None, _Table | None]":
    """The lines of rows that stand together; returned is the table that they end with."""
    rows = [row for _, row in block]
    table = above if above and _fits(rows, above) else None
    found = _header(rows, 0)
    if found and table and _goes_on(rows, found, table):
        found = None
    at = since = 0  # the present row; the first below the present names
    while at < len(rows):
        if found:
            start, size = found
            for number, row in block[at:start]:
                yield " | ".join(dict.fromkeys(filter(None, row)))
                yield from _remarks(row, [], comments.get(number))
            table = _table(rows, start, size)
            yield " | ".join(table.names[_lead(table.names) :])
            for number, row in block[start : start + size]:
                yield from _remarks(row, [], comments.get(number))
            at, found = start + size, None
            since = at
            continue
        number, row = block[at]
        if table and at > since and _is_names(rows, at, table) and (found := _header(rows, at)):
            continue
        names = table.names if table else []
        titled = len(set(filter(None, row))) == 1 and table and _is_names(rows, at + 1, table)
        yield next(filter(None, row)) if titled else _record(names, row)
        yield from _remarks(row, names, comments.get(number))
        at += 1
    return table


def _lead(row: Row) -> int:
    """How many empty cells a row begins with."""
    return next((i for i, cell in enumerate(row) if cell), 0)


def _record(names: Sequence[str], row: Row) -> str:
    alone = len(set(filter(None, row))) == 1  # a title, or a remark, over several columns
    once = not names or alone
    pieces: list[str] = []
    for i, value in enumerate(row):
        name = names[i] if i < len(names) else ""
        if value and not (type(value) is Copy and (once or len(value) > _MAX_LABEL)):
            pieces.append(f"{name}: {value}" if name else value)
    merged = any(type(value) is Copy for value in row)
    if alone and merged:
        return next(filter(None, row))
    return " | ".join(pieces if names or merged else row[_lead(row) :])


def _remarks(row: Row, names: Sequence[str], comments: Mapping[int, str] | None) -> Iterator[str]:
    """The comments on a row, each with what its cell says."""
    for column, text in sorted((comments or {}).items()):
        place = (side[column] if column < len(side) else "" for side in (names, row))
        yield f"[{': '.join(filter(None, (*place, collapse(text))))}]"


def _is_value(cell: str) -> bool:
    return bool(_VALUE.fullmatch(cell))


def _is_text(cell: str) -> bool:
    return bool(cell) and len(cell) <= _MAX_LABEL and not _is_value(cell) and not _NOTHING.fullmatch(cell)


def _is_time(cell: str) -> bool:
    """Whether a cell may be a year, a month, a quarter or a day that names a column."""
    return bool(_YEAR.fullmatch(cell) or _PERIOD.fullmatch(cell))


def _header(rows: Sequence[Row], begin: int) -> tuple[int, int] | None:
    """Where the names of the columns begin in some rows, and how many rows they take."""
    window = rows[begin : begin + _LOOK_AHEAD]
    widths = [sum(map(bool, row)) for row in window]
    width = sorted(widths)[-1 - len(widths) // 10]  # a row of a stray cell more does not count
    for i, row in enumerate(window[: min(_HEAD, len(window) - 1)]):
        distinct = list(dict.fromkeys(filter(None, row)))
        if len(distinct) < 2:
            continue  # a title, which may be merged over the whole width
        below = window[i + 1 :]
        if not _names(row, below):
            if widths[i] >= 0.6 * width:
                return None  # the first row as wide as the table is one of its rows
            continue
        size = 1
        while (
            size < _MOST_NAMES and i + size < len(window) - 1 and _continued(window[i : i + size], window[i + size :])
        ):
            size += 1
        if size == 1 and (len(distinct) < 0.6 * width or len(set(row)) * 2 <= widths[i]):
            continue
        return begin + i, size
    return None


def _names(row: Row, below: Sequence[Row]) -> bool:
    """Whether a row may name the columns of those below it: words; or a word, or none, before years, months, codes."""
    cells = [(column, cell) for column, cell in enumerate(row) if cell]
    others = [(column, cell) for column, cell in cells if not _is_text(cell) and type(cell) is not Copy]
    if len({cell[-1] in ":：" for _, cell in cells}) > 1:
        return False  # a name and its value beside each other
    if not others:
        return any(any(later) for later in below)
    if any(len(cell) > _MAX_LABEL for _, cell in others) or len({cell for _, cell in others}) < len(others):
        return False
    first = next((column for column, later in enumerate(row) if later), 0)
    lead = min((next((c for c, cell in enumerate(later) if cell), 0) for later in below), default=0)
    if first in dict(others) and lead >= first:
        return False  # figures from the first column on
    times = all(_is_time(cell) for _, cell in others)
    if times and all(_YEAR.fullmatch(cell) or not _INTEGER.fullmatch(cell) for _, cell in others):
        return _differs(others, below)
    return _is_series([cell for _, cell in others]) and _differs(others, below)


def _is_series(cells: Sequence[str]) -> bool:
    """Whether whole numbers may be codes that name columns: at least three, rising, by one step or of one length."""
    if len(cells) < 3 or not all(map(_INTEGER.fullmatch, cells)):
        return False
    steps = {int(b) - int(a) for a, b in pairwise(cells)}
    return min(steps) > 0 and (len(steps) == 1 or (len(cells[0]) > 2 and len(set(map(len, cells))) == 1))


def _differs(others: Sequence[tuple[int, str]], below: Sequence[Row]) -> bool:
    """Whether most of what stands below years or codes is none itself."""
    under = [
        (name, row[column]) for row in below[:_HEAD] for column, name in others if column < len(row) and row[column]
    ]
    alike = sum(_is_time(cell) if _is_time(name) else len(cell) == len(name) for name, cell in under)
    return 2 * alike < len(under)


def _continued(head: Sequence[Row], rest: Sequence[Row]) -> bool:
    """Whether the first of the rows that follow names columns too, below the names of those above it."""
    last, row, below = head[-1], rest[0], rest[1:]
    own = {c: cell for c, cell in enumerate(row) if cell and last[c : c + 1] != [cell]}
    if not own or not any(map(any, below)) or not all(_is_text(cell) or _is_time(cell) for cell in own.values()):
        return False
    values = _value_columns(below)
    if _spread(last):
        return not values or bool(values & set(own))
    if any(last[c : c + 1] in ([], [""]) for c in own):  # names that stand over several columns, not merged
        return bool(values & set(own)) and not (last[0] and row[0])
    return len(values) > 1 and values <= set(own) and all(_UNIT.search(cell) for c, cell in own.items() if c in values)


def _spread(row: Row) -> bool:
    """Whether a name stands over more than one column."""
    return any(a and a == b for a, b in pairwise(row))


def _value_columns(rows: Sequence[Row]) -> set[int]:
    """The columns of which half or more are figures."""
    figures: dict[int, int] = {}
    filled: dict[int, int] = {}
    for row in rows[:_LOOK_AHEAD]:
        for column, cell in enumerate(row):
            if cell and not _NOTHING.fullmatch(cell):
                filled[column] = filled.get(column, 0) + 1
                figures[column] = figures.get(column, 0) + _is_value(cell)
    return {column for column, count in filled.items() if figures[column] * 2 >= count}


def _table(rows: Sequence[Row], start: int, size: int) -> _Table:
    head = [list(row) for row in rows[start : start + size]]
    width = max(map(len, head))
    for row, lower in pairwise(head):
        row += [""] * (width - len(row))
        for column in range(1, min(width, len(lower))):
            if not row[column] and lower[column]:
                row[column] = row[column - 1]
    names = []
    for column in range(width):
        parts = [row[column] for row in head if column < len(row) and row[column]]
        names.append(" ".join(dict.fromkeys(parts)).rstrip(":："))
    while names and not names[-1]:
        names.pop()
    return _Table(names, _value_columns(rows[start + size : start + size + _LOOK_AHEAD]))


def _is_names(rows: Sequence[Row], at: int, table: _Table) -> bool:
    """Whether a row amid a table looks like the names of another: words where figures were, above figures."""
    row = rows[at] if at < len(rows) else []
    filled = [c for c, cell in enumerate(row) if cell]
    inside = [c for c in filled if c in table.values]
    titled = at > 0 and len(set(filter(None, rows[at - 1]))) == 1
    if len(filled) < 2 or len(inside) < (1 if titled else 2) or at + 1 >= len(rows):
        return False
    if not all(_is_text(row[c]) or _is_time(row[c]) for c in filled):
        return False
    return bool(inside and _value_columns(rows[at + 1 : at + 4]) & set(filled)) and len(
        {row[c] for c in filled}
    ) == len(filled)


def _goes_on(rows: Sequence[Row], found: tuple[int, int], table: _Table) -> bool:
    """Whether what looks like names is a row more of the table above: nothing but words, as there, in its columns."""
    start, size = found
    return (
        start == 0
        and size == 1
        and not table.values
        and not _value_columns(rows[1:])
        and sum(map(bool, rows[0])) == sum(map(bool, table.names))
    )


def _fits(rows: Sequence[Row], table: _Table) -> bool:
    width = len(table.names)
    return all(len(row) <= width for row in rows) and any(sum(map(bool, row)) > 1 for row in rows)
