"""What has the colour of its ground in a sheet is left out and named, wherever both colours are known."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import xlsxwriter
from xlsxwriter.color import Color

from core.config import IngestConfig
from core.types import Document
from ingest.readers.table import read_sheets
from tests.ingest.readers.sheets import ods_of

NOTE = "12 characters that nobody sees were left out: they have the colour of their ground"
LIGHT, DARK = Color.theme(0, 0), Color.theme(1, 0)  # ground and text of the theme
UNSEEN = [
    {"font_color": "#FFFFFF"}, {"font_color": "#FEFEFE"}, {"font_color": LIGHT},
    {"font_color": "#1F4E79", "bg_color": "#1F4E79", "pattern": 1}, {"bg_color": "#000000", "pattern": 1},
    {"font_color": LIGHT, "bg_color": "#FFFFFF", "pattern": 1},
    {"font_color": Color.theme(4, 2), "bg_color": Color.theme(4, 2), "pattern": 1},
    {"font_color": Color.theme(0, 1), "bg_color": "#F2F2F2", "pattern": 1},  # 5 % darker
]  # fmt: skip
SEEN = [
    {}, {"font_color": DARK}, {"font_color": "#808080"}, {"font_color": Color.theme(0, 4)},
    {"font_color": "#FFFFFF", "bg_color": "#1F4E79", "pattern": 1},
    {"font_color": LIGHT, "bg_color": Color.theme(1, 0), "pattern": 1},
    {"font_color": "#1F4E79", "bg_color": "#1F4E79", "fg_color": "#FFFFFF", "pattern": 4},  # a pattern of two colours
]  # fmt: skip


def workbook(look: dict[str, Any], add: Callable[[Any, Any], object] = lambda *_: None) -> Document:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as book:
        sheet = book.add_worksheet("Fares")
        for row, (name, text) in enumerate([("name", "fare"), ("tram", "seen"), ("bus", "marker"), ("boat", 123456)]):
            sheet.write(row, 0, name)
            sheet.write(row, 1, text, book.add_format(look) if row > 1 else None)
        add(book, sheet)
    return read_sheets(memory.getvalue(), IngestConfig())


@pytest.mark.parametrize("look", UNSEEN)
def test_cells_that_have_the_colour_of_their_ground_are_left_out_and_named(look: dict[str, Any]) -> None:
    document = workbook(look)
    assert "marker" not in document.text
    assert "123456" not in document.text
    assert all(word in document.text for word in ("seen", "bus", "boat"))
    assert document.notes == (NOTE,)


@pytest.mark.parametrize("look", SEEN)
def test_cells_of_another_colour_than_their_ground_are_read(look: dict[str, Any]) -> None:
    document = workbook(look)
    assert "marker" in document.text
    assert "123456" in document.text
    assert document.notes == ()


@pytest.mark.parametrize(
    "add",
    [
        lambda book, sheet: sheet.add_table("A1:B4", {"columns": [{"header": "name"}, {"header": "fare"}]}),
        lambda book, sheet: sheet.conditional_format("B2:B4", {
            "type": "no_blanks", "format": book.add_format({"bg_color": "#1F4E79"}),
        }),
    ],
    ids=["table", "condition"],
)  # fmt: skip
def test_where_something_else_colours_the_cells_they_are_read(add: Callable[[Any, Any], object]) -> None:
    document = workbook({"font_color": "#FFFFFF"}, add)
    assert "marker" in document.text
    assert "123456" in document.text
    assert document.notes == ()


@pytest.mark.parametrize("inline", [False, True], ids=["shared", "inline"])
def test_of_a_cell_whose_runs_have_colours_those_on_the_same_ground_are_left_out(inline: bool) -> None:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory, {"constant_memory": inline}) as book:
        sheet = book.add_worksheet()
        white, dark = book.add_format({"font_color": "#FFFFFF"}), book.add_format({"font_color": "#303030"})
        on_white, on_dark = white, book.add_format({"bg_color": "#303030", "pattern": 1})
        sheet.write(0, 0, "fare")
        sheet.write_rich_string(1, 0, dark, "seen one ", white, "marker", dark, " seen two")
        sheet.write_rich_string(2, 0, dark, "seen three ", white, "marker", on_white)  # the cell's own font is white
        sheet.write_rich_string(3, 0, white, "seen four ", dark, "marker", on_dark)
    document = read_sheets(memory.getvalue(), IngestConfig())
    assert "marker" not in document.text
    assert all(f"seen {number}" in document.text for number in ("one", "two", "three", "four"))
    assert document.notes == ("18 characters that nobody sees were left out: they have the colour of their ground",)


def test_coloured_runs_are_read_where_something_else_colours_the_cells() -> None:
    def runs(book: Any, sheet: Any) -> None:
        sheet.write_rich_string(5, 0, "boat ", book.add_format({"font_color": "#FFFFFF"}), "marker two")
        sheet.add_table("A1:B6", {"columns": [{"header": "name"}, {"header": "fare"}]})

    document = workbook({}, runs)
    assert "boat marker two" in document.text
    assert document.notes == ()


def opendocument(look: str, on: str) -> Document:
    """A sheet whose cell bears a look that is stated of itself, its row, its column or a part of its text."""
    family = "text" if on == "span" else "table-cell"
    usual = ' table:default-cell-style-name="s"'
    own = ' table:style-name="s"' if on == "cell" else ""
    text = '<text:span text:style-name="s">marker</text:span>' if on == "span" else "marker"
    row = (
        f"<table:table-row{usual if on == 'row' else ''}>"
        '<table:table-cell table:style-name="Other"><text:p>bus</text:p></table:table-cell>'
        f'<table:table-cell office:value-type="string"{own}><text:p>{text}</text:p></table:table-cell>'
        "</table:table-row>"
    )
    columns = f"<table:table-column/><table:table-column{usual if on == 'column' else ''}/>"
    style = f'<style:style style:name="s" style:family="{family}">{look}</style:style>'
    table = f'<table:table table:name="Fares">{columns}{row}</table:table>'
    return read_sheets(ods_of(table, style), IngestConfig())


TEXT_WHITE = '<style:text-properties fo:color="#ffffff"/>'
ON_BLUE = '<style:table-cell-properties fo:background-color="#1f4e79"/>'


@pytest.mark.parametrize("on", ["cell", "row", "column", "span"])
def test_a_cell_of_an_opendocument_sheet_of_the_colour_of_its_ground_is_left_out_and_named(on: str) -> None:
    document = opendocument(TEXT_WHITE, on)
    assert "marker" not in document.text
    assert "bus" in document.text
    assert document.notes == (NOTE.replace("12", "6"),)


@pytest.mark.parametrize(
    "look",
    [
        ON_BLUE + TEXT_WHITE,
        '<style:text-properties fo:color="#808080"/>',
        TEXT_WHITE + '<style:map style:condition="cell-content()&gt;0" style:apply-style-name="Bad"/>',
    ],
    ids=["ground", "grey", "condition"],
)
def test_a_cell_of_an_opendocument_sheet_that_may_be_seen_is_read(look: str) -> None:
    document = opendocument(look, "cell")
    assert "marker" in document.text
    assert document.notes == ()


def test_a_cell_of_an_opendocument_sheet_that_is_struck_out_is_left_out_and_named() -> None:
    document = opendocument('<style:text-properties style:text-line-through-style="solid"/>', "cell")
    assert "marker" not in document.text
    assert document.notes == ("6 characters were left out: they are struck out",)


def test_cells_in_tiny_letters_are_left_out_and_named() -> None:
    document = workbook({"font_size": 1})
    assert "marker" not in document.text
    assert document.notes == ("12 characters that nobody sees were left out: they are too small to be read",)
    assert "marker" in workbook({"font_size": 6}).text


def test_of_a_string_of_several_sizes_the_letters_that_can_be_read_are() -> None:
    def add(book: Any, sheet: Any) -> None:
        small, usual = book.add_format({"font_size": 1}), book.add_format({"font_size": 11})
        sheet.write_rich_string(5, 0, usual, "shown ", small, "tiny", usual, " again", small)

    document = workbook({}, add)
    assert "shown" in document.text
    assert "again" in document.text
    assert "tiny" not in document.text
    assert document.notes == ("4 characters that nobody sees were left out: they are too small to be read",)


def test_columns_and_rows_without_size_are_hidden() -> None:
    document = workbook({}, lambda _, sheet: (sheet.set_column(1, 1, 0), sheet.set_row(2, 0)))
    assert "marker" not in document.text
    assert "seen" not in document.text
    assert "boat" in document.text
    assert document.notes == ("hidden rows or columns of a sheet were left out: Fares (row 3; column B)",)
    assert "marker" in workbook({}, lambda _, sheet: (sheet.set_column(1, 1, 0.5), sheet.set_row(2, 5))).text


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"font": {"color": "#FFFFFF"}}, False), ({"font": {"color": "#FFFFFF"}, "fill": {"color": "#1F4E79"}}, True),
        ({"font": {"color": "#1F4E79"}, "fill": {"color": "#1F4E79"}}, False), ({}, True),
        ({"font": {"color": "#FFFFFF"}, "fill": {"none": True}}, True),
    ],
)  # fmt: skip
def test_a_text_box_whose_letters_have_its_colour_is_left_out(options: dict[str, Any], seen: bool) -> None:
    document = workbook({}, lambda _, sheet: sheet.insert_textbox(8, 0, "boxed", options))
    assert ("boxed" in document.text) == seen
    assert bool(document.notes) != seen
