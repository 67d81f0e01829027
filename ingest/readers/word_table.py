"""Tables of a Word document -> their cells with what each covers (ISO/IEC 29500-1, 17.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.readers.grid import Cell
from ingest.readers.word_numbers import value

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_OPENED = frozenset("sdt sdtContent customXml ins moveTo".split())
_MOST_COLUMNS = 300


@dataclass(slots=True)
class WordCell:
    """A cell before its text is read: texts are read in order, because numbers count on through them."""

    elements: "list[Element]"
    across: int = 1
    down: int = 1
    name: bool = False

    def read(self, text: "Callable[[Element], str]") -> Cell:
        """The cell with its text."""
        said = "\n".join(filter(None, map(text, self.elements)))
        return Cell(said, self.across, self.down, self.name)


def rows_of(table: "Element") -> list[list[WordCell]]:
    """The cells of each row that is not deleted; those that a cell above covers are part of it."""
    rows: list[list[WordCell]] = []
    open_cells: dict[int, WordCell] = {}  # column -> the cell that may go on below
    for row in _children(table, "tr"):
        about = row.find(f"{_W}trPr")
        if about is not None and about.find(f"{_W}del") is not None:
            continue
        header = about.find(f"{_W}tblHeader") if about is not None else None
        named = header is not None and header.get(f"{_W}val", "1") not in ("0", "false", "off")
        cells = [WordCell([]) for _ in range(_count(about, "gridBefore", 0))]
        column = len(cells)
        grown: set[int] = set()
        for element in _children(row, "tc"):
            properties = element.find(f"{_W}tcPr")
            if properties is not None and properties.find(f"{_W}cellDel") is not None:
                continue
            across = _count(properties, "gridSpan", 1)
            if cells and _goes_on(properties, "hMerge"):
                cells[-1].across += across
                cells[-1].elements.append(element)
            elif _goes_on(properties, "vMerge") and column in open_cells:
                above = open_cells[column]
                if id(above) not in grown:
                    above.down += 1
                    grown.add(id(above))
                above.elements.append(element)
            else:
                cell = WordCell([element], across, name=named)
                cells.append(cell)
                merges = properties is not None and properties.find(f"{_W}vMerge") is not None
                open_cells.pop(column, None)
                if merges:
                    open_cells[column] = cell
            column += across
        open_cells = {place: cell for place, cell in open_cells.items() if id(cell) in grown or _is_new(cell, cells)}
        rows.append(cells)
    return rows


def cells_of(table: "Element") -> "Iterator[Element]":
    """All cells in order."""
    for row in _children(table, "tr"):
        yield from _children(row, "tc")


def inline(rows: Sequence[Sequence[Cell]]) -> str:
    """A table within a cell: each value beside the name of its column, rows parted by semicolons."""
    texts = [[" ".join(cell.text.split()) for cell in row] for row in rows]
    names = texts[0] if len(texts) > 1 and len(texts[0]) > 1 and all(texts[0]) else []
    lines: list[str] = []
    for row in texts[1:] if names else texts:
        pairs = ((names[i] if i < len(names) else "", said) for i, said in enumerate(row))
        lines.append(", ".join(f"{name}: {said}" if name else said for name, said in pairs if said))
    return "; ".join(filter(None, lines))


def _is_new(cell: WordCell, cells: Sequence[WordCell]) -> bool:
    return any(cell is other for other in cells)


def _goes_on(properties: "Element | None", name: str) -> bool:
    merge = properties.find(f"{_W}{name}") if properties is not None else None
    return merge is not None and merge.get(f"{_W}val", "continue") != "restart"


def _count(properties: "Element | None", name: str, other: int) -> int:
    stated = value(properties, name)
    return min(int(stated), _MOST_COLUMNS) if stated.isdecimal() and len(stated) < 6 else other


def _children(parent: "Element", tag: str) -> Iterator["Element"]:
    for child in parent:
        name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if name == tag:
            yield child
        elif name in _OPENED:
            yield from _children(child, tag)
