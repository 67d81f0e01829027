"""Rows of a rich text table -> its lines: where its cells end says which columns they cover.

Source: RTF specification 1.9.1, "Table Definitions".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.readers.grid import Cell, markdown_table

_NEAR = 30  # twentieths of a point between edges that are one


@dataclass(slots=True)
class Layout:
    """The cells of a row as they are defined: where each ends, in twentieths of a point, and whether it goes on."""

    edges: list[int] = field(default_factory=list)
    below: list[bool] = field(default_factory=list)  # it belongs to the one above
    beside: list[bool] = field(default_factory=list)  # it belongs to the one before
    marks: set[str] = field(default_factory=set)  # of the cell that is being defined
    repeated: bool = False  # on each page

    def word(self, word: str, number: int | None) -> "Layout":
        """The layout behind a control word; a new one where a row begins."""
        if word == "trowd":
            return Layout()
        if word == "trhdr":
            self.repeated = True
        elif word in ("clvmrg", "clmrg"):
            self.marks.add(word)
        elif word == "cellx":
            self.edges.append(number or 0)
            self.below.append("clvmrg" in self.marks)
            self.beside.append("clmrg" in self.marks)
            self.marks = set()
        return self


def table_lines(rows: Sequence[tuple[list[str], Layout]]) -> list[str]:
    """The lines of a table, merged cells in each place that they cover."""
    bounds: list[int] = []
    for edge in sorted({edge for _, layout in rows for edge in layout.edges}):
        if not bounds or edge - bounds[-1] > _NEAR:
            bounds.append(edge)
    written: list[list[Cell]] = []
    above: dict[int, Cell] = {}  # column -> the cell that may go on below
    for texts, layout in rows:
        cells: list[Cell] = []
        column = 0
        grown: list[Cell] = []
        for number, text in enumerate(texts):
            known = number < len(layout.edges)
            until = sum(bound <= layout.edges[number] + _NEAR for bound in bounds) if known else column + 1
            across = max(until - column, 1)
            if known and layout.beside[number] and cells:
                cells[-1].across += across
            elif known and layout.below[number] and column in above:
                if not any(above[column] is cell for cell in grown):
                    above[column].down += 1
                    grown.append(above[column])
            else:
                cells.append(Cell(text, across, name=layout.repeated))
                above[column] = cells[-1]
            column += across
        written.append(cells)
    return markdown_table(written)
