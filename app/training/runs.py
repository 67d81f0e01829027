"""Recipe: the training runs of a data folder, those under way too, and `ragstone finetune model` as a job of the app.

A run is a process of its own, by the same command that a person would type. It ends with the app; where the app was
killed it goes on, and is seen here all the same. `--resume` goes on with one that was stopped.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from app.running.jobs import Job, Jobs, Progress
from app.training.curve import Curve
from core.config import Config
from core.errors import ConfigError, ModelError
from llm import registry
from llm.checkpoints import LOSSES

_POLL_S, _GRACE_S = 0.5, 10.0
_TAIL = 40  # lines of a log that are shown
_LONGEST = 20_000  # rows of a loss curve that are read
_CURVES = (("training", "loss"), ("dev set", "dev_loss"))


@dataclass(frozen=True, slots=True)
class Run:
    """A training: `state` is running, stopped (`--resume` goes on with it) or done; `steps` how many it has made."""

    name: str
    state: str
    steps: int
    loss: float | None
    dev_loss: float | None
    when: str


def runs(data: Path) -> list[Run]:
    """All trainings with a loss curve, the newest first."""
    found = []
    for file in (data / "models").glob(f"*/{LOSSES}"):
        rows = _rows(file)
        last = {key: next((row[key] for row in reversed(rows) if key in row), None) for _, key in _CURVES}
        name, state = _state(file.parent)
        steps = int(rows[-1].get("step", 0)) if rows else 0
        changed = file.stat().st_mtime
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed))
        found.append((changed, Run(name, state, steps, last["loss"], last["dev_loss"], when)))
    return [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]


def curves(data: Path, name: str) -> dict[str, Curve]:
    """The loss by step of a run, under way or done; empty where there is none. Raises `ConfigError` for a bad name."""
    home = registry.home(data, name)
    partial = home.with_name(f"{home.name}.partial")
    rows = _rows((partial if (partial / LOSSES).exists() else home) / LOSSES)
    drawn = {told: [(row["step"], row[key]) for row in rows if key in row and "step" in row] for told, key in _CURVES}
    return {told: curve for told, curve in drawn.items() if curve}


def _rows(file: Path) -> list[dict[str, float]]:
    """The rows of a loss curve; what is no row of one is left out."""
    rows = []
    try:
        with file.open(encoding="utf-8") as lines:
            for line, _ in zip(lines, range(_LONGEST), strict=False):
                row = json.loads(line)
                rows.append({k: v for k, v in row.items() if isinstance(v, int | float)})
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError):
        return rows
    return rows


def _state(folder: Path) -> tuple[str, str]:
    """The name of a run, and whether it is done, running or was stopped."""
    if not folder.name.endswith(".partial"):
        return folder.name, "done"
    name = folder.name.removesuffix(".partial")
    lock = filelock.FileLock(folder.with_name(f"{name}.lock"), timeout=0)
    try:
        with lock:
            return name, "stopped"
    except filelock.Timeout:
        return name, "running"


# --- as a job --------------------------------------------------------------------------------------------------------


def log_file(data: Path, name: str) -> Path:
    """Where the output of a run is."""
    return data / "logs" / f"finetune-{name}.log"


def log_tail(data: Path, name: str) -> str:
    """The last lines of a run's output, "" where there is none."""
    try:
        with log_file(data, name).open("rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - 400 * _TAIL))
            return "\n".join(handle.read().decode("utf-8", errors="replace").splitlines()[-_TAIL:])
    except OSError:
        return ""


def begin(jobs: Jobs, cfg: Config, name: str, arguments: Sequence[str], owner: str) -> Job:
    """Start `ragstone finetune model` with these words behind it, or return the job that is at it.

    Raises `ConfigError` for a name that cannot be a model's, or where another run is under way: one has the machine.
    """
    registry.home(Path(cfg.app.data), name)
    busy = next((job for job in jobs.latest("finetune ") if job.state == "running"), None)
    if busy is not None and busy.key != f"finetune {name}":
        raise ConfigError(f"{busy.key!r} is under way", "wait for it, or cancel it")
    return jobs.start(f"finetune {name}", name, owner, lambda progress: _train(cfg, name, arguments, progress))


def _train(cfg: Config, name: str, arguments: Sequence[str], progress: Progress) -> str:
    data = Path(cfg.app.data)
    log = log_file(data, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    ragstone = Path(sys.executable).with_name("ragstone")
    environment = {**os.environ, "RAGSTONE_DATA": cfg.app.data, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(ragstone), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=sink,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    atexit.register(_end, process)
    try:
        while process.poll() is None:
            rows = _rows(data / "models" / f"{name}.partial" / LOSSES)
            progress("train", int(rows[-1].get("step", 0)) if rows else 0, 0)
            time.sleep(_POLL_S)
    finally:
        _end(process)
        atexit.unregister(_end)
    if process.returncode:
        raise ModelError(f"training ended with {process.returncode}:\n{log_tail(data, name)}", f"its log is {log}")
    return name


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a run and what it started, which share a session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def base_folders(cfg: Config) -> list[str]:
    """What can be trained further: whole models of the registry by name, and the one that is served."""
    data = Path(cfg.app.data)
    names = [model.name for model in registry.models(data) if (model.folder / "config.json").is_file()]
    return [*names, *([cfg.llm.vllm_model] if cfg.llm.vllm_model else [])]


def datasets(cfg: Config) -> list[str]:
    """The data sets there are."""
    folders = sorted((Path(cfg.app.data) / "datasets").glob("*/train.jsonl"))
    return [file.parent.name for file in folders if not file.parent.name.endswith(".partial")]
