"""An answer ends soon once whoever asked may not have it any more: over HTTP, MCP and on the page."""

import json
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.running.accounts import Accounts
from tests.app.app_process import App, running
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"
PASSWORD = "correct horse battery"
_LONG_S = 60
SLOW, SILENT = Reply(["word "] * 50_000, delay_s=0.05), Reply(failure="stall")


@pytest.fixture(scope="module")
def app(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("standing")
    shutil.copytree(handbook, folder / "data")
    Accounts(folder / "data").add("ann", "admin", None, PASSWORD)
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url, "RAGSTONE_APP__USERS": "on"}
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


@pytest.fixture
def accounts(app: App) -> Iterator[Accounts]:
    """With a reader, bob."""
    accounts = Accounts(app.data)
    accounts.add("bob", "reader", ["handbook"], PASSWORD)
    yield accounts
    if "bob" in [account.name for account in accounts.all()]:
        accounts.remove("bob")


TAKING: dict[str, Callable[[Accounts, str], object]] = {
    "key": lambda accounts, key: accounts.revoke_key("bob", key[:8]),
    "account": lambda accounts, key: accounts.remove("bob"),
    "access": lambda accounts, key: accounts.set_bases("bob", ["other"]),
}


@pytest.mark.parametrize("reply", [SLOW, SILENT])
@pytest.mark.parametrize("what", list(TAKING))
def test_a_stream_ends_with_an_error_that_says_why(
    app: App, accounts: Accounts, stub: Stub, what: str, reply: Reply
) -> None:
    stub.reply, key = reply, accounts.add_key("bob")
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    headers = {"authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=_LONG_S) as stream:
        lines = (line.removeprefix("data: ") for line in stream.iter_lines() if line)
        next(lines)
        assert stub.asked.wait(_LONG_S)
        TAKING[what](accounts, key)
        *_, error, end = lines
    assert "access was taken away" in json.loads(error)["error"]["message"]
    assert end == "[DONE]"
    assert stub.calls[0].left.wait(_LONG_S)


def test_an_answer_that_is_not_streamed_is_refused(app: App, accounts: Accounts, stub: Stub) -> None:
    stub.reply, key = SLOW, accounts.add_key("bob")
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}]}
    headers = {"authorization": f"Bearer {key}"}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=_LONG_S)
        assert stub.asked.wait(_LONG_S)
        accounts.revoke_key("bob", key[:8])
        answer = asked.result()
    assert answer.status_code == 403
    assert "word" not in answer.text
    assert stub.calls[0].left.wait(_LONG_S)


def test_an_agent_is_refused_too(app: App, accounts: Accounts, stub: Stub) -> None:
    stub.reply, key = SILENT, accounts.add_key("bob")
    call = {"name": "ask", "arguments": {"question": QUESTION, "kb": "handbook"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {
        "accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18",
        "authorization": f"Bearer {key}",
    }  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{app.url}/mcp", json=body, headers=headers, timeout=_LONG_S)
        assert stub.asked.wait(_LONG_S)
        accounts.remove("bob")
        assert "access was taken away" in asked.result().text
    assert stub.calls[0].left.wait(_LONG_S)


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_is_not_answered_on(app: App, accounts: Accounts, stub: Stub, stream: bool) -> None:
    stub.reply = SLOW
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
    text = json.dumps(body)
    head = {
        "host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(text)),
        "authorization": f"Bearer {accounts.add_key('bob')}",
    }  # fmt: skip
    lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", text]
    # by hand: a client whose thread waits for the answer leaves only as that wait ends
    with socket.create_connection(("127.0.0.1", app.port), timeout=_LONG_S) as client:
        client.sendall("\r\n".join(lines).encode())
        assert stub.asked.wait(_LONG_S)
    assert stub.calls[0].left.wait(_LONG_S)


class Page:
    """Bob's page, whose events are sent by hand."""

    def __init__(self, app: App) -> None:
        self.client, self.session = httpx.Client(base_url=app.url, timeout=_LONG_S), uuid.uuid4().hex
        assert self.client.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 303
        config = self.client.get("/config").json()
        box = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "question")
        self.event = next(e for e in config["dependencies"] if [box, "submit"] in e["targets"])

    def ask(self) -> Iterator[dict[str, Any]]:
        """What the page is told while its question is answered."""
        data = [QUESTION, None, [], False]
        body = {"fn_index": self.event["id"], "data": data, "event_data": None, "session_hash": self.session}
        assert self.client.post("/gradio_api/queue/join", json=body).status_code == 200
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    told = json.loads(line.removeprefix("data: "))
                    yield told
                    if told["msg"] == "process_completed":
                        return


@pytest.mark.parametrize("reply", [SLOW, SILENT])
@pytest.mark.parametrize("what", ["account", "access"])
def test_the_page_is_told_and_shows_nothing_of_it(
    app: App, accounts: Accounts, stub: Stub, what: str, reply: Reply
) -> None:
    stub.reply = reply
    told = Page(app).ask()
    next(told)
    assert stub.asked.wait(_LONG_S)
    TAKING[what](accounts, "")
    *_, shown, _ = told
    assert "access was taken away" in json.dumps(shown)
    assert "LT-300" not in json.dumps(shown["output"]["data"])
    assert stub.calls[0].left.wait(_LONG_S)
