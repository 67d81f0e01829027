"""What may be wrong inside a catalog, and how it is mended; and which generation answers where that is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

from core.errors import CatalogError
from core.sqlite import schema
from retrieval.catalog import DROP_UNUSED, Catalog
from retrieval.home import current, no_writer, present, set_current, writer_lock
from retrieval.migrations import current_schema, migrate

_DAMAGED = "damaged"  # stands for the hash of a document that is to be read again

# What may be wrong, in which table, how it is found, and the column that names the document to be read again for it.
_CHECKS = (
    ("chunks belong to no document", "chunks", "document_id NOT IN (SELECT id FROM documents)", ""),
    ("chunks have lost their embedding", "chunks", "key IS NOT NULL AND key NOT IN (SELECT key FROM embeddings)",
     "document_id"),
    ("chunks do not match their offsets", "chunks", 'length(text) != "end" - start', "document_id"),
    ("removed chunks are still there", "removed", "chunk_id IN (SELECT id FROM chunks)", ""),
    ("documents do not have all their chunks", "documents",
     "chunks != (SELECT count(*) FROM chunks c WHERE c.document_id = documents.id AND c.ordinal < documents.chunks)",
     "id"),
)  # fmt: skip


def problems(catalog: Catalog) -> list[str]:
    """What is wrong with a catalog, in words; empty when all is well."""
    found: list[str] = []
    try:
        with catalog.snapshot():
            found += [f"SQLite: {row[0]}" for row in catalog.rows("PRAGMA integrity_check(5)") if row[0] != "ok"]
            if not catalog.has_schema():
                return [*found, "it was written by another version of ragstone"]
            for text, table, where, _ in _CHECKS:
                ((count,),) = catalog.rows(f"SELECT count(*) FROM {table} WHERE {where}")
                if count:
                    found.append(f"{count} {text}")
            if catalog.counts() != catalog.counted() or catalog.languages() != catalog.counted_languages():
                found.append("the number of chunks that is kept is wrong")
    except CatalogError as error:
        if type(error.__cause__) is not sqlite3.DatabaseError:  # which is: malformed, or no database at all
            raise
        found.append(f"SQLite: {error.__cause__}")
    return found


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
        return problems(catalog)


_KINDS = {"INTEGER": ("integer",), "REAL": ("real", "integer"), "TEXT": ("text",), "BLOB": ("blob",)}
_LISTS = ("headings", "empty_pages", "ocr_pages", "notes", "tags")  # columns of JSON
_NUMBERS = ("generation", "chunks", "blind_chunks", "dimension", "vectors_saved", "log_starts")  # in `meta`
_OUTSIDE = "path = '' OR path LIKE '/%' OR '/' || path || '/' LIKE '%/../%'"
_WRONG = (  # what is counted, in which table, and where it is wrong
    ("paths do not lie in their folder", "documents", _OUTSIDE),
    ("paths do not lie in their folder", "failures", _OUTSIDE),
    ("folders have no absolute path", "folders", "path != '' AND (path NOT LIKE '/%' OR path || '/' LIKE '%/../%')"),
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
                is_none = f"CASE WHEN json_valid({column}) THEN json_type({column}) != 'array' ELSE 1 END"
                wrong.append((f"values of {column} are no lists", table, is_none))
    counted = ((text, table, db.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])
               for text, table, where in wrong)  # fmt: skip
    return [f"{count} {text} ({table})" for text, table, count in counted if count]


def mend(catalog: Catalog) -> None:
    """Mend what `problems` finds; documents with damaged chunks count as changed, so that the next run reads them."""
    with catalog.transaction() as write:
        for _, table, where, again in _CHECKS:
            if again:
                which = f"SELECT {again} FROM {table} WHERE {where}"
                sql = f"UPDATE documents SET size = -1, hash = '{_DAMAGED}' WHERE id IN ({which})"
            else:
                sql = f"DELETE FROM {table} WHERE {where}"
            write.db.execute(sql)
        write.db.execute(DROP_UNUSED)
        write.recount()


def to_be_read_again(catalog: Catalog) -> int:
    """How many documents `mend` left for the next run to read."""
    return catalog.rows("SELECT count(*) FROM documents WHERE hash = ?", [_DAMAGED])[0][0]


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
            return catalog.rows("SELECT count(*) FROM documents")[0][0]
        except CatalogError as error:
            return 0 if "no such table" in str(error.__cause__) else None


def sound(generation: Path) -> bool:
    """Whether the catalog of a generation can be read and has nothing wrong; one of an older version is migrated."""
    try:
        migrate(generation / "catalog.sqlite")
    except CatalogError:
        return False
    with closing(Catalog(generation / "catalog.sqlite")) as catalog:
        return not problems(catalog)
