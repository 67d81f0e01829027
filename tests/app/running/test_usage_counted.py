"""Each way to ask counts a question, once, to its person and its knowledge base, and what was asked is nowhere."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from app.http.server import build
from app.running.bases import State
from app.ui.chat import _Talk
from app.ui.conversation import Writing, reader_of
from core.config import load

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"


@pytest.fixture
def app(handbook: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    shutil.copytree(handbook, tmp_path / "data", ignore=shutil.ignore_patterns("usage.sqlite*"))
    flags = {"app.data": str(tmp_path / "data"), "app.users": "on", "llm.backend": "extractive"}
    state = State(load(flags=flags, environ={}))
    state.users.accounts.add("ann", "reader", ["handbook"], None)
    key = {"authorization": f"Bearer {state.users.accounts.add_key('ann')}"}
    with TestClient(build(state), base_url="http://127.0.0.1", headers=key) as client:
        yield SimpleNamespace(state=state, client=client, key=key)


def counted(app: SimpleNamespace) -> list[tuple[str, int, int, int]]:
    ids = {app.state.users.accounts.get("ann").id}
    rows = app.state.usage.totals(1)
    assert {row.user for row in rows} <= ids
    return [(row.kb, row.page, row.api, row.mcp) for row in rows]


def test_a_question_over_the_api_counts_and_a_refused_one_does_not(app: SimpleNamespace) -> None:
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}]}
    assert app.client.post("/v1/chat/completions", json=body).status_code == 200
    assert app.client.post("/v1/chat/completions", json=body | {"model": "absent"}).status_code == 404
    assert counted(app) == [("handbook", 0, 1, 0)]
    with closing(sqlite3.connect(app.state.usage.file)) as db:
        assert not [line for line in db.iterdump() if "turbidity" in line]


def test_what_a_front_end_asks_about_its_own_conversation_is_no_question(app: SimpleNamespace) -> None:
    task = (
        "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Chat History:\n"
    )
    body = {
        "model": "handbook",
        "messages": [{"role": "user", "content": f"{task}<chat_history>\nUSER: {QUESTION}\n</chat_history>"}],
    }
    assert app.client.post("/v1/chat/completions", json=body).status_code == 200
    assert counted(app) == []


def test_an_agents_calls_count_as_such(app: SimpleNamespace) -> None:
    headers = {"accept": "application/json, text/event-stream"}
    for name, arguments in (
        ("ask", {"question": QUESTION}),
        ("search", {"query": QUESTION}),
        ("list_knowledge_bases", {}),
    ):
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        assert app.client.post("/mcp", json=call, headers=headers).status_code == 200
    assert counted(app) == [("handbook", 0, 0, 2)]


def test_a_question_on_the_page_counts(app: SimpleNamespace) -> None:
    state = app.state
    reader = reader_of(state, state.users.of(SimpleNamespace(headers=app.key, cookies={})))
    chat = state.chats.begin(reader, ["handbook"]).id
    question = state.chats.ask(reader, chat, None, QUESTION)
    talk, header = _Talk(state, "handbook"), (b"authorization", app.key["authorization"].encode())
    request: Any = Request({"type": "http", "headers": [header], "query_string": b"", "client": ("127.0.0.1", 1)})

    async def asked() -> None:
        async for _ in talk._written(Writing(), chat, question, QUESTION, ["handbook"], False, request):
            pass

    asyncio.run(asked())
    assert counted(app) == [("handbook", 1, 0, 0)]
