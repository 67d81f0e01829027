"""A question -> passages; reads top to bottom.

`retrieve` asks both retrievers for every wording, `rank` fuses, reranks and chooses, `search` is both; `relevance`
says how far the found passages speak about the question. What is read around them: retrieval/passages.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from core.config import RetrievalConfig
from core.text import heading_line, held, keywords, language
from core.types import F32, Candidate, Hit, Place, Query, SearchMode, Trace
from retrieval.choose import choose
from retrieval.filters import Filter
from retrieval.fuse import convex, places, rrf
from retrieval.index import Index
from retrieval.reading import Spot
from retrieval.rerank import Reranker
from retrieval.versions import named_versions

DENSE_WEIGHT = 0.5  # where neither the configuration nor a calibration says otherwise
MIN_RELEVANCE = 0.22
_EVIDENCE = 5  # best passages of each ranking that show how far words can be trusted
_COVERED = 0.7  # share of the keywords, by rarity, from which on they are trusted whole
_UNRELATED, _CLOSE = 0.2, 0.75  # how far a cosine stands above the background, as a share of what is left to 1
_SPARE = 30  # hits beyond the first k that may stand in for those that are held back
_MAX_QUERY = 4_000  # characters; what is beyond adds time and no meaning
_TRACED = 100  # candidates that a trace keeps
_AHEAD = ThreadPoolExecutor(16, thread_name_prefix="words")  # wait for a server, and do nothing else


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
    return rank(index, rankings, cfg, k=k, reranker=reranker, traced=0).hits[:k]


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
    index.store.follow()
    n, mode = max(cfg.candidates, k), mode or cfg.mode
    tuned = index.tuning().dense_weight if cfg.dense_weight == "auto" else {}
    rankings: list[Ranking] = []
    for query in (replace(q, text=_clean(q.text)) for q in queries):
        if not query.text:
            continue
        own: list[Ranking] = []
        by_words = _words(index, query.text, n, where) if mode != "dense" else None
        if mode != "lexical" and index.embedder.read([query.text])[0].readable:
            vector = index.vector(query.text)
            own.append(Ranking(query, "dense", 1.0, _dense(index, vector, n, where), index.background.of(vector)))
        if by_words:
            own.append(Ranking(query, "lexical", 1.0, by_words()))
        share = tuned.get(language(query.text), DENSE_WEIGHT) if cfg.dense_weight == "auto" else cfg.dense_weight
        rankings += weighed(own, share, trust(index, own) if cfg.dense_weight == "auto" and len(own) > 1 else 1.0)
    return rankings


def _words(index: Index, text: str, n: int, where: Filter | None) -> Callable[[], list[tuple[int, float]]]:
    """The chunks that hold a question's words, once they are asked for; where a server finds them, it begins at once.

    It is at work while the question is embedded, and searched for by its meaning.
    """
    terms = index.terms(text)
    if index.store.on_server:
        return _AHEAD.submit(index.store.lexical, terms, n, where).result
    return lambda: index.store.lexical(terms, n, where)


def _dense(index: Index, vector: F32, n: int, where: Filter | None) -> list[tuple[int, float]]:
    """The chunks nearest to a question, where what is of another language than the nearest is lifted towards them.

    An embedder of several languages puts any text of the question's own language before all others. So each language is
    searched by itself, and has most of what its background lacks to that of the nearest.
    """
    found = dict(index.store.dense(vector, n, where))
    among = where or Filter()
    for name, lift in index.background.lifts(vector).items():
        if lift > 0 and name in (among.languages or (name,)):
            own = index.store.dense(vector, n, replace(among, languages=(name,)))
            found |= {i: cosine + lift for i, cosine in own}
    return sorted(found.items(), key=lambda row: (-row[1], row[0]))[:n]


def weighed(rankings: Sequence[Ranking], dense: float, trusted: float) -> list[Ranking]:
    """The two rankings of a wording with their weights: `dense` is the share of meaning where words are `trusted` (1).

    Where they are trusted less, meaning has what they lose. A ranking that is alone, or is to have all, keeps it.
    """
    if len(rankings) < 2:
        return [replace(r, weight=r.query.weight) for r in rankings]
    words = (1 - dense) * (trusted if dense > 0 else 1.0)
    return [replace(r, weight=r.query.weight * (words if r.retriever == "lexical" else 1 - words)) for r in rankings]


def trust(index: Index, rankings: Sequence[Ranking]) -> float:
    """How far the ranking by words can be trusted for a wording, 0 to 1, by what both rankings found.

    Words that say little (another language, other terms) find few of the question's keywords, weighted by their rarity,
    in their best passages. And where the passages nearest in meaning are of another language than the question, those
    that share only some words with it are seldom the ones; half stays, since names and numbers cross languages.
    """
    meaning, words = (r.scored for r in rankings)
    question = rankings[0].query.text
    near, best = [i for i, _ in meaning[:_EVIDENCE]], [i for i, _ in words[:_EVIDENCE]]
    hits = index.hits(list({*near, *best}))
    idf = index.idf(keywords(question))
    there = {term for i in best if i in hits for term in held(_body(hits[i]), idf)}
    total = sum(idf.values())
    covered = sum(idf[term] for term in there) / total if total else 1.0
    spoken = language(question)
    foreign = [hits[i].language not in (spoken, "und") for i in near if i in hits and spoken != "und"]
    return min(covered / _COVERED, 1.0) * (1 - (1 - covered) * sum(foreign) / max(2 * len(foreign), 1))


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

    Beside the k stand older versions of theirs, each behind the newest.

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
    note = ""
    if reranker and rankings:
        hits, note = _reranked(hits, rankings[0].query.text, reranker, cfg.rerank_top)
        clock.append((f"rerank with {reranker.name}", time.perf_counter()))
    named = frozenset[str]().union(*(named_versions(queries[n].text) for n in asked))
    hits, dropped = choose(index.catalog, hits[: k + _SPARE], cfg, k, named)
    hits = [replace(hit, rank=place) for place, hit in enumerate(hits, start=1)]
    clock.append(("choose", time.perf_counter()))
    stages = tuple((name, round(1000 * (at - before), 2)) for (_, before), (name, at) in pairwise(clock))
    chosen = {hit.chunk_id: hit for hit in hits}
    candidates = tuple(
        _candidate(i, spots[i], stood[i], fused[i], chosen.get(i), dropped.get(i, "fused score"))
        for i in order[:traced]
    )
    return Result(hits, Trace(queries, candidates, stages, (note,) if note else ()))


def _fuse(rankings: Sequence[Ranking], cfg: RetrievalConfig) -> dict[int, float]:
    weights = [ranking.weight for ranking in rankings]
    if cfg.fusion == "rrf":
        fused = rrf([ranking.scored for ranking in rankings], weights, k=cfg.rrf_k)
    else:
        above = [[(i, score - r.floor) for i, score in r.scored] for r in rankings]
        fused = convex(above, [weight * _worth(r) for weight, r in zip(weights, rankings, strict=True)])
    return {i: round(score, 6) for i, score in fused.items()}


def _worth(ranking: Ranking) -> float:
    """What of its weight a ranking keeps: less where the nearest of all is hardly nearer than what is unrelated."""
    if ranking.retriever == "lexical" or not ranking.scored:
        return 1.0
    return min(max(_above(ranking.scored[0][1], ranking.floor) / _UNRELATED, 0.0), 1.0)


def _above(cosine: float, floor: float) -> float:
    """How far a cosine stands above that of what has nothing to do with it, as a share of what is left to 1."""
    return (cosine - floor) / max(1 - floor, 1e-6)


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


def _reranked(hits: Sequence[Hit], question: str, reranker: Reranker, top: int) -> tuple[list[Hit], str]:
    """The first `top` hits in the reranker's order, the others behind them; and its note."""
    scored = reranker.scored(question, [_body(hit).strip() for hit in hits[:top]])
    best = [replace(hit, rerank_score=score) for hit, score in zip(hits, scored.scores, strict=False)]
    return [*sorted(best, key=lambda hit: -(hit.rerank_score or 0.0)), *hits[top:]], scored.note


def _body(hit: Hit) -> str:
    return f"{heading_line(hit.title, hit.headings)}\n{hit.text}"


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

    Fit is the larger of: the share of the question's keywords, weighted by their rarity, that a hit holds; and how far
    its cosine stands above that of what has nothing to do with the question, from a fifth of the way to 1 as 0 to three
    quarters as 1: by one embedder unrelated texts have a cosine of 0.1, by another of 0.8. What all hold is the share
    of the keywords that stand in any of them, or half of that nearness: the words may be of another language.
    """
    idf = index.idf(keywords(question))
    total = sum(idf.values())
    cosines = [hit.dense_score for hit in hits[:5] if hit.dense_score is not None]
    floor = index.background.of(index.vector(question)) if cosines else 0.0
    above = _above(max(cosines, default=floor), floor)
    near = min(max((above - _UNRELATED) / (_CLOSE - _UNRELATED), 0.0), 1.0)
    fit = near
    there: set[str] = set()
    for hit in hits[:5]:
        own = held(_body(hit), idf)
        there.update(own)
        fit = max(fit, sum(idf[term] for term in own) / total if total else 0.0)
    return (min(fit, 1.0) + max(len(there) / max(len(idf), 1), near / 2)) / 2
