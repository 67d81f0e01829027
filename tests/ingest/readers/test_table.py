"""Spreadsheets and delimited text."""

from datetime import date, datetime
from io import BytesIO
from zipfile import ZipFile

import pytest
import xlsxwriter

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.table import read_delimited, read_sheets
from tests.ingest.readers.zipped import zipped

CFG = IngestConfig()
Rows = list[list[object]]


def book(sheets: dict[str, Rows], far: tuple[int, int] | None = None) -> bytes:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        day = workbook.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for y, row in enumerate(rows):
                for x, value in enumerate(row):
                    if isinstance(value, date):
                        sheet.write_datetime(y, x, datetime(value.year, value.month, value.day), day)
                    elif value is not None:
                        sheet.write(y, x, value)
            if far:
                sheet.write(*far, "far away")
    return memory.getvalue()


def csv(text: str) -> Document:
    return read_delimited(text.encode(), CFG)


def test_a_sheet_is_a_section_under_its_name_and_a_row_names_its_columns() -> None:
    rows: Rows = [["地区", "金额", "日期"], ["华东", 1200.0, date(2024, 1, 2)], ["华南", 0.5, None]]
    document = read_sheets(book({"销售": rows, "Notes": [["Only one cell"]]}), CFG)
    assert [(s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (("销售",), "地区 | 金额 | 日期\n地区: 华东 | 金额: 1200 | 日期: 2024-01-02\n地区: 华南 | 金额: 0.5"),
        (("Notes",), "Only one cell"),
    ]


def test_a_title_above_the_header_is_kept_as_it_is() -> None:
    assert csv("Report 2024,,\n,,\nTeam,City,Wins\nReds,Ulm,3\n").text.split("\n") == [
        "Report 2024",
        "Team | City | Wins",
        "Team: Reds | City: Ulm | Wins: 3",
    ]


def test_rows_without_a_header_stay_plain() -> None:
    assert csv("1,2,3\n4,5,6\n7,8,9\n").text == "1 | 2 | 3\n4 | 5 | 6\n7 | 8 | 9"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    lines = [delimiter.join(row) for row in (["Name", "Motto"], ["Li", '"a, b; c"'], ["Wu", "x"], ["Xu", "y"])]
    assert csv("\n".join(lines)).text.split("\n")[1] == "Name: Li | Motto: a, b; c"


def test_quoted_line_breaks_and_surplus_cells_are_kept() -> None:
    assert csv('Name,Note\nLi,"one\ntwo",extra\n').text.split("\n")[1] == "Name: Li | Note: one two | extra"


def test_csv_in_gbk_is_read() -> None:
    document = read_delimited("姓名,部门\n张三,财务部\n".encode("gbk"), CFG)
    assert document.text.endswith("姓名: 张三 | 部门: 财务部")


def test_rows_far_below_the_header_still_name_their_columns() -> None:
    text = "Name,Amount\n" + "".join(f"row {i},{i}\n" for i in range(500))
    assert csv(text).text.endswith("Name: row 499 | Amount: 499")


def test_a_stray_cell_in_the_last_corner_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ReadError, match="1,048,576 rows x 16,384 columns"):
        read_sheets(book({"a": [["x"]]}, far=(1_048_575, 16_383)), CFG)


def test_a_stray_cell_at_some_distance_is_read() -> None:
    assert "far away" in read_sheets(book({"a": [["x"]]}, far=(2000, 30)), CFG).text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x09\x04\x06\x00\x00\x00\x10\x00" * 20, "older than Excel 97"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"<html><table></table></html>", "web page"),
        (b"just text", "not a spreadsheet"),
    ],
)
def test_what_is_no_workbook_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_sheets(data, CFG)


def test_tags_and_date_come_from_the_properties() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        workbook.add_worksheet().write(0, 0, "x")
        workbook.set_properties({"keywords": "预算; Budget", "category": "Finance", "created": datetime(2023, 5, 4)})
    document = read_sheets(memory.getvalue(), CFG)
    assert (document.tags, document.date) == (("预算", "Budget", "Finance"), "2023-05-04")


def test_damaged_properties_cost_no_more_than_themselves() -> None:
    with ZipFile(BytesIO(book({"A": [["x"]]}))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    document = read_sheets(zipped(members | {"docProps/core.xml": b""}), CFG)
    assert (document.text, document.tags, document.date) == ("x", (), "")
