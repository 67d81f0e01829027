"""PowerPoint presentations."""

from datetime import datetime
from io import BytesIO

from pptx import Presentation
from pptx.shapes.placeholder import SlidePlaceholder
from pptx.util import Inches

from core.config import IngestConfig
from core.types import Document
from ingest.readers.slides import read_pptx


def deck(changed: datetime | None = None) -> Document:
    presentation = Presentation()
    presentation.core_properties.keywords = "总结, Sales"
    if changed:
        presentation.core_properties.modified = changed
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    for placeholder, text in zip(first.placeholders, ["年度总结", "Revenue grew"], strict=True):
        assert isinstance(placeholder, SlidePlaceholder)
        placeholder.text_frame.text = text
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(0), Inches(0), Inches(1), Inches(1)).text_frame.text = "inside a group"
    notes = first.notes_slide.notes_text_frame
    assert notes is not None
    notes.text = "Say hello"
    presentation.slides.add_slide(presentation.slide_layouts[6])
    third = presentation.slides.add_slide(presentation.slide_layouts[6])
    table = third.shapes.add_table(2, 2, Inches(0), Inches(0), Inches(2), Inches(1)).table
    for i, text in enumerate(["Region", "Sales", "North", "100"]):
        table.cell(i // 2, i % 2).text = text
    memory = BytesIO()
    presentation.save(memory)
    return read_pptx(memory.getvalue(), IngestConfig())


def test_a_slide_is_a_page_under_its_title_with_groups_tables_and_notes() -> None:
    document = deck()
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (1, ("年度总结",), "年度总结\nRevenue grew\ninside a group\n\nSay hello"),
        (3, (), "Region | Sales\nNorth | 100"),
    ]


def test_slides_are_counted_empty_ones_named_and_the_first_title_is_that_of_the_document() -> None:
    document = deck()
    assert (document.pages, document.empty_pages, document.title) == (3, (2,), "年度总结")


def test_tags_and_date_come_from_the_properties_and_not_from_the_template() -> None:
    document = deck(datetime(2025, 1, 2))
    assert (document.tags, document.date) == (("总结", "Sales"), "2025-01-02")
    assert deck().date == ""
