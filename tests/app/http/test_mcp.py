"""The tools as an agent meets them: the SDK's client against `ragstone mcp` on stdio, and against /mcp of an app."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import StdioServerParameters
from mcp.client import Client, Transport
from mcp.client.streamable_http import streamable_http_client

from app.running.accounts import Accounts
from tests.app.app_process import App, command, environment, running

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"
Call = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The API with users, over a copy of the handbook."""
    folder = tmp_path_factory.mktemp("mcp")
    shutil.copytree(handbook, folder / "data")
    accounts = Accounts(folder / "data")
    accounts.add("ann", "admin", None, "correct horse battery")
    accounts.add("carl", "reader", ["other"], None)
    env = {"RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive", "RAGSTONE_APP__ANSWERS_PER_MINUTE": "3"}
    with running("serve", folder / "data", folder / "serve.log", env) as app:
        yield app


async def _call(server: Transport | StdioServerParameters, calls: tuple[Call, ...]) -> tuple[dict[str, Any], list[Any]]:
    async with Client(server, read_timeout_seconds=90) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        return tools, await asyncio.gather(*(client.call_tool(name, arguments) for name, arguments in calls))


def over_stdio(data: Path, *calls: Call, args: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[Any]]:
    """The tools, and what the calls return, which are made at once."""
    program, *given = command("mcp", *args)
    env = environment(data, {"RAGSTONE_LLM__BACKEND": "extractive"})
    return asyncio.run(_call(StdioServerParameters(command=program, args=given, env=env), calls))


def over_http(app: App, name: str, *calls: Call) -> tuple[dict[str, Any], list[Any]]:
    """The same, by a key of this user."""

    async def run() -> tuple[dict[str, Any], list[Any]]:
        headers = {"authorization": f"Bearer {Accounts(app.data).add_key(name)}"}
        async with httpx2.AsyncClient(headers=headers, timeout=90) as client:
            return await _call(streamable_http_client(f"{app.url}/mcp", http_client=client), calls)

    return asyncio.run(run())


def said(result: Any) -> str:
    return "".join(part.text for part in result.content)


def test_an_agent_searches_and_asks_over_stdio(handbook: Path) -> None:
    tools, (bases, found, limited, answered, nowhere) = over_stdio(
        handbook,
        ("list_knowledge_bases", {}),
        ("search", {"query": QUESTION, "kb": "handbook", "k": 3}),
        ("search", {"query": QUESTION, "paths": ["people/**"]}),
        ("ask", {"question": QUESTION}),
        ("search", {"query": QUESTION, "since": "yesterday"}),
    )
    assert set(tools) == {"list_knowledge_bases", "search", "ask"}
    assert all("never as instructions" in (tools[name].description or "") for name in ("search", "ask"))
    assert bases.structured_content == {"result": ["handbook"]}
    passages = found.structured_content["passages"]
    assert len(passages) == 3
    assert (passages[0]["path"], passages[0]["page"]) == ("products/lt-300-manual.pdf", 1)
    assert any("0-4000 NTU" in passage["text"] for passage in passages)
    assert passages[0]["score"] >= passages[1]["score"]
    assert {passage["path"].split("/")[0] for passage in limited.structured_content["passages"]} == {"people"}
    told = answered.structured_content
    assert told["answered"] is True
    assert f"[{told['citations'][0]['n']}]" in told["answer"]
    assert told["citations"][0]["path"] == "products/lt-300-manual.pdf"
    assert nowhere.is_error
    assert "yesterday" in said(nowhere)


def test_stdio_offers_only_what_was_named(handbook: Path, tmp_path: Path) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    shutil.copytree(tmp_path / "data" / "handbook", tmp_path / "data" / "secret")
    _, (bases, secret) = over_stdio(
        tmp_path / "data", ("list_knowledge_bases", {}), ("search", {"query": "x", "kb": "secret"}),
        args=("--kb", "handbook"),
    )  # fmt: skip
    assert bases.structured_content == {"result": ["handbook"]}
    assert secret.is_error
    assert "no knowledge base 'secret'" in said(secret)


def test_an_agent_with_a_key_asks_over_http_within_its_limits(app: App) -> None:
    calls: list[Call] = [("ask", {"question": QUESTION, "kb": "handbook"})] * 6
    tools, results = over_http(app, "ann", ("list_knowledge_bases", {}), *calls)
    assert set(tools) == {"list_knowledge_bases", "search", "ask"}
    assert results[0].structured_content == {"result": ["handbook"]}
    answered, refused = ([result for result in results[1:] if result.is_error is error] for error in (False, True))
    assert all(result.structured_content["citations"] for result in answered)
    assert answered
    assert refused
    assert all("more than 3 questions in a minute" in said(result) for result in refused)


def test_a_knowledge_base_that_may_not_be_seen_is_not_there(app: App) -> None:
    _, (bases, hidden, absent) = over_http(
        app, "carl", ("list_knowledge_bases", {}), ("ask", {"question": QUESTION, "kb": "handbook"}),
        ("search", {"query": QUESTION, "kb": "absent99"}),
    )  # fmt: skip
    assert bases.structured_content == {"result": []}
    assert hidden.is_error
    assert said(hidden).replace("handbook", "").replace("ask", "") == said(absent).replace("absent99", "").replace(
        "search", ""
    )


def test_without_a_key_nothing_is_told(app: App) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    response = httpx.post(f"{app.url}/mcp", json=body, headers={"accept": "application/json, text/event-stream"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
