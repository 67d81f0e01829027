"""The folder of a knowledge base: which generation answers, which others are kept, and who may write.

<data>/<kb>/CURRENT             names the generation folder that answers
<data>/<kb>/g0001/              catalog.sqlite  vectors.faiss  lexical/
<data>/<kb>/writer.lock         one writer; any number of readers
<data>/<kb>/files/              what was uploaded
"""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from core.errors import CatalogError
from retrieval.vectors import sync_folder

_NAME = re.compile(r"[\w][\w .-]{0,63}")
_GENERATION = re.compile(r"g\d+")
_LOCK_WAIT_S = 2.0


def check_name(name: str) -> str:
    """A knowledge base's name, if it can be a folder's. Raises `CatalogError`."""
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise CatalogError(
            f"{name!r} cannot name a knowledge base",
            "use letters, digits, spaces, '-', '_' and '.', at most 64, beginning with a letter or digit",
        )
    return name


def names(data: Path) -> list[str]:
    """The knowledge bases in a data folder."""
    return sorted(p.name for p in data.iterdir() if (p / "CURRENT").is_file()) if data.is_dir() else []


def generations(home: Path) -> list[str]:
    """The finished generations of a knowledge base that are still there, oldest first, up to the one that answers."""
    now = current(home)
    found = sorted((p.name for p in home.glob("g*") if _GENERATION.fullmatch(p.name)), key=lambda name: int(name[1:]))
    return [name for name in found if now and int(name[1:]) <= int(now[1:])]


def promote(home: Path, generation: str, keep: int) -> None:
    """Let a generation answer from now on, in one rename; of those before it, the last `keep` stay."""
    set_current(home, generation)
    drop_generations(home, keep)


def drop_generations(home: Path, keep: int) -> list[str]:
    """Remove the generations that do not answer but the `keep` before the one that does; returns their names."""
    now = current(home)
    before = [name for name in generations(home) if name != now]
    kept = {now, *before[max(len(before) - keep, 0) :]}
    dropped = [p for p in home.glob("g*") if _GENERATION.fullmatch(p.stem) and p.name not in kept]
    for folder in dropped:
        _discard(folder)
    return [folder.name for folder in dropped]


def _discard(folder: Path) -> None:
    """Remove a generation. It is renamed first: one that is removed by half must not pass for a generation."""
    aside = folder.with_suffix(".removing")
    with _told(folder.parent):
        if aside != folder:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        shutil.rmtree(aside)


def rollback(home: Path) -> str:
    """Let the generation before the present one answer again; the present one is removed. Returns its name.

    Raises `CatalogError` where none was kept.
    """
    with writer_lock(home):
        kept = generations(home)
        if len(kept) < 2:
            raise CatalogError(
                f"knowledge base {home.name!r} has no earlier generation",
                "set app.keep_generations before the next --rebuild, or restore a backup",
            )
        set_current(home, kept[-2])
        _discard(home / kept[-1])
    return kept[-2]


def current(home: Path) -> str | None:
    """The generation that answers; None where there is no knowledge base. Raises `CatalogError` where it is gone."""
    try:
        name = (home / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CatalogError(f"{str(home)!r} cannot be read: {error.strerror}", "check its permissions") from error
    if not _GENERATION.fullmatch(name) or not (home / name / "catalog.sqlite").is_file():
        raise CatalogError(f"{str(home / 'CURRENT')!r} names {name!r}, which is not there", "restore a backup")
    return name


def set_current(home: Path, generation: str) -> None:
    """Name the generation that answers, in one rename."""
    aside = home / "CURRENT.writing"
    with _told(home):
        with aside.open("w", encoding="utf-8") as handle:
            handle.write(generation + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(home / "CURRENT")
        sync_folder(home)


@contextmanager
def _told(home: Path) -> Iterator[None]:
    """What the operating system refuses, as a `CatalogError`."""
    try:
        yield
    except filelock.Timeout:  # is one of them
        raise
    except OSError as error:
        raise CatalogError(
            f"{str(home)!r} cannot be written: {error.strerror}",
            "check its permissions and the free space on its disk, or set RAGSTONE_DATA",
        ) from error


@contextmanager
def writer_lock(home: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the one writer's place of a knowledge base. Raises `CatalogError` naming the holder where it is taken.

    A moment is waited for a reader that catches a cache up. The operating system frees the lock when its holder dies.
    """
    holder = home / "writer.json"
    try:
        with _told(home):
            home.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(home / "writer.lock", timeout=_LOCK_WAIT_S if wait else 0)
            lock.acquire()
    except filelock.Timeout:
        raise CatalogError(
            f"knowledge base {home.name!r} is being written by {_holder(holder)}",
            "wait for it to end, then run it again",
        ) from None
    try:
        if lock.lock_counter == 1:
            record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            with _told(home):
                holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {record['pid']} on {record['host']} since {record['since']}"
