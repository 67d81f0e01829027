"""Spreadsheets and delimited text -> a line a row, each value beside the name of its column (`named_rows.py`)."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from io import BytesIO, StringIO
from itertools import islice
from zipfile import ZipFile

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers import sheet_ods, sheet_xls, sheet_xlsx
from ingest.readers.encoding import decode
from ingest.readers.named_rows import lines
from ingest.readers.package import check_package, locked, parse_xml, stated
from ingest.readers.sheet import Sheet
from ingest.readers.text import Part, assemble, clean, shapeless

Cell = int | float | str | bool | time | date | datetime | timedelta

_LOOK_AHEAD = 40  # lines by which the separator is judged
_OLE = b"\xd0\xcf\x11\xe0"
_AS_TEXT = re.compile(r'(?:(?<=[,;\t|])|^)=("[^"\n]*")(?=[,;\t|]|$)', re.M)  # so that Excel leaves a code as it is
_STATED = re.compile(r'"?sep=([,;\t|])"?\n', re.I)  # as Excel has it in a first line


def read_sheets(data: bytes, cfg: IngestConfig) -> Document:
    """An Excel or OpenDocument workbook; the name of a sheet is the heading of its section. Formulas: last values."""
    if data[:1] == b"\t" and data[1:2] in b"\x00\x02\x04":
        raise ReadError("a spreadsheet older than Excel 97", "open it in Excel or LibreOffice and save it as .xlsx")
    if not data.startswith(_OLE) or "EncryptedPackage".encode("utf-16-le") in data:
        check_package(data, "spreadsheet")
    return workbook(_sheets(data), stated(data))


def workbook(sheets: Iterable[Sheet], about: tuple[tuple[str, ...], str]) -> Document:
    """The document of some sheets, with the tags and the date that their file states."""
    notes: list[str] = []
    parts = [part for sheet in sheets if (part := sheet.part(notes))]
    tags, changed = about
    document = assemble(parts, tables=sum(1 for part in parts if part.text.strip()), notes=notes)
    return replace(document, tags=tags, date=changed)


def read_delimited(data: bytes, cfg: IngestConfig) -> Document:
    """Comma-, semicolon-, pipe- or tab-separated text."""
    written, encoding = decode(data, cfg)
    text = clean(written)
    csv.field_size_limit(2**31 - 1)  # a cell may be a whole document; the size of the file is limited
    stated_one = _STATED.match(text)
    if stated_one:
        text = text[stated_one.end() :]
    delimiter = stated_one[1] if stated_one else _delimiter(text)
    rows = csv.reader(StringIO(_AS_TEXT.sub(r"\1", text)), delimiter=delimiter, skipinitialspace=True)
    part = Part("\n".join(lines(enumerate(rows))))
    return assemble([part], encoding=encoding, tables=1, notes=shapeless(written))


def _sheets(data: bytes) -> Iterator[Sheet]:
    """The sheets of a workbook, by the reader of what it is."""
    if data.startswith(_OLE):
        yield from _old_sheets(data)
        return
    with ZipFile(BytesIO(data)) as archive:
        members = frozenset(archive.namelist())
        if sheet_xlsx.WORKBOOK in members:
            yield from sheet_xlsx.sheets(archive)
        elif "content.xml" in members:
            if "META-INF/manifest.xml" in members and b"encryption-data" in archive.read("META-INF/manifest.xml"):
                raise locked("spreadsheet", for_good=True)
            styles = parse_xml(archive.read("styles.xml")) if "styles.xml" in members else None
            yield from sheet_ods.sheets(parse_xml(archive.read("content.xml")), styles)
        else:
            yield from _values(data)


def _old_sheets(data: bytes) -> Iterator[Sheet]:
    """Those of an .xls; where it is damaged or has a form that xlrd does not know, their values."""
    try:
        found = list(sheet_xls.sheets(data))
    except ReadError:
        raise
    except Exception:  # xlrd lets nearly any type through; calamine says what is wrong, or reads it
        found = list(_values(data))
    yield from found


def _damaged(why: str) -> ReadError:
    return ReadError(f"damaged spreadsheet: {why}", "open it in Excel or LibreOffice and save it as .xlsx")


def _values(data: bytes) -> Iterator[Sheet]:
    """The sheets by calamine, which knows values and merged cells, and not how they are shown. Raises `ReadError`."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

    try:
        workbook = CalamineWorkbook.from_filelike(BytesIO(data))
    except PasswordError:
        raise locked("spreadsheet") from None
    except CalamineError as error:
        raise _damaged(str(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust, where calamine did not think of this damage
            raise
        raise _damaged("cut short or overwritten") from None
    for about in workbook.sheets_metadata:
        sheet = Sheet(about.name, about.visible != SheetVisibleEnum.Visible)
        found = workbook.get_sheet_by_name(about.name)
        if not sheet.hidden and found.start:
            for number, row in enumerate(found.iter_rows()):  # from row 1, and from the first used column
                for column, cell in enumerate(row, start=found.start[1]):
                    if cell != "":
                        sheet.put(number, column, _text(cell))
            sheet.merged = [(*start, *end) for start, end in found.merged_cell_ranges or ()]
        yield sheet


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
    sample = list(islice(StringIO(text), _LOOK_AHEAD))
    best, best_score = ",", 0.0
    for delimiter in ",\t;|":
        widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        usual = max(set(widths), key=widths.count, default=1)
        score = (usual - 1) * widths.count(usual) ** 2 / max(len(widths), 1) ** 2
        if score > best_score:
            best, best_score = delimiter, score
    return best
