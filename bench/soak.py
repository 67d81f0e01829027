"""Whether anything grows: `python -m bench.soak --requests 20000 --minutes 8`.

Questions, pages, chats, uploads and jobs, each from a thread and a connection of its own, to the real app in a child
process: a small knowledge base of a small embedder, the extractive backend, Gradio over loopback as a browser speaks to
it. Its descriptors, threads, child processes and resident memory are taken once it has warmed up and at the end, both
after a rest in which it closes what it keeps for a while. Where one has grown by more than its bound, the exit code is
1.
"""

import argparse
import json
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

import httpx

from bench.record import environment, merge, progress
from tests.app import tiny_embedder
from tests.app.app_process import App, index, running
from tests.app.tiny_embedder import WORDS

# What may come on top of what was there after the warm-up.
BOUNDS = {"descriptors": 16, "threads": 8, "children": 2, "megabytes": 64}
_KINDS = {"question": 0.86, "page": 0.08, "chat": 0.04, "upload": 0.01, "job": 0.01}  # shares of all requests
_AT_ONCE = 8
_TIMEOUT_S = 120.0
_UPLOADS = 5  # names: each upload replaces an earlier one
_KB = "handbook"
_DOCUMENTS = 40


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process and its children hold; `megabytes` is resident memory, of the process alone."""

    descriptors: int
    threads: int
    children: int
    megabytes: float


def sample(pid: int) -> Sample:
    """What Linux says of a process (proc(5))."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    children = sum(len((task / "children").read_text().split()) for task in (process / "task").iterdir())
    megabytes = int(status["VmRSS"].split()[0]) / 1024
    return Sample(len(list((process / "fd").iterdir())), int(status["Threads"]), children, round(megabytes, 1))


def grown(before: Sample, after: Sample) -> list[str]:
    """What has grown beyond its bound."""
    more = {field.name: getattr(after, field.name) - getattr(before, field.name) for field in fields(Sample)}
    return [
        f"{name}: {more[name]:+.1f}, at most {most:+} is allowed" for name, most in BOUNDS.items() if more[name] > most
    ]


class Page:
    """A page of the UI as a browser holds it: a session, its heartbeat, and events whose results are waited for."""

    def __init__(self, app: App, config: dict[str, Any]) -> None:
        self.config, self.prefix = config, f"{app.url}{config['api_prefix']}"
        self.props = {component["id"]: component["props"] for component in config["components"]}
        self.session = uuid.uuid4().hex
        self.lines: Iterator[str] | None = None  # of the stream that is open
        self.stack = ExitStack()
        self.client = self.stack.enter_context(httpx.Client(timeout=_TIMEOUT_S, trust_env=False))
        self.client.get(app.url).raise_for_status()
        # When it ends, Gradio forgets the session.
        self.stack.enter_context(self.client.stream("GET", f"{self.prefix}/heartbeat/{self.session}"))
        for event in self._events("load"):
            self._send(event, {})

    def close(self) -> None:
        """Leave the page."""
        self.stack.close()

    def press(self, name: str, kind: str, **values: Any) -> None:
        """Cause an event of a component, by its id in the page; `values` are what some hold, others as at first."""
        component = next(number for number, props in self.props.items() if props.get("elem_id") == name)
        event = next(e for e in self._events(kind) if [component, kind] in e["targets"])
        self._send(event, {key.replace("_", "-"): value for key, value in values.items()})

    def upload(self, name: str, text: str) -> dict[str, Any]:
        """Send a file; how an event names it."""
        answer = self.client.post(f"{self.prefix}/upload", files={"files": (name, text.encode())}).raise_for_status()
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def _events(self, kind: str) -> list[dict[str, Any]]:
        every = self.config["dependencies"]
        return [e for e in every if e["backend_fn"] and any(target[1] == kind for target in e["targets"])]

    def _send(self, event: dict[str, Any], values: dict[str, Any]) -> None:
        inputs = [self.props[number] for number in event["inputs"]]
        data = [values.get(props.get("elem_id", ""), props.get("value")) for props in inputs]
        caused = {"fn_index": event["id"], "session_hash": self.session, "trigger_id": event["targets"][0][0]}
        body = {"data": data} | caused
        asked = self.client.post(f"{self.prefix}/queue/join", json=body).raise_for_status().json()["event_id"]
        while True:
            if self.lines is None:
                stream = self.client.stream("GET", f"{self.prefix}/queue/data", params={"session_hash": self.session})
                self.lines = self.stack.enter_context(stream).iter_lines()
            for line in self.lines:
                told = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if told.get("msg") == "close_stream":
                    break
                if told.get("msg") == "process_completed" and told["event_id"] == asked:
                    if not told["success"] and "still running" not in str(told["output"]):  # one job at a time
                        raise RuntimeError(f"{event['api_name']} failed: {told['output']}")
                    return
            self.lines = None


class Soak:
    """Sends requests of every kind to an app, and keeps count of them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.config = httpx.get(f"{app.url}/config", trust_env=False).raise_for_status().json()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._rng = Random(11)
        self._mutex = threading.Lock()

    def send(self, requests: int, until: float, kinds: Mapping[str, float] = _KINDS) -> None:
        """Send so many requests, or as many as can be sent until a time (of `time.monotonic`)."""
        room = threading.Semaphore(_AT_ONCE)
        threads: list[threading.Thread] = []
        for number in range(requests):
            if time.monotonic() > until:
                break
            room.acquire()
            (kind,) = self._rng.choices([*kinds], [*kinds.values()])
            threads = [thread for thread in threads if thread.is_alive()]
            threads.append(threading.Thread(target=self._one, args=(kind, number, room)))
            threads[-1].start()
            progress("requests", number + 1, requests)
        for thread in threads:
            thread.join()

    def _one(self, kind: str, number: int, room: threading.Semaphore) -> None:
        failure = ""
        try:
            getattr(self, f"_{kind}")(number)
        except (httpx.HTTPError, RuntimeError) as error:
            failure = f"{kind}: {type(error).__name__}: {error}"[:300]
        finally:
            with self._mutex:
                self.done[kind] += 1
                self.failed.update([failure] if failure else [])
            room.release()

    def _question(self, number: int) -> None:
        asked = [{"role": "user", "content": question(number)}]
        body = {"model": _KB, "messages": asked, "stream": number % 2 == 0}
        httpx.post(
            f"{self.app.url}/v1/chat/completions", json=body, timeout=_TIMEOUT_S, trust_env=False
        ).raise_for_status()

    def _page(self, number: int) -> None:
        Page(self.app, self.config).close()

    def _chat(self, number: int) -> None:
        page = Page(self.app, self.config)
        try:
            page.press("question", "submit", question=question(number), kb=[_KB])
            page.press("chat-search", "change", chat_search=WORDS[number % len(WORDS)])
        finally:
            page.close()

    def _upload(self, number: int) -> None:
        page = Page(self.app, self.config)
        try:
            file = page.upload(f"upload{number % _UPLOADS}.md", page_text(f"upload {number}"))
            page.press("knowledge-upload-button", "click", knowledge_upload=[file], knowledge_kb=_KB)
        finally:
            page.close()

    def _job(self, number: int) -> None:
        page = Page(self.app, self.config)
        try:
            page.press("knowledge-apply", "click", knowledge_kb=_KB)
        finally:
            page.close()


def page_text(name: str) -> str:
    """A document of its own."""
    rng = Random(name)
    return "\n\n".join(f"## {rng.choice(WORDS)}\n\n{' '.join(rng.choices(WORDS, k=40))}." for _ in range(4))


def question(number: int) -> str:
    """Some words that stand in the documents, in an order of their own."""
    return f"{' '.join(Random(number).sample(WORDS, 3))} {number}?"


def measure(
    requests: int, minutes: float, warm_up: int, rest_s: float, kinds: Mapping[str, float] = _KINDS
) -> dict[str, Any]:
    """Send `warm_up` requests, rest and sample, then send the others, rest and sample. `kinds` are their shares."""
    free = {"RAGSTONE_APP__ANSWERS_AT_ONCE": "0", "RAGSTONE_APP__ANSWERS_PER_MINUTE": "0"}
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
        data, docs, model = (Path(name) / part for part in ("data", "docs", "model"))
        docs.mkdir()
        for n in range(_DOCUMENTS):
            (docs / f"{n}.md").write_text(page_text(f"document {n}"), "utf-8")
        tiny_embedder.build(model)
        own = {"RAGSTONE_RETRIEVAL__EMBEDDER": str(model), "RAGSTONE_RETRIEVAL__DEVICE": "cpu"}
        index(docs, _KB, data, own)
        env = own | free | {"RAGSTONE_LLM__BACKEND": "extractive"}
        with running("ui", data, Path(name) / "app.log", env) as app:
            until = time.monotonic() + 60 * minutes
            soak = Soak(app)
            for kind in _KINDS:  # what each needs is loaded
                soak.send(2, until, kinds={kind: 1.0})
            soak.send(warm_up, until, kinds)
            time.sleep(rest_s)
            before, warm = sample(app.process.pid), sum(soak.done.values())
            soak.send(requests - warm_up, until, kinds)
            time.sleep(rest_s)
            after = sample(app.process.pid)
            log = app.log.read_text(errors="replace")
    return {
        "requests": dict(soak.done), "measured": sum(soak.done.values()) - warm, "before": asdict(before),
        "after": asdict(after), "grown": grown(before, after), "failed": dict(soak.failed), "bounds": BOUNDS,
        "log_lines": len(log.splitlines()), "log": log[-2000:],
    }  # fmt: skip


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Whether anything grows.")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=8.0, help="no request is begun after so long")
    parser.add_argument("--warm-up", type=int, default=500, help="requests before the first sample")
    parser.add_argument("--rest", type=float, default=20.0, help="seconds without a request before each sample")
    options = parser.parse_args()
    row = measure(options.requests, options.minutes, options.warm_up, options.rest)
    log = row.pop("log")
    merge("soak", row | {"environment": environment(("gradio", "faiss-cpu", "tantivy", "uvicorn"))})
    print(json.dumps(row, indent=1))
    if row["failed"] or row["grown"]:
        print(log)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
