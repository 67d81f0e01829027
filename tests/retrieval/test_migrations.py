import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from core.config import Config
from core.errors import CatalogError
from core.sqlite import Connection, schema
from retrieval import migrations
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import writer_lock
from retrieval.index import Index
from retrieval.migrations import copies, current_schema, is_older, migrate, upgrade
from retrieval.transaction import SCHEMA_VERSION
from tests import data_of_0_1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A knowledge base of version 0.1."""
    return data_of_0_1.unpack(tmp_path / "data") / "handbook"


def catalog(home: Path) -> Path:
    return home / "g0001" / "catalog.sqlite"


def dump(file: Path) -> list[str]:
    """All that a database says, as SQL; its number last."""
    with closing(sqlite3.connect(file)) as db:
        return [*db.iterdump(), str(db.execute("PRAGMA user_version").fetchone()[0])]


def test_a_catalog_of_0_1_gets_the_tables_of_this_version_and_keeps_its_rows(home: Path) -> None:
    before = dump(catalog(home))
    assert is_older(catalog(home))
    upgrade(home, "g0001")
    assert not is_older(catalog(home))
    *after, number = dump(catalog(home))
    assert number == str(SCHEMA_VERSION)
    with closing(sqlite3.connect(catalog(home))) as db:
        assert schema(db) == current_schema()
    assert [line for line in after if "INSERT" in line] == [
        line for line in before if "INSERT" in line and "'schema'" not in line
    ]
    (copy,) = copies(home / "g0001")
    assert dump(copy) == before


def test_what_has_the_form_of_this_version_is_left_alone(home: Path) -> None:
    upgrade(home, "g0001")
    before = catalog(home).read_bytes()
    upgrade(home, "g0001")
    assert catalog(home).read_bytes() == before
    shutil.rmtree(home / "g0001")
    Catalog.create(catalog(home)).close()
    upgrade(home, "g0001")
    assert copies(home / "g0001") == []


def test_a_step_that_fails_changes_nothing_and_the_next_run_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(catalog(home))

    def fail(db: Connection) -> None:
        db.execute("DROP TABLE bands")
        db.execute("SELECT * FROM nowhere")

    with monkeypatch.context() as patch:
        patch.setitem(migrations.STEPS, 3, fail)
        with pytest.raises(CatalogError, match=r"could not be brought to this one: .*no such table: nowhere") as error:
            upgrade(home, "g0001")
    assert "nothing was changed" in error.value.hint
    assert dump(catalog(home)) == before
    upgrade(home, "g0001")
    assert len(copies(home / "g0001")) == 1


def test_steps_that_lead_to_other_tables_than_those_of_this_version_are_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(catalog(home))
    monkeypatch.setitem(migrations.STEPS, 3, lambda db: db.execute("ALTER TABLE bands ADD COLUMN x"))
    with pytest.raises(CatalogError, match="its tables are not what they should have become"):
        upgrade(home, "g0001")
    assert dump(catalog(home)) == before


def test_every_step_from_its_number_on_is_taken_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    real = dict(migrations.STEPS)

    def step(n: int) -> Callable[[Connection], None]:
        def take(db: Connection) -> None:
            taken.append(n)
            if n in real:
                real[n](db)

        return take

    for n in range(3, SCHEMA_VERSION + 3):
        monkeypatch.setitem(migrations.STEPS, n, step(n))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 3)
    migrate(catalog(home))
    assert taken == list(range(3, SCHEMA_VERSION + 3))
    first = copies(home / "g0001")
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 4)
    monkeypatch.setitem(migrations.STEPS, SCHEMA_VERSION + 3, step(SCHEMA_VERSION + 3))
    migrate(catalog(home))
    assert taken[-1] == SCHEMA_VERSION + 3
    assert len(taken) == SCHEMA_VERSION + 1
    assert copies(home / "g0001") != first
    assert len(copies(home / "g0001")) == 1


def test_there_is_a_step_to_each_number(home: Path) -> None:
    assert list(migrations.STEPS) == list(range(min(migrations.STEPS), SCHEMA_VERSION))


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [(SCHEMA_VERSION + 1, "newer version", "restore a backup"), (2, "not of a version", "--rebuild")],
)
def test_a_newer_number_and_one_from_before_the_first_version_are_refused(
    home: Path, number: int, words: str, hint: str, cfg: Config, embedder: Embedder
) -> None:
    with closing(sqlite3.connect(catalog(home))) as db:
        db.execute(f"PRAGMA user_version = {number}")
    before = dump(catalog(home))
    for opening in (
        lambda: Index.open(home.parent, "handbook", embedder),
        lambda: Index.open_or_create(home.parent, "handbook", embedder, "any"),
        lambda: upgrade(home, "g0001"),
    ):
        with pytest.raises(CatalogError, match=words) as error:
            opening()
        assert hint in error.value.hint
    assert dump(catalog(home)) == before
    assert copies(home / "g0001") == []


def test_a_knowledge_base_that_somebody_writes_is_not_migrated(home: Path) -> None:
    with writer_lock(home), pytest.raises(CatalogError, match="is being written"):
        upgrade(home, "g0001")
    assert is_older(catalog(home))
