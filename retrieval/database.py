"""One SQLite file in WAL mode: pooled connections, errors in words, and reading where nothing can be written.

To read a file in WAL mode SQLite makes two files beside it. Where the disk is full or read-only it cannot; while nobody
writes and the log is empty, the file says all there is, and is read as one that does not change.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import CatalogError
from core.sqlite import Connection, Pool, write_ahead
from retrieval.home import no_writer
from retrieval.rows import Rows

_WAIT_S = 30.0  # for a writer that is in the middle of a transaction


class Database(Rows):
    """A SQLite file that is `<data>/<kb>/<generation>/<name>`. Safe to share between threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._pool = Pool(partial(_connect, file), partial(_usable, file))

    def close(self) -> None:
        """Close the connections; what is being read is read to its end."""
        self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to work with; within the block every call of this thread uses the same."""
        with self._errors(), self._pool.borrowed() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> CatalogError:
        text, where = str(error), f"{str(self.file)!r}"
        if "full" in text or (_refused(text) and self._disk_is_full()):
            return CatalogError(f"the disk is full: {where} could not be opened or written", "free some space")
        if _refused(text):
            hint = "check that the disk is mounted, writable and has free space"
            return CatalogError(f"{where} could not be read or written: {text}", hint)
        if "locked" in text or "busy" in text:
            return CatalogError(
                f"{where} is locked by another program",
                "end what holds it open (a backup tool, a shell), then try again",
            )
        if type(error) is sqlite3.DatabaseError:  # malformed, or no database at all
            name = self.file.parent.parent.name
            return CatalogError(
                f"{where} is damaged: {text}",
                f"`ragstone index FOLDER --kb {name} --rebuild` with all of its folders, or restore a backup",
            )
        return CatalogError(f"{where}: {text}", f"run `ragstone verify --kb {self.file.parent.parent.name}`")

    def _disk_is_full(self) -> bool:
        try:
            return shutil.disk_usage(self.file.parent).free == 0
        except OSError:
            return False

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question in SQL."""
        with self.connection() as db:
            return db.execute(sql, parameters).fetchall()

    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        with self.connection() as db, closing(db.execute(sql, parameters)) as cursor:
            while rows := cursor.fetchmany(size):
                yield rows

    def copy_to(self, file: Path) -> None:
        """A copy as of one moment, by SQLite's online backup: writers go on. Raises `OSError` where it has no room."""
        with self.connection() as db, closing(sqlite3.connect(file)) as copy:
            try:
                db.backup(copy)
            except sqlite3.OperationalError as error:
                raise OSError(errno.EIO, str(error)) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: what is read inside belongs together, whatever a writer does meanwhile."""
        with self.connection() as db:
            db.execute("BEGIN")
            try:
                yield
            finally:
                db.execute("COMMIT")


def _refused(text: str) -> bool:
    """Whether the system would not let SQLite read or write."""
    return any(words in text for words in ("disk I/O", "unable to open", "readonly", "is full"))


def _connect(file: Path) -> Connection:
    try:
        connection = sqlite3.connect(
            file, timeout=_WAIT_S, isolation_level=None, check_same_thread=False, factory=Connection
        )  # fmt: skip
        write_ahead(connection, _WAIT_S)
        connection.execute("PRAGMA synchronous = FULL")  # a committed file survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # https://www.sqlite.org/security.html
        connection.note = _Opened(file.stat().st_ino)
    except sqlite3.OperationalError as error:
        if not _refused(str(error)):
            raise
        connection = _read_only(file, error)
    return connection


def _read_only(file: Path, error: sqlite3.OperationalError) -> Connection:
    """Open the file as one that does not change, where that is so; else raise the error."""
    home = file.parent.parent
    if not file.is_file() or not home.is_dir():
        raise error
    try:
        with no_writer(home):
            if _has_log(file):
                raise error
            connection = sqlite3.connect(
                file.absolute().as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None,
                check_same_thread=False, factory=Connection,
            )  # fmt: skip
            connection.note = _Opened(file.stat().st_ino, _stamp(file))
    except CatalogError as taken:  # by a writer, which may be this very process: the file does change
        raise error from taken
    return connection


@dataclass(frozen=True, slots=True)
class _Opened:
    """The file that a connection has open; `frozen`: as which it does not change."""

    inode: int
    frozen: tuple[int, int] | None = None


def _usable(file: Path, connection: Connection) -> bool:
    """Whether a connection still has the file open that is there; one that was removed is read to the end.

    Where it was opened as one that does not change, nobody may have written since.
    """
    opened = connection.note
    assert isinstance(opened, _Opened)
    try:
        inode = file.stat().st_ino
        same = opened.frozen is None or (not _has_log(file) and _stamp(file) == opened.frozen)
    except OSError:
        return opened.frozen is None
    return same and inode == opened.inode


def _stamp(file: Path) -> tuple[int, int]:
    info = file.stat()
    return info.st_mtime_ns, info.st_size


def _has_log(file: Path) -> bool:
    log = file.with_name(file.name + "-wal")
    return log.exists() and log.stat().st_size > 0
