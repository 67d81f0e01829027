"""Of the best chunks, those that are worth reading together: newest versions, few of one document, no repeats."""

from collections.abc import Sequence

from core.config import RetrievalConfig
from core.text import tokens
from core.types import Hit
from retrieval.store import Catalog
from retrieval.versions import prefer_newest, without_superseded


def choose(
    catalog: Catalog, hits: Sequence[Hit], cfg: RetrievalConfig, k: int, named: frozenset[str] = frozenset()
) -> tuple[list[Hit], dict[int, str]]:
    """The k hits to be read, of some that are best first, and why each other one is not among them.

    `cfg.prefer_newest` puts older versions behind the newest, or those that are not `named` where some are behind all;
    `cfg.per_document` limits the hits of one document, and `cfg.diversity` holds back what repeats a better hit. A hit
    that a newer version before it stands for is none of the k: it is beside them, and takes no place.
    """
    dropped: dict[int, str] = {}
    ordered = prefer_newest(catalog, hits, named) if cfg.prefer_newest else list(hits)
    if cfg.per_document:
        ordered, over = _capped(ordered, cfg.per_document)
        dropped |= dict.fromkeys(over, "limit of one document")
    if cfg.diversity:
        ordered = _diverse(ordered, cfg.diversity, k)
    before, end = {hit.chunk_id for hit in hits[:k]}, _end(ordered, k)
    for hit in ordered[end:]:
        why = "fused score" if hit.chunk_id not in before else "older version" if hit.newer else "repeats a better one"
        dropped.setdefault(hit.chunk_id, why)
    return ordered[:end], dropped


def _end(hits: Sequence[Hit], k: int) -> int:
    """Where the first k hits end, those not counted that a newer version stands for."""
    current = {hit.chunk_id for hit in without_superseded(hits)}
    places = [at for at, hit in enumerate(hits, start=1) if hit.chunk_id in current]
    return places[k - 1] if len(places) >= k else len(hits)


def _capped(hits: Sequence[Hit], most: int) -> tuple[list[Hit], list[int]]:
    counts: dict[int, int] = {}
    kept, over = [], []
    for hit in hits:
        counts[hit.document_id] = counts.get(hit.document_id, 0) + 1
        if counts[hit.document_id] <= most:
            kept.append(hit)
        else:
            over.append(hit.chunk_id)
    return kept, over


def _diverse(hits: Sequence[Hit], diversity: float, k: int) -> list[Hit]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), with the shared tokens of two chunks (Jaccard)
    as their likeness; the first k are chosen so, the others follow as they were.
    """
    best = max((_relevance(hit) for hit in hits), default=0.0) or 1.0
    words = {hit.chunk_id: frozenset(tokens(hit.text)) for hit in hits}
    likest = dict.fromkeys(words, 0.0)  # of each hit, its likeness to the chosen one it is most like
    left, chosen = list(hits), []
    while left and len(chosen) < k:
        gains = [(1 - diversity) * _relevance(hit) / best - diversity * likest[hit.chunk_id] for hit in left]
        hit = left.pop(gains.index(max(gains)))
        chosen.append(hit)
        for other in left:
            likest[other.chunk_id] = max(likest[other.chunk_id], _jaccard(words[hit.chunk_id], words[other.chunk_id]))
    return [*chosen, *left]


def _relevance(hit: Hit) -> float:
    return hit.score if hit.rerank_score is None else hit.rerank_score


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0
