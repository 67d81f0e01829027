"""A bucket -> a folder that says what the bucket says, and is scanned and read as any other.

<data>/<kb>/s3/<hash of the address>/
  objects/      the files, under their keys
  known.jsonl   what was listed of each when it was downloaded: size, time, ETag. They only say what to look at again;
                whether a document changed is told by its own hash
  parts/        what is being downloaded

A file is there whole or not at all, and nothing is removed unless the bucket was listed to its end.
"""

import errno
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import filelock

from core.config import IngestConfig
from core.errors import CatalogError, ReadError
from core.files import make_folder, write_whole
from core.sources import MIRRORS, mirror, place
from core.types import FileError
from ingest.bucket import Bucket, Object
from ingest.kind import suffix_of
from ingest.read import supported
from ingest.scan import NO_READER, NOT_CHOSEN, Plan, os_error, printable
from ingest.wanted import chosen, hidden

Progress = Callable[[str, int, int], None]

_AT_ONCE = 16
_MOST_LEFT_OUT = 10_000  # objects that are named as left out
_KNOWN = "known.jsonl"
_LEFT = 1 << 28  # bytes of the disk that downloads leave
_LOCK_S = 2.0
_LARGEST = 100  # times ingest.max_file_mb: the size of what stands for a larger object
_OF_ONE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class Row(NamedTuple):
    """What was listed of an object when it was downloaded, or what failed. `stands_in`: it is too large."""

    size: int
    modified: float
    etag: str
    error: str = ""
    hint: str = ""
    stands_in: bool = False


Known = dict[str, Row]


def refresh(home: Path, source: str, cfg: IngestConfig, progress: Progress) -> Plan:
    """Bring the mirror of a bucket up to date; returns what was left out and what failed, as the start of a plan.

    Downloaded is what would be read: by include, exclude and hidden, with a reader, and no larger than max_file_mb; for
    a larger one a file of its size stands that takes no room. What cannot be had stays as it was. Raises `ReadError`
    where the bucket or the disk fails as a whole, `CatalogError` while another process is at it.
    """
    bucket, result = Bucket(source), Plan()
    folder = mirror(home, source)
    with told(source), held(folder):
        objects = place(home, source)
        make_folder(objects)
        wanted = _chosen(bucket.listed(), cfg, result, folds(objects))
        _drop_all_but(objects, wanted)
        before = _known(folder / _KNOWN)
        todo = [each for each in wanted.values() if not _is_there(each, objects, before, cfg)]
        _download(bucket, folder, todo, cfg, progress)
        known = {key: row for key, row in _known(folder / _KNOWN).items() if key in wanted}
        if known != before:
            write_whole(folder / _KNOWN, "".join(map(_line, known.items())))
    for key, row in known.items():
        if row.error:
            result.failed.append(FileError(key, row.error, row.hint, known=before.get(key) == row))
    return result


def discard(home: Path, source: str) -> None:
    """Remove the mirror of a bucket, or of a page, that is not followed any more."""
    shutil.rmtree(mirror(home, source), ignore_errors=True)


def discard_others(home: Path, sources: Iterable[str]) -> list[str]:
    """Remove what was downloaded of other sources than these, and what is half there; returns the names."""
    followed = {mirror(home, source) for source in sources}
    gone = [folder for kind in MIRRORS for folder in (home / kind).glob("*") if folder not in followed]
    gone += [parts for folder in followed if (parts := folder / "parts").is_dir()]
    for folder in gone:
        shutil.rmtree(folder)
    return [folder.relative_to(home).as_posix() for folder in gone]


def holds_some(source: str, paths: Collection[str]) -> bool:
    """Whether a bucket holds some of the documents that are known of it. Raises `ReadError`."""
    return any(each.key in paths for each in Bucket(source).listed())


def _chosen(listed: Sequence[Object], cfg: IngestConfig, result: Plan, folding: bool) -> dict[str, Object]:
    """The objects that are files to be read, by key; what is amiss with the others goes into the plan."""
    is_chosen, found = chosen(cfg), dict[str, Object]()
    for each in sorted(listed, key=lambda each: each.key):
        if each.key.endswith("/") or not each.key:
            continue  # stands for a folder
        if why := _no_name(each.key):
            result.failed.append(FileError(printable(each.key), why, "rename the object"))
        elif is_chosen(each.key):
            if suffix_of(each.key) and not supported(each.key, cfg):
                result.skipped.append(
                    FileError(each.key, f"no reader for {PurePosixPath(each.key).suffix!r}", NO_READER)
                )
            else:
                found[each.key] = each
        elif (cfg.hidden or not hidden(each.key)) and len(result.skipped) < _MOST_LEFT_OUT:
            result.skipped.append(FileError(each.key, *NOT_CHOSEN))
    for key, why in _clashes(found, folding).items():
        del found[key]
        result.failed.append(FileError(key, why, "rename the object"))
    return found


def _no_name(key: str) -> str:
    """Why an object's key cannot be the path of a file below a folder; "" where it can."""
    if any(name in ("", ".", "..") for name in key.split("/")):
        return "its key has an empty name, '.' or '..' in it"
    if "\0" in key or printable(key) != key:
        return "its key has characters that no name of a file may have"
    return ""


def _clashes(keys: Collection[str], folding: bool) -> dict[str, str]:
    """The keys that cannot be files beside others, and why."""
    clashing: dict[str, str] = {}
    first: dict[str, str] = {}
    folders = {key[:at] for key in keys for at in range(len(key)) if key[at] == "/"}
    for key in sorted(keys):
        if key in folders:
            clashing[key] = "its key is that of a folder with other objects, too"
        for part in [*_above(key), key] if folding else ():
            alike = first.setdefault(unicodedata.normalize("NFC", part).casefold(), part)
            if alike != part:
                clashing[key] = f"this disk cannot tell its key from {alike!r}"
    return clashing


def _above(key: str) -> Iterator[str]:
    return (key[:at] for at in range(len(key)) if key[at] == "/")


def folds(folder: Path) -> bool:
    """Whether a disk takes names for the same that differ in case or in the form of Unicode only."""
    probe = folder.parent / "prob\u00e9"
    probe.touch()
    try:
        return (folder.parent / "PROB\u00c9").exists() or (folder.parent / "probe\u0301").exists()
    finally:
        probe.unlink()


def _drop_all_but(objects: Path, wanted: Mapping[str, Object]) -> None:
    for at, folders, files in os.walk(objects, topdown=False):
        below = PurePosixPath(Path(at).relative_to(objects).as_posix())
        for name in files:
            if str(below / name) not in wanted:
                Path(at, name).unlink()
        for name in folders:
            with suppress(OSError):  # it holds something
                Path(at, name).rmdir()


def _is_there(wanted: Object, objects: Path, known: Known, cfg: IngestConfig) -> bool:
    """Whether the version that is listed was downloaded, and is still there as it was."""
    row, most = known.get(wanted.key), _most(cfg)
    if row is None or row != Row(wanted.size, wanted.modified, wanted.etag, stands_in=wanted.size > most):
        return False
    try:
        size = (objects / wanted.key).lstat().st_size
    except OSError:
        return False
    return size == (_stand_in(wanted, most) if row.stands_in else wanted.size)


def _most(cfg: IngestConfig) -> int:
    """Bytes of a file that is read."""
    return cfg.max_file_mb * 1_000_000


def _stand_in(wanted: Object, most: int) -> int:
    """Bytes of the empty file that stands for one too large: its reader tells them, and they are hashed."""
    return min(wanted.size, most * _LARGEST)


def _download(bucket: Bucket, folder: Path, todo: Sequence[Object], cfg: IngestConfig, progress: Progress) -> None:
    most, parts = _most(cfg), folder / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    if not todo:
        return
    parts.mkdir()
    _check_room(bucket.source, folder, sum(each.size for each in todo if each.size <= most))
    done, rest = 0, iter(todo)
    with (folder / _KNOWN).open("a", encoding="utf-8") as log:
        while batch := list(islice(rest, _AT_ONCE)):
            some = [(each, parts / str(n)) for n, each in enumerate(batch)]
            came = iter(bucket.fetch([pair for pair in some if pair[0].size <= most], most))
            for each, part in some:
                if each.size > most:
                    with part.open("wb") as handle:
                        handle.truncate(_stand_in(each, most))
                row = _settled(each, part, each.etag if each.size > most else next(came), folder / "objects")
                log.write(_line((each.key, row._replace(stands_in=each.size > most))))
            log.flush()
            done += len(batch)
            progress("fetch", done, len(todo))
    shutil.rmtree(parts)


def _settled(each: Object, part: Path, came: str | FileError, objects: Path) -> Row:
    """Give what was downloaded its place; returns what is known of it from now on."""
    row = Row(each.size, each.modified, each.etag)
    if isinstance(came, FileError):
        return row._replace(error=came.error, hint=came.hint)
    os.utime(part, (each.modified, each.modified))  # which version of a document is the newest is told by it
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    file = objects / each.key
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.replace(file)
    except OSError as error:
        if error.errno not in _OF_ONE:
            raise
        told = os_error(each.key, error)
        return row._replace(error=told.error, hint=told.hint)
    return row._replace(etag=came)  # where it was replaced since it was listed, the next run looks again


def _check_room(source: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _LEFT > free:
        raise ReadError(
            f"{source!r} needs {needed / 1e6:,.0f} MB in the data folder, whose disk has {free / 1e6:,.0f} MB left",
            "free some space, set RAGSTONE_DATA to a larger disk, or leave files out with ingest.exclude",
        )


def _known(file: Path) -> Known:
    """What was listed when each object was downloaded; a line that is damaged is none."""
    known: Known = {}
    with suppress(FileNotFoundError), file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError):
                key, *row = json.loads(line)
                known[str(key)] = Row(*row)
    return known


def _line(known: tuple[str, Row]) -> str:
    return json.dumps([known[0], *known[1]]) + "\n"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """One process at a time brings a mirror up to date. Raises `CatalogError` where another one is at it."""
    make_folder(folder)
    try:
        with filelock.FileLock(folder / "lock", timeout=_LOCK_S):
            yield
    except filelock.Timeout:
        raise CatalogError(
            "another process is downloading the same for this knowledge base",
            "wait for it to end, then run it again",
        ) from None


@contextmanager
def told(source: str) -> Iterator[None]:
    """What the disk refuses is told. Raises `ReadError`."""
    try:
        yield
    except OSError as error:
        raise ReadError(
            f"what {source!r} holds could not be written to the data folder: {error.strerror}",
            "check the free space and the permissions of the data folder",
        ) from error
