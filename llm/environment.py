"""A Python environment of its own, for a library whose pins contradict the app's: made with pip on first use.

It is remade when what it should hold has changed, or when it was left half made. vLLM's and llm-compressor's are made
so, see vllm_env.py and quantize.py.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError

Progress = Callable[[str], None]

STAMP, LOCK = "ragstone.stamp", "ragstone.lock"
_UNFINISHED = "being made"
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class Environment:
    """What an environment is to hold. `setting` names its folder in the configuration, `library` what it is made for.

    `package` is a glob over what pip calls that, `variant` a word for which build of it. `pins` is a file in which
    every package is pinned; or `requirement` what pip resolves itself. `size` is told before it is made.
    """

    library: str
    package: str
    setting: str
    folder: Path
    variant: str
    size: str
    pins: Path | None = None
    requirement: str = ""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


def ready(env: Environment) -> bool:
    """Whether the environment is there and complete, so that `ensure` has nothing to do."""
    return _stamp(env.folder) == _wanted(env) or _made_by_hand(env)


def ensure(env: Environment, progress: Progress) -> Path:
    """The python of an environment, which is made where it is missing, half made or outdated.

    One that somebody else made and that holds the library is used as it is. Several processes may call this at once:
    one builds, the others wait. Raises `ModelError` with the end of pip's output.
    """
    from filelock import FileLock, Timeout

    if ready(env):
        return env.python
    try:
        env.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(env.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"another process is making {env.library}'s environment in {env.folder}; waiting for it")
            lock.acquire()
        try:
            if not ready(env):
                _make(env, progress)
        finally:
            lock.release()
    except OSError as error:
        raise ModelError(
            f"{env.library}'s environment {str(env.folder)!r} could not be made: {error.strerror or error}",
            f"check free space and permissions, or set {env.setting} to another folder",
        ) from error
    return env.python


def _make(env: Environment, progress: Progress) -> None:
    others = [item for item in env.folder.iterdir() if item.name != LOCK]
    if others and _stamp(env.folder) is None:
        raise ModelError(
            f"{env.setting}: {str(env.folder)!r} holds other files, and no {env.library}",
            f"set {env.setting} to a new folder, or to a Python environment in which {env.library} is installed",
        )
    (env.folder / STAMP).write_text(_UNFINISHED, encoding="utf-8")  # from here on the folder is ours to clear
    for item in others:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != STAMP:
            item.unlink()
    progress(f"making {env.library}'s own environment in {env.folder}: {env.size} to install, once; takes some minutes")
    pip = [str(env.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    _run(env, [sys.executable, "-m", "venv", str(env.folder)], progress)
    if env.pins:
        _run(env, [*pip, "--no-deps", "-r", str(env.pins)], progress)
        # Where pip takes PyPI's CUDA build of torch, it does not load without the libraries it depends on.
        if torch := _pin(env.pins, "torch"):
            _run(env, [*pip, torch, "-c", str(env.pins)], progress)
    else:
        _run(env, [*pip, env.requirement], progress)
    (env.folder / STAMP).write_text(_wanted(env), encoding="utf-8")
    progress(f"{env.library}'s environment is ready")


def _run(env: Environment, argv: list[str], progress: Progress) -> None:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    total, seen = env.pins.read_text(encoding="utf-8").count("==") if env.pins and "-r" in argv else 0, 0
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
        raise _failure(env, argv, child.returncode, list(tail))


def _failure(env: Environment, argv: list[str], code: int, tail: list[str]) -> ModelError:
    step = "pip" if "pip" in argv else "python -m venv"
    text = "\n".join(tail)
    if "No space left" in text:
        hint = f"free some space ({env.size}, and as much again meanwhile), or set {env.setting} to another disk"
    elif any(sign in text for sign in ("Connection", "Temporary failure", "timed out", "Max retries", "SSLError")):
        hint = "pip cannot reach its package index: check the network and proxy, then run the same command again"
    elif "ensurepip" in text:
        hint = "install the system's package for Python environments (python3-venv on Debian and Ubuntu)"
    else:
        hint = f"run the same command again; or make the environment yourself and name it in {env.setting}"
    what = f"{env.library}'s environment {str(env.folder)!r} could not be made: {step} ended with {code}"
    return ModelError(f"{what}:\n{text}", hint)


def _package(line: str) -> str:
    return re.split(r"[-=<>~! ]", line.split()[1].rsplit("/", 1)[-1])[0]


def _stamp(folder: Path) -> str | None:
    try:
        return (folder / STAMP).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _wanted(env: Environment) -> str:
    content = env.pins.read_text(encoding="utf-8") if env.pins else env.requirement
    # an environment holds its own path and its Python's: moved or of another Python, it is made anew
    facts = (env.variant, content, str(env.folder), f"{sys.version_info.major}.{sys.version_info.minor}")
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _made_by_hand(env: Environment) -> bool:
    return _stamp(env.folder) is None and any(env.folder.glob(f"lib/python3*/site-packages/{env.package}.dist-info"))


def _pin(pins: Path, name: str) -> str | None:
    lines = pins.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith(f"{name}==")), None)
