"""The chat client: messages -> streamed text, from any OpenAI-compatible endpoint.

https://platform.openai.com/docs/api-reference/chat-streaming: server-sent events, one line of JSON each.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.config import LlmConfig
from core.errors import ModelError
from llm.endpoint import SERVERS, Endpoint, broke_off, certificates, garbled, is_local, late, refusal, unreachable

if TYPE_CHECKING:
    import aiohttp
    from langchain_core.messages import BaseMessage

_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})  # asked once more
_AGAIN_S = 0.5
# An answer is read once in so long for each that is under way: a read costs as much as fifty words, and what has come
# meanwhile is one piece. At most ten times as long, so that it still flows.
_READ_S = 0.01


async def stream(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None = None
) -> AsyncGenerator[str, None]:
    """Stream an answer piece by piece; closing the generator ends the request at the server.

    `form` is the API's `response_format`. What a reasoning model writes between <think> tags is left out. Of several
    addresses the least busy one is asked; another, where that one cannot be reached.
    Raises `ModelError` for a server that is down, slow, refuses, is out of context or breaks off.
    """
    urls = (endpoint.base_url, *endpoint.others)
    while True:
        with SERVERS.least_busy(urls) as url:
            try:
                async with aclosing(_stream_from(replace(endpoint, base_url=url), cfg, messages, form)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except _Unreachable as error:
                SERVERS.leave_out(url)
                urls = tuple(other for other in urls if other != url)
                if not urls:
                    raise unreachable(url, str(error)) from None
            except ModelError:
                SERVERS.forget(url)
                raise


class _Unreachable(Exception):
    """No answer was begun, because there is no connection."""


async def _stream_from(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None
) -> AsyncGenerator[str, None]:
    finish = ""
    async with aclosing(_pieces(endpoint, cfg, _body(endpoint, cfg, messages, form))) as pieces:
        async for piece in _without_thinking(pieces):
            if isinstance(piece, _Finish):
                finish = piece.reason
            else:
                yield piece
    if not finish:
        raise broke_off(endpoint.base_url)
    if finish == "length":
        yield " …"


def _body(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None
) -> dict[str, Any]:
    """The request. What a server other than vLLM may not know is sent only where it changes anything."""
    from langchain_core.messages import convert_to_openai_messages

    # OpenAI's own models refuse the name that all other servers know.
    limit = "max_completion_tokens" if urlsplit(endpoint.base_url).hostname == "api.openai.com" else "max_tokens"
    body: dict[str, Any] = {
        "model": endpoint.model, "messages": convert_to_openai_messages(messages), "stream": True,
        "temperature": cfg.temperature, "top_p": cfg.top_p, limit: cfg.max_tokens,
    }  # fmt: skip
    if cfg.seed >= 0:
        body["seed"] = cfg.seed
    if cfg.top_k > 0:
        body["top_k"] = cfg.top_k
    if cfg.repetition_penalty != 1.0:
        body["repetition_penalty"] = cfg.repetition_penalty
    return body | ({"response_format": form} if form else {})


async def _begun(
    endpoint: Endpoint, session: "aiohttp.ClientSession", body: dict[str, Any]
) -> "aiohttp.ClientResponse":
    """The beginning of an answer; a server that is too busy is asked twice. Raises `ModelError` where it refuses."""
    url = endpoint.base_url.rstrip("/") + "/chat/completions"
    headers = {"Authorization": f"Bearer {endpoint.api_key or 'none'}"}
    response = await session.post(url, json=body, headers=headers)
    if response.status in _AGAIN:
        response.close()
        await asyncio.sleep(_AGAIN_S)
        response = await session.post(url, json=body, headers=headers)
    if response.status != HTTPStatus.OK:
        raise refusal(endpoint, response.status, _json(await response.read()))
    return response


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Finish:
    reason: str


async def _pieces(endpoint: Endpoint, cfg: LlmConfig, body: dict[str, Any]) -> AsyncGenerator[str | _Finish, None]:
    """The text of the events as they come, those of one read together; then why it ended.

    Over aiohttp, which gives all that has come at once, at a fifth of httpx's time for each event.
    """
    import aiohttp

    url, rest, finish, begun = endpoint.base_url, b"", "", False
    waits = aiohttp.ClientTimeout(total=None, sock_connect=cfg.timeout_s, sock_read=cfg.timeout_s)
    connector = aiohttp.TCPConnector(ssl=certificates()) if url.startswith("https:") else None
    try:
        async with (
            aiohttp.ClientSession(timeout=waits, trust_env=not is_local(url), connector=connector) as session,
            await _begun(endpoint, session, body) as response,
        ):
            begun = True
            while data := await _read(response):
                *lines, rest = (rest + data).split(b"\n")
                SERVERS.heard(url)
                text, reason, bad = _read_events(lines)
                finish = reason or finish
                if text:
                    yield text
                if bad:
                    raise garbled(url, bad)
                if text and not finish:
                    await _unread(response, _READ_S * min(SERVERS.writing, 10))
    except TimeoutError:
        raise late(url, cfg.timeout_s) from None
    except aiohttp.ClientError as error:
        raise (broke_off(url) if begun else _Unreachable(str(error))) from error
    if finish:
        yield _Finish(finish)


async def _read(response: "aiohttp.ClientResponse") -> bytes:
    """All that has come, b"" at the end; of a connection that broke first what it had brought, which aiohttp drops."""
    import aiohttp

    try:
        return await response.content.readany()
    except aiohttp.ClientError:
        if data := response.content._read_nowait(-1):
            return data
        raise


async def _unread(response: "aiohttp.ClientResponse", seconds: float) -> None:
    """Leave what comes meanwhile in the socket, where it costs nothing until it is read at once."""
    transport = response.connection.transport if response.connection else None
    if transport and not transport.is_closing():  # uvloop raises where it is
        transport.pause_reading()
    await asyncio.sleep(seconds)
    if transport and not transport.is_closing():
        transport.resume_reading()


def _read_events(lines: Iterable[bytes]) -> tuple[str, str, str]:
    """The text of events, why the answer ends with them, what is no part of an answer; each "" where there is none."""
    text = finish = ""
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"data" and value.strip() != b"[DONE]":
            try:
                more, reason = _read_event(value)
            except ValueError as error:
                return text, finish, str(error)
            text, finish = text + more, reason or finish
    return text, finish, ""


def _read_event(data: bytes) -> tuple[str, str]:
    """The text of one event and its reason to end, "" where it has none. Raises `ValueError` for another form."""
    try:
        event = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    match event:
        case {"choices": []}:
            return "", ""
        case {"choices": [{"delta": {"content": str(text)}, **choice}, *_]}:
            pass
        case {"choices": [{"delta": {**delta}, **choice}, *_]} if delta.get("content") is None:
            text = ""
        case {"error": {"message": str(message)}}:
            raise ValueError(message or "an error without a message")
        case _:
            raise ValueError(data.decode(errors="replace").strip())
    reason = choice.get("finish_reason")
    return text.encode(errors="replace").decode(), reason if isinstance(reason, str) else ""  # no half surrogate pairs


async def _without_thinking(pieces: AsyncIterator[str | _Finish]) -> AsyncIterator[str | _Finish]:
    held, state = "", "start"
    async for piece in pieces:
        if isinstance(piece, _Finish):
            if state == "start" and held:
                yield held
            yield piece
            return
        if state == "answer":
            yield piece
            continue
        held += piece
        if state == "start" and not _THINK_OPEN.startswith(held.lstrip()[: len(_THINK_OPEN)]):
            state = "answer"
            yield held
        elif _THINK_CLOSE in held:
            state = "answer"
            if rest := held.partition(_THINK_CLOSE)[2].lstrip():
                yield rest
        elif held.lstrip().startswith(_THINK_OPEN):
            state = "thinking"


async def ask_json(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", name: str, schema: dict[str, Any]
) -> Any:
    """A reply in the form of a JSON schema; servers that cannot hold a model to one are asked without.

    Raises `ModelError` as `stream` does, and where the reply is no JSON.
    """
    held = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
    try:
        text = await _whole(stream(endpoint, cfg, messages, held))
    except ModelError as error:
        if error.retryable:
            raise
        text = await _whole(stream(endpoint, cfg, messages))
    try:
        return read_json(text)
    except ValueError:
        raise ModelError(
            f"the model replied with {text[:80]!r} where JSON was asked for", "try a larger model"
        ) from None


def read_json(reply: str) -> Any:
    """The JSON of a model's reply, fenced or not. Raises `ValueError` where it is none, or its text is no Unicode."""
    try:
        value = json.loads(_FENCE.sub("", reply.strip()))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


async def _whole(pieces: AsyncGenerator[str, None]) -> str:
    async with aclosing(pieces):
        return "".join([piece async for piece in pieces])
