import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from app.running import standing
from app.running.standing import while_allowed
from core.errors import AccessError, CatalogError, ModelError


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "EVERY_S", 0.001)


class Answer:
    """Events that end, fail or hang; and whether somebody closed them."""

    def __init__(self, count: int, end: Callable[[], object] = lambda: None) -> None:
        self.count, self.end, self.closed = count, end, False

    async def events(self) -> AsyncGenerator[int, None]:
        try:
            for n in range(self.count):
                yield n
            if asyncio.iscoroutine(last := self.end()):
                await last
        finally:
            self.closed = True


def fails() -> None:
    raise ModelError("the model is gone")


def read(answer: Answer, check: Callable[[], object], most: int = 1000) -> list[int]:
    async def reading() -> list[int]:
        found: list[int] = []
        async with asyncio.timeout(60), aclosing(while_allowed(answer.events(), check)) as events:
            async for event in events:
                found.append(event)
                if len(found) == most:
                    break
        return found

    return asyncio.run(reading())


def test_what_may_be_read_comes_as_it_is_to_its_end_or_its_failure() -> None:
    assert read(answer := Answer(5), lambda: None) == [0, 1, 2, 3, 4]
    assert answer.closed
    failing = Answer(3, fails)
    with pytest.raises(ModelError, match="gone"):
        read(failing, lambda: None)
    assert failing.closed


def test_what_nobody_reads_on_is_closed() -> None:
    assert read(answer := Answer(1000, asyncio.Event().wait), lambda: None, most=3) == [0, 1, 2]
    assert answer.closed


def test_once_it_may_not_be_read_any_more_even_what_hangs_ends_and_says_why() -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise CatalogError("the disk is busy")
        if asked == 4:
            raise AccessError("this key is unknown, revoked or expired", "log in")

    answer = Answer(3, asyncio.Event().wait)
    with pytest.raises(AccessError, match="access was taken away while it was written: this key is unknown") as error:
        read(answer, check)
    assert error.value.hint == "log in"
    assert answer.closed
    assert asked == 4


def test_where_it_cannot_be_told_by_a_fault_of_ours_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        read(Answer(0, asyncio.Event().wait), lambda: 1 // 0)


def test_of_an_answer_that_nobody_reads_nothing_comes_after_the_refusal() -> None:
    async def reading() -> list[object]:
        refused = asyncio.Event()
        loop = asyncio.get_running_loop()

        def check() -> None:
            loop.call_soon_threadsafe(refused.set)
            raise AccessError("no more")

        answer = Answer(1000)
        async with aclosing(while_allowed(answer.events(), check)) as events:
            first = await anext(events)
            await refused.wait()
            while not answer.closed:  # the refusal is on its way
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            with pytest.raises(AccessError):
                await anext(events)
            return [first]

    assert asyncio.run(reading()) == [0]
