"""Passages -> numbered sources in a token budget; an answer's [n] -> checked citations."""

import re
from collections.abc import AsyncIterator, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from core.text import language, query_tokens, sentences, tokens
from core.types import Citation, Hit, Source

# [1]  [1, 2]  [1][2]  [^1]  【1】  ［1］
_MARK = re.compile(r"([ \t]*)[\[【［]\^?(\d{1,3}(?:\s?[,，、;]\s?\d{1,3}){0,7})[\]】］]")
_OPEN_MARK = re.compile(r"[ \t]*(?:[\[【［]\^?[\d\s,，、;]{0,50})?$")  # what may yet become one
_QUOTE = 300  # characters of a quote
FRAME_TOKENS = 30  # what a source takes in a prompt beside its text: number, path, headings


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer whose citations were read back: `text` holds only marks that point to a source."""

    text: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]


def estimate_tokens(text: str) -> int:
    """Tokens a model will take a text for, on the safe side: a CJK character is one, others 3.2 each."""
    wide = sum(1 for c in text if c >= "\u2e80")
    return wide + -(-(len(text) - wide) * 10 // 32)


def pack(passages: Iterable[tuple[Hit, str]], budget_tokens: int) -> tuple[Source, ...]:
    """Number passages from 1, best first, as many as fit; the first one is cut to the budget, never left out."""
    sources: list[Source] = []
    left = budget_tokens
    for hit, text in passages:
        cost = estimate_tokens(text) + FRAME_TOKENS
        if cost > left and sources:
            continue  # a shorter one further down may still fit
        if cost > left:
            text = _cut_around(text, hit.text, left)
        sources.append(Source(len(sources) + 1, hit, text))
        left -= cost
        if left <= 0:
            break
    return tuple(sources)


def _cut_around(text: str, core: str, budget_tokens: int) -> str:
    """The part of `text` that fits, beginning at the hit itself."""
    start = max(text.find(core), 0)
    while estimate_tokens(text[start:]) > budget_tokens:
        text = text[: start + max((len(text) - start) * 9 // 10, 1)]
        if len(text) - start <= 1:
            break
    return text[start:]


def render(sources: Sequence[Source]) -> str:
    """The sources as they stand in a prompt, each delimited as data."""
    blocks = []
    for source in sources:
        place = f' page="{source.hit.page}"' if source.hit.page else ""
        heading = " > ".join(dict.fromkeys(h for h in (source.hit.title, *source.hit.headings) if h))
        body = re.sub(r"<(/?\s*source)", r"‹\1", source.text, flags=re.IGNORECASE)
        path = quoted_path(source.hit.path)
        head = heading.replace('"', "'").replace("\n", " ").replace("<", "‹")
        blocks.append(f'<source n="{source.n}" path="{path}"{place} heading="{head}">\n{body}\n</source>')
    return "\n".join(blocks)


def quoted_path(path: str) -> str:
    """A path as it stands in a source's head."""
    return path.replace('"', "'").replace("\n", " ")


def cite(text: str, sources: Sequence[Source]) -> Cited:
    """Read the marks of an answer back: marks without a source are taken out, the others become citations.

    A citation's quote is the sentence of its source that shares most with the sentence it stands behind.
    """
    by_number = {source.n: source for source in sources}
    citations: dict[int, Citation] = {}
    unknown: list[int] = []
    for match in _MARK.finditer(text):
        for n in _numbers(match):
            if n not in by_number:
                unknown.append(n)
            elif n not in citations:
                hit = by_number[n].hit
                citations[n] = Citation(n, hit.path, hit.page, quote(_claim(text, match.start()), by_number[n].text))
    return Cited(
        keep_known(text, by_number), tuple(citations[n] for n in sorted(citations)), tuple(dict.fromkeys(unknown))
    )


def keep_known(text: str, known: Container[int]) -> str:
    """The text with its marks written as `[n]`, one by one; those that point nowhere go, and the space before them."""

    def kept(match: re.Match[str]) -> str:
        marks = "".join(f"[{n}]" for n in _numbers(match) if n in known)
        return match[1] + marks if marks else ""

    return _MARK.sub(kept, text)


async def stream_known(pieces: AsyncIterator[str], known: Container[int]) -> AsyncIterator[str]:
    """`keep_known` over a stream: an open bracket is held back until it is clear whether it is a mark."""
    held = ""
    async for piece in pieces:
        held += piece
        open_mark = _OPEN_MARK.search(held)
        ready = open_mark.start() if open_mark else len(held)
        if ready:
            yield keep_known(held[:ready], known)
            held = held[ready:]
    if held:
        yield keep_known(held, known)


def _numbers(match: re.Match[str]) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", match[2])]


def _claim(text: str, position: int) -> str:
    """What a mark stands behind: the text of its paragraph since the last other mark, or the whole for `[1][2]`."""
    paragraph = text[:position].rpartition("\n\n")[2]
    pieces = [piece.strip() for piece in _MARK.sub("\0", paragraph).split("\0")]
    return next((piece for piece in reversed(pieces) if piece.strip(" .,;。，；")), "")


def quote(claim: str, passage: str) -> str:
    """The claim itself where it is several sentences of the passage, else the sentence that shares most with it.

    Shared tokens count for less in a longer sentence; where none is shared it is the first sentence.
    """
    if len(sentences(claim)) > 1 and claim in passage:
        return claim[:_QUOTE]
    wanted = set(query_tokens(claim))
    options = [s.strip() for s in sentences(passage) if s.strip()]
    if not options:
        return ""

    def shared(sentence: str) -> float:
        own = set(tokens(sentence))
        return len(wanted & own) / (len(own) + 5) ** 0.5

    return max(options, key=shared)[:_QUOTE]


def reply_language(question: str) -> Literal["en", "zh"]:
    """The language of prompts and fixed replies for a question: zh or en."""
    return "zh" if language(question) == "zh" else "en"
