"""Answers and passages as the browser may show them: whatever documents and models wrote is inert."""

import html
import re
from collections.abc import Collection, Iterable, Sequence

from app.texts import TEXTS, Tongue
from core.text import marks, query_tokens
from core.types import Source

_IMAGE = re.compile(r"!(?=\[)")
_LINK = re.compile(r"\]\(\s*<?\s*(?!#source-)[^)]*\)?")
_MARK = re.compile(r"\[(\d{1,3})\]")


def safe_markdown(text: str) -> str:
    """Model output as Markdown without HTML, images or links; `[n]` leads to the passage.

    Remote images and links in an answer could carry what was read to another host, so none is left.
    """
    text = html.escape(text, quote=False)
    text = _IMAGE.sub("", text)
    text = _LINK.sub("]", text)
    text = re.sub(r"^(\s*)\[([^\]]+)\]:", r"\1\\[\2]:", text, flags=re.MULTILINE)  # no link definitions
    return _MARK.sub(r"[\\[\1\\]](#source-\1)", text)


def evidence(sources: Sequence[Source], query: str, tongue: Tongue, cited: Collection[int] = ()) -> str:
    """The evidence panel: each passage with path, page, scores, and the words of the question marked."""
    texts = TEXTS[tongue]
    if not sources:
        return f'<div class="rs-empty">{html.escape(texts["no_evidence"])}</div>'
    terms = query_tokens(query)
    ordered = sorted(sources, key=lambda s: (s.n not in cited, s.n))
    cards = "".join(_card(source, terms, texts, source.n in cited) for source in ordered)
    head = f'<div class="rs-query">{html.escape(texts["searched"])}: {html.escape(query[:300])}</div>'
    return f'<div class="rs-evidence">{head}{cards}</div>'


def _card(source: Source, terms: Iterable[str], texts: dict[str, str], cited: bool) -> str:
    hit = source.hit
    page = ""
    if hit.page:
        label = texts["page"].format(hit.page) if "{}" in texts["page"] else f"{texts['page']} {hit.page}"
        page = f' <span class="rs-page">{html.escape(label)}</span>'
    badges = [f"{texts['score']} {hit.score:.3f}"]
    if hit.lexical_rank:
        badges.append(f"{texts['words']} #{hit.lexical_rank}")
    if hit.dense_rank:
        badges.append(f"{texts['meaning']} #{hit.dense_rank}")
    if cited:
        badges.insert(0, texts["cited"])
    shown = "".join(f'<span class="rs-badge">{html.escape(badge)}</span>' for badge in badges)
    heading = " › ".join(dict.fromkeys(h for h in (hit.title, *hit.headings) if h))
    return (
        f'<details class="rs-card{" rs-cited" if cited else ""}" id="source-{source.n}"'
        f"{' open' if cited or source.n <= 3 else ''}>"
        f"<summary><b>[{source.n}]</b> {html.escape(hit.path)}{page} {shown}</summary>"
        f'<div class="rs-heading">{html.escape(heading)}</div><div class="rs-text">{_marked(source.text, terms)}</div>'
        "</details>"
    )


def _marked(text: str, terms: Iterable[str]) -> str:
    pieces, position = [], 0
    for start, end in marks(text, terms):
        pieces += [html.escape(text[position:start]), "<mark>", html.escape(text[start:end]), "</mark>"]
        position = end
    return "".join(pieces) + html.escape(text[position:])
