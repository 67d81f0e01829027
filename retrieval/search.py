"""A question -> passages: dense and lexical search, reciprocal rank fusion, neighbours.

Reads top to bottom: `search` ranks chunks, `widen` joins the best of them with what stands around them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.config import RetrievalConfig
from core.text import fold, heading_line, keywords, query_tokens, tokens
from core.types import Hit, SearchMode
from retrieval.fuse import rrf
from retrieval.index import Index
from retrieval.versions import prefer_newest

_SPARE = 30  # hits beyond the first k that may stand in for older versions among them
_MAX_QUERY = 4_000  # characters; what is beyond adds time and no meaning


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit with its neighbours: `text` runs over chunks `first` to `last` (ordinals) of the hit's document."""

    hit: Hit
    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Ranking:
    """One ranking by one retriever for one query variant: (chunk id, score), best first."""

    dense: bool
    weight: float
    scored: list[tuple[int, float]]


def search(
    index: Index, queries: Sequence[str], cfg: RetrievalConfig, *, k: int | None = None, mode: SearchMode | None = None
) -> list[Hit]:
    """The k best chunks for a question given in one or more variants; no duplicates, best first.

    Dense results of a variant the embedder cannot read stay out, as do lexical results that share no term.
    """
    k = cfg.k if k is None else k
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    mode = mode or cfg.mode
    index.refresh()
    rankings: list[_Ranking] = []
    for query in dict.fromkeys(_clean(q) for q in queries):
        if query:
            rankings += _rank(index, query, cfg, mode, max(cfg.candidates, k))
    found = index.hits(list({i for ranking in rankings for i, _ in ranking.scored}))
    rankings = [_ordered(ranking, found) for ranking in rankings]
    fused = rrf([[i for i, _ in r.scored] for r in rankings], [r.weight for r in rankings], k=cfg.rrf_k)
    ordered = sorted(found.values(), key=lambda hit: (-fused[hit.chunk_id], *_place(hit)))[: k + _SPARE]
    hits = [_scored(hit, fused[hit.chunk_id], rankings) for hit in ordered]
    if cfg.prefer_newest:
        hits = prefer_newest(index.catalog, hits)
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits[:k], start=1)]


def _ordered(ranking: _Ranking, found: Mapping[int, Hit]) -> _Ranking:
    """The ranking of what is still there; chunks of equal score stand by their path, not by when they were added."""
    scored = [(i, score) for i, score in ranking.scored if i in found]
    scored.sort(key=lambda pair: (-round(pair[1], 5), *_place(found[pair[0]])))
    return replace(ranking, scored=scored)


def _place(hit: Hit) -> tuple[str, str, int]:
    return hit.folder, hit.path, hit.ordinal


def _clean(query: str) -> str:
    return query[:_MAX_QUERY].encode("utf-8", "replace").decode().strip()


def _rank(index: Index, query: str, cfg: RetrievalConfig, mode: SearchMode, n: int) -> list[_Ranking]:
    rankings = []
    if mode != "lexical" and index.embedder.read([query])[0].readable:
        rankings.append(_Ranking(True, cfg.dense_weight, index.dense(index.embedder.embed_query(query), n)))
    if mode != "dense":
        rankings.append(_Ranking(False, 1 - cfg.dense_weight, index.lexical(query_tokens(query), n)))
    return rankings if len(rankings) > 1 else [replace(r, weight=1.0) for r in rankings]


def _scored(hit: Hit, score: float, rankings: Sequence[_Ranking]) -> Hit:
    """The hit with its fused score, and its best rank and score by each retriever."""
    best: dict[bool, tuple[int, float]] = {}
    for ranking in rankings:
        for place, (chunk_id, value) in enumerate(ranking.scored, start=1):
            if chunk_id == hit.chunk_id and (ranking.dense not in best or place < best[ranking.dense][0]):
                best[ranking.dense] = (place, value)
    dense, lexical = best.get(True, (None, None)), best.get(False, (None, None))
    return replace(
        hit, score=score, dense_rank=dense[0], dense_score=dense[1], lexical_rank=lexical[0],
        lexical_score=lexical[1],
    )  # fmt: skip


def relevance(index: Index, question: str, hits: Sequence[Hit]) -> float:
    """How far the best hits speak about a question, 0 to 1.

    The larger of: the share of the question's keywords, weighted by their rarity, that one hit holds; and the cosine
    of the nearest hit, where the embedder can read the question, from 0.25 (unrelated texts) as 0 to 0.75 as 1.
    """
    idf = index.idf(keywords(question))
    total = sum(idf.values())
    best = 0.0
    for hit in hits[:5]:
        body = f"{heading_line(hit.title, hit.headings)}\n{hit.text}"
        held, folded = set(tokens(body)), fold(body)
        share = sum(weight for term, weight in idf.items() if term in held or (len(term) == 1 and term in folded))
        best = max(best, share / total if total else 0.0, ((hit.dense_score or 0.0) - 0.25) / 0.5)
    return min(best, 1.0)


def widen(index: Index, hits: Sequence[Hit], neighbours: int) -> list[Passage]:
    """Each hit with the chunks around it, best first; hits that meet are one passage, at the place of the better."""
    spans: list[tuple[Hit, int, int]] = []
    for hit in hits:
        first, last = max(hit.ordinal - neighbours, 0), hit.ordinal + neighbours
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


def _joined(chunks: Sequence[Hit]) -> str:
    """The text of neighbouring chunks; where they overlap, the common part once."""
    text, end = chunks[0].text, chunks[0].end
    for chunk in chunks[1:]:
        gap = chunk.start - end
        text += ("\n" if gap > 1 else " " * gap) + chunk.text if gap >= 0 else chunk.text[-gap:]
        end = chunk.end
    return text
