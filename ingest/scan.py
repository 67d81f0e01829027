"""Folder + what the catalog knows -> plan: which files are added, changed, moved, deleted, unchanged.

An unchanged file costs one `stat`; content is hashed only where the stat differs from the one on record.
"""

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.config import IngestConfig
from core.errors import ReadError
from core.types import FileEntry, FileError, KnownFile

# A file written within this time of its last check may have changed again without a new time stamp.
_RACY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Scan:
    """Every readable file of a folder, what could not be looked at, and what is left out with the reason."""

    files: list[FileEntry] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    skipped: list[FileError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What must be done so that the catalog equals the folder."""

    added: list[FileEntry]
    changed: list[tuple[KnownFile, FileEntry]]
    moved: list[tuple[KnownFile, FileEntry]]
    deleted: list[KnownFile]
    touched: list[tuple[KnownFile, FileEntry]]
    unchanged: int
    failed: list[FileError]

    @property
    def empty(self) -> bool:
        """Whether nothing but time stamps would be written."""
        return not (self.added or self.changed or self.moved or self.deleted)


def scan(folder: Path, cfg: IngestConfig, supported: Callable[[str], bool]) -> Scan:
    """Walk a folder, in a stable order. `supported` says by name whether there is a reader.

    Raises `ReadError` where the folder itself is missing, no folder, or closed to us.
    """
    check_folder(folder)
    result = Scan()
    include, exclude = _matcher(cfg.include), _matcher(cfg.exclude)
    for entry, relative in _walk(folder, cfg, exclude, result):
        if not include(relative):
            continue
        try:
            info = entry.stat(follow_symlinks=cfg.follow_symlinks)
        except OSError as error:
            result.errors.append(os_error(relative, error))
            continue
        if not stat.S_ISREG(info.st_mode):
            result.skipped.append(FileError(relative, "not a regular file"))
        elif not supported(entry.name):
            result.skipped.append(FileError(relative, f"no reader for {Path(entry.name).suffix or 'a file'!r}"))
        else:
            result.files.append(FileEntry(relative, info.st_size, info.st_mtime_ns, info.st_ctime_ns, time.time_ns()))
    return result


def plan(folder: Path, found: Scan, known: Iterable[KnownFile]) -> Plan:
    """Compare a scan with the catalog; hashes files whose stat is new."""
    by_path = {file.path: file for file in known}
    result = Plan([], [], [], [], [], 0, list(found.errors))
    unchanged = 0
    unseen = dict(by_path)
    for error in found.errors:  # unreadable is not deleted: what was read before keeps answering
        for path in [p for p in unseen if p == error.path or p.startswith(error.path + "/")]:
            del unseen[path]
    new: list[FileEntry] = []
    for entry in found.files:
        old = unseen.pop(entry.path, None)
        if old is not None and _same_stat(old, entry):
            unchanged += 1
            continue
        try:
            entry = replace(entry, hash=hash_file(folder / entry.path))
        except OSError as error:
            result.failed.append(os_error(entry.path, error))
            continue
        if old is None:
            new.append(entry)
        elif old.hash == entry.hash:
            result.touched.append((old, entry))
        else:
            result.changed.append((old, entry))
    _pair_moves(new, unseen, result)
    return Plan(
        result.added, result.changed, result.moved, list(unseen.values()), result.touched,
        unchanged + len(result.touched), result.failed,
    )  # fmt: skip


def _pair_moves(new: list[FileEntry], unseen: dict[str, KnownFile], result: Plan) -> None:
    """A new path with the content of a path that is gone is a move."""
    gone: dict[str, list[KnownFile]] = {}
    for file in unseen.values():
        gone.setdefault(file.hash, []).append(file)
    for entry in new:
        candidates = gone.get(entry.hash)
        if candidates:
            old = candidates.pop(0)
            del unseen[old.path]
            result.moved.append((old, entry))
        else:
            result.added.append(entry)


def _same_stat(old: KnownFile, new: FileEntry) -> bool:
    same = (old.size, old.mtime_ns, old.ctime_ns) == (new.size, new.mtime_ns, new.ctime_ns)
    return same and max(old.mtime_ns, old.ctime_ns) < old.checked_ns - _RACY_NS


def hash_file(path: Path) -> str:
    """BLAKE2b of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def os_error(path: str, error: OSError) -> FileError:
    """An operating-system error on one file, in words that say what to do."""
    hints = {
        errno.EACCES: ("no permission to read", "give the user that runs ragstone read permission (chmod u+r)"),
        errno.EPERM: ("no permission to read", "give the user that runs ragstone read permission"),
        errno.ENOENT: ("disappeared between the scan and the read", "run the same command again"),
        errno.ELOOP: ("a symbolic link that leads to itself", "remove the link"),
        errno.ENAMETOOLONG: ("the path is too long for this system", "shorten the name"),
        errno.EIO: ("the disk reported a read error", "check the disk; copy the file from a backup"),
    }
    text, hint = hints.get(error.errno or 0, (error.strerror or str(error), "check the file"))
    return FileError(printable(path), text, hint)


def printable(path: str) -> str:
    """A path as it can be printed and stored: bytes that are not UTF-8 as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_folder(folder: Path) -> None:
    """Raise `ReadError` where a folder is missing, no folder, or closed to us."""
    if not folder.exists():
        raise ReadError(f"folder {printable(str(folder))!r} does not exist", "check the spelling of the path")
    if not folder.is_dir():
        raise ReadError(f"{printable(str(folder))!r} is a file, not a folder", "give the folder that holds it")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ReadError(
            f"no permission to read folder {printable(str(folder))!r}", "chmod u+rx it, or run as its owner"
        )


def _walk(
    root: Path, cfg: IngestConfig, excluded: Callable[[str], bool], result: Scan
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files in order of their path. Folders reached a second time through links are not entered again."""
    stack = [("", root)]
    entered = {_identity(root)}
    while stack:
        prefix, folder = stack.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as error:
            result.errors.append(os_error(prefix.rstrip("/"), error))
            continue
        folders: list[tuple[str, Path]] = []
        for entry in found:
            relative = prefix + entry.name
            if entry.name.startswith(".") and not cfg.hidden:
                continue
            if printable(relative) != relative:
                error = FileError(printable(relative), "the name is not valid UTF-8", "rename it (convmv can do many)")
                result.errors.append(error)
            elif entry.is_symlink() and not cfg.follow_symlinks:
                result.skipped.append(FileError(relative, "a symbolic link", "set ingest.follow_symlinks = true"))
            elif excluded(relative) or excluded(relative + "/"):
                continue
            elif _is_dir(entry):
                identity = _identity(Path(entry.path))
                if identity in entered:
                    result.skipped.append(FileError(relative, "a link to a folder that is already read"))
                else:
                    entered.add(identity)
                    folders.append((relative + "/", Path(entry.path)))
            else:
                yield entry, relative
        stack.extend(reversed(folders))


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: `stat` will say so
        return False


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino


def _matcher(patterns: list[str]) -> Callable[[str], bool]:
    """Glob patterns over relative paths: `*` and `?` within a name, `**/` any number of folders."""
    if not patterns:
        return lambda path: False
    compiled = re.compile("|".join(f"(?:{_glob(pattern)})" for pattern in patterns), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _glob(pattern: str) -> str:
    parts: Mapping[str, str] = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(parts.get(piece, re.escape(piece)) for piece in pieces)
