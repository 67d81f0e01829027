"""The sheets of an .xls, by xlrd: values, their formats, merged cells, comments, what is hidden."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ingest.readers.number_format import GENERAL, general, shown
from ingest.readers.sheet import Sheet
from ingest.readers.unseen import SAME_COLOUR, WHITE, Colour, alike

_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}

_FILTER = "\r"  # the built-in name of the area that a filter is on


def sheets(data: bytes) -> Iterator[Sheet]:
    """The sheets in order. Raises what xlrd raises on a damaged file: nearly any error."""
    import io

    import xlrd

    with xlrd.open_workbook(file_contents=data, formatting_info=True, on_demand=True, logfile=io.StringIO()) as book:
        since_1904 = book.datemode == 1
        for number in range(book.nsheets):
            found: Any = book.sheet_by_index(number)
            sheet = Sheet(found.name, found.visibility != 0)
            if not sheet.hidden:
                _fill(sheet, found, book, since_1904)
                if any(
                    name.builtin and name.name == _FILTER and name.scope == number + 1 for name in book.name_obj_list
                ):
                    sheet.hidden_rows.clear()  # they are hidden for the moment
            yield sheet
            book.unload_sheet(number)


def _fill(sheet: Sheet, found: Any, book: Any, since_1904: bool) -> None:
    for row in range(found.nrows):
        for column, cell in enumerate(found.row(row)):
            text = _text(cell, book, since_1904)
            if text and _is_seen(cell, book):
                sheet.put(row, column, text)
            elif text:
                sheet.characters.leave(text, SAME_COLOUR)
    sheet.merged += [(top, left, bottom - 1, right - 1) for top, bottom, left, right in found.merged_cells]
    sheet.hidden_rows |= {r for r, about in found.rowinfo_map.items() if about.hidden}
    sheet.hidden_columns |= {c for c, about in found.colinfo_map.items() if about.hidden}
    for (row, column), note in found.cell_note_map.items():
        sheet.comment(row, column, note.text)


def _is_seen(cell: Any, book: Any) -> bool:
    """Whether the text of a cell has another colour than its ground, where both are known."""
    form = book.xf_list[cell.xf_index]
    fill = form.background.fill_pattern
    ground = WHITE if fill == 0 else _colour(book, form.background.pattern_colour_index) if fill == 1 else None
    return not alike(_colour(book, book.font_list[form.font_index].colour_index), ground)


def _colour(book: Any, number: int) -> Colour | None:
    found = book.colour_map.get(number)
    return (found[0] / 255, found[1] / 255, found[2] / 255) if found else None


def _text(cell: Any, book: Any, since_1904: bool) -> str:
    if cell.ctype == 4:
        return "TRUE" if cell.value else "FALSE"
    if cell.ctype == 5:
        return _ERRORS.get(cell.value, "#ERR!")
    if cell.ctype not in (2, 3):
        return str(cell.value)
    form = book.format_map.get(book.xf_list[cell.xf_index].format_key)
    code = form.format_str if form else GENERAL
    raw = repr(cell.value)
    return general(Decimal(raw)) if code.lower() == "general" else shown(raw, code, since_1904)
