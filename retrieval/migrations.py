"""Catalogs of older versions are brought to the tables of this one, in place and in one transaction.

The number of the tables is SQLite's `user_version`. Where it is lower than ours, a copy of the catalog is kept beside
it first, then each step of `STEPS` from its number on is taken, and what came of it is compared with what this version
makes. The copy stays until the next migration, `ragstone purge`, or until the generation goes.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from core.errors import CatalogError
from core.files import sync_folder
from core.sqlite import Connection, schema, transaction
from retrieval.catalog import Catalog
from retrieval.home import writer_lock
from retrieval.transaction import CHOICES, LEFT_OUT, SCHEMA, SCHEMA_VERSION


def _number_in_the_file(db: Connection) -> None:
    """Version 0.1 kept the number in `meta`. The row must go, or 0.1 would take the catalog for its own."""
    db.execute("DELETE FROM meta WHERE key = 'schema'")


def _choices(db: Connection) -> None:
    """Up to 4, nobody could choose anything for a file, and what was left out was not kept."""
    db.execute(CHOICES)
    db.execute(LEFT_OUT)


def _more_choices(db: Connection) -> None:
    """Up to 5, tags, dates and corrections could not be chosen."""
    db.execute("ALTER TABLE choices RENAME TO older")
    db.execute(CHOICES)
    db.execute("INSERT INTO choices SELECT folder_id, path, left_out, ocr_pages, NULL, NULL, '[]' FROM older")
    db.execute("DROP TABLE older")


# The step from each number to the next. A step writes tables as SCHEMA has them: where ALTER TABLE would leave another
# text in sqlite_master, it makes a new table, copies the rows, drops the old one and renames the new one.
STEPS: dict[int, Callable[[Connection], None]] = {3: _number_in_the_file, 4: _choices, 5: _more_choices}


def upgrade(home: Path, generation: str) -> None:
    """Bring the catalog of a generation to this version's tables, where it is older.

    Raises `CatalogError` where it is newer or of before 0.1, where somebody else writes, or the disk refuses; then the
    catalog is as it was.
    """
    file = home / generation / "catalog.sqlite"
    if is_older(file):
        with writer_lock(home):
            migrate(file)


def is_older(file: Path) -> bool:
    """Whether a catalog has to be migrated. Raises `CatalogError` where it cannot be: newer, or of before 0.1."""
    with closing(Catalog(file)) as catalog, catalog.connection() as db:
        return _number(db, file) < SCHEMA_VERSION


def migrate(file: Path, *, keep_copy: bool = True) -> None:
    """The same for one file that nobody else writes."""
    try:
        with closing(Catalog(file)) as catalog, catalog.connection() as db:
            number = _number(db, file)
            if number < SCHEMA_VERSION:
                if keep_copy:
                    _keep_copy(catalog, number)
                _take_steps(db, number)
    except (CatalogError, OSError) as error:
        why = error.message if isinstance(error, CatalogError) else str(error)
        raise CatalogError(
            f"{str(file)!r} was written by an older version of ragstone and could not be brought to this one: {why}",
            "nothing was changed; see that the disk is writable and has as much free space as the file is large, then "
            "run it again",
        ) from error


def _number(db: Connection, file: Path) -> int:
    """The number of a catalog's tables. Raises `CatalogError` for one that this version cannot read."""
    (number,) = db.execute("PRAGMA user_version").fetchone()
    if not number:
        with suppress(sqlite3.OperationalError, ValueError):  # there is no such table, or no number in it
            number = int(*next(db.execute("SELECT value FROM meta WHERE key = 'schema'"), ("0",)))
    if number > SCHEMA_VERSION:
        raise CatalogError(
            f"{str(file)!r} was written by a newer version of ragstone (its tables have number {number}, this version "
            f"knows {SCHEMA_VERSION})",
            "use that version, or restore a backup that this one made",
        )
    if number < min(STEPS):
        raise CatalogError(
            f"{str(file)!r} is not of a version of ragstone that can be brought to this one (its tables have number "
            f"{number})",
            f"`ragstone index FOLDER --kb {file.parent.parent.name} --rebuild` with all of its folders",
        )
    return number


def copies(folder: Path) -> list[Path]:
    """The copies that migrations have kept in a generation's folder."""
    return sorted(folder.glob("catalog.sqlite.form*"))


def _keep_copy(catalog: Catalog, number: int) -> None:
    folder = catalog.file.parent
    copy, aside = (folder / f"{catalog.file.name}.{name}" for name in (f"form{number}", "writing"))
    aside.unlink(missing_ok=True)
    try:
        catalog.copy_to(aside)
        aside.replace(copy)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for older in copies(folder):
        if older != copy:
            older.unlink()


def _take_steps(db: Connection, number: int) -> None:
    db.execute("PRAGMA foreign_keys = OFF")  # a table that others refer to may be replaced; checked at the end
    with transaction(db):
        for n in range(number, SCHEMA_VERSION):
            STEPS[n](db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if schema(db) != current_schema() or db.execute("PRAGMA foreign_key_check").fetchone():
            raise sqlite3.DataError("its tables are not what they should have become")


def current_schema() -> frozenset[tuple[str, str, str, str]]:
    """What `core.sqlite.schema` says of a catalog that this version makes."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return schema(db)
