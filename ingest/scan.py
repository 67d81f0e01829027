"""Folder + what the catalog knows -> plan: which files are added, changed, moved, deleted, unchanged.

Both are read in order of path and merged, so that an unchanged file costs one `stat` and no memory. Content is hashed
only where the stat differs from the one on record, or where a new file may be one that moved.
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.config import IngestConfig
from core.errors import ReadError
from core.files import number_of
from core.glob import matcher
from core.types import Choice, FileEntry, FileError, KnownFailure, KnownFile
from ingest.reach import AWAY, Reach

# A file written within this time of its last check may have changed again without a new time stamp.
_RACY_NS = 2_000_000_000

BY_CHOICE = "left out: somebody chose so"
_TAKE_IN = "take it in again on its card in the page, or with `ragstone take-in`"
NO_READER = "save it as PDF, DOCX, Markdown or text to have it read"
NOT_CHOSEN = ("left out by ingest.include and exclude", "change them in config.toml where it is to be read")
_EXCLUDED = ("left out by ingest.exclude", "change ingest.exclude in config.toml where it is to be read")
_NOT_INCLUDED = ("not named by ingest.include", "name it in ingest.include where it is to be read")

Known = Callable[[str], Iterable[KnownFile]]
_Entry = os.DirEntry[str] | Path


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of files beside what they said, by path: which could not be read, and what people chose."""

    failures: Mapping[str, KnownFailure] = field(default_factory=dict[str, KnownFailure])
    choices: Mapping[str, Choice] = field(default_factory=dict[str, Choice])


_NOTHING = Past()


@dataclass(slots=True)
class Plan:
    """What must be done so that the catalog equals the folder; `skipped` are left out, each with the reason."""

    added: list[FileEntry] = field(default_factory=list)
    changed: list[tuple[KnownFile, FileEntry]] = field(default_factory=list)
    moved: list[tuple[KnownFile, FileEntry]] = field(default_factory=list)
    deleted: list[KnownFile] = field(default_factory=list)
    touched: list[tuple[KnownFile, FileEntry]] = field(default_factory=list)
    unchanged: int = 0
    failed: list[FileError] = field(default_factory=list)
    skipped: list[FileError] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing but time stamps would be written."""
        return not (self.added or self.changed or self.moved or self.deleted)


def plan(
    folder: Path,
    cfg: IngestConfig,
    supported: Callable[[str], bool],
    known: Known,
    past: Past = _NOTHING,
    *,
    only: Iterable[str] | None = None,
    apart: Path | None = None,
    before: Plan | None = None,
) -> Plan:
    """Compare a folder with what is known of it.

    `supported` says by path whether there is a reader. `known(path)` gives the files at or below a path ("" is all of
    them) in order of path. A file that is as it was when it could not be read is not tried again, and one that was
    chosen to be left out is not read (`past`).
    `only` limits the comparison to some paths, files or folders; `apart` is a folder that is never entered. `before`:
    what failed and was left out before the files came into the folder.
    Raises `ReadError` where the folder itself is missing, no folder, or closed to us.
    """
    check_folder(folder)
    result = Plan()
    walker = _Walker(folder, cfg, supported, result, Reach.of(folder, cfg, apart), past.choices)
    new: list[FileEntry] = []
    differing: list[tuple[KnownFile, FileEntry]] = []
    gone: list[KnownFile] = []
    for top in [""] if only is None else _tops(only):
        _merge(walker.below(top), known(top), result, new, differing, gone)
    gone = _not_below(gone, {error.path for error in result.failed})  # unreadable is not deleted
    if before is not None:
        never_came = {error.path for error in before.failed}
        gone = [file for file in gone if file.path not in never_came]
        result.failed += before.failed
        result.skipped += before.skipped
    differing = [(old, entry.as_chosen(past.choices)) for old, entry in differing]
    new = [entry.as_chosen(past.choices) for entry in new]
    differing = [(old, entry) for old, entry in differing if not _still_fails(entry, past.failures, result)]
    new = [entry for entry in new if not _still_fails(entry, past.failures, result)]
    for old, entry in differing:
        hashed = _hashed(folder, entry, result)
        if hashed is not None:
            (result.touched if old.hash == hashed.hash else result.changed).append((old, hashed))
    _pair_moves(folder, new, gone, result)
    result.unchanged += len(result.touched)
    return result


def _merge(
    found: Iterable[tuple[str, os.stat_result]],
    known: Iterable[KnownFile],
    result: Plan,
    new: list[FileEntry],
    differing: list[tuple[KnownFile, FileEntry]],
    gone: list[KnownFile],
) -> None:
    rows = iter(known)
    old = next(rows, None)
    for path, info in found:
        while old is not None and old.path < path:
            gone.append(old)
            old = next(rows, None)
        if old is None or old.path != path:
            new.append(_entry(path, info))
            continue
        if _same_stat(old, info.st_size, info.st_mtime_ns, info.st_ctime_ns):
            result.unchanged += 1
        else:
            differing.append((old, _entry(path, info)))
        old = next(rows, None)
    if old is not None:
        gone += [old, *rows]


def _entry(path: str, info: os.stat_result) -> FileEntry:
    return FileEntry(path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, time.time_ns())


def _same_stat(old: KnownFile | KnownFailure, size: int, mtime_ns: int, ctime_ns: int) -> bool:
    same = old.mtime_ns == mtime_ns and old.size == size and old.ctime_ns == ctime_ns
    return same and max(mtime_ns, ctime_ns) < old.checked_ns - _RACY_NS


def failed_before(entry: FileEntry, failures: Mapping[str, KnownFailure]) -> bool:
    """Whether a file could not be read when it was last tried, and has the size and the times that it had then."""
    old = failures.get(entry.path)
    return old is not None and (old.size, old.mtime_ns, old.ctime_ns) == (entry.size, entry.mtime_ns, entry.ctime_ns)


def _still_fails(entry: FileEntry, failures: Mapping[str, KnownFailure], result: Plan) -> bool:
    failure = failures.get(entry.path)
    if failure is None or not _same_stat(failure, entry.size, entry.mtime_ns, entry.ctime_ns):
        return False
    result.failed.append(FileError(entry.path, failure.error, failure.hint, known=True))
    return True


def _tops(paths: Iterable[str]) -> list[str]:
    """The paths without those below another one of them."""
    tops: list[str] = []
    for path in sorted(set(paths), key=lambda p: p + "/"):
        if not tops or not (path + "/").startswith(tops[-1] + "/"):
            tops.append(path)
    return [""] if "" in tops else tops


def _not_below(files: Iterable[KnownFile], closed: Collection[str]) -> list[KnownFile]:
    prefixes = tuple(f"{path}/" if path else "" for path in closed)
    return [file for file in files if file.path not in closed and not file.path.startswith(prefixes)]


def _hashed(folder: Path, entry: FileEntry, result: Plan) -> FileEntry | None:
    try:
        return replace(entry, hash=hash_file(folder / entry.path))
    except OSError as error:
        result.failed.append(os_error(entry.path, error))
        return None


def _pair_moves(folder: Path, new: list[FileEntry], gone: list[KnownFile], result: Plan) -> None:
    """A path that has the content of one that is gone is a move; of several, the one that kept its name.

    With another suffix it is none: another reader may make something else of the same content.
    """
    left: dict[tuple[str, str], list[KnownFile]] = {}
    for file in gone:
        left.setdefault(_read_alike(file), []).append(file)

    def moved(entry: FileEntry) -> bool:
        candidates = left.get(_read_alike(entry), [])
        name = entry.path.rpartition("/")[2]
        old = next((f for f in candidates if f.path.rpartition("/")[2] == name), next(iter(candidates), None))
        if old is not None:
            candidates.remove(old)
            result.moved.append((old, entry))
        return old is not None

    while overwritten := [(old, entry) for old, entry in result.changed if moved(entry)]:
        result.changed = [pair for pair in result.changed if pair not in overwritten]
        for old, _ in overwritten:  # what stood there may have moved on itself
            left.setdefault(_read_alike(old), []).append(old)
            gone.append(old)
    sizes = {file.size for file in gone}
    for entry in new:
        hashed = _hashed(folder, entry, result) if entry.size in sizes else entry
        if hashed is not None and not moved(hashed):
            result.added.append(hashed)
    result.moved.reverse()  # whoever makes room goes first
    taken = {old.id for old, _ in result.moved}
    result.deleted = [file for file in gone if file.id not in taken]


def _read_alike(file: FileEntry | KnownFile) -> tuple[str, str]:
    return file.hash, os.path.splitext(file.path)[1].lower()


class _Walker:
    """The readable files of a folder in order of their path; what is left out or fails goes into the plan."""

    def __init__(
        self,
        root: Path,
        cfg: IngestConfig,
        supported: Callable[[str], bool],
        result: Plan,
        reach: Reach,
        choices: Mapping[str, Choice],
    ) -> None:
        self.root = root
        self.cfg = cfg
        self.supported = supported
        self.result = result
        self.reach = reach
        self.apart = number_of(reach.apart) if reach.apart else None
        self.unwanted = {path for path, choice in choices.items() if choice.left_out}
        self.included, self.excluded = matcher(cfg.include), matcher(cfg.exclude)
        self.entered: set[tuple[int, int]] = set()

    def below(self, top: str) -> Iterator[tuple[str, os.stat_result]]:
        """(path, stat) of every file at or below `top`."""
        stack = [self._top(top)]
        while stack:
            for relative, entry, folder in stack[-1]:
                if folder:
                    if self._enter(relative, entry):
                        stack.append(self._list(relative, entry))
                        break
                elif info := self._stat(relative, entry):
                    yield relative, info
            else:
                stack.pop()

    def _top(self, top: str) -> Iterator[tuple[str, _Entry, bool]]:
        if not top:
            self._enter("", self.root)
            return self._list("", self.root)
        prefix, path = "", self.root
        found: list[tuple[str, _Entry, bool]] = []
        for name in top.split("/"):  # a file below a folder that is left out is left out too
            path = path / name
            found = self._accepted(prefix, [path]) if os.path.lexists(path) else []
            if not found or (found[0][2] and number_of(path) == self.apart):
                found = []
                break
            prefix += name + "/"
        return iter(found)

    def _list(self, prefix: str, folder: _Entry) -> Iterator[tuple[str, _Entry, bool]]:
        try:
            with os.scandir(folder) as entries:
                return iter(self._accepted(prefix, entries))
        except OSError as error:
            self.result.failed.append(os_error(prefix.rstrip("/"), error))
            return iter(())

    def _accepted(self, prefix: str, entries: Iterable[_Entry]) -> list[tuple[str, _Entry, bool]]:
        """(path, entry, is a folder), in order; the path of a folder ends in a slash, so that its files stand there."""
        found: list[tuple[str, _Entry, bool]] = []
        for entry in entries:
            name = entry.name
            if name[0] == "." and not self.cfg.hidden:
                continue
            relative = prefix + name
            if not name.isascii() and printable(relative) != relative:
                hint = "rename it (convmv can do many)"
                self.result.failed.append(FileError(printable(relative), "the name is not valid UTF-8", hint))
                continue
            folder = _is_dir(entry)
            if self.excluded(relative) or (folder and self.excluded(relative + "/")):
                self.result.skipped.append(FileError(relative + "/" * folder, *_EXCLUDED))
                continue
            if entry.is_symlink() and not self.cfg.follow_symlinks:
                self.result.skipped.append(FileError(relative, "a symbolic link", "set ingest.follow_symlinks = true"))
            elif entry.is_symlink() and not self.reach.holds(os.path.realpath(entry)):
                self.result.skipped.append(FileError(relative, *AWAY))
            else:
                found.append((relative + "/" if folder else relative, entry, folder))
        found.sort(key=lambda item: item[0])
        return found

    def _enter(self, relative: str, entry: _Entry) -> bool:
        """Whether to read a folder: not the one kept apart, and not one that was reached before through a link."""
        if not self.apart and not self.cfg.follow_symlinks:
            return True
        number = number_of(entry)
        if number == self.apart and relative:
            return False
        if not self.cfg.follow_symlinks:
            return True
        if number in self.entered:
            path = relative.rstrip("/")
            self.result.skipped.append(FileError(path, "a link to a folder that is already read"))
            return False
        if number:
            self.entered.add(number)
        return True

    def _stat(self, relative: str, entry: _Entry) -> os.stat_result | None:
        if relative in self.unwanted:
            self.result.skipped.append(FileError(relative, BY_CHOICE, _TAKE_IN))
            return None
        if not self.included(relative):
            self.result.skipped.append(FileError(relative, *_NOT_INCLUDED))
            return None
        try:
            info = entry.stat(follow_symlinks=self.cfg.follow_symlinks)
        except OSError as error:
            self.result.failed.append(os_error(relative, error))
            return None
        if not stat.S_ISREG(info.st_mode):
            self.result.skipped.append(FileError(relative, "not a regular file"))
        elif not self.supported(os.fspath(entry)):
            suffix = os.path.splitext(entry.name)[1]
            self.result.skipped.append(FileError(relative, f"no reader for {suffix or 'a file'!r}", NO_READER))
        else:
            return info
        return None


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


def _is_dir(entry: _Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: `stat` will say so
        return False
