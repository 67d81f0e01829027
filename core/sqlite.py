"""What every SQLite file of ours needs: connections that calls borrow, and what its tables are.

Threads come and go by the thousand in a server; a connection for each would stay open with its files and its memory.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

KEPT = 4  # connections of a file that stay open while nobody uses them
CACHE_KIB = 65_536 // KEPT  # of pages, for each of these
EXTRA_CACHE_KIB = 2_048  # for one that is opened while the others are in use, and closed at its end
_AGAIN_S = 0.01


class Connection(sqlite3.Connection):
    """A connection with a note by whoever made it: see `Pool`."""

    note: object = None


@dataclass(slots=True)
class _Loan:
    connection: Connection
    holders: int = 1


class Pool:
    """Connections to one file, of which each call borrows one. Safe to share between threads.

    Who borrows within what it does with a borrowed one gets the same again: a snapshot is read by calls that know
    nothing of it. There is never a wait: more than are kept are opened, and closed when they are given back.
    `connect` opens one; it must allow use by other threads. `usable` says whether one may be used once more. (Neither
    should hold the pool's owner: nobody would close the connections of an owner that is forgotten.)
    """

    def __init__(
        self, connect: Callable[[], Connection], usable: Callable[[Connection], bool] = lambda connection: True
    ) -> None:
        self._connect = connect
        self._usable = usable
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._free: list[Connection] = []
        self._open: set[Connection] = set()  # those that are kept, free or not
        self._threads = threading.local()

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        """A connection, until the end of the block."""
        loan = self._take()
        try:
            yield loan.connection
        finally:
            self._give(loan)

    def close(self) -> None:
        """Close the connections; one in use is closed when it is given back. A later call opens one anew."""
        if self._pid != os.getpid():
            return
        with self._mutex:
            free, self._free = self._free, []
            self._open.clear()
        for connection in free:
            connection.close()

    def __del__(self) -> None:
        self.close()  # a connection refers to itself, so that it would wait for the garbage collector

    def _take(self) -> _Loan:
        if self._pid != os.getpid():
            _INHERITED.append((self._free, self._open, self._threads))
            self._begin()
        loan: _Loan | None = getattr(self._threads, "loan", None)
        with self._mutex:
            if loan is not None and loan.holders:
                loan.holders += 1
                return loan
            connection = self._free.pop() if self._free else None
        if connection is not None and not self._usable(connection):
            self._drop(connection)
            connection = None
        self._threads.loan = loan = _Loan(connection or self._opened())
        return loan

    def _opened(self) -> Connection:
        connection = self._connect()
        with self._mutex:
            kept = len(self._open) < KEPT
            if kept:
                self._open.add(connection)
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB if kept else EXTRA_CACHE_KIB}")
        except sqlite3.Error:
            self._drop(connection)
            raise
        return connection

    def _give(self, loan: _Loan) -> None:
        """Take a loan back; a generator that borrowed may end in another thread than it began in."""
        connection = loan.connection
        with self._mutex:
            loan.holders -= 1
            if loan.holders:
                return
            if connection in self._open and not connection.in_transaction:
                self._free.append(connection)
                return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        with self._mutex:
            self._open.discard(connection)
        connection.close()


# Connections that a forked process found: neither to be used nor to be closed by it.
# https://www.sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork()"
_INHERITED: list[object] = []


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """A transaction that is committed at its end; whatever goes wrong in it, nothing of it is kept."""
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def write_ahead(db: sqlite3.Connection, wait_s: float) -> None:
    """Keep a write-ahead log from now on; while another connection writes, that is waited for.

    SQLite itself does not wait for that: to switch, it writes within a transaction that has read, where a busy handler
    is not asked (https://www.sqlite.org/c3ref/busy_handler.html). Of those that open a new file at once, some fail.
    """
    until = monotonic() + wait_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= until:
                raise
        sleep(_AGAIN_S)


def schema(db: sqlite3.Connection) -> frozenset[tuple[str, str, str, str]]:
    """Everything that a database defines: (type, name, table, SQL in one spelling). Two that agree have the same form.

    https://www.sqlite.org/schematab.html
    """
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")
    return frozenset((kind, name, table, _spelled(sql, name)) for kind, name, table, sql in rows)


def _spelled(sql: str, name: str) -> str:
    """Without the choice of white space, and without the quotes that renaming a table puts around its name."""
    return " ".join(sql.split()).replace(f'TABLE "{name}"', f"TABLE {name}", 1)
