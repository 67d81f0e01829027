"""Nothing that waits, waits in the event loop: it goes on for everybody while files are locked by others for seconds.

A watchdog beats on the loop and notes its longest stall, with the stack of what the loop's thread was at. What blocks
does so for as long as a file is locked, several times the bound, which a loaded machine keeps.
"""

import json
import re
import shutil
import sqlite3
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.http.patience import patient
from app.http.server import build
from app.running.accounts import Accounts
from app.running.bases import State
from app.ui.page import mount
from core.config import load
from core.sqlite import Pool
from tests.app.stub_model import Stub
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"
PASSWORD = "correct horse battery"
_FILES = ("open", "sqlite3.connect", "os.listdir", "os.scandir", "shutil.copyfile", "subprocess.Popen")
_STDLIB = re.compile(r"/lib/python|^<frozen")
_LOCKED_S = 6.0
_BOUND_S = 2.0
_LONG_S = 120.0


class Watchdog:
    """Beats on a server's loop from the first request on."""

    def __init__(self) -> None:
        self.longest, self.stack, self.beats = 0.0, "", 0
        self._stop = threading.Event()

    def watch(self, loop: Any, thread: int) -> None:
        """Until `end`."""
        while not self._stop.wait(0.02):
            beat, at, seen = threading.Event(), time.monotonic(), ""
            loop.call_soon_threadsafe(beat.set)
            while not beat.wait(_BOUND_S / 2):
                seen = seen or "".join(traceback.format_stack(sys._current_frames()[thread]))
            self.beats += 1
            if (took := time.monotonic() - at) > self.longest:
                self.longest, self.stack = took, seen

    def end(self) -> None:
        self._stop.set()


@dataclass(frozen=True, slots=True)
class Served:
    """What is served; `events` of the page and `routes` whose own code runs in the loop, with the thread of that."""

    url: str
    data: Path
    state: State
    ask: int
    loop: Any
    thread: int
    events: list[int]
    routes: set[str]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise where the loop stalls meanwhile, with what it was at."""
        dog = Watchdog()
        watching = threading.Thread(target=dog.watch, args=(self.loop, self.thread), daemon=True)
        watching.start()
        yield
        dog.end()
        watching.join()
        assert dog.beats > 5
        assert dog.longest < _BOUND_S, f"the event loop stood still for {dog.longest:.1f} s at\n{dog.stack}"


@pytest.fixture(scope="module")
def served(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page and the API with users, in a thread of this process."""
    import asyncio

    data = tmp_path_factory.mktemp("stalls") / "data"
    shutil.copytree(handbook, data)
    accounts = Accounts(data)
    accounts.add("ann", "admin", None, PASSWORD)
    flags = {"app.data": str(data), "app.users": "on", "app.answers_per_minute": "0"}
    (data.parent / "config.toml").write_text(f'[llm]\nbase_url = "{model_server.base_url}"\nports = []\n', "utf-8")
    state = State(load(data.parent / "config.toml", flags=flags, environ={}))
    app = mount(build(state), state, "handbook")
    mounted: list[Any] = [route for route in app.routes if getattr(route, "path", None) == ""]
    blocks = mounted[0].app.get_blocks()
    at_once = [n for n, fn in blocks.fns.items() if iscoroutinefunction(fn.fn) or isasyncgenfunction(fn.fn)]
    ask = next(n for n in at_once if blocks.fns[n].name == "ask")
    state.bases.warm_up("handbook")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http=patient()))
    found: dict[str, Any] = {}

    def run(listening: Any) -> None:
        found["thread"] = threading.get_ident()
        server.run([listening])

    import socket

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        @app.get("/loop")
        async def _loop() -> None:
            found["loop"] = asyncio.get_running_loop()

        app.router.routes.insert(0, app.router.routes.pop())
        thread = threading.Thread(target=run, args=(listening,), daemon=True)
        thread.start()
        key = accounts.add_key("ann")
        httpx.get(f"{url}/loop", headers={"authorization": f"Bearer {key}"}, timeout=_LONG_S)
        routes = {getattr(one, "path", "") for one in app.routes if iscoroutinefunction(getattr(one, "endpoint", None))}
        yield Served(url, data, state, ask, found["loop"], found["thread"], at_once, routes - {"/loop"})
        server.should_exit = True
        thread.join(_LONG_S)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """The file is written by another, who takes their time."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=_LONG_S)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
            time.sleep(_LOCKED_S)
        finally:
            other.execute("ROLLBACK")


class Visitor:
    """What people and programs do, each once."""

    def __init__(self, served: Served) -> None:
        self.served = served
        key = Accounts(served.data).add_key("ann")
        self.client = httpx.Client(base_url=served.url, timeout=_LONG_S, headers={"authorization": f"Bearer {key}"})

    def page(self) -> int:
        return self.client.get("/", headers={"accept": "text/html"}).status_code

    def health(self) -> int:
        return 200 if self.client.get("/healthz").status_code in (200, 503) else 0

    def login(self) -> int:
        with httpx.Client(base_url=self.served.url, timeout=_LONG_S) as browser:
            done = browser.post("/login", data={"name": "ann", "password": PASSWORD})
            return 200 if done.headers.get("location") == "/" else done.status_code

    def logout(self) -> int:
        with httpx.Client(base_url=self.served.url, timeout=_LONG_S) as browser:
            browser.post("/login", data={"name": "ann", "password": PASSWORD})
            return 200 if browser.post("/logout").headers.get("location") == "/login" else 0

    def upload(self) -> int:
        return self.client.post("/gradio_api/upload", files=[("files", ("x.txt", b"x" * 300_000))]).status_code

    def question(self) -> int:
        asked = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}]}
        return self.client.post("/v1/chat/completions", json=asked).status_code

    def tool(self) -> int:
        call = {"name": "search", "arguments": {"query": QUESTION, "kb": "handbook"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return self.client.post(
            "/mcp", json=body, headers={"accept": "application/json, text/event-stream"}
        ).status_code

    def chat(self) -> int:
        """A question on the page, as the browser sends it; 200 once its answer is complete."""
        session = uuid.uuid4().hex
        body = {"data": [QUESTION, None, [], False], "fn_index": self.served.ask, "session_hash": session}
        self.client.post("/gradio_api/queue/join", json=body).raise_for_status()
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if event.get("msg") == "process_completed":
                    return 200 if event["success"] else 500
        return 0

    def password(self) -> int:
        with httpx.Client(base_url=self.served.url, timeout=_LONG_S) as browser:
            browser.post("/login", data={"name": "ann", "password": PASSWORD})
            changed = browser.post("/password", data={"password": "a wrong one, as it is", "new": PASSWORD})
            return 200 if changed.status_code in (401, 429) else changed.status_code

    def picture(self) -> int:
        return 200 if self.client.get("/view/handbook/1.png").status_code in (200, 404, 409) else 0

    def attached(self) -> int:
        return 200 if self.client.get("/chats/none/view/1.png").status_code in (403, 404, 409) else 0

    def overview(self) -> int:
        return self.client.get("/v1/overview/handbook").status_code

    def vectors(self) -> int:
        return self.client.post("/v1/embeddings", json={"input": QUESTION, "model": "handbook"}).status_code

    def order(self) -> int:
        asked = {"query": QUESTION, "documents": [QUESTION], "model": "handbook"}
        return 200 if self.client.post("/v1/rerank", json=asked).status_code in (200, 400) else 0

    def event(self, number: int, given: dict[str, Any]) -> bool:
        """Whether an event of the page succeeds, with the values that its parts have but those that are given."""
        texts = {one["id"] for one in self.config["components"] if one["type"] == "textbox"}
        parts = {one["id"]: one["props"] for one in self.config["components"]}
        wanted = next(one for one in self.config["dependencies"] if one["id"] == number)["inputs"]
        data = [given.get(parts[at].get("elem_id") or "", parts[at].get("value") or ("" if at in texts else None))
                for at in wanted]  # fmt: skip
        session = uuid.uuid4().hex
        happened = {"index": [0, 0], "value": "", "previous_value": ""}
        body = {"data": data, "fn_index": number, "session_hash": session, "event_data": happened}
        joined = self.client.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if told.get("msg") == "process_completed":
                    return told["success"]
        return False

    def events(self) -> int:
        """Everything on the page that runs in the loop, at once; 200 where what has something to do, does it."""
        self.config = self.client.get("/config").json()
        names = {one["id"]: one["api_name"] for one in self.config["dependencies"]}
        given = {
            "knowledge-kb": "handbook", "knowledge-question": QUESTION, "knowledge-sentence": "It measures.",
            "setup-url": self.served.state.cfg.llm.base_url,
        }  # fmt: skip
        with ThreadPoolExecutor(len(self.served.events)) as pool:
            done = {number: pool.submit(self.event, number, given) for number in self.served.events}
        succeeded = {str(names[number]).rstrip("_0123456789") for number, one in done.items() if one.result()}
        missed = {"search", "look", "opened", "test", "use", "status"} - succeeded
        assert not missed, (missed, succeeded, names)
        return 200

    def all(self) -> dict[str, int]:
        """Everything at once."""
        deeds = (
            self.page, self.health, self.login, self.logout, self.upload, self.question, self.tool, self.chat,
            self.password, self.picture, self.attached, self.overview, self.vectors, self.order, self.events,
        )  # fmt: skip
        with ThreadPoolExecutor(len(deeds)) as pool:
            running = {deed.__name__: pool.submit(deed) for deed in deeds}
            return {name: future.result() for name, future in running.items()}


def test_what_was_sent_and_not_used_is_swept_as_long_as_the_app_runs(served: Served) -> None:
    assert "uploads" in {thread.name for thread in threading.enumerate()}


def test_every_route_whose_code_runs_in_the_loop_is_walked(served: Served) -> None:
    assert served.routes == {
        "/login", "/logout", "/password", "/view/{kb}/{chunk_id}.png",
        "/chats/{chat_id}/view/{chunk_id}.png", "/v1/overview/{kb}", "/v1/embeddings",
        "/v1/rerank", "/v1/chat/completions",
    }  # fmt: skip


@pytest.mark.parametrize("file", ["users.sqlite", "chats.sqlite"])
def test_the_loop_goes_on_while_a_file_is_locked(served: Served, stub: Stub, file: str) -> None:
    visitor = Visitor(served)
    assert set(visitor.all().values()) == {200}  # what is only done the first time is done
    with ThreadPoolExecutor(1) as pool, served.watched():
        with locked(served.data / file):
            done = pool.submit(visitor.all)
        found = done.result()
    assert set(found.values()) == {200}, found


def test_no_file_is_opened_or_read_in_the_loop(served: Served, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[str] = set()
    watching = True
    borrowed = Pool.borrowed

    def seen(pool: Pool) -> Any:  # one that is open already opens no file, and waits where it is locked
        if threading.get_ident() == served.thread:
            found.add("".join(traceback.format_stack()[-8:]))
        return borrowed(pool)

    def hook(event: str, _: object) -> None:  # stays for good: Python takes none back
        if watching and event in _FILES and threading.get_ident() == served.thread:
            frames = [(f.f_code.co_filename, line) for f, line in traceback.walk_stack(sys._getframe(1))]
            nearest = next((name for name, _ in frames if "site-packages" in name or not _STDLIB.search(name)), "")
            if nearest.startswith(f"{ROOT}/") and "site-packages" not in nearest:
                found.add("\n".join(f"{name}:{line}" for name, line in frames[:8]))

    visitor = Visitor(served)
    visitor.all()  # what is only done the first time is done
    monkeypatch.setattr(Pool, "borrowed", seen)
    sys.addaudithook(hook)
    assert set(visitor.all().values()) == {200}
    watching = False
    assert not found, "\n\n".join(found)


def test_the_watchdog_tells_what_the_loop_was_at(served: Served) -> None:
    def culprit() -> None:
        time.sleep(2 * _BOUND_S)

    def provoked() -> None:
        with served.watched():
            served.loop.call_soon_threadsafe(culprit)
            time.sleep(3 * _BOUND_S)

    with pytest.raises(AssertionError, match=r"(?s)the event loop stood still .*culprit"):
        provoked()
