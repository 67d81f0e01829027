"""Recipe: a question whose answer stands in several documents -> the passages of several searches, one after another.

plan (what to look up first) -> find -> read into notes, each with its passages -> what is missing -> find ..., at most
`retrieval.steps` searches; the answer is then written from the passages that notes were taken of, as any other.

The model replies in lines of plain text, which any server can do: notes, and as the last line what to do next.

    NOTE [3][4]: what these passages say that the question needs
    SEARCH: what to look up next                                        or: ENOUGH

Passages are data. Only the last line of a reply is searched for, as text and within what the question is searched in.
"""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from app.answering.find import Scope, Telling, find, quiet, rewritten_alone
from app.answering.packed import packed
from app.answering.plan import Plan, checked
from core.config import Config, RetrievalConfig
from core.errors import ModelError
from core.text import fold, well_formed
from core.types import Candidate, Hit, Query, Source, Trace, Turn
from llm import chat
from llm.endpoint import Endpoint
from prompts import context
from prompts.load import load
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import Result

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

NO_MODEL = "a search in steps needs a model, and none answers: searched once"
_LONGEST_QUERY, _LONGEST_NOTE = 300, 500  # characters
_MOST_NOTES = 20  # of one reply
_NUMBERS = re.compile(r"\d{1,4}")
_NOTE = re.compile(r"NOTES?\s*((?:[\[【]\s*\d{1,4}(?:\s*[,，、]\s*\d{1,4})*\s*[\]】][\s,，、]*)+)[:：]\s*(.*)")
_SEARCH = re.compile(r"SEARCH\s*[:：]\s*(.*)")
_ENOUGH = re.compile(r"ENOUGH\s*[.。]?")
_FRAME = re.compile(r"^(?:[-*•>]\s+|\d{1,2}[.)]\s+)?|\*\*|__|`")  # how models set a line off
_LOST = "not noted"  # of a passage that was found, and that the model took no note of


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: notes with the numbers of their passages, and what to search for; "": nothing more.

    `clear` is false where its last line says neither.
    """

    notes: tuple[tuple[tuple[int, ...], str], ...]
    wanted: str
    clear: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked up: the question as it stands alone, the passages that were kept, and in `thoughts` each search
    with its notes.
    """

    query: str
    result: Result
    thoughts: str = ""


@dataclass(slots=True)
class _Search:
    """One search: what it found, what of it is kept that was not before, and the notes on it."""

    query: str
    result: Result
    kept: Sequence[Hit] = ()
    notes: Sequence[tuple[str, str]] = ()  # where it stands, what it says


def read_reply(text: str, numbers: Collection[int]) -> Reading | None:
    r"""What a reply says of the passages with these numbers; None where it says nothing in the form asked for.

    A note that names none of them is left out, and so is a query that is too long to be one. What stands between the
    notes is passed over; a search that is not the last line is too: a passage that was copied may have written it.

    >>> read_reply("NOTE [2]: Ms Li leads it\nSEARCH: phone of Ms Li", {1, 2})
    Reading(notes=(((2,), 'Ms Li leads it'),), wanted='phone of Ms Li', clear=True)
    """
    lines = [line for raw in text.splitlines() if (line := _FRAME.sub("", raw.strip()).strip())]
    notes = []
    for line in lines:
        if match := _NOTE.fullmatch(line):
            named = tuple(dict.fromkeys(n for n in map(int, _NUMBERS.findall(match[1])) if n in numbers))
            if named and match[2].strip():
                notes.append((named, context.shortened(_line(match[2]), _LONGEST_NOTE)))
    wanted = query_of(text)
    clear = bool(wanted) or bool(lines and _ENOUGH.fullmatch(lines[-1]))
    return Reading(tuple(notes[:_MOST_NOTES]), wanted, clear) if notes or clear else None


def query_of(text: str) -> str:
    """What the last line of a reply says to search for; "" where it says nothing that can be."""
    last = next((line for raw in reversed(text.splitlines()) if (line := _FRAME.sub("", raw.strip()).strip())), "")
    match = _SEARCH.fullmatch(last)
    query = _line(match[1]).strip("\"'“”‘’「」 ") if match else ""
    return query if len(query) <= _LONGEST_QUERY and any(map(str.isalnum, query)) else ""


def _line(text: str) -> str:
    return " ".join(well_formed(text).split())


async def look(
    index: Index, question: str, plan: Plan, history: Sequence[Turn] = (), where: Filter | None = None, *,
    also: Sequence[Scope] = (), told: Telling = quiet,
) -> Looked:  # fmt: skip
    """The passages for a question by several searches; by one as ever where the model plans none.

    A model that fails, is late or writes something else ends the search, and the trace's notes say so: what was found
    until then is kept. Raises what `find` raises.
    """
    question, cfg, endpoint = checked(question), plan.cfg, plan.backend.endpoint
    once = partial(find, index, question, plan, history, where, also=also, told=told)
    if endpoint is None:
        return _ordinary(*await once(), NO_MODEL)
    query = question
    if history:
        told("rewrite", 0)
        query = await rewritten_alone(question, history, cfg, endpoint)
    told("plan", 0)
    reply, trouble = await _asked(cfg, endpoint, "search_plan", query, {})
    wanted = query_of(reply)
    if not wanted:
        return _ordinary(*await once(), trouble or "the model wrote no usable plan: searched once, as asked")
    seeking = _Seeking(plan, endpoint, query, index, where, also, told)
    return await seeking.all(wanted)


def _ordinary(query: str, result: Result, note: str) -> Looked:
    trace = replace(result.trace, notes=(note, *result.trace.notes))
    return Looked(query, replace(result, trace=trace))


class _Seeking:
    """The searches of one question, one after another."""

    def __init__(
        self, plan: Plan, endpoint: Endpoint, query: str, index: Index, where: Filter | None, also: Sequence[Scope],
        told: Telling,
    ) -> None:  # fmt: skip
        # Its own queries stand in place of other wordings.
        alone = plan.cfg.retrieval.model_copy(update={"variants": 0})
        self._plan = replace(plan, cfg=plan.cfg.model_copy(update={"retrieval": alone}))
        self._cfg, self._endpoint, self._query = plan.cfg, endpoint, query
        self._index, self._where, self._also, self._told = index, where, also, told
        self._indexes = {index.name: index} | {other.name: other for other, _ in also}
        self._searches: list[_Search] = []
        self._kept: set[tuple[str, int]] = set()
        self._count = 0  # of the passages that were shown, which have one numbering
        self._notes: list[str] = []

    async def all(self, wanted: str) -> Looked:
        """Search until nothing is missing, or the searches are used up."""
        most = self._cfg.retrieval.steps
        while wanted and len(self._searches) < most:
            wanted = await self._next(wanted)
        if wanted:
            self._notes.append(f"the model would have searched further: retrieval.steps allows {most} searches")
        return self._looked()

    async def _next(self, wanted: str) -> str:
        """One search, read into notes; what to search for next, "" for nothing."""
        _, result = await find(
            self._index, wanted, self._plan, (), self._where, also=self._also, told=partial(self._told, text=wanted)
        )
        search = _Search(wanted, result)
        self._searches.append(search)
        new = [hit for hit in result.hits if (hit.kb, hit.chunk_id) not in self._kept]
        if not new and len(self._searches) == self._cfg.retrieval.steps:
            return ""  # nothing to read, and no search to plan
        room = await asyncio.to_thread(self._room)
        sources, _ = await asyncio.to_thread(packed, self._indexes, wanted, new, room)
        sources = tuple(replace(source, n=self._count + source.n) for source in sources)
        self._count += len(sources)
        self._told("read", len(sources), wanted)
        reply, trouble = await _asked(
            self._cfg, self._endpoint, "search_next", self._query, self._values(context.render(sources))
        )
        reading = read_reply(reply, {source.n for source in sources})
        if reading is None:
            search.kept = new
            self._notes.append(trouble or "the model wrote no usable notes: what was found until then is used")
            return ""
        noted = {n for numbers, _ in reading.notes for n in numbers}
        search.kept = [hit for hit in new if any(_within(hit, s) for s in sources if s.n in noted)]
        self._kept |= {(hit.kb, hit.chunk_id) for hit in search.kept}
        places = {source.n: _place(source) for source in sources}
        search.notes = [(", ".join(places[n] for n in numbers), text) for numbers, text in reading.notes]
        if not reading.clear:
            self._notes.append("the model did not say what to search for next: what was found until then is used")
        if reading.wanted and fold(reading.wanted) in {fold(one.query) for one in self._searches}:
            self._notes.append("the model asked for the same search again: what was found until then is used")
            return ""
        return reading.wanted

    def _values(self, sources: str) -> dict[str, str]:
        tongue = context.reply_language(self._query)
        nothing = ("（没有新的段落）", "（暂无）") if tongue == "zh" else ("(no new passage)", "(none yet)")
        notes = [f"- {where}: {text}" for search in self._searches for where, text in search.notes]
        return {
            "sources": sources or nothing[0], "notes": "\n".join(notes) or nothing[1],
            "searched": "\n".join(f"- {search.query}" for search in self._searches),
        }  # fmt: skip

    def _room(self) -> RetrievalConfig:
        """The settings with room for no more passages than the model's context has beside the rest and the reply."""
        cfg, known = self._cfg, self._endpoint.context
        if not known:
            return cfg.retrieval
        rest = sum(
            context.estimate_tokens(m.text) for m in _messages(cfg, "search_next", self._query, self._values(""))
        )
        left = known - min(cfg.llm.max_tokens, known // 2) - rest
        return cfg.retrieval.model_copy(update={"context_tokens": max(min(cfg.retrieval.context_tokens, left), 1)})

    def _looked(self) -> Looked:
        kept = _in_turn([search.kept for search in self._searches])
        if not kept:  # no note of anything: what was found may still say that nothing answers
            kept = _in_turn([search.result.hits for search in self._searches])[: self._cfg.retrieval.k]
        hits = [replace(hit, rank=n) for n, hit in enumerate(kept, start=1)]
        lines = []
        for search in self._searches:
            lines += [f"SEARCH: {search.query}", *(f"- {where}: {text}" for where, text in search.notes)]
        trace = merged(self._query, [(s.query, s.result.trace) for s in self._searches], hits, bool(self._also))
        return Looked(self._query, Result(hits, replace(trace, notes=(*self._notes, *trace.notes))), "\n".join(lines))


def _in_turn(found: Sequence[Sequence[Hit]]) -> list[Hit]:
    """The hits of several searches, the best of each before the second of any; each once."""
    rows = [hit for row in zip_longest(*found) for hit in row if hit is not None]
    return list({(hit.kb, hit.chunk_id): hit for hit in reversed(rows)}.values())[::-1]


def _within(hit: Hit, source: Source) -> bool:
    return (hit.kb, hit.document_id) == (source.hit.kb, source.hit.document_id) and hit.text in source.text


def _place(source: Source) -> str:
    return f"{source.hit.path}, p. {source.hit.page}" if source.hit.page else source.hit.path


def merged(query: str, searches: Sequence[tuple[str, Trace]], hits: Sequence[Hit], several: bool) -> Trace:
    """The traces of several searches as one; the question, which none of them searched for, stands first.

    `several`: paths of candidates begin with their knowledge base.
    """
    ranks = {(hit.chunk_id, f"{hit.kb}/{hit.path}" if several else hit.path): hit.rank for hit in hits}
    queries, stages, notes = [Query(query, weight=0.0)], [], []
    rows: dict[tuple[int, str], Candidate] = {}
    for number, (wanted, trace) in enumerate(searches, start=1):
        first = len(queries)
        queries += [Query(wanted, "step"), *trace.queries[1:]]
        stages += [(f"{number}: {name}", ms) for name, ms in trace.stages]
        notes += trace.notes
        for row in trace.candidates:
            places = tuple(replace(place, query=first + place.query) for place in row.places)
            key = row.chunk_id, row.path
            before = rows.get(key)
            if before is None or row.fused > before.fused:
                rank = ranks.get(key)
                dropped = "" if rank else row.dropped or _LOST
                rows[key] = replace(
                    row, rank=rank, dropped=dropped, places=(*(before.places if before else ()), *places)
                )
            else:
                rows[key] = replace(before, places=(*before.places, *places))
    ordered = sorted(rows.values(), key=lambda row: (row.rank is None, row.rank or 0, -row.fused))
    return Trace(tuple(queries), tuple(ordered), tuple(stages), tuple(dict.fromkeys(notes)))


async def _asked(
    cfg: Config, endpoint: Endpoint, kind: str, question: str, values: Mapping[str, str]
) -> tuple[str, str]:
    """What the model replies, without its thoughts, and a note where it does not."""
    sure = cfg.llm.model_copy(update={"temperature": 0.0})
    messages = await asyncio.to_thread(_messages, cfg, kind, question, values)
    try:
        async with asyncio.timeout(cfg.retrieval.step_seconds):
            return await chat.whole(chat.stream(endpoint, sure, messages)), ""
    except TimeoutError:
        return "", f"the model took longer than {cfg.retrieval.step_seconds:g} s over a step of the search"
    except ModelError as error:
        return "", f"a step of the search failed: {error.message}"


def _messages(cfg: Config, kind: str, question: str, values: Mapping[str, str]) -> "list[BaseMessage]":
    prompts = cfg.prompts
    named = {
        "search_plan": (prompts.search_plan, prompts.search_plan_version),
        "search_next": (prompts.search_next, prompts.search_next_version),
    }[kind]
    return load(Path(prompts.library), *named).render(
        context.reply_language(question), {"question": question, **values}
    )
