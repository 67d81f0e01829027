"""Who did what to users, keys, folders, knowledge bases and models: `data/audit.jsonl`, a JSON object a line.

It names people, knowledge bases, models and paths, and holds nothing that documents, questions or answers say. Lines
are only added; a file that has grown is set aside as audit.1.jsonl, audit.2.jsonl and so on, which nobody removes.
"""

import getpass
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.running.data_folder import DataFolder
from core.errors import CatalogError

FILE = "audit.jsonl"
_LARGE = 16 * 2**20  # bytes
_FOLDERS: dict[Path, DataFolder] = {}  # of this process: those that were written to, or `begin` named


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed: `what` such as "user.add", `on` whom or what, `detail` how. `at` is seconds since the epoch."""

    at: float
    who: str
    what: str
    on: str
    detail: str = ""


def at_terminal() -> str:
    """Who acts on the command line: the account of the operating system."""
    try:
        return f"terminal: {getpass.getuser()}"
    except (KeyError, OSError):  # an id without a name, as in a container
        return f"terminal: uid {os.getuid()}"


def begin(data: Path) -> None:
    """From now on this process writes down what is done in the data folder that is there now, and in no other."""
    _FOLDERS[data] = DataFolder(data)


def record(data: Path, who: str, what: str, on: str = "", detail: str = "") -> None:
    """Write down what was just done. Raises `CatalogError` where the file cannot be written, or its folder is gone."""
    file = data / FILE
    line = json.dumps(asdict(Entry(round(time.time(), 3), who, what, on, detail)), ensure_ascii=False) + "\n"
    try:
        _FOLDERS.setdefault(data, DataFolder(data)).make(file)
        if file.is_file() and file.stat().st_size > _LARGE:
            file.rename(data / f"audit.{len(list(data.glob('audit.*.jsonl'))) + 1}.jsonl")
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("utf-8", "backslashreplace"))  # at once: lines of two processes do not mix
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise CatalogError(
            f"{what} was done, and could not be written to {str(file)!r}: {error.strerror}",
            "check free space and permissions",
        ) from error


def record_study(data: Path, who: str, report: Mapping[str, Any]) -> None:
    """Write down that a study of prompts ended, by its report, and which version it would have promoted."""
    best = report["choice"]
    label = f"; {best['name']}/v{best['version']:03d}" if best else ""
    record(data, who, "prompt.study", report["kb"], f"{report['id']}: {report['verdict']}{label}")


def entries(data: Path, count: int = 200) -> list[Entry]:
    """The last so many, the newest first. Raises `CatalogError` where the file cannot be read.

    A line that is none of ours, or broke off in a power cut, is shown as it stands.
    """
    file = data / FILE
    if data in _FOLDERS:
        _FOLDERS[data].check(file)
    try:
        lines = file.read_text("utf-8", "replace").split("\n")[:-1] if file.is_file() else []
    except OSError as error:
        raise CatalogError(f"{str(file)!r} cannot be read: {error.strerror}", "check its permissions") from error
    return [_entry(line) for line in lines[: -count - 1 : -1]]


def moment(at: float) -> str:
    """When something was done, in local time; "" where that is not known."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""


def _entry(line: str) -> Entry:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return Entry(0.0, "?", "?", line[:200])
