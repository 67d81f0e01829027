"""An SQLite file of the data folder beside the knowledge bases: a schema with a number, connections that are kept.

It is in WAL mode, so that nobody who reads waits for a writer; only its owner may read it. A file of an earlier version
is copied first, then migrated in place, in one transaction.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from app.running.data_folder import DataFolder
from core.errors import CatalogError
from core.files import sync_folder
from core.sqlite import Connection, Pool, transaction, write_ahead

Step = Callable[[sqlite3.Connection], None]
_COPY = ".schema-"  # and the number: what the file was before it was migrated


class Store:
    """A file whose schema has the number of its steps: step n, from 0, leads from number n to n + 1.

    A new file goes the way of the old ones. Safe to use from many threads; several processes may have it open. The file
    is looked at anew for each transaction: one that was put in its place counts at once, and where it alone was moved
    aside a new one is begun. Nothing is begun where its whole folder went away. Raises `CatalogError`.
    """

    def __init__(self, file: Path, steps: Sequence[Step], wait_s: float) -> None:
        self.file, self._wait_s = file, wait_s
        self._folder = folder = DataFolder(file.parent)
        self._pool = Pool(partial(_connect, folder, file, steps, wait_s), partial(_is_of, file))

    def there(self) -> bool:
        """Whether the file was begun. Raises `CatalogError` where its folder went away: then nobody knows."""
        self._folder.check(self.file)
        return self.file.is_file()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads."""
        with self._transaction("BEGIN", self._wait_s) as db:
            yield db

    @contextmanager
    def writing(self, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction that writes, once no other does; `wait_s` for how long that is waited for."""
        with self._transaction("BEGIN IMMEDIATE", self._wait_s if wait_s is None else wait_s) as db:
            yield db

    def shrink(self) -> None:
        """Write the file anew and empty its log, so that neither holds what was deleted; drop the copies of before."""
        with self._told(), self._pool.borrowed() as db:
            db.execute(f"PRAGMA busy_timeout = {int(1000 * self._wait_s)}")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            for copy in self.file.parent.glob(f"{self.file.name}{_COPY}*"):
                copy.unlink(missing_ok=True)

    def empty_log(self) -> None:
        """Write the log into the file, so that it holds nothing that was deleted; while others read, a later one is."""
        with self._told(), self._pool.borrowed() as db:
            db.execute("PRAGMA busy_timeout = 0")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    @contextmanager
    def _transaction(self, begin: str, wait_s: float) -> Iterator[sqlite3.Connection]:
        with self._told(), self._pool.borrowed() as db:
            db.execute(f"PRAGMA busy_timeout = {int(1000 * wait_s)}")
            with transaction(db, begin):
                yield db

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:  # what the caller tried, not the file
            raise
        except (sqlite3.Error, OSError) as error:
            raise CatalogError(
                f"{str(self.file)!r} could not be read or written: {error}",
                "check free space and permissions; moved aside, a new one is begun",
            ) from error


def _connect(folder: DataFolder, file: Path, steps: Sequence[Step], wait_s: float) -> Connection:
    folder.check(file)
    if not file.exists():
        folder.make(file)
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))  # SQLite's journals take its mode
    connection = sqlite3.connect(
        file, timeout=wait_s, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        connection.note = _identity(file)
        write_ahead(connection, wait_s)
        connection.execute("PRAGMA secure_delete = ON")
        _migrate(connection, file, steps)
        connection.execute("PRAGMA foreign_keys = ON")  # behind the migration: a table that is dropped cascades
    except BaseException:
        connection.close()
        raise
    return connection


def _is_of(file: Path, connection: Connection) -> bool:
    """Whether the file is still the one that was opened."""
    try:
        return connection.note == _identity(file)
    except FileNotFoundError:
        return False


def _identity(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino


def _migrate(db: sqlite3.Connection, file: Path, steps: Sequence[Step]) -> None:
    if _number(db, file, steps) == len(steps):
        return
    with transaction(db):
        number = _number(db, file, steps)  # another process may have been at it
        if db.execute("SELECT 1 FROM sqlite_master").fetchone() and number < len(steps):
            _copy(file, number)
            file.chmod(0o600)
        for step in steps[number:]:
            step(db)
        db.execute(f"PRAGMA user_version = {len(steps)}")


def _number(db: sqlite3.Connection, file: Path, steps: Sequence[Step]) -> int:
    number = db.execute("PRAGMA user_version").fetchone()[0]
    if number > len(steps):
        raise CatalogError(
            f"{str(file)!r} was written by a newer version of ragstone: its schema is number {number}, this "
            f"version knows {len(steps)}",
            f"update ragstone; or move the file aside, with the -wal beside it, and put {file.name}{_COPY}N "
            "in its place: the copy of before it was migrated",
        )
    return number


def _copy(file: Path, number: int) -> None:
    copy = file.with_name(f"{file.name}{_COPY}{number}")
    aside = copy.with_name(copy.name + ".writing")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(aside)) as target:
            source.backup(target)
        os.fsync(handle)
        aside.replace(copy)
    finally:
        os.close(handle)
        aside.unlink(missing_ok=True)
    sync_folder(copy.parent)


def statements(db: sqlite3.Connection, script: str) -> None:
    """Run statements within the transaction that is open."""
    for statement in script.split(";"):
        db.execute(statement)
