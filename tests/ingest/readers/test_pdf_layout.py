"""How a page of a PDF is read: columns, tables, raised figures, fields, comments, running lines."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pikepdf import Array, AttachedFileSpec, Dictionary, Name, Pdf, String

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes
from ingest.readers.pdf import read_pdf
from ingest.readers.pdf_layout import layout
from ingest.readers.pdf_words import Words
from tests.ingest.readers.test_pdf import build, saved

CFG = IngestConfig(ocr="off")
Put = tuple[float, float, str]  # from the left, from below, what


def pdf_of(*pages: Sequence[Put], size: float = 11, drawn: str = "", rotate: int = 0) -> Pdf:
    """Pages of texts at their places, in that order in the content stream."""
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    for puts in pages:
        page = pdf.add_blank_page(page_size=(612, 792))
        page.Resources = Dictionary(Font=Dictionary(F1=font))
        texts = " ".join(f"BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET" for x, y, text in puts)
        page.Contents = pdf.make_stream(f"{drawn} {texts}".encode("latin-1"))
        if rotate:
            page.Rotate = rotate
    return pdf


def read(pdf: Pdf) -> Document:
    return read_pdf(saved(pdf), CFG)


def text_of(*pages: Sequence[Put], size: float = 11) -> str:
    return read(pdf_of(*pages, size=size)).text


LEFT = [
    "The committee reviewed the annual",
    "report of the board in the spring",
    "of the year and found nothing",
    "amiss in it.",
]
RIGHT = [
    "It approved the budget for the",
    "coming fiscal year, with two votes",
    "against it, and asked for a plan",
    "by the end of May.",
]


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("shift", [0, 5])
def test_columns_are_read_one_after_the_other(by_rows: bool, shift: int) -> None:
    left = [(60.0, 700.0 - 14 * i, line) for i, line in enumerate(LEFT)]
    right = [(330.0, 700.0 - shift - 14 * i, line) for i, line in enumerate(RIGHT)]
    body = [put for pair in zip(left, right, strict=True) for put in pair] if by_rows else [*right, *left]
    title = (60.0, 740.0, "Report of the committee on the annual accounts, its findings and what follows from them")
    found = " ".join(text_of([title, *body]).split())
    assert found.endswith(" ".join([*LEFT, *RIGHT]))
    assert found.startswith(title[2])


def test_three_columns_are_read_one_after_the_other() -> None:
    columns = [[f"{name} line {i} of the text here" for i in range(5)] for name in ("First", "Second", "Third")]
    puts = [(40.0 + 185 * c, 700.0 - 14 * i, columns[c][i]) for i in range(5) for c in range(3)]
    assert " ".join(text_of(puts, size=9).split()) == " ".join(line for column in columns for line in column)


FIGURE = st.integers(0, 99_999).map(lambda n: f"{n:,}")
WORD = st.sampled_from(["Pump", "Hose", "Valve", "Seal kit", "Motor", "Filter", "Bearing", "Cover", "Gear"])


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """A row of names, then rows of a word and figures, some cells empty."""
    width = draw(st.integers(3, 5))
    names = ["Item", *draw(st.permutations(["Price", "Stock", "Weight", "2023", "2024"]))[: width - 1]]
    rows = draw(st.lists(st.tuples(WORD, *[FIGURE | FIGURE | st.just("")] * (width - 1)), min_size=3, max_size=8))
    full = draw(st.tuples(WORD, *[FIGURE] * (width - 1)))
    return [names, list(full), *map(list, rows), list(full)]


def table_puts(rows: list[list[str]], top: float = 700) -> list[Put]:
    return [(60 + 100 * x, top - 18 * y, cell) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell]


def rules(rows: list[list[str]], top: float = 700) -> str:
    wide, high = len(rows[0]), len(rows)
    across = [f"56 {top + 13 - 18 * y} m {56 + 100 * wide} {top + 13 - 18 * y} l S" for y in range(high + 1)]
    down = [f"{56 + 100 * x} {top + 13} m {56 + 100 * x} {top + 13 - 18 * high} l S" for x in range(wide + 1)]
    return "0.5 w " + " ".join(across + down)


def markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


@pytest.mark.parametrize("ruled", [True, False])
@settings(max_examples=40, deadline=None)
@given(rows=tables(), by_columns=st.booleans())
def test_a_table_is_a_table_with_its_empty_cells(ruled: bool, rows: list[list[str]], by_columns: bool) -> None:
    puts = table_puts(rows)
    puts.sort(key=lambda put: (put[0], -put[1]) if by_columns else (-put[1], put[0]))
    document = read(pdf_of(puts, drawn=rules(rows) if ruled else ""))
    assert document.text == markdown(rows)
    assert document.tables == 1


def test_lines_before_and_after_a_table_stay_lines() -> None:
    rows = [["Item", "Price", "Stock"], ["Pump", "12", "3"], ["Hose", "4", "9"], ["Seal", "7", "1"]]
    before = (60.0, 730.0, "Prices of the spare parts that we keep in our store, in euros without tax")
    after = (60.0, 610.0, "All prices are valid until the end of June and may change without notice after it")
    for drawn in ("", rules(rows)):
        document = read(pdf_of([before, *table_puts(rows), after], drawn=drawn))
        assert document.text == f"{before[2]}\n\n{markdown(rows)}\n\n{after[2]}"


def test_a_merged_cell_of_a_ruled_table_stands_for_all_that_it_covers() -> None:
    rows = [["Shift", "Early", "Late"], ["Mon", "6", "2"], ["Tue", "9", ""]]
    drawn = rules(rows).replace("256 713 m 256 659 l S", "256 713 m 256 677 l S")
    document = read(pdf_of(table_puts(rows), drawn=drawn))
    assert document.text == markdown([["Shift", "Early", "Late"], ["Mon", "6", "2"], ["Tue", "9", "9"]])


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_that_goes_on_over_a_page_end_names_its_columns_again(repeated: bool, ruled: bool) -> None:
    names = ["Item", "Price", "Stock"]
    rows = [["Pump", "12", "3"], ["Hose", "4", "9"], ["Seal", "7", "1"], ["Gear", "8", "2"]]
    first, second = [names, *rows], [names, *rows] if repeated else rows
    pages = [table_puts(first), table_puts(second)]
    pdf = pdf_of(*pages)
    if ruled:
        for page, part in zip(pdf.pages, (first, second), strict=True):
            page.contents_add(pdf.make_stream(rules(part).encode()))
    assert read(pdf).text == f"{markdown(first)}\n\n{markdown([names, *rows])}"


def test_labels_and_lists_are_no_tables() -> None:
    text = text_of(
        [
            (60, 700, "Name:"), (200, 700, "Marta"), (60, 680, "City:"), (200, 680, "Ulm"), (60, 640, "1."),
            (90, 640, "Stop the pump"), (60, 620, "2."), (90, 620, "Close the valve"),
        ]
    )  # fmt: skip
    assert text == "Name: Marta\nCity: Ulm\n1. Stop the pump\n2. Close the valve"


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("before", "mark", "after", "reads"),
    [
        ("Annual leave is 28", "1", " days", "28 [1] days"), ("not above 10", "-6", " mol", "10^-6 mol"),
        ("an area of 12 m", "2", " or so", "12 m^2 or so"), ("more than 10", "6", " cells", "10^6 cells"),
        ("paid by the board", "2", " in May", "board [2] in May"),
    ],
)  # fmt: skip
def test_raised_figures_are_marks_or_exponents(long: bool, before: str, mark: str, after: str, reads: str) -> None:
    line = "a line of a text that goes on and on over the whole width of this page, without any end"
    pdf = build([[line] * 30 if long else []])
    page = pdf.pages[0]
    line = f"BT /F1 11 Tf 40 100 Td ({before}) Tj /F1 7 Tf 5 Ts ({mark}) Tj 0 Ts /F1 11 Tf ({after}) Tj ET"
    page.contents_add(pdf.make_stream(line.encode()))
    assert reads in read(pdf).text


def with_annotations(*annotations: Dictionary, fields: bool = False) -> Pdf:
    pdf = pdf_of(
        [(60, 700, "Applicant:"), (60, 680, "Electric:"), (200, 680, "yes"), (60, 660, "Badge:"), (200, 660, "yes")]
    )
    made = [pdf.make_indirect(annotation) for annotation in annotations]
    pdf.pages[0].Annots = Array(made)
    if fields:
        pdf.Root.AcroForm = Dictionary(Fields=Array(made))
    return pdf


def widget(kind: str, top: float, **more: Any) -> Dictionary:
    return Dictionary(
        Type=Name.Annot, Subtype=Name.Widget, FT=Name(kind), T=String(f"f{top}"), F=4,
        Rect=[180, top - 4, 195 if kind == "/Btn" else 400, top + 12], **more,
    )  # fmt: skip


def test_values_and_boxes_of_a_form_stand_where_they_are_seen() -> None:
    form = with_annotations(
        widget("/Tx", 700, V=String("Marta Lindqvist")), widget("/Btn", 680, V=Name.Yes, AS=Name.Yes),
        widget("/Btn", 660, V=Name.Off, AS=Name.Off), fields=True,
    )  # fmt: skip
    assert read(form).text == "Applicant: Marta Lindqvist\nElectric: ☑ yes\nBadge: ☐ yes"


def test_comments_follow_the_page_and_text_on_it_stands_in_its_place() -> None:
    note = Dictionary(
        Type=Name.Annot, Subtype=Name.Text, Rect=[60, 500, 80, 520], Contents=String("45 Nm"), T=String("Ines")
    )
    free = Dictionary(Type=Name.Annot, Subtype=Name.FreeText, Rect=[60, 710, 300, 724], Contents=String("Approved"))
    hidden = Dictionary(Type=Name.Annot, Subtype=Name.Text, Rect=[1, 1, 2, 2], Contents=String("MARKER"), F=2)
    lines = read(with_annotations(note, free, hidden)).text.split("\n")
    assert (lines[0], lines[-1]) == ("Approved", "[Ines: 45 Nm]")
    assert not any("MARKER" in line for line in lines)


def test_attached_files_are_read_below_their_name() -> None:
    pdf = build([["Invoice of May"]])
    pdf.attachments["sum.csv"] = AttachedFileSpec(pdf, b"Item,Sum\nPump,4711.20\n", filename="sum.csv")  # pyright: ignore[reportCallIssue]
    document = read_bytes("a.pdf", saved(pdf), CFG)
    assert document.text.endswith("Item: Pump | Sum: 4711.20")
    assert document.sections[-1].headings == ("sum.csv",)
    assert read_pdf(saved(pdf), CFG).notes == ("1 attached files were not read",)


def running(n: int, count: int) -> list[Put]:
    body = [(60.0, 700.0 - 14 * i, f"Body {n} line {i} speaks of the matter at hand, and goes on") for i in range(4)]
    return [(60, 760, "Acme Ltd. Annual report"), (60, 40, f"Page {n} of {count}"), *body]


def test_headers_footers_and_page_numbers_do_not_stand_amid_the_text() -> None:
    text = text_of(*[running(n, 4) for n in range(1, 5)])
    assert text.count("Acme Ltd.") == 1
    assert text.startswith("Acme Ltd. Annual report")
    assert text.count("Body ") == 16
    assert text.count("Page ") <= 1


def test_a_word_cut_by_the_page_end_is_joined() -> None:
    first, second = running(1, 2), running(2, 2)
    first.append((60, 630, "and so it was decided to re-"))
    second[2] = (60, 700, "pair the roof before the winter comes, and to pay it")
    assert "to repair the roof" in " ".join(text_of(first, second).split())


def test_lines_that_end_pages_and_differ_are_kept() -> None:
    text = text_of(
        *[[(60, 700, f"Chapter {n}"), (60, 680, f"Total of the year {1990 + n * n}: {n * 37}")] for n in range(1, 6)]
    )
    assert all(f"{1990 + n * n}: {n * 37}" in text for n in range(1, 6))


@pytest.mark.parametrize("rotate", [0, 90])
def test_a_turned_page_is_read_as_it_is_seen(rotate: int) -> None:
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    page = pdf.add_blank_page(page_size=(612, 792))
    page.Resources = Dictionary(Font=Dictionary(F1=font))
    rows = [["Item", "Price", "Stock"], ["Pump", "12", "3"], ["Hose", "4", "9"], ["Seal", "7", "1"]]
    texts = [f"BT /F1 11 Tf 0 1 -1 0 {700 - y} {x} Tm ({cell}) Tj ET" for x, y, cell in table_puts(rows)]
    page.Contents = pdf.make_stream(" ".join(texts).encode())
    if rotate:
        page.Rotate = rotate
    assert read(pdf).text == markdown(rows)


def test_text_outside_the_crop_stays_out_however_short() -> None:
    pdf = pdf_of([(60, 700, "Inside"), (60, 60, "OUT")])
    pdf.pages[0].CropBox = Array([0, 300, 612, 792])
    assert read(pdf).text == "Inside"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_damaged_form_is_one_error_or_what_is_left(share: float) -> None:
    data = saved(with_annotations(widget("/Tx", 700, V=String("Marta")), fields=True))
    try:
        said = read_pdf(data[: int(share * len(data))], CFG).text
    except Exception as error:
        said = str(error)
    assert said


def test_lines_over_each_other_are_read_one_after_the_other() -> None:
    text = text_of([(60, 700, "Text the first time"), (62, 700.3, "Text the second time")])
    assert "Text the first time" in text
    assert "Text the second time" in text


def grid_rules(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Rules around the cells of a grid."""
    return " ".join(f"{a:.1f} {d:.1f} {b - a:.1f} {c - d:.1f} re S" for a, b in pairwise(xs) for c, d in pairwise(ys))


def statement(values: Sequence[Sequence[str]], signs: bool = True) -> list[Put]:
    """Labels at the left, figures set to the right, signs of the currency apart in the first and the last row."""
    puts: list[Put] = []
    for number, row in enumerate(values):
        y = 660 - 16.0 * number
        puts.append((60, y, row[0]))
        for column, value in enumerate(row[1:]):
            right = 330 + 75.0 * column
            puts.append((right - 5.6 * len(value), y, value))
            if signs and number in (0, len(values) - 1):
                puts.append((right - 58, y, "$"))
    return puts


BODY = [
    ["Cash and cash equivalents", "1,254", "859"],
    ["Receivables, net", "83", "122"],
    ["Goodwill", "5,285", "5,366"],
    ["Total assets", "6,622", "6,347"],
]


def test_names_above_figures_that_rules_do_not_hold_name_their_columns() -> None:
    ys = [672 - 16.0 * number for number in range(5)]
    names = [(310.0, 680.0, "2023"), (385.0, 680.0, "2022")]
    frame = grid_rules([55, 250, 266, 335], ys) + " " + grid_rules([338, 345, 412], ys)
    text = read(pdf_of([*names, *statement(BODY)], drawn=frame)).text
    assert "|  | 2023 | 2022 |" in text
    assert "| Cash and cash equivalents | $ 1,254 | $ 859 |" in text
    assert "| Receivables, net | 83 | 122 |" in text


def test_rules_around_figures_alone_do_not_part_them_from_their_labels() -> None:
    ys = [672 - 16.0 * number for number in range(5)]
    text = read(
        pdf_of(statement(BODY), drawn=grid_rules([255, 268, 335], ys) + " " + grid_rules([338, 345, 412], ys))
    ).text
    assert "| Goodwill | 5,285 | 5,366 |" in text


def test_names_over_groups_of_columns_stand_with_each_of_them() -> None:
    rows = [[label, a, b, a, b] for label, a, b in BODY]
    over = [(310.0, 712.0, "Three months ended"), (460.0, 712.0, "Six months ended")]
    names = [(308.0 + 75 * number, 690.0, str(2023 - number % 2)) for number in range(4)]
    text = text_of([*over, *names, *statement(rows)], size=9)
    names_read = text.split("\n")[0]
    assert names_read == (
        "|  | Three months ended 2023 | Three months ended 2022 | Six months ended 2023 | Six months ended 2022 |"
    )


def test_names_at_the_left_of_figures_at_the_right_are_those_of_their_columns() -> None:
    names = [(60.0, 680.0, "Part"), (225.0, 680.0, "North"), (345.0, 680.0, "South")]
    rows = [["Pump", "109,792", "404,707"], ["Valve", "53,117", "953,076"], ["Seal", "747,011", "546,975"]]
    assert text_of([*names, *statement(rows, signs=False)]).split("\n")[0] == "| Part | North | South |"


def test_items_of_a_list_between_tables_are_no_rows() -> None:
    table = statement([["Sales", "1,254", "859"], ["Costs", "83", "122"]], signs=False)
    items = [
        (60.0, 600.0, "-"),
        (80.0, 600.0, "an increase in the costs of parts and of freight, both of them in the first half"),
        (60.0, 586.0, "-"),
        (80.0, 586.0, "a change in the mix of products that were sold in the second half of the year"),
    ]
    text = text_of([*table, *items], size=10)
    assert "| Costs | 83 | 122 |" in text
    assert "\n- an increase in the costs of parts" in text


def test_lines_of_columns_that_lie_between_each_other_are_read_by_column() -> None:
    left = [(60.0, 700.0 - 14 * i, line) for i, line in enumerate(LEFT * 3)]
    right = [(330.0, 693.0 - 14 * i, line) for i, line in enumerate(RIGHT * 3)]
    text = text_of(sorted([*left, *right], key=lambda put: -put[1]))
    assert text.index("amiss in it.") < text.index("It approved the budget")


def test_no_word_of_a_crowded_page_is_lost() -> None:
    texts = [f"w{n}" for n in range(20_100)]
    up = np.arange(len(texts), dtype=np.float64) * -10.0
    boxes = np.stack([up * 0, up, up * 0 + 20, up + 8], axis=1)
    said = " ".join(map(str, layout(Words(texts, boxes), list)))
    assert said.split() == texts


def turned(x: float, y: float, text: str, across: float, up: float, size: float = 11) -> str:
    """A text whose letters follow each other in the direction (across, up), for `drawn` of `pdf_of`."""
    return f"BT /F1 {size} Tf {across} {up} {-up} {across} {x} {y} Tm ({text}) Tj ET"


RUNNING = [(100.0, 700.0 - 15 * i, f"Line {i} of the text says more about the pumps of the works.") for i in range(20)]


@pytest.mark.parametrize(("across", "up"), [(0, 1), (0, -1), (0.77, 0.64), (-1, 0)])
def test_a_line_that_runs_askew_is_read_whole_and_between_no_two_others(across: float, up: float) -> None:
    drawn = turned(60 if across == 0 else 300, 300, "Report 2501 A of 7 Jan 2025", across, up)
    lines = read(pdf_of(RUNNING, drawn=drawn)).text.split("\n")
    assert " ".join(lines).endswith("Report 2501 A of 7 Jan 2025")
    assert " ".join(text for _, _, text in RUNNING) in " ".join(lines)


def test_names_of_columns_that_stand_upright_name_them() -> None:
    rows = [("", "", ""), ("Kitchen", "8", "6"), ("Garden", "3", "2")]
    puts = [(64.0 + 80 * x, 680.0 - 18 * y, text) for y, row in enumerate(rows) for x, text in enumerate(row) if text]
    rules = " ".join(f"55 {y} m 295 {y} l S" for y in (755, 676, 658, 640))
    rules += " ".join(f" {x} 755 m {x} 640 l S" for x in (55, 135, 215, 295))
    names = turned(180, 690, "Monday", 0, 1) + turned(260, 690, "Night shift", 0, 1)
    assert read(pdf_of(puts, drawn=f"{rules} {names}")).text.split("\n") == [
        "|  | Monday | Night shift |", "| --- | --- | --- |", "| Kitchen | 8 | 6 |", "| Garden | 3 | 2 |",
    ]  # fmt: skip


def test_notes_in_small_letters_beside_a_few_lines_do_not_mix_with_them() -> None:
    body = [(180.0, 700.0 - 15 * i, f"Line {i} of the policy goes on and on here with its words.") for i in range(20)]
    notes = [(60.0, 685.0 - 10 * i, text) for i, text in enumerate(("Note on scope:", "applies to staff", "of 2020"))]
    drawn = " ".join(f"BT /F1 8 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in notes)
    text = " ".join(read(pdf_of(body, drawn=drawn)).text.split())
    assert "Note on scope: applies to staff of 2020" in text
    assert " ".join(text for _, _, text in body) in text


def columns_of(rows: Sequence[Sequence[Sequence[str]]], gap: float) -> list[Put]:
    """A table without rules, its cells of several lines each beginning at the top of their row."""
    puts: list[Put] = []
    y = 700.0
    for row in rows:
        puts += [(60.0 + 180 * x, y - 13 * i, line) for x, cell in enumerate(row) for i, line in enumerate(cell)]
        y -= 13 * max(map(len, row)) + gap
    return puts


def test_cells_of_several_lines_are_one_cell_each_without_rules() -> None:
    rows = [
        (["Risk"], ["Measure"], ["Owner"]),
        (
            ["Supply of chips stops for", "more than two weeks"],
            ["Keep stock for six weeks in", "the store"],
            ["Buying"],
        ),
        (["Fire in hall four"], ["Sprinklers checked by an", "outside firm"], ["Safety office"]),
        (["Loss of key staff in the", "design team"], ["Two people know each one"], ["Human resources"]),
    ]
    assert text_of(columns_of(rows, 8)).split("\n") == [
        "| Risk | Measure | Owner |", "| --- | --- | --- |",
        "| Supply of chips stops for more than two weeks | Keep stock for six weeks in the store | Buying |",
        "| Fire in hall four | Sprinklers checked by an outside firm | Safety office |",
        "| Loss of key staff in the design team | Two people know each one | Human resources |",
    ]  # fmt: skip


def test_rows_of_words_that_stand_close_stay_rows() -> None:
    rows = [(["Name"], ["Role"], ["Town"]), (["Ann"], ["Clerk"], ["Rome"]), (["Bo"], ["Boss"], ["Pisa"])]
    puts = columns_of(rows[:1], 8) + [(x, y - 22, text) for x, y, text in columns_of(rows[1:], 0)]
    assert text_of(puts).split("\n")[2:] == ["| Ann | Clerk | Rome |", "| Bo | Boss | Pisa |"]


def test_a_label_of_two_lines_stands_before_the_figures_of_the_second() -> None:
    rows = [
        (["Revenue"], ["12,450"], ["11,020"]), (["Impairment of property, plant"], [], []),
        (["and equipment"], ["120"], ["98"]), (["Assets:"], [], []), (["of which cash"], ["40"], ["38"]),
    ]  # fmt: skip
    text = text_of(columns_of([(row[0] or [""], *(cell or [""] for cell in row[1:])) for row in rows], 0))
    assert "| Impairment of property, plant and equipment | 120 | 98 |" in text
    assert "| of which cash | 40 | 38 |" in text


def a_form(puts: Sequence[Put], *fields: tuple[float, float, str | Dictionary]) -> Document:
    """A page with fields: from the left, from below, and a value or all that the field says of itself."""
    pdf = pdf_of(puts)
    made = []
    for number, (x, y, said) in enumerate(fields):
        about = Dictionary(FT=Name.Tx, V=String(said)) if isinstance(said, str) else said
        about.Type, about.Subtype, about.T, about.F = Name.Annot, Name.Widget, String(f"f{number}"), 4
        about.Rect = Array([x, y - 4, x + 60, y + 14])
        made.append(pdf.make_indirect(about))
    pdf.pages[0].Annots = Array(made)
    pdf.Root.AcroForm = Dictionary(Fields=Array(made))
    return read(pdf)


def test_a_value_stands_behind_its_label() -> None:
    box = Dictionary(FT=Name.Btn, V=Name.Yes, AS=Name.Yes)
    document = a_form(
        [(60, 700, "Surname"), (60, 670, "Vegan"), (60, 640, "Born:"), (60, 600, "Given name"), (300, 600, "Town")],
        (160, 700, "Okonkwo"),
        (160, 670, box),
        (160, 640, "1990"),
        (60, 580, "Marta"),
        (300, 580, "Ulm"),
    )
    said = " ".join(document.text.split())
    assert said == "Surname: Okonkwo Vegan: ☑ Born: 1990 Given name: Marta Town: Ulm"


def test_fields_under_the_names_of_columns_are_a_table() -> None:
    puts = [(60, 700, "Item"), (200, 700, "Qty")]
    fields = [(60, 675, "Rope"), (200, 675, "2"), (60, 651, "Hook"), (200, 651, "7")]
    assert a_form(puts, *fields).text.split("\n") == ["| Item | Qty |", "| --- | --- |", "| Rope | 2 |", "| Hook | 7 |"]


def test_a_choice_reads_as_it_is_shown() -> None:
    options = Array([Array([String("1"), String("North")]), Array([String("2"), String("South")])])
    one = Dictionary(FT=Name.Ch, Ff=1 << 17, Opt=options, V=String("2"))
    days = Array([String(day) for day in ("Mon", "Tue", "Wed")])
    several = Dictionary(FT=Name.Ch, Ff=1 << 21, Opt=days, V=Array([String("Mon"), String("Wed")]), I=Array([0, 2]))
    assert a_form([(60, 700, "Region"), (60, 660, "Days")], (160, 700, one), (160, 660, several)).text.split("\n") == [
        "Region: South", "Days: Mon, Wed",
    ]  # fmt: skip


def test_a_large_first_letter_belongs_to_its_word() -> None:
    lines = [(84.0, 700.0, "he contract ends on 31 March"), (84.0, 687.0, "and may be extended once by"),
             (60.0, 674.0, "twelve months if both sides do")]  # fmt: skip
    text = read(pdf_of(lines, drawn="BT /F1 32 Tf 60 686 Td (T) Tj ET")).text
    said = " ".join(text.split())
    assert said == "The contract ends on 31 March and may be extended once by twelve months if both sides do"


WIDE = "This line runs over the whole width of the page, as the others of its text do, here."


@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_two_columns_on_a_part_of_a_page_are_read_one_after_the_other(shift: float) -> None:
    table = [(60.0 + 130 * x, 740.0 - 16 * y, text) for y, row in enumerate(
        (("Part", "Fee", "Term"), ("Rent", "900", "31 May"), ("Heat", "85", "31 May"), ("Lift", "12", "30 June"))
    ) for x, text in enumerate(row)]  # fmt: skip
    wide = [(60.0, 660.0 - 14 * i, WIDE) for i in range(8)]
    left = [(60.0, 520.0 - 14 * i, line) for i, line in enumerate(LEFT)]
    right = [(330.0, 520.0 + shift - 14 * i, line) for i, line in enumerate(RIGHT)]
    said = " ".join(text_of([*table, *wide, *left, *right]).split())
    assert said.endswith(" ".join([*LEFT, *RIGHT]))
    assert "| Heat | 85 | 31 May |" in said


def test_a_table_of_texts_set_apart_row_by_row_is_none_of_columns() -> None:
    rows = [(["Risk of the whole works"], ["Measure that is taken"])]
    for i in range(6):
        left = [f"Supply of part {i} stops for", "more than two weeks"]
        rows.append((left, [f"Keep part {i} in the store for", "six weeks"]))
    below = [(x, y - 150, text) for x, y, text in columns_of(rows, 8)]
    text = text_of([*((60.0, 700.0 - 14 * i, WIDE) for i in range(9)), *below])
    assert "| Supply of part 5 stops for more than two weeks | Keep part 5 in the store for six weeks |" in text
