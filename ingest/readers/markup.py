"""HTML and XML -> text that keeps headings, lists, code and tables. Nothing is fetched, no entity is expanded."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode
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
    row_line,
    tags_of,
)

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

# What is on a page but is not what the page says. `header` stays: it often holds the title.
_DROPPED = (
    "script", "style", "noscript", "template", "svg", "iframe", "object", "embed", "canvas", "audio",
    "video", "select", "textarea", "annotation", "annotation-xml", "rt", "rp", "ix:header",
)  # fmt: skip
_HIDDEN = (
    "//nav|//footer|//*[@role='navigation' or @role='contentinfo' or @role='search']"
    "|//body//*[contains(translate(@style, 'N ', 'n'), 'display:none')][not(self::main or self::article)]"
)
_PARAGRAPHS = frozenset(
    "address article blockquote body center details dialog dl fieldset figure form h1 h2 h3 h4 h5 h6 hr main ol p pre "
    "section table ul".split()
)
_LINES = _PARAGRAPHS | frozenset(
    "aside caption dd div dt figcaption header legend li optgroup option summary tbody td tfoot th thead tr".split()
)
_INLINE = frozenset(("a", "abbr", "b", "em", "font", "i", "span", "strong", "sub", "sup"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_NO_DATA_TABLE = ("table", "h1", "h2", "h3", "h4", "ul", "ol", "pre", "form")
_EMPTY_TAG = re.compile(r"<(script|style|title|iframe|textarea|noscript|div|span|p|a|td|th|li)\b([^<>]*)/>", re.I)
_MAX_ROWSPAN, _MAX_COLUMNS = 1000, 300
_MAIN_CHARS = 200
_DATES = (  # names of <meta>; what dates this version comes first
    "article:modified_time", "og:updated_time", "dcterms.modified", "last-modified", "datemodified",
    "article:published_time", "dcterms.date", "dc.date", "date", "datepublished",
)  # fmt: skip


def read_html(data: bytes, cfg: IngestConfig) -> Document:
    """A web page: its main part without navigation, footer, scripts and what is not displayed."""
    source, encoding = decode(data, cfg, markup=True)
    return _page(source, encoding)


def read_xml(data: bytes, cfg: IngestConfig) -> Document:
    """The text of an XML file, `element: text` a line; XHTML is read as a web page.

    Attributes are left out; entities that the file defines itself are never expanded.
    """
    import lxml.etree as etree

    source, encoding = decode(data, cfg, markup=True)
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True, recover=True, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    source = re.sub(r"^\s*<\?xml[^>]*\?>", "", clean(source))  # its encoding is no longer true
    root = etree.fromstring(source.encode(), parser) if source.strip() else None
    if root is None:
        raise ReadError("damaged XML file: no element could be read", "open it in an editor, or restore it from a copy")
    if etree.QName(root).localname.lower() == "html":
        return _page(source, encoding)
    etree.strip_tags(root, etree.Entity)
    if etree.QName(root).localname == "svg":
        etree.strip_elements(root, "{*}script", "{*}style", with_tail=False)
    return assemble([Part("\n".join(_leaves(root)))], encoding=encoding)


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


def _page(source: str, encoding: str) -> Document:
    import lxml.etree as etree

    root = _tree(source)
    if root is None:
        return Document("", encoding=encoding)
    title = meaningful(root.findtext(".//title"))
    tags, date = _stated(root)
    for head in root.findall("head"):
        root.remove(head)
    etree.strip_elements(root, *_DROPPED, with_tail=False)
    for hidden in root.xpath(_HIDDEN):
        hidden.clear(keep_tail=True)  # emptied, not removed: it still parts what stands before and behind it
        hidden.tag = "span" if hidden.tag in _INLINE else "div"
    tops = [name for name in map(_flat, root.iter("h1")) if name]
    writer = _Writer()
    writer.walk(_main(root))
    title = tops[0] if len(tops) == 1 or (tops and not title) else title
    return replace(assemble(writer.parts, title, encoding=encoding, tables=writer.tables), tags=tags, date=date)


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
    """The part that the page itself calls its main one, unless it holds next to nothing."""
    for query in ("//main|//*[@role='main']", "//article"):
        found = root.xpath(query)
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
    """Whether a table holds rows of values; others only place blocks on the page."""
    if next(table.iterdescendants(*_NO_DATA_TABLE), None) is not None:
        return False
    return any(len(row) > 1 for row in table.iter("tr"))


def _rows(table: "Element") -> list[str]:
    """A line a row. A cell over several rows is repeated in each; columns that are empty throughout are dropped."""
    grid: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column -> rows still to fill, text
    for row in table.iter("tr"):
        cells: list[str] = []
        for cell in row.iterchildren("td", "th"):
            _fill(cells, below)
            text = _flat(cell)
            down = min(_span(cell, "rowspan"), _MAX_ROWSPAN)
            across = min(_span(cell, "colspan"), max(_MAX_COLUMNS - len(cells), 1))
            for column in range(len(cells), len(cells) + across):
                if down > 1 and column < _MAX_COLUMNS:
                    below[column] = (down - 1, text if column == len(cells) else "")
            cells += [text, *[""] * (across - 1)]
        _fill(cells, below)
        grid.append(cells)
    width = max(map(len, grid), default=0)
    used = [c for c in range(width) if any(c < len(cells) and cells[c] for cells in grid)]
    lines = (row_line([cells[c] for c in used if c < len(cells)]) for cells in grid)
    return [line for line in lines if line]


def _fill(cells: list[str], below: dict[int, tuple[int, str]]) -> None:
    while len(cells) in below:
        left, text = below.pop(len(cells))
        if left > 1:
            below[len(cells)] = (left - 1, text)
        cells.append(text)


def _span(cell: "Element", name: str) -> int:
    value = cell.get(name, "1").strip()
    return max(int(value), 1) if value.isdecimal() and len(value) < 6 else 1


class _Writer:
    """Walks a page in reading order and collects a part for each heading."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.path: HeadingPath = ()
        self.lines: list[str] = []
        self.inline: list[str] = []
        self.tables = 0
        self.bullet = ""
        self.lists: list[int | None] = []  # of each open list the number of its last item, None without numbers

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
        elif tag == "table" and _is_data(element):
            captions = [_flat(caption) for caption in element.iterchildren("caption")]
            rows = _rows(element)
            self.lines += ["", *captions, *rows]
            self.tables += bool(rows)
        elif tag == "pre":
            self.lines += ["", "".join(element.itertext()).strip("\n")]
        elif tag in ("ul", "ol"):
            self.lists.append(0 if tag == "ol" else None)
            return False
        elif tag == "li":
            self._item()
            return False
        else:
            if tag == "br":
                self.inline.append("\v")  # cleaned text holds none
            return False
        return True

    def _end(self, tag: str) -> None:
        if tag in _LINES:
            self._flush()
        if tag in _PARAGRAPHS:
            self.lines.append("")
        if tag in ("ul", "ol") and self.lists:
            self.lists.pop()

    def _item(self) -> None:
        number = self.lists[-1] if self.lists else None
        if number is not None:
            self.lists[-1] = number + 1
        self.bullet = "- " if number is None else f"{number + 1}. "

    def _heading(self, level: int, name: str) -> None:
        if name:
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
