"""Who sends a request of the API, which knowledge bases are there for them, and whether they still wait."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from app.http.openai_form import error_body
from app.running.bases import State
from app.running.limits import LimitError
from app.running.users import User
from core.errors import ReadError

T = TypeVar("T")
LEFT = 499  # nobody reads it: the client has left (nginx has it so too)
_ASIDE, _EACH = 2, 8  # long work at a time; what of one caller's waits for its turn, or is being done


class Aside:
    """Long work that is no answer, in threads of its own: those that serve everybody are not held by one caller's."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(_ASIDE)
        self._waiting: Counter[str] = Counter()

    async def done(self, request: Request, who: str, work: Callable[[], T]) -> T | None:
        """What work returns; None where its client left before. Raises `LimitError` where much of `who` waits."""
        if self._waiting[who] >= _EACH:
            raise LimitError(f"{_EACH} of your requests wait for their turn already", "wait for one of them", 1.0)
        self._waiting[who] += 1
        try:
            return await while_there(request, to_thread.run_sync(work, limiter=self._threads))
        finally:
            self._waiting[who] -= 1
            self._waiting += Counter()  # forgets those of whom nothing waits

    async def picture(self, request: Request, who: str, drawn: Callable[[], bytes]) -> Response:
        """A response of the PNG that is drawn, which nobody keeps. Raises as `done` does."""
        try:
            picture = await self.done(request, who, drawn)
        except ReadError as error:
            return JSONResponse(error_body(409, str(error)), 409)
        if picture is None:
            return Response(status_code=LEFT)
        return Response(picture, media_type="image/png", headers={"cache-control": "no-store"})


def visitor(state: State, request: Request) -> tuple[User, dict[str, str]]:
    """Who asks, and the knowledge bases that are there for them, each with its id."""
    user = state.users.of(request)
    return user, state.bases.seen(user)


def no_model(name: str) -> JSONResponse:
    """The same whether there is no such knowledge base or it may not be seen."""
    message = f"there is no knowledge base {name[:100]!r}, or this key may not see it"
    return JSONResponse(error_body(404, message, code="model_not_found", param="model"), 404)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What work returns; None where it was cancelled because its client has left."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)  # what is cancelled closes what it holds


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
