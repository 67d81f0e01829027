"""The models of a data folder: a folder each, `data/models/<name>/`, with run.json; and which of them answers the chat.

A folder is there only when all of it is: a run works in `<name>.partial`, which becomes `<name>` by one rename. A run
that was stopped is known by the key of its inputs and settings, and gone on with.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from core.errors import ConfigError, ModelError
from core.files import name_folder_whole, write_whole

RECORD, PARITY, PROMOTED = "run.json", "parity.json", "promoted.json"
PROVEN = frozenset({"adapter", "full", "merged", "quantized"})  # kinds that were made here: parity must be shown
_RETRIEVERS = frozenset({"embedder", "reranker"})
_STATE = "request.json"
_NAME = re.compile(r"[\w-][\w.-]{0,63}")
_TAKEN = (".", ".partial", ".lock", ".json", ".writing")  # endings of what else lies in the models folder
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """A folder of the registry. `kind` "" and a `problem` where its run.json cannot be read; `bytes` of all files."""

    name: str
    folder: Path
    kind: str = ""
    base: str = ""
    finished: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """That a model was made the one that answers, when, and whether in spite of what parity said."""

    name: str
    when: str
    forced: bool = False


# --- a run and its folder --------------------------------------------------------------------------------------------


def home(data: Path, name: str) -> Path:
    """The folder of a model. Raises `ConfigError` for a name that could leave the models folder or is taken there."""
    if not _NAME.fullmatch(name) or name.endswith(_TAKEN):
        raise ConfigError(
            f"{name!r} cannot name a model",
            f"use letters, digits, '-', '_' and '.', at most 64, and none of the endings {', '.join(_TAKEN)}",
        )
    return data.resolve() / "models" / name


def finished(folder: Path, key: str) -> dict[str, Any] | None:
    """What run.json says of a finished run of this key, None where there is none.

    Raises `ConfigError` where the folder holds something else.
    """
    if not folder.exists():
        return None
    record = read_record(folder)
    if record.get("key") != key:
        raise ConfigError(
            f"{str(folder)!r} holds the model of a run with other inputs or settings", "choose another --name"
        )
    return record


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Hold the place of the one run of this name; yields the folder it works in.

    Raises `ConfigError` where another process is at it; what the disk refuses is a `ModelError`.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
            yield folder.with_name(f"{folder.name}.partial")
    except filelock.Timeout:
        raise ConfigError(f"{folder.name!r} is being trained by another process", "choose another --name") from None
    except OSError as error:
        raise ModelError(
            f"{str(folder.parent)!r} cannot be written: {error.strerror}",
            "check free space and permissions, then --resume",
        ) from error


def begin(partial: Path, key: str, *, resume: bool) -> None:
    """Make the folder of a run; what an earlier one left is gone on with, or removed.

    Raises `ConfigError` where what is to be gone on with was begun by another key.
    """
    told = partial / _STATE
    if resume and told.is_file() and state(partial)["key"] != key:
        raise ConfigError(
            f"{str(partial)!r} was begun with other inputs or settings, so it cannot be gone on with",
            "give the settings that it was begun with, or leave --resume out to start anew",
        )
    if not resume or not told.is_file():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        keep(partial, {"key": key})


def state(partial: Path) -> dict[str, Any]:
    """What a run that is not finished has noted of itself; at least its key."""
    return json.loads((partial / _STATE).read_text("utf-8"))


def keep(partial: Path, noted: dict[str, Any]) -> None:
    """Note what a run that is gone on with need not do again."""
    write_whole(partial / _STATE, json.dumps(noted))


def finish(partial: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write run.json, with the hash of the weights, and give the folder its name; returns what run.json says."""
    record = {"weights": weights_hash(partial)} | record
    write_whole(partial / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    (partial / _STATE).unlink()
    name_folder_whole(partial, partial.with_name(partial.name.removesuffix(".partial")))
    return record


# --- hashes ----------------------------------------------------------------------------------------------------------


def file_hash(file: Path) -> str:
    """SHA-256 of a file, in hex; a block is read at a time."""
    with file.open("rb") as handle:
        digest = hashlib.sha256()
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_hash(folder: Path, counts: Callable[[str], bool] = lambda _: True) -> str:
    """SHA-256 over the names and contents of a folder's files, in the order of their names; `counts` of a name."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        if counts(name):
            digest.update(f"{file_hash(file)}  {name}\n".encode())
    return digest.hexdigest()


def weights_hash(folder: Path) -> str:
    """Which weights a model folder holds: its config.json and safetensors. Templates and reports do not count."""
    return folder_hash(folder, lambda name: name == "config.json" or ".safetensors" in Path(name).name)


# --- what there is ---------------------------------------------------------------------------------------------------


def models(data: Path) -> list[Model]:
    """All models by name. One whose run.json is missing or broken is listed with the reason."""
    folders = sorted(folder for folder in (data / "models").glob("*") if folder.is_dir())
    return [_model(folder) for folder in folders if not folder.name.endswith(_TAKEN)]


def _model(folder: Path) -> Model:
    size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
    try:
        record = read_record(folder)
    except ConfigError as error:
        return Model(folder.name, folder, bytes=size, problem=error.message)
    base, metrics = record.get("base"), record.get("metrics")
    return Model(
        folder.name, folder, str(record.get("kind", "")),
        str(base.get("name", "")) if isinstance(base, dict) else str(base or ""), str(record.get("finished", "")),
        metrics if isinstance(metrics, dict) else {}, size,
    )  # fmt: skip


def read_record(folder: Path) -> dict[str, Any]:
    """What a model's run.json says. Raises `ConfigError` where it is missing or broken."""
    return _read(folder / RECORD)


def record_of(folder: Path) -> dict[str, Any]:
    """The same; of a folder that has no run.json, which somebody brought, nothing."""
    return read_record(folder) if (folder / RECORD).is_file() else {}


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{str(file)!r} cannot be read: {error.strerror}", "remove its folder and make the model again"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{str(file)!r} is not JSON: {error}", "remove its folder and make the model again") from None
    if not isinstance(record, dict):
        raise ConfigError(f"{str(file)!r} is not a JSON object", "remove its folder and make the model again")
    return record


# --- which one answers -----------------------------------------------------------------------------------------------


def promoted(data: Path) -> str:
    """The name of the model that answers the chat, "" where none was promoted."""
    history = promotions(data)
    return history[-1].name if history else ""


def promotions(data: Path) -> list[Promotion]:
    """All promotions that stand, oldest first. Raises `ConfigError` where their file is damaged."""
    file = data / "models" / PROMOTED
    if not file.exists():
        return []
    try:
        return [Promotion(**row) for row in _read(file)["history"]]
    except (KeyError, TypeError):
        raise ConfigError(
            f"{str(file)!r} is not a history of promotions", "remove it, then promote a model anew"
        ) from None


def promote(data: Path, name: str, *, force: bool = False) -> None:
    """Make a model the one that answers.

    Raises `ConfigError` for what is not there or is no chat model, and, unless forced, `ModelError` for one that was
    made here and whose parity.json, {"passed": bool, "causes": [str]}, is missing or not passed.
    """
    folder = home(data, name)
    if not folder.is_dir():
        raise ConfigError(f"there is no model {name!r}", "`ragstone models` lists them")
    model = _model(folder)
    if model.problem:
        raise ConfigError(f"{name!r} cannot be promoted: {model.problem}", "remove its folder and make the model again")
    if model.kind in _RETRIEVERS:
        raise ConfigError(
            f"{name!r} is a model of kind {model.kind!r}, which answers no chat", f"set it as retrieval.{model.kind}"
        )
    if not force and (reason := _blocked(model)):
        raise ModelError(f"{name!r} is not promoted: {reason}", "mend the cause, or promote it with --force")
    with _history_lock(data):
        history = promotions(data)
        if not history or history[-1].name != name:
            history.append(Promotion(name, time.strftime("%Y-%m-%d %H:%M:%S"), force and bool(_blocked(model))))
            _write_history(data, history)


def _blocked(model: Model) -> str:
    """Why a model may not answer, "" where it may."""
    file = model.folder / PARITY
    if not file.exists():
        unproven = "no parity report shows that what is served is what was trained"
        return f"{unproven} (run `ragstone parity {model.name}`)" if model.kind in PROVEN else ""
    report = _read(file)
    if report.get("passed") is True:
        return ""
    causes = report.get("causes")
    return f"parity failed: {'; '.join(map(str, causes)) if isinstance(causes, list) and causes else 'no cause told'}"


def roll_back(data: Path) -> str:
    """Undo the last promotion; the name of the model that answers now, "" where it was the only one.

    Raises `ConfigError` where there is nothing to undo, or the model before is there no more.
    """
    with _history_lock(data):
        history = promotions(data)
        if not history:
            raise ConfigError("no model was promoted, so there is nothing to roll back", "`ragstone models` lists them")
        before = history[-2].name if len(history) > 1 else ""
        if before and not home(data, before).is_dir():
            raise ConfigError(f"{before!r}, which answered before, is there no more", "promote another model")
        _write_history(data, history[:-1])
    return before


def _write_history(data: Path, history: list[Promotion]) -> None:
    rows = [{"name": each.name, "when": each.when, "forced": each.forced} for each in history]
    write_whole(data / "models" / PROMOTED, json.dumps({"history": rows}, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def _history_lock(data: Path) -> Iterator[None]:
    (data / "models").mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(data / "models" / f"{PROMOTED}.lock", timeout=10):
        yield


def parity_of(folder: Path) -> str:
    """What its parity report says of a model: passed, failed, damaged, or "-" where there is none."""
    try:
        return "passed" if json.loads((folder / PARITY).read_text("utf-8"))["passed"] is True else "failed"
    except FileNotFoundError:
        return "-"
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"


def size(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
