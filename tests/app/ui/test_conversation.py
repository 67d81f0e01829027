"""Conversations as somebody reads them who may see less than when they were written: on the page and as an export."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.http.server import build
from app.messages.texts import TEXTS
from app.running.bases import State
from app.running.users import User
from app.training.votes import votes_file
from app.ui import knowledge_job
from app.ui.answering import Answering
from app.ui.conversation import in_panel, messages, reader_of, voted
from app.ui.page import mount
from core.config import load
from core.types import Answer, Citation, Hit, Source
from retrieval.index import Index

QUESTION, SECRET = "How many days of leave?", "Twenty-five"


@pytest.fixture(scope="module")
def state(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    data = tmp_path_factory.mktemp("conversation") / "data"
    shutil.copytree(handbook, data)
    state = State(load(flags={"app.data": str(data), "app.users": "on"}, environ={}))
    state.users.accounts.add("ann", "admin", None, "correct horse battery")
    state.users.accounts.add("bob", "reader", ["handbook"], None)
    return state


@pytest.fixture(scope="module")
def client(state: State) -> Iterator[TestClient]:
    with TestClient(mount(build(state), state, "handbook"), base_url="http://127.0.0.1") as client:
        yield client


def conversation(state: State) -> str:
    """One of bob's, with an answer that rests on the handbook."""
    bob = state.users.accounts.get("bob")
    reader = reader_of(state, User("bob", "reader", ("handbook",), bob.id))
    hit = Hit(1, 0.9, 1, "/docs", "leave.md", "Leave", 3, (), 0, 8, f"{SECRET} days.", "en", 0, 4, kb="handbook")
    cited, sources = (Citation(1, "leave.md", 3, hit.text),), (Source(1, hit, hit.text),)
    answer = Answer(f"{SECRET} [1].", True, cited, sources, "openai", "m", "leave?", 0.5)
    chat = state.chats.begin(reader, ["handbook"]).id
    question = state.chats.ask(reader, chat, None, QUESTION)
    state.chats.reply(reader, chat, question, answer.text, answer, reader.sees.values())
    return chat


def shown(state: State, chat: str, user: User, said: str = "en") -> str:
    """All that the page shows of it."""
    tongue = "zh" if said == "zh" else "en"
    branch = state.chats.branch(reader_of(state, user), chat)
    return f"{messages(branch, tongue)}{in_panel(branch[-1], tongue)}"


def test_what_access_was_taken_away_from_is_gone_from_page_and_export_until_it_is_given_back(
    state: State, client: TestClient
) -> None:
    chat, accounts = conversation(state), state.users.accounts
    headers = {"authorization": f"Bearer {accounts.add_key('bob')}"}

    def bob() -> User:
        account = accounts.get("bob")
        return User("bob", "reader", account.bases, account.id)

    def export() -> str:
        return client.get(f"/chats/{chat}.md", headers=headers).text

    assert SECRET in export()
    assert SECRET in shown(state, chat, bob())
    accounts.set_bases("bob", ["another"])
    for told in (export(), shown(state, chat, bob()), shown(state, chat, bob(), "zh")):
        assert QUESTION in told
        assert not any(word in told for word in (SECRET, "leave.md", "handbook"))
    assert TEXTS["en"]["hidden"] in shown(state, chat, bob())
    assert TEXTS["zh"]["hidden"] in shown(state, chat, bob(), "zh")
    assert "no longer see" in export()
    assert client.get("/view/handbook/1.png", headers=headers).status_code == 403
    accounts.set_bases("bob", ["handbook"])
    assert SECRET in export()
    assert SECRET in shown(state, chat, bob())


def test_what_rests_on_a_knowledge_base_that_was_removed_is_gone_even_for_who_sees_all(state: State) -> None:
    chat, account = conversation(state), state.users.accounts.get("bob")
    user = User("bob", "admin", None, account.id)
    assert SECRET in shown(state, chat, user)
    (state.bases.data / "handbook").rename(state.bases.data.parent / "removed")
    assert SECRET not in shown(state, chat, user)
    (state.bases.data.parent / "removed").rename(state.bases.data / "handbook")


def test_an_export_is_its_owners_alone(state: State, client: TestClient) -> None:
    chat = conversation(state)
    key = state.users.accounts.add_key("ann")
    assert client.get(f"/chats/{chat}.md", headers={"authorization": f"Bearer {key}"}).status_code == 403


def test_an_answer_is_taken_along_by_its_owner_alone_and_while_they_may_see_what_it_rests_on(
    state: State, client: TestClient
) -> None:
    chat, accounts = conversation(state), state.users.accounts
    user = User("bob", "reader", ("handbook",), accounts.get("bob").id)
    question, reply = (message.id for message in state.chats.branch(reader_of(state, user), chat)[-2:])
    ann, bob = ({"authorization": f"Bearer {accounts.add_key(name)}"} for name in ("ann", "bob"))

    def status(message: int, kind: str, headers: dict[str, str]) -> int:
        return client.get(f"/answers/{message}.{kind}", headers=headers).status_code

    for kind in ("md", "docx", "html"):
        assert status(reply, kind, bob) == 200
        assert [status(reply, kind, ann), status(question, kind, bob), status(10**30, kind, bob)] == [403, 404, 403]
        assert status(reply, kind, {}) in (401, 403)
    assert SECRET in client.get(f"/answers/{reply}.md", headers=bob).text
    accounts.set_bases("bob", ["another"])
    assert [status(reply, kind, bob) for kind in ("md", "docx", "html")] == [404] * 3
    accounts.set_bases("bob", ["handbook"])


def test_what_rests_on_a_knowledge_base_that_was_made_again_under_its_name_is_gone(
    state: State, client: TestClient
) -> None:
    chat, accounts, home = conversation(state), state.users.accounts, state.bases.data / "handbook"
    headers = {"authorization": f"Bearer {accounts.add_key('bob')}"}
    user = User("bob", "reader", ("handbook",), accounts.get("bob").id)
    before = state.bases.get("handbook")
    work = knowledge_job.begin(state, "plan", "handbook", "ann", lambda progress: "what it found", "en")
    assert knowledge_job.latest(state, "handbook") is not None
    home.rename(home.parent.parent / "removed")
    try:
        Index.open_or_create(state.bases.data, "handbook", state.bases.embedder, "sentences 100+0").close()
        assert state.bases.get("handbook") is not before
        assert knowledge_job.latest(state, "handbook") is None
        assert state.jobs.get(work.id) is not None
        for told in (client.get(f"/chats/{chat}.md", headers=headers).text, shown(state, chat, user)):
            assert QUESTION in told
            assert not any(word in told for word in (SECRET, "leave.md"))
        follow = state.chats.ask(reader_of(state, user), chat, None, "In other words?")
        assert state.chats.history(reader_of(state, user), chat, follow) == ([], frozenset())
    finally:
        shutil.rmtree(home)
        (home.parent.parent / "removed").rename(home)
    assert SECRET in client.get(f"/chats/{conversation(state)}.md", headers=headers).text


def test_what_is_said_in_a_chat_that_held_files_is_kept_nowhere_else(state: State, tmp_path: Path) -> None:
    user = User("bob", "reader", ("handbook",), state.users.accounts.get("bob").id)
    reader, votes = reader_of(state, user), votes_file(state.bases.data, "handbook")
    on = state.cfg.app.model_copy(update={"keep_unanswered": True})
    kept = replace(state.settings, config=state.cfg.model_copy(update={"app": on}))
    plain, private = conversation(state), conversation(state)
    (tmp_path / "lease.md").write_text("# Lease")
    assert state.files.attach(reader, private, [tmp_path / "lease.md"]) == []
    state.files.remove(reader, private, "lease.md")  # its answers may still tell of it
    for chat in (private, plain):
        answer = state.chats.branch(reader, chat)[-1]
        before = votes.read_bytes() if votes.exists() else b""
        voted(state, chat, answer, QUESTION, "up")
        after = votes.read_bytes() if votes.exists() else b""
        assert (after != before) == (chat == plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "settings", kept)
        asks = Answering(state, "handbook")
        assert not asks._settings(private).app.keep_unanswered
        assert asks._settings(plain).app.keep_unanswered
