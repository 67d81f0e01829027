"""What may be wrong with a catalog from elsewhere; and which generation answers where that is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

from core.errors import CatalogError, ConfigError, ReadError
from core.sources import mirrored, named
from core.sqlite import schema
from retrieval import dictionary, tuning
from retrieval.catalog import Catalog
from retrieval.home import current, no_writer, present, set_current, writer_lock
from retrieval.migrations import current_schema, migrate


def problems_from_elsewhere(file: Path) -> list[str]:
    """What is wrong with a catalog that somebody else may have made, before anything in it is used.

    It must define what a catalog of ours does and nothing else: no trigger, view, virtual table, generated column or
    further table, which SQLite would act upon. One of an older version is migrated. Then each value is looked at.
    """
    try:
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA trusted_schema = OFF")  # https://www.sqlite.org/security.html
            db.execute("PRAGMA cell_size_check = ON")
            if damage := [row[0] for row in db.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]:
                return [f"SQLite: {text}" for text in damage]
            strange = sorted(
                f"{kind} {name!r}"
                for kind, name, _, sql in schema(db)
                if kind not in ("table", "index") or sql.startswith("CREATE VIRTUAL")
            )
        if strange:
            return [f"it defines the {strange[0]}, which no catalog of ragstone has"]
        migrate(file, keep_copy=False)
        with closing(sqlite3.connect(file)) as db:
            if other := sorted(f"{kind} {name!r}" for kind, name, _, _ in schema(db) ^ current_schema()):
                return [f"its {other[0]} is not as ragstone makes it"]
            if found := _values(db):
                return found
    except sqlite3.Error as error:
        return [f"SQLite: {error}"]
    except CatalogError as error:
        return [error.message.replace(repr(str(file)), "it")]
    with closing(Catalog(file)) as catalog:
        return catalog.problems()


_KINDS = {"INTEGER": ("integer",), "REAL": ("real", "integer"), "TEXT": ("text",), "BLOB": ("blob",)}
_LISTS = ("headings", "empty_pages", "ocr_pages", "notes", "tags", "corrections")  # columns of JSON
_NUMBERS = ("generation", "chunks", "blind_chunks", "dimension", "vectors_saved", "log_starts")  # in `meta`
_OUTSIDE = "path = '' OR path LIKE '/%' OR '/' || path || '/' LIKE '%/../%'"
_DAYS = ("[0-9][0-9][0-9][0-9]", "[0-9][0-9][0-9][0-9]-[0-9][0-9]", "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]")
_WRONG = (  # what is counted, in which table, and where it is wrong
    ("paths do not lie in their folder", "documents", _OUTSIDE),
    ("paths do not lie in their folder", "failures", _OUTSIDE),
    ("paths do not lie in their folder", "choices", _OUTSIDE),
    ("paths do not lie in their folder", "left_out", _OUTSIDE),
    ("pages are no numbers", "choices", """json_valid(ocr_pages) AND EXISTS(
     SELECT 1 FROM json_each(ocr_pages) page WHERE page.type != 'integer' OR page.value < 1)"""),
    ("corrections are none", "choices", """json_valid(corrections) AND EXISTS(
     SELECT 1 FROM json_each(corrections) one WHERE one.type != 'array' OR json_array_length(one.value) != 3
     OR EXISTS(SELECT 1 FROM json_each(one.value) part WHERE part.type != 'text'))"""),
    ("tags are no texts", "choices", """tags IS NOT NULL AND json_valid(tags) AND EXISTS(
     SELECT 1 FROM json_each(tags) tag WHERE tag.type != 'text')"""),
    ("dates are none", "choices", f"date != '' AND {' AND '.join(f'date NOT GLOB {day!r}' for day in _DAYS)}"),
    ("vectors have another length", "embeddings",
     "length(vector) IS NOT 2 * (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'dimension')"),
    ("numbers are none", "meta", f"key IN {_NUMBERS} AND (value = '' OR value GLOB '*[^0-9]*')"),
    ("settings of the embedder are not ours", "meta", """key = 'embedder_settings' AND CASE WHEN json_valid(meta.value)
     THEN EXISTS(SELECT 1 FROM json_each(meta.value) setting WHERE setting.type != 'text' OR setting.key NOT IN
     ('embedder', 'revision', 'query_prompt', 'passage_prompt')) ELSE 1 END"""),
)  # fmt: skip


def _values(db: sqlite3.Connection) -> list[str]:
    """Which values are not what their column holds."""
    wrong = list(_WRONG)
    for table in sorted(name for kind, name, _, _ in schema(db) if kind == "table" and not name.startswith("sqlite_")):
        for _, column, kind, needed, _, _ in db.execute(f"PRAGMA table_info({table})").fetchall():
            kinds = (*_KINDS[kind], *(("null",) if not needed else ()))
            wrong.append((f"values of {column} are of another kind", table,
                          f'typeof("{column}") NOT IN ({", ".join(map(repr, kinds))})'))  # fmt: skip
            if column in _LISTS:
                is_none = f"""CASE WHEN {column} IS NULL THEN 0 WHEN json_valid({column})
                              THEN json_type({column}) != 'array' ELSE 1 END"""
                wrong.append((f"values of {column} are no lists", table, is_none))
    counted = ((text, table, db.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])
               for text, table, where in wrong)  # fmt: skip
    told = [f"{count} {text} ({table})" for text, table, count in counted if count]
    paths = [path for (path,) in db.execute("SELECT path FROM folders") if isinstance(path, str)]
    strange = sum(not _is_source(path) for path in paths)
    return [*told, *([f"{strange} folders have no absolute path (folders)"] if strange else [])]


def _is_source(path: str) -> bool:
    """Whether a folder of a catalog is written as this version would: absolute, or an address in its one form."""
    if not mirrored(path):
        return not path or (path.startswith("/") and ".." not in path.split("/"))
    try:
        return named(path) == path
    except ReadError:
        return False


def beside(home: Path) -> list[str]:
    """What is wrong with what lies beside a catalog and is read by each search, and what to do about it."""
    found: list[str] = []
    for read, name in ((dictionary.load, dictionary.FILE), (tuning.load, tuning.FILE)):
        try:
            read(home / name)
        except ConfigError as error:
            found.append(f"{error.message}: {error.hint}")
    return found


def answering(home: Path) -> str | None:
    """The generation that answers; None where there is no knowledge base.

    Raises `CatalogError` where CURRENT is lost or names what is not there.
    """
    now = current(home)
    if now is None and present(home):
        with no_writer(home):  # else the first run is still at work
            lost = current(home) is None and any(_documents(home / name) != 0 for name in present(home))
        if lost:
            raise CatalogError(
                f"{str(home / 'CURRENT')!r} is lost; there are the generations {', '.join(present(home))}",
                f"`ragstone verify --repair --kb {home.name}` takes the newest that is whole",
            )
        now = current(home)
    return now


def find_current(home: Path) -> str:
    """Where CURRENT is lost, let the newest sound generation answer; says what was done, or nothing.

    Raises `CatalogError` where no generation is sound.
    """
    try:
        answering(home)
    except CatalogError as error:
        there = present(home)
        if not there:
            raise
        lost = error.message
    else:
        return ""
    with writer_lock(home):
        for name in reversed(there):
            count = _documents(home / name)
            if count and sound(home / name):
                set_current(home, name)
                return f"{lost}; {name} answers again, with {count} documents"
    raise CatalogError(f"{lost}; none of them is whole", "restore a backup, or index the folders with --rebuild")


def _documents(generation: Path) -> int | None:
    """How many documents a generation holds, none where its making was cut short; None where that cannot be read."""
    with closing(Catalog(generation / "catalog.sqlite")) as catalog:
        try:
            return catalog.counts().documents
        except CatalogError as error:
            return 0 if "no such table" in str(error.__cause__) else None


def sound(generation: Path) -> bool:
    """Whether the catalog of a generation can be read and has nothing wrong; one of an older version is migrated."""
    try:
        migrate(generation / "catalog.sqlite")
    except CatalogError:
        return False
    with closing(Catalog(generation / "catalog.sqlite")) as catalog:
        return not catalog.problems()
