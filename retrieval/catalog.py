"""The catalog: one SQLite file that holds everything a knowledge base knows. FAISS and tantivy are caches of it.

Every write transaction bumps `generation`; chunks carry the generation that added them and `removed` the one that took
them out, so that a cache at generation g is caught up by a query instead of a rebuild.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CatalogError
from core.types import F32, I64, Chunk, Document, FileEntry, Hit, KnownFile

SCHEMA_VERSION = "1"
_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE folders(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE documents(
    id INTEGER PRIMARY KEY, folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, hash TEXT NOT NULL,
    checked_ns INTEGER NOT NULL, title TEXT NOT NULL, language TEXT NOT NULL, pages INTEGER, empty_pages TEXT NOT NULL,
    characters INTEGER NOT NULL, encoding TEXT, stale TEXT NOT NULL DEFAULT '', indexed_at REAL NOT NULL,
    UNIQUE(folder_id, path));
CREATE TABLE chunks(
    id INTEGER PRIMARY KEY AUTOINCREMENT, document_id INTEGER NOT NULL REFERENCES documents, ordinal INTEGER NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER, headings TEXT NOT NULL, language TEXT NOT NULL,
    tokens INTEGER NOT NULL, text TEXT NOT NULL, key BLOB, generation INTEGER NOT NULL);
CREATE UNIQUE INDEX chunks_by_document ON chunks(document_id, ordinal);
CREATE INDEX chunks_by_generation ON chunks(generation);
CREATE INDEX chunks_by_key ON chunks(key);
CREATE TABLE removed(chunk_id INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX removed_by_generation ON removed(generation);
CREATE TABLE embeddings(key BLOB PRIMARY KEY, vector BLOB NOT NULL);
"""
_HIT_COLUMNS = """c.id, f.path, d.path, d.title, c.page, c.headings, c.start, c."end", c.text, c.language, c.ordinal,
    d.id FROM chunks c JOIN documents d ON d.id = c.document_id JOIN folders f ON f.id = d.folder_id"""
_BATCH = 500  # bound variables per statement, well below SQLite's limit


@dataclass(frozen=True, slots=True)
class LexicalRow:
    """What the lexical index needs of a chunk."""

    chunk_id: int
    path: str
    title: str
    headings: tuple[str, ...]
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Size of a knowledge base; `dense` counts chunks that have a vector."""

    documents: int
    chunks: int
    dense: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What every chunk and vector of a knowledge base depends on."""

    embedder: str
    embedder_name: str
    chunker: str


class Catalog:
    """The SQLite file of one knowledge base. Safe to share between threads: each has a connection of its own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._threads = threading.local()
        self._connections: list[sqlite3.Connection] = []

    @classmethod
    def create(cls, file: Path) -> "Catalog":
        """Make an empty catalog. Raises `CatalogError` where the disk refuses."""
        file.parent.mkdir(parents=True, exist_ok=True)
        catalog = cls(file)
        with catalog._errors():
            catalog._db.executescript(_SCHEMA)
            catalog._db.execute("INSERT INTO meta VALUES ('schema', ?), ('generation', '0')", [SCHEMA_VERSION])
        return catalog

    def close(self) -> None:
        """Close every thread's connection."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._threads = threading.local()

    @property
    def _db(self) -> sqlite3.Connection:
        connection = getattr(self._threads, "connection", None)
        if connection is None:
            with self._errors():
                connection = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # a committed file survives a power cut
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA cache_size = -65536")
            self._threads.connection = connection
            self._connections.append(connection)
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> CatalogError:
        text, where = str(error), f"{str(self.file)!r}"
        if "full" in text:
            return CatalogError(f"the disk is full: {where} could not be written", "free some space and run it again")
        if "disk I/O" in text or "unable to open" in text or "readonly" in text:
            hint = "check that the disk is mounted, writable and has free space"
            return CatalogError(f"{where} could not be read or written: {text}", hint)
        if "malformed" in text or "not a database" in text:
            return CatalogError(
                f"{where} is damaged: {text}", "run `ragstone index DIR --rebuild`, or restore a backup"
            )
        return CatalogError(f"{where}: {text}", "run `ragstone verify`")

    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._db.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """A write transaction: all of it is committed at the end, or none of it."""
        with self._errors():
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                (generation,) = db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
                yield Transaction(db, int(generation) + 1)
                db.execute("UPDATE meta SET value = ? WHERE key = 'generation'", [str(int(generation) + 1)])
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: what is read inside belongs together, whatever a writer does meanwhile."""
        with self._errors():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with self._errors():
                self._db.execute("COMMIT")

    @property
    def generation(self) -> int:
        """Number of the last committed write transaction."""
        return int(self.meta("generation"))

    def meta(self, key: str, default: str = "") -> str:
        """A value of the manifest."""
        rows = self._all("SELECT value FROM meta WHERE key = ?", [key])
        return rows[0][0] if rows else default

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        self._all("INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", [key, value])

    def manifest(self) -> Manifest:
        """Embedder and chunker that made this catalog."""
        return Manifest(self.meta("embedder"), self.meta("embedder_name"), self.meta("chunker"))

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest of a new catalog."""
        for key, value in asdict(manifest).items():
            self.set_meta(key, value)

    def folders(self) -> list[str]:
        """Absolute paths of the folders this knowledge base follows."""
        return [path for (path,) in self._all("SELECT path FROM folders ORDER BY id")]

    def folder_id(self, path: str) -> int:
        """The id of a folder; it is added where it is new."""
        self._all("INSERT OR IGNORE INTO folders(path) VALUES (?)", [path])
        return self._all("SELECT id FROM folders WHERE path = ?", [path])[0][0]

    def known_files_of(self, folder: str) -> list[KnownFile]:
        """The documents of a folder, by its absolute path."""
        sql = """SELECT d.id, d.path, size, mtime_ns, ctime_ns, hash, checked_ns FROM documents d
                 JOIN folders f ON f.id = d.folder_id WHERE f.path = ?"""
        return [KnownFile(*row) for row in self._all(sql, [folder])]

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector."""
        ((documents,),) = self._all("SELECT count(*) FROM documents")
        ((chunks, dense),) = self._all("SELECT count(*), count(key) FROM chunks")
        return Counts(documents, chunks, dense)

    def languages(self, unreadable_only: bool = False) -> dict[str, int]:
        """Chunks per language; `unreadable_only` counts those the embedder could not read."""
        where = "WHERE key IS NULL" if unreadable_only else ""
        return dict(self._all(f"SELECT language, count(*) FROM chunks {where} GROUP BY language ORDER BY 2 DESC"))

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """The keys that have no embedding yet."""
        wanted = set(keys)
        for (key,) in self._in("SELECT key FROM embeddings WHERE key IN", list(wanted)):
            wanted.discard(key)
        return wanted

    def put_embeddings(self, keys: Sequence[bytes], vectors: F32) -> None:
        """Remember vectors, as float16 (a cosine moves by about 1e-4). Committed at once: a resumed run reuses them."""
        rows = zip(keys, (row.tobytes() for row in vectors.astype(np.float16)), strict=True)
        with self.transaction() as write:
            write.db.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
            write.db.execute("INSERT OR IGNORE INTO meta VALUES ('dimension', ?)", [str(vectors.shape[1])])

    def hits(self, chunk_ids: Sequence[int]) -> dict[int, Hit]:
        """The chunks that still exist, by id, as unranked hits."""
        return {row[0]: _hit(row) for row in self._in(f"SELECT {_HIT_COLUMNS} WHERE c.id IN", list(chunk_ids))}

    def around(self, document_id: int, first: int, last: int) -> list[Hit]:
        """Chunks `first` to `last` (ordinals, inclusive) of a document, in order."""
        where = "WHERE c.document_id = ? AND c.ordinal BETWEEN ? AND ? ORDER BY c.ordinal"
        return [_hit(row) for row in self._all(f"SELECT {_HIT_COLUMNS} {where}", [document_id, first, last])]

    def removed_since(self, generation: int) -> list[int]:
        """Ids of chunks that later transactions took out."""
        return [r[0] for r in self._all("SELECT chunk_id FROM removed WHERE generation > ?", [generation])]

    def changes_since(self, generation: int) -> int:
        """How many chunks later transactions added or took out."""
        sql = """SELECT (SELECT count(*) FROM chunks WHERE generation > ?1)
                      + (SELECT count(*) FROM removed WHERE generation > ?1)"""
        return self._all(sql, [generation])[0][0]

    def vectors_since(self, generation: int, batch: int = 20_000) -> Iterator[tuple[I64, F32]]:
        """(ids, vectors) of chunks added by later transactions, a batch at a time, in order of id."""
        sql = """SELECT c.id, e.vector FROM chunks c JOIN embeddings e ON e.key = c.key
                 WHERE c.generation > ? ORDER BY c.id"""
        for rows in self._batches(sql, [generation], batch):
            ids = np.fromiter((r[0] for r in rows), np.int64, len(rows))
            vectors = np.frombuffer(b"".join(r[1] for r in rows), np.float16).reshape(len(rows), -1)
            yield ids, vectors.astype(np.float32)

    def lexical_since(self, generation: int, batch: int = 5_000) -> Iterator[list[LexicalRow]]:
        """Chunks added by later transactions, a batch at a time, as the lexical index wants them."""
        sql = """SELECT c.id, d.path, d.title, c.headings, c.text, c.language FROM chunks c
                 JOIN documents d ON d.id = c.document_id WHERE c.generation > ? ORDER BY c.id"""
        for rows in self._batches(sql, [generation], batch):
            yield [LexicalRow(i, p, t, tuple(json.loads(h)), x, lang) for i, p, t, h, x, lang in rows]

    def forget_removed(self, generation: int) -> None:
        """Drop the removal log up to a generation that every cache on disk has reached; older readers reload."""
        with self._errors():
            self._db.execute("DELETE FROM removed WHERE generation <= ?", [generation])
        self.set_meta("log_starts", str(generation))

    def drop_orphan_embeddings(self) -> int:
        """Forget vectors that no chunk uses any more; returns how many."""
        with self._errors():
            sql = "DELETE FROM embeddings WHERE key NOT IN (SELECT key FROM chunks WHERE key IS NOT NULL)"
            return self._db.execute(sql).rowcount

    def check(self) -> list[str]:
        """What is wrong with the catalog, in words; empty when all is well."""
        problems = [f"SQLite: {row[0]}" for row in self._all("PRAGMA integrity_check(5)") if row[0] != "ok"]
        for question, text in _CHECKS:
            ((count,),) = self._all(question)
            if count:
                problems.append(f"{count} {text}")
        return problems

    def _in(self, sql: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _BATCH):
            part = values[start : start + _BATCH]
            yield from self._all(f"{sql} ({','.join('?' * len(part))})", part)

    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        with self._errors():
            cursor = self._db.execute(sql, parameters)
            while rows := cursor.fetchmany(size):
                yield rows


_CHECKS = (
    ("SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = c.document_id)",
     "chunks belong to no document"),
    ("SELECT count(*) FROM chunks c LEFT JOIN embeddings e ON e.key = c.key WHERE c.key IS NOT NULL AND e.key IS NULL",
     "chunks have lost their embedding"),
    ('SELECT count(*) FROM chunks WHERE length(text) != "end" - start', "chunks do not match their offsets"),
    ("SELECT count(*) FROM removed WHERE chunk_id IN (SELECT id FROM chunks)", "removed chunks are still there"),
    ("SELECT count(*) FROM (SELECT document_id FROM chunks GROUP BY 1 HAVING max(ordinal) != count(*) - 1)",
     "documents have gaps between their chunks"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transaction:
    """The writes of one transaction; made by `Catalog.transaction`."""

    db: sqlite3.Connection
    generation: int

    def replace(
        self,
        folder_id: int,
        entry: FileEntry,
        document: Document,
        chunks: Sequence[Chunk],
        keys: Sequence[bytes | None],
        language: str,
    ) -> None:
        """A file's old chunks leave and its new ones arrive together. `keys` are the embedding keys of the chunks."""
        found = self.db.execute("SELECT id FROM documents WHERE folder_id = ? AND path = ?", [folder_id, entry.path])
        if old := found.fetchone():
            self.remove(old[0])
        row = (folder_id, entry.path, entry.size, entry.mtime_ns, entry.ctime_ns, entry.hash, entry.seen_ns)
        row += (document.title, language, document.pages, json.dumps(document.empty_pages))
        row += (len(document.text), document.encoding, time.time())
        cursor = self.db.execute(
            "INSERT INTO documents(folder_id, path, size, mtime_ns, ctime_ns, hash, checked_ns, title, language, pages,"
            f" empty_pages, characters, encoding, indexed_at) VALUES ({','.join('?' * len(row))})",
            row,
        )
        self.db.executemany(
            'INSERT INTO chunks(document_id, ordinal, start, "end", page, headings, language, tokens, text, key,'
            " generation) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                (cursor.lastrowid, c.ordinal, c.start, c.end, c.page, json.dumps(c.headings, ensure_ascii=False),
                 c.language, c.tokens, c.text, key, self.generation)
                for c, key in zip(chunks, keys, strict=True)
            ),
        )  # fmt: skip

    def remove(self, document_id: int) -> None:
        """A document and its chunks leave."""
        self.db.execute(
            "INSERT INTO removed SELECT id, ? FROM chunks WHERE document_id = ?", [self.generation, document_id]
        )
        self.db.execute("DELETE FROM chunks WHERE document_id = ?", [document_id])
        self.db.execute("DELETE FROM documents WHERE id = ?", [document_id])

    def move(self, document_id: int, entry: FileEntry) -> None:
        """A document gets a new path. Its chunks get new ids: the path is part of what the lexical index holds."""
        self.touch(document_id, entry)
        self.db.execute("UPDATE documents SET path = ? WHERE id = ?", [entry.path, document_id])
        (top,) = self.db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        ids = [i for (i,) in self.db.execute("SELECT id FROM chunks WHERE document_id = ? ORDER BY id", [document_id])]
        self.db.executemany("INSERT INTO removed VALUES (?, ?)", ((i, self.generation) for i in ids))
        self.db.executemany(
            "UPDATE chunks SET id = ?, generation = ? WHERE id = ?",
            ((top + n, self.generation, i) for n, i in enumerate(ids, start=1)),
        )
        self.db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'chunks'", [top + len(ids)])

    def touch(self, document_id: int, entry: FileEntry) -> None:
        """Only the file's stat is new."""
        self.db.execute(
            "UPDATE documents SET size = ?, mtime_ns = ?, ctime_ns = ?, checked_ns = ?, stale = '' WHERE id = ?",
            [entry.size, entry.mtime_ns, entry.ctime_ns, entry.seen_ns, document_id],
        )

    def mark_stale(self, document_id: int, reason: str) -> None:
        """The file can no longer be read: what it said last keeps answering, marked."""
        self.db.execute("UPDATE documents SET stale = ? WHERE id = ?", [reason, document_id])


def _hit(row: tuple[Any, ...]) -> Hit:
    chunk_id, folder, path, title, page, headings, start, end, text, language, ordinal, document_id = row
    return Hit(
        0, 0.0, chunk_id, folder, path, title, page, tuple(json.loads(headings)), start, end, text, language, ordinal,
        document_id,
    )  # fmt: skip
