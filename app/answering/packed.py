"""What was found, as the numbered passages of a prompt."""

from collections.abc import Mapping, Sequence

from core.config import RetrievalConfig
from core.types import Hit, Source
from prompts import context
from retrieval.index import Index
from retrieval.passages import Passage, Room, widen
from retrieval.search import relevance
from retrieval.versions import without_superseded


def passages(index: Index, hits: Sequence[Hit], cfg: RetrievalConfig) -> list[Passage]:
    """What is read of the hits and around them, best first, as far as the prompt has room for it."""
    room = Room(cfg.context_tokens, context.estimate_tokens, context.FRAME_TOKENS)
    return widen(index, without_superseded(hits), cfg.neighbours, cfg.section_tokens, room)


def packed(
    indexes: Mapping[str, Index], query: str, hits: Sequence[Hit], cfg: RetrievalConfig
) -> tuple[tuple[Source, ...], float]:
    """The sources, and how far the best of the knowledge bases that they are from speaks about the question.

    Each knowledge base has the share of the room that its share of the hits asks for.
    """
    found: list[Passage] = []
    covered = 0.0
    for name, index in indexes.items():
        own = [hit for hit in hits if hit.kb == name]
        if own:
            share = max(cfg.context_tokens * len(own) // len(hits), 1)
            found += passages(index, own, cfg.model_copy(update={"context_tokens": share}))
            covered = max(covered, relevance(index, query, own))
    ordered = sorted(found, key=lambda passage: passage.hit.rank)
    return context.pack(((p.hit, p.text) for p in ordered), cfg.context_tokens), covered
