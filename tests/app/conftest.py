"""Fixtures for tests of the app: an index to ask, a stand-in for a model, a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llm.endpoint import SERVERS
from retrieval import bundled
from tests.app.app_process import ROOT, chromium, index
from tests.app.stub_model import Stub, serving
from tests.kept import kept, sources

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample handbook indexed as `handbook`, once for all modules that ask; copy it to write."""
    folder = ROOT / "examples" / "handbook"
    code = [ROOT / name for name in ("core", "ingest", "retrieval", "app/keeping", "app/commands", "config.toml")]
    stats = [(str(file), file.stat().st_mtime_ns, file.stat().st_ino) for file in sorted(folder.rglob("*"))]
    made_of = [bundled.chosen("auto"), bundled.MADE_OF, *stats, *sources(folder, *code, ROOT / "constraints.txt")]
    return kept("handbook", made_of, _indexed, tmp_path_factory.mktemp("handbook") / "data")


def _indexed(data: Path) -> None:
    report = index(ROOT / "examples" / "handbook", "handbook", data)
    assert report["failed"] == [], report["failed"]


@pytest.fixture(scope="module")
def model_server() -> Iterator[Stub]:
    """A stub where a model would be, for the tests of a module and the app that they share."""
    with serving() as stub:
        yield stub


@pytest.fixture
def stub(model_server: Stub) -> Stub:
    """The stub, without what another test told it."""
    model_server.reset()
    SERVERS.forget(model_server.base_url)  # what it served to another test is asked anew
    return model_server


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """The system's own browser."""
    with chromium() as browser:
        yield browser
