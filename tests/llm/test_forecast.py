"""What a start is said to take: bytes from the model's files, seconds from earlier starts."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from core.config import LlmConfig
from llm import fit
from llm.forecast import Forecast, forecast, keep
from tests.llm.test_serve import Configure

GIB = 1 << 30


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    return tmp_path / "vllm-starts.json"


def weighing(model: Path, megabytes: int) -> None:
    import numpy as np

    save_file({"weights": np.zeros(megabytes * 1_000_000, np.int8)}, str(model / "model.safetensors"))


def of(cfg: LlmConfig, starts: Path) -> tuple[float, bool]:
    found = forecast(cfg, starts)
    return round(found.seconds, 1), found.measured


def test_the_memory_is_that_of_weights_and_cache(configure: Configure, model: Path, starts: Path) -> None:
    weighing(model, 100)
    found = forecast(configure(vllm_cpu_kv_gb=3), starts)
    assert found.weights == 100_000_000
    assert found.memory == 100_000_000 + 3 * GIB + GIB // 2
    assert forecast(configure(vllm_cpu_kv_gb=3, vllm_replicas=2), starts).memory == 2 * found.memory
    line = found.told()
    assert line.startswith("vLLM loads 'tiny-model': about 40 s (reckoned); 3.59 GiB of memory, 0.09 GiB of it weights")
    assert "environment" not in line


def test_the_time_is_that_of_the_last_start_of_the_model(configure: Configure, model: Path, starts: Path) -> None:
    weighing(model, 100)
    cfg = configure()
    keep(cfg, starts, 75.0)
    keep(cfg, starts, 31.5)
    assert of(cfg, starts) == (31.5, True)
    assert "about 32 s (as the last time)" in forecast(cfg, starts).told()


def test_the_time_of_another_model_is_reckoned_from_the_difference_in_weights(
    configure: Configure, model: Path, starts: Path
) -> None:
    weighing(model, 100)
    rows = [{"model": "/other", "build": "cpu", "weights": 5_000_000_000, "seconds": 30.0},
            {"model": "/slow", "build": "cpu", "weights": 0, "seconds": 300.0},
            {"model": "/gpu", "build": "gpu", "weights": 0, "seconds": 3.0}]  # fmt: skip
    starts.write_text(json.dumps(rows))
    assert of(configure(), starts) == (20.2, False)
    assert of(configure(vllm_replicas=2), starts) == (40.4, False)


def test_a_damaged_file_of_starts_is_none(configure: Configure, model: Path, starts: Path) -> None:
    for text in ("{", "[1]", '[{"seconds": "x"}]'):
        starts.write_text(text)
        assert of(configure(), starts) == (40.0, False)
    keep(configure(), starts, 9.0)
    assert of(configure(), starts) == (9.0, True)


def test_what_is_not_here_is_not_said_to_fit(configure: Configure, starts: Path) -> None:
    found = forecast(configure(vllm_model="maker/model"), starts)
    assert (found.memory, found.fits) == (0, False)
    assert "memory" not in found.told()


def test_a_model_fits_where_that_much_is_free() -> None:
    def fits(memory: int, free: int) -> bool:
        return Forecast("m", 0, memory, fit.Device("card", 9, free), 1.0, False, False).fits

    assert [fits(5, 5), fits(6, 5), fits(0, 5)] == [True, False, False]
