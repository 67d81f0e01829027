"""The knowledge bases of a running app: what is told of those that are not asked for."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.http.server import build
from app.running.accounts import Accounts
from app.running.bases import State
from core.config import load
from core.errors import CatalogError
from retrieval.embed import Embedder
from tests.conftest import SMALL
from tests.retrieval.corpus import build as filled


@pytest.fixture
def state(tmp_path: Path, embedder: Embedder) -> State:
    """An app with one knowledge base, and an editor of another one, which is not there (any more)."""
    flags = {"app.data": str(tmp_path / "data"), "llm.backend": "extractive", "app.users": "on"}
    settings = load(flags=SMALL | flags, environ={})
    filled(settings.config, embedder, kb="takeover").close()
    Accounts(tmp_path / "data").add("eve", "editor", ["gone"], "correct horse battery")
    return State(settings)


def test_a_name_that_nothing_bears_tells_of_no_other(state: State) -> None:
    with pytest.raises(CatalogError, match="there is no knowledge base 'gone'") as raised:
        state.bases.get("gone")
    assert "takeover" not in str(raised.value)
    assert str(state.bases.data) not in str(raised.value)


@pytest.mark.parametrize("path", ["/view/gone/1.png", "/v1/overview/gone"])
def test_nor_does_a_route_for_somebody_who_may_see_that_name_alone(state: State, path: str) -> None:
    key = {"authorization": f"Bearer {Accounts(state.bases.data).add_key('eve')}"}
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        told = client.get(path, headers=key)
    assert told.status_code == 404
    assert "takeover" not in told.text
    assert str(state.bases.data) not in told.text
