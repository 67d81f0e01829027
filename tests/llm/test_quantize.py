import sys
from pathlib import Path

import pytest

from core.config import LlmConfig
from core.errors import ConfigError, ModelError
from llm import quantize
from llm.quantize import (
    Pattern,
    Pruner,
    Scheme,
    Sizes,
    check_pruning,
    check_target,
    compress,
    group_of,
    sizes_of,
    target_of,
)  # fmt: skip
from tests import learning_lm

USUAL = Sizes(frozenset({1024, 3072}), frozenset({1024, 3072}))
NARROW = Sizes(frozenset({96, 384}), frozenset({96, 384}))  # groups of 32 only
ODD = Sizes(frozenset({100}), frozenset({100}))
TALL = Sizes(frozenset({128}), frozenset({128, 40}))


@pytest.mark.parametrize(
    ("scheme", "target", "note"),
    [
        ("w4a16", "cpu", ""), ("awq", "cpu", ""), ("w8a8", "cpu", ""), ("fp8", "cpu", "slow"),
        ("w4a16", "cuda-7.5", ""), ("fp8", "cuda-8.0", "no FP8 arithmetic"), ("fp8", "cuda-8.9", ""),
        ("fp8", "cuda-12.0", ""), ("nvfp4", "cuda-7.5", "no FP4 arithmetic"), ("nvfp4", "cuda-10.0", ""),
        ("mxfp4", "cuda-9.0", "no FP4 arithmetic"), ("mxfp4", "cuda-12.0", ""), ("none", "cpu", ""),
    ],
)  # fmt: skip
def test_a_format_is_made_for_what_can_serve_it(scheme: Scheme, target: str, note: str) -> None:
    told = check_target(scheme, target, USUAL)
    assert note in told
    assert bool(note) == bool(told)


@pytest.mark.parametrize(
    ("scheme", "target", "sizes", "reason", "hint"),
    [
        ("fp8", "cuda-7.0", USUAL, "7.5", "serve the model unquantized there"),
        ("w4a16", "cuda-8.0", ODD, "no group size", "--scheme w8a8 or fp8"),
        ("nvfp4", "cpu", USUAL, "no kernel", "--scheme w4a16 or awq or w8a8 or fp8"),
        ("mxfp4", "cuda-7.5", USUAL, "8 (Ampere)", "nvfp4"),
        ("mxfp4", "cuda-10.0", Sizes(frozenset({48}), frozenset({48})), "widths of [48]", "nvfp4"),
        ("awq", "cpu", TALL, "multiples of 32, and these layers have [40]", "--scheme w8a8 or fp8"),
    ],
)
def test_a_format_that_cannot_be_served_is_refused_and_those_that_can_are_named(
    scheme: Scheme, target: str, sizes: Sizes, reason: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(scheme, target, sizes)
    assert reason in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("scheme", "prune", "sparsity", "pattern", "reason"),
    [
        ("none", "", 0.5, "2:4", "as it is"), ("awq", "wanda", 0.5, "2:4", "does not go with --scheme awq"),
        ("w8a8", "wanda", 1.0, "any", "between 0 and 1"), ("w8a8", "sparsegpt", 0.6, "2:4", "half of the weights"),
    ],
)  # fmt: skip
def test_pruning_that_cannot_be_done_is_refused(
    scheme: Scheme, prune: Pruner, sparsity: float, pattern: Pattern, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_pruning(scheme, prune, sparsity, pattern)


def test_the_group_is_the_largest_that_divides_every_layer() -> None:
    assert [group_of(sizes) for sizes in (USUAL, NARROW, ODD)] == [128, 32, 0]


def test_the_widths_are_those_of_the_linear_layers_alone(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    model = learning_lm.build(tmp_path / "model", steps=0)  # hidden 64, vocabulary 320, MLP 128
    assert sizes_of(model) == Sizes(frozenset({64, 128}), frozenset({64, 128}))
    (model / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        sizes_of(model)
    with pytest.raises(ModelError, match="no linear layers"):
        sizes_of(tmp_path)


@pytest.mark.parametrize(
    ("listed", "target"), [("9.0\n8.6\n", "cuda-8.6"), ("12.0\n", "cuda-12.0"), ("", "cpu"), ("[N/A]\n", "cpu")]
)
def test_the_target_is_the_least_gpu_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, target: str
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert target_of(LlmConfig(), "auto") == target
    assert target_of(LlmConfig(vllm_build="cpu"), "auto") == "cpu"
    assert target_of(LlmConfig(), "cuda-8.0") == "cuda-8.0"
    with pytest.raises(ConfigError, match="gpu"):
        target_of(LlmConfig(), "gpu")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that runs in the place of compress_worker.py."""
    file = tmp_path / "worker.py"
    monkeypatch.setattr(quantize, "_WORKER", file)
    return file


def test_the_child_is_given_the_job_and_its_progress_and_outcome_come_back(worker: Path, tmp_path: Path) -> None:
    worker.write_text(
        "import json, os, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "print('noise'); print('@ perplexity_after 2 6', flush=True)\n"
        "job = json.loads((folder / 'job.json').read_text())\n"
        "told = {'job': job, 'offline': os.environ['HF_HUB_OFFLINE'], 'key': 'RAGSTONE_LLM__API_KEY' in os.environ}\n"
        "(folder / 'outcome.json').write_text(json.dumps(told))\n"
    )
    seen: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGSTONE_LLM__API_KEY", "secret")
        told = compress(Path(sys.executable), tmp_path, {"scheme": "awq"}, lambda *step: seen.append(step))
    assert told == {"job": {"scheme": "awq"}, "offline": "1", "key": False}
    assert seen == [("perplexity after", 2, 6)]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('a layer of 7')", "exit code 1.*a layer of 7"),
        ("import os; os.kill(os.getpid(), 9)", "want of memory"),
        ("raise OSError(28, 'No space left on device')", "disk is full"),
    ],
)
def test_a_child_that_fails_is_explained(worker: Path, tmp_path: Path, code: str, message: str) -> None:
    worker.write_text(code)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        compress(Path(sys.executable), tmp_path, {}, lambda *_: None)


def test_every_requirement_of_the_compressor_is_pinned() -> None:
    named = [line for line in quantize.PINS.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all("==" in line for line in named)
    assert {"llmcompressor", "torch", "transformers"} <= {line.split("==")[0] for line in named}
    assert not quantize.ready(LlmConfig(compressor_env="/nowhere"))
