"""The catalog of a knowledge base in PostgreSQL: a `Catalog` (retrieval/store.py) that many processes share.

What is read is asked in the words of retrieval/listing.py and retrieval/reading.py: before each question stands what
its tables are, the rows of this knowledge base alone.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from core.errors import CatalogError
from core.types import F32, I64
from retrieval.postgres.server import Server, told
from retrieval.postgres.writes import PgWrites
from retrieval.reading import Manifest, Reading

_LOCK = 0x7261_6774  # the class of the advisory locks of writers
_LOCK_WAIT_MS = 2_000
_START = {"generation": "0", "chunks": "0", "blind_chunks": "0", "languages": "{}", "length": "0"}
_NAME = re.compile(r"ragstone, process (\d+) on (.*)", re.DOTALL)


class PgCatalog(Reading):
    """One knowledge base among those of a server. Safe to share between threads."""

    _finds = "strpos"

    def __init__(self, server: Server, base: int, name: str) -> None:
        self.server = server
        self.base = base
        self.name = name
        own = f"SELECT * FROM ragstone.{{}} WHERE base = {base:d}"
        tables = {table: own.format(table) for table in ("meta", "folders", "documents", "chunks", "failures", "bands")}
        kept = f"SELECT key, vector FROM ragstone.embeddings WHERE base = {base:d}"
        held = f"SELECT key, vector FROM ragstone.chunks WHERE base = {base:d} AND vector IS NOT NULL"
        tables["embeddings"] = f"{kept} UNION ALL {held}"
        self._tables = "WITH " + ", ".join(f"{name} AS NOT MATERIALIZED ({sql})" for name, sql in tables.items()) + " "

    def _asked(self, sql: str) -> bytes:
        return (self._tables + sql.replace("%", "%%").replace("?", "%s")).encode()

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.server.borrowed() as db:
            return db.execute(self._asked(sql), parameters).fetchall()

    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        rows = self._rows(sql, parameters)  # at once: who takes only some of them must not keep the connection
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def close(self) -> None:
        """Close the connections that nobody uses; a later call opens one anew."""
        self.server.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: what is read inside belongs together, whatever a writer does meanwhile."""
        with self.server.borrowed() as db:
            if db.info.transaction_status != db.info.transaction_status.IDLE:
                yield
                return
            db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield
            finally:
                db.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[PgWrites]:
        """A write transaction: all of it is committed at the end, or none of it."""
        with self.server.borrowed() as db, db.transaction():
            self.check_there()
            write = PgWrites(db, self.base)
            yield write
            write.settle()
            db.execute(
                """UPDATE ragstone.meta SET value = (value::bigint + 1)::text
                   WHERE base = %s AND key = 'generation'""",
                [self.base],
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the one writer's place. Raises `CatalogError` naming the holder where it is taken.

        The server frees it when the connection ends, as it does with its process.
        """
        import psycopg

        with told():
            db = self.server.connect()
        try:
            with told():
                db.execute(f"SET lock_timeout = {_LOCK_WAIT_MS:d}".encode())
                try:
                    db.execute("SELECT pg_advisory_lock(%s, %s)", [_LOCK, self.base])
                except psycopg.errors.LockNotAvailable:
                    raise CatalogError(
                        f"knowledge base {self.name!r} is being written by {self._holder()}",
                        "wait for it to end, then run it again",
                    ) from None
            yield
        finally:
            db.close()

    def _holder(self) -> str:
        with self.server.borrowed() as db:
            rows = db.execute(
                """SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS') FROM pg_locks l
                   JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND classid = %s::oid AND objid = %s::oid""",
                [_LOCK, self.base],
            ).fetchall()
        told_by = _NAME.fullmatch(rows[0][0]) if rows else None
        return f"process {told_by[1]} on {told_by[2]} since {rows[0][1]}" if told_by else "another process"

    @property
    def superseded(self) -> bool:
        """Whether another takes its place by now: there is none yet."""
        return self.gone

    @property
    def gone(self) -> bool:
        """Whether this knowledge base is not there any more."""
        with self.server.borrowed() as db:
            return not db.execute("SELECT 1 FROM ragstone.bases WHERE id = %s", [self.base]).fetchall()

    def check_there(self) -> None:
        """Raise `CatalogError` where the knowledge base is gone."""
        if self.gone:
            raise CatalogError(
                f"knowledge base {self.name!r} is not in the database any more", "nothing more was written"
            )

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        with self.server.borrowed() as db:
            db.execute(
                """INSERT INTO ragstone.meta VALUES (%s, %s, %s)
                   ON CONFLICT (base, key) DO UPDATE SET value = excluded.value""",
                [self.base, key, value],
            )

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest of a new catalog."""
        for key, value in asdict(manifest).items():
            self.set_meta(key, value)

    def folder_id(self, path: str) -> int:
        """The id of a folder; it is added where it is new."""
        with self.server.borrowed() as db:
            sql = "INSERT INTO ragstone.folders(base, path) VALUES (%s, %s) ON CONFLICT DO NOTHING"
            db.execute(sql, [self.base, path])
        return self._rows("SELECT id FROM folders WHERE path = ?", [path])[0][0]

    def rename_folders(self, renamed: Mapping[str, str]) -> None:
        """Folders are found at other absolute paths from now on; two may change places."""
        with self.server.borrowed() as db, db.transaction():
            for which, change in (("path = %(old)s", "'old ' || %(old)s"), ("path = 'old ' || %(old)s", "%(new)s")):
                for old, new in renamed.items():
                    sql = f"UPDATE ragstone.folders SET path = {change} WHERE base = %(base)s AND {which}"
                    db.execute(sql.encode(), {"base": self.base, "old": old, "new": new})

    def put_embeddings(self, keys: Sequence[bytes], vectors: F32) -> None:
        """Remember vectors, as float16. Committed at once: a resumed run reuses them."""
        with self.transaction() as write:
            with write.db.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO ragstone.embeddings VALUES (%s, %s, %s::halfvec) ON CONFLICT DO NOTHING",
                    [(self.base, key, written(row)) for key, row in zip(keys, vectors, strict=True)],
                )
            write.db.execute(
                "INSERT INTO ragstone.meta VALUES (%s, 'dimension', %s) ON CONFLICT DO NOTHING",
                [self.base, str(vectors.shape[1])],
            )

    def drop_unused_embeddings(self) -> None:
        """Forget the vectors that no chunk uses by now; chunks hold their own."""
        with self.server.borrowed() as db:
            db.execute("DELETE FROM ragstone.embeddings WHERE base = %s", [self.base])

    def vectors_of(self, document_id: int) -> tuple[I64, F32]:
        """(ids, vectors) of the chunks of a document that have one."""
        sql = "SELECT id, vector::text FROM chunks WHERE document_id = ? AND vector IS NOT NULL ORDER BY ordinal"
        rows = self._rows(sql, [document_id])
        return np.array([i for i, _ in rows], np.int64), read([vector for _, vector in rows])

    def sample(self, count: int) -> tuple[F32, list[str]]:
        """(vectors, languages) of so many different chunks, always the same of an unchanged catalog."""
        # Keys are hashes, so that the first are a fair sample.
        sql = """SELECT DISTINCT ON (key) vector::text, language FROM chunks WHERE vector IS NOT NULL
                 ORDER BY key, language LIMIT ?"""
        rows = self._rows(sql, [count])
        return read([vector for vector, _ in rows]), [language for _, language in rows]

    def dated(self, since: str, until: str, beginnings: Sequence[str] = ("",)) -> Iterator[tuple[int, str, str]]:
        """(id, path, tags as JSON) of documents whose own date, or that of their last change, is in between.

        Of those alone whose path has one of some beginnings.
        """
        sql = "SELECT id, path, tags, date, mtime_ns FROM documents WHERE starts_with(path, ?)"
        for beginning in beginnings:
            for document_id, path, tags, date, mtime_ns in self._rows(sql, [beginning]):
                day = date or time.strftime("%Y-%m-%d", time.localtime(mtime_ns // 1_000_000_000))
                if since <= day < (until or "~"):
                    yield document_id, path, tags

    def vacuum(self) -> int:
        """Not yet: raises `CatalogError`."""
        raise CatalogError("a knowledge base in PostgreSQL cannot be purged yet", "see docs/databases.md")

    def problems(self) -> list[str]:
        """What is wrong inside the catalog, in words; empty when all is well."""
        checks = {
            "chunks have lost their embedding": "SELECT count(*) FROM chunks WHERE key IS NOT NULL AND vector IS NULL",
            "chunks do not match their offsets": 'SELECT count(*) FROM chunks WHERE length(text) != "end" - start',
            "documents do not have all their chunks": """SELECT count(*) FROM documents WHERE chunks !=
                (SELECT count(*) FROM chunks c WHERE c.document_id = documents.id)""",
        }
        with self.snapshot():
            counted = {text: self._rows(sql)[0][0] for text, sql in checks.items()}
            found = [f"{count} {text}" for text, count in counted.items() if count]
            if self.counts() != self.counted() or self.languages() != self.counted_languages():
                found.append("the number of chunks that is kept is wrong")
        return found

    def mend(self) -> None:
        """Not yet: raises `CatalogError`."""
        raise CatalogError("a knowledge base in PostgreSQL cannot be repaired yet", "see docs/databases.md")


def written(vector: F32) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def read(vectors: Sequence[str]) -> F32:
    """Vectors as pgvector writes them, each a row."""
    return np.array([json.loads(vector) for vector in vectors], np.float32).reshape(len(vectors), -1 if vectors else 0)


def names(server: Server) -> list[str]:
    """The knowledge bases in a database."""
    with server.borrowed() as db:
        return [name for (name,) in db.execute("SELECT name FROM ragstone.bases ORDER BY name").fetchall()]


def opened(server: Server, name: str) -> PgCatalog | None:
    """A knowledge base by its name; None where there is none."""
    with server.borrowed() as db:
        rows = db.execute("SELECT id FROM ragstone.bases WHERE name = %s", [name]).fetchall()
    return PgCatalog(server, rows[0][0], name) if rows else None


def made(server: Server, name: str, manifest: Manifest) -> PgCatalog:
    """A knowledge base by its name; made, empty, where there is none."""
    with server.borrowed() as db, db.transaction():
        sql = "INSERT INTO ragstone.bases(name) VALUES (%s) ON CONFLICT DO NOTHING RETURNING id"
        if rows := db.execute(sql, [name]).fetchall():
            base: int = rows[0][0]
            part = f"CREATE TABLE ragstone.chunks_{base:d} PARTITION OF ragstone.chunks FOR VALUES IN ({base:d})"
            db.execute(part.encode())
            with db.cursor() as cursor:
                start = [(base, key, value) for key, value in (_START | asdict(manifest)).items()]
                cursor.executemany("INSERT INTO ragstone.meta VALUES (%s, %s, %s)", start)
    found = opened(server, name)
    assert found is not None
    return found
