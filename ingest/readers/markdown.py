"""Markdown: the source text, cut at its headings. Fenced code, front matter and links do not make headings."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from core.config import IngestConfig
from core.types import Document, Section
from ingest.readers.encoding import decode
from ingest.readers.text import HeadingPath, clean, collapse, date_of, descend, listed, names, shapeless, tags_of
from ingest.readers.unseen import NOT_DISPLAYED, Unseen

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_OPEN = re.compile(r"\s*(---|\+\+\+)[^\S\n]*\n(?=\s*(?:#|[\w\"'-]+\s*[:=]))")
_FRONT_TITLE = re.compile(r"""^title\s*[:=]\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^\n]*?))\s*$""", re.M | re.I)
_FRONT_CHARS = 10_000  # of front matter that are parsed: brackets in brackets take a second
_TAG_FIELDS = ("tags", "keywords", "categories")
_DATE_FIELDS = ("lastmod", "last_modified_at", "modified", "updated", "date")  # what dates this version comes first
# A field with the lines that belong to it. Each is parsed alone: people write titles that are not YAML.
_FIELD = re.compile(
    rf"^(?:{'|'.join((*_TAG_FIELDS, *_DATE_FIELDS))})[^\S\n]*:[^\n]*(?:\n(?:[ \t\]]|-(?!--))[^\n]*)*", re.M | re.I
)
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.*?)</h\1>", re.S | re.I)
_HTML_HEADING_WITHIN = 2000  # characters of a block, so that a search costs the same for every block
_MARKED = re.compile(r"[\\`*_\[<&{]")
_TAG = re.compile(r"<[^<>]*>")
_ANCHOR = re.compile(r"\s*\{#[^{}]*\}\s*$")
_CODE_OR_COMMENT = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})|(?P<code>`+)|<!--(?!-?>)", re.M)
_LONGEST_CODE = 1000  # characters of code in a line


def read_markdown(data: bytes, cfg: IngestConfig) -> Document:
    """A Markdown file: its source without comments and front matter, whose title comes before that of the first top
    heading.
    """
    written, encoding = decode(data, cfg)
    source = clean(written)
    front = _front_matter(source)
    unseen = Unseen()
    text = _without_comments(source[len(front) :], unseen)
    headings = list(_headings(text))
    found = _FRONT_TITLE.search(front)
    title = next((group for group in found.groups() if group), "") if found else ""
    title = title or next((name for _, level, name in headings if level == 1), "")
    document = Document(text, collapse(title), tuple(_sections(text, headings)), encoding=encoding)
    document = replace(document, notes=(*unseen.notes(), *shapeless(written)))
    fields = _fields(front)
    values = (fields.get(name) for name in _DATE_FIELDS)
    dates = (date_of(str(value)) for value in values if isinstance(value, (str, date)))
    return replace(document, tags=tags_of(_tags(fields)), date=next(filter(None, dates), ""))


def _without_comments(text: str, unseen: Unseen) -> str:
    """A text without HTML comments, which a page does not show; those in code are shown."""
    kept: list[str] = []
    start = at = 0
    while opened := _CODE_OR_COMMENT.search(text, at):
        fence, code = opened["fence"], opened["code"]
        at = opened.end()
        if fence:
            closed = re.compile(rf"^ {{0,3}}{fence[0]}{{{len(fence)},}}[^\S\n]*$", re.M).search(text, at)
            at = closed.end() if closed else len(text)
        elif code:
            closed = re.compile(rf"(?<!`){code}(?!`)").search(text, at, at + _LONGEST_CODE)
            at = closed.end() if closed else at
        else:
            end = text.find("-->", at)
            if end < 0:
                break
            unseen.leave(text[at:end], NOT_DISPLAYED)
            kept.append(text[start : opened.start()])
            start = at = end + 3
    return "".join([*kept, text[start:]])


def _front_matter(source: str) -> str:
    """The YAML or TOML block at the start, fences included; a thematic break opens none."""
    opened = _FRONT_OPEN.match(source)
    if not opened:
        return ""
    closed = re.compile(rf"^(?:{re.escape(opened[1])}|\.\.\.)[^\S\n]*$", re.M).search(source, opened.end())
    return source[: closed.end()] if closed else ""


def _fields(front: str) -> dict[str, Any]:
    """The fields of front matter that hold tags and dates, by name in lower case; damaged ones are left out."""
    import yaml

    front = front.strip()
    if front.startswith("+++"):
        try:
            return {name.lower(): value for name, value in tomllib.loads(front.strip("+")[:_FRONT_CHARS]).items()}
        except (ValueError, RecursionError):
            return {}
    fields: dict[str, Any] = {}
    for found in _FIELD.finditer(front[:_FRONT_CHARS]):
        try:  # without types: dates that do not exist and a tag "no" stay text
            block = yaml.load(found[0], Loader=yaml.BaseLoader)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            continue
        if isinstance(block, dict):  # "date:2024" is a text
            fields |= {str(name).lower(): value for name, value in block.items()}
    return fields


def _tags(fields: Mapping[str, Any]) -> Iterator[str]:
    """The tags in order; in a text they stand between commas or, as in Jekyll, between spaces."""
    for name in _TAG_FIELDS:
        value = fields.get(name)
        if isinstance(value, str):
            items = listed(value)
            yield from value.split() if len(items) == 1 and name != "keywords" else items
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, str))


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
