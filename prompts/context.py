"""Passages -> numbered sources in a token budget; an answer's [n] -> checked citations."""

import unicodedata
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.text import language, query_tokens, sentences, tokens
from core.types import Citation, Hit, Source
from prompts.delimiters import in_line, inert
from prompts.marks import Reader, pieces, written

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
        names = (source.hit.title, *source.hit.headings)
        heading = " > ".join(dict.fromkeys(in_line(name) for name in names if name))
        head = f'<source n="{source.n}" path="{in_line(source.hit.path)}"{place} heading="{heading}">'
        blocks.append(f"{head}\n{inert(source.text)}\n</source>")
    return "\n".join(blocks)


def bodies(sources: Iterable[Source]) -> dict[int, str]:
    """The passages by their number."""
    return {source.n: source.text for source in sources}


def cite(text: str, sources: Sequence[Source]) -> Cited:
    """Read the marks of an answer back: marks without a source are taken out, the others become citations.

    What is a mark, and what is code, a subscript or a passage's own, `prompts.marks` tells. A citation's quote is the
    sentence of its source that shares most with the sentence it stands behind.
    """
    by_number = {source.n: source for source in sources}
    citations: dict[int, Citation] = {}
    unknown: list[int] = []
    claim: list[str] = []  # the text since the last mark or paragraph; the last that says something stays for `[1][2]`
    said = ""
    shown: list[str] = []
    for piece in pieces(text, bodies(sources)):
        shown.append(written(piece))
        if piece.kind != "mark":
            claim.append(piece.text)
            continue
        paragraphs = "".join(claim).rpartition("\n\n")
        if paragraphs[1] or paragraphs[2].strip(" .,;。，；\n"):
            said = paragraphs[2].strip()
        claim = []
        unknown += piece.unknown
        for n in piece.numbers:
            hit = by_number[n].hit
            citations.setdefault(n, Citation(n, hit.path, hit.page, quote(said, by_number[n].text), hit.url))
    return Cited("".join(shown), tuple(citations[n] for n in sorted(citations)), tuple(dict.fromkeys(unknown)))


def keep_known(text: str, known: Mapping[int, str], numbers: Mapping[int, int] | None = None) -> str:
    """The text with its marks written as `[n]`, one by one; those that point nowhere go, and the space before them.

    `known` are the passages by their number; `numbers` gives the marks other numbers.
    """
    return "".join(written(piece, numbers) for piece in pieces(text, known))


def without_marks(text: str) -> str:
    """The text without citations, whatever they point to, and without the space before them."""
    return "".join(piece.text for piece in pieces(text, None) if piece.kind != "mark")


async def stream_known(read: AsyncIterator[str], known: Mapping[int, str]) -> AsyncIterator[str]:
    """`keep_known` over a stream: what may yet become a mark, or code, is held back until it is clear."""
    reader = Reader(known)
    async for text in read:
        if ready := "".join(map(written, reader.read(text))):
            yield ready
    if left := "".join(map(written, reader.read("", last=True))):
        yield left


def shortened(text: str, most: int) -> str:
    """The text, or as much of its beginning as `most` characters hold, with "…" where the rest was.

    It ends before a space, or beside a Chinese character; a word is cut only where it is longer than half of `most`,
    and no letter is parted from its marks.

    >>> shortened("annual leave is 25 days", 18), shortened("年休假为二十五天", 6)
    ('annual leave is…', '年休假为二…')
    """
    if len(text) <= most:
        return text
    end = most - 1
    while end > most // 2 and _in_word(text[end - 1], text[end]):
        end -= 1
    end = most - 1 if end <= most // 2 else end
    while end > 1 and unicodedata.category(text[end])[0] == "M":
        end -= 1
    return text[:end].rstrip() + "…"


def _in_word(before: str, behind: str) -> bool:
    """Whether two characters stand in one word, number or address."""
    return not (before.isspace() or behind.isspace() or before >= "\u2e80" or behind >= "\u2e80")


def quote(claim: str, passage: str) -> str:
    """The claim itself where it is several sentences of the passage, else the sentence that shares most with it.

    Shared tokens count for less in a longer sentence; where none is shared it is the first sentence.
    """
    if len(sentences(claim)) > 1 and claim in passage:
        return shortened(claim, _QUOTE)
    wanted = set(query_tokens(claim))
    options = [s.strip() for s in sentences(passage) if s.strip()]
    if not options:
        return ""

    def shared(sentence: str) -> float:
        own = set(tokens(sentence))
        return len(wanted & own) / (len(own) + 5) ** 0.5

    return shortened(max(options, key=shared), _QUOTE)


def reply_language(question: str) -> Literal["en", "zh"]:
    """The language of prompts and fixed replies for a question: zh or en."""
    return "zh" if language(question) == "zh" else "en"
