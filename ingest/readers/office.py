"""Word documents -> text by heading: paragraphs with their numbers, tables, boxes and notes, as pages show them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.types import Document
from ingest.readers.drawing import chart_lines, diagram_lines
from ingest.readers.encoding import decode
from ingest.readers.equations import linear
from ingest.readers.grid import markdown_table
from ingest.readers.markup import read_html
from ingest.readers.package import check_package, parse_xml, plain_package, stated
from ingest.readers.text import Outline, Part, assemble, clean, collapse, meaningful
from ingest.readers.unseen import Unseen, joined
from ingest.readers.word_line import Beside, chosen, fill_controls, line_of
from ingest.readers.word_notes import Notes, margins
from ingest.readers.word_numbers import BULLET, Numbers, value
from ingest.readers.word_table import cells_of, inline, rows_of
from ingest.readers.word_unseen import Looks

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_HEADING_STYLE = re.compile(
    r"(?:heading|标题|標題|überschrift|titre|título|titolo|заголовок|見出し|제목)\s*([1-9])", re.I
)
_TITLE_STYLES = frozenset(("title", "标题", "標題", "titel"))
_OPENED = frozenset("sdt sdtContent customXml ins moveTo smartTag".split())
_NOT_FILLED, _NO_CHARACTER = "{} form fields are empty", "{} symbols have no character"


@dataclass(frozen=True, slots=True)
class _Style:
    level: int | None = None  # of a heading, from 1
    title: bool = False
    number: tuple[str, int | None] | None = None  # list and level
    line: tuple[str, ...] = ()  # its id, and those of what it is based on


def read_docx(data: bytes, cfg: IngestConfig) -> Document:
    """A Word document as its pages show it, tracked changes accepted.

    Headers and footers come once, at the start and the end; notes and comments stand below the paragraph or the table
    that they belong to.
    """
    from docx import Document as open_document

    check_package(data, "Word")
    document = open_document(BytesIO(plain_package(data)))
    body = _Body(document, cfg)
    above, below = body.margins()
    body.walk(document.element.body)
    body.finish()
    parts = [part for part in body.parts if part.text.strip()]
    ends = (parts[0].headings, parts[-1].headings) if parts else ((), ())
    parts = [Part("\n".join(above), ends[0]), *parts, Part("\n".join(below), ends[1])]
    title = body.title or meaningful(document.core_properties.title) or body.first
    tags, date = stated(data)
    return replace(assemble(parts, title, tables=body.tables, notes=body.report()), tags=tags, date=date)


def _styles(document: "WordDocument") -> dict[str, _Style]:
    """What the paragraph styles mean, by their id; a style takes over what it is based on."""
    elements = {style.get(f"{_W}styleId", ""): style for style in document.styles.element.iter(f"{_W}style")}
    styles: dict[str, _Style] = {}
    for key in elements:
        chain = list(_ancestry(key, elements))
        levels = (_style_level(style) for style in chain)
        styles[key] = _Style(
            next((level for level in levels if level), None),
            any(value(style, "name").casefold() in _TITLE_STYLES for style in chain),
            next((number for style in chain if (number := _style_number(style))), None),
            tuple(style.get(f"{_W}styleId", "") for style in chain),
        )
    return styles


def _ancestry(key: str, elements: "dict[str, Element]") -> "Iterator[Element]":
    seen: set[str] = set()
    while key in elements and key not in seen:
        seen.add(key)
        yield elements[key]
        key = value(elements[key], "basedOn")


def _style_level(style: "Element") -> int | None:
    named = _HEADING_STYLE.fullmatch(value(style, "name").strip())
    return int(named[1]) if named else _outline_level(style.find(f"{_W}pPr"))


def _outline_level(properties: "Element | None") -> int | None:
    level = value(properties, "outlineLvl")
    return int(level) + 1 if level.isdecimal() and int(level) < 9 else None


def _style_number(style: "Element") -> tuple[str, int | None] | None:
    """The list that a style stands in, and the level where it says one; the others say it in the list itself."""
    stated = style.find(f"{_W}pPr/{_W}numPr")
    if stated is None:
        return None
    level = value(stated, "ilvl")
    return value(stated, "numId"), int(level) if level.isdecimal() else None


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
        styles, body = document.styles.element, document.element.body
        self.unseen, self.remarks = Unseen(), list[str]()
        self.looks = Looks(styles, body)
        self.filled = self.empty = 0
        self.prepare(body)
        parts = {rel.reltype.rpartition("/")[2]: rel.target_part for rel in document.part.rels.values()
                 if not rel.is_external}  # fmt: skip
        numbering = parts.get("numbering")
        self.numbers = Numbers(parse_xml(numbering.blob) if numbering is not None else None, styles)
        self.settings = parse_xml(parts["settings"].blob) if "settings" in parts else None
        self.notes = Notes({kind: self.prepare(parse_xml(parts[f"{kind}s"].blob))
                            for kind in ("footnote", "endnote", "comment") if f"{kind}s" in parts})  # fmt: skip
        self.beside = Beside(marks=self.notes.marks(body, self.settings))
        self.carried = ""  # of a paragraph that goes on in the next
        self.flat = False  # headings are lines like others

    def prepare(self, root: "Element") -> "Element":
        """Take out of a part what is not seen, and write what controls hold."""
        self.looks.leave_unseen(root, self.unseen)
        filled, empty = fill_controls(root)
        self.filled, self.empty = self.filled + filled, self.empty + empty
        return root

    def walk(self, parent: "Element") -> None:
        for element in parent:
            tag = _tag(element)
            if tag == "p":
                self.paragraph(element)
            elif tag == "tbl":
                self.table(element)
            elif tag == "altChunk":
                self.chunk(element)
            elif tag == "AlternateContent":
                self.walk(chosen(element))
            elif tag in ("oMathPara", "oMath"):
                self.lines.append(linear(element))
            elif tag in _OPENED:
                self.walk(element)

    def finish(self) -> None:
        """End the body; comments that nothing refers to come last."""
        self.lines += filter(None, [self.carried])
        self.lines += self.notes.rest()
        self.close()

    def report(self) -> list[str]:
        """What the report card says of the document."""
        remarks = list(self.remarks)
        if self.empty:
            remarks.append(_NOT_FILLED.format(self.empty))
        if self.beside.strange:
            remarks.append(_NO_CHARACTER.format(self.beside.strange))
        return joined((*remarks, *self.unseen.notes()))

    def line(self, element: "Element", *, bare: bool = False) -> str:
        """The text of a paragraph with its number; empty where it goes on in the next.

        `bare`: a number counts where no text stands behind it, as in a column of a table.
        """
        text = line_of(element, self.beside)
        properties = element.find(f"{_W}pPr")
        mark = properties.find(f"{_W}rPr") if properties is not None else None
        if mark is not None and (mark.find(f"{_W}del") is not None or mark.find(f"{_W}moveFrom") is not None):
            self.carried += text
            return ""
        frame = properties.find(f"{_W}framePr") if properties is not None else None
        if frame is not None and frame.get(f"{_W}dropCap") in ("drop", "margin"):
            self.carried += text.strip()
            return ""
        text, self.carried = (self.carried + text).strip(), ""
        label = self.label(properties, text or (mark is None or mark.find(f"{_W}vanish") is None))
        return label + text if text or (bare and label != BULLET) else ""

    def label(self, properties: "Element | None", counts: object) -> str:
        """The number of a paragraph. Each is asked once, in order; one that is not seen does not count."""
        style = self.styles.get(value(properties, "pStyle"), _Style())
        stated = properties.find(f"{_W}numPr") if properties is not None else None
        number, level = style.number or ("", None)
        if stated is not None:
            number = value(stated, "numId") or number
            own = value(stated, "ilvl")
            level = int(own) if own.isdecimal() else level if level is not None else 0
        if not number or not counts:
            return ""
        return self.numbers.label(number, self.numbers.level_of(number, style.line) if level is None else level)

    def paragraph(self, element: "Element") -> None:
        text = self.line(element)
        properties = element.find(f"{_W}pPr")
        style = self.styles.get(value(properties, "pStyle"), _Style())
        level = _outline_level(properties) or style.level
        if text and level and not self.flat:
            self.heading(level, collapse(clean(text.removeprefix(BULLET))))
        elif text:
            self.lines.append(text)
            if style.title and not self.title:
                self.title = collapse(clean(text))
        self.stand_beside()

    def stand_beside(self) -> None:
        """Write what stands beside the lines since the last time."""
        boxes, drawn, notes = self.beside.boxes, self.beside.drawn, self.beside.notes
        self.beside.boxes, self.beside.drawn, self.beside.notes = [], [], []
        for box in boxes:
            self.walk(box)
        for kind, key in drawn:
            part = self.document.part.related_parts.get(key)
            if part is not None:
                self.lines += (chart_lines if kind == "chart" else diagram_lines)(parse_xml(part.blob))
        for note in notes:
            self.lines += self.notes.lines(note, lambda root: self.within(root))

    def within(self, root: "Element") -> list[str]:
        """The lines of a part with paragraphs of its own."""
        outer = self.lines, self.flat
        self.lines, self.flat = [], True
        self.walk(root)
        (inner, self.lines), self.flat = (self.lines, outer[0]), outer[1]
        return [line for line in inner if line.strip()]

    def table(self, table: "Element") -> None:
        rows = rows_of(table)
        if max((len(row) for row in rows), default=0) == 1:  # a frame around paragraphs
            for cell in cells_of(table):
                self.walk(cell)
            return
        lines = markdown_table([[cell.read(self.cell) for cell in row] for row in rows])
        self.lines += ["", *lines, ""]
        self.tables += bool(lines)
        self.stand_beside()

    def cell(self, cell: "Element") -> str:
        """All text in a cell on one line; tables and boxes in it stand in their place."""
        pieces: list[str] = []
        for element in cell:
            tag = _tag(element)
            if tag == "p":
                pieces.append(self.line(element, bare=True))
                boxes, self.beside.boxes = self.beside.boxes, []
                pieces += [self.cell(box) for box in boxes]
            elif tag == "tbl":
                pieces.append(inline([[inner.read(self.cell) for inner in row] for row in rows_of(element)]))
            elif tag in _OPENED:
                pieces.append(self.cell(element))
        return collapse("\n".join(pieces))

    def chunk(self, element: "Element") -> None:
        """A foreign document inside this one: web pages and plain text are read."""
        part = self.document.part.related_parts.get(element.get(_R_ID, ""))
        if part is None:
            return
        if "html" in part.content_type:
            page = read_html(part.blob, self.cfg)
            self.lines.append(page.text)
            self.remarks += page.notes
        elif part.content_type.startswith("text/plain"):
            self.lines.append(clean(decode(part.blob, self.cfg)[0]))

    def margins(self) -> tuple[list[str], list[str]]:
        """The lines of headers and of footers, each once."""
        self.beside.margin = True
        found = margins(self.document.element.body, self.settings)
        related = self.document.part.related_parts
        lines = [
            list(dict.fromkeys(
                line for key in dict.fromkeys(keys) if key in related
                for line in self.within(self.prepare(parse_xml(related[key].blob)))
            ))
            for keys in found
        ]  # fmt: skip
        self.beside.margin = False
        return lines[0], lines[1]
