"""Demonstrations for a prompt, out of questions whose answers are known: as they would be asked and answered."""

import random
from collections.abc import Mapping, Sequence

from app.measuring.scores import holds, plain
from app.prompting.compare import Asked
from core.config import Config
from core.types import Source
from prompts import context
from prompts.load import Demo
from prompts.marks import marked
from retrieval.index import Index
from retrieval.search import search

_MOST = 6  # questions that are kept for it
_ROOM = 500  # tokens of a demonstration's sources


def pool_of(asked: Sequence[Asked]) -> list[Asked]:
    """The first questions with an answer, a fifth of all at most: what is shown to the model cannot be scored."""
    return [each for each in asked if each.gold and each.gold.answer][: min(_MOST, len(asked) // 5)]


def demonstrations(
    index: Index, pool: Sequence[Asked], cfg: Config, count: int, draw: str
) -> Mapping[str, tuple[Demo, ...]]:
    """At most `count` demonstrations per language of the questions; `draw` decides which and in which order."""
    found: dict[str, list[Demo]] = {}
    for asked in random.Random(draw).sample(pool, len(pool)):
        own = found.setdefault(context.reply_language(asked.question), [])
        if len(own) < count and (demo := _demo(index, asked, cfg)):
            own.append(demo)
    return {language: tuple(demos) for language, demos in found.items() if demos}


def _demo(index: Index, asked: Asked, cfg: Config) -> Demo | None:
    """A question with the passage that answers it and another one, in the order they are found; None where none does.

    The answer cites the passage.
    """
    if not asked.gold:
        return None
    wanted = asked.gold.evidence or (asked.gold.answer,)
    hits = search(index, [asked.question], cfg.retrieval)
    gold = next((h for h in hits if holds(Source(0, h, h.text), wanted[0], bool(asked.gold.evidence))), None)
    if gold is None:
        return None
    other = next((hit for hit in hits if hit.document_id != gold.document_id), None)
    shown = [hit for hit in hits if hit in (gold, other)]
    sources = context.pack(((hit, hit.text) for hit in shown), _ROOM)
    numbers = [source.n for source in sources if source.hit == gold]
    if not numbers:
        return None
    answer = marked(plain(asked.gold.answer), numbers)
    return Demo({"sources": context.render(sources), "question": asked.question}, answer)
