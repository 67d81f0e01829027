"""Paragraphs of Word documents are read as the page shows them."""

import pytest
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE

from core.types import Document
from tests.ingest.readers.test_office import W, add, read

M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
W14 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
V = 'xmlns:v="urn:schemas-microsoft-com:vml"'


def paragraph(inner: str) -> str:
    return f"<w:p {W} {M} {W14} {MC} {V}>{inner}</w:p>"


def of(inner: str) -> Document:
    return read(lambda document: add(document, paragraph(inner)))


def run(text: str, about: str = "") -> str:
    return f"<w:r><w:rPr>{about}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


UP, DOWN = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'


def test_raised_and_lowered_runs() -> None:
    inner = run("10") + run("-", UP) + run("6", UP) + run(" mol, 12 m") + run("2", UP) + run(" and CO") + run("2", DOWN)
    assert of(inner + run("; 28") + run("1", UP) + run(" days")).text == "10^-6 mol, 12 m^2 and CO2; 28 [1] days"


def test_a_run_moved_off_the_line_is_raised() -> None:
    assert of(run("10") + run("6", '<w:position w:val="8"/>')).text == "10^6"
    assert of(run("10") + run("6", '<w:position w:val="2"/>')).text == "106"


def test_a_style_raises_too() -> None:
    def build(document: WordDocument) -> None:
        style = document.styles.add_style("Mark", WD_STYLE_TYPE.CHARACTER)
        style.font.superscript = True  # type: ignore[attr-defined]
        add(document, paragraph(run("28") + run("1", '<w:rStyle w:val="Mark"/>')))

    assert read(build).text == "28 [1]"


@pytest.mark.parametrize("about", ["<w:strike/>", "<w:dstrike/>"])
def test_struck_text_is_left_out_and_counted(about: str) -> None:
    document = of(run("the price is ") + run("500", about) + run("450 euros"))
    assert document.text == "the price is 450 euros"
    assert document.notes == ("3 characters were left out: they are struck out",)
    assert of(run("500", '<w:strike w:val="0"/>')).text == "500"


def test_deleted_text_is_counted() -> None:
    document = of(run("ends at ") + "<w:del><w:r><w:delText>20:00</w:delText></w:r></w:del>" + run("21:30"))
    assert document.notes == ("5 characters were left out: they are deleted by tracked changes",)


def test_a_paragraph_whose_end_was_deleted_goes_on_in_the_next() -> None:
    def build(document: WordDocument) -> None:
        mark = "<w:pPr><w:rPr><w:del w:id='1' w:author='a'/></w:rPr></w:pPr>"
        add(document, paragraph(mark + run("The fee is ")))
        add(document, paragraph(run("40 euros.")))

    assert read(build).text == "The fee is 40 euros."


def test_a_large_first_letter_belongs_to_its_word() -> None:
    def build(document: WordDocument) -> None:
        add(document, paragraph('<w:pPr><w:framePr w:dropCap="drop"/></w:pPr>' + run("O")))
        add(document, paragraph(run("nce a year")))

    assert read(build).text == "Once a year"


def test_equations_stand_in_their_line() -> None:
    fraction = "<m:f><m:num><m:r><m:t>3</m:t></m:r></m:num><m:den><m:r><m:t>4</m:t></m:r></m:den></m:f>"
    inner = run("rate ") + f"<m:oMath>{fraction}</m:oMath>" + run(" of it")
    assert of(inner).text == "rate 3/4 of it"
    assert of(f"<m:oMathPara><m:oMath>{fraction}</m:oMath></m:oMathPara>").text == "3/4"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>', "☑ paid"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0A8"/></w:r>', "☐ paid"),
        ('<w:r><w:sym w:font="Wingdings 2" w:char="F052"/></w:r>', "☑ paid"),
        ('<w:r><w:sym w:font="Symbol" w:char="F061"/></w:r>', "α paid"),
        (run("o", '<w:rFonts w:ascii="Wingdings"/>'), "☐ paid"),
        (run("\uf0fe", '<w:rFonts w:ascii="Wingdings"/>'), "☑ paid"),
        (run("o", '<w:rFonts w:ascii="Arial"/>'), "o paid"),
    ],
)
def test_symbols_are_characters(inner: str, text: str) -> None:
    document = of(inner + run(" paid"))
    assert (document.text, document.notes) == (text, ())


def test_a_symbol_without_a_character_is_reported() -> None:
    document = of('<w:r><w:sym w:font="Wingdings" w:char="F0FF"/></w:r>' + run("text"))
    assert document.notes == ("1 symbols have no character",)


def control(about: str, content: str) -> str:
    return f"<w:sdt><w:sdtPr>{about}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (control('<w14:checkbox><w14:checked w14:val="1"/></w14:checkbox>', run("☒")), "A: ☑"),
        (control('<w14:checkbox><w14:checked w14:val="0"/></w14:checkbox>', run("☐")), "A: ☐"),
        (control("<w14:checkbox/>", '<w:r><w:sym w:font="Wingdings" w:char="F0A8"/></w:r>'), "A: ☐"),
        (control("<w:text/>", run("Ann Lee")), "A: Ann Lee"),
        (control("<w:showingPlcHdr/><w:text/>", run("Click here to enter text.")), "A:"),
        (control('<w:date w:fullDate="2025-03-01T00:00:00Z"/>', run("1 March 2025")), "A: 1 March 2025"),
        (control('<w:date w:fullDate="2025-03-01T00:00:00Z"/>', run("")), "A: 2025-03-01"),
        (control('<w:dropDownList w:lastValue="b"><w:listItem w:displayText="Bonn" w:value="b"/></w:dropDownList>',
                 run("")), "A: Bonn"),
    ],
)  # fmt: skip
def test_content_controls_show_their_value(inner: str, text: str) -> None:
    assert of(run("A: ") + inner).text == text


def test_fields_that_nobody_filled_in_are_counted() -> None:
    assert of(run("A: ") + control("<w:showingPlcHdr/>", run("Click here"))).notes == ("1 form fields are empty",)


def legacy(data: str, shown: str = "", code: str = "FORMTEXT") -> str:
    return (
        f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{data}</w:ffData></w:fldChar></w:r>'
        f"<w:r><w:instrText> {code} </w:instrText></w:r><w:r><w:fldChar w:fldCharType='separate'/></w:r>"
        f"{run(shown)}<w:r><w:fldChar w:fldCharType='end'/></w:r>"
    )


@pytest.mark.parametrize(
    ("data", "shown", "text"),
    [
        ("<w:textInput/>", "KX 4471", "A: KX 4471"),
        ("<w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox>", "", "A: ☑"),
        ("<w:checkBox><w:default w:val='1'/></w:checkBox>", "", "A: ☑"),
        ("<w:checkBox><w:default w:val='1'/><w:checked w:val='0'/></w:checkBox>", "", "A: ☐"),
        ("<w:ddList><w:result w:val='1'/><w:listEntry w:val='North'/><w:listEntry w:val='S'/></w:ddList>", "", "A: S"),
        ("<w:ddList><w:listEntry w:val='North'/></w:ddList>", "", "A: North"),
        ("<w:ddList><w:result w:val='9'/><w:listEntry w:val='North'/></w:ddList>", "", "A:"),
    ],
)  # fmt: skip
def test_form_fields_of_the_old_kind_show_their_value(data: str, shown: str, text: str) -> None:
    assert of(run("A: ") + legacy(data, shown)).text == text


def test_the_code_of_a_field_is_no_text_and_its_result_is() -> None:
    inner = (
        "<w:r><w:fldChar w:fldCharType='begin'/></w:r><w:r><w:instrText>IF </w:instrText></w:r>"
        f"<w:r><w:fldChar w:fldCharType='begin'/></w:r><w:r><w:fldChar w:fldCharType='separate'/></w:r>{run('CODE')}"
        "<w:r><w:fldChar w:fldCharType='end'/></w:r><w:r><w:fldChar w:fldCharType='separate'/></w:r>"
        f"{run('shown')}<w:r><w:fldChar w:fldCharType='end'/></w:r>"
    )
    assert of(run("a ") + inner + run(" b")).text == "a shown b"


def test_a_field_that_never_ends_hides_no_other_paragraph() -> None:
    def build(document: WordDocument) -> None:
        add(document, paragraph("<w:r><w:fldChar w:fldCharType='begin'/></w:r>" + run("x")))
        add(document, paragraph(run("kept")))

    assert read(build).text == "kept"


def test_a_text_box_that_only_the_older_form_has_is_read() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>in the box</w:t></w:r></w:p></w:txbxContent>"
    inner = f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"/><mc:Fallback>{box}</mc:Fallback>'
    assert of(run("anchor") + inner + "</mc:AlternateContent></w:r>").text == "anchor\nin the box"


def test_grouped_shapes_are_each_read_once_and_a_watermark_is_text() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
    shapes = "".join(f"<v:shape><v:textbox>{box.format(name)}</v:textbox></v:shape>" for name in ("one", "two"))
    mark = '<w:r><w:pict><v:shape><v:textpath string="DRAFT"/></v:shape></w:pict></w:r>'
    assert of(f"<w:r><w:pict><v:group>{shapes}</v:group></w:pict></w:r>" + mark).text == "DRAFT\none\ntwo"


def test_chinese_in_a_run_whose_letters_are_pictures_stays() -> None:
    fonts = '<w:rFonts w:ascii="Wingdings" w:hAnsi="Wingdings" w:eastAsia="SimSun"/>'
    document = of(run("已审核 ", fonts) + run("\uf0fe", fonts) + run("，金额500元"))
    assert (document.text, document.notes) == ("已审核 ☑，金额500元", ())


def test_a_symbol_beyond_the_basic_plane_is_read() -> None:
    symbol = (
        '<mc:AlternateContent><mc:Choice Requires="w16se"><w16se:symEx w16se:font="Segoe UI Emoji" w16se:char="1F4C5" '
        'xmlns:w16se="http://schemas.microsoft.com/office/word/2015/wordml/symex"/></mc:Choice></mc:AlternateContent>'
    )
    assert of(f"<w:r>{symbol}</w:r>" + run(" 5 May")).text == "\U0001f4c5 5 May"


def test_a_control_that_says_it_shows_no_prompt_shows_its_value() -> None:
    about = '<w:showingPlcHdr w:val="0"/><w:text/>'
    inner = f"<w:sdt><w:sdtPr>{about}</w:sdtPr><w:sdtContent>{run('Nadia Ruiz')}</w:sdtContent></w:sdt>"
    assert of(run("Holder: ") + inner).text == "Holder: Nadia Ruiz"


def test_a_choice_that_is_written_as_text_too_is_read_once() -> None:
    entries = '<w:listEntry w:val="Bonn"/><w:listEntry w:val="Graz"/>'
    inner = (
        f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>{entries}</w:ddList>'
        "</w:ffData></w:fldChar></w:r><w:r><w:instrText>FORMDROPDOWN</w:instrText></w:r>"
        f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{run("Graz")}<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    assert of(run("City: ") + inner + run(".")).text == "City: Graz."


def test_a_fraction_behind_a_figure_is_no_part_of_it() -> None:
    above, below = (f"<m:{name}><m:r><m:t>{n}</m:t></m:r></m:{name}>" for name, n in (("num", 3), ("den", 4)))
    assert of(run("by 2") + f"<m:oMath><m:f>{above}{below}</m:f></m:oMath>" + run(" hours")).text == "by 2 3/4 hours"
