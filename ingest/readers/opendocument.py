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
from ingest.readers.grid import plain_table
from ingest.readers.package import check_package, locked, parse_xml, stated_in
from ingest.readers.text import Outline, Part, assemble, clean, collapse, meaningful

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
    """A text document; footnotes and comments follow at the end, deleted text is left out."""
    content, meta = _content(data)
    body = content.find("{*}body/{*}text")
    if body is None:
        raise _damaged("text document")
    writer = _Writer(_parents(content))
    writer.walk(body)
    writer.close()
    writer.parts.append(Part("\n".join(writer.notes)))
    title = writer.title or _property_title(meta) or writer.first
    return _with_properties(assemble(writer.parts, title, tables=writer.tables), meta)


def read_odp(data: bytes, cfg: IngestConfig) -> Document:
    """A presentation, a page a slide; the title of a slide is the heading of its section, its notes come last."""
    content, meta = _content(data)
    body = content.find("{*}body/{*}presentation")
    if body is None:
        raise _damaged("presentation")
    parts: list[Part] = []
    empty: list[int] = []
    tables = 0
    parents = _parents(content)
    for number, page in enumerate(body.iterchildren("{*}page"), start=1):
        writer = _Writer(parents)
        writer.walk(page)
        text = "\n".join(line for line in (*writer.lines, *writer.notes) if line)
        heading = next((name for name in map(_frame_title, page.iter("{*}frame")) if name), "")
        if not text.strip():
            empty.append(number)
        parts.append(Part(text, (heading,) if heading else (), number))
        tables += writer.tables
    title = _property_title(meta) or next((part.headings[0] for part in parts if part.headings), "")
    return _with_properties(assemble(parts, title, len(parts), empty, tables=tables), meta)


def _content(data: bytes) -> "tuple[Element, Element | None]":
    """The root element of the content, and that of the document's properties."""
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):  # the flat form
        content = parse_xml(data)
        return content, content.find("{*}meta")
    check_package(data, "OpenDocument")
    with ZipFile(BytesIO(data)) as archive:
        members = archive.namelist()
        if "META-INF/manifest.xml" in members and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise locked("OpenDocument")
        meta = parse_xml(archive.read("meta.xml")) if "meta.xml" in members else None
        return parse_xml(archive.read("content.xml")), meta


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
    return {_attribute(style, "name"): _attribute(style, "parent-style-name") for style in styles}


def _tag(element: "Element") -> str:
    return str(element.tag).rpartition("}")[2]


def _attribute(element: "Element", name: str) -> str:
    """The value of an attribute by its local name; old and new versions put it in different namespaces."""
    return next((value for key, value in element.attrib.items() if str(key).endswith(f"}}{name}")), "")


def _count(element: "Element", name: str) -> int:
    value = _attribute(element, name)
    return min(int(value), _MAX_REPEAT) if value.isdecimal() and len(value) < 10 else 1


def _frame_title(frame: "Element") -> str:
    if _attribute(frame, "class") not in ("title", "subtitle"):
        return ""
    return collapse(clean("\n".join("".join(_flow(p, [], [])) for p in frame.iter("{*}p"))))


def _flow(node: "Element", frames: "list[Element]", notes: "list[Element]") -> Iterator[str]:
    """The text in a paragraph; frames and shapes anchored in it go to `frames`, notes and comments to `notes`."""
    yield re.sub(r"\s+", " ", node.text or "")
    for child in node:
        tag = _tag(child)
        if tag == "s":
            yield " " * _count(child, "c")
        elif tag == "tab":
            yield "\t"
        elif tag == "line-break":
            yield "\n"
        elif tag in ("note", "annotation"):
            notes.append(child)
        elif ":drawing:" in str(child.tag) and tag != "a":
            frames.append(child)
        elif tag not in _SKIPPED:
            yield from _flow(child, frames, notes)
        yield re.sub(r"\s+", " ", child.tail or "")


def _table_rows(table: "Element") -> "Iterator[Element]":
    for child in table:
        if _tag(child) == "table-row":
            yield child
        elif _tag(child) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _table_rows(child)


class _Writer(Outline):
    """Walks a body in order."""

    def __init__(self, parents: dict[str, str]) -> None:
        super().__init__()
        self.parents = parents
        self.notes: list[str] = []
        self.bullet = ""

    def walk(self, elements: "Iterable[Element]") -> None:
        for element in elements:
            tag = _tag(element)
            if tag in ("h", "p"):
                self.paragraph(element, tag)
            elif tag == "table":
                self.table(element)
            elif tag in ("list-item", "list-header"):
                self.bullet = "- "
                self.walk(element)
                self.bullet = ""
            elif tag == "notes":  # of a slide
                self.notes += self.within(element)
            elif tag in ("annotation", "note"):
                self.note(element)
            elif (
                tag not in _SKIPPED and ":svg-" not in str(element.tag) and _attribute(element, "class") not in _MARGIN
            ):
                self.walk(element)

    def paragraph(self, element: "Element", tag: str) -> None:
        frames: list[Element] = []
        notes: list[Element] = []
        text = "".join(_flow(element, frames, notes)).strip()
        style = _attribute(element, "style-name")
        style = self.parents.get(style) or style
        heading = _HEADING_STYLE.fullmatch(style)
        if text and (tag == "h" or heading):
            level = _attribute(element, "outline-level") or (heading[1] if heading else "")
            self.heading(int(level) if level.isdecimal() else 1, collapse(clean(text)))
        elif text:
            self.lines.append(self.bullet + text)
            if style == "Title" and not self.title:
                self.title = collapse(clean(text))
        self.bullet = ""
        self.walk(frames)
        for note in notes:
            self.note(note)

    def note(self, note: "Element") -> None:
        text = "\n".join("".join(_flow(paragraph, [], [])) for paragraph in note.iter("{*}p", "{*}h"))
        self.notes.append(collapse(clean(text)))

    def table(self, table: "Element") -> None:
        rows = [[*row.iterchildren("{*}table-cell", "{*}covered-table-cell")] for row in _table_rows(table)]
        if max(map(len, rows), default=0) == 1 and not any(
            _count(row[0], "number-columns-repeated") > 1 for row in rows
        ):
            for row in rows:  # a frame around paragraphs
                self.walk(row[0])
            return
        below: dict[int, tuple[int, str]] = {}  # column -> rows that a merged cell still goes on for, its text
        lines = plain_table(self.cells(row, below) for row in rows)
        self.lines += ["", *lines, ""]
        self.tables += bool(lines)

    def cells(self, row: "list[Element]", below: dict[int, tuple[int, str]]) -> list[str]:
        """The texts of a row. A cell merged over rows is repeated in each: every row can be understood alone."""
        texts: list[str] = []
        for cell in row:
            left, text = below.pop(len(texts), (0, ""))
            if _tag(cell) == "table-cell":
                left, text = _count(cell, "number-rows-spanned"), collapse(clean("\n".join(self.within(cell))))
            if left > 1:
                below[len(texts)] = (left - 1, text)
            texts += [text] * min(_count(cell, "number-columns-repeated"), max(_MAX_REPEAT - len(texts), 1))
        return texts

    def within(self, element: "Element") -> list[str]:
        """The lines of what lies in an element, whatever it is made of."""
        inner = _Writer(self.parents)
        inner.walk(element)
        inner.close()
        self.notes += inner.notes
        return [part.text for part in inner.parts if part.text]
