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


class Served:
    def __init__(self, url: str, data: Path, state: State, ask: int, loop: Any, thread: int) -> None:
        self.url, self.data, self.state, self.ask, self.loop, self.thread = url, data, state, ask, loop, thread

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
    flags = {
        "app.data": str(data),
        "app.users": "on",
        "app.answers_per_minute": "0",
        "llm.base_url": model_server.base_url,
    }
    state = State(load(flags=flags, environ={}))
    app = mount(build(state), state, "handbook")
    mounted: list[Any] = [route for route in app.routes if getattr(route, "path", None) == ""]
    blocks = mounted[0].app.get_blocks()
    ask = next(n for n, fn in blocks.fns.items() if fn.name == "ask")
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
        yield Served(url, data, state, ask, found["loop"], found["thread"])
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

    def all(self) -> dict[str, int]:
        """Everything at once."""
        deeds = (
            self.page, self.health, self.login, self.logout, self.upload, self.question, self.tool, self.chat
        )  # fmt: skip
        with ThreadPoolExecutor(len(deeds)) as pool:
            running = {deed.__name__: pool.submit(deed) for deed in deeds}
            return {name: future.result() for name, future in running.items()}


@pytest.mark.parametrize("file", ["users.sqlite", "chats.sqlite"])
def test_the_loop_goes_on_while_a_file_is_locked(served: Served, stub: Stub, file: str) -> None:
    visitor = Visitor(served)
    assert set(visitor.all().values()) == {200}  # what is only done the first time is done
    with ThreadPoolExecutor(1) as pool, served.watched():
        with locked(served.data / file):
            done = pool.submit(visitor.all)
        found = done.result()
    assert set(found.values()) == {200}, found


def test_no_file_is_opened_in_the_loop(served: Served, stub: Stub) -> None:
    found: set[str] = set()
    watching = True

    def hook(event: str, _: object) -> None:  # stays for good: Python takes none back
        if watching and event in _FILES and threading.get_ident() == served.thread:
            frames = [(f.f_code.co_filename, line) for f, line in traceback.walk_stack(sys._getframe(1))]
            nearest = next((name for name, _ in frames if "site-packages" in name or not _STDLIB.search(name)), "")
            if nearest.startswith(f"{ROOT}/") and "site-packages" not in nearest:
                found.add("\n".join(f"{name}:{line}" for name, line in frames[:8]))

    visitor = Visitor(served)
    visitor.all()  # what is only done the first time is done
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
