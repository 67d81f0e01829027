"""A question -> passages; reads top to bottom.

`retrieve` asks both retrievers for every wording, `rank` fuses, reranks and chooses, `search` is both; `relevance`
says how far the found passages speak about the question. What is read around them: retrieval/passages.py.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from core.config import RetrievalConfig
from core.text import heading_line, held, keywords, language
from core.types import Candidate, Hit, Place, Query, SearchMode, Trace
from retrieval.catalog import Spot
from retrieval.choose import choose
from retrieval.filters import Filter
from retrieval.fuse import convex, places, rrf
from retrieval.index import Index
from retrieval.rerank import Reranker

DENSE_WEIGHT = 0.5  # where neither the configuration nor a calibration says otherwise
MIN_RELEVANCE = 0.22
_SPARE = 30  # hits beyond the first k that may stand in for those that are held back
_MAX_QUERY = 4_000  # characters; what is beyond adds time and no meaning
_TRACED = 100  # candidates that a trace keeps


@dataclass(frozen=True, slots=True)
class Ranking:
    """One ranking by one retriever for one wording: (chunk id, score), best first; `floor` is a score worth nothing."""

    query: Query
    retriever: Literal["dense", "lexical"]
    weight: float
    scored: list[tuple[int, float]]
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """The passages that were found, best first, and how."""

    hits: list[Hit]
    trace: Trace = field(default_factory=Trace)


def search(
    index: Index,
    queries: Sequence[str],
    cfg: RetrievalConfig,
    *,
    k: int | None = None,
    mode: SearchMode | None = None,
    where: Filter | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """The k best chunks for a question given in one or more wordings; no duplicates, best first.

    Dense results of a wording the embedder cannot read stay out, as do lexical results that share no term. `where`
    limits what both retrievers rank. The `reranker` reads the first wording.
    """
    k = cfg.k if k is None else k
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    asked = [Query(text) for text in dict.fromkeys(queries)]
    rankings = retrieve(index, asked, cfg, k=k, mode=mode, where=where)
    return rank(index, rankings, cfg, k=k, reranker=reranker, traced=0).hits


def retrieve(
    index: Index,
    queries: Sequence[Query],
    cfg: RetrievalConfig,
    *,
    k: int = 1,
    mode: SearchMode | None = None,
    where: Filter | None = None,
) -> list[Ranking]:
    """The rankings of both retrievers for every wording, at least `cfg.candidates` and k long where so many match."""
    index.refresh()
    among, n, mode = index.among(where), max(cfg.candidates, k), mode or cfg.mode
    tuned = index.tuning().dense_weight if cfg.dense_weight == "auto" else {}
    rankings: list[Ranking] = []
    for query in (replace(q, text=_clean(q.text)) for q in queries):
        if not query.text:
            continue
        dense = mode != "lexical" and index.embedder.read([query.text])[0].readable
        share = _dense_share(query, cfg, tuned) if mode == "hybrid" and dense else float(dense)
        if dense:
            vector = index.embedder.embed_query(query.text)
            found = index.dense(vector, n, among)
            rankings.append(Ranking(query, "dense", query.weight * share, found, index.background(vector)))
        if mode != "dense":
            found = index.lexical(index.terms(query.text), n, among)
            rankings.append(Ranking(query, "lexical", query.weight * (1 - share), found))
    return rankings


def rank(
    index: Index,
    rankings: Sequence[Ranking],
    cfg: RetrievalConfig,
    *,
    k: int | None = None,
    reranker: Reranker | None = None,
    traced: int = _TRACED,
) -> Result:
    """Fuse rankings, rerank the best, and choose k of them: newest versions, no more of a document than wanted.

    The trace names the `traced` best candidates, in the order of fusion.
    """
    k = cfg.k if k is None else k
    clock = [("start", time.perf_counter())]
    most = max(k + _SPARE, cfg.rerank_top if reranker else 0)
    fused = _fuse(rankings, cfg)
    spots = index.catalog.spots(_first(fused, max(most, traced)))
    order = sorted(spots, key=lambda i: (-fused[i], spots[i][:3]))  # equals by their path, not by when they were added
    wanted = order[:most]
    found = index.hits(wanted)
    queries = tuple(dict.fromkeys(ranking.query for ranking in rankings))
    stood = _places(rankings, queries, order)
    asked = {n for n, query in enumerate(queries) if query.origin in ("question", "rewritten")}
    hits = [
        _scored(found[i], fused[i], [place for place in stood[i] if place.query in asked]) for i in wanted if i in found
    ]
    clock.append(("fuse", time.perf_counter()))
    if reranker and rankings:
        hits = _reranked(hits, rankings[0].query.text, reranker, cfg.rerank_top)
        clock.append((f"rerank with {reranker.name}", time.perf_counter()))
    hits, dropped = choose(index.catalog, hits[: k + _SPARE], cfg, k)
    hits = [replace(hit, rank=place) for place, hit in enumerate(hits, start=1)]
    clock.append(("choose", time.perf_counter()))
    stages = tuple((name, round(1000 * (at - before), 2)) for (_, before), (name, at) in pairwise(clock))
    chosen = {hit.chunk_id: hit for hit in hits}
    candidates = tuple(
        _candidate(i, spots[i], stood[i], fused[i], chosen.get(i), dropped.get(i, "fused score"))
        for i in order[:traced]
    )
    return Result(hits, Trace(queries, candidates, stages))


def _dense_share(query: Query, cfg: RetrievalConfig, tuned: Mapping[str, float]) -> float:
    if cfg.dense_weight != "auto":
        return cfg.dense_weight
    return tuned.get(language(query.text), DENSE_WEIGHT)


def _fuse(rankings: Sequence[Ranking], cfg: RetrievalConfig) -> dict[int, float]:
    weights = [ranking.weight for ranking in rankings]
    if cfg.fusion == "rrf":
        fused = rrf([ranking.scored for ranking in rankings], weights, k=cfg.rrf_k)
    else:
        fused = convex([[(i, score - r.floor) for i, score in r.scored] for r in rankings], weights)
    return {i: round(score, 6) for i, score in fused.items()}


def _first(fused: Mapping[int, float], most: int) -> list[int]:
    """The best so many chunks, and those that are equal to the last of them."""
    best = list(fused)
    last = fused[best[most]] if len(best) > most else 0.0
    return best[:most] + [i for i in best[most:] if fused[i] >= last > 0.0]


def _clean(query: str) -> str:
    return query[:_MAX_QUERY].encode("utf-8", "replace").decode().strip()


def _places(rankings: Sequence[Ranking], queries: Sequence[Query], order: Sequence[int]) -> dict[int, list[Place]]:
    """Of each of the best chunks, where it stood in each ranking that held it."""
    numbers = {query: n for n, query in enumerate(queries)}
    stood: dict[int, list[Place]] = {i: [] for i in order}
    for ranking in rankings:
        number = numbers[ranking.query]
        for chunk_id, at, score in places(ranking.scored):
            if chunk_id in stood:
                stood[chunk_id].append(Place(number, ranking.retriever, at, score))
    return stood


def _scored(hit: Hit, score: float, places: Sequence[Place]) -> Hit:
    """The hit with its fused score, and its best rank and score by each retriever for the question itself."""
    best: dict[str, Place] = {}
    for place in sorted(places, key=lambda place: place.rank):
        best.setdefault(place.retriever, place)
    dense, lexical = best.get("dense"), best.get("lexical")
    return replace(
        hit, score=score, dense_rank=dense.rank if dense else None, dense_score=dense.score if dense else None,
        lexical_rank=lexical.rank if lexical else None, lexical_score=lexical.score if lexical else None,
    )  # fmt: skip


def _reranked(hits: Sequence[Hit], question: str, reranker: Reranker, top: int) -> list[Hit]:
    """The first `top` hits in the reranker's order, the others behind them."""
    texts = [f"{heading_line(hit.title, hit.headings)}\n{hit.text}".strip() for hit in hits[:top]]
    scores = reranker.score(question, texts)
    best = [replace(hit, rerank_score=score) for hit, score in zip(hits, scores, strict=False)]
    return [*sorted(best, key=lambda hit: -(hit.rerank_score or 0.0)), *hits[top:]]


def _candidate(
    chunk_id: int, spot: Spot, places: Sequence[Place], fused: float, kept: Hit | None, dropped: str
) -> Candidate:
    return Candidate(
        chunk_id, spot.path, spot.page, spot.ordinal, tuple(places), round(fused, 5),
        kept.rerank_score if kept else None, kept.rank if kept else None, "" if kept else dropped,
    )  # fmt: skip


def least_relevance(index: Index, cfg: RetrievalConfig) -> float:
    """The relevance below which a question counts as not covered: configured, else calibrated, else measured here."""
    if cfg.min_relevance != "auto":
        return cfg.min_relevance
    calibrated = index.tuning().min_relevance
    return MIN_RELEVANCE if calibrated is None else calibrated


def relevance(index: Index, question: str, hits: Sequence[Hit]) -> float:
    """How far the best hits speak about a question, 0 to 1: the mean of how well one fits and how much all hold.

    Fit is the larger of: the share of the question's keywords, weighted by their rarity, that a hit holds; and its
    cosine, where the embedder can read the question, from 0.25 (unrelated texts) as 0 to 0.75 as 1. What all hold is
    the share of the keywords that stand in any of them, or half of that cosine: the words may be of another language.
    """
    idf = index.idf(keywords(question))
    total = sum(idf.values())
    near = fit = 0.0
    there: set[str] = set()
    for hit in hits[:5]:
        body = f"{heading_line(hit.title, hit.headings)}\n{hit.text}"
        own = held(body, idf)
        there.update(own)
        near = max(near, ((hit.dense_score or 0.0) - 0.25) / 0.5)
        fit = max(fit, near, sum(idf[term] for term in own) / total if total else 0.0)
    return (min(fit, 1.0) + max(len(there) / max(len(idf), 1), min(near, 1.0) / 2)) / 2
