"""Where llm-compressor is for the tests that run it."""

import os

import pytest

from core.config import load
from llm import quantize

VARIABLE = "RAGSTONE_LLM__COMPRESSOR_ENV"


def environment() -> str:
    """The folder of llm-compressor's environment; where there is none: fails in CI, or skips."""
    cfg = load(environ={k: v for k, v in os.environ.items() if k == VARIABLE}).config.llm
    if not quantize.ready(cfg):
        reason = f"llm-compressor is not in {cfg.compressor_env}: run `python -m llm.quantize`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return cfg.compressor_env
