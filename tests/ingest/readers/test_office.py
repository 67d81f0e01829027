"""Word documents, built with python-docx and with XML where it has no words for it."""

from collections.abc import Callable
from datetime import datetime
from io import BytesIO

import docx
import pytest
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml

from core.config import IngestConfig
from core.types import Document
from ingest.readers.office import read_docx

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

    assert read(build).text.split("\n") == ["before", "", "Region | Sales", "North | 100", "", "- point"]


def test_a_cell_merged_over_rows_is_repeated_and_nested_tables_are_read() -> None:
    def build(document: WordDocument) -> None:
        table = document.add_table(2, 2)
        table.cell(0, 0).merge(table.cell(1, 0)).text = "2024"
        table.cell(0, 1).text = "Q1"
        table.cell(1, 1).add_table(1, 1).cell(0, 0).text = "inner"

    assert read(build).text == "2024 | Q1\n2024 | inner"


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


def test_comments_follow_at_the_end_and_headers_are_left_out() -> None:
    def build(document: WordDocument) -> None:
        run = document.add_paragraph("body").runs[0]
        document.add_comment(run, text="a remark", author="X")
        document.sections[0].header.paragraphs[0].text = "page header"

    if not hasattr(WordDocument, "add_comment"):
        pytest.skip("this python-docx cannot write comments")
    assert read(build).text == "body\n\na remark"


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
