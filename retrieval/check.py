"""What may be wrong inside a catalog, and how it is mended; and which generation answers where that is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

from core.errors import CatalogError
from retrieval.catalog import DROP_UNUSED, Catalog
from retrieval.home import current, no_writer, present, set_current, writer_lock

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
            if catalog.counts() != catalog.counted():
                found.append("the number of chunks that is kept is wrong")
    except CatalogError as error:
        if type(error.__cause__) is not sqlite3.DatabaseError:  # which is: malformed, or no database at all
            raise
        found.append(f"SQLite: {error.__cause__}")
    return found


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
            if count and _sound(home / name):
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


def _sound(generation: Path) -> bool:
    with closing(Catalog(generation / "catalog.sqlite")) as catalog:
        return not problems(catalog)
