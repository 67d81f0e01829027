"""A folder before it is read: finding it on this machine, and what kinds of files a run would take from it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.config import AppConfig
from core.errors import ReadError
from core.types import FileEntry

_MOST = 200  # folders of a folder that are named


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to look around in; `folders` are names of those in it, `more` how many beyond those there are."""

    path: Path
    above: Path | None
    folders: tuple[str, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Kind:
    """The files of one ending, "" for those without one, and their bytes."""

    suffix: str
    files: int
    bytes: int


def starts(cfg: AppConfig) -> list[Path]:
    """Where one begins to look: the folders of `app.folders` that are there, and the home of the app's user."""
    named = [Path(one).expanduser() for one in cfg.folders]
    return [path for path in dict.fromkeys([*named, Path.home()]) if path.is_dir()]


def around(path: Path, apart: Path) -> Place:
    """What folders lie in a folder: never a file, no hidden folder, no link, and not the data folder `apart`.

    Raises `ReadError` where it cannot be looked into.
    """
    try:
        real = Path(os.path.realpath(path.expanduser()))
        with os.scandir(real) as rows:
            names = sorted(
                row.name for row in rows
                if not row.name.startswith(".") and row.is_dir(follow_symlinks=False) and real / row.name != apart
            )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:  # of no such user, and of no path at all
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise ReadError(f"folder {str(path)!r} cannot be opened: {why}", "choose another one") from None
    above = real.parent if real.parent != real else None
    return Place(real, above, tuple(names[:_MOST]), max(len(names) - _MOST, 0))


def kinds(files: Iterable[FileEntry]) -> list[Kind]:
    """Files by their endings, those that weigh most first."""
    counts: dict[str, tuple[int, int]] = {}
    for entry in files:
        suffix = Path(entry.path).suffix.lower()
        number, size = counts.get(suffix, (0, 0))
        counts[suffix] = number + 1, size + entry.size
    return sorted((Kind(suffix, *row) for suffix, row in counts.items()), key=lambda kind: (-kind.bytes, kind.suffix))
