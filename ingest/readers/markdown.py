"""Markdown: the source text, cut at its headings. Fenced code, front matter and links do not make headings."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.types import Document, Section
from ingest.readers.encoding import decode
from ingest.readers.text import HeadingPath, clean, collapse, descend, names

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_OPEN = re.compile(r"\s*(---|\+\+\+)[^\S\n]*\n(?=\s*(?:#|[\w\"'-]+\s*[:=]))")
_FRONT_TITLE = re.compile(r"""^title\s*[:=]\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^\n]*?))\s*$""", re.M | re.I)
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.*?)</h\1>", re.S | re.I)
_HTML_HEADING_WITHIN = 2000  # characters of a block, so that a search costs the same for every block
_MARKED = re.compile(r"[\\`*_\[<&{]")
_TAG = re.compile(r"<[^<>]*>")
_ANCHOR = re.compile(r"\s*\{#[^{}]*\}\s*$")


def read_markdown(data: bytes, cfg: IngestConfig) -> Document:
    """A Markdown file: its source without front matter, whose title comes before that of the first top heading."""
    source, encoding = decode(data, cfg)
    source = clean(source)
    front = _front_matter(source)
    text = source[len(front) :]
    headings = list(_headings(text))
    found = _FRONT_TITLE.search(front)
    title = next((group for group in found.groups() if group), "") if found else ""
    title = title or next((name for _, level, name in headings if level == 1), "")
    return Document(text, collapse(title), tuple(_sections(text, headings)), encoding=encoding)


def _front_matter(source: str) -> str:
    """The YAML or TOML block at the start, fences included; a thematic break opens none."""
    opened = _FRONT_OPEN.match(source)
    if not opened:
        return ""
    closed = re.compile(rf"^(?:{re.escape(opened[1])}|\.\.\.)[^\S\n]*$", re.M).search(source, opened.end())
    return source[: closed.end()] if closed else ""


def _sections(text: str, headings: list[tuple[int, int, str]]) -> Iterator[Section]:
    path: HeadingPath = ()
    start = 0
    for position, level, name in headings:
        if text[start:position].strip():
            yield Section(start, position, names(path))
        start, path = position, descend(path, level, name)
    if text[start:].strip():
        yield Section(start, len(text), names(path))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """(offset, level, name) of every heading at the top level of the document."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark")
    markdown.core.ruler.enableOnly(["normalize", "block"])  # the inline text of whole documents is not needed
    inline = MarkdownIt("commonmark")
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    tokens = markdown.parse(text)
    for i, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            yield starts[token.map[0]], int(token.tag[1]), _name(inline, tokens[i + 1].content)
        elif token.type == "html_block" and (found := _HTML_HEADING.search(token.content[:_HTML_HEADING_WITHIN])):
            yield starts[token.map[0]], int(found[1]), collapse(_TAG.sub(" ", found[2]))


def _name(inline: "MarkdownIt", source: str) -> str:
    """A heading without emphasis, links, tags and its anchor."""
    if not _MARKED.search(source):
        return collapse(source)
    pieces = [
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for token in inline.parseInline(_ANCHOR.sub("", source))
        for child in token.children or ()
        if child.type in ("text", "text_special", "code_inline", "image", "softbreak", "hardbreak")
    ]
    return collapse("".join(pieces))
