"""How an answer that is being written ends: by itself, by an error, by whoever stops it or leaves."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from app.answering.answer import Event, Step, Text
from app.messages.texts import TEXTS, Tongue
from app.running.bases import State
from app.running.users import User
from app.ui.answering import _Answering, _whole
from app.ui.chat import _Talk
from app.ui.conversation import Writing, reader_of
from core.config import load
from core.errors import AccessError, ModelError


def run(steps: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await steps()

    asyncio.run(within())


class Source:
    """Pieces of an answer without end, or up to an error."""

    def __init__(self, error_after: int | None = None) -> None:
        self.error_after, self.ended = error_after, asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            n = 0
            while n != self.error_after:
                async with asyncio.timeout(10):  # as a client's is: entered and left in one task
                    yield Text(f"word{n} ")
                    await asyncio.sleep(0)
                n += 1
            raise ModelError("the model is gone")
        finally:
            self.ended.set()


def test_a_stop_ends_the_answer_at_its_source_and_keeps_what_came() -> None:
    async def steps() -> None:
        writing, source, came = Writing(), Source(), []
        async with writing.takes_turn() as wanted:
            assert wanted
            async for event in writing.until_stopped(source.events()):
                came.append(event)
                if len(came) == 3:
                    writing.stop()
        assert len(came) >= 3
        assert source.ended.is_set()
        assert writing.going is None

    run(steps)


def test_an_error_of_the_source_comes_after_what_came_before_it() -> None:
    async def steps() -> None:
        writing, came = Writing(), []

        async def read() -> None:
            async for event in writing.until_stopped(Source(error_after=4).events()):
                came.append(event)

        async with writing.takes_turn():
            with pytest.raises(ModelError):
                await read()
        assert len(came) == 4

    run(steps)


def test_who_leaves_ends_the_source_too() -> None:
    async def steps() -> None:
        writing, source = Writing(), Source()
        async with writing.takes_turn(), aclosing(writing.until_stopped(source.events())) as stream:
            await anext(stream)
        assert source.ended.is_set()

    run(steps)


def test_what_waits_when_it_is_stopped_is_not_begun_and_what_is_asked_after_it_is() -> None:
    async def steps() -> None:
        writing, told = Writing(), list[bool]()

        async def waits() -> None:
            async with writing.takes_turn() as wanted:
                told.append(wanted)
                if wanted:
                    async for _ in writing.until_stopped(Source(error_after=0).events()):
                        pass

        async with writing.takes_turn():
            before = asyncio.create_task(waits())
            await asyncio.sleep(0)
            writing.stop()
            after = asyncio.create_task(waits())
            await asyncio.sleep(0)
            assert [event async for event in writing.until_stopped(Source().events())] == []  # stopped before it began
        await before
        with pytest.raises(ModelError):
            await after
        assert told == [False, True]

    run(steps)


def test_each_step_holds_all_that_the_ones_before_it_showed() -> None:
    """So that a page which applies the last of some steps alone misses nothing."""

    async def steps() -> None:
        async def source() -> AsyncGenerator[Any, None]:
            yield gr.skip(), gr.skip(), gr.skip(), "evidence", "found"
            yield gr.skip(), gr.skip(), "text", gr.skip(), gr.skip()

        writing = Writing(empties_until=time.monotonic() + 60)
        shown = [step async for step in _whole(writing, ("chat", "…", "", "list"), source())]
        assert [step[1:] for step in shown] == [
            ("chat", "…", "evidence", "found"),
            ("chat", "text", "evidence", "found"),
        ]
        assert all(step[0].stop_btn and step[0].value == "" for step in shown)
        writing.empties_until = 0.0
        (last, *_), *_ = [step async for step in _whole(writing, ("chat", "…", "", "list"), source())]
        assert last.stop_btn
        assert last.constructor_args.keys() == {"stop_btn"}  # a draft that is being typed stays

    run(steps)


def test_nobody_stops_the_answer_of_anothers_conversation(handbook: Path, tmp_path: Path) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    state = State(load(flags={"app.data": str(tmp_path / "data"), "app.users": "on"}, environ={}))
    keys = {}
    for name in ("ann", "bob"):
        state.users.accounts.add(name, "reader", ["handbook"], None)
        keys[name] = state.users.accounts.add_key(name)
    reader = reader_of(state, User("bob", "reader", ("handbook",), state.users.accounts.get("bob").id))
    chat = state.chats.begin(reader, ["handbook"]).id
    state.chats.ask(reader, chat, None, "How many days of leave?")
    talk, writing = _Talk(state, "handbook"), Writing()
    talk._writing[chat] = writing

    def asked_by(name: str) -> Any:
        header = (b"authorization", f"Bearer {keys[name]}".encode())
        return Request({"type": "http", "headers": [header], "query_string": b""})

    with pytest.raises(AccessError):
        asyncio.run(talk.stopped(chat, "", asked_by("ann")))
    assert writing.stops == 0
    asyncio.run(talk.stopped(chat, "", asked_by("bob")))
    assert writing.stops == 1


@pytest.mark.parametrize(
    ("said", "search", "read"), [("en", "Searching 2", "Reading 3"), ("zh", "正在检索 2", "正在阅读 3")]
)
def test_each_search_is_shown_as_it_goes_with_what_the_model_searches_for_as_text(
    handbook: Path, tmp_path: Path, said: Tongue, search: str, read: str
) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    talk = _Talk(State(load(flags={"app.data": str(tmp_path / "data")}, environ={})), "handbook")
    wanted = "<img src=//evil.example> [here](http://evil.example) mill [1]"

    async def events() -> AsyncGenerator[Event, None]:
        yield Step("plan")
        yield Step("search", 2, wanted)
        yield Step("read", 3, wanted)

    async def shown() -> list[str]:
        own = _Answering(1, [], lambda _: None)
        return [update[-1] async for update in talk._streamed(events(), own, Writing(), said)]

    plan, searching, reading = asyncio.run(shown())
    assert plan == TEXTS[said]["step_plan"]
    assert (searching.startswith(search), reading.startswith(read)) == (True, True)
    for line in (searching, reading):
        assert "mill" in line
        assert "<img" not in line
        assert "](" not in line
