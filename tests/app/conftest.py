"""Fixtures for tests of the app: an index to ask, a stand-in for a model, a browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.app.app_process import ROOT, chromium, index
from tests.app.stub_model import Stub, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample handbook indexed as `handbook`, once for all modules that ask; copy it to write."""
    data = tmp_path_factory.getbasetemp() / "handbook-data"
    if not data.exists():
        shared = "PYTEST_XDIST_WORKER" in os.environ  # the folders of all workers lie side by side
        made = (data.parent.parent if shared else data.parent) / "handbook-made"
        with FileLock(f"{made}.lock"):
            if not made.exists():
                part = made.with_name("handbook-part")
                report = index(ROOT / "examples" / "handbook", "handbook", part)
                assert report["failed"] == [], report["failed"]
                part.rename(made)
        shutil.copytree(made, data)
    return data


@pytest.fixture(scope="module")
def model_server() -> Iterator[Stub]:
    """A stub where a model would be, for the tests of a module and the app that they share."""
    with serving() as stub:
        yield stub


@pytest.fixture
def stub(model_server: Stub) -> Stub:
    """The stub, without what another test told it."""
    model_server.reset()
    return model_server


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """The system's own browser."""
    with chromium() as browser:
        yield browser
