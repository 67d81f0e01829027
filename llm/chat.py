"""The chat client: messages -> streamed text, from any OpenAI-compatible endpoint, or a chat model of LangChain.

https://platform.openai.com/docs/api-reference/chat-streaming: server-sent events, one line of JSON each.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from core.config import LlmConfig
from core.errors import ModelError
from llm import plugged
from llm.endpoint import (
    SERVERS,
    Endpoint,
    about_length,
    broke_off,
    certificates,
    garbled,
    is_local,
    late,
    no_answer,
    refusal,
    unreachable,
)
from llm.sampling import sampling, without_idle
from llm.thinking import Anew, Splitter, Thought, thinks_first

if TYPE_CHECKING:
    import aiohttp
    from langchain_core.messages import BaseMessage

_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
_THOUGHTS = ("reasoning_content", "reasoning")  # where servers put thoughts beside the content
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})  # asked once more
_AGAIN_S = 0.5
_UNKNOWN_FIELD = frozenset({400, 422})  # how servers refuse a field that they do not know
# An answer is read once in so long for each that is under way: a read costs as much as fifty words, and what has come
# meanwhile is one piece. At most ten times as long, so that it still flows.
_READ_S = 0.01
_END_THOUGHTS_ALONE: set[tuple[str, str]] = set()  # (address, model) of those that did so last
_KNOW_LITTLE: set[tuple[str, str]] = set()  # (address, model) of those that refused what changes nothing


@dataclass(frozen=True, slots=True)
class Finish:
    """Why an answer ends, as its server says: "stop", "length", "content_filter" ..."""

    reason: str


Piece = str | Thought | Anew | Finish
Hearing = Callable[["list[BaseMessage]", str], None]  # what was asked; what was written, thoughts included
_HEARING: ContextVar[Hearing | None] = ContextVar("hearing", default=None)


@contextmanager
def heard(hearing: Hearing) -> Iterator[None]:
    """Tell of each request to a model that is made within, also in tasks that begin there, once it has ended."""
    before = _HEARING.set(hearing)
    try:
        yield
    finally:
        _HEARING.reset(before)


async def stream(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None = None
) -> AsyncGenerator[Piece, None]:
    """Stream an answer piece by piece, at its end a `Finish`; closing the generator ends the request at the server.

    `form` is the API's `response_format`, which a chat model of LangChain is not told. What a reasoning model thinks
    comes as `Thought`. Of several addresses the least busy one is asked; another, where that one cannot be reached.
    Raises `ModelError` for a server that is down, slow, refuses, is out of context, breaks off or writes no answer.
    """
    urls, hearing, said = (endpoint.base_url, *endpoint.others), _HEARING.get(), ""
    try:
        while True:
            with SERVERS.least_busy(urls) as url:
                try:
                    async with aclosing(_stream_from(replace(endpoint, base_url=url), cfg, messages, form)) as pieces:
                        async for piece in pieces:
                            if hearing and isinstance(piece, str | Thought):
                                said += piece if isinstance(piece, str) else piece.text
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
    finally:
        if hearing:
            hearing(messages, said)


async def whole(pieces: AsyncGenerator[Piece, None]) -> str:
    """All text of an answer. Raises as `stream` does."""
    text = ""
    async with aclosing(pieces):
        async for piece in pieces:
            text = joined(text, piece)
    return text


def joined(text: str, piece: Piece) -> str:
    """The text of an answer with its next piece."""
    if isinstance(piece, Anew):
        return ""
    return text + piece if isinstance(piece, str) else text


class _Unreachable(Exception):
    """No answer was begun, because there is no connection."""


async def _stream_from(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None
) -> AsyncGenerator[Piece, None]:
    served = (endpoint.base_url, endpoint.model)
    splitter = Splitter(served in _END_THOUGHTS_ALONE or thinks_first(endpoint.model))
    written = thought = False
    if plugged.is_plugged(endpoint):
        events = _of_model(endpoint, cfg, messages)
    else:
        events = _events(endpoint, cfg, _body(endpoint, cfg, messages, form))
    async with aclosing(_split(endpoint.base_url, events, splitter)) as pieces:
        async for piece in pieces:
            written = written or (isinstance(piece, str) and not piece.isspace())
            thought = thought or isinstance(piece, Thought)
            if isinstance(piece, Finish) and not piece.reason:
                raise broke_off(endpoint.base_url)
            if isinstance(piece, Finish) and not written:
                raise no_answer(endpoint.base_url, piece.reason, thought)
            yield piece
    (_END_THOUGHTS_ALONE.add if splitter.ended_alone else _END_THOUGHTS_ALONE.discard)(served)


async def _split(url: str, events: "AsyncGenerator[_Event, None]", splitter: Splitter) -> AsyncGenerator[Piece, None]:
    """Thoughts and answer, and at the end why it ended. Raises `ModelError` where something else came."""
    finish, done = "", False
    async with aclosing(events):
        async for event in events:
            finish, done = event.finish or finish, done or event.done
            if event.thought:
                for piece in splitter.plain():
                    yield piece
                yield Thought(event.thought)
            for piece in splitter.read(event.text):
                yield piece
            if event.bad:
                raise garbled(url, event.bad)
    for piece in splitter.rest():
        yield piece
    yield Finish(finish or ("stop" if done else ""))  # some servers tell no reason before the mark of the end


def _body(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None
) -> dict[str, Any]:
    """The request."""
    from langchain_core.messages import convert_to_openai_messages

    body: dict[str, Any] = {"model": endpoint.model, "messages": convert_to_openai_messages(messages), "stream": True}
    body |= sampling(cfg, endpoint.base_url)
    if (endpoint.base_url, endpoint.model) in _KNOW_LITTLE:
        body = without_idle(body)
    return body | ({"response_format": form} if form else {})


async def _begun(
    endpoint: Endpoint, session: "aiohttp.ClientSession", body: dict[str, Any]
) -> "aiohttp.ClientResponse":
    """The beginning of an answer; a server that is too busy is asked twice, and so is one that refuses a field that
    changes nothing. Raises `ModelError` where it refuses.
    """
    url = endpoint.base_url.rstrip("/") + "/chat/completions"
    headers = {"Authorization": f"Bearer {endpoint.api_key or 'none'}"}
    response = await session.post(url, json=body, headers=headers)
    if response.status in _AGAIN:
        response.close()
        await asyncio.sleep(_AGAIN_S)
        response = await session.post(url, json=body, headers=headers)
    plain = without_idle(body)
    if response.status in _UNKNOWN_FIELD and plain.keys() != body.keys():
        told = _json(await response.read())
        if about_length(told):
            raise refusal(endpoint, response.status, told)
        response = await session.post(url, json=plain, headers=headers)
        if response.status == HTTPStatus.OK:
            _KNOW_LITTLE.add((endpoint.base_url, endpoint.model))
    if response.status != HTTPStatus.OK:
        raise refusal(endpoint, response.status, _json(await response.read()))
    return response


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


@dataclass(slots=True)
class _Event:
    """What events bring: text, thoughts that the server tells apart, why the answer ends, the mark that it does; `bad`
    is no part of one.
    """

    text: str = ""
    thought: str = ""
    finish: str = ""
    done: bool = False
    bad: str = ""


async def _of_model(endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]") -> AsyncGenerator[_Event, None]:
    """What a chat model of LangChain brings; many of them say not why they end."""
    async with aclosing(plugged.said(endpoint, cfg, messages)) as pieces:
        async for text, thought, finish in pieces:
            yield _Event(_whole_text(text), _whole_text(thought), finish)
    yield _Event(done=True)


async def _events(endpoint: Endpoint, cfg: LlmConfig, body: dict[str, Any]) -> AsyncGenerator[_Event, None]:
    """What the events bring as they come, those of one read together.

    Over aiohttp, which gives all that has come at once, at a fifth of httpx's time for each event.
    """
    import aiohttp

    url, rest, begun, streams, ended = endpoint.base_url, b"", False, False, False
    waits = aiohttp.ClientTimeout(total=None, sock_connect=cfg.timeout_s, sock_read=cfg.timeout_s)
    connector = aiohttp.TCPConnector(ssl=certificates()) if url.startswith("https:") else None
    try:
        async with (
            aiohttp.ClientSession(timeout=waits, trust_env=not is_local(url), connector=connector) as session,
            await _begun(endpoint, session, body) as response,
        ):
            begun = True
            while data := await _read(response):
                rest += data
                streams = streams or rest.lstrip()[:1] not in (b"", b"{")
                if not streams:  # but comes whole, although a stream was asked for
                    continue
                *lines, rest = rest.split(b"\n")
                SERVERS.heard(url)
                event = _read_events(lines)
                ended = ended or event.done or bool(event.finish)
                yield event
                if event.text and not ended:
                    await _unread(response, _READ_S * min(SERVERS.writing, 10))
            if not streams and rest.strip():
                rest = b"data:" + rest
            yield _read_events([rest])
    except TimeoutError:
        raise late(url, cfg.timeout_s) from None
    except aiohttp.ClientError as error:
        raise (broke_off(url) if begun else _Unreachable(str(error))) from error


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


def _read_events(lines: Iterable[bytes]) -> _Event:
    """What several lines of a stream bring."""
    brought = _Event()
    for line in lines:
        name, _, value = line.partition(b":")
        if name != b"data":
            continue
        if value.strip() == b"[DONE]":
            brought.done = True
            break
        try:
            one = _read_event(value)
        except ValueError as error:
            brought.bad = str(error)
            break
        brought.text, brought.thought = brought.text + one.text, brought.thought + one.thought
        brought.finish = one.finish or brought.finish
    return brought


def _read_event(data: bytes) -> _Event:
    """What one event brings, of a stream or of an answer that comes whole. Raises `ValueError` for another form."""
    try:
        event = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    choice: Any = None
    match event:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            raise ValueError(message or "an error without a message")
        case {"choices": [] | None} | {"usage": _} if not event.get("choices"):
            return _Event()
        case {"choices": [{**choice}, *_]}:
            pass
    said = (choice.get("delta") or choice.get("message") or {}) if isinstance(choice, dict) else None
    if not isinstance(said, dict):
        raise ValueError(data.decode(errors="replace").strip())
    text, thought = _content(said.get("content"))
    thought += next((told for key in _THOUGHTS if isinstance(told := said.get(key), str)), "")
    reason = choice.get("finish_reason")
    return _Event(_whole_text(text), _whole_text(thought), reason if isinstance(reason, str) else "")


def _content(content: Any) -> tuple[str, str]:
    """The text and the thoughts of a content, which is text or a list of parts. Raises `ValueError`."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise ValueError(f"a content is text, not {content!r:.80}")
    text = thought = ""
    for part in content:
        match part:
            case str() | {"type": "text", "text": str()}:
                text += part if isinstance(part, str) else part["text"]
            case {"type": "thinking", "thinking": told}:
                thought += _content(told)[0]
    return text, thought


def _whole_text(text: str) -> str:
    return text.encode(errors="replace").decode()  # no half surrogate pairs


async def ask_json(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", name: str, schema: dict[str, Any]
) -> Any:
    """A reply in the form of a JSON schema; servers that cannot hold a model to one are asked without.

    Raises `ModelError` as `stream` does, and where the reply is no JSON.
    """
    held = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
    try:
        text = await whole(stream(endpoint, cfg, messages, held))
    except ModelError as error:
        if error.retryable:
            raise
        text = await whole(stream(endpoint, cfg, messages))
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
