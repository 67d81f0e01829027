"""The cells of a table -> lines of Markdown's form, in which merged cells stand for every place that they cover."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ingest.readers.named_rows import figures
from ingest.readers.text import collapse

_MOST_COLUMNS, _MOST_ROWS = 300, 1000
_FACTOR = 20  # a table may grow to so many times its own characters by repeating merged cells
_NAMING = 4  # rows that may name the columns together


@dataclass(slots=True)
class Cell:
    """A cell with the columns and rows that it covers; `name`: it is marked as the name of its column."""

    text: str
    across: int = 1
    down: int = 1
    name: bool = False


def markdown_table(rows: Iterable[Sequence[Cell]]) -> list[str]:
    """The lines of a table: what stands above it in one cell, the names of the columns, a rule, a line a row.

    Names that stand in several rows are joined, so that a column is `Domestic Revenue`. Columns and rows that are
    empty throughout are left out.

    >>> markdown_table([[Cell("Region"), Cell("Sales")], [Cell("North"), Cell("100")]])
    ['| Region | Sales |', '| --- | --- |', '| North | 100 |']
    """
    grid, naming = _spread([list(row) for row in rows])
    width = max(map(len, grid), default=0)
    used = [column for column in range(width) if any(column < len(cells) and cells[column] for cells in grid)]
    table = [[cells[column] if column < len(cells) else "" for column in used] for cells in grid]
    above: list[str] = []
    while len(table) > 1 and len(used) > 1 and _is_title(table[0]):  # it names no column
        above += filter(None, table[0][:1])
        table, naming = table[1:], max(naming - 1, 0)
    head = [_joined([row[column] for row in table[: max(naming, 1)]]) for column in range(len(used))]
    body = [row for row in table[max(naming, 1) :] if any(row)]
    if len(used) == 1 and not body:
        return [*above, *filter(None, head)]
    if not any(head) and not body:
        return above
    return [*above, _line(head), _line(["---"] * len(used)), *map(_line, body)]


def plain_table(rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table without merged cells."""
    return markdown_table([Cell(text) for text in row] for row in rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _joined(names: Sequence[str]) -> str:
    return " ".join(name for i, name in enumerate(names) if name and name not in names[:i])


def _is_title(cells: Sequence[str]) -> bool:
    return bool(cells[0]) and not any(cells[1:])


def _spread(rows: list[list[Cell]]) -> tuple[list[list[str]], int]:
    """The texts by row and column, and how many rows name the columns. One cell over a whole row stands once."""
    texts = [[collapse(cell.text).replace("|", "\\|") for cell in row] for row in rows]
    spare = _FACTOR * sum(len(text) + 1 for row in texts for text in row)
    whole = max((sum(cell.across for cell in row) for row in rows), default=0)
    grid: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column -> rows still to fill, text
    for row, said in zip(rows, texts, strict=True):
        cells: list[str] = []
        for cell, text in zip(row, said, strict=True):
            _fill(cells, below)
            alone = len(row) == 1 and cell.across >= whole > 1
            across = min(cell.across, max(_MOST_COLUMNS - len(cells), 1))
            down = min(cell.down, _MOST_ROWS, len(rows) - len(grid))
            for number in range(across):
                again = number > 0 or down > 1
                shown = text if number == 0 or (not alone and len(text) <= spare) else ""
                spare -= len(shown) if number else 0
                if again and down > 1 and len(cells) < _MOST_COLUMNS:
                    kept = shown if len(shown) * (down - 1) <= spare else ""
                    spare -= len(kept) * (down - 1)
                    below[len(cells)] = (down - 1, kept)
                cells.append(shown)
        _fill(cells, below)
        grid.append(cells)
    return grid, _naming(rows)


def _fill(cells: list[str], below: dict[int, tuple[int, str]]) -> None:
    while len(cells) in below:
        left, text = below.pop(len(cells))
        if left > 1:
            below[len(cells)] = (left - 1, text)
        cells.append(text)


def _is_under(row: Sequence[Cell]) -> bool:
    """Whether a row names columns under merged names: nothing under the first, and words under all others."""
    others = [cell.text.strip() for cell in row[1:]]
    return bool(others) and not row[0].text.strip() and all(text and not figures(text) for text in others)


def _naming(rows: Sequence[Sequence[Cell]]) -> int:
    """How many rows name the columns: those marked so, else those that a cell of the first reaches down to, or
    leaves empty, where another of its cells stands over several columns.
    """
    marked = 0
    for row in rows:
        if not row or not all(cell.name for cell in row):
            break
        marked += 1
    if 0 < marked <= _NAMING and marked < len(rows):
        return marked
    first = next((row for row in rows if len(row) > 1), ())
    skipped = next((i for i, row in enumerate(rows) if len(row) > 1), 0)
    deep = max((cell.down for cell in first), default=1)
    below = rows[skipped + 1] if skipped + 1 < len(rows) else ()
    if deep == 1 and first and (not first[0].text.strip() or _is_under(below)):
        deep = 2
    split = any(cell.across > 1 and cell.down == 1 for cell in first)
    return skipped + (deep if split and deep <= _NAMING and deep < len(rows) - skipped else 1)
