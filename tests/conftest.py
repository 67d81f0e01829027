"""Fixtures that every test may use: real small parts, nothing from the network."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import Config, load
from retrieval.embed import Embedder

pytest_plugins = ["tests.fixtures_vllm"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores Ctrl-C, and what it starts would too

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The built-in model, in float32 so that the same text gives the same vector whatever it is batched with."""
    return Embedder(load(flags={"retrieval.precision": "float32"}, environ={}).config.retrieval)


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """The default configuration with a data folder of its own."""
    flags = {"app.data": str(tmp_path / "data"), "retrieval.precision": "float32", "llm.backend": "extractive"}
    return load(flags=flags, environ={}).config


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file below `tmp_path/docs`."""

    def write_file(name: str, text: str) -> Path:
        file = tmp_path / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


@pytest.fixture(scope="session")
def eval_data() -> Path:
    """The folder of evaluation data, where there is one."""
    folder = os.environ.get("RAGSTONE_EVAL")
    if not folder:
        pytest.skip("RAGSTONE_EVAL is not set: no evaluation data here")
    return Path(folder)
