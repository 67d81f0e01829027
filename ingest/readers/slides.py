"""PowerPoint -> text, a page a slide: title, text, tables, diagrams, then the speaker's notes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.types import Document
from ingest.readers.package import check_package, plain_package, stated
from ingest.readers.text import Part, assemble, clean, collapse, meaningful, row_line

if TYPE_CHECKING:
    from pptx.shapes.base import BaseShape
    from pptx.slide import Slide

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def read_pptx(data: bytes, cfg: IngestConfig) -> Document:
    """A presentation; the title of a slide is the heading of its section."""
    from pptx import Presentation

    check_package(data, "PowerPoint")
    presentation = Presentation(BytesIO(plain_package(data)))
    parts: list[Part] = []
    empty: list[int] = []
    tables = 0
    for number, slide in enumerate(presentation.slides, start=1):
        title = _title(slide)
        text = "\n".join(line for line in (title, *_lines(slide.shapes), *_diagrams(slide), *_notes(slide)) if line)
        if not text.strip():
            empty.append(number)
        parts.append(Part(text, (title,) if title else (), number))
        tables += sum(1 for _ in slide.element.iter(f"{_DRAWING}tbl"))
    first = next((part.headings[0] for part in parts if part.headings), "")
    title = meaningful(presentation.core_properties.title) or first
    tags, date = stated(data)
    return replace(assemble(parts, title, len(parts), empty, tables=tables), tags=tags, date=date)


def _title(slide: "Slide") -> str:
    shape = slide.shapes.title
    return collapse(clean(shape.text_frame.text)) if shape is not None and shape.has_text_frame else ""


def _lines(shapes: "Iterable[BaseShape]") -> Iterator[str]:
    """The text of shapes in their order, groups opened; not the title, nor date, footer and slide number."""
    from pptx.enum.shapes import PP_PLACEHOLDER
    from pptx.shapes.autoshape import Shape
    from pptx.shapes.graphfrm import GraphicFrame
    from pptx.shapes.group import GroupShape

    title = (PP_PLACEHOLDER.TITLE, PP_PLACEHOLDER.CENTER_TITLE, PP_PLACEHOLDER.VERTICAL_TITLE)
    margin = (PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER)
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _lines(shape.shapes)
        elif isinstance(shape, GraphicFrame) and shape.has_table:
            for row in shape.table.rows:
                yield row_line([cell.text for cell in row.cells])
        elif isinstance(shape, Shape):
            if shape.is_placeholder and shape.placeholder_format.type in (*title, *margin):
                continue
            yield shape.text_frame.text.strip()


def _diagrams(slide: "Slide") -> Iterator[str]:
    """The words of SmartArt, which are kept in parts of their own."""
    from pptx.oxml import parse_xml

    for rel in slide.part.rels.values():
        if not rel.is_external and rel.reltype.endswith("/diagramData"):
            for element in parse_xml(rel.target_part.blob).iter(f"{_DRAWING}t"):
                yield (element.text or "").strip()


def _notes(slide: "Slide") -> Iterator[str]:
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if frame is not None and frame.text.strip():
        yield "\n" + frame.text.strip()
