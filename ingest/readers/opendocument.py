"""OpenDocument text and presentations (.odt, .odp and their flat XML forms) -> text by heading or by slide.

https://docs.oasis-open.org/office/OpenDocument/v1.3/. Workbooks (.ods) are read with the other spreadsheets.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.alternative import informative
from ingest.readers.grid import Cell, markdown_table
from ingest.readers.opendocument_numbers import BULLET
from ingest.readers.opendocument_objects import show_objects
from ingest.readers.opendocument_unseen import Looks, Sight, attribute
from ingest.readers.package import check_package, locked, parse_xml, stated_in
from ingest.readers.raised import written
from ingest.readers.text import Outline, Part, assemble, clean, collapse, meaningful
from ingest.readers.unseen import NOT_DISPLAYED, Colour, Unseen

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

# Text that was deleted, repeats what stands elsewhere, or is none; notes and comments are collected apart.
_SKIPPED = frozenset(
    "tracked-changes forms sequence-decls variable-decls user-field-decls ruby-text date-time footer header number "
    "event-listeners page-number binary-data script".split()
)
_HEADING_STYLE = re.compile(r"Heading_20_([1-9])")
_MARGIN = frozenset(("header", "footer", "date-time", "page-number"))  # frames of a slide
_MAX_REPEAT = 1000  # of spaces, cells and merged rows, which a file states once with a count


def read_odt(data: bytes, cfg: IngestConfig) -> Document:
    """A text document; notes and comments stand below what they belong to, deleted text is left out."""
    content, meta, styles = _content(data)
    body = content.find("{*}body/{*}text")
    if body is None:
        raise _damaged("text document")
    looks = Looks(content, styles)
    writer = _Writer(_parents(content), looks, Unseen(), looks.page)
    writer.walk(body)
    writer.close()
    writer.parts.append(Part("\n".join(writer.notes)))
    title = writer.title or _property_title(meta) or writer.first
    document = assemble(writer.parts, title, tables=writer.tables, notes=writer.unseen.notes())
    return _with_properties(document, meta)


def read_odp(data: bytes, cfg: IngestConfig) -> Document:
    """A presentation, a page a slide; the title of a slide is the heading of its section, its notes come last.

    Hidden slides are left out, but counted, so that the page numbers are those of the file.
    """
    content, meta, styles = _content(data)
    body = content.find("{*}body/{*}presentation")
    if body is None:
        raise _damaged("presentation")
    parts: list[Part] = []
    empty: list[int] = []
    tables = 0
    parents, looks, unseen = _parents(content), Looks(content, styles), Unseen()
    hidden: list[int] = []
    for number, page in enumerate(body.iterchildren("{*}page"), start=1):
        if looks.hides(page):
            hidden.append(number)
            parts.append(Part("", (), number))
            continue
        writer = _Writer(parents, looks, unseen, None)
        writer.walk(page)
        text = "\n".join(line for line in (*writer.lines, *writer.notes) if line)
        titles = (_frame_title(frame, looks) for frame in page.iter("{*}frame"))
        heading = next(filter(None, titles), "")
        if not text.strip():
            empty.append(number)
        parts.append(Part(text, (heading,) if heading else (), number))
        tables += writer.tables
    title = _property_title(meta) or next((part.headings[0] for part in parts if part.headings), "")
    notes = [f"hidden slides were left out: {', '.join(map(str, hidden))}"] if hidden else []
    document = assemble(parts, title, len(parts), empty, tables=tables, notes=(*notes, *unseen.notes()))
    return _with_properties(document, meta)


def _content(data: bytes) -> "tuple[Element, Element | None, Element | None]":
    """The root element of the content, that of the document's properties, and that of its styles, where it is apart."""
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):  # the flat form
        content = parse_xml(data)
        show_objects(content, None)
        return content, content.find("{*}meta"), None
    check_package(data, "OpenDocument")
    with ZipFile(BytesIO(data)) as archive:
        members = archive.namelist()
        if "META-INF/manifest.xml" in members and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise locked("OpenDocument", for_good=True)
        meta, styles = (
            parse_xml(archive.read(name)) if name in members else None for name in ("meta.xml", "styles.xml")
        )
        content = parse_xml(archive.read("content.xml"))
        show_objects(content, archive)
        return content, meta, styles


def _property_title(meta: "Element | None") -> str:
    titles = meta.iter("{http://purl.org/dc/elements/1.1/}title") if meta is not None else ()
    return meaningful(next((element.text for element in titles), ""))


def _with_properties(document: Document, meta: "Element | None") -> Document:
    tags, date = stated_in(meta) if meta is not None else ((), "")
    return replace(document, tags=tags, date=date)


def _damaged(kind: str) -> ReadError:
    return ReadError(
        f"not an OpenDocument {kind}", "open it in LibreOffice and save it again, or give it its own suffix"
    )


def _parents(content: "Element") -> dict[str, str]:
    """What each automatic style is based on: programs make one for every paragraph with formatting of its own."""
    styles = content.iterfind("{*}automatic-styles/{*}style")
    return {attribute(style, "name"): attribute(style, "parent-style-name") for style in styles}


def _tag(element: "Element") -> str:
    return str(element.tag).rpartition("}")[2]


def _count(element: "Element", name: str) -> int:
    value = attribute(element, name)
    return min(int(value), _MAX_REPEAT) if value.isdecimal() and len(value) < 10 else 1


def _frame_title(frame: "Element", looks: Looks) -> str:
    if attribute(frame, "class") not in ("title", "subtitle"):
        return ""
    counted = Unseen()  # with the text of the slide, once more
    lines = (_line(p, [], [], Sight.of_paragraph(looks, counted, None, p)) for p in frame.iter("{*}p"))
    return collapse(clean("\n".join(lines)))


def _line(node: "Element", frames: "list[Element]", notes: "list[Element]", sight: Sight) -> str:
    """The text of a paragraph, as far as it is seen; frames and shapes anchored in it go to `frames`, notes and
    comments to `notes`.
    """
    return written(_flow(node, frames, notes, sight))


def _flow(
    node: "Element", frames: "list[Element]", notes: "list[Element]", sight: Sight
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """The texts in a part of a paragraph, each with its height."""
    yield sight.passes(re.sub(r"\s+", " ", node.text or "")), sight.height
    for child in node:
        tag = _tag(child)
        if tag == "s":
            yield " " * _count(child, "c"), sight.height
        elif tag == "tab":
            yield "\t", ""
        elif tag == "line-break":
            yield "\n", ""
        elif tag in ("note", "annotation"):
            notes.append(child)
            yield (f" [{mark}]" if (mark := _mark(child)) else ""), ""
        elif ":drawing:" in str(child.tag) and tag != "a":
            frames.append(child)
        elif tag not in _SKIPPED:
            yield from _flow(child, frames, notes, sight.within(child))
        yield sight.passes(re.sub(r"\s+", " ", child.tail or "")), sight.height


def _mark(note: "Element") -> str:
    """The mark of a foot- or endnote; comments have none."""
    citation = note.find("{*}note-citation")
    return collapse("".join(citation.itertext())) if citation is not None else ""


def _table_rows(table: "Element") -> "Iterator[Element]":
    for child in table:
        if _tag(child) == "table-row":
            yield child
        elif _tag(child) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _table_rows(child)


class _Writer(Outline):
    """Walks a body in order."""

    def __init__(self, parents: dict[str, str], looks: Looks, unseen: Unseen, ground: Colour | None) -> None:
        super().__init__()
        self.parents, self.looks, self.unseen = parents, looks, unseen
        self.ground = ground  # the colour behind the text, where that is known
        self.notes: list[str] = []
        self.inner = False  # it writes what stands in a cell or below a slide
        self.bullet = ""
        self.lists: list[str] = []  # styles of the lists around

    def walk(self, elements: "Iterable[Element]") -> None:
        for element in elements:
            tag = _tag(element)
            if tag in ("h", "p"):
                self.paragraph(element, tag)
            elif tag == "table":
                self.table(element)
            elif tag == "list":
                self.listed(element)
            elif tag == "notes":  # of a slide
                self.notes += self.within(element, None)
            elif tag == "section" and attribute(element, "display") == "none":
                self.unseen.leave(" ".join(map(str, element.itertext())), NOT_DISPLAYED)
            elif tag in ("annotation", "note"):
                self.note(element)
            elif tag in ("title", "desc") and ":svg-" in str(element.tag):
                self.picture(element)
            elif tag not in _SKIPPED and ":svg-" not in str(element.tag) and attribute(element, "class") not in _MARGIN:
                self.walk(element)

    def listed(self, element: "Element") -> None:
        """A list, each item with its number or mark before its first line."""
        numbers = self.looks.numbers
        style = attribute(element, "style-name") or (self.lists[-1] if self.lists else "")
        self.lists.append(style)
        level = len(self.lists)
        goes_on = attribute(element, "continue-numbering") == "true" or bool(attribute(element, "continue-list"))
        numbers.begin(style, level, goes_on=goes_on)
        for item in element:
            if _tag(item) in ("list-item", "list-header"):
                # An item that holds nothing but a list of the next level has no line, and no number.
                lines = [child for child in item if _tag(child) != "list"]
                if _tag(item) == "list-header" or not lines:
                    self.bullet = BULLET if lines else ""
                else:
                    self.bullet = numbers.item(style, level, attribute(item, "start-value"))
                self.walk(item)
                self.bullet = ""
        self.lists.pop()

    def paragraph(self, element: "Element", tag: str) -> None:
        frames: list[Element] = []
        notes: list[Element] = []
        sight = Sight.of_paragraph(self.looks, self.unseen, self.ground, element)
        text = _line(element, frames, notes, sight).strip()
        style = attribute(element, "style-name")
        style = self.parents.get(style) or style
        heading = _HEADING_STYLE.fullmatch(style)
        if text and (tag == "h" or heading):
            stated = attribute(element, "outline-level") or (heading[1] if heading else "")
            level = int(stated) if stated.isdecimal() and len(stated) < 3 else 1
            number = self.bullet if self.bullet != BULLET else ""
            if not number and tag == "h" and attribute(element, "is-list-header") != "true":
                number = self.looks.numbers.heading(level)
            self.heading(level, collapse(clean(number + text)))
        elif text:
            self.lines.append(self.bullet + text)
            if style == "Title" and not self.title:
                self.title = collapse(clean(text))
        self.bullet = ""
        ground, self.ground = self.ground, None  # that of frames is not known
        self.walk(frames)
        self.ground = ground
        for note in notes:
            self.note(note)
        self.stand_below()

    def stand_below(self) -> None:
        """Write the notes of a paragraph or a table below it; those of a cell wait for the end of the table."""
        if not self.inner:
            self.lines += self.notes
            self.notes.clear()

    def picture(self, about: "Element") -> None:
        """What somebody wrote of a picture or an object for those who cannot see it."""
        frame = about.getparent()
        if frame is None or _tag(frame) != "frame" or attribute(frame, "decorative") == "true":
            return
        said = informative(str(about.text or ""))
        if said and any(_tag(child) in ("image", "object", "object-ole") for child in frame):
            self.lines.append(said)

    def note(self, note: "Element") -> None:
        said = collapse(clean("\n".join(
            _line(one, [], [], Sight.of_paragraph(self.looks, self.unseen, self.ground, one))
            for one in note.iter("{*}p", "{*}h")
        )))  # fmt: skip
        mark = _mark(note)
        if _tag(note) == "annotation":
            author = collapse("".join(note.findtext("{*}creator") or ""))
            mark = f"comment by {author}" if author else "comment"
        if said:
            self.notes.append(f"[{mark}] {said}" if mark else said)

    def table(self, table: "Element") -> None:
        ground = self.looks.ground(table, "table", self.ground)
        rows = [[*row.iterchildren("{*}table-cell", "{*}covered-table-cell")] for row in _table_rows(table)]
        if max(map(len, rows), default=0) == 1 and not any(
            _count(row[0], "number-columns-repeated") > 1 for row in rows
        ):
            for row in rows:  # a frame around paragraphs
                self.walk(row[0])
            return
        lines = markdown_table(self.cells(row, ground) for row in rows)
        self.lines += ["", *lines, ""]
        self.tables += bool(lines)
        self.stand_below()

    def cells(self, row: "list[Element]", ground: Colour | None) -> list[Cell]:
        """The cells of a row but those that another covers."""
        cells: list[Cell] = []
        for cell in row:
            if _tag(cell) != "table-cell":
                continue
            group = next(cell.iterancestors("{*}table-header-rows", "{*}table"), cell)
            named = _tag(group) == "table-header-rows"
            behind = self.looks.ground(cell, "table-cell", ground)
            text = collapse(clean("\n".join(self.within(cell, behind))))
            across, down = _count(cell, "number-columns-spanned"), _count(cell, "number-rows-spanned")
            repeats = min(_count(cell, "number-columns-repeated"), max(_MAX_REPEAT - len(cells), 1))
            cells += [Cell(text, across, down, named)] * repeats
        return cells

    def within(self, element: "Element", ground: Colour | None) -> list[str]:
        """The lines of what lies in an element, whatever it is made of, before a ground."""
        inner = _Writer(self.parents, self.looks, self.unseen, ground)
        inner.inner = True
        inner.walk(element)
        inner.close()
        self.notes += inner.notes
        return [part.text for part in inner.parts if part.text]
