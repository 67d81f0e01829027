"""A sheet of a workbook, whatever its format: its cells as they are shown, and what of it nobody sees."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from core.errors import ReadError
from ingest.readers.named_rows import Copy, lines
from ingest.readers.text import Part, clean, collapse
from ingest.readers.unseen import Unseen

MOST_CELLS = 30_000_000  # of the area from the first to the last cell
_MOST_COPIES = 2_000_000  # of merged cells
_NAMED = 12  # rows, columns or cells that a note names


@dataclass(slots=True)
class Sheet:
    """Rows, columns and cells by their numbers from 0; `merged` are (first row, first column, last row, last column).

    `unreckoned` are the places of formulas whose value the file does not hold.
    """

    name: str
    hidden: bool = False
    rows: dict[int, dict[int, str]] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    comments: dict[int, dict[int, str]] = field(default_factory=dict)
    unreckoned: list[tuple[int, int]] = field(default_factory=list)
    characters: Unseen = field(default_factory=Unseen)  # of its cells, which nobody sees
    boxes: list[str] = field(default_factory=list)  # what stands over the cells: text boxes, titles of charts
    last_row: int = 0
    last_column: int = 0

    def put(self, row: int, column: int, text: str) -> None:
        """Write a cell. Raises `ReadError` where the sheet reaches too far."""
        if text:
            self.put_row(row, {column: text})

    def put_row(self, row: int, cells: dict[int, str]) -> None:
        """Write cells, or more of them, of a row. Raises `ReadError` where the sheet reaches too far."""
        if not cells:
            return
        self.last_row, self.last_column = max(self.last_row, row), max(self.last_column, *cells)
        if (self.last_row + 1) * (self.last_column + 1) > MOST_CELLS:
            size = f"{self.last_row + 1:,} rows x {self.last_column + 1:,} columns"
            text = f"a sheet of {size}: more than {MOST_CELLS:,} cells"
            raise ReadError(text, "delete the stray cells far from the table, or save it as .csv")
        self.rows.setdefault(row, {}).update((column, text) for column, text in cells.items() if text)

    def comment(self, row: int, column: int, text: str) -> None:
        """Note what is written on a cell."""
        if text.strip():
            written = self.comments.setdefault(row, {})
            written[column] = f"{written[column]}; {text.strip()}" if column in written else text.strip()
            self.rows.setdefault(row, {})

    def part(self, notes: list[str]) -> Part | None:
        """What is seen of the sheet, under its name; what is left out is put into `notes`."""
        label = collapse(clean(self.name))
        if self.hidden:
            notes.append(f"a hidden sheet was left out: {label}")
            return None
        self._spread()
        unseen = self._unseen()
        if unseen:
            notes.append(f"hidden rows or columns of a sheet were left out: {label} ({unseen})")
        if self.unreckoned:
            places = [place_name(*place) for place in self.unreckoned]
            what = f"{_some(places)} of {label}"
            notes.append(f"formulas whose value is not in the file were left out: {what}; open and save it once")
        notes += self.characters.notes()
        rows, comments = self._seen()
        return Part("\n".join([*lines(rows, comments), *(f"\n{box}" for box in self.boxes)]).lstrip("\n"), (label,))

    def _spread(self) -> None:
        """Write each merged cell into all that it covers, of rows that hold more than it."""
        copies = 0
        for top, left, bottom, right in self.merged:
            text = collapse(clean(self.rows.get(top, {}).get(left, "")))
            if not text:
                continue
            for row in range(top, min(bottom, self.last_row) + 1):
                cells = self.rows.get(row)
                if not cells:
                    continue
                copies += min(right, self.last_column) - left + 1
                if copies > _MOST_COPIES:
                    return
                cells.setdefault(left, text)
                for column in range(left + 1, min(right, self.last_column) + 1):
                    cells.setdefault(column, Copy(text))

    def _unseen(self) -> str:
        rows = sorted(row for row in self.hidden_rows if self.rows.get(row))
        used = {column for cells in self.rows.values() for column in cells} if self.hidden_columns else set()
        columns = sorted(self.hidden_columns & used)
        self.hidden_rows, self.hidden_columns = set(rows), set(columns)
        named = (f"row {_some([str(row + 1) for row in rows])}" if rows else "",)
        named += (f"column {_some([column_name(column) for column in columns])}" if columns else "",)
        return "; ".join(filter(None, named))

    def _seen(self) -> tuple[Iterator[tuple[int, list[str]]], dict[int, dict[int, str]]]:
        """Rows and comments without what is hidden, their numbers moved up."""
        above = sorted(self.hidden_rows)
        places = [column for column in range(self.last_column + 1) if column not in self.hidden_columns]
        moved = {column: place for place, column in enumerate(places)}
        shift, numbers = 0, dict[int, int]()
        for row in sorted(self.rows):
            while shift < len(above) and above[shift] < row:
                shift += 1
            if row not in self.hidden_rows:
                numbers[row] = row - shift
        comments = {
            numbers[row]: {moved[column]: text for column, text in written.items() if column in moved}
            for row, written in self.comments.items()
            if row in numbers
        }
        return ((number, _line(self.rows[row], moved)) for row, number in numbers.items()), comments


def _line(cells: dict[int, str], moved: dict[int, int]) -> list[str]:
    last = max((moved[column] for column in cells if column in moved), default=-1)
    line = [""] * (last + 1)
    for column, text in cells.items():
        if column in moved:
            line[moved[column]] = text
    return line


def column_name(column: int) -> str:
    """The letters of a column, counted from 0.

    >>> column_name(0), column_name(27)
    ('A', 'AB')
    """
    name = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        name = chr(65 + letter) + name
    return name


def place_name(row: int, column: int) -> str:
    """A cell as spreadsheets call it."""
    return f"{column_name(column)}{row + 1}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
