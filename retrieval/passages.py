"""Found chunks -> passages: what stands around a hit is read along, and what meets becomes one passage."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.types import Hit
from retrieval.index import Index

_FARTHEST = 40  # chunks on either side that may belong to a hit's section


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit with its neighbours: `text` runs over chunks `first` to `last` (ordinals) of the hit's document."""

    hit: Hit
    text: str
    first: int
    last: int


def widen(index: Index, hits: Sequence[Hit], neighbours: int, section_tokens: int = 0) -> list[Passage]:
    """Each hit with the chunks around it, best first; hits that meet are one passage, at the place of the better.

    `neighbours` chunks on either side are read along; then, up to `section_tokens` in all, what else stands under the
    same headings.
    """
    spans: list[tuple[Hit, int, int]] = []
    for hit in hits:
        first, last = max(hit.ordinal - neighbours, 0), hit.ordinal + neighbours
        if section_tokens:
            first, last = _section(index, hit, first, last, section_tokens)
        for i, (better, low, high) in enumerate(spans):
            if better.document_id == hit.document_id and first <= high + 1 and last >= low - 1:
                spans[i] = (better, min(low, first), max(high, last))
                break
        else:
            spans.append((hit, first, last))
    passages = []
    for hit, first, last in spans:
        chunks = index.catalog.around(hit.document_id, first, last)
        if chunks:  # else: gone since the search
            passages.append(Passage(hit, _joined(chunks), chunks[0].ordinal, chunks[-1].ordinal))
    return passages


def _section(index: Index, hit: Hit, first: int, last: int, budget: int) -> tuple[int, int]:
    """A span grown by the chunks next to it under the hit's headings, in turn before and behind, within a budget."""
    chunks = index.catalog.around(hit.document_id, hit.ordinal - _FARTHEST, hit.ordinal + _FARTHEST)
    around = {chunk.ordinal: chunk for chunk in chunks}
    left = budget - sum(around[i].tokens for i in range(first, last + 1) if i in around)
    growing = {-1, 1}
    while growing:
        for step in sorted(growing):
            chunk = around.get(first - 1 if step < 0 else last + 1)
            if chunk is None or chunk.headings != hit.headings or chunk.tokens > left:
                growing.discard(step)
                continue
            left -= chunk.tokens
            first, last = min(first, chunk.ordinal), max(last, chunk.ordinal)
    return first, last


def _joined(chunks: Sequence[Hit]) -> str:
    """The text of neighbouring chunks; where they overlap, the common part once."""
    text, end = chunks[0].text, chunks[0].end
    for chunk in chunks[1:]:
        gap = chunk.start - end
        text += ("\n" if gap > 1 else " " * gap) + chunk.text if gap >= 0 else chunk.text[-gap:]
        end = chunk.end
    return text
