"""What may be wrong with a knowledge base in PostgreSQL, how it is mended, and how what was deleted is erased."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import CatalogError
from retrieval.changes import LexicalRow
from retrieval.postgres.generations import PARTED
from retrieval.postgres.server import TABLES
from retrieval.postgres.writes import Told
from retrieval.transaction import DAMAGED

if TYPE_CHECKING:
    from retrieval.postgres.catalog import PgCatalog

_BATCH = 2_000  # chunks whose words are compared at a time
_WAIT_S = 30.0
_PAUSE_S = 0.2
# What may be wrong: the table, what of it is wrong, and the documents to be read again for it (else the rows go).
_CHECKS = {
    "chunks belong to no document":
        ("chunks", "NOT EXISTS (SELECT FROM documents d WHERE d.id = chunks.document_id)", ""),
    "words belong to no chunk": ("words", "NOT EXISTS (SELECT FROM chunks c WHERE c.id = words.id)", ""),
    "vectors belong to no chunk":
        ("vectors", "NOT EXISTS (SELECT FROM chunks c WHERE c.id = vectors.id AND c.key IS NOT NULL)", ""),
    "documents lie in no folder":
        ("documents", "NOT EXISTS (SELECT FROM folders f WHERE f.id = documents.folder_id)", ""),
    "chunks have lost their embedding":
        ("chunks", "key IS NOT NULL AND NOT EXISTS (SELECT FROM vectors v WHERE v.id = chunks.id)", "document_id"),
    "vectors have another length": ("vectors", "vector_dims(vector::vector) != coalesce((SELECT value::int FROM meta "
                                    "WHERE key = 'dimension'), 0)", "document_id"),
    "chunks do not match their offsets": ("chunks", 'length(text) != "end" - start', "document_id"),
    "documents do not have all their chunks":
        ("documents", "chunks != (SELECT count(*) FROM chunks c WHERE c.document_id = documents.id)", "id"),
}  # fmt: skip
_COUNTED = "SELECT u.lexeme AS term, count(*) AS chunks FROM words, unnest(terms) u GROUP BY u.lexeme"
_SUMS = """SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks), (SELECT count(*) FROM chunks WHERE
    key IS NULL), (SELECT coalesce(sum(length), 0) FROM words)"""
_SUMMED = ("documents", "chunks", "blind_chunks", "length")


def problems(catalog: "PgCatalog") -> list[str]:
    """What is wrong, in words; empty when all is well. To be called within a snapshot."""
    found: list[str] = []
    for text, (table, where, _) in _CHECKS.items():
        ((count,),) = catalog.asked(f"SELECT count(*) FROM {table} WHERE {where}")
        if count:
            found.append(f"{count} {text}")
    if wrong := sum(map(len, _other_words(catalog))):
        found.append(f"{wrong} chunks are not found by their words")
    ((count,),) = catalog.asked(
        f"""SELECT count(*) FROM ({_COUNTED}) c FULL JOIN lexemes l ON l.term = c.term
            WHERE c.chunks IS DISTINCT FROM l.chunks"""
    )
    if count:
        found.append(f"{count} words are counted wrongly")
    sums = {key: str(value) for key, value in zip(_SUMMED, catalog.asked(_SUMS)[0], strict=True)}
    kept = {key: catalog.meta(key) for key in _SUMMED}
    if sums != kept or catalog.languages() != catalog.counted_languages():
        found.append("the number of chunks that is kept is wrong")
    return found


def _other_words(catalog: "PgCatalog") -> Iterator[list[Told]]:
    """Chunks that are found by other words than those of their text, with what they should be found by."""
    last = -1
    sql = """SELECT c.id, d.id, d.path, d.title, c.headings, c.text, c.language, w.length, w.often, w.terms::text
             FROM chunks c JOIN documents d ON d.id = c.document_id LEFT JOIN words w ON w.id = c.id
             WHERE c.id > ? ORDER BY c.id LIMIT ?"""
    while rows := catalog.asked(sql, [last, _BATCH]):
        last = rows[-1][0]
        should = [
            Told.of(LexicalRow(i, document, path, title, tuple(json.loads(headings)), text, tongue))
            for i, document, path, title, headings, text, tongue, *_ in rows
        ]
        asked = "SELECT (u.terms::tsvector)::text FROM unnest(?::text[]) WITH ORDINALITY u(terms, n) ORDER BY n"
        terms = [text for (text,) in catalog.asked(asked, [[each.terms for each in should]])]
        yield [
            each
            for each, row, text in zip(should, rows, terms, strict=True)
            if row[7:] != (each.length, each.often, text)
        ]


def mend(catalog: "PgCatalog") -> None:
    """Mend what `problems` finds, in one transaction."""
    with catalog.transaction() as write:
        base = catalog.base
        for table, where, again in _CHECKS.values():
            ids = [i for (i,) in catalog.asked(f"SELECT DISTINCT {again or 'id'} FROM {table} WHERE {where}")]
            if again:
                sql = f"UPDATE ragstone.documents SET size = -1, hash = '{DAMAGED}' WHERE base = %s AND id = ANY(%s)"
                write.db.execute(sql.encode(), [base, ids])
            else:
                name = f"{table}_{base:d}" if table in PARTED else table
                write.db.execute(f"DELETE FROM ragstone.{name} WHERE base = %s AND id = ANY(%s)".encode(), [base, ids])
        for wrong in list(_other_words(catalog)):
            write.tell(wrong)
        write.db.execute("DELETE FROM ragstone.lexemes WHERE base = %s", [base])
        counted = f"""INSERT INTO ragstone.lexemes SELECT base, u.lexeme, count(*) FROM ragstone.words_{base:d},
                      unnest(terms) u GROUP BY base, u.lexeme"""
        write.db.execute(counted.encode())
        sums = dict(zip(_SUMMED, map(str, catalog.asked(_SUMS)[0]), strict=True))
        for key, value in (sums | {"languages": json.dumps(catalog.counted_languages())}).items():
            catalog.set_meta(key, value)


def vacuum(catalog: "PgCatalog") -> int:
    """Write the tables anew without what was deleted from them; returns how many unused embeddings went too.

    The planner's statistics hold nothing of what documents say (retrieval/postgres/server.py). What the server keeps
    beside its tables, its log of changes and copies elsewhere, is its own. Raises `CatalogError`.
    """
    with catalog.server.borrowed() as db:
        dropped = db.execute("DELETE FROM ragstone.embeddings WHERE base = %s", [catalog.base]).rowcount
        ((now,),) = db.execute("SELECT pg_current_xact_id()::xid::text").fetchall()
        held = """SELECT count(*) FROM (
            SELECT backend_xmin AS xmin FROM pg_stat_activity WHERE datname = current_database()
                AND pid != pg_backend_pid() AND backend_type != 'autovacuum worker'
            UNION ALL SELECT xmin FROM pg_replication_slots
            UNION ALL SELECT transaction FROM pg_prepared_xacts WHERE database = current_database()) h
            WHERE age(h.xmin) > age(%s::xid)"""
        ends = time.monotonic() + _WAIT_S
        while db.execute(held, [now]).fetchall() != [(0,)]:
            if time.monotonic() > ends:
                raise CatalogError(
                    "the database of app.database is being read by another process, so its old state cannot be erased",
                    "end long-running searches and backups, then run it again",
                )
            time.sleep(_PAUSE_S)
        for table in _tables(catalog):
            db.execute(f"VACUUM (FULL, ANALYZE) {table}".encode())
    return dropped


def sizes(catalog: "PgCatalog") -> dict[str, int]:
    """Bytes of each table with its indexes."""
    with catalog.server.borrowed() as db:
        sql = "SELECT pg_total_relation_size(%s::regclass)"
        return {table: db.execute(sql, [table]).fetchall()[0][0] for table in _tables(catalog)}


def _tables(catalog: "PgCatalog") -> list[str]:
    return [f"ragstone.{table}_{catalog.base:d}" if table in PARTED else f"ragstone.{table}" for table in TABLES]
