"""The embedder behind a server: what it is sent, and what of its answers is refused."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import ModelError
from retrieval.embed import Embedder
from tests.fixtures_vllm import free_port

SIZE = 384  # of the English embedder's vectors


def counted(body: dict[str, Any]) -> object:
    """A vector for each text, of the text's length; not in the order in which they came."""
    rows = [{"index": i, "embedding": [float(len(text)), *[1.0] * (SIZE - 1)]} for i, text in enumerate(body["input"])]
    return {"data": rows[::-1]}


@dataclass
class Endpoint:
    """An embedding server: `answer` makes the reply to a request's body."""

    url: str = ""
    status: int = 200
    answer: Callable[[dict[str, Any]], object] = counted
    asked: list[dict[str, Any]] = field(default_factory=list)

    def embedder(self, **keys: object) -> Embedder:
        told = {"embedder": "english", "embed_url": self.url} | keys
        return Embedder(RetrievalConfig.model_validate(told))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"data": [{"id": "an-embedder"}]})

        def do_POST(self) -> None:
            state.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply(state.answer(state.asked[-1]))

        def reply(self, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield state
        server.shutdown()


def test_texts_come_with_their_prompt_and_vectors_of_unit_length_in_their_order(endpoint: Endpoint) -> None:
    embedder = endpoint.embedder(query_prompt="query: ", passage_prompt="passage: ")
    vectors = embedder.embed_passages(["a" * 40, "b"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1])
    assert vectors[0, 0] > vectors[1, 0]
    embedder.embed_query("why?")
    assert [sorted(body["input"]) for body in endpoint.asked] == [
        ["passage: " + "a" * 40, "passage: b"], ["query: why?"],
    ]  # fmt: skip
    assert endpoint.asked[0]["model"] == "an-embedder"


def test_what_the_model_does_not_read_is_not_sent(endpoint: Endpoint) -> None:
    embedder = endpoint.embedder(passage_prompt="passage: ")
    embedder.embed_passages(["rain " * 1000])
    [sent] = endpoint.asked[0]["input"]
    assert sent.startswith("passage: rain rain")
    assert embedder.count_tokens(sent) == embedder.max_tokens - 2  # [CLS] and [SEP]


def test_an_index_keeps_its_vectors_whoever_makes_them(endpoint: Endpoint) -> None:
    assert endpoint.embedder().identity == Embedder(RetrievalConfig(embedder="english")).identity


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "no data": lambda body: {},
    "a list": lambda body: [],
    "too few": lambda body: {"data": []},
    "twice": lambda body: {"data": [{"index": 0, "embedding": [1.0] * SIZE}] * 2},
    "uneven": lambda body: {"data": [{"index": i, "embedding": [1.0] * (SIZE - i)} for i in range(2)]},
    "text": lambda body: {"data": [{"index": i, "embedding": ["x"] * SIZE} for i in range(2)]},
    "nought": lambda body: {"data": [{"index": i, "embedding": [0.0] * SIZE} for i in range(2)]},
    "no number": lambda body: {"data": [{"index": i, "embedding": [float("nan")] * SIZE} for i in range(2)]},
    "mixed": lambda body: {"data": [{"index": "0", "embedding": []}, {"index": 1, "embedding": []}]},
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_what_is_no_vectors_is_refused(endpoint: Endpoint, answer: Callable[[dict[str, Any]], object]) -> None:
    endpoint.answer = answer
    with pytest.raises(ModelError, match="no vectors") as caught:
        endpoint.embedder().embed_passages(["a", "b"])
    assert endpoint.url in caught.value.message


def test_vectors_of_another_size_are_another_model(endpoint: Endpoint) -> None:
    endpoint.answer = lambda body: {"data": [{"index": 0, "embedding": [1.0] * 8}]}
    with pytest.raises(ModelError, match=r"vectors of 8 numbers, embedder .* has 384"):
        endpoint.embedder().embed_query("why?")


def test_a_server_that_fails_or_is_not_there_is_named(endpoint: Endpoint) -> None:
    embedder = endpoint.embedder()
    endpoint.status = 500
    with pytest.raises(ModelError, match="HTTP 500"):
        embedder.embed_query("why?")
    gone = endpoint.embedder(embed_url=f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(ModelError, match="no embedding server answers") as caught:
        gone.embed_query("why?")
    assert "retrieval.embed_url" in caught.value.hint
