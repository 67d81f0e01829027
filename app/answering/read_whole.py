"""Files that were dropped into a conversation, read whole: all of their text as the sources of an answer, in order.

A search picks passages because a knowledge base is more than a model can read. A few pages are not: where all of them
fit, none is left out, and a question that no word of theirs answers ("is anything missing?") can be answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.answering.find import Scope
from core.config import RetrievalConfig
from core.types import Source, Trace
from prompts import context
from retrieval.index import Index

NOTE = "the files of this chat were read whole, not in passages"


@dataclass(frozen=True, slots=True)
class Whole:
    """What was read whole, and of which index; nothing where it did not fit."""

    index: Index | None = None
    sources: tuple[Source, ...] = ()

    def besides(self, places: Sequence[Scope]) -> list[Scope]:
        """What is still to be searched."""
        return [place for place in places if not self.sources or place[0] is not self.index]

    def beside(self, room: RetrievalConfig) -> RetrievalConfig:
        """The room that is left for passages."""
        return room.model_copy(update={"context_tokens": max(room.context_tokens - _cost(self.sources), 1)})

    def before(
        self, found: tuple[Source, ...], covered: float, trace: Trace
    ) -> tuple[tuple[Source, ...], float, Trace]:
        """All sources, those that were found elsewhere numbered on; how far they cover the question; how they came."""
        if not self.sources:
            return found, covered, trace
        behind = (replace(source, n=len(self.sources) + source.n) for source in found)
        return (*self.sources, *behind), 1.0, replace(trace, notes=(*trace.notes, NOTE))


def read_whole(index: Index | None, tokens: int) -> Whole:
    """All text of an index, if there is one, a source for each chunk, unless a prompt would need more tokens than that.

    What two chunks have in common stands in the first one.
    """
    if index is None or index.counts().chunks * context.FRAME_TOKENS > tokens:
        return Whole()
    sources: list[Source] = []
    for document in index.catalog.documents():
        reached = 0
        for hit in index.catalog.chunks_of(document.id):
            text = hit.text[max(reached - hit.start, 0) :]
            reached = max(reached, hit.end)
            if text.strip():
                n = len(sources) + 1
                sources.append(Source(n, replace(hit, kb=index.name, rank=n), text))
    return Whole(index, tuple(sources)) if _cost(sources) <= tokens else Whole()


def _cost(sources: Sequence[Source]) -> int:
    """The tokens that sources take in a prompt, by estimate."""
    return sum(context.estimate_tokens(source.text) + context.FRAME_TOKENS for source in sources)
