"""A page that is open and idle goes on where it was, even where the app has forgotten it; a closed one is forgotten."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from gradio.queueing import Queue
from playwright.sync_api import Browser, expect
from starlette.routing import Mount

from app.http.patience import patient
from app.http.server import build
from app.http.sessions import Sessions
from app.running.bases import State
from app.ui.page import mount
from bench.soak import Page
from core.config import load
from tests.app.app_process import Visiting
from tests.app.ui.knowledge_page import enter_tab
from tests.fixtures_vllm import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Here:
    """The app in this process, so that what it keeps can be seen."""

    def __init__(self, data: Path) -> None:
        cfg = {"RAGSTONE_DATA": str(data), "RAGSTONE_LLM__BACKEND": "extractive"}
        state, port = State(load(environ=cfg)), free_port()
        api = mount(build(state), state, "handbook")
        inner: Any = next(route.app for route in api.routes if isinstance(route, Mount))
        self.sessions: Sessions = inner.state_holder
        self.queue: Queue = inner.get_blocks()._queue
        self.url = f"http://127.0.0.1:{port}"
        self.server = uvicorn.Server(
            uvicorn.Config(api, port=port, log_level="warning", timeout_graceful_shutdown=3, http=patient())
        )


@pytest.fixture(scope="module")
def here(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("idle")
    shutil.copytree(handbook, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "received"))
        app = Here(folder / "data")
        thread = threading.Thread(target=app.server.run, daemon=True)
        thread.start()
        until(lambda: app.server.started)
        yield app
        app.server.should_exit = True
        thread.join(30)


def until(met: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_page_is_kept_while_it_is_open_and_forgotten_once_it_is_closed(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.sessions.CLOSED_S", 0.2)
    page = Page(here, httpx.get(f"{here.url}/config").json())  # type: ignore[arg-type]
    kept = here.sessions.session_data[page.session]
    time.sleep(3)  # in which what is closed is looked for some times
    assert here.sessions.session_data[page.session] is kept
    page.close()
    until(lambda: page.session not in here.sessions)


def test_an_event_is_not_counted_anew_with_all_before_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(Queue, "_get_df", lambda *of: counted.append(len(of)))
    page = Page(here, httpx.get(f"{here.url}/config").json())  # type: ignore[arg-type]
    page.close()
    assert here.queue.events_recorded
    assert (counted, len(here.queue.event_analytics)) == ([], 1)


def test_a_page_that_was_forgotten_goes_on_where_it_was(here: Here, browser: Browser, visit: Visiting) -> None:
    seen = visit(here)
    seen.cut.update(("ERR_FAILED", "Failed to fetch"))
    seen.page.route("**/heartbeat/**", lambda route: route.abort())
    seen.reload()
    seen.ask("Up to what turbidity does the LT-300 measure?")
    first = seen.finished()
    chat = seen.page.locator("[data-chat]").get_attribute("data-chat")
    here.sessions.session_data.clear()  # as after minutes without a connection
    seen.ask("How is it calibrated?")
    seen.finished()
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_count(2)
    assert seen.answer(0) == first
    assert seen.page.locator("[data-chat]").get_attribute("data-chat") == chat
    here.sessions.session_data.clear()  # as after minutes without a connection
    enter_tab(seen.page)
    seen.page.click("#knowledge-plan")
    expect(seen.page.locator("#knowledge-job")).to_contain_text("21 unchanged")
