"""The folder of a knowledge base: which generation answers, which others are kept, and who may write.

<data>/<kb>/CURRENT             names the generation folder that answers
<data>/<kb>/g0001/              catalog.sqlite  vectors.faiss  lexical/  id
<data>/<kb>/writer.lock         one writer; any number of readers
<data>/<kb>/files/              what was uploaded
"""

import fcntl
import json
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from core.errors import CatalogError
from core.files import make_folder, write_whole

_NAME = re.compile(r"[\w][\w .-]{0,63}")
# What the app keeps beside the knowledge bases, whatever the case of its letters.
_TAKEN = re.compile(
    r"models|datasets|logs|(?:users|chats|usage)\.sqlite(?:-\w+)?|audit\.jsonl(?:\.\d+)?", re.IGNORECASE
)
_GENERATION = re.compile(r"g\d+")
_ID_FILE = "id"
_ID = re.compile(r"[0-9a-f]{32}")
_NAMING = threading.Lock()
_LOCK_WAIT_S = 2.0


def check_name(name: str) -> str:
    """A knowledge base's name, if it can be a folder's. Raises `CatalogError`."""
    if _TAKEN.fullmatch(name):
        raise CatalogError(f"{name!r} is a name that the app uses itself", "choose another name")
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
    return [name for name in present(home) if now and int(name[1:]) <= int(now[1:])]


def identity(home: Path) -> str:
    """The id of a knowledge base, which is never given twice: one that is made again under its name has another.

    It is made where it is asked for first. Each generation has it, so that `rollback` leads back to what was, whatever
    was restored meanwhile. A folder that was copied or renamed is another knowledge base. Raises `CatalogError` where
    there is none.
    """
    now = current(home)
    if now is None:
        raise CatalogError(f"there is no knowledge base {home.name!r}", "its folder holds no CURRENT")
    with _told(home), _NAMING:
        if found := _identity_of(home, now):
            return found
        made = uuid.uuid4().hex
        try:
            for generation in {now, *generations(home)}:
                if not _identity_of(home, generation):
                    set_identity(home, generation, made)
        except OSError:  # the disk cannot be written, or another process was at it
            info = (home / "CURRENT").stat()
            made = f"{info.st_ino}-{info.st_ctime_ns}"
        return _identity_of(home, now) or made


def set_identity(home: Path, generation: str, identity: str) -> None:
    """Have a generation belong to the knowledge base of an id. Raises `OSError`."""
    write_whole(home / generation / _ID_FILE, f"{identity}\n{home.name}\n")


def is_identity(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def _identity_of(home: Path, generation: str) -> str:
    """The id that a generation has as one of this folder's; "" for none."""
    try:
        told = (home / generation / _ID_FILE).read_text("utf-8").split("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return told[0] if told[1:2] == [home.name] and is_identity(told[0]) else ""


def promote(home: Path, generation: str, keep: int) -> None:
    """Let a generation answer from now on, in one rename; of those before it, the last `keep` stay."""
    _inherit(home, generation)
    set_current(home, generation)
    drop_generations(home, keep)


def _inherit(home: Path, generation: str) -> None:
    """A generation that has no id yet goes on with that of the one which answers."""
    try:
        now = current(home)
    except CatalogError:  # it is lost, and with it what it was
        return
    with _told(home):
        if now and not _identity_of(home, generation) and (known := _identity_of(home, now)):
            set_identity(home, generation, known)


def swap(home: Path, generation: str, keep: int) -> bool:
    """`promote`, but none stays where the disk has no room for the next generation; returns whether it has.

    It is built beside the one that answers, and takes about as much.
    """
    with writer_lock(home), _told(home):
        size = sum(file.stat().st_size for file in (home / generation).rglob("*") if file.is_file())
        room = not keep or shutil.disk_usage(home).free >= size
        promote(home, generation, keep if room else 0)
    return room


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


def rollback(home: Path, sound: Callable[[Path], bool] = Path.is_dir) -> str:
    """Let the generation before the present one answer again; the present one is removed. Returns its name.

    Raises `CatalogError` where none was kept, or where what was is not `sound`, as a damaged one that was replaced.
    """
    if current(home) is None:
        raise CatalogError(f"there is no knowledge base {home.name!r}", "its folder holds no CURRENT")
    with writer_lock(home):
        kept = generations(home)
        if len(kept) < 2:
            raise CatalogError(
                f"knowledge base {home.name!r} has no earlier generation",
                "a --rebuild keeps app.keep_generations of them where the disk has room; restore a backup",
            )
        if not sound(home / kept[-2]):
            raise CatalogError(
                f"generation {kept[-2]} of knowledge base {home.name!r} is damaged",
                f"{kept[-1]} goes on answering; restore a backup",
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
    except UnicodeDecodeError:
        name = "what is no text"
    if not _GENERATION.fullmatch(name) or not (home / name / "catalog.sqlite").is_file():
        hint = (
            f"`ragstone verify --repair --kb {home.name}` takes the newest generation that is whole"
            if present(home)
            else "restore a backup"
        )
        raise CatalogError(f"{str(home / 'CURRENT')!r} names {name!r}, which is not there", hint)
    return name


def present(home: Path) -> list[str]:
    """All generations that are there, finished or not, oldest first."""
    found = (p.parent.name for p in home.glob("g*/catalog.sqlite"))
    return sorted((name for name in found if _GENERATION.fullmatch(name)), key=lambda name: int(name[1:]))


def following(home: Path) -> str:
    """The name of the generation after the one that answers or, where that is not to be told, after all there are."""
    try:
        now = current(home)
    except CatalogError:
        now = None
    last = now or (present(home) or ["g0000"])[-1]
    return f"g{int(last[1:]) + 1:04d}"


def set_current(home: Path, generation: str) -> None:
    """Name the generation that answers, in one rename."""
    with _told(home):
        write_whole(home / "CURRENT", generation + "\n")


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
            make_folder(home)
            lock = filelock.FileLock(home / "writer.lock", timeout=_LOCK_WAIT_S if wait else 0)
            lock.acquire()
    except filelock.Timeout:
        raise _taken(home) from None
    try:
        if lock.lock_counter == 1:
            record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            with _told(home):
                holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def no_writer(home: Path) -> Iterator[None]:
    """Keep writers away for a while, without writing anything. Raises `CatalogError` where one is at work."""
    try:
        handle = os.open(home / "writer.lock", os.O_RDONLY)
    except FileNotFoundError:  # nobody ever wrote here
        yield
        return
    except OSError as error:
        raise CatalogError(f"{str(home)!r} cannot be read: {error.strerror}", "check its permissions") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(home) from None
        yield
    finally:
        os.close(handle)


def _taken(home: Path) -> CatalogError:
    return CatalogError(
        f"knowledge base {home.name!r} is being written by {_holder(home / 'writer.json')}",
        "wait for it to end, then run it again",
    )


def _holder(file: Path) -> str:
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {record['pid']} on {record['host']} since {record['since']}"
