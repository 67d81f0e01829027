"""/v1/overview: for editors of the knowledge base, and nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.answering import unanswered
from app.http.server import build
from app.running.accounts import Accounts
from app.running.audit import entries
from app.running.bases import State
from core.config import load
from retrieval.embed import Embedder
from tests.conftest import SMALL
from tests.retrieval.corpus import build as filled

QUESTION = "Who won the football cup in Brazil?"


@pytest.fixture
def state(tmp_path: Path, embedder: Embedder) -> State:
    """An app with users, over two knowledge bases; it keeps questions."""
    accounts = Accounts(tmp_path / "data")
    for name, role, bases in (("ann", "admin", None), ("eve", "editor", ["kb"]), ("bob", "reader", None)):
        accounts.add(name, role, bases, "correct horse battery")  # type: ignore[arg-type]
    flags = SMALL | {"app.data": str(tmp_path / "data"), "llm.backend": "extractive", "app.users": "on"}
    settings = load(flags=flags | {"app.keep_unanswered": "true"}, environ={})
    for kb in ("kb", "other"):
        filled(settings.config, embedder, kb=kb).close()
    return State(settings)


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        yield client


def key(state: State, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {Accounts(state.bases.data).add_key(name)}"}


def test_a_question_without_an_answer_comes_to_the_editors_without_who_asked(state: State, client: TestClient) -> None:
    body = {"model": "kb", "messages": [{"role": "user", "content": QUESTION}]}
    asked = client.post("/v1/chat/completions", json=body, headers=key(state, "bob"))
    assert not asked.json()["ragstone"]["answered"]
    told = client.get("/v1/overview/kb", headers=key(state, "eve"))
    assert told.status_code == 200
    (group,) = told.json()["missing"]
    assert (group["asked"], group["questions"]) == (1, [QUESTION])
    assert told.json()["documents"] == 5
    assert "bob" not in told.text + (state.bases.data / "kb" / unanswered.FILE).read_text("utf-8")


def test_readers_and_editors_of_others_may_neither_look_nor_forget(state: State, client: TestClient) -> None:
    for kb in ("kb", "other"):
        unanswered.keep([state.bases.data / kb], QUESTION)
    for name, kb in (("bob", "kb"), ("eve", "other"), ("bob", "none")):
        headers = key(state, name)
        assert client.get(f"/v1/overview/{kb}", headers=headers).status_code == 403
        assert client.delete(f"/v1/overview/{kb}/questions", headers=headers).status_code == 403
    assert client.get("/v1/overview/kb").status_code == 401
    assert client.get("/v1/overview/none", headers=key(state, "ann")).status_code == 404
    assert client.get("/v1/overview/kb?months=0", headers=key(state, "ann")).status_code == 400
    assert len(unanswered.read(state.bases.data / "kb")) == len(unanswered.read(state.bases.data / "other")) == 1


def test_questions_are_forgotten_by_id_or_all_and_that_is_on_record(state: State, client: TestClient) -> None:
    home, headers = state.bases.data / "kb", key(state, "eve")
    for question in (QUESTION, "Who repairs the coffee machine?", "Where is the gym?"):
        unanswered.keep([home], question)
    first = unanswered.read(home)[0].id
    assert client.delete("/v1/overview/kb/questions", params={"id": first}, headers=headers).json() == {"forgotten": 1}
    assert first not in {row.id for row in unanswered.read(home)}
    assert client.delete("/v1/overview/kb/questions", headers=headers).json() == {"forgotten": 2}
    assert unanswered.read(home) == []
    noted = [(entry.who, entry.what, entry.on, entry.detail) for entry in entries(state.bases.data)]
    assert noted[:2] == [
        ("eve", "questions.forget", "kb", "2 questions"),
        ("eve", "questions.forget", "kb", "1 questions"),
    ]
