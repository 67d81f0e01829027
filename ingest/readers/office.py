"""Word documents -> text by heading: paragraphs, lists, tables, text boxes and notes, in the order of the body."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.types import Document
from ingest.readers.markup import read_html
from ingest.readers.package import check_package, plain_package, stated
from ingest.readers.text import Outline, assemble, clean, collapse, meaningful, row_line

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from docx.opc.part import Part as PackagePart
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_HEADING_STYLE = re.compile(
    r"(?:heading|标题|標題|überschrift|titre|título|titolo|заголовок|見出し|제목)\s*([1-9])", re.I
)
_TITLE_STYLES = frozenset(("title", "标题", "標題", "titel"))
# Deleted and moved-away text, what stands twice (Fallback), phonetic guides, and elements that hold no text.
_SKIPPED = frozenset(("del", "moveFrom", "Fallback", "rt", "rPr", "pPr", "instrText", "delText", "posOffset"))
_NOTES = ("/footnotes", "/endnotes", "/comments")


@dataclass(frozen=True, slots=True)
class _Style:
    level: int | None = None  # of a heading, from 1
    title: bool = False
    listed: bool = False


def read_docx(data: bytes, cfg: IngestConfig) -> Document:
    """A Word document. Headers, footers and deleted text are left out; notes and comments follow at the end."""
    from docx import Document as open_document

    check_package(data, "Word")
    document = open_document(BytesIO(plain_package(data)))
    body = _Body(document, cfg)
    body.walk(document.element.body)
    body.close()
    for part in _note_parts(document):
        body.notes(part)
    title = body.title or meaningful(document.core_properties.title) or body.first
    tags, date = stated(data)
    return replace(assemble(body.parts, title, tables=body.tables), tags=tags, date=date)


def _note_parts(document: "WordDocument") -> Iterator["PackagePart"]:
    for rel in document.part.rels.values():
        if not rel.is_external and rel.reltype.endswith(_NOTES):
            yield rel.target_part


def _styles(document: "WordDocument") -> dict[str, _Style]:
    """What the paragraph styles mean, by their id; a style takes over what it is based on."""
    elements = {style.get(f"{_W}styleId", ""): style for style in document.styles.element.iter(f"{_W}style")}
    styles: dict[str, _Style] = {}
    for key in elements:
        chain = list(_ancestry(key, elements))
        levels = (_style_level(style) for style in chain)
        styles[key] = _Style(
            next((level for level in levels if level), None),
            any(_value(style, "name").casefold() in _TITLE_STYLES for style in chain),
            any(style.find(f"{_W}pPr/{_W}numPr") is not None for style in chain),
        )
    return styles


def _ancestry(key: str, elements: "dict[str, Element]") -> "Iterator[Element]":
    seen: set[str] = set()
    while key in elements and key not in seen:
        seen.add(key)
        yield elements[key]
        key = _value(elements[key], "basedOn")


def _style_level(style: "Element") -> int | None:
    named = _HEADING_STYLE.fullmatch(_value(style, "name").strip())
    return int(named[1]) if named else _outline_level(style.find(f"{_W}pPr"))


def _outline_level(properties: "Element | None") -> int | None:
    value = _value(properties, "outlineLvl") if properties is not None else ""
    return int(value) + 1 if value.isdecimal() and int(value) < 9 else None


def _value(parent: "Element", name: str) -> str:
    child = parent.find(_W + name)
    return child.get(f"{_W}val", "") if child is not None else ""


def _tag(element: "Element") -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""  # comments have a function for a tag


class _Body(Outline):
    """Walks the body in order."""

    def __init__(self, document: "WordDocument", cfg: IngestConfig) -> None:
        super().__init__()
        self.document = document
        self.cfg = cfg
        self.styles = _styles(document)

    def walk(self, parent: "Element") -> None:
        for element in parent:
            tag = _tag(element)
            if tag == "p":
                self.paragraph(element)
            elif tag == "tbl":
                self.table(element)
            elif tag == "altChunk":
                self.chunk(element)
            elif tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"):
                self.walk(element)

    def paragraph(self, element: "Element") -> None:
        boxes: list[Element] = []
        text = "".join(_flow(element, boxes)).strip()
        properties = element.find(f"{_W}pPr")
        key = _value(properties, "pStyle") if properties is not None else ""
        style = self.styles.get(key, _Style())
        level = _outline_level(properties) or style.level
        if text and level:
            self.heading(level, collapse(clean(text)))
        elif text:
            numbered = style.listed or (properties is not None and properties.find(f"{_W}numPr") is not None)
            self.lines.append(f"- {text}" if numbered else text)
            if style.title and not self.title:
                self.title = collapse(clean(text))
        for box in boxes:
            self.walk(box)

    def table(self, table: "Element") -> None:
        rows = _table_rows(table)
        if max((len(row) for row in rows), default=0) == 1:  # a frame around paragraphs
            for cell in _cells(table):
                self.walk(cell)
            return
        lines = [line for line in map(row_line, rows) if line]
        self.lines += ["", *lines, ""]
        self.tables += bool(lines)

    def chunk(self, element: "Element") -> None:
        """A foreign document inside this one: web pages are read."""
        part = self.document.part.related_parts.get(element.get(_R_ID, ""))
        if part is not None and "html" in part.content_type:
            self.lines.append(read_html(part.blob, self.cfg).text)

    def notes(self, part: "PackagePart") -> None:
        """Footnotes, endnotes or comments, a line each."""
        from docx.oxml import parse_xml

        self.path = ()
        for note in parse_xml(part.blob):
            if _tag(note) in ("footnote", "endnote", "comment"):
                self.lines.append(_cell_text(note))
        self.close()


def _flow(node: "Element", boxes: "list[Element]") -> Iterator[str]:
    """The text in a paragraph; text boxes that are anchored in it are put into `boxes`."""
    for child in node:
        tag = _tag(child)
        if tag == "txbxContent":
            boxes.append(child)
        elif tag == "t":
            yield child.text or ""
        elif tag == "tab":
            yield "\t"
        elif tag in ("br", "cr"):
            yield "\n"
        elif tag == "noBreakHyphen":
            yield "-"
        elif tag and tag not in _SKIPPED:
            yield from _flow(child, boxes)


def _table_rows(table: "Element") -> list[list[str]]:
    """The cells of each row. A cell merged over rows is repeated in each, so that every row can be understood alone."""
    rows: list[list[str]] = []
    above: dict[int, str] = {}  # column -> text that a merged cell goes on with
    for row in _children(table, "tr"):
        cells: list[str] = []
        column = 0
        for cell in _children(row, "tc"):
            properties = cell.find(f"{_W}tcPr")
            merge = properties.find(f"{_W}vMerge") if properties is not None else None
            text = _cell_text(cell)
            if merge is not None and merge.get(f"{_W}val") != "restart":
                text = text or above.get(column, "")
            above[column] = text if merge is not None else ""
            cells.append(text)
            span = _value(properties, "gridSpan") if properties is not None else ""
            column += int(span) if span.isdecimal() else 1
        rows.append(cells)
    return rows


def _cells(table: "Element") -> Iterable["Element"]:
    for row in _children(table, "tr"):
        yield from _children(row, "tc")


def _children(parent: "Element", tag: str) -> Iterator["Element"]:
    for child in parent:
        if _tag(child) == tag:
            yield child
        elif _tag(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _children(child, tag)


def _cell_text(cell: "Element") -> str:
    """All text in a cell on one line, nested tables and text boxes in their place."""
    pieces: list[str] = []
    for paragraph in cell.iter(f"{_W}p"):
        if not any(_tag(parent) == "Fallback" for parent in paragraph.iterancestors()):
            pieces.append("".join(_flow(paragraph, [])))
    return collapse("\n".join(pieces))
