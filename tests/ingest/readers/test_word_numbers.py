"""Automatic numbering of Word: each paragraph is read with the number that the page shows before it."""

from collections.abc import Callable, Sequence
from io import BytesIO

import docx
import pytest
from docx.document import Document as WordDocument
from docx.oxml import parse_xml
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from core.types import Document
from ingest.readers.numerals import numeral
from ingest.readers.office import read_docx
from ingest.readers.word_numbers import Numbers

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
Level = tuple[str, str]  # format, text


def level(number: int, form: str, text: str, more: str = "", start: int = 1) -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def kind(*levels: str, key: int = 70, more: str = "") -> str:
    return f'<w:abstractNum {W} w:abstractNumId="{key}">{more}{"".join(levels)}</w:abstractNum>'


def number(key: int, of: int = 70, overrides: str = "") -> str:
    return f'<w:num {W} w:numId="{key}"><w:abstractNumId w:val="{of}"/>{overrides}</w:num>'


def item(
    document: WordDocument, text: str, place: int | None = 0, key: int = 77, more: str = "", run: str = ""
) -> None:
    stated = f'<w:ilvl w:val="{place}"/>' if place is not None else ""
    xml = (
        f'<w:p {W}><w:pPr><w:numPr>{stated}<w:numId w:val="{key}"/></w:numPr>{more}</w:pPr>'
        f"<w:r>{run}<w:t>{text}</w:t></w:r></w:p>"
    )
    document.element.body.insert(len(document.element.body) - 1, parse_xml(xml))


def read(numbering: Sequence[str], build: Callable[[WordDocument], object]) -> Document:
    document = docx.Document()
    root = document.part.numbering_part.element
    for xml in sorted(numbering, key=lambda xml: not xml.startswith("<w:abstractNum")):
        root.append(parse_xml(xml))
    build(document)
    memory = BytesIO()
    document.save(memory)
    return read_docx(memory.getvalue(), IngestConfig())


def lines(numbering: Sequence[str], places: Sequence[int | None]) -> list[str]:
    def build(document: WordDocument) -> None:
        for place in places:
            item(document, "x", place)

    return [line.removesuffix("x").rstrip() for line in read(numbering, build).text.split("\n")]


def test_articles_in_chinese_numerals() -> None:
    numbering = [kind(level(0, "chineseCountingThousand", "第%1条", '<w:suff w:val="space"/>')), number(77)]
    assert lines(numbering, [0] * 12)[3:12:4] == ["第四条", "第八条", "第十二条"]


def test_levels_hold_the_numbers_above_them_and_begin_anew_below_each() -> None:
    numbering = [
        kind(level(0, "decimal", "%1."), level(1, "decimal", "%1.%2"), level(2, "lowerLetter", "(%3)")), number(77),
    ]  # fmt: skip
    assert lines(numbering, [0, 1, 2, 2, 1, 2, 0, 1]) == ["1.", "1.1", "(a)", "(b)", "1.2", "(a)", "2.", "2.1"]


def test_a_level_that_never_begins_anew_and_one_that_does_so_only_below_the_first() -> None:
    never = kind(level(0, "decimal", "%1"), level(1, "decimal", "%2", '<w:lvlRestart w:val="0"/>'))
    assert lines([never, number(77)], [0, 1, 1, 0, 1]) == ["1", "1", "2", "2", "3"]
    below_first = kind(
        level(0, "decimal", "%1"), level(1, "decimal", "%2"), level(2, "decimal", "%3", '<w:lvlRestart w:val="1"/>')
    )
    assert lines([below_first, number(77)], [0, 1, 2, 1, 2, 0, 1, 2]) == ["1", "1", "1", "2", "2", "2", "1", "1"]


def test_all_numbers_as_digits_where_the_level_says_so() -> None:
    numbering = [
        kind(level(0, "upperRoman", "%1"), level(1, "decimal", "%1.%2", "<w:isLgl/>"), level(2, "decimal", "%1-%3")),
        number(77),
    ]
    assert lines(numbering, [0, 0, 1, 2]) == ["I", "II", "2.1", "II-1"]


@pytest.mark.parametrize(("suffix", "text"), [("nothing", "一、x"), ("space", "一、 x"), ("tab", "一、 x")])
def test_what_stands_behind_the_number(suffix: str, text: str) -> None:
    numbering = [kind(level(0, "chineseCounting", "%1、", f'<w:suff w:val="{suffix}"/>')), number(77)]
    assert read(numbering, lambda document: item(document, "x")).text == text


def test_lists_of_one_kind_count_on_unless_one_begins_anew() -> None:
    again = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'
    numbering = [kind(level(0, "decimal", "%1.", start=3)), number(77), number(78), number(79, overrides=again)]

    def build(document: WordDocument) -> None:
        for key in (77, 77, 78, 79, 79, 77):
            item(document, "x", key=key)

    assert read(numbering, build).text.split("\n") == ["3. x", "4. x", "5. x", "5. x", "6. x", "7. x"]


def test_a_list_may_write_a_level_in_its_own_way_and_take_its_levels_from_a_style() -> None:
    own = f'<w:lvlOverride w:ilvl="0">{level(0, "upperLetter", "%1)")}</w:lvlOverride>'
    linked = kind(key=71, more='<w:numStyleLink w:val="Clauses"/>')
    numbering = [kind(level(0, "decimal", "§ %1")), linked, number(77, overrides=own), number(78, 71), number(79)]

    def build(document: WordDocument) -> None:
        document.styles.element.append(parse_xml(
            f'<w:style {W} w:type="numbering" w:styleId="Clauses"><w:name w:val="Clauses"/>'
            '<w:pPr><w:numPr><w:numId w:val="79"/></w:numPr></w:pPr></w:style>'
        ))  # fmt: skip
        item(document, "x", key=77)
        item(document, "x", key=78)

    assert read(numbering, build).text == "A) x\n§ 2 x"


def test_styles_carry_the_numbering_and_a_paragraph_may_refuse_it() -> None:
    def named(number: int, style: str, text: str) -> str:
        return level(number, "decimal", text, f'<w:pStyle w:val="{style}"/>')

    numbering = [kind(named(0, "Heading1", "%1"), named(1, "Heading2", "%1.%2")), number(77)]

    def build(document: WordDocument) -> None:
        for name in ("Heading 1", "Heading 2"):
            style = document.styles[name].element
            style.get_or_add_pPr().append(parse_xml(f'<w:numPr {W}><w:numId w:val="77"/></w:numPr>'))
        document.add_heading("General", 1)
        document.add_heading("Scope", 2)
        document.add_heading("Terms", 2)
        document.add_heading("Annex", 1)._p.get_or_add_pPr().append(
            parse_xml(f'<w:numPr {W}><w:numId w:val="0"/></w:numPr>')
        )
        document.add_heading("Payment", 1)

    document = read(numbering, build)
    assert [section.headings[-1] for section in document.sections] == [
        "1 General", "1.1 Scope", "1.2 Terms", "Annex", "2 Payment",
    ]  # fmt: skip


def test_numbers_count_on_through_tables_and_what_nobody_sees_does_not_count() -> None:
    numbering = [kind(level(0, "decimal", "%1")), number(77)]

    def build(document: WordDocument) -> None:
        table = document.add_table(3, 2)
        for row, name in enumerate(("Item", "bolt", "nut")):
            table.cell(row, 1).text = name
            if row:
                cell = table.cell(row, 0).paragraphs[0]._p
                cell.get_or_add_pPr().append(parse_xml(f'<w:numPr {W}><w:numId w:val="77"/></w:numPr>'))
                cell.append(parse_xml(f"<w:r {W}><w:t>row</w:t></w:r>"))
        item(document, "gone", more="<w:rPr><w:vanish/></w:rPr>", run="<w:rPr><w:vanish/></w:rPr>")
        item(document, "")
        item(document, "after")

    assert read(numbering, build).text.split("\n")[2:] == ["| 1 row | bolt |", "| 2 row | nut |", "", "4 after"]


def test_bullets_are_dashes_and_boxes_stay_boxes() -> None:
    box = '<w:rPr><w:rFonts w:ascii="Wingdings"/></w:rPr>'
    for text, more, said in (("•", "", "- x"), ("\uf0b7", "", "- x"), ("\uf0a8", box, "☐ x")):
        form = f'<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="{text}"/>{more}</w:lvl>'
        assert read([kind(form), number(77)], lambda document: item(document, "x")).text == said


@pytest.mark.parametrize("text", ["", "%1", "%9", "%", "%0.%1"])
def test_a_list_that_is_damaged_loses_no_text(text: str) -> None:
    assert "x" in read([kind(level(0, "decimal", text)), number(77, of=99)], lambda document: item(document, "x")).text
    assert "x" in read([], lambda document: item(document, "x", key=12345)).text


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_every_number_is_that_of_counting_by_hand(places: list[int]) -> None:
    levels = (level(i, "decimal", ".".join(f"%{j}" for j in range(1, i + 2))) for i in range(4))
    numbering = f"<w:numbering {W}>{kind(*levels)}{number(77)}</w:numbering>"
    numbers = Numbers(parse_xml(numbering), parse_xml(f"<w:styles {W}/>"))
    counts = [0, 0, 0, 0]
    for place in places:
        counts[place] += 1
        counts = [count if i == place else max(count, 1) if i < place else 0 for i, count in enumerate(counts)]
        assert numbers.label("77", place) == ".".join(map(str, counts[: place + 1])) + " "


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("decimal", {1: "1", 120: "120"}), ("decimalZero", {3: "03", 12: "12"}),
        ("upperRoman", {4: "IV", 1999: "MCMXCIX"}),
        ("lowerRoman", {9: "ix"}), ("upperLetter", {1: "A", 26: "Z", 27: "AA", 53: "AAA"}), ("lowerLetter", {28: "bb"}),
        ("chineseCounting", {1: "一", 10: "十", 11: "十一", 20: "二十", 21: "二十一"}),
        ("chineseCountingThousand", {100: "一百", 105: "一百零五", 110: "一百一十", 1005: "一千零五"}),
        ("chineseCountingThousand", {12345: "一万二千三百四十五"}), ("ideographTraditional", {1: "甲", 10: "癸"}),
        ("ideographZodiac", {12: "亥"}), ("japaneseCounting", {11: "十一", 100: "百"}),
        ("chineseLegalSimplified", {1: "壹", 15: "壹拾伍"}), ("decimalFullWidth", {12: "１２"}),
        ("decimalEnclosedCircle", {1: "①", 20: "⑳", 21: "㉑"}), ("decimalEnclosedParen", {2: "⑵"}), ("none", {1: ""}),
        ("ordinal", {1: "1st", 11: "11th", 22: "22nd"}), ("ordinalText", {3: "Third", 21: "Twenty-first"}),
        ("cardinalText", {42: "Forty-two"}), ("numberInDash", {4: "- 4 -"}), ("unheard of", {5: "5"}),
    ],
)  # fmt: skip
def test_the_forms_of_numbers(form: str, written: dict[int, str]) -> None:
    assert {count: numeral(count, form) for count in written} == written


def test_a_form_of_its_own_pads_with_noughts() -> None:
    assert numeral(7, "custom", "001, 002, 003, ...") == "007"


def test_a_style_counts_at_the_level_of_the_one_that_it_is_based_on() -> None:
    numbering = [
        kind(*(level(i, "decimal", "%1.%2"[: 2 + 3 * i], f'<w:pStyle w:val="A{i + 1}"/>') for i in range(2))),
        number(77),
    ]

    def build(document: WordDocument) -> None:
        for key, about in (("A1", ""), ("A2", ""), ("Own", '<w:basedOn w:val="A2"/>')):
            listed = "" if about else '<w:pPr><w:numPr><w:numId w:val="77"/></w:numPr></w:pPr>'
            document.styles.element.append(parse_xml(
                f'<w:style {W} w:type="paragraph" w:styleId="{key}"><w:name w:val="{key}"/>{about}{listed}</w:style>'
            ))  # fmt: skip
        for key in ("A1", "Own", "A1", "A2", "Own"):
            xml = f'<w:p {W}><w:pPr><w:pStyle w:val="{key}"/></w:pPr><w:r><w:t>x</w:t></w:r></w:p>'
            document.element.body.insert(len(document.element.body) - 1, parse_xml(xml))

    assert read(numbering, build).text.split("\n") == ["1 x", "1.1 x", "2 x", "2.1 x", "2.2 x"]


def test_a_number_alone_in_a_cell_is_read() -> None:
    listed = '<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="77"/></w:numPr></w:pPr></w:p>'
    rows = "".join(
        f"<w:tr><w:tc>{first}</w:tc><w:tc><w:p><w:r><w:t>{part}</w:t></w:r></w:p></w:tc></w:tr>"
        for first, part in (("<w:p><w:r><w:t>序号</w:t></w:r></w:p>", "品名"), (listed, "水泵"), (listed, "阀门"))
    )
    numbering = [kind(level(0, "decimal", "%1")), number(77)]

    def build(document: WordDocument) -> None:
        document.element.body.insert(0, parse_xml(f"<w:tbl {W}>{rows}</w:tbl>"))

    assert read(numbering, build).text.split("\n")[2:] == ["| 1 | 水泵 |", "| 2 | 阀门 |"]
