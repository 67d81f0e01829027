"""PowerPoint -> text, a page a slide: title, text, tables, charts, diagrams, then the speaker's notes and comments."""

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.types import Document
from ingest.readers.package import check_package, parse_xml, plain_package, stated
from ingest.readers.slide_ground import Ground
from ingest.readers.slide_text import (
    FOOTER,
    TITLES,
    UNREAD,
    body_lines,
    leave_unseen,
    name_of,
    placeholder,
    shape_lines,
    shapes_in,
    title_of,
)
from ingest.readers.text import Part, assemble, clean, collapse, meaningful
from ingest.readers.unseen import Unseen

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
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
    hidden: list[str] = []
    unseen = Unseen()
    size = presentation.slide_width or 0, presentation.slide_height or 0
    margin: dict[str, None] = {}  # lines of footers and masters, which are written once
    for number, slide in enumerate(presentation.slides, start=1):
        if slide.element.get("show") in ("0", "false"):
            hidden.append(str(number))
            parts.append(Part("", (), number))
            continue
        leave_unseen(slide.element, unseen, _beside(slide, size), Ground(slide).swallows)
        shapes = list(shapes_in(slide.shapes._spTree))
        title = clean(title_of(shapes))
        lines = [title, *_lines(slide, shapes), *_notes(slide), *_comments(slide)]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n"))
        if not text.strip():
            empty.append(number)
        once = [line for line in dict.fromkeys(_margin(slide, shapes)) if line not in margin]
        margin |= dict.fromkeys(once)
        parts.append(Part("\n".join(filter(None, (text, *once))), (title,) if title else (), number))
        tables += sum(1 for _ in slide.element.iter(f"{_DRAWING}tbl"))
    first = next((part.headings[0] for part in parts if part.headings), "")
    title = meaningful(presentation.core_properties.title) or first
    tags, date = stated(data)
    notes = [f"hidden slides were left out: {', '.join(hidden)}"] if hidden else []
    document = assemble(parts, title, len(parts), empty, tables=tables, notes=(*notes, *unseen.notes()))
    return replace(document, tags=tags, date=date)


def _beside(slide: "Slide", size: tuple[int, int]) -> "Iterator[Element]":
    """The shapes that stand beside the slide."""
    for about in slide.element.iter("{*}cNvPr"):
        shape = about.getparent().getparent()
        if name_of(shape.getparent()) != "grpSp" and _is_beside(shape, size):
            yield shape


def _is_beside(shape: "Element", size: tuple[int, int]) -> bool:
    """Whether no part of a shape is on the slide; one whose place the layout tells is."""
    frame = next((child for about in shape for child in (about, *about) if name_of(child) == "xfrm"), None)
    place = frame.find(f"{_DRAWING}off") if frame is not None else None
    extent = frame.find(f"{_DRAWING}ext") if frame is not None else None
    if place is None or extent is None:
        return False
    try:
        left, top, width, height = (int(each.get(name, "")) for each, name in (
            (place, "x"), (place, "y"), (extent, "cx"), (extent, "cy")
        ))  # fmt: skip
    except ValueError:
        return False
    return left + width < 0 or top + height < 0 or left > size[0] or top > size[1]


def _lines(slide: "Slide", shapes: "list[Element]") -> Iterator[str]:
    """The lines of the shapes in their order; not the title, nor date, footer and slide number."""

    def part(key: str) -> "Element | None":
        found = slide.part.rels.get(key)
        return None if found is None or found.is_external else parse_xml(found.target_part.blob)

    for shape in shapes:
        kind = placeholder(shape)
        if kind not in TITLES and kind not in UNREAD and kind != FOOTER:
            yield from shape_lines(shape, part)


def _margin(slide: "Slide", shapes: "list[Element]") -> Iterator[str]:
    """The footer of a slide, and what its layout and master write on it."""
    layout = slide.slide_layout
    behind = [shape for shape in shapes if placeholder(shape) == FOOTER]
    if slide.element.get("showMasterSp") not in ("0", "false"):
        behind += [shape for shape in shapes_in(layout.shapes._spTree) if placeholder(shape) is None]
        if layout.element.get("showMasterSp") not in ("0", "false"):
            behind += [shape for shape in shapes_in(layout.slide_master.shapes._spTree) if placeholder(shape) is None]
    for shape in behind:
        if name_of(shape) == "pic":  # a logo
            continue
        yield from filter(None, map(collapse, shape_lines(shape, lambda key: None)))


def _notes(slide: "Slide") -> Iterator[str]:
    if slide.has_notes_slide:
        for shape in shapes_in(slide.notes_slide.shapes._spTree):
            body = shape.find("{*}txBody")
            if body is not None and placeholder(shape) not in (*UNREAD, FOOTER) and (lines := body_lines(body)):
                yield "\n" + "\n".join(lines)


def _comments(slide: "Slide") -> Iterator[str]:
    """What people remarked on a slide; newer programs write comments as paragraphs, older ones as one text."""
    for rel in slide.part.rels.values():
        if not rel.is_external and rel.reltype.endswith("/comments"):
            for comment in parse_xml(rel.target_part.blob).iter("{*}cm"):
                texts = [element.text or "" for element in comment.iter("{*}text", f"{_DRAWING}t")]
                if said := collapse(" ".join(texts)):
                    yield f"[comment] {said}"
