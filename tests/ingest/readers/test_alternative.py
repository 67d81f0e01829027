"""Alternative texts of pictures in Office documents: what somebody wrote is read, what says nothing is not."""

import re
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes
from ingest.readers.alternative import informative, says_nothing
from tests.ingest.readers.test_opendocument import flat
from tests.ingest.readers.zipped import zipped

SAID = "Sales rose from 3.1 to 4.7 million euros between 2021 and 2024"
NOTHING = (
    "", "Picture 3", "Company logo", "图片 2", "screenshot_12.png", r"C:\Users\wang\Desktop\图1.png", "文本框 4",
    "image001",
    "A picture containing text, clipart\n\nDescription automatically generated",
    "A graph of sales growth\n\nAI-generated content may be incorrect.",
    "图形用户界面, 应用程序\n\n描述已自动生成", "图表\n\nAI 生成的内容可能不正确。",
)  # fmt: skip


def picture() -> BytesIO:
    memory = BytesIO()
    Image.new("RGB", (8, 8), "red").save(memory, "PNG")
    memory.seek(0)
    return memory


def saved(file: Any, name: str) -> Document:
    memory = BytesIO()
    file.save(memory)
    return read_bytes(name, memory.getvalue(), IngestConfig())


def mark_decorative(about: Any) -> None:
    """As Office marks a picture that only adorns a page."""
    import lxml.etree as etree

    main = "http://schemas.openxmlformats.org/drawingml/2006/main"
    adec = "http://schemas.microsoft.com/office/drawing/2017/decorative"
    listed = etree.SubElement(about, f"{{{main}}}extLst")
    extension = etree.SubElement(listed, f"{{{main}}}ext", uri="{C183D7F6-B498-43B3-948B-1728B52AA6E4}")
    etree.SubElement(extension, f"{{{adec}}}decorative", val="1")


@pytest.mark.parametrize(
    "text", [SAID, "三年营业收入由 1.2 亿元增至 2.4 亿元", "Figure 3: the approval takes five days"]
)
def test_what_somebody_wrote_is_said(text: str) -> None:
    assert informative(f" {text}\n") == text


@pytest.mark.parametrize("text", NOTHING)
def test_names_of_files_and_kinds_and_what_a_program_guessed_are_not(text: str) -> None:
    assert informative(text) == ""


def test_the_kind_of_a_picture_says_nothing_on_a_page_either() -> None:
    assert says_nothing("site icon")
    assert not says_nothing(SAID)


def test_a_picture_of_a_word_document_stands_in_its_line() -> None:
    import docx

    document: Any = docx.Document()
    line = document.add_paragraph("Before")
    for said, adorns in ((SAID, False), ("A red line across the page", True), ("Picture 2", False)):
        run = line.add_run()
        run.add_picture(picture())
        about = next(run._r.iter("{*}docPr"))
        about.set("descr", said)
        if adorns:
            mark_decorative(about)
    line.add_run("after")
    text = saved(document, "a.docx").text
    assert " ".join(text.split()) == f"Before {SAID} after"


def test_a_picture_and_a_chart_of_a_slide_stand_where_they_were_drawn_and_a_logo_of_the_master_is_not_told() -> None:
    from pptx import Presentation

    deck: Any = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Results"
    shown = slide.shapes.add_picture(picture(), 0, 0)
    shown._element.nvPicPr.cNvPr.set("descr", SAID)
    other = slide.shapes.add_picture(picture(), 0, 0)
    other._element.nvPicPr.cNvPr.set("descr", "A picture containing text\n\nDescription automatically generated")
    away = slide.shapes.add_picture(picture(), -9_000_000, 0)
    away._element.nvPicPr.cNvPr.set("descr", "What stands beside the slide and nobody sees")
    assert saved(deck, "a.pptx").text == f"Results\n{SAID}"


@pytest.mark.parametrize("strict", [False, True])
def test_pictures_and_titles_of_charts_over_a_sheet_are_told_with_it(strict: bool) -> None:
    import xlsxwriter

    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as book:
        sheet = book.add_worksheet("Sales")
        for row, values in enumerate((("Year", "Sales"), (2023, 4.1), (2024, 4.7))):
            sheet.write_row(row, 0, values)
        for said, adorns in ((SAID, False), ("A red line", True)):
            about = {"image_data": picture(), "description": said, "decorative": adorns}
            sheet.insert_image("D2", "x.png", about)
        chart: Any = book.add_chart({"type": "column"})
        chart.add_series({"values": "=Sales!$B$2:$B$3"})
        chart.set_title({"name": "Sales of three years"})
        sheet.insert_chart("D9", chart)
    data = as_strict(memory.getvalue()) if strict else memory.getvalue()
    text = read_bytes("a.xlsx", data, IngestConfig()).text
    assert "Year: 2024 | Sales: 4.7" in text
    assert SAID in text
    assert "Sales of three years" in text
    assert "A red line" not in text


def as_strict(data: bytes) -> bytes:
    """A package under the addresses of ISO/IEC 29500-1, as "Strict Open XML" is saved."""
    with ZipFile(BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    ours = re.compile(rb"http://schemas\.openxmlformats\.org/(officeDocument|spreadsheetml|drawingml)/2006/")
    return zipped({name: ours.sub(rb"http://purl.oclc.org/ooxml/\1/", content) for name, content in members.items()})


def test_a_picture_of_an_open_document_is_told_after_its_line() -> None:
    frame = "<draw:frame {}><draw:image/><svg:title>{}</svg:title><svg:desc>{}</svg:desc></draw:frame>"
    body = (
        "<text:p>Before "
        + frame.format("", "Picture 1", SAID)
        + frame.format('loext:decorative="true"', "", "Red line")
    )
    namespaces = 'xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" xmlns:loext="urn:loext"'
    xml = flat(body + "after</text:p>").replace("<office:body", f"<office:body {namespaces}", 1)
    assert read_bytes("a.fodt", xml.encode(), IngestConfig()).text.split("\n") == ["Before after", SAID]
