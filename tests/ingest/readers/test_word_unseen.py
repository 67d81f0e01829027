"""Runs of a Word document that nobody sees are left out and counted; what the page shows stays."""

from collections.abc import Callable

import pytest
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.shared import Pt

from core.types import Document
from tests.ingest.readers.test_office import W, add, read

W14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
WHITE = '<w:color w:val="FFFFFF"/>'


def paragraph(run: str, about: str = "") -> str:
    return (
        f"<w:p {W} {W14}><w:pPr>{about}</w:pPr><w:r><w:t xml:space='preserve'>seen </w:t></w:r>"
        f"<w:r><w:rPr>{run}</w:rPr><w:t>MARKER</w:t></w:r></w:p>"
    )


def with_run(run: str, about: str = "") -> Document:
    return read(lambda document: add(document, paragraph(run, about)))


@pytest.mark.parametrize(
    ("run", "about"),
    [
        ("<w:vanish/>", ""), ('<w:vanish w:val="1"/>', ""), (WHITE, ""), ('<w:color w:val="FEFEFE"/>', ""),
        ('<w:sz w:val="2"/>', ""), ("<w14:textFill><w14:noFill/></w14:textFill>", ""),
        ('<w:color w:val="FFFF00"/><w:highlight w:val="yellow"/>', ""),
        ('<w:color w:val="112233"/><w:shd w:val="clear" w:fill="112233"/>', ""),
        ('<w:color w:val="112233"/>', '<w:shd w:val="clear" w:fill="112233"/>'),
        ('<w:color w:val="112233"/>', '<w:shd w:val="solid" w:color="112233" w:fill="auto"/>'),
        (WHITE, '<w:shd w:val="clear" w:color="auto" w:fill="auto"/>'),
        ('<w:color w:val="000000" w:themeColor="background1"/>', ""),
        ('<w:color w:val="auto" w:themeColor="light1"/>', ""),
        ('<w:color w:val="000000" w:themeColor="text1"/><w:shd w:val="clear" w:fill="auto" w:themeFill="text1"/>', ""),
        ('<w:w w:val="1"/>', ""),
    ],
)  # fmt: skip
def test_what_nobody_sees_is_left_out_and_counted(run: str, about: str) -> None:
    document = with_run(run, about)
    assert document.text == "seen"
    (note,) = document.notes
    assert note.startswith("6 characters that nobody sees were left out: ")


@pytest.mark.parametrize(
    ("run", "about"),
    [
        ('<w:vanish w:val="0"/>', ""), ("<w:webHidden/>", ""), ('<w:color w:val="auto"/>', ""),
        ('<w:sz w:val="8"/>', ""),
        ('<w:color w:val="EEEEEE"/>', ""), (f'{WHITE}<w:highlight w:val="black"/>', ""),
        (f'{WHITE}<w:shd w:val="clear" w:fill="000080"/>', ""), (WHITE, '<w:shd w:val="clear" w:fill="000080"/>'),
        (WHITE, '<w:shd w:val="pct50" w:color="000000" w:fill="FFFFFF"/>'), ("", "<w:rPr><w:vanish/></w:rPr>"),
        ('<w:color w:val="808080" w:themeColor="background1" w:themeShade="80"/>', ""),
        ('<w:color w:val="FFFFFF" w:themeColor="text1"/>', ""), ('<w:w w:val="80"/>', ""),
        (f'{WHITE}<w:shd w:val="clear" w:fill="auto" w:themeFill="text1"/>', ""),
        (f'{WHITE}<w:shd w:val="clear" w:fill="4472C4" w:themeFill="accent1"/>', ""),
        ("", '<w:spacing w:line="1" w:lineRule="auto"/>'), ("", '<w:spacing w:line="240" w:lineRule="exact"/>'),
        ("", '<w:ind w:left="-720"/>'),
        ("", '<w:framePr w:w="2000" w:hAnchor="page" w:x="600" w:y="-400"/>'),
    ],
)  # fmt: skip
def test_what_the_page_shows_stays(run: str, about: str) -> None:
    document = with_run(run, about)
    assert document.text == "seen MARKER"
    assert document.notes == ()


def styled(build: Callable[[WordDocument], object], run: str, about: str = "") -> str:
    def both(document: WordDocument) -> None:
        for name, kind in (
            ("Hid", WD_STYLE_TYPE.PARAGRAPH),
            ("Sub", WD_STYLE_TYPE.PARAGRAPH),
            ("Let", WD_STYLE_TYPE.CHARACTER),
        ):
            document.styles.add_style(name, kind)
        document.styles["Sub"].base_style = document.styles["Hid"]  # type: ignore[attr-defined]
        build(document)
        add(document, paragraph(run, about))

    return read(both).text


def hide(*names: str) -> Callable[[WordDocument], None]:
    def build(document: WordDocument) -> None:
        for name in names:
            document.styles[name].font.hidden = True  # type: ignore[attr-defined]

    return build


def test_styles_hide_and_two_that_do_cancel_each_other() -> None:
    sub, letters = '<w:pStyle w:val="Sub"/>', '<w:rStyle w:val="Let"/>'
    assert styled(hide("Hid"), "", sub) == ""
    assert styled(hide("Let"), letters) == "seen"
    assert styled(hide("Hid", "Let"), letters, sub) == "MARKER"
    assert styled(hide("Hid"), '<w:vanish w:val="0"/>', sub) == "MARKER"


def test_colour_and_size_come_from_styles_too() -> None:
    def tiny(document: WordDocument) -> None:
        document.styles["Hid"].font.size = Pt(1)  # type: ignore[attr-defined]

    assert styled(tiny, '<w:sz w:val="20"/>', '<w:pStyle w:val="Sub"/>') == "MARKER"
    assert styled(tiny, "", '<w:pStyle w:val="Sub"/>') == ""


@pytest.mark.parametrize(
    ("shading", "style", "seen"),
    [("000080", "", True), ("FFFFFF", "", False), ("", "", False), ("", "LightShading-Accent1", True),
     ("FFFFFF", "LightShading-Accent1", False)],
)  # fmt: skip
def test_the_ground_of_a_cell_counts_and_a_table_with_a_style_has_one_of_its_own(
    shading: str, style: str, seen: bool
) -> None:
    cell = f'<w:tcPr><w:shd w:val="clear" w:fill="{shading}"/></w:tcPr>' if shading else ""
    about = f'<w:tblPr><w:tblStyle w:val="{style}"/></w:tblPr>' if style else ""
    body = f"<w:p><w:r><w:rPr>{WHITE}</w:rPr><w:t>MARKER</w:t></w:r></w:p>"
    table = f"<w:tbl {W}>{about}<w:tr><w:tc>{cell}{body}</w:tc><w:tc><w:p/></w:tc></w:tr></w:tbl>"
    assert ("MARKER" in read(lambda document: add(document, table)).text) == seen


def test_the_colour_of_the_page_counts() -> None:
    def build(document: WordDocument) -> None:
        document.element.insert(0, parse_xml(f'<w:background {W} w:color="112233"/>'))
        add(document, paragraph(WHITE))
        add(document, paragraph('<w:color w:val="112233"/>'))

    assert read(build).text == "seen MARKER\nseen"


def test_white_words_in_a_text_box_stay() -> None:
    box = (
        f"<w:p {W}><w:r><w:pict><w:txbxContent><w:p><w:r><w:rPr>{WHITE}</w:rPr><w:t>MARKER</w:t></w:r></w:p>"
        "</w:txbxContent></w:pict></w:r></w:p>"
    )
    assert read(lambda document: add(document, box)).text == "MARKER"


@pytest.mark.parametrize(
    "about",
    [
        '<w:spacing w:line="1" w:lineRule="exact"/>', '<w:ind w:left="-30000"/>',
        '<w:framePr w:w="1" w:vAnchor="page" w:hAnchor="page" w:x="-20000" w:y="-20000"/>',
    ],
)  # fmt: skip
def test_paragraphs_off_the_page_or_without_height_are_left_out(about: str) -> None:
    def fill(document: WordDocument) -> None:
        document.add_paragraph("seen")
        add(document, paragraph("", about))
        styles = document.styles.element
        styles.append(parse_xml(f'<w:style {W} w:type="paragraph" w:styleId="Off"><w:pPr>{about}</w:pPr></w:style>'))
        add(document, paragraph("", '<w:pStyle w:val="Off"/>'))

    document = read(fill)
    assert document.text == "seen"
    (note,) = document.notes
    assert note.startswith("20 characters that nobody sees were left out: ")


def test_hidden_rows_and_what_a_table_style_hides_are_left_out() -> None:
    def row(text: str, about: str = "", run: str = "") -> str:
        return f"<w:tr>{about}<w:tc><w:p><w:r>{run}<w:t>{text}</w:t></w:r></w:p></w:tc></w:tr>"

    def fill(document: WordDocument) -> None:
        rows = (
            row("shown")
            + row("MARKER", "<w:trPr><w:hidden/></w:trPr>")
            + row("kept", '<w:trPr><w:hidden w:val="0"/></w:trPr>')
        )
        add(document, f"<w:tbl {W}><w:tblPr/><w:tblGrid><w:gridCol/></w:tblGrid>{rows}</w:tbl>")
        document.styles.element.append(
            parse_xml(f'<w:style {W} w:type="table" w:styleId="Hides"><w:rPr><w:vanish/></w:rPr></w:style>')
        )
        rows = row("MARKER") + row("back", run='<w:rPr><w:vanish w:val="0"/></w:rPr>')
        about = '<w:tblPr><w:tblStyle w:val="Hides"/></w:tblPr>'
        add(document, f"<w:tbl {W}>{about}<w:tblGrid><w:gridCol/></w:tblGrid>{rows}</w:tbl>")

    document = read(fill)
    assert "MARKER" not in document.text
    assert all(word in document.text for word in ("shown", "kept", "back"))
    assert document.notes == ("12 characters that nobody sees were left out: they are not displayed",)


@pytest.mark.parametrize(("hidden", "style"), [("1", "visibility:hidden"), ("0", "width:9pt; visibility:visible")])
def test_the_text_of_hidden_shapes_is_left_out(hidden: str, style: str) -> None:
    text = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
    drawn = (
        '<w:drawing><wp:anchor xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">'
        f'<wp:docPr id="9" name="t" hidden="{hidden}"/><a:graphic '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData><wps:wsp '
        'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"><wps:txbx>'
        f"{text.format('newer')}</wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing>"
    )
    older = (
        f'<w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml" style="{style}"><v:textbox>{text.format("older")}'
        "</v:textbox></v:shape></w:pict>"
    )

    def fill(document: WordDocument) -> None:
        document.add_paragraph("seen")
        add(document, f"<w:p {W}><w:r>{drawn}</w:r><w:r>{older}</w:r></w:p>")

    document = read(fill)
    assert "seen" in document.text
    for word in ("newer", "older"):
        assert (word in document.text) == (hidden == "0")
