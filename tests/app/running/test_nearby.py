"""Model servers are found at the ports one names and tried by one greeting; nothing else is asked, or told a key."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from app.running.nearby import check_address, look, models_of, trial
from core.config import LlmConfig
from core.errors import ModelError
from tests.app.stub_model import MODEL, Reply, Stub
from tests.fixtures_vllm import free_port


def port_of(stub: Stub) -> int:
    return urlsplit(stub.base_url).port or 0


@pytest.fixture
def other() -> Iterator[int]:
    """The port of a web server that is no model server."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_is_found_with_its_models_those_that_do_not_chat_last(stub: Stub) -> None:
    stub.rows = [{"id": "nomic-embed-text"}, {"id": "qwen3:8b"}]
    (found,) = asyncio.run(look([str(port_of(stub)), port_of(stub)]))
    assert (found.base_url, found.models) == (stub.base_url, ("qwen3:8b", "nomic-embed-text"))
    assert stub.calls == []


def test_what_is_no_model_server_or_is_silent_is_passed_over_quickly(stub: Stub, other: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        found = asyncio.run(look([other, free_port(), silent.getsockname()[1], port_of(stub)]))
        assert time.monotonic() - began < 30  # its own patience is a twentieth of that
    assert [server.base_url for server in found] == [stub.base_url]


def test_a_trial_tells_what_was_said_and_shows_the_key_to_that_server_alone(stub: Stub) -> None:
    stub.reply = Reply(("Hello ", "there."))
    tried = asyncio.run(trial(LlmConfig(base_url=stub.base_url, api_key="mine"), "en"))
    assert (tried.model, tried.said, tried.context) == (MODEL, "Hello there.", 4096)
    assert [call.key for call in stub.calls] == ["mine"]


def test_a_model_that_thinks_lives_and_is_not_waited_for(stub: Stub) -> None:
    stub.reply = Reply(("<think>", "Hm. ", *["and so on "] * 50), delay_s=0.01)
    assert asyncio.run(trial(LlmConfig(base_url=stub.base_url))).said == ""
    assert stub.calls[0].left.wait(10)


@pytest.mark.parametrize("failure", ["error", "refused", "garbage"])
def test_a_trial_that_fails_says_why(stub: Stub, failure: str) -> None:
    stub.reply = Reply((), failure=failure)  # type: ignore[arg-type]
    with pytest.raises(ModelError):
        asyncio.run(trial(LlmConfig(base_url=stub.base_url)))


@pytest.mark.parametrize("url", ["", "ftp://host/v1", "127.0.0.1:8000", "http://", "http://me@host/v1", "http://[::1"])
def test_what_is_no_address_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(ModelError, match="no address of a model server"):
        check_address(url)
    with pytest.raises(ModelError, match="no address of a model server"):
        asyncio.run(models_of(url, "key"))
