"""An answer that is being written ends once whoever asked may no longer have it.

A key that was revoked, a password that was changed, an account or a right that was taken away counts at the next
request; one that has begun before may last for minutes. So rights are looked at again while it lasts.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import AccessError, CatalogError

if TYPE_CHECKING:
    from app.running.bases import State

T = TypeVar("T")
_Item = tuple[T] | Exception | None  # an event, what the events ended with, or their end

log = logging.getLogger(__name__)

EVERY_S = 1.0


def guarded(
    state: "State", request: Any, user_id: str, bases: Mapping[str, str], events: AsyncGenerator[T, None]
) -> AsyncGenerator[T, None]:
    """The events of an answer, as long as the user who asked for it may see the knowledge bases: the id of each by its
    name. Without users they are anybody's.
    """
    if not state.users.on:
        return events
    return while_allowed(events, lambda: check(state, request, user_id, bases))


def check(state: "State", request: Any, user_id: str, bases: Mapping[str, str]) -> None:
    """Raise `AccessError` where a request is not a user's any more, or some knowledge base not theirs to see."""
    user = state.users.of(request)
    if user.id != user_id:
        raise AccessError("nobody is logged in", "log in at /login, or send an API key as `Authorization: Bearer ...`")
    for name, known in bases.items():
        if not user.sees(name) or state.bases.identity(name) != known:
            raise AccessError(f"{user.name!r} may not see the knowledge base {name!r}", "ask an admin")


async def while_allowed(events: AsyncGenerator[T, None], check: Callable[[], object]) -> AsyncGenerator[T, None]:
    """The events, as long as `check`, which is called every second in a thread, raises no `AccessError`.

    Once it does the events are closed, wherever they are, and an `AccessError` that says so is raised in their place.
    """
    queue: asyncio.Queue[_Item[T]] = asyncio.Queue(maxsize=1)
    running = asyncio.create_task(_pass_on(events, queue))
    watching = asyncio.create_task(_watch(check, running, queue))
    try:
        while isinstance(item := await queue.get(), tuple):
            yield item[0]
        if item is not None:
            raise item
    finally:
        for task in (watching, running):
            task.cancel()
        await asyncio.gather(watching, running, return_exceptions=True)  # what is cancelled closes what it holds


async def _pass_on(events: AsyncGenerator[T, None], queue: "asyncio.Queue[_Item[T]]") -> None:
    try:
        async with aclosing(events) as stream:
            async for event in stream:
                await queue.put((event,))
    except Exception as error:
        await queue.put(error)
    else:
        await queue.put(None)


async def _watch(check: Callable[[], object], running: asyncio.Task[None], queue: "asyncio.Queue[_Item[Any]]") -> None:
    """Ask until it is refused; then end what is running, and let nothing that was not read yet be read."""
    while (refusal := await _refusal(check)) is None:
        pass
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with suppress(asyncio.QueueEmpty):
        queue.get_nowait()
    queue.put_nowait(refusal)


async def _refusal(check: Callable[[], object]) -> Exception | None:
    """Ask once, after a while."""
    await asyncio.sleep(EVERY_S)
    try:
        await asyncio.to_thread(check)
    except AccessError as error:
        why = f"the answer was ended, because access was taken away while it was written: {error.message}"
        return AccessError(why, error.hint)
    except CatalogError as error:  # a disk that is busy takes no right from anybody
        log.warning("whether an answer may go on could not be looked up: %s", error)
    except Exception as error:
        return error
    return None
