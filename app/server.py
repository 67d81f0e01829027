"""The HTTP surface: an OpenAI-compatible API over the knowledge bases, /healthz, and the UI mounted beside it."""

import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.answer import Done, Text, answer
from app.bases import State
from app.watch import follow
from core.config import Config, Settings
from core.errors import CatalogError, ConfigError, RagstoneError
from core.types import Answer, Trace, Turn
from llm.chat import load_client
from llm.supervise import Supervisor
from retrieval.filters import Filter

log = logging.getLogger(__name__)

_TRACED = 20  # candidates of a trace that a reply carries

# The UI's own scripts and styles are inline; nothing is ever fetched from another host.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = ((b"content-security-policy", _CSP.encode()), (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"))  # fmt: skip


class _Part(BaseModel):
    type: str
    text: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: str
    content: str | list[_Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class _Filter(BaseModel):
    """What the search is limited to, as `retrieval.filters.Filter` has it."""

    model_config = ConfigDict(extra="forbid")

    paths: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


class _Extension(BaseModel):
    """What a request may say beyond the OpenAI form."""

    model_config = ConfigDict(extra="forbid")

    filter: _Filter = _Filter()


class ChatRequest(BaseModel):
    """The fields of an OpenAI chat completion, and vLLM's own, that mean something here; others are ignored."""

    model_config = ConfigDict(extra="ignore")
    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    seed: int | None = Field(None, ge=0, lt=2**63)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    ragstone: _Extension | None = None


def build(state: State) -> FastAPI:
    """The API: /healthz, /v1/models, /v1/chat/completions."""
    api = FastAPI(title="Ragstone", docs_url=None, redoc_url=None, openapi_url=None)

    @api.get("/healthz")
    def healthz() -> JSONResponse:
        if state.failure:
            return JSONResponse({"status": "failed", "error": str(state.failure)}, 500)
        ready = state.ready.is_set()
        served = {"vllm": [replica.state for replica in state.vllm.status().replicas]} if state.vllm else {}
        return JSONResponse({"status": "ok" if ready else "starting"} | served, 200 if ready else 503)

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        rows = [{"id": n, "object": "model", "created": 0, "owned_by": "ragstone"} for n in state.bases.names()]
        return {"object": "list", "data": rows}

    @api.post("/v1/chat/completions", response_model=None)
    async def completions(request: ChatRequest) -> JSONResponse | StreamingResponse:
        index = state.bases.get(request.model)
        *earlier, last = request.messages
        if last.role != "user" or not last.text().strip():
            raise RequestValidationError([{"loc": ("messages",), "msg": "the last message must be a user's question"}])
        history = [Turn(_role(m.role), m.text()) for m in earlier if m.role in ("user", "assistant")]
        where = _where(request.ragstone)
        events = answer(index, last.text(), _sampled(state.cfg, request), history, where=where)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}
        if request.stream:
            return StreamingResponse(_sse(events, head), media_type="text/event-stream")
        done = await _last(events)
        message = {"role": "assistant", "content": done.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        body = head | {"object": "chat.completion", "choices": [choice], "usage": usage, "ragstone": extension(done)}
        return JSONResponse(body)

    @api.exception_handler(RagstoneError)
    def failed(_: Request, error: RagstoneError) -> JSONResponse:
        status = 404 if isinstance(error, CatalogError) else 500 if isinstance(error, ConfigError) else 502
        return JSONResponse(_error(error), status)

    @api.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        body = {"message": f"{where}: {first['msg']}", "type": "invalid_request_error", "param": where, "code": None}
        return JSONResponse({"error": body}, 400)

    api.add_middleware(_SecurityHeaders)
    return api


def _where(asked: _Extension | None) -> Filter | None:
    try:
        return Filter(**asked.filter.model_dump()) if asked else None
    except ConfigError as error:
        raise RequestValidationError([{"loc": ("ragstone", "filter"), "msg": str(error)}]) from None


def extension(done: Answer) -> dict[str, Any]:
    """What an answer carries beyond the OpenAI form: citations, whether it was answered, who wrote it."""
    citations = [{"n": c.n, "path": c.path, "page": c.page, "quote": c.quote} for c in done.citations]
    return {
        "answered": done.answered, "citations": citations, "backend": done.backend, "model": done.model,
        "query": done.query, "notes": list(done.notes), "trace": _trace(done.trace),
    }  # fmt: skip


def _trace(trace: Trace) -> dict[str, Any]:
    return asdict(replace(trace, candidates=trace.candidates[:_TRACED]))


async def _last(events: AsyncIterator[Any]) -> Answer:
    async for event in events:
        if isinstance(event, Done):
            return event.answer
    raise ValueError("an answer stream ended without its answer")


async def _sse(events: Any, head: dict[str, Any]) -> AsyncIterator[str]:
    """Server-sent events of a streamed answer; when the client leaves, the generator and the request are closed."""

    def event(delta: dict[str, Any], finish: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = head | {"object": "chat.completion.chunk", "choices": [choice]} | more
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    yield event({"role": "assistant", "content": ""})
    try:
        async with aclosing(events) as stream:
            async for item in stream:
                if isinstance(item, Text):
                    yield event({"content": item.delta})
                elif isinstance(item, Done):
                    yield event({}, "stop", ragstone=extension(item.answer))
    except RagstoneError as error:
        yield f"data: {json.dumps(_error(error), ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


def _error(error: RagstoneError) -> dict[str, Any]:
    return {"error": {"message": str(error), "type": type(error).__name__, "param": None, "code": None}}


def _role(role: str) -> Literal["user", "assistant"]:
    return "user" if role == "user" else "assistant"


def _sampled(cfg: Config, request: ChatRequest) -> Config:
    """The configuration with the request's own sampling settings."""
    asked = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "repetition_penalty": request.repetition_penalty,
        "seed": request.seed,
        "max_tokens": request.max_completion_tokens or request.max_tokens,
    }
    update = {key: value for key, value in asked.items() if value is not None}
    return cfg.model_copy(update={"llm": cfg.llm.model_copy(update=update)}) if update else cfg


class _SecurityHeaders:
    """Adds the content security policy to every response; plain ASGI, so that streams are not buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def run(settings: Settings, kb: str, port: int, *, with_ui: bool, watch: bool = False) -> None:
    """Serve until interrupted; `watch` keeps the knowledge base in step with its folders meanwhile.

    Raises `ConfigError` for a taken port, `ModelError` where vLLM does not start.
    """
    state = State(settings)
    host = settings.config.app.host
    _check_port(host, port)
    if not with_ui:
        _start_vllm(state)
        if state.failure:
            raise state.failure
    app: Any = build(state)
    if with_ui:
        from app.ui.page import mount

        app = mount(app, state, kb)
    threading.Thread(target=_prepare, args=(state, kb, with_ui), daemon=True, name="prepare").start()
    print(f"Ragstone {'UI' if with_ui else 'API'} on http://{host}:{port}  (Ctrl-C ends)", flush=True)  # noqa: T201
    stop = threading.Event()
    if watch:
        threading.Thread(target=_follow, args=(state, kb, stop), daemon=True, name="watch").start()
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3)
    finally:
        stop.set()
        if state.vllm:
            state.vllm.stop()


def _prepare(state: State, kb: str, with_ui: bool) -> None:
    load_client()  # takes seconds, which the first answer should not wait for
    try:
        state.bases.warm_up(kb)
        state.ready.set()
        if with_ui:
            _start_vllm(state)
    except RagstoneError as error:
        log.error("%s", error)
        state.failure = error


def _follow(state: State, kb: str, stop: threading.Event) -> None:
    try:
        for report in follow(state.bases.get(kb), state.cfg.ingest, stop):
            log.info("watch added=%d changed=%d deleted=%d", report.added, report.changed, report.deleted)
            for failure in report.failed:
                log.warning("%s: %s", failure.path, failure.error)
    except RagstoneError as error:
        log.error("watching ended: %s", error)


def _start_vllm(state: State) -> None:
    """Start the configured model, unless an endpoint is configured to be used instead."""
    cfg = state.cfg.llm
    if not cfg.vllm_model or cfg.backend not in ("auto", "vllm"):
        return

    def note(line: str) -> None:
        state.vllm_status = line
        print(line, flush=True)  # noqa: T201

    try:
        state.vllm = Supervisor.start(cfg, Path(state.cfg.app.data) / "logs" / "vllm.log", note)
        state.vllm_status = ""
    except RagstoneError as error:
        state.vllm_status = str(error)
        log.error("%s", error)
        state.failure = error if cfg.backend == "vllm" else None


def _check_port(host: str, port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used: {error.strerror}", "end the other program, or choose another --port"
            ) from None
