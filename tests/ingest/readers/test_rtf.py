"""Rich text: bytes in the code page of their font, headings, tables, notes."""

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.rtf import read_rtf

CFG = IngestConfig()


def read(body: str, head: str = r"\ansi\ansicpg1252") -> Document:
    return read_rtf(("{\\rtf1" + head + body + "}").encode("latin-1"), CFG)


def escaped(text: str, encoding: str) -> str:
    """The bytes as programs write them: those beyond ASCII as \\'xx, others plain."""
    return "".join(chr(b) if 32 <= b < 127 and b not in b"\\{}" else f"\\'{b:02x}" for b in text.encode(encoding))


@pytest.mark.parametrize(
    ("text", "encoding", "page", "charset"),
    [("年假与差旅制度", "gbk", 936, 134), ("出差規定許功蓋", "big5", 950, 136),
     ("表示ソ能", "cp932", 932, 128), ("отпуск", "cp1251", 1251, 204)],
)  # fmt: skip
def test_bytes_are_read_in_the_code_page_of_the_document_or_of_their_font(
    text: str, encoding: str, page: int, charset: int
) -> None:
    raw = escaped(text, encoding)
    assert read(f" {raw}\\par", rf"\ansi\ansicpg{page}").text == text
    font = rf"{{\fonttbl{{\f0\fcharset0 Arial;}}{{\f1\fcharset{charset} Song;}}}}"
    assert read(rf"{font}\f0 caf\'e9 \f1 {raw}\f0  caf\'e9").text == f"café {text} café"


def test_chinese_in_a_font_named_as_a_latin_one() -> None:
    head = r"\ansi\ansicpg936\deff0{\fonttbl{\f0\fcharset0 Times;}}"
    assert read(rf"\pard\f0 {escaped('年假', 'gbk')} 5\par", head).text == "年假 5"


def test_unicode_escapes_replace_as_many_characters_as_uc_says() -> None:
    assert (
        read(r"\uc1\u24180?\u20551?x \uc2\u24180\'c4\'ea. {\uc0\u24180}!\uc0\u-10179\u-8694").text == "年假x 年. 年!😊"
    )


def test_headings_by_style_and_by_outline_level() -> None:
    styles = r"{\stylesheet{\s0 Normal;}{\s7\outlinelevel0 Mein Titel;}{\s8 heading 2;}}"
    document = read(
        styles + r"\pard\s7 Leave\par\pard words\par\pard\s8 Annual\par\pard\outlinelevel2 Days\par\pard five"
    )
    assert [section.headings for section in document.sections] == [
        ("Leave",), ("Leave", "Annual"), ("Leave", "Annual", "Days"),
    ]  # fmt: skip
    assert document.title == "Leave"


def test_table_rows_are_lines_and_tables_are_counted() -> None:
    row = r"\trowd\cellx1\cellx2\pard\intbl {0}\cell {1}\par more\cell\row"
    table = row.replace("{0}", "City").replace("{1}", "Fare") + row.replace("{0}", "Bonn").replace("{1}", "40")
    document = read(rf"before\par {table}\pard after\par {table}")
    first = document.text.split("\n")[:7]
    assert first == ["before", "", "| City | Fare more |", "| --- | --- |", "| Bonn | 40 more |", "", "after"]
    assert document.tables == 2


def test_what_is_no_text_of_the_document_is_left_out() -> None:
    document = read(
        r"{\info{\title Travel rules}{\author Nobody}}{\*\generator Nothing;}{\header top}{\pict 0102ff}"
        r"{\field{\*\fldinst HYPERLINK x}{\fldrslt shown}} {\v hidden}{\deleted gone}\bin3 }{}a{\footnote A note.}"
    )
    assert document.text == "shown a\nA note."
    assert document.title == "Travel rules"
    assert document.notes == (
        "6 characters that nobody sees were left out: they are not displayed",
        "4 characters were left out: they are deleted by tracked changes",
    )


COLOURS = r"{\colortbl;\red255\green255\blue255;\red0\green0\blue0;\red250\green252\blue255;\red0\green0\blue128;}"


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (r"\v marker", "they are not displayed"),
        (r"{\v marker\v0}", "they are not displayed"),
        (r"\cf1 marker", "they have the colour of their ground"),
        (r"\cf3 marker", "they have the colour of their ground"),
        (r"\cf2\highlight2 marker", "they have the colour of their ground"),
        (r"\cf4\chcbpat4 marker", "they have the colour of their ground"),
        (r"\pard\cbpat4\cf4 marker", "they have the colour of their ground"),
        (r"\fs2 marker", "they are too small to be read"),
        (r"\strike marker", "they are struck out"),
        (r"\cf1{\footnote\cf2 A }marker", "they have the colour of their ground"),
    ],
)
def test_what_nobody_sees_is_left_out_and_named(run: str, why: str) -> None:
    document = read(COLOURS + rf"\pard Before {{{run}}} after.\par\pard next\par")
    assert "marker" not in document.text
    assert document.text.replace("\nA\n", "\n") == "Before  after.\nnext"
    assert document.notes == (f"6 characters {'' if 'struck' in why else 'that nobody sees '}were left out: {why}",)


@pytest.mark.parametrize(
    "run",
    [
        r"\v\v0 shown", r"\v\plain shown", r"\cf1\highlight4 shown", r"\cf1\chcbpat2 shown", r"\cf1\cf0 shown",
        r"\pard\cbpat4\cf1 shown", r"\cf4 shown", r"\cf9 shown", r"\fs16 shown", r"\strike\strike0 shown",
        r"\highlight1 shown",
        r"\trowd\clcbpat4\cellx1\pard\intbl\cf1 shown\cell\row\pard",
    ],
)  # fmt: skip
def test_what_can_be_seen_stays(run: str) -> None:
    document = read(COLOURS + rf"\pard Before {{{run}}} after.\par")
    assert "shown" in document.text
    assert document.notes == ()


def test_hidden_words_of_a_note_are_left_out_too() -> None:
    document = read(COLOURS + r"Text{\footnote A {\v marker }note.}\par")
    assert document.text == "Text\nA note."
    assert len(document.notes) == 1


def test_other_files_and_endless_nesting_are_refused() -> None:
    with pytest.raises(ReadError, match="looks like a PDF"):
        read_rtf(b"%PDF-1.4", CFG)
    with pytest.raises(ReadError, match="nested"):
        read("{" * 5000)


def test_what_an_equation_field_draws_stands_in_its_line_and_no_other_code_does() -> None:
    half = r"{\field{\*\fldinst {\f0  EQ \\f(1,2)}}{\fldrslt }}"
    root = r"{\field{\*\fldinst{ eq \\r(3,x)\par}}{\fldrslt{}}}"
    link = r"{\field{\*\fldinst{ HYPERLINK x}}{\fldrslt shown}}"
    assert read(rf"Dose: {half} of {root}, {link}\par next").text == "Dose: 1/2 of √x [root 3], shown\nnext"


def test_a_hidden_row_of_a_table_is_left_out_and_counted() -> None:
    row = r"\trowd{}\cellx1\cellx2\pard\intbl {}\cell {}\cell\row"
    rows = row.format("", "name", "fare") + row.format(r"\trhidden", "MARKER", "one") + row.format("", "tram", "two")
    document = read(rows + r"\pard Then more.\par")
    assert "MARKER" not in document.text
    assert all(word in document.text for word in ("name", "tram", "two", "Then more."))
    assert document.notes == ("9 characters that nobody sees were left out: they are not displayed",)
    assert "MARKER" in read(row.format(r"\trhidden0", "MARKER", "one") + r"\pard").text


FONTS = r"\ansi\ansicpg1252{\fonttbl{\f0 Times;}{\f2\fcharset2 Wingdings;}}"


def test_raised_and_lowered_text_is_told_apart() -> None:
    body = r"\pard 10{\super -}{\super 6} mol, 12 m{\up8 2}, CO{\sub 2}, 28{\super 1} days, 4{\up2 5} m"
    assert read(body + r"{\super 2\nosupersub x}\par").text == "10^-6 mol, 12 m^2, CO2, 28 [1] days, 45 m^2x"


def test_a_note_stands_below_its_paragraph_with_its_mark() -> None:
    note = r"{\super\chftn}{\footnote\pard{\super\chftn} Net of VAT.}"
    body = rf"\pard Fee 28{note} euros\par\pard next{note}\par"
    assert read(body).text.split("\n") == ["Fee 28 [1] euros", "[1] Net of VAT.", "next [2]", "[2] Net of VAT."]


def test_pictures_of_symbol_fonts_are_characters() -> None:
    assert read(r"\pard{\f2 \'fe} yes {\f2\u-3928?} no\par", FONTS).text == "☑ yes ☐ no"


def test_form_fields_show_their_value() -> None:
    field = r"{{\field{{\*\fldinst {} {{\*\formfield{}}}}}{{\fldrslt}}}}"
    choices = r"{\*\ffl Bonn}{\*\ffl Graz}"
    box, choice = (field.format(*each) for each in (("FORMCHECKBOX", r"{\fftype1\ffres25\ffdefres1}"),
                                                    ("FORMDROPDOWN", rf"{{\fftype2\ffres1{choices}}}")))  # fmt: skip
    assert read(rf"\pard City: {choice}, {box} paid\par").text == "City: Graz, ☑ paid"


def test_merged_cells_stand_for_all_that_they_cover() -> None:
    flags = r"\trowd\clvmgf\cellx1000\clmgf\cellx2000\clmrg\cellx3000"
    below = r"\trowd\clvmrg\cellx1000\cellx2000\cellx3000"
    rows = (
        rf"{flags}\pard\intbl Site\cell 2024\cell\cell\row{below}\pard\intbl\cell Plan\cell Actual\cell\row"
        r"\trowd\cellx1000\cellx2000\cellx3000\pard\intbl Lyon\cell 1\cell 2\cell\row"
        r"\trowd\cellx1010\cellx3000\pard\intbl Metz\cell closed\cell\row\pard"
    )
    assert read(rows).text.strip().split("\n") == [
        "| Site | 2024 Plan | 2024 Actual |", "| --- | --- | --- |", "| Lyon | 1 | 2 |", "| Metz | closed | closed |",
    ]  # fmt: skip
