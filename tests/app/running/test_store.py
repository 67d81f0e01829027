"""Files beside the knowledge bases: what an older version wrote is taken over, what a newer one wrote is refused."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from app.running.accounts import Accounts
from app.running.chats import Chats, Reader
from app.running.store import Store, statements
from core.errors import CatalogError
from retrieval.home import identity, names
from tests import data_of_0_1 as old
from tests.app.running.test_chats import Gone

SEES = {"handbook": "1", "private": "2"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of version 0.1."""
    return old.unpack(tmp_path / "data")


def titles(chats: Chats, owner: str) -> list[str]:
    return [chat.title for chat in chats.latest(Reader(owner, SEES))]


def first(db: sqlite3.Connection) -> None:
    statements(db, "CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)")


def second(db: sqlite3.Connection) -> None:
    statements(db, "INSERT INTO t VALUES (2); ALTER TABLE t ADD COLUMN y INTEGER")


def rows(file: Path) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute("SELECT * FROM t").fetchall()


def test_accounts_of_an_older_version_log_in_with_their_passwords_keys_and_sessions(data: Path) -> None:
    with closing(sqlite3.connect(data / "users.sqlite")) as db, db:
        db.execute("INSERT INTO session VALUES (?, 'ann', 9e9)", [b"x"])
    accounts = Accounts(data)
    ann, bob = accounts.all()
    assert [(a.name, a.role, a.bases) for a in (ann, bob)] == [("ann", "admin", None), ("bob", "reader", ("handbook",))]
    assert len({ann.id, bob.id, "ann", "bob"}) == 4
    assert [accounts.check(name, word) for name, word in old.PASSWORDS.items()] == [ann, bob]
    assert accounts.by_key(old.KEY) == bob
    assert [key.user for key in accounts.keys_of()] == ["bob"]
    with closing(sqlite3.connect(data / "users.sqlite")) as db:
        assert db.execute("SELECT user FROM session").fetchall() == [(ann.id,)]
    assert Accounts(data).all() == [ann, bob]


def test_conversations_of_an_older_version_go_to_the_accounts_that_hold_their_owners_names(data: Path) -> None:
    with closing(sqlite3.connect(data / "chats.sqlite")) as db, db:
        for owner in ("", "gone"):
            row = [f"of-{owner}", owner, f"title of {owner!r}"]
            db.execute("INSERT INTO chats VALUES (?, ?, ?, '[]', 0, 1.0, 1.0, NULL)", row)
    chats, (ann, bob) = Chats(data), Accounts(data).all()
    assert titles(chats, ann.id) == ["When are salaries paid?"]
    assert titles(chats, bob.id) == ["How many days of annual leave do I have?"]
    assert chats.get(Reader("", SEES), "of-").title == "title of ''"
    assert [titles(chats, name) for name in ("ann", "bob", "gone")] == [[], [], []]
    sees = {kb: identity(data / kb) for kb in ("handbook", "private")}
    (chat,) = chats.latest(Reader(bob.id, sees))
    question, answer = chats.branch(Reader(bob.id, sees), chat.id)
    assert answer.answer is not None
    assert answer.rests_on == (sees["handbook"],)
    assert {source.hit.kb for source in answer.answer.sources} == {"handbook"}
    assert [m.hidden for m in chats.branch(Reader(bob.id, {"private": sees["private"]}), chat.id)] == [False, True]
    chats.reply(Reader(bob.id, sees), chat.id, question.id, "Twenty.", answer.answer, [sees["handbook"]])


@pytest.mark.parametrize("anew", ["made again", "gone", "from before", "edited"])
def test_an_answer_of_an_older_version_is_told_only_where_its_knowledge_base_is_known_to_be_the_same(
    data: Path, anew: str
) -> None:
    home = data / "handbook"
    with closing(sqlite3.connect(home / "g0001" / "catalog.sqlite")) as db, db:
        if anew != "from before":
            db.execute("UPDATE documents SET indexed_at = 9e9")  # later than any answer
        if anew == "made again":
            db.execute("UPDATE chunks SET text = substr(text, 2)")
        if anew == "from before":  # as out of a backup of another one
            db.execute("UPDATE documents SET path = 'other-' || path")
    if anew == "gone":
        home.rename(data / "aside")
    chats, bob = Chats(data), Accounts(data).get("bob")
    sees = {kb: identity(data / kb) for kb in names(data)}
    (chat,) = chats.latest(Reader(bob.id, sees))
    assert chats.branch(Reader(bob.id, sees), chat.id)[1].hidden == (anew != "edited")


def test_who_is_given_a_name_again_sees_nothing_of_who_had_it(data: Path) -> None:
    accounts, chats = Accounts(data), Chats(data)
    before = accounts.get("bob")
    assert titles(chats, before.id)
    accounts.remove("bob")
    accounts.add("bob", "reader", None, old.PASSWORDS["bob"])
    after = accounts.get("bob")
    assert after.id != before.id
    assert titles(chats, after.id) == []
    assert accounts.by_key(old.KEY) is None


@pytest.mark.parametrize(("file", "number"), [("users.sqlite", 1), ("chats.sqlite", 0)])
def test_a_copy_of_what_it_was_stays_beside_it(data: Path, file: str, number: int) -> None:
    with closing(sqlite3.connect(data / file)) as db:
        was = list(db.iterdump())
    Chats(data).latest(Reader("", SEES))
    copy = data / f"{file}.schema-{number}"
    with closing(sqlite3.connect(copy)) as db:
        assert list(db.iterdump()) == was
    assert {(data / name).stat().st_mode & 0o777 for name in (file, copy.name)} == {0o600}


def test_what_was_deleted_is_not_kept_by_the_copy(data: Path) -> None:
    Chats(data).forget(Gone("private"))
    assert not list(data.glob("chats.sqlite.*"))


@pytest.mark.parametrize("file", ["users.sqlite", "chats.sqlite"])
def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, file: str) -> None:
    with closing(sqlite3.connect(tmp_path / file)) as db:
        db.execute("PRAGMA user_version = 77")
    with pytest.raises(CatalogError, match=rf"{file}.*newer version of ragstone: its schema is number 77"):
        Accounts(tmp_path).all() if file == "users.sqlite" else Chats(tmp_path).latest(Reader("", SEES))
    with closing(sqlite3.connect(tmp_path / file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (77,)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"

    def fails(db: sqlite3.Connection) -> None:
        second(db)
        db.execute("INSERT INTO nowhere VALUES (1)")

    with Store(file, (first,), 1).reading() as db:
        assert db.execute("SELECT * FROM t").fetchall() == [(1,)]
    with pytest.raises(CatalogError, match="nowhere"), Store(file, (first, fails), 1).reading():
        pass
    assert rows(file) == [(1,)]
    with Store(file, (first, second), 1).reading() as db:
        assert db.execute("SELECT * FROM t").fetchall() == [(1, None), (2, None)]


def test_many_that_come_first_migrate_once(tmp_path: Path) -> None:
    with Store(tmp_path / "x.sqlite", (first,), 1).reading():
        pass

    def opened(_: int) -> None:
        with Store(tmp_path / "x.sqlite", (first, second), 30).reading():
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(opened, range(8)))
    assert rows(tmp_path / "x.sqlite") == [(1, None), (2, None)]


def test_a_file_that_was_put_in_its_place_counts_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.sqlite", (first,), 1)
    with store.writing() as db:
        db.execute("INSERT INTO t VALUES (7)")
    other = Store(tmp_path / "y.sqlite", (first,), 1)
    with other.writing() as db:
        db.execute("INSERT INTO t VALUES (8)")
    other.close()
    (tmp_path / "x.sqlite-wal").unlink()
    (tmp_path / "y.sqlite").replace(tmp_path / "x.sqlite")
    with store.reading() as db:
        assert db.execute("SELECT x FROM t").fetchall() == [(1,), (8,)]


def test_a_new_file_that_another_process_is_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("core.sqlite.sleep", lambda _: other.execute("COMMIT"))
        store = Store(tmp_path / "x.sqlite", (first,), 5.0)
        with store.reading() as db:
            assert db.execute("SELECT x FROM t").fetchall() == [(1,)]
        store.close()
