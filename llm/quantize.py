"""Quantized formats: which of them a machine can serve, and llm-compressor as a child process that makes them.

llm-compressor lives in an environment of its own (`llm.compressor_env`), because its pins are not the app's. What vLLM
serves was read from its compressed-tensors schemes and kernels (0.32.0). `python -m llm.quantize` makes the environment
ahead of time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from core.config import LlmConfig, load
from core.errors import ConfigError, ModelError, RagstoneError
from llm import environment
from llm.environment import Environment

Scheme = Literal["w4a16", "awq", "w8a8", "fp8", "nvfp4", "mxfp4", "none"]
Pruner = Literal["", "sparsegpt", "wanda"]
Pattern = Literal["2:4", "any"]
Progress = Callable[[str, int, int], None]  # stage, done, total

SCHEMES: tuple[Scheme, ...] = tuple(scheme for scheme in get_args(Scheme) if scheme != "none")
PINS = Path(__file__).with_name("compressor.txt")
JOB, OUTCOME, WEIGHTS, LOG = "job.json", "outcome.json", "model", "compressor.log"
_WORKER = Path(__file__).with_name("compress_worker.py")
_GROUPED = frozenset[Scheme](("w4a16", "awq"))
_GROUPS = (128, 64, 32)  # sizes that vLLM's kernels for 4 bits know
_TILE = 32  # of vLLM's CPU kernel for 4 bits: rows and columns of a weight are multiples of it
_LEAST, _MXFP4 = 7.5, 8.0  # compute capabilities: of any of the kernels, of those of MXFP4,
_FP8, _FP4 = 8.9, 10.0  # of FP8 arithmetic, of FP4 arithmetic
_WIDTHS = {"nvfp4": 16, "mxfp4": 32}  # weights that share a scale
_KEEPS_ZEROS: tuple[Scheme, ...] = ("none", "w8a8", "w4a16", "fp8")
_TARGET = re.compile(r"cuda-(\d{1,2}\.\d)")
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RAGSTONE_LLM__API_KEY")
_TAIL = 12


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the formats ask of a model's linear layers: the widths of their inputs and of their outputs."""

    inputs: frozenset[int]
    outputs: frozenset[int]


# --- what can be served ----------------------------------------------------------------------------------------------


def target_of(cfg: LlmConfig, named: str) -> str:
    """`cpu` or `cuda-<capability>`; `auto` is this machine: the least GPU that `nvidia-smi` lists, else the CPU."""
    if named != "auto":
        if named != "cpu" and not _TARGET.fullmatch(named):
            raise ConfigError(f"--target {named!r} is unknown", "use auto, cpu, or e.g. cuda-8.0 or cuda-8.9")
        return named
    if cfg.vllm_build == "cpu" or not (command := shutil.which("nvidia-smi")):
        return "cpu"
    try:
        query = [command, "--query-gpu=compute_cap", "--format=csv,noheader"]
        listed = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    found = [float(line) for line in listed.split() if re.fullmatch(r"\d{1,2}\.\d", line)]
    return f"cuda-{min(found)}" if found else "cpu"


def check_target(scheme: Scheme, target: str, sizes: Sizes) -> str:
    """What is to be known of serving the format there, "" for nothing.

    Raises `ConfigError` where it cannot be served, saying which formats can.
    """
    if reason := _refused(scheme, target, sizes):
        others = [other for other in SCHEMES if not _refused(other, target, sizes)]
        hint = f"use --scheme {' or '.join(others)}" if others else "serve the model unquantized there"
        raise ConfigError(f"vLLM cannot serve {scheme} on {target}: {reason}", hint)
    if scheme == "fp8" and target == "cpu":
        return "fp8 is slow on a processor without AMX: w8a8 is quicker there at the same size"
    if scheme == "fp8" and _capability(target) < _FP8:
        return f"{target} has no FP8 arithmetic: the weights take half the memory, prompts are not read faster"
    if scheme in _WIDTHS and _capability(target) < _FP4:
        return f"{target} has no FP4 arithmetic: the weights take a quarter of the memory, prompts are not read faster"
    return ""


def check_pruning(scheme: Scheme, prune: Pruner, sparsity: float, pattern: Pattern) -> None:
    """Raise `ConfigError` for what does not go together."""
    if scheme == "none" and not prune:
        raise ConfigError("--scheme none leaves all as it is", "name a format, or give --prune")
    if not prune:
        return
    if scheme not in _KEEPS_ZEROS:
        raise ConfigError(
            f"--prune does not go with --scheme {scheme}", f"take --scheme {', '.join(_KEEPS_ZEROS[:-1])} or fp8"
        )
    if not 0 < sparsity < 1:
        raise ConfigError(f"--sparsity is a share between 0 and 1, not {sparsity:g}", "0.5 is half of the weights")
    if pattern == "2:4" and sparsity != 0.5:
        raise ConfigError("2:4 is half of the weights", "leave --sparsity out, or give --pattern any")


def _refused(scheme: Scheme, target: str, sizes: Sizes) -> str:
    if scheme == "none":
        return ""
    if target != "cpu" and _capability(target) < _LEAST:
        return f"its kernels need compute capability {_LEAST} (Turing)"
    if scheme in _GROUPED:
        if not group_of(sizes):
            return f"the widths {sorted(sizes.inputs)} of its layers share no group size of {_GROUPS}"
        if target == "cpu" and (odd := sorted(width for width in sizes.outputs if width % _TILE)):
            return f"the CPU kernel takes widths that are multiples of {_TILE}, and these layers have {odd}"
    if width := _WIDTHS.get(scheme):
        if target == "cpu":
            return "its CPU build has no kernel for it"
        if scheme == "mxfp4" and _capability(target) < _MXFP4:
            return f"its kernels need compute capability {_MXFP4:g} (Ampere)"
        if odd := sorted(found for found in sizes.inputs if found % width):
            return f"{width} weights share a scale, and these layers have widths of {odd}"
    return ""


def group_of(sizes: Sizes) -> int:
    """The largest group of weights that can share a scale in every layer, 0 where there is none."""
    return next((group for group in _GROUPS if all(width % group == 0 for width in sizes.inputs)), 0)


def sizes_of(model: Path) -> Sizes:
    """The widths of a model folder's linear layers, from the headers of its weights; lm_head is never quantized.

    Raises `ModelError` for weights that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    inputs: set[int] = set()
    outputs: set[int] = set()
    files = sorted(model.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(str(file), framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no dict
                    shape = opened.get_slice(name).get_shape()
                    if len(shape) == 2 and "embed" not in name and not name.startswith("lm_head"):
                        outputs.add(shape[0])
                        inputs.add(shape[1])
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the weights of {str(model)!r} cannot be read: {error}", "get the model anew") from error
    if not inputs:
        raise ModelError(f"{str(model)!r} holds no linear layers in safetensors", "give the folder of a whole model")
    return Sizes(frozenset(inputs), frozenset(outputs))


def _capability(target: str) -> float:
    return float(target.removeprefix("cuda-"))


# --- llm-compressor --------------------------------------------------------------------------------------------------


def ready(cfg: LlmConfig) -> bool:
    """Whether llm-compressor's environment is there and complete."""
    return environment.ready(_environment(cfg))


def ensure(cfg: LlmConfig, progress: environment.Progress) -> Path:
    """The python of llm-compressor's environment, which is made where needed. Raises `ModelError`."""
    return environment.ensure(_environment(cfg), progress)


def _environment(cfg: LlmConfig) -> Environment:
    folder = Path(cfg.compressor_env).expanduser().resolve()
    return Environment(
        "llm-compressor", "llmcompressor*", "llm.compressor_env", folder, "cpu", "about 1.5 GB (on Linux with a GPU 5)",
        PINS,
    )  # fmt: skip


def compress(python: Path, folder: Path, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Have llm-compressor do a job (see compress_worker.py) in a folder; returns what it measured.

    Raises `ModelError` with the end of its log, `folder`/compressor.log.
    """
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    env |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    argv = [str(python), "-P", str(_WORKER), str(folder)]
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if told := re.fullmatch(rb"@ (\w+) (\d+) (\d+)\n", line):
                    progress(told[1].decode().replace("_", " "), int(told[2]), int(told[3]))
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
    if code:
        raise _failed(code, folder / LOG)
    return json.loads((folder / OUTCOME).read_text("utf-8"))


def _failed(code: int, file: Path) -> ModelError:
    log = file.read_text("utf-8", errors="replace")
    if code == -9 or "MemoryError" in log or "out of memory" in log:
        return ModelError(
            "quantizing ended for want of memory", "end other programs, or use a machine with more memory"
        )
    if "No space left" in log:
        return ModelError("quantizing ended: the disk is full", "free some space, then run the same command again")
    tail = "\n".join(f"  {line[:300]}" for line in log.splitlines()[-_TAIL:])
    return ModelError(
        f"llm-compressor ended with exit code {code}; the end of its log:\n{tail}", f"the whole log is {file}"
    )


def main() -> None:
    """Make the environment: `python -m llm.quantize`."""

    def report(line: str) -> None:
        sys.stderr.write(line + "\n")

    try:
        ensure(load().config.llm, report)
    except RagstoneError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
