"""XML files that hold a whole Office document: Excel and Word 2003 XML, Flat OPC, flat OpenDocument."""

import re
from base64 import b64encode
from html import escape
from io import BytesIO
from zipfile import ZipFile

import pytest
from docx import Document as WordDocument
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx import Presentation

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from tests.ingest.readers.sheets import ods

CFG = IngestConfig()
_EXCEL = (
    '<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>'
    '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:o="urn:schemas-microsoft-com:office:office" '
    'xmlns:x="urn:schemas-microsoft-com:office:excel" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet" '
    'xmlns:html="http://www.w3.org/TR/REC-html40">'
)
_WORD = (
    '<?xml version="1.0" encoding="UTF-8"?><?mso-application progid="Word.Document"?><w:wordDocument '
    'xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:aml="http://schemas.microsoft.com/aml/2001/core" '
    'xmlns:wx="http://schemas.microsoft.com/office/word/2003/auxHint" '
    'xmlns:st1="urn:schemas-microsoft-com:office:smarttags">'
)
_PKG = "http://schemas.microsoft.com/office/2006/xmlPackage"


def excel(sheets: str, styles: str = "", about: str = "") -> bytes:
    return f"{_EXCEL}{about}<Styles>{styles}</Styles>{sheets}</Workbook>".encode()


def ss(**attributes: object) -> str:
    return " ".join(f'ss:{name}="{value}"' for name, value in attributes.items())


def sheet(rows: str, name: str = "Pay", options: str = "") -> str:
    return f'<Worksheet ss:Name="{name}"><Table>{rows}</Table>{options}</Worksheet>'


def cell(text: str, kind: str = "String", about: str = "", more: str = "") -> str:
    return f'<Cell {about}><Data ss:Type="{kind}">{text}</Data>{more}</Cell>'


def word(body: str, before: str = "", sect: str = "") -> bytes:
    body = f"<w:body><wx:sect>{body}<w:sectPr>{sect}</w:sectPr></wx:sect></w:body>"
    return f"{_WORD}{before}{body}</w:wordDocument>".encode()


def run(text: str, about: str = "") -> str:
    return f"<w:r>{about}<w:t>{text}</w:t></w:r>"


def paragraph(content: str, about: str = "") -> str:
    return f"<w:p><w:pPr>{about}</w:pPr>{content}</w:p>"


def listed(number: str, hint: str = "") -> str:
    return f'<w:listPr><w:ilvl w:val="0"/><w:ilfo w:val="{number}"/>{hint}</w:listPr>'


def flat(package: bytes) -> bytes:
    """The package as one XML file, as Office saves it."""
    parts = ""
    with ZipFile(BytesIO(package)) as archive:
        types = archive.read("[Content_Types].xml").decode()
        for name in archive.namelist()[1:]:
            stated = re.search(f'PartName="/{re.escape(name)}" ContentType="([^"]*)"', types)
            content = archive.read(name)
            if name.endswith((".xml", ".rels")):
                held = f"<pkg:xmlData>{re.sub(r'<[?]xml.*?[?]>', '', content.decode())}</pkg:xmlData>"
            else:
                held = f"<pkg:binaryData>{b64encode(content).decode()}</pkg:binaryData>"
            kind = stated[1] if stated else "application/xml"
            parts += f'<pkg:part pkg:name="/{name}" pkg:contentType="{kind}">{held}</pkg:part>'
    return f'<?xml version="1.0"?><pkg:package xmlns:pkg="{_PKG}">{parts}</pkg:package>'.encode()


def read(data: bytes, name: str = "x.xml") -> Document:
    return read_bytes(name, data, CFG)


@pytest.mark.parametrize("name", ["pay.xls", "pay.xml", "pay", "pay.xlsx"])
def test_an_excel_2003_sheet_is_a_table_whatever_the_file_is_called(name: str) -> None:
    rows = (
        f"<Row>{cell('Grade')}{cell('Pay')}{cell('From')}</Row>"
        f"<Row>{cell('A')}{cell('2026-05-01T00:00:00.000', 'DateTime', ss(Index=3, StyleID='d'))}</Row>"
        f"<Row ss:Index='4'>{cell('B')}{cell('1234.5', 'Number', ss(StyleID='c'))}</Row>"
    )
    styles = (
        '<Style ss:ID="d"><NumberFormat ss:Format="Short Date"/></Style>'
        '<Style ss:ID="b"><NumberFormat ss:Format="#,##0.00&quot;元&quot;"/></Style><Style ss:ID="c" ss:Parent="b"/>'
    )
    document = read(excel(sheet(rows), styles), name)
    assert document.text == ("Grade | Pay | From\nGrade: A | From: 2026-05-01\nGrade: B | Pay: 1,234.50元")
    assert document.sections[0].headings == ("Pay",)


@pytest.mark.parametrize(
    ("text", "kind", "code", "shown"),
    [
        ("0.075", "Number", "Percent", "7.50%"), ("-1234.5", "Number", "Currency", "(1,234.50)"),
        ("0", "Number", "Yes/No", "No"), ("1", "Boolean", "General", "TRUE"), ("#N/A", "Error", "General", "#N/A"),
        ("1899-12-31T08:30:00.000", "DateTime", "Short Time", "8:30"),
        ("1900-01-01T06:15:00.000", "DateTime", "[h]:mm", "30:15"),
        ("2026-03-01T08:30:00.000", "DateTime", 'yyyy"年"m"月"d"日"', "2026年3月1日"),
        ("2026-03-01T00:00:00.000", "DateTime", "General", "2026-03-01"), ("0012", "String", "General", "0012"),
        ("6222020000000000123", "String", "General", "6222020000000000123"),
    ],
)  # fmt: skip
def test_cells_of_excel_2003_read_as_they_are_shown(text: str, kind: str, code: str, shown: str) -> None:
    styles = f'<Style ss:ID="s"><NumberFormat ss:Format="{escape(code)}"/></Style>'
    assert read(excel(sheet(f"<Row>{cell(text, kind, ss(StyleID='s'))}</Row>"), styles)).text == shown


def test_merged_and_hidden_cells_comments_and_formulas_of_excel_2003() -> None:
    comment = '<Comment ss:Author="Li"><ss:Data><html:B>Li:</html:B> gross</ss:Data></Comment>'
    rows = (
        "<Column/><Column ss:Hidden='1' ss:Index='4'/>"
        f"<Row>{cell('City')}{cell('Rooms', about=ss(MergeAcross=1))}{cell('secret')}</Row>"
        f"<Row>{cell('Bonn', about=ss(MergeDown=1))}{cell('1', 'Number', more=comment)}{cell('2', 'Number')}</Row>"
        f"<Row>{cell('3', 'Number', ss(Index=2))}<Cell ss:Formula='=R1C1'/></Row>"
        f"<Row ss:Hidden='1'>{cell('Ulm')}{cell('9', 'Number')}</Row>"
        f"<Row>{cell('10<html:Sup>6</html:Sup> units, <html:S>old</html:S>new')}</Row>"
    )
    hidden = "<x:WorksheetOptions><x:Visible>SheetHidden</x:Visible></x:WorksheetOptions>"
    document = read(excel(sheet(rows) + sheet(f"<Row>{cell('no')}</Row>", "Old", hidden)))
    assert "City: Bonn | Rooms: 1 | Rooms: 2\n[Rooms: 1: Li: gross]\nCity: Bonn | Rooms: 3" in document.text
    assert "10^6 units, new" in document.text
    assert not re.search("secret|Ulm|no|old", document.text)
    notes = " / ".join(document.notes)
    for said in ("row 4; column D", "C3 of Pay", "hidden sheet was left out: Old", "struck out"):
        assert said in notes


def test_text_of_the_colour_of_its_cell_is_left_out_of_excel_2003() -> None:
    styles = (
        '<Style ss:ID="w"><Font ss:Color="#FFFFFF"/></Style><Style ss:ID="g"><Font ss:Color="#FFFFFF"/>'
        '<Interior ss:Color="#003366" ss:Pattern="Solid"/></Style>'
    )
    rows = f"<Row>{cell('unseen', about=ss(StyleID='w'))}{cell('seen', about=ss(StyleID='g'))}</Row>"
    document = read(excel(sheet(rows), styles))
    assert document.text == "seen"
    assert "colour of their ground" in document.notes[0]


def test_what_an_office_2003_file_states_of_itself() -> None:
    about = (
        "<o:DocumentProperties><o:Title>Leave rules</o:Title><o:Keywords>hr; leave</o:Keywords>"
        "<o:LastSaved>2024-03-15T10:00:00Z</o:LastSaved></o:DocumentProperties>"
    )
    for data in (word(paragraph(run("a")), about), excel(sheet(f"<Row>{cell('a')}</Row>"), about=about)):
        document = read(data)
        assert (document.tags, document.date) == (("hr", "leave"), "2024-03-15")
    assert read(word(paragraph(run("a")), about)).title == "Leave rules"


_TEXTS = st.text(st.sampled_from("abcde年假 &<"), min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(_TEXTS, min_size=2, max_size=4), min_size=1, max_size=4))
def test_any_table_of_excel_2003_and_of_a_flat_workbook_is_that_of_an_ods(rows: list[list[str]]) -> None:
    lines = "".join(f"<Row>{''.join(cell(escape(text)) for text in row)}</Row>" for row in rows)
    workbook = ods({"T": rows})
    with ZipFile(BytesIO(workbook)) as archive:
        content = archive.read("content.xml").decode()
    expected = read(workbook, "x.ods").text
    assert read(excel(sheet(lines, "T")), "x.xls").text == expected
    assert read(content.replace("document-content", "document").encode(), "x.fods").text == expected


@pytest.mark.parametrize("name", ["x.fods", "x.xml", "x", "x.ods"])
def test_a_flat_workbook_is_read_as_its_sheets(name: str) -> None:
    with ZipFile(BytesIO(ods({"Pay": [["Grade", "Pay"], ["A", "100"]]}))) as archive:
        content = archive.read("content.xml").decode().replace("document-content", "document")
    assert read(content.encode(), name).text == "Grade | Pay\nGrade: A | Pay: 100"


@pytest.mark.parametrize("name", ["x.doc", "x.xml", "x", "x.docx"])
def test_a_word_2003_file_is_read_by_headings_numbers_and_tables(name: str) -> None:
    styles = '<w:styles><w:style w:type="paragraph" w:styleId="1"><w:name w:val="heading 1"/></w:style></w:styles>'
    lists = (
        '<w:lists><w:listDef w:listDefId="0"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:nfc w:val="37"/>'
        '<w:suff w:val="Space"/><w:lvlText w:val="第%1条"/></w:lvl></w:listDef>'
        '<w:list w:ilfo="1"><w:ilst w:val="0"/></w:list></w:lists>'
    )
    hint = '<wx:t wx:val="第三条"/><wx:font wx:val="SimSun"/>'
    dot = '<wx:t wx:val="·"/><wx:font wx:val="Symbol"/>'
    grid = "".join(
        f"<w:tr>{''.join(f'<w:tc><w:tcPr>{about}</w:tcPr>{paragraph(run(text))}</w:tc>' for text, about in row)}</w:tr>"
        for row in (
            [("Grade", ""), ("Days", "")], [("A", '<w:vmerge w:val="restart"/>'), ("30", "")],
            [("", "<w:vmerge/>"), ("31", "")],
        )
    )  # fmt: skip
    style = '<w:pStyle w:val="1"/>'
    body = (
        f"<wx:sub-section>{paragraph(run('请假'), style)}{paragraph(run('年假'), listed('1'))}"
        f"{paragraph(run('病假'), listed('1'))}{paragraph(run('事假'), listed('1', hint))}"
        f"{paragraph(run('dot'), listed('2', dot))}<w:tbl>{grid}</w:tbl></wx:sub-section>"
    )
    document = read(word(body, styles + lists), name)
    assert document.text == (
        "请假\n第一条 年假\n第二条 病假\n第三条 事假\n- dot\n\n| Grade | Days |\n| --- | --- |\n| A | 30 |\n| A | 31 |"
    )
    assert document.sections[0].headings == ("请假",)


def test_notes_comments_changes_and_headers_of_word_2003() -> None:
    note = f"<w:r><w:footnote>{paragraph('<w:r><w:footnoteRef/></w:r>' + run(' working days'))}</w:footnote></w:r>"
    changes = (
        f'<aml:annotation w:type="Word.Insertion"><aml:content>{run(" a year")}</aml:content></aml:annotation>'
        '<aml:annotation w:type="Word.Deletion"><aml:content><w:r><w:delText> a month</w:delText></w:r></aml:content>'
        "</aml:annotation>"
    )
    comment = (
        f'<w:r><aml:annotation aml:author="Li" w:type="Word.Comment"><aml:content>{paragraph(run("check"))}'
        "</aml:content></aml:annotation></w:r>"
    )
    box = f"<v:textbox><w:txbxContent>{paragraph(run('boxed'))}</w:txbxContent></v:textbox>"
    box = f"<w:r><w:pict><v:shape>{box}</v:shape></w:pict></w:r>"
    body = paragraph(run("It is 28") + note + run(" days") + changes + comment)
    body += paragraph(f"<st1:place>{run('Bonn')}</st1:place>{box}")
    sect = f'<w:hdr w:type="odd">{paragraph(run("Head"))}</w:hdr><w:ftr w:type="odd">{paragraph(run("Foot"))}</w:ftr>'
    rule = f'<w:footnotePr><w:footnote w:type="separator">{paragraph(run("-"))}</w:footnote></w:footnotePr>'
    assert read(word(body, f"<w:docPr>{rule}</w:docPr>", sect)).text.replace("\n\n", "\n").split("\n") == [
        "Head", "It is 28 [1] days a year", "[1] working days", "[comment by Li] check", "Bonn", "boxed", "Foot",
    ]  # fmt: skip


def test_flat_packages_are_read_as_their_documents() -> None:
    document = WordDocument()
    document.add_heading("Leave", 1)
    document.add_paragraph("28 days")
    memory = BytesIO()
    document.save(memory)
    for name in ("x.xml", "x.docx", "x"):
        assert read(flat(memory.getvalue()), name).text == "Leave\n28 days"
    slides = Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    for place, text in zip(slide.placeholders, ("Plan", "First"), strict=True):
        place.text_frame.text = text  # type: ignore[attr-defined]
    memory = BytesIO()
    slides.save(memory)
    assert read(flat(memory.getvalue())).text == "Plan\nFirst"


def test_a_flat_package_without_a_document_is_one_clear_row() -> None:
    with pytest.raises(ReadError, match="flat Office package without a document"):
        read(f'<pkg:package xmlns:pkg="{_PKG}"/>'.encode())


@pytest.mark.parametrize("whole", [word(paragraph(run("words"))), excel(sheet(f"<Row>{cell('words')}</Row>"))])
def test_a_file_that_is_cut_short_gives_its_text_or_one_clear_row(whole: bytes) -> None:
    for cut in range(300, len(whole), 97):
        try:
            assert read(whole[:cut]).text in ("words"[:n] for n in range(6))
        except ReadError:
            continue
