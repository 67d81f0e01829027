"""How many answers are written for one caller, over real HTTP: no more than may be, and none for whoever has left."""

import asyncio
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.app_process import App, running
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"
MOST = 4
_LONG_S = 60  # by then, whatever is to happen has happened


@pytest.fixture(scope="module")
def server(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("at-once")
    shutil.copytree(handbook, folder / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url, "RAGSTONE_APP__ANSWERS_AT_ONCE": str(MOST)}
    with running("serve", folder / "data", folder / "serve.log", env) as app:
        yield app


@pytest.fixture(scope="module")
def page(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("at-once-page")
    shutil.copytree(handbook, folder / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url, "RAGSTONE_APP__ANSWERS_AT_ONCE": "1"}
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


def asked(stream: bool) -> dict[str, Any]:
    return {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}


def being_written(server: App) -> int:
    lines = httpx.get(f"{server.url}/metrics", timeout=_LONG_S).text.splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("ragstone_answers_running ")))


def wait_until_none(server: App) -> None:
    end = time.monotonic() + _LONG_S
    while being_written(server):
        assert time.monotonic() < end, "answers are still being counted"
        time.sleep(0.1)


def sent(server: App, path: str, body: dict[str, Any], **headers: str) -> socket.socket:
    """A connection on which a request was sent."""
    raw = json.dumps(body).encode()
    more = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(raw)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in more.items())
    client = socket.create_connection(("127.0.0.1", server.port), timeout=_LONG_S)
    client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + raw)
    return client


@pytest.mark.parametrize("stream", [True, False])
def test_of_many_questions_that_come_together_only_so_many_get_in(server: App, stub: Stub, stream: bool) -> None:
    stub.reply = Reply(failure="stall")

    async def ask(client: httpx.AsyncClient, refused: asyncio.Semaphore) -> int:
        async with client.stream("POST", f"{server.url}/v1/chat/completions", json=asked(stream)) as response:
            if response.status_code == 200:
                await asyncio.Event().wait()
            refused.release()
            return response.status_code

    async def all_at_once() -> tuple[list[int], int]:
        """The refusals, and how many answers are written by then."""
        refused = asyncio.Semaphore(0)
        async with httpx.AsyncClient(timeout=_LONG_S, limits=httpx.Limits(max_connections=60)) as client:
            tasks = [asyncio.create_task(ask(client, refused)) for _ in range(40)]
            async with asyncio.timeout(_LONG_S):
                for _ in range(40 - MOST):
                    await refused.acquire()
            written = await asyncio.to_thread(being_written, server)
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            return [status for status in done if isinstance(status, int)], written

    assert asyncio.run(all_at_once()) == ([429] * (40 - MOST), MOST)
    wait_until_none(server)
    stub.reset()
    for _ in range(MOST + 1):
        assert httpx.post(f"{server.url}/v1/chat/completions", json=asked(stream), timeout=_LONG_S).status_code == 200


def test_who_leaves_before_the_first_byte_is_not_counted_on(server: App, stub: Stub) -> None:
    stub.reply = Reply(failure="stall")
    for _ in range(5 * MOST):
        sent(server, "/v1/chat/completions", asked(True)).close()
    wait_until_none(server)
    stub.reset()
    done = httpx.post(f"{server.url}/v1/chat/completions", json=asked(False), timeout=_LONG_S)
    assert done.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reply", [Reply(["word "] * 50_000, delay_s=0.05), Reply(failure="stall")])
def test_the_model_is_not_asked_on_for_a_client_that_has_left(
    server: App, stub: Stub, stream: bool, reply: Reply
) -> None:
    stub.reply = reply
    client = sent(server, "/v1/chat/completions", asked(stream))
    assert stub.asked.wait(_LONG_S)
    assert being_written(server) == 1
    client.close()
    assert stub.calls[0].left.wait(_LONG_S)
    wait_until_none(server)


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_an_agent_that_leaves_ends_its_tool(server: App, stub: Stub, version: str) -> None:
    stub.reply = Reply(failure="stall")
    call = {"name": "ask", "arguments": {"question": QUESTION, "kb": "handbook"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": version}
    client = sent(server, "/mcp", body, **headers)
    assert stub.asked.wait(_LONG_S)
    assert being_written(server) == 1
    client.close()
    assert stub.calls[0].left.wait(_LONG_S)
    wait_until_none(server)


def test_an_answer_that_fails_makes_room(server: App, stub: Stub) -> None:
    stub.reply = Reply(failure="error")
    for _ in range(MOST + 1):
        response = httpx.post(f"{server.url}/v1/chat/completions", json=asked(False), timeout=_LONG_S)
        assert response.status_code == 502
    assert being_written(server) == 0


def test_the_page_writes_no_more_for_one_caller_either(page: App, stub: Stub) -> None:
    stub.reply = Reply([f"word{i} " for i in range(2000)], delay_s=0.05)
    with httpx.Client(base_url=page.url, timeout=_LONG_S) as client:
        config = client.get("/config").json()
        ids = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
        number = next(
            one["id"] for one in config["dependencies"] if ("question", "submit") in
            [(ids.get(at), kind) for at, kind in one["targets"]]
        )  # fmt: skip

        def ask(session: str, question: str) -> None:
            body = {"data": [question, None, [], False], "fn_index": number, "session_hash": session}
            assert client.post("/gradio_api/queue/join", json=body).status_code == 200

        ask("first", QUESTION)
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "first"}) as first:
            lines = first.iter_lines()  # kept: with it, the connection would go
            assert any("word3" in line for line in lines)  # it is being written
            ask("second", "How is it calibrated?")
            with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "second"}) as second:
                told = "".join(line for line in second.iter_lines() if line.startswith("data: "))
    assert "1 answers are being written for you already" in told
    assert "process_completed" in told
    assert "word3" not in told
    assert len(stub.answers()) == 1
