"""Vectors and order by the knowledge bases' own models, as OpenAI's client and rerank clients ask for them."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.http.server import build
from app.running.accounts import Accounts
from app.running.bases import State
from core.config import load
from retrieval.rerank import Reranker
from tests.retrieval.test_rerank import PASSAGES, QUESTION
from tests.retrieval.test_rerank import build as build_reranker

if TYPE_CHECKING:
    import openai

TEXTS = ["Twenty-five days of leave a year.", "年休假为二十五天。", "The LT-300 measures turbidity."]


def made(data: Path, **flags: object) -> State:
    return State(load(flags={"app.data": str(data), "llm.backend": "extractive", **flags}, environ={}))


def serving(state: State) -> Iterator[TestClient]:
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def state(handbook: Path) -> State:
    return made(handbook)


@pytest.fixture(scope="module")
def http(state: State) -> Iterator[TestClient]:
    yield from serving(state)


@pytest.fixture(scope="module")
def client(http: TestClient) -> "openai.OpenAI":
    import openai

    sends: Any = http
    return openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="any", max_retries=0, http_client=sends)


@pytest.fixture(scope="module")
def ranker(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    return made(handbook, **{"retrieval.reranker": str(build_reranker(tmp_path_factory.mktemp("reranker")))})


@pytest.fixture(scope="module")
def ranking(ranker: State) -> Iterator[TestClient]:
    yield from serving(ranker)


def test_vectors_are_those_of_the_knowledge_bases_embedder(client: "openai.OpenAI", state: State) -> None:
    embedder = state.bases.get("handbook").embedder
    for form in ("float", "base64"):
        done = client.embeddings.create(model="handbook", input=TEXTS, encoding_format=form)  # type: ignore[arg-type]
        found = [row.embedding for row in done.data]
        if form == "base64":
            found = [np.frombuffer(base64.b64decode(str(vector)), "<f4") for vector in found]
        assert np.allclose(np.array(found, np.float32), embedder.embed_passages(TEXTS), atol=1e-5)
        assert [row.index for row in done.data] == [0, 1, 2]
    assert done.usage.prompt_tokens == sum(reading.tokens for reading in embedder.read(TEXTS))


def test_the_clients_own_form_is_read(client: "openai.OpenAI") -> None:
    done = client.embeddings.create(model="handbook", input=TEXTS[0])  # it asks for base64, and reads it back
    assert len(done.data[0].embedding) == 384
    assert np.isclose(np.linalg.norm(done.data[0].embedding), 1.0, atol=1e-4)


def test_questions_have_the_prompt_of_questions(client: "openai.OpenAI", state: State) -> None:
    embedder = state.bases.get("handbook").embedder
    extra = {"input_type": "query"}
    done = client.embeddings.create(model="handbook", input=TEXTS[:2], dimensions=384, extra_body=extra)
    assert np.allclose([row.embedding for row in done.data], [embedder.embed_query(t) for t in TEXTS[:2]], atol=1e-5)


LONG = "leave and holidays " * 400


@pytest.mark.parametrize(
    ("fields", "name", "said"),
    [
        ({"input": []}, "input", "at least 1"), ({"input": ["a", " "]}, "input", "text 1 is empty"),
        ({"input": [[1, 2]]}, "input", "tokens are not read"), ({"input": [1, 2]}, "input", "tokens are not read"),
        ({"input": ["a"] * 2049}, "input", "2048"), ({"input": ["a" * 250_001] * 2}, "input", "500000 characters"),
        ({"input": ["a", LONG]}, "input", "text 1 has"), ({"dimensions": 256}, "dimensions", "384"),
        ({"encoding_format": "int8"}, "encoding_format", "float"), ({"input_type": "image"}, "input_type", "query"),
        ({"task": "x"}, "task", "not permitted"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused_and_named(http: TestClient, fields: dict[str, Any], name: str, said: str) -> None:
    response = http.post("/v1/embeddings", json={"model": "handbook", "input": "a"} | fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"].startswith(name)
    assert said in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"no json", b'{"model": ', b'{"model": "\xff\xfe"}'], ids=["none", "text", "cut", "bytes"]
)
@pytest.mark.parametrize("path", ["embeddings", "rerank", "chat/completions"])
def test_a_body_that_is_no_json_is_refused_in_the_form_of_other_errors(
    http: TestClient, path: str, body: bytes
) -> None:
    reply = http.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.json()["error"]["message"]


def test_a_long_text_is_cut_where_that_is_asked_for(http: TestClient) -> None:
    asked = {"model": "handbook", "input": LONG, "truncate": True}
    response = http.post("/v1/embeddings", json=asked)
    assert response.status_code == 200
    assert response.json()["usage"]["prompt_tokens"] < 512


def test_documents_are_put_in_order(ranking: TestClient, ranker: State) -> None:
    documents = [PASSAGES[0], {"text": PASSAGES[2]}, PASSAGES[3], PASSAGES[7]]
    scores = Reranker(ranker.cfg.retrieval).score(QUESTION, [PASSAGES[n] for n in (0, 2, 3, 7)])
    response = ranking.post("/v1/rerank", json={"model": "handbook", "query": QUESTION, "documents": documents})
    rows = response.json()["results"]
    assert [row["index"] for row in rows] == sorted(range(4), key=lambda n: -scores[n])
    assert np.allclose([row["relevance_score"] for row in rows], sorted(scores, reverse=True), atol=1e-5)
    assert {row["index"]: row["document"]["text"] for row in rows}[1] == PASSAGES[2]
    few = {"model": "handbook", "query": QUESTION, "documents": documents, "top_n": 2, "return_documents": False}
    assert ranking.post("/v1/rerank", json=few).json()["results"] == [
        {key: row[key] for key in ("index", "relevance_score")} for row in rows[:2]
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"documents": []}, {"documents": [5]}, {"documents": ["a"] * 1001}, {"documents": ["a" * 500_001]},
        {"query": " "}, {"query": "a" * 4001}, {"top_n": 0}, {"max_chunks_per_doc": 3},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_a_rerank_request_that_cannot_be_done_is_refused(ranking: TestClient, fields: dict[str, Any]) -> None:
    asked = {"model": "handbook", "query": "q", "documents": ["a"]} | fields
    assert ranking.post("/v1/rerank", json=asked).status_code == 400


def test_without_a_reranker_that_is_said(http: TestClient) -> None:
    response = http.post("/v1/rerank", json={"model": "handbook", "query": "q", "documents": ["a"]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "no_reranker"
    assert "retrieval.reranker" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["embeddings", "rerank"])
def test_a_key_reaches_the_models_of_its_knowledge_bases_alone(handbook: Path, tmp_path: Path, path: str) -> None:
    asked = {"model": "handbook"} | ({"input": "a"} if path == "embeddings" else {"query": "q", "documents": ["a"]})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "handbook").symlink_to(handbook / "handbook")
    accounts = Accounts(tmp_path / "data")
    for name, kb in (("ann", "handbook"), ("bob", "x")):
        accounts.add(name, "reader", [kb], None)
    keys = [accounts.add_key(user) for user in ("ann", "bob")]
    codes = []
    for http in serving(made(tmp_path / "data", **{"app.users": "on"})):
        codes = [
            http.post(f"/v1/{path}", json=asked, headers={"authorization": f"Bearer {key}"}).status_code
            for key in (*keys, "rs-made-up")
        ]
    assert codes == [200 if path == "embeddings" else 400, 404, 401]


def test_vectors_count_as_what_a_caller_may_ask_for(handbook: Path) -> None:
    codes = []
    for http in serving(made(handbook, **{"app.answers_per_minute": 2})):
        codes = [http.post("/v1/embeddings", json={"model": "handbook", "input": "a"}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
