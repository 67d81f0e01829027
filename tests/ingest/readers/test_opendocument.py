"""OpenDocument text and slides."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.opendocument import read_odp, read_odt

CFG = IngestConfig()
SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{full}:1.0"'
    for name, full in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
                       ("style", "style"), ("fo", "xsl-fo-compatible"), ("presentation", "presentation"),
                       ("svg", "svg-compatible"))
)  # fmt: skip
META = (
    '<m:meta xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:m="urn:oasis:names:tc:opendocument:xmlns:office:1.0">'
    "<dc:title>差旅手册</dc:title><m:keyword>差旅</m:keyword><m:keyword>Travel, HR</m:keyword>"
    "<dc:date>2024-03-15T10:00:00.5</dc:date></m:meta>"
)


def flat(body: str, kind: str = "text") -> str:
    style = '<style:style style:name="P1" style:parent-style-name="Title"/>'
    styles = f"<office:automatic-styles>{style}</office:automatic-styles>"
    body = f"<office:body><office:{kind}>{body}</office:{kind}></office:body>"
    return f"<office:document {SPACES}>{styles}{body}</office:document>"


def package(content: str, manifest: str = "<x/>") -> bytes:
    memory = BytesIO()
    with ZipFile(memory, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", content)
        archive.writestr("meta.xml", META)
        archive.writestr("META-INF/manifest.xml", manifest)
    return memory.getvalue()


def lines(body: str) -> list[str]:
    return [line for line in read_odt(flat(body).encode(), CFG).text.split("\n") if line]


def test_headings_lists_and_white_space() -> None:
    document = read_odt(
        package(flat(
            '<text:p text:style-name="P1">Rules</text:p><text:h text:outline-level="1">Leave</text:h>'
            '<text:h text:outline-level="2">Days</text:h><text:list><text:list-item><text:p>a<text:s text:c="2"/>b\n  c'
            '<text:tab/>d<text:line-break/>e</text:p><text:p>more</text:p></text:list-item></text:list>'
            '<text:p text:style-name="Heading_20_2">Pay</text:p>'
        )), CFG,
    )  # fmt: skip
    assert [s.headings for s in document.sections] == [(), ("Leave",), ("Leave", "Days"), ("Leave", "Pay")]
    assert "Days\n- a  b c\td\ne\nmore" in document.text
    assert document.title == "Rules"


def test_the_title_comes_from_the_properties_where_the_text_has_none() -> None:
    assert read_odt(package(flat("<text:p>x</text:p>")), CFG).title == "差旅手册"


def test_tables_are_lines_with_merged_cells_repeated() -> None:
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>"
    rows = (
        "<table:table-header-rows><table:table-row>" + cell.format("", "City") + cell.format("", "Fare")
        + "</table:table-row></table:table-header-rows><table:table-row>"
        + cell.format(' table:number-rows-spanned="2"', "Bonn") + cell.format("", "40") + "</table:table-row>"
        + "<table:table-row><table:covered-table-cell/>" + cell.format("", "50") + "</table:table-row>"
    )  # fmt: skip
    document = read_odt(flat(f"<text:p>a</text:p><table:table>{rows}</table:table>").encode(), CFG)
    assert document.text == "a\n\n| City | Fare |\n| --- | --- |\n| Bonn | 40 |\n| Bonn | 50 |"
    assert document.tables == 1


def test_deleted_text_is_left_out_and_boxes_and_notes_are_read() -> None:
    assert lines(
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        "<text:p>before<draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box>"
        "<svg:desc>alt</svg:desc></draw:frame>"
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p></text:note-body>"
        "</text:note> after</text:p><text:section><text:p>last</text:p></text:section>"
    ) == ["before [1] after", "in a box", "[1] a note", "last"]


def test_slides_are_pages_with_their_titles_and_notes() -> None:
    slide = (
        '<draw:page><draw:frame presentation:class="{}"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>'
        '<draw:custom-shape><text:p>shape</text:p></draw:custom-shape><draw:frame presentation:class="footer">'
        "<draw:text-box><text:p>foot</text:p></draw:text-box></draw:frame><presentation:notes><draw:frame><draw:text-box><text:p>spoken"
        "</text:p></draw:text-box></draw:frame></presentation:notes></draw:page>"
    )
    body = slide.format("title", "Costs") + "<draw:page/>" + slide.format("outline", "items")
    document = read_odp(package(flat(body, "presentation")), CFG)
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (1, ("Costs",), "Costs\nshape\nspoken"),
        (3, (), "items\nshape\nspoken"),
    ]
    assert (document.pages, document.empty_pages, document.title) == (3, (2,), "差旅手册")


def test_a_password_another_kind_and_entities() -> None:
    with pytest.raises(ReadError, match="password"):
        read_odt(package(flat(""), "<manifest:encryption-data/>"), CFG)
    with pytest.raises(ReadError, match="not an OpenDocument presentation"):
        read_odp(flat("<text:p>x</text:p>").encode(), CFG)
    bomb = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + flat("<text:p>a&e;b</text:p>")
    assert read_odt(bomb.encode(), CFG).text == "ab"


def test_tags_and_date_come_from_the_properties_of_packages_and_of_flat_files() -> None:
    body = "<text:p>x<office:annotation><dc:date xmlns:dc='http://purl.org/dc/elements/1.1/'>2020-01-01</dc:date>" \
        "<text:p>y</text:p></office:annotation></text:p>"  # fmt: skip
    flat_file = flat(body).replace("<office:automatic-styles>", META + "<office:automatic-styles>", 1)
    for data in (package(flat("<text:p>x</text:p>")), flat_file.encode()):
        document = read_odt(data, CFG)
        assert (document.title, document.tags, document.date) == ("差旅手册", ("差旅", "Travel", "HR"), "2024-03-15")
    assert read_odt(flat(body).encode(), CFG).date == ""
    slides = package(flat('<draw:page><draw:frame><draw:text-box><text:p>x</text:p></draw:text-box></draw:frame>'
                          '</draw:page>', "presentation"))  # fmt: skip
    assert read_odp(slides, CFG).tags == ("差旅", "Travel", "HR")


def styled(name: str, family: str, text: str = "", about: str = "", parent: str = "") -> str:
    return (
        f'<style:style style:name="{name}" style:family="{family}" style:parent-style-name="{parent}">'
        f"<style:text-properties {text}/>{about}</style:style>"
    )


def looking(body: str, *styles: str, kind: str = "text", apart: str = "") -> bytes:
    """A package with automatic styles, and styles in a file apart."""
    data = flat(body, kind).replace("<office:automatic-styles>", "<office:automatic-styles>" + "".join(styles), 1)
    memory = BytesIO(package(data))
    with ZipFile(memory, "a") as archive:
        archive.writestr("styles.xml", f"<office:document-styles {SPACES}>{apart}</office:document-styles>")
    return memory.getvalue()


WHITE, DARK = 'fo:color="#ffffff"', 'fo:background-color="#000080"'
DISPLAYED = "they are not displayed"
SAME = "they have the colour of their ground"


@pytest.mark.parametrize(
    ("style", "why"),
    [
        ('text:display="none"', DISPLAYED),
        (WHITE, SAME),
        ('fo:color="#000080" fo:background-color="#000081"', SAME),
        ('fo:font-size="1pt"', "they are too small to be read"),
        ('style:text-line-through-style="solid"', "they are struck out"),
    ],
)
@pytest.mark.parametrize("where", ["span", "paragraph", "parent", "apart", "note", "cell"])
def test_what_nobody_sees_is_left_out_and_named(style: str, why: str, where: str) -> None:
    own = styled("S1", "text" if where == "span" else "paragraph", style)
    styles, apart = [own], ""
    body = '<text:p>Before</text:p><text:p text:style-name="S1">marker</text:p>'
    if where == "span":
        body = '<text:p>Before <text:span text:style-name="S1">marker</text:span></text:p>'
    elif where == "parent":
        styles, body = [own, styled("P9", "paragraph", parent="S1")], body.replace('"S1"', '"P9"')
    elif where == "apart":
        styles, apart = [], f"<office:styles>{own}</office:styles>"
    elif where == "note":
        note = f"<text:note><text:note-body>{body}</text:note-body></text:note>"
        body = f"<text:p>Text{note}</text:p>"
    elif where == "cell":
        parts = body.split("</text:p>")[:-1]
        cells = "".join(f"<table:table-cell>{part}</text:p></table:table-cell>" for part in parts)
        body = f"<table:table><table:table-row>{cells}</table:table-row></table:table>"
    document = read_odt(looking(body, *styles, apart=apart), CFG)
    assert "marker" not in document.text
    assert "Before" in document.text
    assert document.notes == (f"6 characters {'' if 'struck' in why else 'that nobody sees '}were left out: {why}",)


@pytest.mark.parametrize(
    "body",
    [
        '<text:section text:display="none"><text:p>marker</text:p></text:section>',
        '<text:p>a<text:hidden-text text:is-hidden="true">marker</text:hidden-text></text:p>',
        '<text:p><text:hidden-paragraph text:is-hidden="true"/>marker</text:p>',
    ],
)
def test_hidden_sections_paragraphs_and_fields_are_left_out(body: str) -> None:
    document = read_odt(looking(f"<text:p>Before</text:p>{body}"), CFG)
    assert "marker" not in document.text
    assert document.notes == (f"6 characters that nobody sees were left out: {DISPLAYED}",)


def test_what_can_be_seen_stays() -> None:
    cell = '<style:style style:name="C1" style:family="table-cell"><style:table-cell-properties {}/></style:style>'
    behind = f"<style:paragraph-properties {DARK}/>"
    styles = [
        styled("W", "paragraph", WHITE), styled("OnDark", "paragraph", WHITE, behind), cell.format(DARK),
        styled("Marked", "text", f"{WHITE} {DARK}"), styled("Usual", "text", 'style:use-window-font-color="true"'),
        styled("Shown", "text", 'text:display="true"'), styled("Hidden", "paragraph", 'text:display="none"'),
    ]  # fmt: skip
    body = (
        '<text:p text:style-name="OnDark">one</text:p>'
        '<text:p><text:span text:style-name="Marked">two</text:span></text:p><table:table><table:table-row>'
        '<table:table-cell table:style-name="C1"><text:p text:style-name="W">three</text:p></table:table-cell>'
        "<table:table-cell><text:p>x</text:p></table:table-cell></table:table-row></table:table>"
        '<text:p>a<draw:frame><draw:text-box><text:p text:style-name="W">four</text:p></draw:text-box></draw:frame>'
        '</text:p><text:p text:style-name="W"><text:span text:style-name="Usual">five</text:span></text:p>'
        '<text:p text:style-name="Hidden"><text:span text:style-name="Shown">seven</text:span></text:p>'
        '<text:p text:style-name="Hidden"><text:span text:style-name="Nothing">no</text:span></text:p>'
    )
    document = read_odt(looking(body, *styles), CFG)
    assert all(word in document.text for word in ("one", "two", "three", "four", "five", "seven"))
    assert "no" not in document.text
    assert document.notes == (f"2 characters that nobody sees were left out: {DISPLAYED}",)
    page = f'<style:page-layout style:name="L"><style:page-layout-properties {DARK}/></style:page-layout>'
    coloured = f"<office:automatic-styles>{page}</office:automatic-styles>"
    assert "six" in read_odt(looking('<text:p text:style-name="W">six</text:p>', *styles, apart=coloured), CFG).text


def test_hidden_slides_and_hidden_words_of_slides_are_left_out() -> None:
    frame = '<draw:frame presentation:class="title"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>'
    hidden = (
        '<style:style style:name="dp1" style:family="drawing-page">'
        '<style:drawing-page-properties presentation:visibility="hidden"/></style:style>'
    )
    words = 'Plan<text:span text:style-name="V"> marker</text:span>'
    body = f'<draw:page draw:style-name="dp1">{frame.format("marker")}</draw:page>'
    body += f"<draw:page>{frame.format(words)}</draw:page>"
    styles = (hidden, styled("V", "text", 'text:display="none"'))
    document = read_odp(looking(body, *styles, kind="presentation"), CFG)
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [(2, ("Plan",), "Plan")]
    assert document.pages == 2
    assert document.notes == (
        "hidden slides were left out: 1", f"6 characters that nobody sees were left out: {DISPLAYED}"
    )  # fmt: skip


STYLES = "".join(
    f'<style:style style:name="{name}" style:family="text"><style:text-properties style:text-position="{place}"/>'
    "</style:style>"
    for name, place in (("U", "super 58%"), ("V", "33% 58%"), ("D", "sub 58%"), ("L", "3% 100%"))
)


def test_raised_and_lowered_text_is_told_apart_and_notes_have_their_marks() -> None:
    spans = "".join(
        f'{before}<text:span text:style-name="{style}">{text}</text:span>'
        for before, style, text in (("10", "U", "-"), ("", "V", "6"), (" mol CO", "D", "2"), (" in 4", "L", "5 m"))
    )
    note = (
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>net</text:p></text:note-body>"
        "</text:note>"
    )
    remark = "<office:annotation><dc:creator>Li</dc:creator><text:p>Check</text:p></office:annotation>"
    cells = "".join(f"<table:table-cell><text:p>{text}</text:p></table:table-cell>" for text in (f"28{note} days", "b"))
    table = f"<table:table><table:table-row>{cells}</table:table-row></table:table>"
    body = f"<text:p>{spans}{remark}</text:p>{table}<text:p>after</text:p>"
    source = flat(body).replace("<style:style", f"{STYLES}<style:style", 1)
    source = source.replace("<office:document ", '<office:document xmlns:dc="http://purl.org/dc/elements/1.1/" ')
    assert [line for line in read_odt(source.encode(), CFG).text.split("\n") if line and "---" not in line] == [
        "10^-6 mol CO2 in 45 m", "[comment by Li] Check", "| 28 [1] days | b |", "[1] net", "after",
    ]  # fmt: skip


def test_equations_and_charts_are_read_where_they_are_shown() -> None:
    frame = (
        '<draw:frame><draw:object xlink:href="./{}"/><draw:image xlink:href="./ObjectReplacements/{}"/></draw:frame>'
    )
    body = f"<text:p>by 2{frame.format('Object 1', 'x')} hours</text:p><text:p>{frame.format('Object 2', 'y')}</text:p>"
    body += f"<text:p>{frame.format('Object 3', 'z')}end</text:p>"
    source = flat(body).replace("<office:document ", '<office:document xmlns:xlink="http://www.w3.org/1999/xlink" ')
    math = '<math xmlns="http://www.w3.org/1998/Math/MathML"><mfrac><mn>3</mn><mn>4</mn></mfrac></math>'
    row = "<table:table-row>{}</table:table-row>"
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    rows = "".join(row.format("".join(map(cell.format, each))) for each in (("", "Line 1"), ("Jan", "12")))
    chart = (
        f'<x:chart {SPACES} xmlns:x="urn:oasis:names:tc:opendocument:xmlns:chart:1.0"><x:title><text:p>Load</text:p>'
        f"</x:title><table:table>{rows}</table:table></x:chart>"
    )
    memory = BytesIO(package(source))
    with ZipFile(memory, "a") as archive:
        archive.writestr("Object 1/content.xml", math)
        archive.writestr("Object 2/content.xml", chart)
    text = read_odt(memory.getvalue(), CFG).text
    assert [line for line in text.split("\n") if line] == [
        "by 2 3/4 hours", "Load", "|  | Line 1 |", "| --- | --- |", "| Jan | 12 |", "end",
    ]  # fmt: skip


def test_merged_names_of_columns_stand_over_each() -> None:
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>"
    covered = "<table:covered-table-cell/>"
    over = ' table:number-columns-spanned="2"'
    rows = (
        (cell.format(' table:number-rows-spanned="2"', "Site"), cell.format(over, "2024"), covered),
        (covered, cell.format("", "Plan"), cell.format("", "Actual")),
        tuple(cell.format("", text) for text in ("Lyon", "1", "2")),
    )
    written = "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in rows)
    assert lines(f"<table:table>{written}</table:table>")[0] == "| Site | 2024 Plan | 2024 Actual |"
