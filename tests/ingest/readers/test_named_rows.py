"""Rows -> lines that name their columns."""

import csv
from io import BytesIO, StringIO

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import IngestConfig
from ingest.readers.named_rows import lines
from ingest.readers.table import read_delimited, read_sheets
from tests.ingest.readers.sheets import ods, xls

CFG = IngestConfig()


def of(text: str) -> list[str]:
    return list(lines(enumerate(csv.reader(StringIO(text)))))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Region,2022,2023\nNorth,410,455\n", "Region: North | 2022: 410 | 2023: 455"),
        (",FY2022,FY2023\nNorth,410,455\n", "North | FY2022: 410 | FY2023: 455"),
        ("科目,1月,2月,3月\n租金,300,300,310\n", "科目: 租金 | 1月: 300 | 2月: 300 | 3月: 310"),
        ("Account,2024-01,2024-02\nRent,300,14.5\n", "Account: Rent | 2024-01: 300 | 2024-02: 14.5"),
        ("Name,2024/1/1,2024/1/2\n张三,早班,休\n", "Name: 张三 | 2024/1/1: 早班 | 2024/1/2: 休"),
        ("Room,08:00,09:00\nHall,Choir,Band\n", "Room: Hall | 08:00: Choir | 09:00: Band"),
        ("Account,1,2,3,4\nRent,300,310,320,330\n", "Account: Rent | 1: 300 | 2: 310 | 3: 320 | 4: 330"),
        ("Article,4711,4712,4720\nSteel,3,4.5,9\n", "Article: Steel | 4711: 3 | 4712: 4.5 | 4720: 9"),
        ("Plant,K-01,K-02\nUlm,3,4\n", "Plant: Ulm | K-01: 3 | K-02: 4"),
        ("项目,一季度,二季度,合计\n收入,12,15,27\n", "项目: 收入 | 一季度: 12 | 二季度: 15 | 合计: 27"),
        ("Item,,2022,,2023\nCost,,300,,310\n", "Item: Cost | 2022: 300 | 2023: 310"),
    ],
)
def test_years_months_and_codes_name_columns(text: str, holds: str) -> None:
    assert holds in of(text)


@pytest.mark.parametrize(
    "text",
    [
        "North,410,455,512\nSouth,380,371,366\n",
        "North,1.5,2.5\nSouth,30,44\n",
        "1,2,3\n4,5,6\n",
        "Lease,2022\nLoan,2023\n",
    ],
)
def test_figures_of_a_first_row_are_no_names(text: str) -> None:
    assert of(text) == [line.replace(",", " | ") for line in text.splitlines()]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (
            "Product,Domestic,,Export,\n,Units,Revenue,Units,Revenue\nPump,1,2,3,4\n",
            "Domestic Revenue: 2 | Export Units: 3",
        ),
        (
            ",Domestic,,Export,\n,2022,2023,2022,2023\nItem,EUR,EUR,USD,USD\nPump,1,2,3,4\n",
            "Domestic 2023 EUR: 2 | Export",
        ),
        ("Product,2023,,2024,\n,H1,H2,H1,H2\nPump,1,2,3,4\n", "Product: Pump | 2023 H1: 1 | 2023 H2: 2 | 2024 H1: 3"),
        ("Pump,Flow,Power\nType,(m3/h),(kW)\nP-200,25,5.5\n", "Pump Type: P-200 | Flow (m3/h): 25 | Power (kW): 5.5"),
    ],
)
def test_names_may_take_two_or_three_rows(text: str, holds: str) -> None:
    assert any(holds in line for line in of(text))


STAFF, ITEMS = "Staff,Hours,Room\nAnn,7,12\nBob,8,14\n", "Item,Price,Stock\nPump,12.5,3\nHose,4,9\n"
PUMP = "Item: Pump | Price: 12.5 | Stock: 3"


@pytest.mark.parametrize("between", ["\n", "", "Price list,,\n", "\n\nPrice list\n\n", "Price list for dealers\n"])
def test_each_table_of_a_sheet_has_its_own_names(between: str) -> None:
    found = of(STAFF + between + ITEMS)
    assert "Staff: Bob | Hours: 8 | Room: 14" in found
    assert PUMP in found
    assert [line for line in found if line.startswith("Price list")] == [
        b.strip(",") for b in between.split() and [between.strip()]
    ]


def test_tables_beside_each_other_are_read_one_after_the_other() -> None:
    text = "Region,Sales,,Product,Price\nNorth,410,,Pump,12\nSouth,380,,Hose,4\n,,,Valve,7\n"
    assert of(text)[-4:] == [
        "Product | Price",
        "Product: Pump | Price: 12",
        "Product: Hose | Price: 4",
        "Product: Valve | Price: 7",
    ]


@pytest.mark.parametrize(
    "text", ["Team,City,Wins\nReds,Ulm,3\n\nBlues,Bonn,5\n", "Team,City\nReds,Ulm\n\nBlues,Bonn\nX,Y\n"]
)
def test_a_table_goes_on_after_an_empty_row(text: str) -> None:
    assert any(line.startswith("Team: Blues | City: Bonn") for line in of(text))


def test_names_may_stand_alone_above_an_empty_row() -> None:
    assert of("Squares\n\nNumber,Square\n\n2,4\n3,9\n")[-2:] == ["Number: 2 | Square: 4", "Number: 3 | Square: 9"]


def test_words_amid_figures_are_no_names() -> None:
    found = of("Item,Price,Qty\nPump,on request,see list\nHose,4,9\nValve,n/a,-\nNut,7,2\n")
    assert "Item: Pump | Price: on request | Qty: see list" in found
    assert "Item: Nut | Price: 7 | Qty: 2" in found


def test_a_name_beside_its_value_names_no_column() -> None:
    assert of("Company:,Acme\nDate:,2024-01-02\n") == ["Company: | Acme", "Date: | 2024-01-02"]


WORD = st.text("abcdefgh 字词表", min_size=1, max_size=8).map(lambda text: f"w{text.strip()}")
FIGURE = st.integers(3_000, 99_999).map(str) | st.decimals("0.01", "999", places=2).map(lambda d: f"{d}x"[:-1])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Names of columns, the first of words; rows whose first cell is a word, with empty cells among the others."""
    width = draw(st.integers(2, 6))
    kind = draw(st.sampled_from(["words", "years", "months"]))
    if kind == "words":
        names = draw(st.lists(WORD, min_size=width, max_size=width, unique=True))
    else:
        first = draw(st.integers(1990, 2020))
        others = [str(first + i) if kind == "years" else f"{first}-{i + 1:02}" for i in range(width - 1)]
        names = ["Region", *others]
    cells = [FIGURE if kind != "words" else draw(st.sampled_from([FIGURE, WORD])) for _ in range(width - 1)]
    rows = draw(st.lists(st.tuples(WORD, *[cell | st.just("") for cell in cells]), min_size=2, max_size=8))
    rows.append((draw(WORD), *["7.25" if cell is FIGURE else "w" for cell in cells]))
    return names, [list(row) for row in rows]


def written_as(kind: str, names: list[str], rows: list[list[str]]) -> str:
    grid = [names, *rows]
    if kind == "csv":
        memory = StringIO()
        csv.writer(memory).writerows(grid)
        return read_delimited(memory.getvalue().encode(), CFG).text
    if kind == "ods":
        return read_sheets(ods({"T": grid}), CFG).text
    if kind == "xls":
        return read_sheets(xls({"T": grid}), CFG).text
    memory = BytesIO()
    with xlsxwriter.Workbook(memory, {"strings_to_numbers": True}) as book:
        sheet = book.add_worksheet("T")
        for y, row in enumerate(grid):
            sheet.write_row(y, 0, row)
    return read_sheets(memory.getvalue(), CFG).text


@pytest.mark.parametrize("kind", ["csv", "xlsx", "ods", "xls"])
@settings(max_examples=40, deadline=None)
@given(tables())
def test_every_cell_is_read_under_its_name(kind: str, table: tuple[list[str], list[list[str]]]) -> None:
    names, rows = table
    names = [" ".join(name.split()) for name in names]
    found = written_as(kind, names, rows).split("\n")
    assert found[0] == " | ".join(names)
    for row, line in zip(rows, found[1:], strict=True):
        cells = [f"{name}: {shown(cell, kind)}" for name, cell in zip(names, row, strict=True) if cell.strip()]
        assert line == " | ".join(cells)


def shown(cell: str, kind: str) -> str:
    """A figure without a format is written to a workbook as a number."""
    number = kind in ("xlsx", "xls") and cell.replace(".", "", 1).isdigit()
    return f"{float(cell):.15g}" if number else " ".join(cell.split())
