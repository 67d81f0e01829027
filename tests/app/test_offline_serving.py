"""Nothing leaves the machine while vLLM serves: apart from test_offline.py, since what needs vLLM takes turns."""

import shutil
from pathlib import Path

import pytest

from core.config import LlmConfig
from tests.app.test_offline import run_apart


@pytest.mark.slow
@pytest.mark.vllm
def test_serving_a_model_reaches_for_nothing(vllm_cfg: LlmConfig, handbook: Path, tmp_path: Path) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    assert run_apart(tmp_path, tmp_path / "data", vllm_cfg.vllm_model) == []
