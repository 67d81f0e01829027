"""Fixtures for tests of the page: an app that shows it, and visits to it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app.app_process import App, Visiting, running, visiting
from tests.app.stub_model import Stub

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def ui(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI over a copy of the handbook, with the stub as its model."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(handbook, folder / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url, "RAGSTONE_LLM__TIMEOUT_S": "20"}
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


@pytest.fixture(scope="module")
def bare(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI over a copy of the handbook, with no model configured."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copytree(handbook, folder / "data")
    with running("ui", folder / "data", folder / "ui.log") as app:
        yield app


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Visiting]:
    """Open a UI; arguments as for `visiting`."""
    with ExitStack() as stack:
        yield lambda app, *args: stack.enter_context(visiting(browser, app.url, *args))
