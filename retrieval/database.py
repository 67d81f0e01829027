"""One SQLite file in WAL mode: a connection for each thread, errors in words, and reading where nothing can be written.

To read a file in WAL mode SQLite makes two files beside it. Where the disk is full or read-only it cannot; while nobody
writes and the log is empty, the file says all there is, and is read as one that does not change.
"""

import errno
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from core.errors import CatalogError
from retrieval.home import no_writer

_BATCH = 500  # bound variables per statement, well below SQLite's limit


class Database:
    """A SQLite file that is `<data>/<kb>/<generation>/<name>`. Safe to share between threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._threads = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._log = file.with_name(file.name + "-wal")

    def close(self) -> None:
        """Close every thread's connection."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._threads = threading.local()

    @property
    def _db(self) -> sqlite3.Connection:
        connection = getattr(self._threads, "connection", None)
        if connection is not None and self._threads.frozen and not connection.in_transaction and self._thawed():
            connection.close()
            connection = None
        if connection is None:
            with self._errors():
                connection = self._connect()
            self._threads.connection = connection
            self._connections.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        self._threads.frozen = None
        try:
            connection = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a committed file survives a power cut
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.OperationalError as error:
            if not _refused(str(error)):
                raise
            connection = self._read_only(error)
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    def _read_only(self, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """Open the file as one that does not change, where that is so; else raise the error."""
        home = self.file.parent.parent
        if not self.file.is_file() or not home.is_dir():
            raise error
        try:
            with no_writer(home):
                if self._has_log():
                    raise error
                connection = sqlite3.connect(
                    self.file.absolute().as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None,
                    check_same_thread=False,
                )  # fmt: skip
                self._threads.frozen = self._stamp()
        except CatalogError as taken:  # by a writer, which may be this very process: the file does change
            raise error from taken
        return connection

    def _thawed(self) -> bool:
        """Whether somebody has written since the file was opened as one that does not change."""
        return self._has_log() or self._stamp() != self._threads.frozen

    def _stamp(self) -> tuple[int, int]:
        info = self.file.stat()
        return info.st_mtime_ns, info.st_size

    def _has_log(self) -> bool:
        return self._log.exists() and self._log.stat().st_size > 0

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

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question in SQL."""
        with self._errors():
            return self._db.execute(sql, parameters).fetchall()

    def _in(self, sql: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _BATCH):
            part = values[start : start + _BATCH]
            yield from self.rows(f"{sql} ({','.join('?' * len(part))})", part)

    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        with self._errors():
            cursor = self._db.execute(sql, parameters)
            while rows := cursor.fetchmany(size):
                yield rows

    def copy_to(self, file: Path) -> None:
        """A copy as of one moment, by SQLite's online backup: writers go on. Raises `OSError` where it has no room."""
        with self._errors(), closing(sqlite3.connect(file)) as copy:
            try:
                self._db.backup(copy)
            except sqlite3.OperationalError as error:
                raise OSError(errno.EIO, str(error)) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: what is read inside belongs together, whatever a writer does meanwhile."""
        with self._errors():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with self._errors():
                self._db.execute("COMMIT")


def _refused(text: str) -> bool:
    """Whether the system would not let SQLite read or write."""
    return any(words in text for words in ("disk I/O", "unable to open", "readonly", "is full"))
