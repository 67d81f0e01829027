"""Tables of a web page that are written without the elements of one: by roles (WAI-ARIA 1.2), as data grids are."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_TABLES = frozenset(("table", "grid", "treegrid"))
_CELLS = {"cell": "td", "gridcell": "td", "columnheader": "th", "rowheader": "th"}


def write_tables(root: "Element") -> None:
    """Give tables, rows and cells by role the elements of one, where nothing stands between a row and its cells."""
    for table in list(root.iter("div", "section", "span", "ul")):
        if table.get("role") not in _TABLES:
            continue
        rows = [element for element in table.iterdescendants() if element.get("role") == "row"]
        cells = [cell for row in rows for cell in row]
        if not rows or any(cell.get("role") not in _CELLS for cell in cells):
            continue
        if any((text or "").strip() for row in rows for text in (row.text, *(cell.tail for cell in row))):
            continue
        table.tag = "table"
        for row in rows:
            row.tag = "tr"
        for cell in cells:
            cell.tag = _CELLS[cell.get("role", "")]
