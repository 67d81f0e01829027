"""The catalog of a knowledge base in PostgreSQL: a `Catalog` (retrieval/store.py) that many processes share.

What is read is asked in the words of retrieval/listing.py and retrieval/reading.py: before each question stands what
its tables are, the rows of this knowledge base alone.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from core.errors import CatalogError
from core.types import F32, I64
from retrieval.postgres import check, generations, lock
from retrieval.postgres.server import TABLES, Server
from retrieval.postgres.writes import PgWrites
from retrieval.reading import Counts, Manifest, Reading

_REMEMBERED = 200  # questions
_WORD = re.compile(r"\w+")
_OWN = "SELECT * FROM ragstone.{} WHERE base = {:d}"
_HELD = """ UNION ALL SELECT c.base, c.key, v.vector FROM ragstone.chunks c JOIN ragstone.vectors v ON v.id = c.id
    WHERE c.key IS NOT NULL"""


class PgCatalog(Reading):
    """One knowledge base among those of a server. Safe to share between threads."""

    _finds = "strpos"

    def __init__(self, server: Server, kb: int, base: int, name: str) -> None:
        """`kb` is the knowledge base, `base` a generation of it."""
        self.server = server
        self.kb = kb
        self.base = base
        self.name = name
        self._tables = {table: generations.parts(_OWN.format(table, base), base) for table in TABLES}
        self._tables["embeddings"] += generations.parts(_HELD, base)
        self._known: dict[str, bytes] = {}

    def _asked(self, sql: str) -> bytes:
        """A question with the tables that it names."""
        found = self._known.get(sql)
        if found is None:
            named = {word: self._tables[word] for word in _WORD.findall(sql) if word in self._tables}
            tables = ", ".join(f"{name} AS NOT MATERIALIZED ({rows})" for name, rows in named.items())
            found = (f"WITH {tables} " * bool(named) + sql.replace("%", "%%").replace("?", "%s")).encode()
            if len(self._known) < _REMEMBERED:
                self._known[sql] = found
        return found

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self.server.borrowed() as db:
            return db.execute(self._asked(sql), parameters).fetchall()

    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        rows = self._rows(sql, parameters)  # at once: who takes only some of them must not keep the connection
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def _in(self, sql: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        """The rows of a question that ends with IN, for many values: one array, so that the plan is kept."""
        yield from self._rows(f"{sql.removesuffix('IN')} = ANY(?)", [list(values)]) if values else ()

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

    def alone(self) -> AbstractContextManager[None]:
        """Hold the one writer's place (`lock.alone`)."""
        return lock.alone(self.server, self.kb, self.name)

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now."""
        with self.server.borrowed() as db:
            return db.execute("SELECT base FROM ragstone.names WHERE id = %s", [self.kb]).fetchall() != [(self.base,)]

    @property
    def gone(self) -> bool:
        """Whether this generation is not there any more."""
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

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector; as each transaction kept them."""
        sql = "SELECT key, value::bigint FROM meta WHERE key IN ('documents', 'chunks', 'blind_chunks')"
        kept = dict(self._rows(sql))
        return Counts(kept["documents"], kept["chunks"], kept["chunks"] - kept["blind_chunks"])

    def put_embeddings(self, keys: Sequence[bytes], vectors: F32) -> None:
        """Remember vectors, as float16. Committed at once: a resumed run reuses them."""
        new = dict(zip(keys, vectors.astype(np.float16), strict=True))
        with self.transaction() as write:
            known = "SELECT key FROM ragstone.embeddings WHERE base = %s AND key = ANY(%s)"
            for (key,) in write.db.execute(known, [self.base, list(new)]).fetchall():
                del new[key]
            with write.db.cursor() as cursor:
                copied = cursor.copy("COPY ragstone.embeddings(base, key, vector) FROM STDIN (FORMAT BINARY)")
                with copied as copy:
                    copy.set_types(["int4", "bytea", "bytea"])
                    for key, row in new.items():
                        copy.write_row((self.base, key, binary(row)))
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
        sql = "SELECT id, vector FROM vectors WHERE document_id = ? ORDER BY id"
        rows = self._binary(sql, [document_id])
        return np.array([i for i, _ in rows], np.int64), read([vector for _, vector in rows])

    def sample(self, count: int) -> tuple[F32, list[str]]:
        """(vectors, languages) of so many different chunks, always the same of an unchanged catalog."""
        # Keys are hashes, so that the first are a fair sample.
        sql = """SELECT v.vector, f.language FROM (SELECT DISTINCT ON (key) key, id, language FROM chunks
                 WHERE key IS NOT NULL ORDER BY key, language LIMIT ?) f JOIN vectors v ON v.id = f.id
                 ORDER BY f.key"""
        rows = self._binary(sql, [count])
        return read([vector for vector, _ in rows]), [language for _, language in rows]

    def _binary(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows of a question, vectors as the bytes that they are sent in."""
        with self.server.borrowed() as db:
            return db.execute(self._asked(sql), parameters, binary=True).fetchall()

    def dated(self, since: str, until: str, beginnings: Sequence[str] = ("",)) -> Iterator[tuple[int, str, str]]:
        """(id, path, tags as JSON) of documents whose own date, or that of their last change, is in between.

        Of those alone whose path has one of some beginnings.
        """
        sql = "SELECT id, path, tags FROM documents WHERE starts_with(path, ?) AND day >= ? AND day < ?"
        for beginning in beginnings:
            yield from self._rows(sql, [beginning, since, until or "~"])

    def vacuum(self) -> int:
        """Write its tables anew without anything that was deleted from them; returns how many unused embeddings went.

        Raises `CatalogError` where somebody holds on to an old state for longer than half a minute.
        """
        return check.vacuum(self)

    def sizes(self) -> dict[str, int]:
        """Bytes of what it lies in, with indexes, by name; most of it holds other knowledge bases too."""
        return check.sizes(self)

    def problems(self) -> list[str]:
        """What is wrong inside the catalog, in words; empty when all is well."""
        with self.snapshot():
            return check.problems(self)

    def mend(self) -> None:
        """Mend what `problems` finds; documents with damaged chunks count as changed, and the next run reads them."""
        check.mend(self)


def written(vector: np.ndarray[Any, Any]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def binary(row: np.ndarray[Any, Any]) -> bytes:
    """A vector as pgvector is sent a halfvec: its length, nothing, and its numbers, the first byte first."""
    return struct.pack(">HH", len(row), 0) + row.astype(">f2").tobytes()


def read(vectors: Sequence[bytes]) -> F32:
    """Vectors as pgvector sends them, each a row."""
    rows = np.frombuffer(b"".join(vector[4:] for vector in vectors), ">f2")
    return rows.reshape(len(vectors), -1 if vectors else 0).astype(np.float32)


def opened(server: Server, name: str) -> PgCatalog | None:
    """A knowledge base by its name; None where there is none."""
    found = generations.answering(server, name)
    return PgCatalog(server, *found, name) if found else None


def beside(server: Server, name: str, manifest: Manifest) -> PgCatalog:
    """The generation of a knowledge base that is built beside the one that answers (`generations.beside`)."""
    return PgCatalog(server, *generations.beside(server, name, asdict(manifest)), name)


def made(server: Server, name: str, manifest: Manifest) -> PgCatalog:
    """A knowledge base by its name; made, empty, where there is none."""
    return PgCatalog(server, *generations.made(server, name, asdict(manifest)), name)
