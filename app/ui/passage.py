"""A passage as its reader wants it: Markdown and tables laid out, what was quoted and what was asked for marked.

Documents are hostile: of Markdown only what makes no address is read, no HTML, links or images, so that what comes out
is tags of the renderer's own around escaped text.
"""

import html
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from markdown_it import MarkdownIt

from core.text import marks, sentences
from prompts.context import without_marks

TURNS_ROUND = dict.fromkeys(range(0x202A, 0x202F))  # signs that show what stands behind them in another order
_WRITTEN_AS_MARKDOWN = frozenset((".md", ".markdown", ".html", ".htm", ".xhtml"))
_READ_AS_MARKDOWN = frozenset((".csv", ".docx", ".epub", ".odt", ".pdf", ".pptx", ".tsv", ".xls", ".xlsx"))  # by us
_NO_ADDRESSES = ("link", "image", "autolink", "reference", "html_block", "html_inline", "entity", "code")
_LONGEST = 100_000  # characters that are laid out
_TAG = re.compile(r"(<[^>]*>)")
_LIST_SIGN = re.compile(r"^[ \t>]*(?:[-*+]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
_CLOSING = frozenset(".!?;%)\"'”’。！？；…）》」")  # what may end a sentence behind its last letter
_LEAST = 12  # letters of a sentence that is one, in the width of Latin


def laid_out(text: str, path: str, terms: Collection[str], quotes: Sequence[str] = ()) -> str:
    """The HTML of a passage: `terms` (search tokens) are in `mark`, and what `quotes` say in `mark.rs-quoted`."""
    suffix = PurePosixPath(path).suffix.lower()
    if len(text) > _LONGEST or suffix not in _WRITTEN_AS_MARKDOWN | _READ_AS_MARKDOWN:
        rendered = f'<div class="rs-plain">{html.escape(text)}</div>'
    else:
        rendered = _markdown(suffix in _READ_AS_MARKDOWN).render(text)
    pieces = _TAG.split(rendered.translate(TURNS_ROUND))  # texts and tags by turns
    texts = [html.unescape(piece).translate(TURNS_ROUND) for piece in pieces[::2]]
    quoted = _quoted(texts, quotes)
    at = 0
    for n, shown in enumerate(texts):
        pieces[2 * n] = _marked(shown, terms, quoted[at : at + len(shown)])
        at += len(shown)
    return "".join(pieces)


def quotes_of(answer: str, quote: str) -> list[str]:
    """What an answer may have from a passage: the sentence that its citation names, and its own sentences."""
    said = [piece.strip() for line in without_marks(answer).splitlines() for piece in sentences(line)]
    return [quote, *(piece for piece in said if _width(piece) >= _LEAST)]


@cache
def _markdown(lines: bool) -> Any:
    """The renderer; `lines` of the file are kept as such."""
    made = MarkdownIt("commonmark", {"html": False, "breaks": lines}).enable("table").disable(list(_NO_ADDRESSES))
    made.add_render_rule("heading_open", lambda *_: '<p class="rs-h">')  # the page has headings of its own
    made.add_render_rule("heading_close", lambda *_: "</p>\n")
    made.add_render_rule("fence", lambda _, tokens, n, *__: f"<pre>{html.escape(tokens[n].content)}</pre>\n")
    made.add_render_rule("table_open", lambda *_: '<div class="rs-table" tabindex="0"><table>')
    made.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return made


def _letters(text: str) -> Iterator[tuple[int, str]]:
    """The letters and digits of a text, lower-cased, with where they stand: all that its layout leaves."""
    for at, character in enumerate(text):
        if character.isalnum():
            for letter in character.lower():
                yield at, letter


def _width(text: str) -> int:
    return sum(2 if letter >= "\u2e80" else 1 for _, letter in _letters(text))


def _quoted(texts: Sequence[str], quotes: Sequence[str]) -> list[bool]:
    """Of each character of the texts, one behind the other, whether it is quoted."""
    whole = "".join(texts)
    quoted = [False] * len(whole)
    places = list(_letters(whole))
    letters = "".join(letter for _, letter in places)
    for quote in quotes:
        wanted = "".join(letter for _, letter in _letters(_LIST_SIGN.sub("", quote)))
        start = letters.find(wanted) if wanted else -1
        if start >= 0:
            first, end = places[start][0], places[start + len(wanted) - 1][0] + 1
            while whole[end : end + 1] in _CLOSING:
                end += 1
            quoted[first:end] = [True] * (end - first)
    return quoted


def _marked(text: str, terms: Collection[str], quoted: Sequence[bool]) -> str:
    if not text.strip():
        return html.escape(text)
    asked = [False] * len(text)
    for start, end in marks(text, terms):
        asked[start:end] = [True] * (end - start)
    shown, at = [], 0
    for (is_quoted, is_asked), run in groupby(zip(quoted, asked, strict=True)):
        end = at + len(list(run))
        piece = html.escape(text[at:end])
        piece = f"<mark>{piece}</mark>" if is_asked else piece
        shown.append(f'<mark class="rs-quoted">{piece}</mark>' if is_quoted else piece)
        at = end
    return "".join(shown)
