"""A page's stream of events stays open between two events that follow each other.

Gradio ends the stream of a page with its last event, and its client opens another for the next one, unless it takes the
old one to be open still. Where the answer to the next event overtakes the end of the stream, as on a busy machine, the
client waits on a stream that is over, and the event is not seen until something else is pressed (gradio 6.31, client
`open_stream`, server `queue_data_helper`). So the end is held back for a while, and what comes meanwhile goes into the
same stream; an event that comes just after the end was sent is answered when it has arrived.
"""

import asyncio
import json
import time
from collections import OrderedDict
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HELD_S = 2.0  # what a page asks on its own follows within milliseconds
_ARRIVES_S = 0.3
_ENDED = 1_000  # sessions whose end is remembered
_END = b'"close_stream"'


class Streams:
    """Joins the streams of each session."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._came: dict[str, asyncio.Event] = {}  # session -> an event came since its stream would have ended
        self._ended: OrderedDict[str, float] = OrderedDict()  # session -> when it was told of the end

    async def stream(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what happens in a session until it has been still for a while."""
        begun = False
        while True:
            came, end = asyncio.Event(), []

            async def passed(message: Message, came: asyncio.Event = came, end: list[Message] = end) -> None:
                nonlocal begun
                if message["type"] == "http.response.start":
                    if not begun:
                        await send(message)
                    begun = True
                elif end or _is_end(message.get("body", b"")):
                    self._came[session] = came
                    end.append(message)
                else:
                    await send(message)

            try:
                await self.app(dict(scope), receive, passed)
                if not end:
                    return
                if not await _within(came, _HELD_S):
                    break
            finally:
                if self._came.get(session) is came:
                    del self._came[session]
        self._ended[session] = time.monotonic()
        self._ended.move_to_end(session)
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
        for message in end:
            await send(message)

    async def join(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an event, and say to its page that it was taken once that knows whether its stream is over."""

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                if came := self._came.get(session):
                    came.set()
                elif (left := self._ended.get(session, 0.0) + _ARRIVES_S - time.monotonic()) > 0:
                    await asyncio.sleep(left)
            await send(message)

        await self.app(scope, receive, answered)


def _is_end(body: bytes) -> bool:
    """Whether a piece of a stream is the message that ends it, and does not only speak of it."""
    if _END not in body or not body.startswith(b"data:"):
        return False
    said: Any = json.loads(body.removeprefix(b"data:"))
    return said.get("msg") == "close_stream"


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
