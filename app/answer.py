"""Recipe: answer a question, as a stream of events that CLI, HTTP and UI consume alike.

find (app/find.py) -> widen -> pack -> stream from the model, or extract -> read citations back.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.adapter import adapted
from app.backend import Backend, resolve
from app.find import HISTORY_TURNS, find
from app.texts import Tongue, version_notes
from core.config import Config, RetrievalConfig
from core.text import keywords
from core.types import Answer, Hit, Source, Trace, Turn
from llm import chat, extractive
from prompts import context
from prompts.load import load
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.passages import Passage, Room, widen
from retrieval.search import least_relevance, relevance
from retrieval.versions import without_superseded

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

NO_ANSWER = "NO_ANSWER"  # what the answer prompt asks a model to reply when the sources do not cover the question

NOT_COVERED = {  # what it becomes for the reader
    "en": "The documents do not cover this question.",
    "zh": "文档中没有涉及这个问题的内容。",
}


@dataclass(frozen=True, slots=True)
class Found:
    """The passages an answer will rest on, before the first word of it; `query` is what was searched for."""

    sources: tuple[Source, ...]
    query: str
    backend: Backend
    trace: Trace


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
    index: Index,
    question: str,
    cfg: Config,
    history: Sequence[Turn] = (),
    backend: Backend | None = None,
    where: Filter | None = None,
) -> AsyncGenerator[Event, None]:
    """Answer a question from a knowledge base, or from those of its documents that a filter lets through.

    `Found` always comes first, so that passages are shown whatever fails. Raises `ModelError` after it where the
    model's server fails. Closing the generator cancels the request.
    """
    started = time.monotonic()
    backend = await adapted(backend or await resolve(cfg.llm), cfg, index.home)
    query, found = await find(index, question, cfg, backend, history, where)
    covered = await asyncio.to_thread(relevance, index, query, found.hits)
    sources = await asyncio.to_thread(_pack, index, found.hits, fitted(cfg, backend, question, history))
    yield Found(sources, query, backend, found.trace)

    tongue = context.reply_language(question)
    raw: list[str] = []
    if sources and (backend.endpoint is not None or covered >= least_relevance(index, cfg.retrieval)):
        async with aclosing(_write(index, question, query, sources, cfg, backend, history)) as pieces:
            async for piece in context.stream_known(_noting(pieces, raw), {source.n for source in sources}):
                yield Text(piece)
    text = "".join(raw)
    answered = bool(text.strip())
    if not answered:
        text = NOT_COVERED[tongue]
        yield Text(text)
    cited = context.cite(text, sources)
    yield Done(
        Answer(
            cited.text.strip(), answered, cited.citations, sources, backend.name, backend.model, query,
            time.monotonic() - started,
            (*backend.notes, *_citation_notes(cited, answered, tongue), *_source_notes(cited, sources, tongue)),
            found.trace,
        )
    )  # fmt: skip


def request(cfg: Config, question: str, sources: str, history: Sequence[Turn] = ()) -> "list[BaseMessage]":
    """The messages that a model is sent for a question; `sources` as `context.render` writes them."""
    prompt = load(Path(cfg.prompts.library), cfg.prompts.answer, cfg.prompts.answer_version)
    values = {"sources": sources, "question": question}
    return prompt.render(context.reply_language(question), values, history[-HISTORY_TURNS:])


def fitted(cfg: Config, backend: Backend, question: str, history: Sequence[Turn]) -> RetrievalConfig:
    """The settings with room for no more passages than the model's context has beside the rest and the answer."""
    if backend.endpoint is None or not backend.endpoint.context:
        return cfg.retrieval
    rest = sum(context.estimate_tokens(message.text) for message in request(cfg, question, "", history))
    left = backend.endpoint.context - min(cfg.llm.max_tokens, backend.endpoint.context // 2) - rest
    return cfg.retrieval.model_copy(update={"context_tokens": max(min(cfg.retrieval.context_tokens, left), 1)})


def passages(index: Index, hits: Sequence[Hit], cfg: RetrievalConfig) -> list[Passage]:
    """What is read of the hits and around them, best first, as far as the prompt has room for it."""
    room = Room(cfg.context_tokens, context.estimate_tokens, context.FRAME_TOKENS)
    return widen(index, without_superseded(hits), cfg.neighbours, cfg.section_tokens, room)


async def _write(
    index: Index, question: str, query: str, sources: Sequence[Source], cfg: Config, backend: Backend,
    history: Sequence[Turn],
) -> AsyncGenerator[str, None]:  # fmt: skip
    """The answer as it is written, before its marks are checked; nothing at all where the sources do not cover it."""
    if backend.endpoint is None:
        yield await asyncio.to_thread(_extract, index, query, sources)
        return
    messages = request(cfg, question, context.render(sources), history)
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


def _pack(index: Index, hits: Sequence[Hit], cfg: RetrievalConfig) -> tuple[Source, ...]:
    return context.pack(((p.hit, p.text) for p in passages(index, hits, cfg)), cfg.context_tokens)


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
