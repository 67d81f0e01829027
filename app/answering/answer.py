"""Recipe: answer a question, as a stream of events that CLI, HTTP and UI consume alike.

find (app/answering/find.py) -> widen -> pack -> stream from the model, or extract -> read citations back.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from app.answering import steps, summary, unanswered
from app.answering.agreed import agreed, not_chosen, settings_of
from app.answering.backend import Backend
from app.answering.find import Scope, StepName, find
from app.answering.follow_up import stands_alone
from app.answering.packed import packed
from app.answering.plan import Plan, checked, fitted, recent, request
from app.answering.read_whole import read_whole
from app.messages.texts import Tongue, version_notes
from core.config import Config, LlmConfig
from core.text import keywords, language, unfinished, well_formed
from core.types import Answer, Query, Source, Trace, Turn
from llm import chat, extractive
from llm.endpoint import Endpoint
from llm.thinking import Anew, Thought
from prompts import context
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import Result, least_relevance

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

NO_ANSWER = "NO_ANSWER"  # what the answer prompt asks a model to reply when the sources do not cover the question

NOT_COVERED = {  # what it becomes for the reader
    "en": "The documents do not cover this question.",
    "zh": "文档中没有涉及这个问题的内容。",
}


_EMPHASIS = " \t\n*_`#>\"'“”「」"  # what models set around NO_ANSWER
_CITED = re.compile(r"[\[【]\^?\d")


@dataclass(frozen=True, slots=True)
class Found:
    """The passages an answer will rest on, before the first word of it; `query` is what was searched for."""

    sources: tuple[Source, ...]
    query: str
    backend: Backend
    trace: Trace


@dataclass(frozen=True, slots=True)
class Step:
    """What is being done now: attach (`count` files of the conversation are still being read), rewrite, search (`count`
    knowledge bases), rank (`count` wordings), write.

    Of a search in steps also plan (what to look up first) and read (`count` passages); `text` is what is searched for.
    """

    name: StepName
    count: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer; `anew`: what came before it is none of the answer's."""

    delta: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer, citations checked; its text replaces what was streamed."""

    answer: Answer


Event = Step | Found | Text | Done


async def answer(
    index: Index,
    question: str,
    plan: Plan,
    history: Sequence[Turn] = (),
    where: Filter | None = None,
    *,
    also: Sequence[Scope] = (),
    attached: Index | None = None,
) -> AsyncGenerator[Event, None]:
    """Answer a question from a knowledge base, or from those of its documents that a filter lets through.

    `also` are further knowledge bases to answer from; `attached` is the one among all of these that holds the files of
    the conversation: a model reads them whole where they take no more than half of the room for passages, or all of it
    where nothing else is asked. What the model adds of its own knowledge is apart from what the documents say. `Found`
    comes before any `Text`, so that passages are shown whatever fails. Raises `ModelError` after it where the model's
    server fails. Closing the generator cancels the request.
    """
    clock = [("", time.perf_counter())]
    question, history = checked(question), [Turn(turn.role, well_formed(turn.content)) for turn in history]
    cfg, backend, manner = plan.cfg, plan.backend, plan.manner
    sent = recent(history, backend)
    query, result, looked_up = question, Result([], Trace((Query(question),))), ""
    room = await asyncio.to_thread(fitted, cfg, backend, question, sent, manner.instructions)
    places, files = [(index, where), *also], attached if backend.endpoint else None
    read = await asyncio.to_thread(read_whole, files, room.context_tokens // min(len(places), 2))
    places, room = read.besides(places), read.beside(room)
    summed = await asyncio.to_thread(summary.named_document, question, places)
    if summed is None:
        async with aclosing(_finding(places, question, plan, history)) as found:
            async for step in found:
                if isinstance(step, Step):
                    yield step
                else:
                    query, result, looked_up = step.query, step.result, step.thoughts
    clock.append(("find", time.perf_counter()))
    indexes = {index.name: index} | {other.name: other for other, _ in also}
    ask = partial(request, cfg, question, history=sent, instructions=manner.instructions)
    if summed:
        sources, covered = await asyncio.to_thread(summary.passages, summed, room.context_tokens), 1.0
    else:
        sources, covered = await asyncio.to_thread(packed, indexes, query, result.hits, room)
    sources, covered, trace = read.before(sources, covered, result.trace)
    clock.append(("pack", time.perf_counter()))
    yield Found(sources, query, backend, trace)

    tongue = context.reply_language(question)
    main = indexes[sources[0].hit.kb] if sources else index
    least = await asyncio.to_thread(least_relevance, main, cfg.retrieval)
    may_speak = bool(sources) and (backend.endpoint is not None or covered >= least)
    reply = Reply()
    quote = partial(summary.quoted, summed, sources, tongue) if summed else partial(_extract, main, query, sources)
    if may_speak or (manner.own_knowledge and backend.endpoint is not None):
        yield Step("write")
        async with aclosing(_write(sources, cfg, backend, ask, quote, reply)) as pieces:
            while True:
                reply.text, reply.anew = "", False
                async for piece in context.stream_known(noting(pieces, reply), context.bodies(sources)):
                    if len(clock) == 3:
                        clock.append(("first word", time.perf_counter()))
                    yield Text(piece)
                if not reply.anew:
                    break
                yield Text("", anew=True)
    clock.append(("write", time.perf_counter()))
    text = reply.text
    answered = bool(text.strip())
    if not answered:
        text = NOT_COVERED[tongue]
        yield Text(text)
        if cfg.app.keep_unanswered:
            await asyncio.to_thread(_keep, [(index, where), *also], question, query, plan)
    cited = await asyncio.to_thread(context.cite, text, sources)
    stages = tuple((name, round(1000 * (at - before), 2)) for (_, before), (name, at) in pairwise(clock))
    yield Done(
        Answer(
            cited.text.strip(), answered, cited.citations, sources, backend.name, backend.model, query,
            clock[-1][1] - clock[0][1],
            noted(backend, cited, sources, reply.finish, answered=answered, tongue=tongue),
            trace, tuple(reply.sent), stages, reply.finish, f"{looked_up}\n\n{reply.thoughts}".strip(),
        )
    )  # fmt: skip


def _keep(places: Sequence[Scope], question: str, query: str, plan: Plan) -> None:
    """Count a question that nothing was found for to the knowledge bases that were asked whole.

    What it was rewritten to holds what was said before it: whoever reads it with one of them may see no other.
    """
    for index, limit in places:
        if limit is not None and not limit.empty:
            continue
        rests_on = plan.manner.before
        own = query == question or (rests_on is not None and rests_on <= {index.name})
        if own or stands_alone(question):
            unanswered.keep([index.home], query if own else question, make=bool(plan.cfg.app.database))


async def _finding(
    places: Sequence[Scope], question: str, plan: Plan, history: Sequence[Turn]
) -> AsyncGenerator[Step | steps.Looked, None]:
    """The steps of the search while it goes on, then what it searched for and found; nothing where there is no place
    to be searched.
    """
    if not places:
        return
    (index, where), *also = places
    said: asyncio.Queue[Step | None] = asyncio.Queue()

    def told(name: StepName, count: int, text: str = "") -> None:
        said.put_nowait(Step(name, count, text))

    async def once() -> steps.Looked:
        return steps.Looked(*await find(index, question, plan, history, where, also=also, told=told))

    in_steps = plan.cfg.retrieval.steps > 0
    look = steps.look(index, question, plan, history, where, also=also, told=told) if in_steps else once()
    search = asyncio.create_task(look)
    search.add_done_callback(lambda _: said.put_nowait(None))
    try:
        while step := await said.get():
            yield step
        yield await search
    finally:
        search.cancel()


async def _write(
    sources: Sequence[Source], cfg: Config, backend: Backend, ask: "Callable[[str], list[BaseMessage]]",
    quote: Callable[[], str], reply: "Reply",
) -> AsyncGenerator[str | Anew, None]:  # fmt: skip
    """The answer as it is written, before its marks are checked; nothing at all where the sources do not cover it."""
    if backend.endpoint is None:
        yield await asyncio.to_thread(quote)
        return
    messages = await asyncio.to_thread(lambda: ask(context.render(sources)))
    reply.sent = [(message.type, message.text) for message in messages]
    if cfg.llm.samples > 1:
        yield await _drawn(backend.endpoint, cfg.llm, messages, sources, reply)
        return
    async with aclosing(chat.stream(backend.endpoint, cfg.llm, messages)) as pieces:
        async for piece in without_refusal(answering(pieces, reply)):
            yield piece


async def _drawn(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", sources: Sequence[Source], reply: "Reply"
) -> str:
    """Of several answers, written at once, the one that most agree with. Raises `ModelError` where one fails."""

    async def one(n: int) -> Reply:
        own = Reply()
        async with aclosing(chat.stream(endpoint, settings_of(cfg, n), messages)) as pieces:
            async for piece in without_refusal(answering(pieces, own)):
                own.text = "" if isinstance(piece, Anew) else own.text + piece
        return own

    drawing = [asyncio.create_task(one(n)) for n in range(cfg.samples)]
    try:
        replies = await asyncio.gather(*drawing)
    finally:
        for task in drawing:
            task.cancel()
    texts = [own.text.strip() for own in replies]
    best, agreement = await asyncio.to_thread(agreed, texts, sources)
    chosen = replies[best]
    reply.finish, reply.thoughts = chosen.finish, f"{chosen.thoughts.strip()}\n\n{not_chosen(texts, best, agreement)}"
    return chosen.text


def _extract(index: Index, query: str, sources: Sequence[Source]) -> str:
    embedder, idf = index.embedder, index.idf(keywords(query))
    if not embedder.read([query])[0].readable:
        return extractive.extract(query, sources, idf)
    vector = index.vector(query)
    floor, lifts = index.background.of(vector), index.background.lifts(vector)

    def likeness(texts: Sequence[str]) -> list[float]:
        known = [reading.readable for reading in embedder.read(texts)]
        cosines = iter(embedder.embed_passages([text for text, one in zip(texts, known, strict=True) if one]) @ vector)
        return [
            float(next(cosines)) - floor + lifts.get(language(text), 0.0) if one else 0.0
            for text, one in zip(texts, known, strict=True)
        ]

    return extractive.extract(query, sources, idf, likeness)


@dataclass(slots=True)
class Reply:
    """What is known of a model's reply: the messages it was sent, its text so far, why it ended, what it thought."""

    sent: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    anew: bool = False  # the text so far is none of the answer's
    finish: str = "stop"
    thoughts: str = ""


async def noting(pieces: AsyncIterator[str | Anew], reply: Reply) -> AsyncIterator[str]:
    """The text up to where it begins anew, or to its end."""
    async for piece in pieces:
        if isinstance(piece, Anew):
            reply.anew = True
            return
        reply.text += piece
        yield piece


async def answering(pieces: AsyncIterator[chat.Piece], reply: Reply) -> AsyncIterator[str | Anew]:
    """What belongs to the answer; what else there is, is taken down."""
    async for piece in pieces:
        if isinstance(piece, Thought):
            reply.thoughts += piece.text
        elif isinstance(piece, chat.Finish):
            reply.finish = piece.reason
        else:
            yield piece


def noted(
    backend: Backend, cited: context.Cited, sources: Sequence[Source], finish: str, *, answered: bool, tongue: Tongue
) -> tuple[str, ...]:
    """What the reader of an answer should know of it."""
    marks, files = _citation_notes(cited, answered, tongue), _source_notes(cited, sources, tongue)
    return (*backend.notes, *marks, *files, *_finish_notes(finish, tongue))


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


async def without_refusal(pieces: AsyncIterator[str | Anew]) -> AsyncIterator[str | Anew]:
    """Pass pieces on, but hold back what may become NO_ANSWER; an answer that says it, and cites nothing, is empty."""
    said = held = ""
    async for piece in pieces:
        if isinstance(piece, Anew):
            said = held = ""
            yield piece
            continue
        held += piece
        if NO_ANSWER in held:
            before, _, held = held.partition(NO_ANSWER)
            if _CITED.search(said + before) is None:
                if said:
                    yield Anew()
                return
            held = before + held
        at = unfinished(held, [NO_ANSWER])
        ready, held = held[:at], held[at:]
        if not said and not ready.strip(_EMPHASIS):
            ready, held = "", ready + held
        if ready:
            said += ready
            yield ready
    if held:
        yield held


def _finish_notes(finish: str, tongue: Tongue) -> list[str]:
    if finish != "length":
        return []
    return [
        "回答达到 llm.max_tokens 的上限而中断。" if tongue == "zh"
        else "The answer was cut where it reached llm.max_tokens."
    ]  # fmt: skip
