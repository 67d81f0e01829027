"""What the app keeps of a page: its states, as long as it is open, and nothing of what its components showed."""

import asyncio
import gc
import sys
import time
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.http.events import Events
from app.http.sessions import Sessions


def page() -> Any:
    """A page with a state and a list whose choices come with an event."""
    with gr.Blocks() as blocks:
        gr.State("")
        gr.Dropdown()
    return blocks


def ids(blocks: Any) -> list[int]:
    """Of the state and the list."""
    return list(blocks.default_config.blocks)[:2]


def test_a_page_keeps_its_states_and_no_component() -> None:
    blocks = page()
    sessions, (state, shown) = Sessions(blocks), ids(blocks)
    mine, other = sessions["mine"], sessions["other"]
    mine[state] = "chosen"
    mine[shown] = made = gr.Dropdown(choices=["a"] * 1000)
    assert mine[shown] is made  # from which Gradio reads what it sends, once
    assert (mine[state], other[state]) == ("chosen", "")
    assert mine[shown] is other[shown] is blocks.default_config.blocks[shown]
    assert mine.blocks_config is other.blocks_config
    assert list(mine.components) == []


def test_what_a_page_keeps_is_some_kilobytes_however_much_it_was_shown() -> None:
    blocks = page()
    sessions, (state, shown) = Sessions(blocks), ids(blocks)
    mine = sessions["mine"]
    for n in range(50):
        mine[state] = f"state {n}"
        mine[shown] = gr.Dropdown(choices=[f"{n} {m}" for m in range(100)])
        _ = mine[shown]
        mine._update_value_in_config(shown, "x" * 100_000)  # as Gradio does with what is shown
    assert held(mine.__dict__, without=[mine.blocks_config]) < 10_000


def held(thing: object, without: list[object]) -> int:
    """The bytes of all that something refers to."""
    seen, left, total = {id(one) for one in without}, [thing], 0
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        left += gc.get_referents(one)
    return total


def test_a_page_goes_soon_after_it_was_closed_and_not_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = page()
    sessions, (state, _) = Sessions(blocks), ids(blocks)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with sessions.connected("mine"):
        sessions["mine"][state] = "chosen"
        with sessions.connected("mine"):  # a second connection, which ends
            pass
        now[0] += 7 * 24 * 3600
        sessions.delete_all_expired_state()
        assert sessions["mine"][state] == "chosen"
        now[0] += 24 * 3600
    now[0] += 60
    sessions.delete_all_expired_state()
    assert "mine" in sessions  # its network may have been gone for a moment
    now[0] += 600
    sessions.delete_all_expired_state()
    assert "mine" not in sessions


def test_a_page_that_never_connected_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(page())
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    _ = sessions["mine"]
    now[0] += 600
    sessions.delete_all_expired_state()
    assert not sessions.session_data


def test_of_many_pages_those_that_were_silent_for_longest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.sessions.SESSIONS", 10)
    sessions = Sessions(page())
    for n in range(30):
        _ = sessions[f"session {n}"], sessions["session 0"]
    assert len(sessions.session_data) <= 11
    assert "session 0" in sessions
    assert not sessions.time_last_used


def listening(events: Events, who: str, session: str) -> int:
    """What somebody is answered who wants to hear of a session."""
    heard: list[int] = []

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            heard.append(message["status"])

    path = f"/gradio_api/heartbeat/{session}"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "user": SimpleNamespace(id=who)}
    asyncio.run(events(scope, None, told))  # type: ignore[arg-type]
    return heard[0]


async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
    """An app in place of Gradio's."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_session_of_which_something_is_kept_is_taken_over_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.events._SESSIONS", 5)
    uploads: Any = None
    sessions = Sessions(page())
    events = Events(nothing, uploads=uploads, inputs={}, sessions=sessions)
    assert listening(events, "ann", "with states") == listening(events, "ann", "open") == 200
    assert listening(events, "ann", "gone") == 200
    _ = sessions["with states"]
    with sessions.connected("open"):
        for n in range(20):
            assert listening(events, "bob", f"another {n}") == 200
        assert listening(events, "bob", "with states") == listening(events, "bob", "open") == 404
        assert listening(events, "ann", "with states") == listening(events, "ann", "open") == 200
    assert listening(events, "bob", "gone") == 200  # nothing is left of it
    assert len(events._sessions) == 5


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_session_has_a_name_and_a_short_one(name: str) -> None:
    uploads: Any = None
    assert listening(Events(nothing, uploads=uploads, inputs={}, sessions=Sessions(page())), "ann", name) == 404
