"""Starts the app as its users do, as a process of its own, and ends it: for tests of the API and the UI."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.preloaded import Fork, forks
from tests.fixtures_vllm import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
RETRY = "#chat :is([aria-label=Retry], [aria-label=重试])"
_START_S = 120


@dataclass(frozen=True, slots=True)
class App:
    """A running app; `log` holds what it wrote to stdout and stderr."""

    url: str
    port: int
    process: "subprocess.Popen[bytes] | Fork"
    log: Path
    data: Path


def environment(data: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without any setting of the app but those given; what browsers send is received beside `data`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAGSTONE_")}
    ours = {"RAGSTONE_DATA": str(data), "GRADIO_TEMP_DIR": f"{data}-received", "PYTHONUNBUFFERED": "1"}
    return own | ours | dict(more or {})


def command(*args: str) -> list[str]:
    """The command line of `ragstone` from the environment that runs the tests."""
    return [str(Path(sys.executable).with_name("ragstone")), *args]


def index(folder: Path, kb: str, data: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Index a folder by `ragstone index`; what it reports."""
    args = command("index", str(folder), "--kb", kb, "--json")
    done = subprocess.run(args, env=environment(data, env), cwd=ROOT, capture_output=True, check=False, timeout=300)
    if done.returncode not in (0, 1):
        raise AssertionError(f"index failed with {done.returncode}: {done.stderr.decode()}")
    return json.loads(done.stdout)


@contextmanager
def running(
    surface: str, data: Path, log: Path, env: Mapping[str, str] | None = None, *, start_s: float = _START_S,
    kb: str = "handbook", anew: bool = False,
) -> Iterator[App]:  # fmt: skip
    """`ragstone ui` or `ragstone serve` on a free port, once /healthz answers 200; ended as by Ctrl-C or `kill`.

    `kb` "": without the option that names one. `anew`: its imports are its own (`tests.app.preloaded`).
    """
    port, settings = free_port(), environment(data, env)
    argv = command(surface, *(["--kb", kb] if kb else []), "--port", str(port))
    if not anew and forks().fits(settings):
        process = forks().start(argv, settings, ROOT, log)
    else:
        with log.open("wb") as sink:
            process = subprocess.Popen(
                argv, env=settings, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
    app = App(f"http://127.0.0.1:{port}", port, process, log, data)
    try:
        _wait_healthy(app, start_s)
        yield app
    finally:
        stop(app)


def stop(app: App) -> int:
    """End the app, and see that it ends; its exit code."""
    app.process.terminate()
    try:
        return app.process.wait(40)
    except subprocess.TimeoutExpired:
        app.process.kill()
        app.process.wait()
        raise AssertionError(f"the app did not end when told to:\n{app.log.read_text(errors='replace')}") from None


def health(url: str) -> int:
    """The status that /healthz answers with; 0 where nothing listens."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _wait_healthy(app: App, start_s: float) -> None:
    end = time.monotonic() + start_s
    while health(app.url) != 200:
        if app.process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"the app does not answer:\n{app.log.read_text(errors='replace')}")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Visit:
    """A page of the UI, and everything that it asked for and complained about."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def ask(self, question: str) -> None:
        """Send a question, and see it taken."""
        asked = self.page.locator("#chat [data-testid=user]")
        before = asked.count()
        self.page.fill("#question textarea", question)
        self.page.press("#question textarea", "Enter")
        self.until(f"document.querySelectorAll('#chat [data-testid=user]').length > {before}")

    def reload(self, url: str = "") -> None:
        """Load the page anew, or at another address; from then on it is no complaint that connections were cut off.

        Gradio's client forgets what an answer was built from as its connection ends, and then still applies the pieces
        that came before: the page that goes away complains of each (gradio 6.31, `apply_diff_stream`).
        """
        self.cut.update(("AbortError", "Connection errored out", "ERR_ABORTED", "Unexpected client exception"))
        self.page.goto(url) if url else self.page.reload()
        self.opened()

    def opened(self) -> None:
        """Wait until the page is there."""
        self.page.wait_for_selector("#question textarea", state="attached", timeout=60_000)
        self.until("document.querySelector('#status')?.innerText.trim().length > 0")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true; asked for from outside, since the page evaluates nothing."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"waited in vain for {condition}"
            self.page.wait_for_timeout(100)

    def answer(self, n: int = -1) -> str:
        """What an answer says at the moment, by default the last; "" where there is none."""
        texts = self.page.locator("#chat [data-testid=bot]").all_inner_texts()
        return texts[n].strip() if texts else ""

    def finished(self, seconds: float = 60) -> str:
        """The last answer once it is complete."""
        self.page.wait_for_selector("#question .stop-button", state="detached", timeout=seconds * 1000)
        self.page.wait_for_selector(f"{RETRY}:not([disabled])", timeout=60_000)
        # What just began is drawn piece by piece, its text before the button to stop it.
        self.until(
            "[...document.querySelectorAll('#chat [data-testid=bot]')].at(-1)?.innerText.trim() !== '…'", seconds
        )
        return self.answer()

    def check(self) -> None:
        """Raise where a request left this machine or the browser blocked or missed something."""
        away = [url for url in self.requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
        assert not away, away
        complaints = [line for line in self.complaints if not any(sign in line for sign in self.cut)]
        assert not complaints, complaints


Visiting = Callable[..., Visit]  # opens a page for a test, which ends with the checks of `visiting`


@contextmanager
def chromium() -> "Iterator[Browser]":
    """The system's own browser, headless; without one: fails in CI, or skips.

    `chromium-headless-shell` is the same engine without what draws a window: half the processor time a page.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # tests share the machine with others
    found = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    if not found:
        reason = "there is no chromium-headless-shell, chromium or google-chrome on PATH: run `make browser`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=args)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: "Browser", url: str, locale: str = "en-US", width: int = 1280) -> Iterator[Visit]:
    """The UI in a fresh browser session; at the end, that no request left 127.0.0.1 and nothing was blocked."""
    context = browser.new_context(locale=locale, viewport={"width": width, "height": 860})
    context.set_default_timeout(90_000)
    page = context.new_page()
    visit = Visit(page)
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("console", lambda line: visit.complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    try:
        page.goto(url)
        visit.opened()
        yield visit
        visit.check()
    finally:
        context.close()
