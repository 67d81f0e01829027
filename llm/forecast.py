"""What a start of vLLM will load: how much memory it takes, and how long it lasts.

How long a start lasted is kept beside the log; of a model that was not started here before it is reckoned from others.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import LlmConfig
from core.errors import ModelError
from core.files import write_whole
from llm import fit
from llm.serve import is_hub_name, model_name, model_path
from llm.vllm_env import Build, build_of, ready

log = logging.getLogger(__name__)

_KEPT = 50  # starts
_BYTES_PER_S = 500e6  # of weights that are read from a disk
# Seconds beside the weights where nothing was started here before: with a GPU graphs are compiled and captured. The
# CPU's is of two cores, the GPU's a guess.
_FIRST_S = {"cpu": 40.0, "gpu": 90.0}


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes on one device, `memory` with the KV cache, 0 where the files are not here; seconds of all replicas.

    `measured`: the time is that of this model's last start.
    """

    model: str
    weights: int
    memory: int
    device: fit.Device
    seconds: float
    measured: bool
    makes_environment: bool

    @property
    def fits(self) -> bool:
        """Whether that much memory is free. What is not known does not fit."""
        return 0 < self.memory <= self.device.free

    def told(self) -> str:
        """One line for people."""
        took = "as the last time" if self.measured else "reckoned"
        line = f"vLLM loads {self.model!r}: about {self.seconds:.0f} s ({took})"
        if self.memory:
            line += f"; {_gib(self.memory)} of memory, {_gib(self.weights)} of it weights; {_gib(self.device.free)}"
            line += f" are free ({self.device.name})"
        if self.makes_environment:
            line += "; its environment is made first, which takes some minutes"
        return line


def forecast(cfg: LlmConfig, starts: Path) -> Forecast:
    """What a start with these settings takes; `starts` is the file of earlier ones. Raises `ModelError` for damaged
    files.
    """
    build = build_of(cfg)
    device = fit.device(build, least=True)
    weights = memory = 0
    if not is_hub_name(cfg.vllm_model):
        need = fit.need(cfg, build)
        weights, memory = need.weights, need.weights + need.adapters + need.workspace
        memory += cfg.vllm_cpu_kv_gb << 30
        memory *= cfg.vllm_replicas
        if build == "gpu":  # what vLLM is told to take, whatever the model
            memory = int(device.total * cfg.vllm_memory)
    seconds, measured = _seconds(_read(starts), model_path(cfg), build, weights)
    return Forecast(
        model_name(cfg), weights, memory, device, seconds * cfg.vllm_replicas, measured, not ready(cfg)
    )  # fmt: skip


def _seconds(rows: list[dict[str, Any]], model: str, build: Build, weights: int) -> tuple[float, bool]:
    """Seconds of one replica's start: those of the model's last one, else the quickest other's and the difference."""
    own = [row for row in rows if row.get("build") == build]
    for row in reversed(own):
        if row.get("model") == model:
            return row["seconds"], True
    rest = min((row["seconds"] - row["weights"] / _BYTES_PER_S for row in own), default=_FIRST_S[build])
    return max(rest, 1.0) + weights / _BYTES_PER_S, False


def keep(cfg: LlmConfig, starts: Path, seconds: float) -> None:
    """Remember how long the start of all replicas lasted."""
    try:
        weights = 0 if is_hub_name(cfg.vllm_model) else fit.weight_bytes(Path(model_path(cfg)))
        row = {
            "model": model_path(cfg), "build": build_of(cfg), "weights": weights,
            "seconds": round(seconds / cfg.vllm_replicas, 1),
        }  # fmt: skip
        write_whole(starts, json.dumps([*_read(starts), row][-_KEPT:]) + "\n")
    except (OSError, ModelError) as error:  # what serves goes on serving
        log.warning("how long the start of vLLM lasted could not be written: %s", error)


def _read(starts: Path) -> list[dict[str, Any]]:
    """Earlier starts, oldest first; none where the file is damaged, which the next start replaces."""
    try:
        rows = json.loads(starts.read_text("utf-8"))
        return [row | {"seconds": float(row["seconds"]), "weights": int(row["weights"])} for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read: %s", starts, error)
        return []


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
