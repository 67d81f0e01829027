"""HTML and XML -> text that keeps headings, lists, code and tables. Nothing is fetched, no entity is expanded."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode, decode_as
from ingest.readers.grid import Cell, markdown_table
from ingest.readers.page_lists import BULLET, ListNumbers
from ingest.readers.page_marks import write_marks
from ingest.readers.page_tables import write_tables
from ingest.readers.prose_xml import as_page, is_prose
from ingest.readers.styles import leave_unseen
from ingest.readers.text import (
    HeadingPath,
    Part,
    assemble,
    clean,
    collapse,
    date_of,
    descend,
    listed,
    meaningful,
    names,
    shapeless,
    tags_of,
)
from ingest.readers.unseen import BESIDE, Unseen

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

# What is on a page but is not what the page says. `header` stays: it often holds the title.
_DROPPED = (
    "script", "svg", "iframe", "object", "embed", "canvas", "audio", "video", "datalist", "rt", "rp", "ix:header",
)  # fmt: skip
_PARTS = "ancestor::article or ancestor::section or ancestor::blockquote or ancestor::td or ancestor::figure"
_ASIDE = f"//nav|//footer[not({_PARTS})]|//*[@role='navigation' or @role='contentinfo' or @role='search']"
_PARAGRAPHS = frozenset(
    "address article blockquote body center details dialog dl fieldset figure form h1 h2 h3 h4 h5 h6 hr main ol p pre "
    "section table ul".split()
)
_LINES = _PARAGRAPHS | frozenset(
    "aside caption dd div dt figcaption header legend li optgroup option summary tbody td tfoot th thead tr".split()
)
_INLINE = frozenset(("a", "abbr", "b", "em", "font", "i", "span", "strong", "sub", "sup"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_NO_NAMED_TABLE = ("table", "h1", "h2")
_NO_DATA_TABLE = (*_NO_NAMED_TABLE, "h3", "h4", "ul", "ol", "pre", "form")
_EMPTY_TAG = re.compile(r"<(script|style|title|iframe|textarea|noscript|div|span|p|a|td|th|li)\b([^<>]*)/>", re.I)
_DOCTYPE = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype|\?xml)", re.I | re.S)  # without, pages are in quirks mode
_MAX_SPAN = 1000
_MAX_FRAMES = 3  # one within the other
_MAIN_CHARS = 200
_DATES = (  # names of <meta>; what dates this version comes first
    "article:modified_time", "og:updated_time", "dcterms.modified", "last-modified", "datemodified",
    "article:published_time", "dcterms.date", "dc.date", "date", "datepublished",
)  # fmt: skip


def read_html(data: bytes, cfg: IngestConfig, quotes: bool = False) -> Document:
    """A web page: its main part without navigation, footer, scripts and what is not displayed.

    `quotes`: lines in a <blockquote> begin with `>`, as in a mail.
    """
    source, encoding = decode(data, cfg, markup=True)
    return _page(source, encoding, quotes=quotes)


def read_page(data: bytes, cfg: IngestConfig, charset: str, sheets: Mapping[str, str]) -> Document:
    """A page that came with others: `charset` is what was stated beside it, `sheets` are style sheets by address."""
    stated = charset.lower() not in ("", "us-ascii", "ascii")
    source, encoding = (decode_as(data, charset, cfg), charset) if stated else decode(data, cfg, markup=True)
    return _page(source, encoding, sheets)


def read_xml(data: bytes, cfg: IngestConfig) -> Document:
    """The text of an XML file, `element: text` a line; XHTML and running text are read as a web page.

    Attributes are left out; entities that the file defines itself are never expanded.
    """
    import lxml.etree as etree

    source, encoding = decode(data, cfg, markup=True)
    root = parse(source)
    if etree.QName(root).localname.lower() == "html":
        return _page(source, encoding)
    if etree.QName(root).localname == "svg":
        etree.strip_elements(root, "{*}script", "{*}style", with_tail=False)
    if is_prose(root):
        page = as_page(root)
        return _text_of(page, "", leave_unseen(page), encoding, source)
    return assemble([Part("\n".join(_leaves(root)))], encoding=encoding)


def parse(source: str) -> "Element":
    """The root of an XML file; no entity is expanded, nothing is fetched. Raises `ReadError` where there is none."""
    import lxml.etree as etree

    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True, recover=True, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    source = re.sub(r"^\s*<\?xml[^>]*\?>", "", clean(source))  # its encoding is no longer true
    root = etree.fromstring(source.encode(), parser) if source.strip() else None
    if root is None:
        raise ReadError("damaged XML file: no element could be read", "open it in an editor, or restore it from a copy")
    etree.strip_tags(root, etree.Entity)
    return root


def _leaves(root: "Element") -> list[str]:
    import lxml.etree as etree

    lines: list[str] = []
    walker = etree.iterwalk(root, events=("start",))
    for _, element in walker:
        own = (element.text or "") + "".join(child.tail or "" for child in element)
        if own.strip() and len(element):  # running text with markup in it
            lines.append(collapse("".join(element.itertext())))
            walker.skip_subtree()
        elif own.strip():
            lines.append(f"{etree.QName(element).localname}: {collapse(own)}")
    return lines


def _page(source: str, encoding: str, sheets: Mapping[str, str] | None = None, quotes: bool = False) -> Document:
    import lxml.etree as etree

    root = _tree(source)
    if root is None:
        return Document("", encoding=encoding)
    title = meaningful(root.findtext(".//title"))
    tags, date = _stated(root)
    for link in root.iter("link") if sheets else ():
        if "stylesheet" in link.get("rel", "").lower() and sheets and link.get("href", "") in sheets:
            link.tag, link.text = "style", sheets[link.get("href", "")]
    _unfold(root)
    for style in root.xpath("//svg//style"):  # it counts for the whole page
        drawing = next(style.iterancestors("svg"))
        style.tail = None
        drawing.addprevious(style)
    etree.strip_elements(root, *_DROPPED, with_tail=False)
    for aside in root.xpath(_ASIDE):
        aside.clear(keep_tail=True)  # emptied, not removed: it still parts what stands before and behind it
        aside.tag = "span" if aside.tag in _INLINE else "div"
    unseen = leave_unseen(root, quirks=not _DOCTYPE.match(source))
    etree.strip_elements(root, "style", "template", "noscript", with_tail=False)
    for head in root.findall("head"):
        root.remove(head)
    return replace(_text_of(root, title, unseen, encoding, source, quotes), tags=tags, date=date)


def _unfold(root: "Element", depth: int = 0) -> None:
    """Put what a page shows of itself in other trees, shadow roots and frames that are written out, in its place.

    Their styles count for them alone, and are left out. Source: HTML Standard, 4.12.3 (shadowrootmode), 4.8.5 (srcdoc).
    """
    import lxml.etree as etree

    for shadow in list(root.iter("template")):
        if shadow.get("shadowrootmode") or shadow.get("shadowroot"):
            shadow.tag = "div"
            etree.strip_elements(shadow, "style", with_tail=False)
    for frame in list(root.iter("iframe")):
        inner = _tree(frame.get("srcdoc", "")) if depth < _MAX_FRAMES else None
        body = None if inner is None else inner.find("body")
        if body is not None:
            _unfold(body, depth + 1)
            etree.strip_elements(body, "style", with_tail=False)
            frame.tag, frame.text = "div", body.text
            frame[:] = list(body)


def _text_of(root: "Element", title: str, unseen: Unseen, encoding: str, source: str, quotes: bool = False) -> Document:
    """The text of a page of which only what is seen is left; `title` is what it states."""
    write_marks(root)
    write_tables(root)
    tops = [name for name in map(_flat, root.iter("h1")) if name]
    main = _main(root)
    if main is not root:
        unseen.leave("x" * (_letters(root) - _letters(main)), BESIDE)
    writer = _Writer(quotes)
    writer.walk(main)
    title = tops[0] if len(tops) == 1 or (tops and not title) else title
    notes = (*unseen.notes(), *shapeless(source))
    return assemble(writer.parts, title, encoding=encoding, tables=writer.tables, notes=notes)


def _letters(element: "Element") -> int:
    return sum(len(word) for text in element.itertext() for word in str(text).split())


def _stated(root: "Element") -> tuple[tuple[str, ...], str]:
    """Tags and date from the <meta> elements."""
    values: dict[str, list[str]] = {}
    for meta in root.iter("meta"):
        name = meta.get("name") or meta.get("property") or meta.get("itemprop") or meta.get("http-equiv") or ""
        values.setdefault(name.lower(), []).append(meta.get("content", ""))
    tags = [tag for text in values.get("keywords", ()) for tag in listed(text)] + values.get("article:tag", [])
    dates = (date_of(text) for name in _DATES for text in values.get(name, ()))
    return tags_of(tags), next(filter(None, dates), "")


def _tree(source: str) -> "Element | None":
    import lxml.etree as etree
    from lxml import html

    source = clean(source)
    if re.match(r"\s*<\?xml|[^<]*<!DOCTYPE[^>]*XHTML", source, re.I):
        source = _EMPTY_TAG.sub(r"<\1\2></\1>", source)
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    try:
        root = html.document_fromstring(source.encode(), parser)
    except etree.ParserError:  # nothing but white space and comments
        return None
    if any("depth" in entry.message for entry in parser.error_log):  # lxml drops the rest without a word
        raise ReadError("damaged HTML: elements nested thousands deep", "open it in a browser and save it again")
    return root


def _main(root: "Element") -> "Element":
    """The part that the page itself calls its main one, unless it holds next to nothing.

    An <article> is none: what stands beside it belongs to the page as well.
    """
    found = root.xpath("//main|//*[@role='main']")
    if len(found) == 1:
        size = len(collapse("".join(found[0].itertext())))
        if size >= _MAIN_CHARS or 2 * size >= len(collapse("".join(root.itertext()))):
            return found[0]
    return root


def _flat(element: "Element") -> str:
    """The text of an element on one line; blocks and line breaks in it become spaces."""
    import lxml.etree as etree

    pieces: list[str] = []
    for event, node in etree.iterwalk(element, events=("start", "end")):
        if node.tag in _LINES or node.tag == "br":
            pieces.append(" ")
        if event == "start":
            pieces.append(node.text or "")
        elif node is not element:
            pieces.append(node.tail or "")
    return re.sub(r"\s*¶$|\s+#$", "", collapse("".join(pieces)))


def _is_data(table: "Element") -> bool:
    """Whether a table holds rows of values; others only place blocks on the page.

    One that names its columns may hold lists and fields in its cells.
    """
    named = next(table.iterdescendants("th", "caption"), None) is not None
    if next(table.iterdescendants(*(_NO_NAMED_TABLE if named else _NO_DATA_TABLE)), None) is not None:
        return False
    return any(len(row) > 1 for row in table.iter("tr"))


def _rows(table: "Element") -> list[str]:
    """The lines of a table, merged cells in each place that they cover."""
    found = sorted(table.iter("tr"), key=_is_last)
    left: Counter[Element | None] = Counter(
        row.getparent() for row in found
    )  # of a group, over whose end no cell reaches
    rows: list[list[Cell]] = []
    for row in found:
        parent = row.getparent()
        head = parent is not None and parent.tag == "thead"
        rows.append([
            Cell(_flat(cell), _span(cell, "colspan"), min(_span(cell, "rowspan") or _MAX_SPAN, left[parent]),
                 head or cell.tag == "th")
            for cell in row.iterchildren("td", "th")
        ])  # fmt: skip
        left[parent] -= 1
    return markdown_table(rows)


def _is_last(row: "Element") -> bool:
    parent = row.getparent()
    return parent is not None and parent.tag == "tfoot"


def _span(cell: "Element", name: str) -> int:
    value = cell.get(name, "1").strip()
    if name == "rowspan" and value == "0":
        return 0  # all rows that are left
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() and len(value) < 6 else 1


class _Writer:
    """Walks a page in reading order and collects a part for each heading."""

    def __init__(self, quotes: bool = False) -> None:
        self.quotes = quotes
        self.quoted: list[int] = []  # of each open quotation where its lines begin
        self.parts: list[Part] = []
        self.path: HeadingPath = ()
        self.lines: list[str] = []
        self.inline: list[str] = []
        self.tables = 0
        self.bullet = ""
        self.lists: list[ListNumbers] = []  # those that are open

    def walk(self, root: "Element") -> None:
        import lxml.etree as etree

        walker = etree.iterwalk(root, events=("start", "end"))
        for event, element in walker:
            if event == "start":
                if self._start(element, str(element.tag)):
                    walker.skip_subtree()
                else:
                    self.inline.append(element.text or "")
                continue
            self._end(str(element.tag))
            if element is not root:
                self.inline.append(element.tail or "")
        self._flush()
        self._close()

    def _start(self, element: "Element", tag: str) -> bool:
        """Open an element; True where it has been dealt with as a whole."""
        if tag in _LINES:
            self._flush()
        if tag in _HEADINGS:
            self._heading(int(tag[1]), _flat(element))
        elif tag == "blockquote" and self.quotes:
            self.quoted.append(len(self.lines))
            return False
        elif tag == "table" and _is_data(element):
            captions = [_flat(caption) for caption in element.iterchildren("caption")]
            rows = _rows(element)
            self.lines += ["", *captions, *rows]
            self.tables += bool(rows)
        elif tag == "pre":
            self.lines += ["", "".join(element.itertext()).strip("\n")]
        elif tag in ("ul", "ol"):
            self.lists.append(ListNumbers(element))
            return False
        elif tag == "li":
            self.bullet = self.lists[-1].label(element) if self.lists else BULLET
            return False
        else:
            if tag == "br":
                self.inline.append("\v")  # cleaned text holds none
            return False
        return True

    def _end(self, tag: str) -> None:
        if tag in _LINES:
            self._flush()
        if tag == "blockquote" and self.quoted:
            start = self.quoted.pop()
            self.lines[start:] = [f"> {line}" for text in self.lines[start:] for line in text.split("\n")]
        if tag in _PARAGRAPHS:
            self.lines.append("")
        if tag in ("ul", "ol") and self.lists:
            self.lists.pop()

    def _heading(self, level: int, name: str) -> None:
        if name and self.quoted:  # of another mail
            self.lines.append(name)
        elif name:
            self._close()
            self.path = descend(self.path, level, name)
            self.lines.append(name)

    def _flush(self) -> None:
        for piece in "".join(self.inline).split("\v"):
            line = collapse(piece)
            if line:
                self.lines.append(self.bullet + line)
                self.bullet = ""
        self.inline.clear()

    def _close(self) -> None:
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip("\n")
        self.parts.append(Part(text, names(self.path)))
        self.lines = []
