import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest

from core.sqlite import KEPT, Connection, Pool, write_ahead


def connect(file: Path) -> Connection:
    connection = sqlite3.connect(
        file, timeout=30, isolation_level=None, check_same_thread=False, factory=Connection
    )  # fmt: skip
    write_ahead(connection, 30)
    connection.execute("CREATE TABLE IF NOT EXISTS pairs(a INTEGER, b INTEGER)")
    return connection


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(partial(connect, tmp_path / "x.sqlite"))
    yield pool
    pool.close()


def descriptors(folder: Path) -> int:
    """How many descriptors of this process are of files in a folder."""
    links = Path("/proc/self/fd")
    if not links.is_dir():
        pytest.skip("no /proc here")
    return sum(os.readlink(link).startswith(str(folder)) for link in links.iterdir() if link.is_symlink())


def count(pool: Pool) -> int:
    with pool.borrowed() as db:
        return db.execute("SELECT count(*) FROM pairs").fetchone()[0]


def in_threads(*bodies: Callable[[], object]) -> None:
    """Run all at once, and raise what one of them raises."""
    failed: list[BaseException] = []

    def run(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_whoever_opens_a_file_first_waits_for_another_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE pairs(a INTEGER, b INTEGER)")
        monkeypatch.setattr("core.sqlite.sleep", lambda _: other.execute("COMMIT"))
        with closing(connect(file)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_stays_locked_is_told_of_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other, closing(sqlite3.connect(file)) as db:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write_ahead(db, 0.02)


def test_many_short_threads_leave_no_more_open_than_one(pool: Pool, tmp_path: Path) -> None:
    count(pool)
    before = descriptors(tmp_path)
    for _ in range(100):
        in_threads(partial(count, pool))
    assert descriptors(tmp_path) == before


def test_what_many_threads_at_once_opened_is_used_again_or_closed(pool: Pool, tmp_path: Path) -> None:
    """SQLite itself keeps the descriptors of closed connections as long as another is open, for the next to be opened.

    https://www.sqlite.org/src/file/src/os_unix.c, "Posix Advisory Locking".
    """
    together = threading.Barrier(20)

    def hold() -> None:
        with pool.borrowed() as db:
            assert db.execute("SELECT count(*) FROM pairs").fetchone() == (0,)
            together.wait(60)

    in_threads(*[hold] * 20)
    once = descriptors(tmp_path)
    for _ in range(5):
        in_threads(*[hold] * 20)
    assert descriptors(tmp_path) <= once
    assert len(pool._free) == KEPT
    pool.close()
    assert descriptors(tmp_path) == 0


def test_the_page_cache_of_all_connections_is_bounded(pool: Pool) -> None:
    def size(db: sqlite3.Connection) -> int:
        return -db.execute("PRAGMA cache_size").fetchone()[0]

    sizes: list[int] = []
    with ExitStack() as stack:
        for _ in range(KEPT + 12):
            connection = in_another_thread(stack, pool)
            sizes.append(size(connection))
    assert sum(sizes[:KEPT]) == 65_536
    assert set(sizes[KEPT:]) == {2_048}


def in_another_thread(stack: ExitStack, pool: Pool) -> Connection:
    """A connection that a thread of its own has borrowed, until the stack is closed."""
    borrowed, over, found = threading.Event(), threading.Event(), []

    def hold() -> None:
        with pool.borrowed() as db:
            found.append(db)
            borrowed.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    stack.callback(thread.join)
    stack.callback(over.set)
    assert borrowed.wait(60)
    return found[0]


def test_who_borrows_within_a_loan_gets_the_same_and_others_do_not(pool: Pool) -> None:
    with pool.borrowed() as outer, pool.borrowed() as inner, ExitStack() as stack:
        assert inner is outer
        assert in_another_thread(stack, pool) is not outer


def test_a_transaction_that_was_left_open_is_not_lent_again(pool: Pool) -> None:
    with pool.borrowed() as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO pairs VALUES (1, 1)")
    assert count(pool) == 0


def test_a_generator_that_ends_in_another_thread_gives_its_connection_back(pool: Pool, tmp_path: Path) -> None:
    count(pool)
    before = descriptors(tmp_path)

    def rows() -> Generator[int, None, None]:
        with pool.borrowed() as db:
            yield from (n for (n,) in db.execute("VALUES (1), (2), (3)"))

    for _ in range(KEPT + 2):
        begun = rows()
        in_threads(partial(next, begun))
        in_threads(begun.close)
        assert count(pool) == 0
    assert descriptors(tmp_path) == before


def test_closing_lets_a_reader_end_and_what_comes_later_begin(pool: Pool, tmp_path: Path) -> None:
    with pool.borrowed() as db:
        db.execute("BEGIN")
        pool.close()
        assert db.execute("SELECT count(*) FROM pairs").fetchone() == (0,)
        db.execute("COMMIT")
    assert descriptors(tmp_path) == 0
    assert count(pool) == 0


def test_one_that_is_not_usable_any_more_is_closed_and_opened_anew(tmp_path: Path) -> None:
    opened: list[Connection] = []

    def connecting() -> Connection:
        opened.append(connect(tmp_path / "x.sqlite"))
        return opened[-1]

    pool = Pool(connecting, lambda connection: connection is not opened[0] or len(opened) > 1)
    for _ in range(3):
        count(pool)
    assert len(opened) == 2
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_forked_process_opens_its_own_and_leaves_those_of_its_parent(pool: Pool) -> None:
    with pool.borrowed() as db:
        db.execute("INSERT INTO pairs VALUES (1, 1)")
    (mine,) = pool._free
    if not (pid := os.fork()):
        status = 1
        try:
            with pool.borrowed() as db:
                db.execute("INSERT INTO pairs VALUES (2, 2)")
                status = int(db is mine)
            pool.close()
            mine.execute("SELECT 1")  # it was not closed here
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool._free == [mine]
    assert count(pool) == 2


@contextmanager
def transaction(pool: Pool, begin: str) -> Iterator[Connection]:
    with pool.borrowed() as db, db:
        db.execute(begin)
        yield db


def test_readers_see_whole_transactions_beside_a_writer_and_ever_new_threads(pool: Pool, tmp_path: Path) -> None:
    over = threading.Event()

    def write() -> None:
        rng = Random(3)
        try:
            for n in range(150):
                with transaction(pool, "BEGIN IMMEDIATE") as db:
                    for _ in range(rng.randrange(1, 5)):
                        db.execute("INSERT INTO pairs VALUES (?, ?)", [n, -n])
                if n % 50 == 0:
                    pool.close()
        finally:
            over.set()

    def look() -> None:
        with transaction(pool, "BEGIN") as db:
            first = db.execute("SELECT count(*), sum(a + b) FROM pairs").fetchone()
            with pool.borrowed() as same:
                assert same.execute("SELECT count(*), sum(a + b) FROM pairs").fetchone() == first
            assert not first[1]

    def read() -> None:
        while not over.is_set():
            in_threads(look, look)

    in_threads(write, read, read, read)
    count(pool)
    assert descriptors(tmp_path) <= 3 * KEPT
