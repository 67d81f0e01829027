"""Spreadsheets and delimited text -> a line a row, each value beside the name of its column.

A chunk holds a few rows, mostly far from the header. `Region: North | Sales: 100` can be found by either name or
value, understood and quoted alone, and skips empty cells; repeating the header every so many rows does none of that
reliably, because chunks are cut by tokens.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from io import BytesIO, StringIO
from itertools import islice
from typing import TYPE_CHECKING
from zipfile import ZipFile

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode
from ingest.readers.package import check_package, stated
from ingest.readers.text import Part, assemble, clean, collapse, row_line

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

Cell = int | float | str | bool | time | date | datetime | timedelta

_LOOK_AHEAD = 20  # rows in which a header is looked for
_MAX_LABEL = 80
_MAX_CELLS = 30_000_000  # of the area from the first to the last cell: calamine fills it whole, 25 bytes a cell
_REFERENCE = re.compile(rb"""<(?:\w+:)?c\s(?:[^<>]*?\s)?r=["']([A-Z]{1,3})(\d{1,7})["'][^<>]*(?<!/)>""")
_VALUE = re.compile(r"[-+]?[\d.,:/%\s年月日-]+|[-+]?[$¥€£]?[\d.,]+%?|true|false", re.I)
_OLE = b"\xd0\xcf\x11\xe0"
_SHEET_BLOCK = 4_000_000


def read_sheets(data: bytes, cfg: IngestConfig) -> Document:
    """An Excel or OpenDocument workbook; the name of a sheet is the heading of its section. Formulas: last values."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    if data[:1] == b"\t" and data[1:2] in b"\x00\x02\x04":
        raise ReadError("a spreadsheet older than Excel 97", "open it in Excel or LibreOffice and save it as .xlsx")
    if not data.startswith(_OLE) or "EncryptedPackage".encode("utf-16-le") in data:
        check_package(data, "spreadsheet")
        _check_area(data)
    try:
        workbook = CalamineWorkbook.from_filelike(BytesIO(data))
    except PasswordError:
        hint = "save a copy without the password, or leave it out with ingest.exclude"
        raise ReadError("the spreadsheet is password-protected", hint) from None
    except CalamineError as error:
        hint = "open it in Excel or LibreOffice and save it as .xlsx"
        raise ReadError(f"damaged spreadsheet: {error}", hint) from None
    sheets = list(_sheets(workbook))
    tags, changed = stated(data)
    document = assemble(sheets, tables=sum(1 for sheet in sheets if sheet.text.strip()))
    return replace(document, tags=tags, date=changed)


def read_delimited(data: bytes, cfg: IngestConfig) -> Document:
    """Comma-, semicolon-, pipe- or tab-separated text."""
    text, encoding = decode(data, cfg)
    text = clean(text)
    csv.field_size_limit(2**31 - 1)  # a cell may be a whole document; the size of the file is limited
    rows = csv.reader(StringIO(text), delimiter=_delimiter(text))
    return assemble([Part("\n".join(_lines(rows)))], encoding=encoding, tables=1)


def _sheets(workbook: "CalamineWorkbook") -> Iterator[Part]:
    for name in workbook.sheet_names:
        rows = workbook.get_sheet_by_name(name).iter_rows()
        yield Part("\n".join(_lines([_text(cell) for cell in row] for row in rows)), (collapse(clean(name)),))


def _check_area(data: bytes) -> None:
    """Refuse an .xlsx of which two distant cells would fill the memory."""
    with ZipFile(BytesIO(data)) as archive:
        for member in archive.infolist():
            if not re.fullmatch(r"xl/worksheets/[^/]+\.xml", member.filename, re.I):
                continue
            columns: set[bytes] = set()
            last_row, rest = 0, b""
            with archive.open(member) as sheet:
                while block := sheet.read(_SHEET_BLOCK):
                    found = _REFERENCE.findall(rest + block)
                    columns.update(column for column, _ in found)
                    last_row = max(last_row, max((int(row) for _, row in found), default=0))
                    rest = block[-300:]
            width = max(map(_column, columns), default=0)
            if width * last_row > _MAX_CELLS:
                text = f"a sheet of {last_row:,} rows x {width:,} columns: more than {_MAX_CELLS:,} cells"
                raise ReadError(text, "delete the stray cells far from the table, or save it as .csv")


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _text(cell: Cell) -> str:
    """A cell as a reader would quote it.

    >>> _text(5.0), _text(0.1 + 0.2), _text(datetime(2024, 1, 2))
    ('5', '0.3', '2024-01-02')
    """
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e16 else f"{cell:.15g}"
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ", "seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell)


def _delimiter(text: str) -> str:
    """The separator that gives the first lines the most columns, and the same number."""
    sample = list(islice(StringIO(text), _LOOK_AHEAD * 2))
    best, best_score = ",", 0.0
    for delimiter in ",\t;|":
        widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        usual = max(set(widths), key=widths.count, default=1)
        score = (usual - 1) * widths.count(usual) ** 2 / max(len(widths), 1) ** 2
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """What stands above the header and the header as they are, then every row with the names of its columns."""
    rows = iter(rows)
    head = list(islice(rows, _LOOK_AHEAD))
    at = _header(head)
    for row in head[: at + 1] if at is not None else head:
        if line := row_line(row):
            yield line
    labels = [collapse(label).rstrip(":：") for label in head[at]] if at is not None else []
    for group in (head[at + 1 :] if at is not None else [], rows):
        for row in group:
            line = _record(labels, row) if labels else row_line(row)
            if line:
                yield line


def _record(labels: Sequence[str], row: Sequence[str]) -> str:
    pieces: list[str] = []
    for i, cell in enumerate(row):
        value = collapse(cell)
        label = labels[i] if i < len(labels) else ""
        if value:
            pieces.append(f"{label}: {value}" if label else value)
    return " | ".join(pieces)


def _header(head: Sequence[Sequence[str]]) -> int | None:
    """The row that names the columns: the first that is as wide as the table and holds distinct words, no values."""
    widths = [sum(1 for cell in row if cell.strip()) for row in head]
    width = max(widths, default=0)
    for i, row in enumerate(head[:-1]):
        cells = [collapse(cell) for cell in row if cell.strip()]
        if len(cells) < 2 or len(cells) < 0.6 * width or not any(widths[i + 1 :]):
            continue
        labels = [cell for cell in cells if len(cell) <= _MAX_LABEL and not _VALUE.fullmatch(cell)]
        return i if len(labels) == len(cells) and len(set(cells)) * 2 > len(cells) else None
    return None
