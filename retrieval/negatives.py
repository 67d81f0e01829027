"""Hard negatives: passages that a search ranks high for a question, and that do not answer it.

A passage that scores nearly as high as the positive may well answer too. It is left out by a margin relative to the
positive's score, as in TopK-PercPos of NV-Retriever (Moreira et al. 2024, arXiv:2407.15831).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.config import RetrievalConfig
from core.text import fold, tokens
from core.types import Hit
from retrieval.allowed import Allowed
from retrieval.index import Index
from retrieval.search import search

_DEPTH = 100  # ranks that are looked at
_COPY = 0.8  # Jaccard similarity of two passages' search tokens from which one counts as a copy of the other


@dataclass(frozen=True, slots=True)
class Mined:
    """The passage that answers a question best, and negatives, hardest first.

    `copies` and `above` count the passages that were left out as copies of the positive, and above the margin.
    """

    positive: Hit
    negatives: tuple[Hit, ...]
    copies: int = 0
    above: int = 0


def mine(
    index: Index, question: str, home: frozenset[int], cfg: RetrievalConfig, barred: Callable[[Hit], bool], *,
    count: int, margin: float,
) -> Mined:  # fmt: skip
    """Of the chunks that answer a question, the one that scores best, and up to `count` that the search ranks high.

    Left out: what is `barred` (other positives, passages that must not be trained on), `home`, copies of the positive,
    and what scores above (1 - margin) of it: by cosine where the embedder reads the question, else by BM25.
    """
    plain = cfg.model_copy(update={"per_document": 0, "diversity": 0.0, "prefer_newest": False})
    found = [hit for hit in search(index, [question], plain, k=_DEPTH) if hit.chunk_id not in home]
    scores = _scores(index, question, [*home, *(hit.chunk_id for hit in found)])
    best = min(home, key=lambda i: (-scores.get(i, 0.0), i))
    positive = index.hits([best])[best]
    ceiling = (1 - margin) * scores.get(best, 0.0)
    chosen: list[Hit] = []
    copies = above = 0
    for hit in found:
        if len(chosen) == count:
            break
        if barred(hit):
            continue
        if copy_of(hit.text, positive.text):
            copies += 1
        elif scores.get(hit.chunk_id, 0.0) > ceiling:
            above += 1
        else:
            chosen.append(hit)
    return Mined(positive, tuple(chosen), copies, above)


def copy_of(one: str, other: str) -> bool:
    """Whether two passages say the same: one holds the other, or they share most of their words."""
    a, b = ("".join(fold(text).split()) for text in (one, other))
    if a in b or b in a:
        return True
    first, second = set(tokens(one)), set(tokens(other))
    return len(first & second) >= _COPY * len(first | second)


def _scores(index: Index, question: str, chunk_ids: list[int]) -> dict[int, float]:
    among = Allowed(np.unique(np.asarray(chunk_ids, np.int64)))
    if index.embedder.read([question])[0].readable:
        return dict(index.store.dense(index.embedder.embed_query(question), len(among), among))
    return dict(index.store.lexical(index.terms(question), len(among), among))
