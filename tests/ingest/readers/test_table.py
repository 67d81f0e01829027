"""Spreadsheets and delimited text."""

from datetime import date, datetime
from io import BytesIO
from zipfile import ZipFile

import pytest
import xlsxwriter

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from ingest.readers.table import read_delimited, read_sheets
from tests.ingest.readers.sheets import ods, ods_of, xls
from tests.ingest.readers.zipped import zipped

CFG = IngestConfig()
Rows = list[list[object]]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
    "550000000049454e44ae426082"
)


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


@pytest.mark.parametrize(("filtered", "grouped"), [(False, False), (True, False), (False, True)])
def test_hidden_sheets_rows_and_columns_are_left_out_and_named(filtered: bool, grouped: bool) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("Sales")
        for y, row in enumerate([["Team", "City", "Wins"], ["Reds", "Ulm", 3], ["Blues", "Bonn", 5]]):
            sheet.write_row(y + 1, 1, row)
        sheet.set_row(2, None, None, {"hidden": True, "level": int(grouped)})
        sheet.set_column(2, 2, None, None, {"hidden": True})
        if filtered:
            sheet.autofilter(1, 1, 3, 3)
        secret = workbook.add_worksheet("Secret")
        secret.write(0, 0, "MARKER")
        secret.hide()
    document = read_sheets(memory.getvalue(), CFG)
    reds = "Team: Reds | Wins: 3\n" if filtered else ""
    assert document.text == f"Team | Wins\n{reds}Team: Blues | Wins: 5"
    what = "column C" if reds else "row 3; column C"
    assert document.notes == (
        f"hidden rows or columns of a sheet were left out: Sales ({what})",
        "a hidden sheet was left out: Secret",
    )


def test_a_merged_cell_stands_for_every_cell_it_covers() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("Shifts")
        sheet.merge_range("A1:D1", "Shifts of the year")
        sheet.write_row("A2", ["Dept", "Shift", "Early", "Late"])
        sheet.merge_range("A3:A4", "Service")
        sheet.write_row("B3", ["Mon", 6, 2])
        sheet.write("B4", "Tue")
        sheet.merge_range("C4:D4", 7)
        sheet.merge_range("A5:D5", "From May on by another plan")
        sheet.write_row("A6", ["Store", "Wed", 1, 3])
    assert read_sheets(memory.getvalue(), CFG).text.split("\n") == [
        "Shifts of the year",
        "Dept | Shift | Early | Late",
        "Dept: Service | Shift: Mon | Early: 6 | Late: 2",
        "Dept: Service | Shift: Tue | Early: 7 | Late: 7",
        "From May on by another plan",
        "Dept: Store | Shift: Wed | Early: 1 | Late: 3",
    ]


def test_merged_names_stand_over_each_of_their_columns() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("Sales")
        sheet.merge_range("A1:A2", "Product")
        sheet.merge_range("B1:C1", "Domestic")
        sheet.merge_range("D1:E1", "Export")
        sheet.write_row("B2", ["Units", "Revenue", "Units", "Revenue"])
        sheet.write_row("A3", ["Pump X", 10, 2000, 30, 7200])
    document = read_sheets(memory.getvalue(), CFG)
    assert "Product: Pump X | Domestic Units: 10 | Domestic Revenue: 2000 | Export Units: 30" in document.text


@pytest.mark.parametrize(
    ("value", "form", "seen"),
    [
        (123, "00000", "00123"), (0.15, "0%", "15%"), (0.075, "0.0%", "7.5%"), (1.2604166666666667, "[h]:mm", "30:15"),
        (1234.5, '#,##0.00 "€"', "1,234.50 €"), (45717, 'yyyy"年"m"月"d"日"', "2025年3月1日"),
        (45717, "m/d/yyyy", "3/1/2025"),
        (-3.5, "0.0;(0.0)", "(3.5)"), (13800138000, "000-0000-0000", "138-0013-8000"), (45717, "[$-804]aaaa", "星期六"),
        (45717.75, "h:mm AM/PM", "6:00 PM"), (1500000, '0.0,,"M"', "1.5M"), (2.25, "# ?/?", "2 1/4"),
        (0.5, "General", "0.5"),
        (45717, '[DBNum1]yyyy"年"m"月"d"日"', "二〇二五年三月一日"), (12345.678, "0.00E+00", "1.23E+04"),
    ],
)  # fmt: skip
def test_a_cell_reads_as_it_is_shown(value: float, form: str, seen: str) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        workbook.add_worksheet("A").write(0, 0, value, workbook.add_format({"num_format": form}))
    assert read_sheets(memory.getvalue(), CFG).text == seen


def test_dates_count_from_1904_where_the_workbook_does() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory, {"date_1904": True}) as workbook:
        day = workbook.add_format({"num_format": "yyyy-mm-dd"})
        workbook.add_worksheet("A").write_datetime(0, 0, datetime(2024, 5, 6), day)
    assert read_sheets(memory.getvalue(), CFG).text == "2024-05-06"


def changed(data: bytes, name: str, before: bytes, after: bytes) -> bytes:
    with ZipFile(BytesIO(data)) as file:
        members = {member: file.read(member) for member in file.namelist()}
    assert before in members[name]
    return zipped(members | {name: members[name].replace(before, after)})


def test_nineteen_digits_are_kept() -> None:
    data = changed(book({"A": [[1234567]]}), "xl/worksheets/sheet1.xml", b"1234567", b"6222021234567890123")
    assert read_sheets(data, CFG).text == "6222021234567890123"


def test_comments_follow_the_row_of_their_cell() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("A")
        sheet.write_row(0, 0, ["Item", "Price"])
        sheet.write_row(1, 0, ["Pump", 12])
        sheet.write_row(2, 0, ["Hose", 4])
        sheet.write_comment("B1", "without tax")
        sheet.write_comment("B2", "valid until June only")
    assert read_sheets(memory.getvalue(), CFG).text.split("\n") == [
        "Item | Price", "[Price: without tax]", "Item: Pump | Price: 12", "[Price: 12: valid until June only]",
        "Item: Hose | Price: 4",
    ]  # fmt: skip


def test_formulas_without_a_value_are_named() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("Sums")
        sheet.write(0, 0, "Total")
        sheet.write_formula(0, 1, "=1+1", None, 987)
    data = changed(memory.getvalue(), "xl/worksheets/sheet1.xml", b"<v>987</v>", b"<v></v>")
    assert read_sheets(data, CFG).notes == (
        "formulas whose value is not in the file were left out: B1 of Sums; open and save it once",
    )


def test_raised_characters_in_a_cell_are_exponents_or_marks() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        high = workbook.add_format({"font_script": 1})
        sheet = workbook.add_worksheet("A")
        sheet.write_rich_string(0, 0, "10", high, "6", " cells")
        sheet.write_rich_string(1, 0, "28", high, "1", " days")
    assert read_sheets(memory.getvalue(), CFG).text == "10^6 cells\n28 [1] days"


def test_an_opendocument_sheet_reads_as_it_is_shown() -> None:
    def cell(text: str, attributes: str = "", inner: str = "") -> str:
        return f"<table:table-cell {attributes}>{inner}<text:p>{text}</text:p></table:table-cell>"

    note = "<office:annotation><text:p>until June</text:p></office:annotation>"
    rows = [
        cell("Shifts", 'table:number-columns-spanned="3"')
        + '<table:covered-table-cell table:number-columns-repeated="2"/>',
        cell("Dept") + cell("Hours") + cell("Share") + cell("Secret"),
        cell("Service", 'table:number-rows-spanned="2"') + cell("30:15") + cell("15%", "", note) + cell("MARKER"),
        "<table:covered-table-cell/>" + cell("7") + '<table:table-cell table:formula="of:=1+1"/>',
        cell("MARKER"),
    ]
    hide = ["", "", "", "", 'table:visibility="collapse"']
    lines = "".join(f"<table:table-row {h}>{row}</table:table-row>" for h, row in zip(hide, rows, strict=True))
    columns = '<table:table-column table:number-columns-repeated="3"/><table:table-column table:visibility="collapse"/>'
    hidden = '<style:style style:name="h"><style:table-properties table:display="false"/></style:style>'
    empty = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell/>'
    document = read_sheets(
        ods_of(
            f'<table:table table:name="A">{columns}{lines}{empty}</table:table-row></table:table>'
            f'<table:table table:name="B" table:style-name="h"><table:table-row>{cell("MARKER")}'
            "</table:table-row></table:table>",
            hidden,
        ),
        CFG,
    )
    assert document.text.split("\n") == [
        "Shifts", "Dept | Hours | Share", "Dept: Service | Hours: 30:15 | Share: 15%", "[Share: 15%: until June]",
        "Dept: Service | Hours: 7",
    ]  # fmt: skip
    assert [note.partition(":")[0] for note in document.notes] == [
        "hidden rows or columns of a sheet were left out", "formulas whose value is not in the file were left out",
        "a hidden sheet was left out",
    ]  # fmt: skip


def test_an_old_workbook_reads_as_it_is_shown() -> None:
    import xlwt

    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("A")
    for x, name in enumerate(["Dept", "Hours", "Day", "No.", "Secret"]):
        sheet.write(0, x, name)
    sheet.write_merge(1, 2, 0, 0, "客服部")
    for y in (1, 2):
        sheet.write(y, 1, 1.2604166666666667, xlwt.easyxf(num_format_str="[h]:mm"))
        sheet.write(y, 2, 45717, xlwt.easyxf(num_format_str='yyyy"年"m"月"d"日"'))
        sheet.write(y, 3, 7, xlwt.easyxf(num_format_str="000"))
        sheet.write(y, 4, "MARKER")
    sheet.col(4).hidden = True
    workbook.add_sheet("B").visibility = 1
    memory = BytesIO()
    workbook.save(memory)
    document = read_sheets(memory.getvalue(), CFG)
    assert document.text == "\n".join(
        ["Dept | Hours | Day | No.", *["Dept: 客服部 | Hours: 30:15 | Day: 2025年3月1日 | No.: 007"] * 2]
    )
    assert document.notes == (
        "hidden rows or columns of a sheet were left out: A (column E)", "a hidden sheet was left out: B",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["xlsx", "ods", "xls"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_damaged_workbook_is_one_clear_error_or_what_is_left_of_it(kind: str, share: float) -> None:
    grid = {"A": [["Name", "Sum"], ["Li", "5"]]}
    data = {"xlsx": book({"A": [["Name", "Sum"], ["Li", 5]]}), "ods": ods(grid), "xls": xls(grid)}[kind]
    try:
        said = read_bytes(f"a.{kind}", data[: int(len(data) * share)], CFG).text
    except ReadError as error:
        said = f"{error.message} {error.hint}"
    assert "\n" not in said or "Li" in said
    assert len(said.split()) > 3


def test_cells_of_an_xls_that_have_the_colour_of_their_ground_are_left_out_and_named() -> None:
    xlwt = pytest.importorskip("xlwt")
    book = xlwt.Workbook()
    sheet = book.add_sheet("Fares")
    dark = "pattern: pattern solid, fore_colour dark_blue"
    looks = (
        "font: colour white",
        f"font: colour white; {dark}",
        f"font: colour dark_blue; {dark}",
        "font: colour red",
        "",
    )
    for row, (look, text) in enumerate(zip(looks, ("marker", "title", "marker", "loud", "plain"), strict=True)):
        sheet.write(row, 0, f"a{row}")
        sheet.write(row, 1, text, xlwt.easyxf(look))
    memory = BytesIO()
    book.save(memory)
    document = read_sheets(memory.getvalue(), CFG)
    assert "marker" not in document.text
    assert all(word in document.text for word in ("title", "loud", "plain", "a0", "a2"))
    assert document.notes == ("12 characters that nobody sees were left out: they have the colour of their ground",)


def test_what_stands_over_the_cells_is_read_and_what_is_struck_out_is_not() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        struck = workbook.add_format({"font_strikeout": True})
        sheet = workbook.add_worksheet("价格")
        for y, (name, price) in enumerate([("产品", "价格"), ("甲", 10), ("乙", 20), ("丙", 30)]):
            sheet.write_row(y, 0, [name, price], struck if name == "乙" else None)
        sheet.write_rich_string(4, 0, "丁，", struck, "旧款，", "新款")
        sheet.write(4, 1, 40)
        sheet.insert_textbox("D2", "以上价格不含税")
        chart = workbook.add_chart({"type": "column"})
        assert chart
        chart.add_series({"values": "='价格'!$B$2:$B$5"})
        chart.set_title({"name": "各产品价格"})
        sheet.insert_chart("D9", chart)
    document = read_sheets(memory.getvalue(), CFG)
    assert document.text.split("\n") == [
        "产品 | 价格", "产品: 甲 | 价格: 10", "产品: 丙 | 价格: 30", "产品: 丁，新款 | 价格: 40",
        "", "以上价格不含税", "", "各产品价格",
    ]  # fmt: skip
    assert document.notes == ("6 characters were left out: they are struck out",)


@pytest.mark.parametrize("years", [(2024, 2025), ("2024", "2025"), ("2024年", "2025年"), ("Q1 2024", "Q2 2024")])
def test_merged_years_above_the_names_of_columns_belong_to_them(years: tuple[object, object]) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("A")
        sheet.merge_range("B1:C1", years[0])
        sheet.merge_range("D1:E1", years[1])
        sheet.write_row(1, 0, ["City", "Plan", "Actual", "Plan", "Actual"])
        sheet.write_row(2, 0, ["Bonn", 1, 2, 3, 4])
        sheet.write_row(3, 0, ["Ulm", 5, 6, 7, 8])
    a, b = years
    assert read_sheets(memory.getvalue(), CFG).text.split("\n")[1:] == [
        f"City: Bonn | {a} Plan: 1 | {a} Actual: 2 | {b} Plan: 3 | {b} Actual: 4",
        f"City: Ulm | {a} Plan: 5 | {a} Actual: 6 | {b} Plan: 7 | {b} Actual: 8",
    ]


def test_merged_cells_of_a_row_without_names_are_all_kept() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("A")
        sheet.merge_range("A1:B1", 17)
        sheet.merge_range("C1:D1", 18)
    assert read_sheets(memory.getvalue(), CFG).text == "17 | 18"


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        ("七", '@"元"', "七元"), ("七", '0;0;0;"- "@', "- 七"), ("七", "0.00", "七"), (56789, '0!.0,"万"', "5.7万"),
        (123, '[DBNum2][$-804]General"元"', "壹佰贰拾叁元"), (2025, "[DBNum1]0", "二〇二五"),
        (10020305.5, "[DBNum2]General", "壹仟零贰万零叁佰零伍.伍"),
    ],
)  # fmt: skip
def test_texts_and_chinese_formats_are_read_as_they_are_shown(value: object, code: str, text: str) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        workbook.add_worksheet("A").write(0, 0, value, workbook.add_format({"num_format": code}))
    assert read_sheets(memory.getvalue(), CFG).text == text


def test_what_a_number_format_hides_is_left_out_and_counted() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        hidden = workbook.add_format({"num_format": ";;;"})
        workbook.add_worksheet("A").write_row(0, 0, ["seen"])
        workbook.worksheets()[0].write_row(1, 0, ["unseen", 77], hidden)
    document = read_sheets(memory.getvalue(), CFG)
    assert document.text == "seen"
    assert document.notes == ("8 characters that nobody sees were left out: they are not displayed",)


def test_check_boxes_and_pictures_in_cells_read_as_they_are_shown() -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("A")
        sheet.write_row(0, 0, ["Item", "Done", "Sign"])
        for row, (name, done, sign) in enumerate([("a", True, "Green tick: approved"), ("b", False, "Red cross")], 1):
            sheet.write(row, 0, name)
            sheet.insert_checkbox(row, 1, done)
            sheet.embed_image(row, 2, "x.png", {"image_data": BytesIO(PIXEL + bytes([row])), "description": sign})
    assert read_sheets(memory.getvalue(), CFG).text.split("\n")[1:] == [
        "Item: a | Done: ☑ | Sign: Green tick: approved", "Item: b | Done: ☐ | Sign: Red cross",
    ]  # fmt: skip


def test_what_stands_over_the_cells_of_an_opendocument_sheet_is_read() -> None:
    cell = "<table:table-cell><text:p>{}</text:p>{}</table:table-cell>"
    picture = (
        "<draw:frame{}><draw:image xlink:href='Pictures/a.png'/><svg:title>Picture 3</svg:title>"
        "<svg:desc>{}</svg:desc></draw:frame>"
    )
    box = (
        "<draw:frame><draw:text-box><text:p>Prices in <text:span>CNY</text:span></text:p></draw:text-box></draw:frame>"
    )
    shape = "<draw:custom-shape><text:p>Valid until May</text:p></draw:custom-shape>"
    shown = picture.format("", "Pump with two valves")
    unshown = picture.format(" loext:decorative='true'", "A wave")
    tables = (
        f"<table:table table:name='A'><table:shapes>{box}{unshown}</table:shapes><table:table-row>"
        f"{cell.format('Item', shown)}{cell.format('Price', shape)}</table:table-row></table:table>"
    )
    lines = read_sheets(ods_of(tables), CFG).text.split("\n\n")
    assert lines == ["Item | Price", "Prices in CNY", "Pump with two valves", "Valid until May"]


@pytest.mark.parametrize(("value", "code", "text"), [
    (1.25, "# ?/4", "1 1/4"), (-1.375, "# ?/8", "-1 3/8"), (2.5, "# ??/16", "2 8/16"), (202425, '0000"/"00', "2024/25"),
    (3, "# ?/2", "3"),
])  # fmt: skip
def test_fractions_of_a_given_kind_keep_their_whole_part(value: float, code: str, text: str) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        workbook.add_worksheet("A").write(0, 0, value, workbook.add_format({"num_format": code}))
    assert read_sheets(memory.getvalue(), CFG).text == text


@pytest.mark.parametrize("in_memory", [False, True])
def test_characters_that_xml_cannot_hold_are_read_as_they_are(in_memory: bool) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory, {"constant_memory": in_memory}) as workbook:
        sheet = workbook.add_worksheet("A")
        sheet.write(0, 0, "东京")
        sheet.write(1, 0, "Tokyo\rbranch _x0041_")
    text = changed(memory.getvalue(), "xl/worksheets/sheet1.xml" if in_memory else "xl/sharedStrings.xml",
                   "东京".encode(), "东京_x000D_支店".encode())  # fmt: skip
    assert read_sheets(text, CFG).text.split("\n") == ["东京 支店", "Tokyo branch _x0041_"]


def test_codes_that_are_written_as_formulas_of_texts_and_spaces_before_quotes_are_none() -> None:
    assert csv('No.,Name\n="00123",Bolt\n="00124",Nut\n').text.split("\n")[1] == "No.: 00123 | Name: Bolt"
    assert csv('Name, City\nAnn, "Rome, Italy"\nBo, "Pisa"\n').text.split("\n")[1] == "Name: Ann | City: Rome, Italy"


@pytest.mark.parametrize(("stated", "text"), [
    ('float" office:value="4.2', "4.2"), ('currency" office:currency="EUR" office:value="9.5', "9.5 EUR"),
    ('percentage" office:value="0.125', "12.5%"), ('date" office:date-value="2025-03-01T00:00:00', "2025-03-01"),
    ('boolean" office:boolean-value="true', "TRUE"), ('string" office:string-value="Rope', "Rope"),
])  # fmt: skip
def test_a_value_that_no_text_stands_beside_is_read(stated: str, text: str) -> None:
    rows = f'<table:table-row><table:table-cell office:value-type="{stated}"/></table:table-row>'
    assert read_sheets(ods_of(f'<table:table table:name="A">{rows}</table:table>'), CFG).text == text


def test_raised_characters_in_a_cell_of_an_opendocument_sheet_are_exponents() -> None:
    style = '<style:style style:name="U" style:family="text"><style:text-properties style:text-position="super 58%"/>'
    cell = "<table:table-cell><text:p>10<text:span text:style-name='U'>6</text:span> l</text:p></table:table-cell>"
    data = ods_of(f'<table:table table:name="A"><table:table-row>{cell}</table:table-row></table:table>',
                  f"{style}</style:style>")  # fmt: skip
    assert read_sheets(data, CFG).text == "10^6 l"
