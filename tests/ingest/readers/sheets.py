"""Small workbooks in the forms that no writer here makes otherwise."""

from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO

from tests.ingest.readers.zipped import zipped

Grid = Sequence[Sequence[str]]
_NAMES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:fo="urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" '
    'xmlns:loext="urn:org:documentfoundation:names:experimental:office:xmlns:loext:1.0" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"'
)


def ods_of(tables: str, styles: str = "") -> bytes:
    """An OpenDocument workbook of some `table:table` elements."""
    content = (
        f"<office:document-content {_NAMES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    return zipped({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": content.encode()})


def ods(sheets: Mapping[str, Grid]) -> bytes:
    """An OpenDocument workbook of texts."""
    tables = ""
    for name, rows in sheets.items():
        lines = "".join(f"<table:table-row>{''.join(map(_cell, row))}</table:table-row>" for row in rows)
        tables += f'<table:table table:name="{escape(name)}">{lines}</table:table>'
    return ods_of(tables)


def _cell(text: str) -> str:
    if not text:
        return "<table:table-cell/>"
    return f'<table:table-cell office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'


def xls(sheets: Mapping[str, Grid]) -> bytes:
    """A workbook of Excel 97, figures as numbers."""
    import xlwt

    book = xlwt.Workbook()
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for y, row in enumerate(rows):
            for x, text in enumerate(row):
                if text:
                    sheet.write(y, x, float(text) if text.replace(".", "", 1).isdigit() else text)
    memory = BytesIO()
    book.save(memory)
    return memory.getvalue()
