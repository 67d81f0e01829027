"""After a power cut at any moment the knowledge base is whole, and what was committed is there.

What an action writes is recorded below Python, by `record.c`. A power cut keeps what was synced before it; of the rest,
each file has lost some of its writes, and each folder the last of its changes of names. From a sample of moments and
losses the data folder is made as the disk would hold it, opened, looked at, and brought up to date.

What a disk owes: fsync(2) of a file makes its content last, of a folder its names (POSIX; a file's own fsync does not
save its name). Changes of names in one folder happen in order. Every sync is tried at night.
"""

import ctypes
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.keeping import index as recipe
from retrieval.catalog import Catalog
from retrieval.home import current
from retrieval.transaction import Transaction
from tests.app.keeping.test_faults import SHARES, Documents, Driver, asked, bases, documents, driving, prepared, said

ACTIONS = ("first build", "sync", "rebuild", "rollback")
LOSSES = ("all", "data", "names", "some", "some")  # of what was not synced
DRAWN = 6  # moments of an action, where not all syncs are tried
_HEAD = struct.Struct("=c4q")


@dataclass(frozen=True, slots=True)
class Change:
    """A record of `record.c`."""

    kind: str
    inode: int
    offset: int
    name: str
    data: bytes


def changes(file: Path) -> list[Change]:
    """The records of a file."""
    raw, at, found = file.read_bytes(), 0, []
    while at < len(raw):
        kind, inode, offset, name, data = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        text = os.fsdecode(raw[at : at + name])
        found.append(Change(kind.decode(), inode, offset, text, raw[at + name : at + name + data]))
        at += name + data
    return found


@dataclass(slots=True)
class _File:
    """A file by what was written to it: the first `synced` of its writes are safe."""

    start: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data); None: cut there
    synced: int = 0

    def content(self, kept: Iterator[bool]) -> bytes:
        """What is left of it, where `kept` says which of the unsafe writes are."""
        content = bytearray(self.start)
        for number, (offset, data) in enumerate(self.writes):
            if number >= self.synced and not next(kept):
                continue
            if data is None:
                del content[offset:]
                content.extend(bytes(offset - len(content)))
            else:
                content.extend(bytes(max(offset - len(content), 0)))
                content[offset : offset + len(data)] = data
        return bytes(content)


@dataclass(slots=True)
class _Folder:
    """The names in a folder, as a list of changes: name -> file or None; the first `synced` of them are safe."""

    changes: list[dict[str, "_File | _Folder | None"]] = field(default_factory=list)
    synced: int = 0

    def names(self, last: int | None = None) -> dict[str, "_File | _Folder | None"]:
        """What is in it after so many changes, or all."""
        found: dict[str, _File | _Folder | None] = {}
        for change in self.changes[:last]:
            found.update(change)
        return found


class Disk:
    """A folder as the kernel sees it, of which a power cut leaves a part."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[int, _File] = {}  # by inode, those that are open or have a name
        self.top = self._taken(root)

    def _taken(self, folder: Path) -> _Folder:
        """What is there at first is safe."""
        taken = _Folder()
        for path in folder.iterdir():
            if path.is_dir():
                taken.changes.append({path.name: self._taken(path)})
            else:
                file = self.files[path.stat().st_ino] = _File(path.read_bytes())
                taken.changes.append({path.name: file})
        taken.synced = len(taken.changes)
        return taken

    def _parent(self, path: str) -> tuple[_Folder, str]:
        *parts, name = Path(path).relative_to(self.root).parts
        folder = self.top
        for part in parts:
            below = folder.names()[part]
            assert isinstance(below, _Folder)
            folder = below
        return folder, name

    def _named(self, path: str, what: "_File | _Folder | None") -> None:
        folder, name = self._parent(path)
        folder.changes.append({name: what})

    def apply(self, change: Change) -> None:
        """Make a change."""
        match change.kind:
            case "c":
                self.files[change.inode] = file = _File()
                self._named(change.name, file)
            case "w":
                self.files[change.inode].writes.append((change.offset, change.data))
            case "t":
                self.files[change.inode].writes.append((change.offset, None))
            case "f":
                self.files[change.inode].synced = len(self.files[change.inode].writes)
            case "s":
                self._sync(self._folder(change.name), change.data)
            case "r" | "l":
                (folder, name), (other, new) = self._parent(change.name), self._parent(os.fsdecode(change.data))
                gone: dict[str, _File | _Folder | None] = {name: None} if change.kind == "r" else {}
                what = folder.names()[name]
                if folder is other:  # in one step
                    folder.changes.append(gone | {new: what})
                else:
                    other.changes.append({new: what})
                    folder.changes.append(gone)
            case "m":
                self._named(change.name, _Folder())
            case "u" | "d":
                self._named(change.name, None)

    def _folder(self, path: str) -> _Folder:
        if Path(path) == self.root:
            return self.top
        folder, name = self._parent(path)
        found = folder.names()[name]
        assert isinstance(found, _Folder)
        return found

    def _sync(self, folder: _Folder, listed: bytes) -> None:
        """The names in a folder are safe as they are; what changed unseen is taken from the list."""
        there, known = set[str](), folder.names()
        for entry in filter(None, listed.split(b"\0")):
            found = re.fullmatch(rb"(\d+)([/-])(.*)", entry, re.DOTALL)
            assert found
            name = os.fsdecode(found[3])
            there.add(name)
            if found[2] == b"-" and known.get(name) is not self.files[int(found[1])]:
                folder.changes.append({name: self.files[int(found[1])]})
        for name in (name for name, what in known.items() if what is not None and name not in there):
            folder.changes.append({name: None})
        folder.synced = len(folder.changes)

    def cut(self, target: Path, loss: str, rng: random.Random) -> None:
        """Write what a power cut leaves, to a folder that is made anew."""
        shutil.rmtree(target, ignore_errors=True)
        self._write(self.top, target, loss, rng)

    def _write(self, folder: _Folder, target: Path, loss: str, rng: random.Random) -> None:
        target.mkdir()
        unsafe = len(folder.changes) - folder.synced
        kept = {"all": 0, "names": 0, "data": unsafe}.get(loss, rng.randint(0, unsafe))
        for name, what in folder.names(folder.synced + kept).items():
            if name.endswith("-shm"):  # memory that SQLite shares; never synced, made anew from the log
                continue
            if isinstance(what, _Folder):
                self._write(what, target / name, loss, rng)
            elif what is not None:
                share = {"all": 0.0, "data": 0.0, "names": 1.0}.get(loss, rng.random())
                (target / name).write_bytes(what.content(_often(share, rng)))


def _often(share: float, rng: random.Random) -> Iterator[bool]:
    while True:
        yield rng.random() < share


class PowerCut(Driver):
    """A driver whose children record what they do."""

    def load(self, library: Path) -> None:
        self.shim = ctypes.CDLL(str(library))

    def disarm(self) -> None:
        self.shim.record(b"", b"")

    def recorded(self, action: str) -> tuple[Disk, list[Change]]:
        """What an action wrote, to a disk that holds what was there before."""
        self._start(bases(action))
        disk, log = Disk(self.data), self.work / "record"

        def act() -> None:
            self.shim.record(os.fsencode(self.data), os.fsencode(log))
            with marking(lambda found: self.shim.mark(json.dumps(found).encode())):
                self.act(action)

        end = self.child(act)
        assert not end.status, end
        assert not end.message, end
        assert not end.crash, end
        return disk, changes(log)

    def explore_cuts(self, action: str, share: str) -> dict[str, Any]:
        """Cut the power at some moments of an action; what was found amiss, and figures."""
        disk, log = self.recorded(action)
        syncs = [n for n, change in enumerate(log) if change.kind in "sf"]
        seed = random.SystemRandom().randrange(10**6)
        rng = random.Random(seed)
        moments = {*syncs, *(n + 1 for n in syncs)}  # just before and just after
        if share != "all":
            moments = set(rng.sample(sorted(moments), min(DRAWN, len(moments)))) | {*rng.sample(range(len(log)), 2)}
        moments.add(len(log))
        marks: list[Documents] = []
        amiss: list[str] = []
        tried = 0
        for n in range(len(log) + 1):
            if n in moments:
                for loss in LOSSES if share == "all" or n == len(log) else rng.sample(LOSSES, 2):
                    tried += 1
                    disk.cut(self.data, loss, rng)
                    rest = self.child(partial(self.look, action, n == len(log), marks))
                    found = rest.value if rest.value is not None else [f"afterwards: {rest}"]
                    amiss += [f"at {n} of {len(log)}, losing {loss}: {problem}" for problem in found]
            if n < len(log) and log[n].kind == "k":
                marks.append(json.loads(log[n].data))
            elif n < len(log):
                disk.apply(log[n])
        return {"changes": len(log), "syncs": len(syncs), "tried": tried, "seed": seed, "amiss": amiss}

    def look(self, action: str, done: bool, marks: list[Documents]) -> list[str]:
        """What is amiss after a power cut, and after the action was done again."""
        amiss = ["it ended well and is gone"] if done and current(self.home) is None else []
        if marks and action == "sync":
            found, last = documents(self.home), {path: [(*row,) for row in rows] for path, rows in marks[-1].items()}
            committed = {path for path, rows in last.items() if rows != self.old.get(path)}
            amiss += [f"{path} was committed and is not there" for path in committed if found.get(path) != last[path]]
        return amiss + self.examine(action, done)


@contextmanager
def marking(mark: Any) -> Iterator[None]:
    """Tell after each transaction what was committed by then."""
    plain = Catalog.transaction

    @contextmanager
    def transaction(self: Catalog) -> Iterator[Transaction]:
        with plain(self) as write:
            yield write
        mark(said(self))

    Catalog.transaction = transaction  # type: ignore[method-assign]
    try:
        yield
    finally:
        Catalog.transaction = plain  # type: ignore[method-assign]


def main() -> None:
    """The driver: a JSON line in, a JSON line out."""
    recipe._FLUSH_FILES = 1  # several commits
    driver = prepared(PowerCut)
    for line in sys.stdin:
        print(json.dumps(driver.explore_cuts(*json.loads(line))), flush=True)


# In pytest


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """The driver with `record.c`."""
    with driving(tmp_path_factory.mktemp("cuts"), "record.c", "tests.app.keeping.test_power_cut") as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_power_cut_loses_nothing_that_was_committed(driver: "subprocess.Popen[str]", action: str, share: str) -> None:
    found: Mapping[str, Any] = asked(driver, action, share)
    print(action, {key: found[key] for key in ("changes", "syncs", "tried", "seed")})
    assert found["syncs"] > 1
    assert not found["amiss"]


def test_a_disk_keeps_what_was_synced_and_may_lose_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    disk = Disk(root)
    old = (root / "old").stat().st_ino
    file, other = str(root / "new"), str(root / "renamed")
    steps = [
        Change("c", 91, 0, file, b""), Change("w", 91, 0, "", b"abc"), Change("f", 91, 0, file, b""),
        Change("w", 91, 3, "", b"def"), Change("t", 91, 5, "", b""),
        Change("s", 1, 0, str(root), f"91-new\0{old}-old\0".encode()),
        Change("r", 0, 0, file, os.fsencode(other)), Change("u", 0, 0, str(root / "old"), b""),
    ]  # fmt: skip
    for step in steps:
        disk.apply(step)
    left: dict[str, set[tuple[str, bytes]]] = {}
    for loss in ("all", "data", "names"):
        disk.cut(tmp_path / loss, loss, random.Random(1))
        left[loss] = {(path.name, path.read_bytes()) for path in (tmp_path / loss).iterdir()}
    assert left == {
        "all": {("old", b"old"), ("new", b"abc")}, "data": {("renamed", b"abc")},
        "names": {("old", b"old"), ("new", b"abcde")},
    }  # fmt: skip
