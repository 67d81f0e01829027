"""The OpenAI-compatible API over the knowledge bases: each is a model, which answers from its documents."""

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import asdict, replace
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.answering.answer import Done, Event, Text, answer
from app.answering.backend import EXTRACTIVE
from app.answering.chores import Chore, carry_out, chore
from app.answering.find import Scope as Place
from app.answering.plan import LONGEST_QUESTION, Manner, Plan, in_steps, planned
from app.http.openai_form import ChatRequest, Cut, error_body
from app.http.visit import LEFT, no_model, visitor, while_there
from app.running.bases import State
from app.running.limits import LimitError, caller
from app.running.standing import guarded
from core.errors import AccessError, AwayError, CatalogError, ConfigError, RagstoneError
from core.types import Answer, Trace, Turn
from prompts.context import estimate_tokens
from retrieval.filters import Filter

_TRACED = 20  # candidates of a trace that a reply carries


def add_openai(api: FastAPI, state: State) -> None:
    """/v1/models and /v1/chat/completions, and OpenAI's form for errors."""

    @api.get("/v1/models")
    def models(request: Request) -> dict[str, Any]:
        user = state.users.of(request)
        return {"object": "list", "data": [_model(name) for name in user.seen(state.bases.names())]}

    @api.get("/v1/models/{name}", response_model=None)
    def model(name: str, request: Request) -> dict[str, Any] | JSONResponse:
        known = state.users.of(request).seen(state.bases.names())
        return _model(name) if name in known else no_model(name)

    @api.post("/v1/chat/completions", response_model=None)
    async def completions(asked: ChatRequest, request: Request) -> Response:
        user, known = await run_in_threadpool(visitor, state, request)
        names = dict.fromkeys([asked.model, *(asked.ragstone.also if asked.ragstone else ())])
        if absent := [name for name in names if name not in known]:
            return no_model(absent[0])
        beside = chore([(message.role, message.text()) for message in asked.messages])
        _check(asked, beside)
        where = _where(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
        with ExitStack() as until:
            until.enter_context(state.limits.admit(caller(request, user.id)))
            index, *more = [await asyncio.to_thread(state.bases.get, name) for name in names]
            plan = await planned(state.cfg, index.home, _manner(asked))  # what fails here has a status of its own
            if not beside:  # what a front end asks about its own conversation is no question of a person
                await asyncio.to_thread(state.usage.count, user.id, "api", names)
            if beside:
                events = await _carried_out(beside, plan, asked)
            else:
                events = _answered(asked, plan, [(base, where) for base in (index, *more)])
            events = guarded(state, request, user.id, {name: known[name] for name in names}, events)
            if asked.stream:
                return _Stream(_sse(events, head, asked), events, until.pop_all())
            done = await while_there(request, _last(events))
        if done is None:
            return Response(status_code=LEFT)
        cut = Cut(asked.stops())
        message = {"role": "assistant", "content": cut.feed(done.text) + cut.rest(), "refusal": None}
        finish = "stop" if cut.over else done.finish
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        body = {"object": "chat.completion", "choices": [choice], "usage": _usage(asked, done)}
        return JSONResponse(head | body | {"ragstone": _extension(asked, done)})

    @api.api_route("/v1/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(rest: str, request: Request) -> JSONResponse:
        return JSONResponse(error_body(404, f"there is no {request.method} /v1/{rest}"), 404)

    _add_errors(api)


def _add_errors(api: FastAPI) -> None:
    @api.exception_handler(RagstoneError)
    def failed(_: Request, error: RagstoneError) -> JSONResponse:
        headers = {"retry-after": str(math.ceil(error.retry_after_s))} if isinstance(error, LimitError) else {}
        return JSONResponse(error_body(_status(error), str(error)), _status(error), headers)

    @api.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        why = first["msg"].removeprefix("Value error, ")
        return JSONResponse(error_body(400, f"{where}: {why}", param=where), 400)

    @api.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)

    @api.exception_handler(Exception)
    def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(500, f"{type(error).__name__}: see the app's log"), 500)


def extension(done: Answer) -> dict[str, Any]:
    """What an answer carries beyond the OpenAI form: citations, whether it was answered, who wrote it."""
    home = {source.n: source.hit.kb for source in done.sources}
    citations = [
        {"n": c.n, "kb": home[c.n], "path": c.path, "page": c.page, "quote": c.quote}
        | ({"url": c.url} if c.url else {})
        for c in done.citations
    ]
    return {
        "answered": done.answered, "citations": citations, "backend": done.backend, "model": done.model,
        "query": done.query, "notes": list(done.notes), "trace": _trace(done.trace),
    }  # fmt: skip


def _extension(asked: ChatRequest, done: Answer) -> dict[str, Any]:
    told = extension(done)
    by_model = done.backend != EXTRACTIVE.name
    if unheard := ", ".join(asked.unheard(by_model)):
        why = "this API does not know it" if by_model else "no model writes this answer"
        told["notes"].append(f"without effect, because {why}: {unheard}"[:500])
    return told


def _answered(asked: ChatRequest, plan: Plan, places: Sequence[Place]) -> AsyncGenerator[Event, None]:
    """The answer to the question that a conversation ends with."""
    *earlier, last = asked.said()
    history = [Turn(_role(m.role), m.text()) for m in earlier]
    (index, where), *also = places
    return answer(index, last.text(), plan, history, where, also=also)


async def _carried_out(beside: Chore, plan: Plan, asked: ChatRequest) -> AsyncGenerator[Event, None]:
    if plan.backend.endpoint is None and beside.plainly() is None:
        why = "this prompt about a conversation needs a model to be carried out, and none is configured"
        raise RequestValidationError([{"loc": ("messages",), "msg": why}])
    return carry_out(beside, plan.cfg, plan.backend, asked.form())


def _check(asked: ChatRequest, beside: Chore | None) -> None:
    """Refuse what asks for something else than an answer in plain text to a user's question, or than a chore."""
    refused = asked.refused()
    if beside and refused is None:
        return
    if refused is None and asked.form():
        refused = "response_format", "answers are plain text with citations; leave it out, or send {'type': 'text'}"
    said = asked.said()
    if refused is None and (not said or said[-1].role != "user" or not said[-1].text().strip()):
        refused = "messages", "the last message must be a user's question"
    if refused is None and len(said[-1].text()) > LONGEST_QUESTION:
        refused = "messages", f"a question has at most {LONGEST_QUESTION} characters"
    if refused:
        raise RequestValidationError([{"loc": (refused[0],), "msg": refused[1]}])


def _status(error: RagstoneError) -> int:
    if isinstance(error, LimitError):
        return 429
    if isinstance(error, AccessError):
        return 403
    if isinstance(error, AwayError):
        return 503
    return 404 if isinstance(error, CatalogError) else 500 if isinstance(error, ConfigError) else 502


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ragstone"}


def _where(asked: ChatRequest) -> Filter | None:
    try:
        return Filter(**asked.ragstone.filter.model_dump()) if asked.ragstone else None
    except ConfigError as error:
        raise RequestValidationError([{"loc": ("ragstone", "filter"), "msg": str(error)}]) from None


def _usage(asked: ChatRequest, done: Answer) -> dict[str, int]:
    """An estimate: the prompt as the model was sent it (without one: the conversation), and the answer."""
    sent = [text for _, text in done.prompt] or [message.text() for message in asked.messages]
    prompt, written = sum(map(estimate_tokens, sent)), estimate_tokens(done.text)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _trace(trace: Trace) -> dict[str, Any]:
    return asdict(replace(trace, candidates=trace.candidates[:_TRACED]))


class _Stream(StreamingResponse):
    """A streamed answer. However it ends, even before its first byte, its events are closed and what `until` holds."""

    def __init__(self, body: AsyncIterator[str], events: AsyncGenerator[Event, None], until: ExitStack) -> None:
        super().__init__(body, media_type="text/event-stream")
        self._events, self._until = events, until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._until:
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)


async def _last(events: AsyncGenerator[Event, None]) -> Answer:
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, Done):
                return event.answer
    raise ValueError("an answer stream ended without its answer")


async def _sse(events: AsyncGenerator[Event, None], head: dict[str, Any], asked: ChatRequest) -> AsyncIterator[str]:
    """Server-sent events of a streamed answer."""
    usage: dict[str, Any] = {"usage": None} if asked.wants_usage() else {}

    def event(delta: dict[str, Any] | None, finish: str | None = None, **more: object) -> str:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        body = head | {"object": "chat.completion.chunk", "choices": choices} | usage | more
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    yield event({"role": "assistant", "content": ""})
    cut = Cut(asked.stops())
    try:
        async for item in events:
            if isinstance(item, Text) and (shown := cut.feed(item.delta)):
                yield event({"content": shown})
            elif isinstance(item, Done):
                if rest := cut.rest():
                    yield event({"content": rest})
                finish = "stop" if cut.over else item.answer.finish
                yield event({}, finish, ragstone=_extension(asked, item.answer))
                if usage:
                    yield event(None, usage=_usage(asked, item.answer))
    except RagstoneError as error:
        yield f"data: {json.dumps(error_body(_status(error), str(error)), ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


def _role(role: str) -> Literal["user", "assistant"]:
    return "user" if role == "user" else "assistant"


def _manner(asked: ChatRequest) -> Manner:
    """What a request says of how it is answered: its instructions, its own sampling, the searches it allows."""
    told = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "repetition_penalty": asked.repetition_penalty,
        "seed": asked.seed,
        "max_tokens": asked.max_completion_tokens or asked.max_tokens,
    }
    llm = {key: value for key, value in told.items() if value is not None}
    steps = asked.ragstone.steps if asked.ragstone else None
    return replace(in_steps(steps), instructions=asked.instructions(), llm=llm)
