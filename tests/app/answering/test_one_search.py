"""One search: wherever a question is asked, the same passages are found in the same order."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app.api import KnowledgeBase
from app.cli import app
from app.http import mcp
from app.http.server import build
from app.running.bases import State
from app.running.users import User
from app.ui import knowledge_search
from core.config import Settings, load
from tests.conftest import ROOT, SMALL

pytestmark = pytest.mark.slow

ROWS = [json.loads(line) for line in (ROOT / "examples" / "questions.jsonl").read_text("utf-8").splitlines()]
QUESTIONS = [row["text"] for row in ROWS]
_FEW = 4  # of so many questions one, where an answer is written
Found = list[int]  # ids of chunks, best first


@pytest.fixture(scope="module")
def settings(handbook: Path) -> Settings:
    return load(
        flags={"app.data": str(handbook), "app.kb": "handbook", "llm.backend": "extractive"} | SMALL, environ={}
    )


@pytest.fixture(scope="module")
def base(settings: Settings) -> Iterator[KnowledgeBase]:
    with KnowledgeBase("handbook", settings.config) as base:
        yield base


@pytest.fixture(scope="module")
def expected(base: KnowledgeBase) -> list[Found]:
    return [[hit.chunk_id for hit in base.search(question).hits] for question in QUESTIONS]


@pytest.fixture(scope="module")
def state(settings: Settings) -> State:
    return State(settings)


def test_the_frameworks_find_what_the_library_finds(base: KnowledgeBase, expected: list[Found]) -> None:
    from app.frameworks.langchain import LangChainRetriever
    from app.frameworks.llama_index import LlamaIndexRetriever

    chained, noded = LangChainRetriever(base=base), LlamaIndexRetriever(base)
    assert [[d.metadata["chunk_id"] for d in chained.invoke(question)] for question in QUESTIONS] == expected
    assert [[n.metadata["chunk_id"] for n in noded.retrieve(question)] for question in QUESTIONS] == expected


def test_the_command_line_finds_it(handbook: Path, base: KnowledgeBase, expected: list[Found]) -> None:
    env = {"RAGSTONE_DATA": str(handbook), "RAGSTONE_LLM__BACKEND": "extractive"}
    env |= {f"RAGSTONE_{key.replace('.', '__').upper()}": value for key, value in SMALL.items()}
    found = []
    for question in QUESTIONS:
        done = CliRunner().invoke(app, ["search", "--kb", "handbook", "--json", "--", question], env=env)
        found.append([(hit["path"], hit["start"], hit["text"]) for hit in json.loads(done.stdout)["hits"]])
    assert found == [[(hit.path, hit.start, hit.text) for hit in _hits(base, ids)] for ids in expected]


def test_an_agent_finds_it(state: State, base: KnowledgeBase, expected: list[Found]) -> None:
    from mcp.client import Client

    server = mcp.build(state, lambda _: (User(), "here"))

    async def asked() -> list[list[tuple[str, str]]]:
        found = []
        async with Client(server) as client:
            for question in QUESTIONS:
                state.limits = type(state.limits)(0, 0, state.metrics)
                result = await client.call_tool("search", {"query": question, "kb": "handbook"})
                assert result.structured_content is not None
                found.append([(row["path"], row["text"]) for row in result.structured_content["passages"]])
        return found

    assert asyncio.run(asked()) == [[(hit.path, hit.text) for hit in _hits(base, ids)] for ids in expected]


def test_the_page_finds_it(state: State, expected: list[Found]) -> None:
    search: Callable = knowledge_search._searcher(state)
    request = SimpleNamespace(headers={}, cookies={})
    cfg = state.cfg.retrieval
    chosen = (cfg.mode, cfg.k, cfg.candidates, 0.5, True, cfg.variants, False, "", "", "", "", "", "")
    found = []
    for question in QUESTIONS:
        shown, _ = asyncio.run(search("handbook", question, "", *chosen, request))
        rows = shown.partition('<ol class="rs-rows">')[2].partition("</ol>")[0]
        found.append([int(number) for number in re.findall(r'data-value="(\d+)"', rows)])
    assert found == expected


def test_an_answer_rests_on_it(base: KnowledgeBase, expected: list[Found]) -> None:
    found = [_ranked([(row.rank, row.chunk_id) for row in base.ask(q).trace.candidates]) for q in QUESTIONS[::_FEW]]
    assert found == expected[::_FEW]


def test_an_answer_over_http_rests_on_it(state: State, expected: list[Found]) -> None:
    state.limits = type(state.limits)(0, 0, state.metrics)
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        for question, ids in list(zip(QUESTIONS, expected, strict=True))[::_FEW]:
            body = {"model": "handbook", "messages": [{"role": "user", "content": question}]}
            trace = client.post("/v1/chat/completions", json=body).json()["ragstone"]["trace"]
            rows = {row["rank"]: row["chunk_id"] for row in trace["candidates"] if row["rank"]}  # of the first 20
            assert rows.items() <= dict(enumerate(ids, start=1)).items()
            assert len(rows) >= min(5, len(ids))


def _hits(base: KnowledgeBase, ids: Sequence[int]) -> list:
    found = base.index.hits(ids)
    return [found[i] for i in ids]


def _ranked(rows: Sequence[tuple[int | None, int]]) -> Found:
    return [i for _, i in sorted((rank, i) for rank, i in rows if rank)]
