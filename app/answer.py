"""Recipe: answer a question, as a stream of events that CLI, HTTP and UI consume alike.

rewrite with the history -> search -> widen -> pack -> stream from the model, or extract -> read citations back.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from app.backend import Backend, resolve
from app.texts import Tongue, version_notes
from core.config import Config
from core.errors import ModelError
from core.text import keywords, query_tokens
from core.types import Answer, Hit, Source, Turn
from llm import chat, extractive
from prompts import context
from prompts.load import Prompt, load
from retrieval.index import Index
from retrieval.search import relevance, search, widen
from retrieval.versions import without_superseded

NO_ANSWER = "NO_ANSWER"  # what the answer prompt asks a model to reply when the sources do not cover the question
_REWRITE_TIMEOUT_S = 20.0
_HISTORY_TURNS = 6

_NOT_COVERED = {
    "en": "The documents do not cover this question.",
    "zh": "文档中没有涉及这个问题的内容。",
}
_PRONOUN = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|he|she|his|her|there|one|ones|same|what about|how about|and)\b"
    r"|它|他|她|这|那|其|呢|该|此|同样|还有",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """The passages an answer will rest on, before the first word of it; `query` is what was searched for."""

    sources: tuple[Source, ...]
    query: str
    backend: Backend


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer."""

    delta: str


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer, citations checked; its text replaces what was streamed."""

    answer: Answer


Event = Found | Text | Done


async def answer(
    index: Index, question: str, cfg: Config, history: Sequence[Turn] = (), backend: Backend | None = None
) -> AsyncGenerator[Event, None]:
    """Answer a question from a knowledge base. `Found` always comes first, so that passages are shown whatever fails.

    Raises `ModelError` after `Found` where the model's server fails. Closing the generator cancels the request.
    """
    started = time.monotonic()
    backend = backend or await resolve(cfg.llm)
    queries = await _queries(question, history, cfg, backend)
    hits = await asyncio.to_thread(search, index, queries, cfg.retrieval)
    covered = await asyncio.to_thread(relevance, index, queries[0], hits)
    sources = await asyncio.to_thread(_pack, index, hits, cfg)
    yield Found(sources, queries[0], backend)

    tongue = context.reply_language(question)
    raw: list[str] = []
    if sources and (backend.endpoint is not None or covered >= cfg.retrieval.min_relevance):
        async with aclosing(_write(index, question, queries[0], sources, cfg, backend, history)) as pieces:
            async for piece in context.stream_known(_noting(pieces, raw), {source.n for source in sources}):
                yield Text(piece)
    text = "".join(raw)
    answered = bool(text.strip())
    if not answered:
        text = _NOT_COVERED[tongue]
        yield Text(text)
    cited = context.cite(text, sources)
    yield Done(
        Answer(
            cited.text.strip(), answered, cited.citations, sources, backend.name, backend.model, queries[0],
            time.monotonic() - started,
            (*backend.notes, *_citation_notes(cited, answered, tongue), *_source_notes(cited, sources, tongue)),
        )
    )  # fmt: skip


async def _write(
    index: Index, question: str, query: str, sources: Sequence[Source], cfg: Config, backend: Backend,
    history: Sequence[Turn],
) -> AsyncGenerator[str, None]:  # fmt: skip
    """The answer as it is written, before its marks are checked; nothing at all where the sources do not cover it."""
    if backend.endpoint is None:
        yield await asyncio.to_thread(_extract, index, query, sources)
        return
    prompt = load(Path(cfg.prompts.library), cfg.prompts.answer, cfg.prompts.answer_version)
    values = {"sources": context.render(sources), "question": question}
    messages = prompt.render(context.reply_language(question), values, history[-_HISTORY_TURNS:])
    async with aclosing(chat.stream(backend.endpoint, cfg.llm, messages)) as pieces:
        async for piece in _hold_refusal(pieces):
            yield piece


def _extract(index: Index, query: str, sources: Sequence[Source]) -> str:
    embedder, idf = index.embedder, index.idf(keywords(query))
    if not embedder.read([query])[0].readable:
        return extractive.extract(query, sources, idf)
    vector = embedder.embed_query(query)

    def likeness(texts: Sequence[str]) -> list[float]:
        cosines = embedder.embed_passages(texts) @ vector
        readings = embedder.read(texts)
        return [float(c) if reading.readable else 0.0 for c, reading in zip(cosines, readings, strict=True)]

    return extractive.extract(query, sources, idf, likeness)


async def _noting(pieces: AsyncIterator[str], into: list[str]) -> AsyncIterator[str]:
    async for piece in pieces:
        into.append(piece)
        yield piece


def _pack(index: Index, hits: Sequence[Hit], cfg: Config) -> tuple[Source, ...]:
    passages = widen(index, without_superseded(hits), cfg.retrieval.neighbours)
    return context.pack(((p.hit, p.text) for p in passages), cfg.retrieval.context_tokens)


def _citation_notes(cited: context.Cited, answered: bool, tongue: Tongue) -> list[str]:
    notes = []
    if cited.unknown:
        marks = ", ".join(f"[{n}]" for n in cited.unknown)
        notes.append(
            f"模型引用了不存在的资料 {marks}，已去掉。" if tongue == "zh"
            else f"The model cited {marks}, which no source has; these marks were taken out."
        )  # fmt: skip
    if answered and not cited.citations:
        notes.append(
            "回答没有引用任何资料，请谨慎对待。"
            if tongue == "zh"
            else "The answer cites no source: treat it with care."
        )
    return notes


def _source_notes(cited: context.Cited, sources: Sequence[Source], tongue: Tongue) -> list[str]:
    """What should be known of the files that are cited: stale ones, and those of which there are several versions."""
    numbers = {citation.n for citation in cited.citations}
    hits = {source.hit.path: source.hit for source in sources if source.n in numbers}
    return [f"{path}: {note}" for path, hit in hits.items() for note in version_notes(hit, tongue)]


async def _queries(question: str, history: Sequence[Turn], cfg: Config, backend: Backend) -> list[str]:
    """What to search for: the question, or, for a follow-up, what it means in its conversation."""
    asked = [turn.content for turn in history if turn.role == "user"]
    if not asked:
        return [question]
    if backend.endpoint is not None:
        rewritten = await _rewrite(question, history, cfg, backend.endpoint)
        return list(dict.fromkeys([rewritten, question]))
    if _PRONOUN.search(question) or len(query_tokens(question)) <= 4:
        return [f"{asked[-1]} {question}", question]
    return [question]


async def _rewrite(question: str, history: Sequence[Turn], cfg: Config, endpoint: chat.Endpoint) -> str:
    prompt: Prompt = load(Path(cfg.prompts.library), cfg.prompts.rewrite, cfg.prompts.rewrite_version)
    lines = [f"{turn.role}: {turn.content[:500]}" for turn in history[-_HISTORY_TURNS:]]
    values = {"conversation": "\n".join(lines), "question": question}
    messages = prompt.render(context.reply_language(question), values)
    quick = cfg.llm.model_copy(update={"temperature": 0.0, "max_tokens": min(cfg.llm.max_tokens, 200)})
    try:
        async with asyncio.timeout(_REWRITE_TIMEOUT_S), aclosing(chat.stream(endpoint, quick, messages)) as pieces:
            text = "".join([piece async for piece in pieces]).strip().strip('"“”')
    except (TimeoutError, ModelError):  # the answer itself will report a server that is down
        return question
    first = text.splitlines()[0].strip() if text else ""
    return first if 0 < len(first) <= 4 * len(question) + 200 else question


async def _hold_refusal(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass pieces on, but hold back a beginning that may become NO_ANSWER; an answer that is it, is empty."""
    held = ""
    settled = False
    async for piece in pieces:
        if settled:
            yield piece
            continue
        held += piece
        start = held.lstrip()
        if not NO_ANSWER.startswith(start[: len(NO_ANSWER)]):
            settled = True
            yield held
        elif start.startswith(NO_ANSWER):
            return
    if not settled and held:
        yield held
