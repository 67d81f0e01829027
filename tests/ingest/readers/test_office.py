"""Word documents, built with python-docx and with XML where it has no words for it."""

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from io import BytesIO
from zipfile import ZipFile

import docx
import pytest
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from ingest.readers.office import read_docx

NS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def read(build: Callable[[WordDocument], object]) -> Document:
    document = docx.Document()
    build(document)
    memory = BytesIO()
    document.save(memory)
    return read_docx(memory.getvalue(), IngestConfig())


def add(document: WordDocument, xml: str) -> None:
    body = document.element.body
    body.insert(len(body) - 1, parse_xml(xml))


def test_heading_styles_make_the_path() -> None:
    def build(document: WordDocument) -> None:
        document.add_heading("总则", 1)
        document.add_paragraph("第一段")
        document.add_heading("范围", 2)
        document.add_paragraph("第二段")
        document.add_heading("附则", 1)

    document = read(build)
    assert [(s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (("总则",), "总则\n第一段"),
        (("总则", "范围"), "范围\n第二段"),
        (("附则",), "附则"),
    ]
    assert document.title == "总则"


def test_localised_styles_styles_based_on_headings_and_outline_levels_count() -> None:
    def build(document: WordDocument) -> None:
        document.styles.add_style("标题 1", WD_STYLE_TYPE.PARAGRAPH)
        derived = document.styles.add_style("My section", WD_STYLE_TYPE.PARAGRAPH)
        derived.element.append(parse_xml(f'<w:basedOn {W} w:val="Heading2"/>'))
        document.add_paragraph("甲", style="标题 1")
        document.add_paragraph("乙", style="My section")
        add(document, f'<w:p {W}><w:pPr><w:outlineLvl w:val="2"/></w:pPr><w:r><w:t>丙</w:t></w:r></w:p>')

    assert read(build).sections[-1].headings == ("甲", "乙", "丙")


def test_the_title_style_comes_before_the_property_and_the_property_before_the_heading() -> None:
    def build(document: WordDocument, styled: bool, title: str) -> None:
        document.core_properties.title = title
        if styled:
            document.add_heading("From the page", 0)
        document.add_heading("Chapter", 1)

    assert read(lambda d: build(d, True, "Property")).title == "From the page"
    assert read(lambda d: build(d, False, "Property")).title == "Property"
    assert read(lambda d: build(d, False, "Microsoft Word - x.doc")).title == "Chapter"


def test_tables_lists_and_paragraphs_keep_their_order() -> None:
    def build(document: WordDocument) -> None:
        document.add_paragraph("before")
        table = document.add_table(2, 2)
        for cell, text in zip(table._cells, ["Region", "Sales", "North", "100"], strict=True):
            cell.text = text
        document.add_paragraph("point", style="List Bullet")

    assert read(build).text.split("\n") == [
        "before", "", "| Region | Sales |", "| --- | --- |", "| North | 100 |", "", "- point",
    ]  # fmt: skip


def test_a_cell_merged_over_rows_is_repeated_and_nested_tables_are_read() -> None:
    def build(document: WordDocument) -> None:
        table = document.add_table(2, 2)
        table.cell(0, 0).merge(table.cell(1, 0)).text = "2024"
        table.cell(0, 1).text = "Q1"
        table.cell(1, 1).add_table(1, 1).cell(0, 0).text = "inner"

    assert read(build).text == "| 2024 | Q1 |\n| --- | --- |\n| 2024 | inner |"


def test_a_table_of_one_cell_is_a_frame_around_paragraphs() -> None:
    def build(document: WordDocument) -> None:
        cell = document.add_table(1, 1).cell(0, 0)
        cell.text = "one"
        cell.add_paragraph("two")

    assert read(build).text == "one\ntwo"


def test_inserted_text_is_read_and_deleted_text_is_not() -> None:
    xml = (
        f"<w:p {W}><w:r><w:t>keep </w:t></w:r><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>"
    )
    assert read(lambda document: add(document, xml)).text == "keep new"


def test_a_text_box_is_read_once() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>in the box</w:t></w:r></w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    xml = (
        f"<w:p {W} {mc}><w:r><w:t>anchor</w:t></w:r><w:r><mc:AlternateContent>"
        f'<mc:Choice Requires="wps">{box}</mc:Choice>'
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert read(lambda document: add(document, xml)).text == "anchor\nin the box"


def test_content_controls_are_opened() -> None:
    xml = f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    assert read(lambda document: add(document, xml)).text == "controlled"


def test_a_comment_stands_below_its_paragraph() -> None:
    def build(document: WordDocument) -> None:
        run = document.add_paragraph("body").runs[0]
        document.add_comment(run, text="a remark", author="X")
        document.add_paragraph("more")

    if not hasattr(WordDocument, "add_comment"):
        pytest.skip("this python-docx cannot write comments")
    assert read(build).text == "body\n[comment by X] a remark\nmore"


def test_headers_and_footers_are_read_once_and_without_page_numbers() -> None:
    def build(document: WordDocument) -> None:
        document.add_heading("Chapter", 1)
        for section in (document.sections[0], document.add_section()):
            section.header.is_linked_to_previous = section.footer.is_linked_to_previous = False
            section.header.paragraphs[0].text = "Document QM-1"
            section.first_page_header.paragraphs[0].text = "never seen"
            footer = section.footer.paragraphs[0]
            footer.text = "Room 4, page "
            footer._p.append(parse_xml(f'<w:fldSimple {W} w:instr=" PAGE "><w:r><w:t>7</w:t></w:r></w:fldSimple>'))
        document.add_paragraph("text")

    document = read(build)
    assert document.text == "Document QM-1\n\nChapter\ntext\n\nRoom 4, page"
    assert {section.headings for section in document.sections} == {("Chapter",)}


def test_the_header_of_a_first_page_counts_where_there_is_one() -> None:
    def build(document: WordDocument) -> None:
        section = document.sections[0]
        section.different_first_page_header_footer = True
        section.first_page_header.paragraphs[0].text = "Letter head"
        document.add_paragraph("text")

    assert read(build).text == "Letter head\n\ntext"


def test_keywords_and_category_are_tags_and_the_last_change_is_the_date() -> None:
    def build(document: WordDocument) -> None:
        document.add_paragraph("x")
        document.core_properties.keywords = "annual leave; HR，年假"
        document.core_properties.category = "Policy"
        document.core_properties.modified = datetime(2024, 3, 15, 10, 30)

    document = read(build)
    assert document.tags == ("annual leave", "HR", "年假", "Policy")
    assert document.date == "2024-03-15"


def test_the_date_of_the_template_is_not_that_of_the_document() -> None:
    assert read(lambda document: document.add_paragraph("x")).date == ""


def test_a_header_that_all_sections_share_is_read_and_counted_once() -> None:
    def build(document: WordDocument) -> None:
        header = document.sections[0].header
        header.is_linked_to_previous = False
        run = header.paragraphs[0].add_run("old")
        run.font.strike = True
        header.paragraphs[0].add_run("QM-1")
        reference = document.sections[0]._sectPr.find(f"{{{NS}}}headerReference")
        for _ in range(3):
            document.add_section()._sectPr.insert(0, deepcopy(reference))

    document = read(build)
    assert document.text == "QM-1"
    assert document.notes == ("3 characters were left out: they are struck out",)


@pytest.mark.parametrize("part", ["numbering", "settings", "footnotes", "header1"])
@pytest.mark.parametrize("content", [b"", b"<", b"no xml", b"<w:x xmlns:w='w'><w:abstractNum/>", b"\0" * 50])
def test_a_damaged_part_is_one_clear_error_or_loses_no_other_text(part: str, content: bytes) -> None:
    document, memory = docx.Document(), BytesIO()
    document.add_paragraph("kept", style="List Number")
    document.sections[0].header.paragraphs[0].text = "head"
    document.save(memory)
    changed = BytesIO()
    with ZipFile(memory) as whole, ZipFile(changed, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, content if name == f"word/{part}.xml" else whole.read(name))
    try:
        text = read_bytes("x.docx", changed.getvalue(), IngestConfig()).text
    except ReadError as error:
        text = f"kept {error.hint}"
    assert "kept" in text
