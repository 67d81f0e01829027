"""Found chunks -> passages: what stands around a hit is read along, and what meets becomes one passage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.types import Hit
from retrieval.index import Index

_FARTHEST = 40  # chunks on either side that may belong to a hit's section
_NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit with its neighbours: `text` runs over chunks `first` to `last` (ordinals) of the hit's document."""

    hit: Hit
    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be read in all: `tokens`, counted by `cost`, of which each passage takes `frame` beside its text."""

    tokens: int = _NO_LIMIT
    cost: Callable[[str], int] = len
    frame: int = 0


@dataclass(slots=True)
class _Span:
    """A hit and the chunks around it, `around` by ordinal, of which `first` to `last` are read."""

    hit: Hit
    around: dict[int, Hit]
    first: int
    last: int


def widen(
    index: Index, hits: Sequence[Hit], neighbours: int, section_tokens: int = 0, room: Room = Room()
) -> list[Passage]:
    """Each hit with the chunks around it, best first; hits that meet are one passage, at the place of the better.

    `neighbours` chunks on either side are read along; then, up to `section_tokens` a passage, what else stands under
    the same headings. In a `room` that is too small for all of it every hit comes before any neighbour: another
    passage holds more of an answer than more of the same. The first hit is there even where it does not fit.
    """
    left = room.tokens
    spans: list[_Span] = []
    read: set[tuple[int, int]] = set()
    for hit in hits:
        cost = room.cost(hit.text) + room.frame
        if spans and cost > left:
            continue
        reach = max(neighbours, _FARTHEST if section_tokens else 0)
        chunks = index.catalog.around(hit.document_id, hit.ordinal - reach, hit.ordinal + reach)
        around = {chunk.ordinal: chunk for chunk in chunks}
        if hit.ordinal in around:  # else: gone since the search
            left -= cost
            read.add((hit.document_id, hit.ordinal))
            spans.append(_Span(hit, around, hit.ordinal, hit.ordinal))
    for span, chunk in _wanted(spans, neighbours, section_tokens):
        cost = 0 if (chunk.document_id, chunk.ordinal) in read else room.cost(chunk.text) + 1  # and what joins it
        if cost <= left:
            left -= cost
            read.add((chunk.document_id, chunk.ordinal))
            span.first, span.last = min(span.first, chunk.ordinal), max(span.last, chunk.ordinal)
    return [_passage(spans, run) for run in _runs(spans, read)]


def _wanted(spans: Sequence[_Span], neighbours: int, section_tokens: int) -> Iterator[tuple[_Span, Hit]]:
    """The chunk to read next, and the span it would lengthen: nearest first, and of the equally near the best first.

    A span that does not take a chunk is not offered what lies behind it.
    """
    for distance in range(1, neighbours + 1):
        for span in spans:
            for ordinal in (span.hit.ordinal - distance, span.hit.ordinal + distance):
                if span.first - 1 <= ordinal <= span.last + 1 and ordinal in span.around:
                    yield span, span.around[ordinal]
    for span in spans if section_tokens else ():
        yield from ((span, chunk) for chunk in _section(span, section_tokens))


def _section(span: _Span, budget: int) -> Iterator[Hit]:
    """The chunks next to a span under its hit's headings, in turn before and behind, within a budget."""
    left = budget - sum(span.around[i].tokens for i in range(span.first, span.last + 1) if i in span.around)
    growing = {-1, 1}
    while growing:
        for step in sorted(growing):
            ends = (span.first, span.last)
            chunk = span.around.get(span.first - 1 if step < 0 else span.last + 1)
            if chunk is None or chunk.headings != span.hit.headings or chunk.tokens > left:
                growing.discard(step)
                continue
            yield chunk
            if ends == (span.first, span.last):
                growing.discard(step)
            else:
                left -= chunk.tokens


def _runs(spans: Sequence[_Span], read: set[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """What is read without a gap: (document, first, last), in the order of the best hit within."""
    seen: set[tuple[int, int, int]] = set()
    for span in spans:
        document, first, last = span.hit.document_id, span.first, span.last
        while (document, first - 1) in read:
            first -= 1
        while (document, last + 1) in read:
            last += 1
        if (document, first, last) not in seen:
            seen.add((document, first, last))
            yield document, first, last


def _passage(spans: Sequence[_Span], run: tuple[int, int, int]) -> Passage:
    document, first, last = run
    within = [s for s in spans if s.hit.document_id == document and first <= s.hit.ordinal <= last]
    around = {ordinal: chunk for span in within for ordinal, chunk in span.around.items()}
    return Passage(within[0].hit, _joined([around[i] for i in range(first, last + 1)]), first, last)


def _joined(chunks: Sequence[Hit]) -> str:
    """The text of neighbouring chunks; where they overlap, the common part once."""
    text, end = chunks[0].text, chunks[0].end
    for chunk in chunks[1:]:
        gap = chunk.start - end
        parted = gap > 1 or (gap and " | " in text.rpartition("\n")[2])  # a row of a sheet is a line by itself
        text += ("\n" if parted else " " * gap) + chunk.text if gap >= 0 else chunk.text[-gap:]
        end = chunk.end
    return text
