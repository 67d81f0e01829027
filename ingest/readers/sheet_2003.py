"""The sheets of an Excel 2003 XML workbook (SpreadsheetML 2003), which many office systems export as .xls.

Source: XML Spreadsheet Reference (Microsoft, 2001): Workbook, Style, NumberFormat, Table, Row, Cell, Data, Comment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ingest.readers.number_format import GENERAL, shown, shown_text
from ingest.readers.raised import raised
from ingest.readers.sheet import Sheet
from ingest.readers.unseen import BLACK, NOT_DISPLAYED, SAME_COLOUR, STRUCK, WHITE, Colour, alike

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

NAMESPACE = "urn:schemas-microsoft-com:office:spreadsheet"
_SS = f"{{{NAMESPACE}}}"
_MOST_COLUMNS, _MOST_ROWS = 16_384, 1_048_576
_NAMED = {  # formats by name; what depends on the reader's own country is written as ISO 8601, or without a currency
    "general": GENERAL, "general number": GENERAL, "general date": "yyyy-mm-dd h:mm", "long date": "yyyy-mm-dd",
    "medium date": "d-mmm-yy", "short date": "yyyy-mm-dd", "long time": "h:mm:ss", "medium time": "h:mm AM/PM",
    "short time": "h:mm", "currency": "#,##0.00;(#,##0.00)", "euro currency": "€#,##0.00;(€#,##0.00)", "fixed": "0.00",
    "standard": "#,##0.00", "percent": "0.00%", "scientific": "0.00E+00", "yes/no": '"Yes";"Yes";"No"',
    "true/false": '"True";"True";"False"', "on/off": '"On";"On";"Off"',
}  # fmt: skip
_STRIKES = frozenset(("s", "strike", "del"))


@dataclass(frozen=True, slots=True)
class _Style:
    """What a style says; None: nothing."""

    code: str | None = None
    struck: bool | None = None
    colour: str | None = None
    ground: str | None = None

    def over(self, other: "_Style") -> "_Style":
        return _Style(
            other.code if self.code is None else self.code,
            other.struck if self.struck is None else self.struck,
            other.colour if self.colour is None else self.colour,
            other.ground if self.ground is None else self.ground,
        )


def sheets(root: "Element") -> Iterator[Sheet]:
    """The sheets of a workbook element in order; raises `ReadError` where one reaches too far."""
    styles = _styles(root)
    for table in root.iterchildren(f"{_SS}Worksheet"):
        state = "".join(table.itertext("{urn:schemas-microsoft-com:office:excel}Visible"))
        sheet = Sheet(_get(table, "Name"), "Hidden" in state)
        if not sheet.hidden:
            for rows in table.iterchildren(f"{_SS}Table"):
                _Filling(sheet, styles, table).read(rows)
        yield sheet


def _styles(root: "Element") -> dict[str, _Style]:
    elements = {_get(style, "ID"): style for style in root.iterfind(f"{_SS}Styles/{_SS}Style")}
    found: dict[str, _Style] = {}
    for key in elements:
        look, seen, name = _Style(), set[str](), key
        while name in elements and name not in seen:
            seen.add(name)
            look = look.over(_style(elements[name]))
            name = _get(elements[name], "Parent")
        found[key] = look
    return found


def _style(style: "Element") -> _Style:
    code, font, ground = (style.find(_SS + name) for name in ("NumberFormat", "Font", "Interior"))
    stated = _get(code, "Format") if code is not None else None
    return _Style(
        None if stated is None else _NAMED.get(stated.lower(), stated) or GENERAL,
        None if font is None else _get(font, "StrikeThrough") == "1",
        None if font is None else _get(font, "Color") or "#000000",
        None if ground is None else (_get(ground, "Color") if _get(ground, "Pattern") == "Solid" else "#FFFFFF"),
    )


class _Filling:
    """Fills a sheet from a table; counts rows and columns as the file does, which leaves out empty ones."""

    def __init__(self, sheet: Sheet, styles: dict[str, _Style], worksheet: "Element") -> None:
        self.sheet, self.styles = sheet, styles
        self.columns: list[tuple[int, int, str]] = []  # first, last, style
        self.filtered = next(worksheet.iter("{*}AutoFilter"), None) is not None
        self.coloured = next(worksheet.iter("{*}ConditionalFormatting"), None) is not None

    def read(self, table: "Element") -> None:
        column, number = 0, 0
        for element in table:
            if element.tag == f"{_SS}Column":
                column = _place(element, column, _MOST_COLUMNS)
                last = min(column + _count(element, "Span"), _MOST_COLUMNS - 1)
                self.columns.append((column, last, _get(element, "StyleID")))
                if _get(element, "Hidden") == "1":
                    self.sheet.hidden_columns.update(range(column, last + 1))
                column = last + 1
            elif element.tag == f"{_SS}Row":
                number = _place(element, number, _MOST_ROWS)
                if _get(element, "Hidden") == "1" and not self.filtered:  # else it is hidden for the moment
                    self.sheet.hidden_rows.add(number)
                self.row(element, number)
                number += 1 + _count(element, "Span")

    def row(self, row: "Element", number: int) -> None:
        column = 0
        cells: dict[int, str] = {}
        for cell in row.iterchildren(f"{_SS}Cell"):
            column = _place(cell, column, _MOST_COLUMNS)
            across, down = _count(cell, "MergeAcross"), _count(cell, "MergeDown")
            if across or down:
                self.sheet.merged.append((number, column, number + down, column + across))
            if text := self.cell(cell, row, number, column):
                cells[column] = text
            for comment in cell.iterchildren(f"{_SS}Comment"):
                self.sheet.comment(number, column, "".join(comment.itertext()))
            column += across + 1
        self.sheet.put_row(number, cells)

    def cell(self, cell: "Element", row: "Element", number: int, column: int) -> str:
        """What a cell shows."""
        data = cell.find(f"{_SS}Data")
        raw = "" if data is None else "".join(data.itertext())
        if data is None or not raw.strip():
            if _get(cell, "Formula"):
                self.sheet.unreckoned.append((number, column))
            return ""
        name = _get(cell, "StyleID") or _get(row, "StyleID")
        name = name or next((style for first, last, style in self.columns if first <= column <= last), "")
        look = self.styles.get(name, _Style()).over(self.styles.get("Default", _Style()))
        text = self.written(data, raw, look.code or GENERAL)
        if not text and raw != "0":
            self.sheet.characters.leave(raw, NOT_DISPLAYED)
        why = STRUCK if look.struck else SAME_COLOUR if not self.coloured and _is_unseen(look) else ""
        self.sheet.characters.leave(text if why else "", why)
        return "" if why else text

    def written(self, data: "Element", raw: str, code: str) -> str:
        kind = _get(data, "Type")
        if kind == "Number":
            return shown(raw, code)
        if kind == "Boolean":
            return "TRUE" if raw.strip() in ("1", "true") else "FALSE"
        if kind == "DateTime":
            return _moment(raw.strip(), code)
        text = self.rich(data) if len(data) else raw
        return text if kind == "Error" or code == GENERAL else shown_text(text, code)

    def rich(self, data: "Element") -> str:
        """A text with markup: raised characters are written so, struck ones are left out."""
        pieces = [data.text or ""]
        for child in data:
            tag = str(child.tag).rpartition("}")[2].lower()
            inner = self.rich(child)
            if tag in _STRIKES:
                self.sheet.characters.leave(inner, STRUCK)
            else:
                pieces.append(raised("".join(pieces), inner) if tag == "sup" else inner)
            pieces.append(child.tail or "")
        return "".join(pieces)


def _moment(text: str, code: str) -> str:
    """A date or a time of day, which the file writes as ISO 8601, by its format; times have the day before 1900."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    since = moment.replace(tzinfo=None) - datetime(1899, 12, 31)
    days = since.days + (1 if since.days >= 60 else 0)  # Excel's calendar has a 29 February 1900
    if code == GENERAL:
        code = "yyyy-mm-dd h:mm" if since.seconds else "yyyy-mm-dd"
    return shown(str(days + (since.seconds + since.microseconds / 1e6) / 86_400), code)


def _is_unseen(look: _Style) -> bool:
    return alike(_colour(look.colour) or BLACK, WHITE if look.ground is None else _colour(look.ground))


def _colour(text: str | None) -> Colour | None:
    try:
        red, green, blue = bytes.fromhex((text or "").removeprefix("#"))
    except ValueError:
        return None
    return red / 255, green / 255, blue / 255


def _get(element: "Element", name: str) -> str:
    return element.get(_SS + name) or element.get(name) or ""


def _count(element: "Element", name: str) -> int:
    text = _get(element, name)
    return min(int(text), _MOST_ROWS) if text.isdecimal() and len(text) < 8 else 0


def _place(element: "Element", at: int, most: int) -> int:
    """The number from 0 of a row, a column or a cell: what it states, else that after the one before it."""
    stated = _count(element, "Index")
    return min(stated - 1 if stated else at, most - 1)
