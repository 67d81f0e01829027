"""Recipe: an answer with its question and its sources as a file of its own: Markdown, Word, or a page to print."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from app.messages.texts import Tongue
from core.types import Citation
from prompts.inert import inert

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_NAME = 80  # characters of a question that name a file
_NO_NAME = re.compile(r'[\x00-\x1f\x7f"*/:<>?\\|\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
_WORDS: dict[Tongue, dict[str, str]] = {
    "en": {"sources": "Sources", "page": "p. {}", "made": "Answered on {} by {}", "none": "the documents alone"},
    "zh": {"sources": "来源", "page": "第 {} 页", "made": "回答于 {}，由 {} 生成", "none": "文档原文"},
}


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it is exported; `when` and `model` say where it comes from."""

    question: str
    text: str
    citations: Sequence[Citation]
    when: str
    model: str = ""

    @property
    def name(self) -> str:
        """What a file of it is called, without a suffix: its question, as far as a name can hold it."""
        plain = " ".join(_NO_NAME.sub(" ", self.question).split())[:_NAME].strip(". ")
        return plain or "answer"


def as_markdown(written: Written, said: Tongue) -> str:
    """The answer as Markdown, which opens and loads nothing."""
    words = _WORDS[said]
    quoted = "\n".join(f"> {line}" for line in inert(written.question).splitlines())
    sources = [f"- {inert(_source(each, said))}: {inert(' '.join(each.quote.split()))}" for each in written.citations]
    below = [f"## {words['sources']}", "\n".join(sources)] if sources else []
    return "\n\n".join([quoted, inert(written.text), *below, _made(written, said)]) + "\n"


def as_page(written: Written, said: Tongue) -> str:
    """The answer as a page to be printed, or saved as PDF: its title, which names that, is the question."""
    words, title = _WORDS[said], html.escape(written.name)
    rows = "".join(
        f"<li><b>{html.escape(_source(each, said))}</b> {html.escape(each.quote)}</li>" for each in written.citations
    )
    below = f"<h2>{words['sources']}</h2><ul>{rows}</ul>" if rows else ""
    return (
        f'<!DOCTYPE html><html lang="{said}"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><style>'
        "body{font:11pt/1.5 system-ui,sans-serif;margin:2em auto;max-width:44em;padding:0 1em;overflow-wrap:anywhere}"
        "table{border-collapse:collapse}td,th{border:1px solid;padding:.2em .5em}pre{white-space:pre-wrap}"
        f"</style></head><body><main><h1>{html.escape(written.question)}</h1>{_parser().render(written.text)}{below}"
        f"<p>{html.escape(_made(written, said))}</p></main></body></html>"
    )


def as_word(written: Written, said: Tongue) -> bytes:
    """The answer as a Word document."""
    from docx import Document
    from docx.oxml.ns import qn

    document: Any = Document()
    document.core_properties.title, document.core_properties.author = _storable(written.name), "Ragstone"
    document.styles["Normal"].element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), "SimSun")
    document.add_heading(_storable(written.question), 1)
    _Word(document).write(_parser().parse(written.text))
    if written.citations:
        document.add_heading(_WORDS[said]["sources"], 2)
        for each in written.citations:
            paragraph = document.add_paragraph()
            paragraph.add_run(_storable(_source(each, said))).bold = True
            paragraph.add_run(_storable(f": {each.quote}"))
    document.add_paragraph(_storable(_made(written, said)))
    out = BytesIO()
    document.save(out)
    return out.getvalue()


class _Word:
    """Writes what Markdown says into a Word document: headings, paragraphs, lists, tables and code."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.lists: list[str] = []

    def write(self, tokens: "Sequence[Token]") -> None:
        """All blocks in order."""
        rows: list[list[str]] | None = None
        style = ""
        for token in tokens:
            kind = token.type
            if kind in ("bullet_list_open", "ordered_list_open"):
                self.lists.append("List Bullet" if kind[0] == "b" else "List Number")
            elif kind in ("bullet_list_close", "ordered_list_close"):
                self.lists.pop()
            elif kind == "heading_open":
                style = f"Heading {min(int(token.tag[1]) + 1, 9)}"
            elif kind == "paragraph_open":
                style = self.lists[-1] if self.lists else ""
            elif kind == "table_open":
                rows = []
            elif kind == "tr_open" and rows is not None:
                rows.append([])
            elif kind == "table_close" and rows:
                self._table(rows)
                rows = None
            elif kind == "inline" and rows is not None:
                rows[-1].append("".join(text for text, _ in _runs(token.children or ())))
            elif kind == "inline":
                self._paragraph(style, token)
            elif kind in ("fence", "code_block"):
                self.document.add_paragraph(_storable(token.content.rstrip("\n")))

    def _paragraph(self, style: str, token: "Token") -> None:
        paragraph = self.document.add_paragraph(style=style or None)
        for text, marks in _runs(token.children or ()):
            run = paragraph.add_run(_storable(text))
            run.bold, run.italic = "strong" in marks or None, "em" in marks or None

    def _table(self, rows: list[list[str]]) -> None:
        table = self.document.add_table(len(rows), max(map(len, rows)), style="Table Grid")
        for row, cells in zip(table.rows, rows, strict=True):
            for cell, text in zip(row.cells, cells, strict=False):
                cell.text = _storable(text)


def _runs(tokens: "Sequence[Token]") -> Iterator[tuple[str, frozenset[str]]]:
    """The texts of a line, each with what marks it."""
    marks: list[str] = []
    for token in tokens:
        if token.nesting == 1:
            marks.append(token.type.removesuffix("_open"))
        elif token.nesting == -1:
            marks.pop()
        else:
            yield ("\n" if token.type in ("softbreak", "hardbreak") else token.content), frozenset(marks)


def _parser() -> "MarkdownIt":
    """Markdown with tables, in which HTML is text; pictures and links are none: an answer leads nowhere."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])


def _source(citation: Citation, said: Tongue) -> str:
    page = f", {_WORDS[said]['page'].format(citation.page)}" if citation.page else ""
    return f"[{citation.n}] {citation.source}{page}"


def _made(written: Written, said: Tongue) -> str:
    words = _WORDS[said]
    return words["made"].format(written.when, written.model or words["none"])


def _storable(text: str) -> str:
    """Text as XML takes it."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", text)
