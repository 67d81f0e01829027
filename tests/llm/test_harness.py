"""What can be said of a public benchmark before a model is asked; asked is one in tests/app/test_model_path_real.py."""

from pathlib import Path

import pytest

from core.errors import ConfigError, ModelError
from llm.harness import Exam, ask
from tests.fixtures_vllm import free_port
from tests.llm import hellaswag

pytestmark = pytest.mark.slow


def failed(smollm: Path, tasks: tuple[str, ...], data: Path) -> ConfigError | ModelError:
    with pytest.raises((ConfigError, ModelError)) as caught:
        ask(f"http://127.0.0.1:{free_port()}/v1", "none", smollm, 512, Exam(tasks, str(data)), lambda *told: None)
    return caught.value


def test_a_benchmark_that_nobody_knows_or_whose_data_is_not_there_is_named(smollm: Path, tmp_path: Path) -> None:
    assert "no benchmark none-such" in failed(smollm, ("none-such",), tmp_path).message
    missing = failed(smollm, ("hellaswag",), tmp_path)
    assert "no data of Rowan/hellaswag" in missing.message
    assert "hf download Rowan/hellaswag" in missing.hint
    assert "there is no folder" in failed(smollm, ("hellaswag",), tmp_path / "gone").message
    assert "no benchmark is named" in failed(smollm, (), tmp_path).message


def test_a_server_that_is_not_there_is_told_with_what_the_harness_said_of_it(smollm: Path, tmp_path: Path) -> None:
    hellaswag.write(tmp_path)
    error = failed(smollm, ("hellaswag",), tmp_path)
    assert isinstance(error, ModelError)
    assert "Cannot connect to host 127.0.0.1" in error.message
