"""Recipe: a question, in its conversation -> the passages that speak about it, and how they were found.

One knowledge base or several: these are searched one by one, and their passages put in one order.

rewrite with the history -> search as asked while variants are being written -> search the variants -> fuse, rerank.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from app.answering.backend import Backend
from app.answering.compared import compared
from app.answering.follow_up import stands_alone
from app.answering.plan import HISTORY_TURNS, LONGEST_QUESTION, Plan, checked
from core.config import Config, RetrievalConfig
from core.errors import ModelError
from core.types import Candidate, Hit, Query, Trace, Turn
from llm import chat
from llm.endpoint import Endpoint
from prompts.context import reply_language
from prompts.load import load
from retrieval.feedback import feedback
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.rerank import reranker_of
from retrieval.search import Ranking, Result, rank, relevance, retrieve
from retrieval.versions import without_superseded

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_REWRITE_TIMEOUT_S = 20.0
_VARIANT_WEIGHT = 0.5  # of a wording that a model wrote, against 1 for the question itself
_ALONE = 0.3  # of the question as it was asked, where it says too little alone
_LONGEST = 500  # characters of a variant
_LANGUAGES = {"zh": "Chinese (中文)", "en": "English (英文)", "ja": "Japanese (日文)", "ko": "Korean (韩文)"}
_SCHEMA = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string"}}},
    "required": ["queries"],
    "additionalProperties": False,
}
Scope = tuple[Index, Filter | None]  # a knowledge base to search, and what of it
StepName = Literal["attach", "rewrite", "plan", "search", "rank", "read", "write"]


class Telling(Protocol):
    """Hears what is being done, with how many, and for what."""

    def __call__(self, name: StepName, count: int, text: str = "") -> None:
        """Take it down."""


def quiet(name: StepName, count: int, text: str = "") -> None:
    """Hear nothing."""


async def find(
    index: Index,
    question: str,
    plan: Plan,
    history: Sequence[Turn] = (),
    where: Filter | None = None,
    *,
    also: Sequence[Scope] = (),
    told: Telling = quiet,
) -> tuple[str, Result]:
    """What was searched for (the question, rewritten where the conversation asks for it), and the result.

    `also` are further knowledge bases; `told` hears what is being done. A model that is late or fails with variants
    costs nothing but them; the trace's notes say so.
    """
    question, cfg, backend = checked(question), plan.cfg, plan.backend
    if history and backend.endpoint is not None:
        told("rewrite", 0)
    queries = await _queries(question, history, cfg, backend)
    settings = cfg.retrieval
    places = [(index, where), *also]
    told("search", len(places))
    first = asyncio.create_task(asyncio.to_thread(_retrieve, places, queries, settings))
    notes: list[str] = []
    variants: list[Query] = []
    try:
        if settings.variants and backend.endpoint is not None:
            variants = await _variants(index, queries[0].text, cfg, backend.endpoint, notes)
        rankings = await first
    finally:
        first.cancel()
    told("rank", len(queries) + len(variants))
    found = await asyncio.to_thread(_rank_all, places, rankings, variants, settings)
    query, (result, *more) = queries[0].text, found
    if more:
        result = await asyncio.to_thread(_merged, places, query, found, settings.k)
    return query, replace(result, trace=replace(result.trace, notes=(*notes, *result.trace.notes)))


async def lookup(
    index: Index,
    question: str,
    plan: Plan,
    history: Sequence[Turn] = (),
    where: Filter | None = None,
) -> tuple[str, Result]:
    """`find` for whoever only searches: the k passages that an answer to the question would rest on."""
    query, found = await find(index, question, plan, history, where)
    return query, replace(found, hits=found.hits[: plan.cfg.retrieval.k])  # older versions stand beside the k


def _retrieve(places: Sequence[Scope], queries: list[Query], cfg: RetrievalConfig) -> list[list[Ranking]]:
    return [retrieve(index, queries, cfg, where=where) for index, where in places]


def _rank_all(
    places: Sequence[Scope], rankings: list[list[Ranking]], variants: list[Query], cfg: RetrievalConfig
) -> list[Result]:
    found = []
    for (index, where), own in zip(places, rankings, strict=True):
        result = _rank(index, own, variants, cfg, where)
        found.append(replace(result, hits=[replace(hit, kb=index.name) for hit in result.hits]))
    return found


def _merged(places: Sequence[Scope], query: str, found: Sequence[Result], k: int) -> Result:
    """The k best of several knowledge bases.

    A fused score is a share of the best of its own knowledge base; so each counts by how far its best passages speak
    about the question. Older versions, whose score may be higher than the newest one's, are left out.
    """
    queries = tuple(dict.fromkeys(query for result in found for query in result.trace.queries))
    number = {query: n for n, query in enumerate(queries)}
    hits: list[Hit] = []
    rows: list[tuple[Candidate, str]] = []
    stages: list[tuple[str, float]] = []
    for (index, _), (own, trace) in zip(places, ((r.hits, r.trace) for r in found), strict=True):
        share = relevance(index, query, own)
        hits += [replace(hit, score=round(hit.score * share, 6)) for hit in without_superseded(own)]
        for row in trace.candidates:
            stood = tuple(replace(place, query=number[trace.queries[place.query]]) for place in row.places)
            rows.append((replace(row, fused=round(row.fused * share, 5), places=stood), index.name))
        stages += [(f"{index.name}: {name}", ms) for name, ms in trace.stages]
    best = sorted(hits, key=lambda hit: -hit.score)[:k]
    ranks = {(hit.kb, hit.chunk_id): n for n, hit in enumerate(best, start=1)}
    candidates = []
    for row, kb in sorted(rows, key=lambda pair: -pair[0].fused):
        rank = ranks.get((kb, row.chunk_id))
        lost = "" if rank else row.dropped or "fused score"
        candidates.append(replace(row, path=f"{kb}/{row.path}", rank=rank, dropped=lost))
    hits = [replace(hit, rank=n) for n, hit in enumerate(best, start=1)]
    notes = tuple(dict.fromkeys(note for result in found for note in result.trace.notes))
    return Result(hits, Trace(queries, tuple(candidates), tuple(stages), notes))


def _rank(
    index: Index, rankings: list[Ranking], variants: list[Query], cfg: RetrievalConfig, where: Filter | None
) -> Result:
    reranker = reranker_of(cfg)
    if cfg.variants and not variants and rankings:
        first = rank(index, rankings, cfg)
        variants = feedback(index, rankings[0].query.text, first.hits[: cfg.variants])
        if not variants and reranker is None:
            return first
    if variants:
        rankings = [*rankings, *retrieve(index, variants, cfg, where=where)]
    return rank(index, rankings, cfg, reranker=reranker)


async def _variants(index: Index, question: str, cfg: Config, endpoint: Endpoint, notes: list[str]) -> list[Query]:
    """Other wordings by the model; none, and a note that says why, where it is late or replies with something else."""
    seconds = cfg.retrieval.variant_seconds
    try:
        async with asyncio.timeout(seconds):
            languages = await asyncio.to_thread(index.languages)
            values = {
                "question": question,
                "count": str(cfg.retrieval.variants),
                "languages": ", ".join(_LANGUAGES.get(code, code) for code in languages),
            }
            quick = cfg.llm.model_copy(update={"temperature": 0.0, "max_tokens": min(cfg.llm.max_tokens, 400)})
            messages = await asyncio.to_thread(_asking, cfg, "variants", question, values)
            reply = await chat.ask_json(endpoint, quick, messages, "queries", _SCHEMA)
    except TimeoutError:
        notes.append(f"the model took longer than {seconds:g} s over variants of the question: searched without them")
        return []
    except ModelError as error:
        notes.append(f"no variants of the question: {error.message}")
        return []
    written = reply.get("queries") if isinstance(reply, dict) else None
    if not isinstance(written, list):
        notes.append("the model wrote no usable variants of the question: searched without them")
        return []
    texts = [" ".join(text.split())[:_LONGEST] for text in written if isinstance(text, str)]
    texts = [text for text in dict.fromkeys(texts) if text and text != question][: cfg.retrieval.variants]
    return [Query(text, "variant", _VARIANT_WEIGHT) for text in texts]


async def _queries(question: str, history: Sequence[Turn], cfg: Config, backend: Backend) -> list[Query]:
    """What to search for: the question, or, for a follow-up, first what it means in its conversation."""
    asked = [turn.content for turn in history if turn.role == "user"]
    rewritten = question
    if asked and backend.endpoint is not None:
        rewritten = await rewritten_alone(question, history, cfg, backend.endpoint)
    elif asked and not stands_alone(question):
        rewritten = f"{asked[-1][:LONGEST_QUESTION]} {question}"
    if rewritten == question:
        return [Query(question), *(Query(thing, "variant", _VARIANT_WEIGHT) for thing in compared(question))]
    return [Query(rewritten, "rewritten"), Query(question, weight=_ALONE if backend.endpoint is None else 1.0)]


def _asking(
    cfg: Config, kind: Literal["variants", "rewrite"], question: str, values: dict[str, str]
) -> "list[BaseMessage]":
    """What a model is asked beside the answer itself, as its prompt says now."""
    prompts = cfg.prompts
    named = {
        "variants": (prompts.variants, prompts.variants_version), "rewrite": (prompts.rewrite, prompts.rewrite_version)
    }  # fmt: skip
    return load(Path(prompts.library), *named[kind]).render(reply_language(question), values)


async def rewritten_alone(question: str, history: Sequence[Turn], cfg: Config, endpoint: Endpoint) -> str:
    """A follow-up as it can be understood without its conversation, by the model; as it is where that fails."""
    lines = [f"{turn.role}: {' '.join(turn.content[:500].split())}" for turn in history[-HISTORY_TURNS:]]
    values = {"conversation": "\n".join(lines), "question": question}
    messages = await asyncio.to_thread(_asking, cfg, "rewrite", question, values)
    quick = cfg.llm.model_copy(update={"temperature": 0.0, "max_tokens": min(cfg.llm.max_tokens, 200)})
    try:
        async with asyncio.timeout(_REWRITE_TIMEOUT_S):
            text = (await chat.whole(chat.stream(endpoint, quick, messages))).strip().strip('"“”')
    except (TimeoutError, ModelError):  # the answer itself will report a server that is down
        return question
    first = text.splitlines()[0].strip() if text else ""
    return first if 0 < len(first) <= 4 * len(question) + 200 else question
