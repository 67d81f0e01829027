"""A page's stream does not end between two events that follow each other, whichever of its messages comes first."""

import asyncio
import json
from typing import Any

import pytest

from app.http import streams
from app.http.streams import Streams

SCOPE: dict[str, Any] = {"type": "http"}


class Inner:
    """As Gradio does it: a stream gives what waits, and ends when nothing is under way."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self.streams = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("join"):
            self.waiting.put_nowait(scope["join"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        self.streams += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        message = await self.waiting.get()
        await send({"type": "http.response.body", "body": b"data: " + message + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b'data: {"msg":"close_stream"}\n\n', "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def nothing() -> Any:
    await asyncio.Event().wait()


def said(name: str) -> bytes:
    return json.dumps({"msg": "process_completed", "output": name}, separators=(",", ":")).encode()


def test_an_event_that_follows_comes_in_the_same_stream_and_the_stream_ends_once_all_is_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_HELD_S", 0.2)
    seen: list[dict[str, Any]] = []

    async def run() -> None:
        inner = Inner()
        both, first = Streams(inner), asyncio.Event()

        async def send(message: Any) -> None:
            seen.append(message)
            if b'"one"' in message.get("body", b""):
                first.set()

        async def drop(message: Any) -> None: ...

        stream = asyncio.create_task(both.stream("s", SCOPE, nothing, send))
        await both.join("s", SCOPE | {"join": said("one")}, nothing, drop)
        await first.wait()
        await asyncio.sleep(0)  # the stream is at its end
        await both.join("s", SCOPE | {"join": said('"close_stream"')}, nothing, drop)
        await asyncio.wait_for(stream, 30)
        assert inner.streams == 2

    asyncio.run(run())
    assert [m["type"] for m in seen].count("http.response.start") == 1
    bodies = [m["body"] for m in seen[1:]]
    assert [b"process_completed" in body for body in bodies] == [True, True, False, False]
    assert b'"msg":"close_stream"' in bodies[2]
    assert not seen[-1].get("more_body")


def test_an_event_just_after_the_end_is_answered_when_the_end_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_HELD_S", 0.01)
    waited: list[float] = []

    async def slept(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        inner = Inner()
        both = Streams(inner)
        inner.waiting.put_nowait(said("one"))
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await both.stream("s", SCOPE, nothing, send)
        monkeypatch.setattr(streams.asyncio, "sleep", slept)
        await both.join("s", SCOPE | {"join": said("two")}, nothing, send)
        await both.join("another", SCOPE | {"join": said("three")}, nothing, send)

    asyncio.run(run())
    assert len(waited) == 1
    assert 0 < waited[0] <= 0.3
