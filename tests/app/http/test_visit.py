"""Long work of one caller: few at a time, in threads that nobody else waits for."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.http import overview_api, server
from app.running.accounts import Accounts
from app.running.bases import State
from core.config import load
from core.errors import ReadError
from retrieval.embed import Embedder
from tests.conftest import SMALL
from tests.retrieval.corpus import build as filled

_GUARD_S = 60.0  # only a test that fails waits so long
_MANY = 60  # more than there are threads that serve everybody


@pytest.fixture
def state(tmp_path: Path, embedder: Embedder) -> State:
    flags = {"app.data": str(tmp_path / "data"), "llm.backend": "extractive", "app.users": "on"}
    settings = load(flags=SMALL | flags, environ={})
    filled(settings.config, embedder).close()
    accounts = Accounts(tmp_path / "data")
    accounts.add("bob", "editor", ["kb"], "correct horse battery")
    accounts.add("eve", "editor", ["kb"], "correct horse battery")
    return State(settings)


@pytest.mark.parametrize("path", ["/view/kb/1.png", "/v1/overview/kb"])
def test_who_asks_for_much_that_takes_long_holds_nobody_else_up(
    state: State, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    go_on = threading.Event()

    def slow(*_: Any) -> Any:
        assert go_on.wait(_GUARD_S)
        raise ReadError("the end", "")

    monkeypatch.setattr(server, "page_picture", slow)
    monkeypatch.setattr(overview_api, "overview", slow)
    keys = {name: {"authorization": f"Bearer {Accounts(state.bases.data).add_key(name)}"} for name in ("bob", "eve")}

    async def asked() -> tuple[int, list[int], int]:
        transport = httpx.ASGITransport(server.build(state))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=_GUARD_S) as client:
            bobs = [asyncio.create_task(client.get(path, headers=keys["bob"])) for _ in range(_MANY)]
            try:
                async with asyncio.timeout(_GUARD_S / 2):
                    refused = [one.result().status_code async for one in _ended(bobs, _MANY - 8)]
                    models = await client.get("/v1/models", headers=keys["eve"])
                    eves = asyncio.create_task(client.get(path, headers=keys["eve"]))
            finally:
                go_on.set()
            await asyncio.gather(*bobs)
            return models.status_code, refused, (await eves).status_code

    models, refused, eves = asyncio.run(asked())
    assert models == 200
    assert refused == [429] * (_MANY - 8)
    assert eves in (409, 502)  # its turn came: whatever the end is told as


async def _ended(
    tasks: list["asyncio.Task[httpx.Response]"], count: int
) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
    """The first so many that end."""
    left = set(tasks)
    while count:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in list(done)[:count]:
            count -= 1
            yield task
