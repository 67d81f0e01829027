"""The catalog: one SQLite file that holds everything a knowledge base knows. FAISS and tantivy are caches of it.

Every write transaction bumps `generation`; chunks carry the generation that added them and `removed` the one that took
them out, so that a cache at generation g is caught up by a query instead of a rebuild.
"""

import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.errors import CatalogError
from core.files import make_folder
from core.sqlite import transaction
from core.types import F32, I64, Card, FileError, Hit, KnownFailure, KnownFile
from retrieval.database import Database
from retrieval.transaction import SCHEMA, SCHEMA_VERSION, Transaction

_HIT_COLUMNS = """c.id, f.path, d.path, d.title, c.page, c.headings, c.start, c."end", c.text, c.language, c.ordinal,
    d.id, c.tokens, d.stale
    FROM chunks c JOIN documents d ON d.id = c.document_id JOIN folders f ON f.id = d.folder_id"""
_LAST = chr(0x10FFFF)  # sorts behind all that a path may go on with
DROP_UNUSED = "DELETE FROM embeddings WHERE key NOT IN (SELECT key FROM chunks WHERE key IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class LexicalRow:
    """What the lexical index needs of a chunk."""

    chunk_id: int
    document_id: int
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
    embedder_settings: str  # JSON: what [retrieval] said of it
    chunker: str


class Spot(NamedTuple):
    """Where a chunk stands; in the order of which chunks of equal score are shown."""

    folder: str
    path: str
    ordinal: int
    page: int | None


class Version(NamedTuple):
    """A document as far as it may be a version of another: `sketch` is its MinHash."""

    document_id: int
    path: str
    mtime_ns: int
    sketch: bytes


class Catalog(Database):
    """The SQLite file of one knowledge base. Safe to share between threads."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._dropped: set[bytes] = set()  # keys of chunks that this process removed
        self._writer = uuid.uuid4().hex
        self._inherited = False  # whether a writer before this one ended without dropping what it had to

    @classmethod
    def create(cls, file: Path) -> "Catalog":
        """Make an empty catalog. Raises `CatalogError` where the disk refuses."""
        catalog = cls(file)
        try:
            make_folder(file.parent)
        except OSError as error:
            raise CatalogError(f"{str(file)!r} cannot be made: {error.strerror}", "free some space") from error
        with catalog.connection() as db:
            db.executescript(SCHEMA)
            db.execute(
                "INSERT INTO meta VALUES ('generation', '0'), ('unswept', ''), ('chunks', '0'), ('blind_chunks', '0'),"
                " ('languages', '{}')"
            )
        return catalog

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """A write transaction: all of it is committed at the end, or none of it."""
        self.check_there()
        with self.connection() as db, transaction(db):
            wanted = "('generation', 'unswept', 'languages')"
            state = dict(db.execute(f"SELECT key, value FROM meta WHERE key IN {wanted}"))
            generation = int(state["generation"]) + 1
            self._inherited |= state["unswept"] not in ("", self._writer)
            write = Transaction(db, generation, self._dropped)
            if "languages" not in state:  # a catalog of before they were kept
                write.recount()
            yield write
            db.execute("UPDATE meta SET value = ? WHERE key = 'generation'", [str(generation)])
            db.execute("UPDATE meta SET value = ? WHERE key = 'unswept'", [self._writer])

    def check_there(self) -> None:
        """Raise `CatalogError` where the file is gone: SQLite would go on writing what nobody finds again."""
        if not self.file.is_file():
            raise CatalogError(
                f"{str(self.file)!r} is not there any more",
                "mount its disk again, or restore a backup; nothing more was written",
            )

    @property
    def generation(self) -> int:
        """Number of the last committed write transaction."""
        return int(self.meta("generation"))

    def meta(self, key: str, default: str = "") -> str:
        """A value of the manifest."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", [key])
        return rows[0][0] if rows else default

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        self.rows("INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", [key, value])

    def manifest(self) -> Manifest:
        """Embedder and chunker that made this catalog."""
        return Manifest(*(self.meta(field.name) for field in fields(Manifest)))

    def has_schema(self) -> bool:
        """Whether these are the tables that this version reads and writes."""
        return self.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest of a new catalog."""
        for key, value in asdict(manifest).items():
            self.set_meta(key, value)

    def folders(self) -> list[str]:
        """Absolute paths of the folders this knowledge base follows."""
        return [path for (path,) in self.rows("SELECT path FROM folders ORDER BY id")]

    def documents_of(self, folder: str) -> int:
        """How many documents a folder has, by its absolute path."""
        sql = "SELECT count(*) FROM documents WHERE folder_id = (SELECT id FROM folders WHERE path = ?)"
        return self.rows(sql, [folder])[0][0]

    def folder_id(self, path: str) -> int:
        """The id of a folder; it is added where it is new."""
        self.rows("INSERT OR IGNORE INTO folders(path) VALUES (?)", [path])
        return self.rows("SELECT id FROM folders WHERE path = ?", [path])[0][0]

    def known_files(self, folder: str, below: str = "") -> Iterator[KnownFile]:
        """The files of a folder, by its absolute path, that are or lie below a path in it; in order of path."""
        where = "AND (d.path = ?2 OR d.path >= ?2 || '/' AND d.path < ?2 || '0')" if below else ""
        sql = f"""SELECT d.id, d.path, size, mtime_ns, ctime_ns, hash, checked_ns FROM documents d
                  WHERE folder_id = (SELECT id FROM folders WHERE path = ?1) {where} ORDER BY d.path"""
        for rows in self._batches(sql, [folder, below] if below else [folder], 1_000):
            yield from map(KnownFile._make, rows)

    def known_failures(self, folder: str) -> dict[str, KnownFailure]:
        """The files of a folder that could not be read when they were last tried, by path."""
        sql = """SELECT x.path, size, mtime_ns, ctime_ns, checked_ns, error, hint, reader FROM failures x
                 JOIN folders f ON f.id = x.folder_id WHERE f.path = ?"""
        return {row[0]: KnownFailure._make(row) for row in self.rows(sql, [folder])}

    def read_in_part(self, reader: str) -> set[int]:
        """Ids of documents with pages that had no text for another reader than this one."""
        return {i for (i,) in self.rows("SELECT id FROM documents WHERE reader != '' AND reader != ?", [reader])}

    def failures(self) -> list[FileError]:
        """Every file that could not be read when it was last tried."""
        sql = """SELECT x.path, error, hint, f.path FROM failures x JOIN folders f ON f.id = x.folder_id
                 ORDER BY x.path, f.id"""
        return [FileError(path, error, hint, folder=folder) for path, error, hint, folder in self.rows(sql)]

    def cards(self, since: float = 0.0) -> Iterator[Card]:
        """The report card of every document that was read since a time (seconds since 1970), in order of path."""
        sql = """SELECT d.path, language, characters, chunks, pages, empty_pages, ocr_pages, tables, encoding, seconds,
                 notes, stale, f.path FROM documents d JOIN folders f ON f.id = d.folder_id
                 WHERE indexed_at >= ? ORDER BY d.path, f.id"""
        for rows in self._batches(sql, [since], 1_000):
            for path, tongue, characters, chunks, pages, empty, ocr, tables, encoding, seconds, notes, *rest in rows:
                yield Card(
                    path, tongue, characters, chunks, pages, tuple(json.loads(empty)), tuple(json.loads(ocr)), tables,
                    encoding, seconds, tuple(json.loads(notes)), *rest,
                )  # fmt: skip

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector; as each transaction kept them, where the catalog has that."""
        ((documents,),) = self.rows("SELECT count(*) FROM documents")
        kept = dict(self.rows("SELECT key, CAST(value AS INTEGER) FROM meta WHERE key IN ('chunks', 'blind_chunks')"))
        if len(kept) < 2:
            return self.counted()
        return Counts(documents, kept["chunks"], kept["chunks"] - kept["blind_chunks"])

    def counted(self) -> Counts:
        """The same, counted one by one: seconds for a million chunks."""
        ((documents,),) = self.rows("SELECT count(*) FROM documents")
        ((chunks, blind),) = self.rows("SELECT (SELECT count(*) FROM chunks), count(*) FROM chunks WHERE key IS NULL")
        return Counts(documents, chunks, chunks - blind)

    def languages(self, unreadable_only: bool = False) -> dict[str, int]:
        """Chunks per language, most first, as each transaction kept them; `unreadable_only` counts those the embedder
        could not read.
        """
        kept = "" if unreadable_only else self.meta("languages")
        counts: dict[str, int] = json.loads(kept) if kept else self.counted_languages(unreadable_only)
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def counted_languages(self, unreadable_only: bool = False) -> dict[str, int]:
        """The same, counted one by one."""
        where = "WHERE key IS NULL" if unreadable_only else ""
        return dict(self.rows(f"SELECT language, count(*) FROM chunks {where} GROUP BY language"))

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

    def spots(self, chunk_ids: Sequence[int]) -> dict[int, Spot]:
        """Where the chunks that still exist stand, by id."""
        sql = """SELECT c.id, f.path, d.path, c.ordinal, c.page FROM chunks c
                 JOIN documents d ON d.id = c.document_id JOIN folders f ON f.id = d.folder_id WHERE c.id IN"""
        return {row[0]: Spot._make(row[1:]) for row in self._in(sql, list(chunk_ids))}

    def around(self, document_id: int, first: int, last: int) -> list[Hit]:
        """Chunks `first` to `last` (ordinals, inclusive) of a document, in order."""
        where = "WHERE c.document_id = ? AND c.ordinal BETWEEN ? AND ? ORDER BY c.ordinal"
        return [_hit(row) for row in self.rows(f"SELECT {_HIT_COLUMNS} {where}", [document_id, first, last])]

    def near(self, document_ids: Collection[int]) -> Iterator[tuple[Version, list[Version]]]:
        """Each of the documents, and those that share a band of the sketch with it."""
        pairs: dict[int, set[int]] = {document_id: set() for document_id in document_ids}
        sql = """SELECT DISTINCT own.document_id, other.document_id FROM bands own
                 JOIN bands other ON other.band = own.band AND other.document_id != own.document_id
                 WHERE own.document_id IN"""
        for own, other in self._in(sql, list(pairs)):
            pairs[own].add(other)
        wanted = list(pairs.keys() | {other for others in pairs.values() for other in others})
        rows = map(Version._make, self._in("SELECT id, path, mtime_ns, sketch FROM documents WHERE id IN", wanted))
        found = {version.document_id: version for version in rows}
        for own, others in pairs.items():
            if own in found:  # else: gone since the search
                yield found[own], [found[other] for other in others if other in found]

    def removed_since(self, generation: int) -> list[int]:
        """Ids of chunks that later transactions took out."""
        return [r[0] for r in self.rows("SELECT chunk_id FROM removed WHERE generation > ?", [generation])]

    def changes_since(self, generation: int) -> int:
        """How many chunks later transactions added or took out."""
        sql = """SELECT (SELECT count(*) FROM chunks WHERE generation > ?1)
                      + (SELECT count(*) FROM removed WHERE generation > ?1)"""
        return self.rows(sql, [generation])[0][0]

    def vectors_since(self, generation: int, batch: int = 20_000) -> Iterator[tuple[I64, F32]]:
        """(ids, vectors) of chunks added by later transactions, a batch at a time, in order of id."""
        sql = f"SELECT c.id, e.vector FROM chunks c JOIN embeddings e ON e.key = c.key {_since(generation)}"
        for rows in self._batches(sql, [generation], batch):
            ids = np.fromiter((r[0] for r in rows), np.int64, len(rows))
            vectors = np.frombuffer(b"".join(r[1] for r in rows), np.float16).reshape(len(rows), -1)
            yield ids, vectors.astype(np.float32)

    def lexical_since(self, generation: int, batch: int = 5_000) -> Iterator[list[LexicalRow]]:
        """Chunks added by later transactions, a batch at a time, as the lexical index wants them."""
        sql = f"""SELECT c.id, d.id, d.path, d.title, c.headings, c.text, c.language FROM chunks c
                  JOIN documents d ON d.id = c.document_id {_since(generation)}"""
        for rows in self._batches(sql, [generation], batch):
            yield [LexicalRow(i, d, p, t, tuple(json.loads(h)), x, lang) for i, d, p, t, h, x, lang in rows]

    def members_since(self, generation: int, batch: int = 20_000) -> Iterator[list[tuple[int, int, str]]]:
        """(id, document id, language) of chunks added by later transactions, a batch at a time, in order of id."""
        yield from self._batches(
            f"SELECT id, document_id, language FROM chunks c {_since(generation)}", [generation], batch
        )

    def forget_removed(self, generation: int) -> None:
        """Drop the removal log up to a generation that every cache on disk has reached; older readers reload."""
        with self.connection() as db, db:  # both or none
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM removed WHERE generation <= ?", [generation])
            self.set_meta("log_starts", str(generation))

    def rename_folder(self, old: str, new: str) -> None:
        """A folder is found at another absolute path from now on."""
        self.rows("UPDATE folders SET path = ? WHERE path = ?", [new, old])

    def vacuum(self) -> int:
        """Write the file anew without anything that was deleted from it; returns how many unused embeddings went too.

        Raises `CatalogError` where a reader holds on to the old state for longer than half a minute.
        """
        with self.connection() as db:
            db.execute("PRAGMA secure_delete = ON")
            dropped = db.execute(DROP_UNUSED).rowcount
            db.execute("VACUUM")
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise CatalogError(
                f"{str(self.file)!r} is being read by another process, so its old state cannot be erased yet",
                "end long-running searches and backups, then run it again",
            )
        return dropped

    def drop_unused_embeddings(self) -> None:
        """Forget the vectors that no chunk uses by now: of chunks removed here, or of all where a run was killed.

        At the end of a run, not before: what left with one file may come back with another.
        """
        if not self.meta("unswept"):
            return
        with self.connection() as db, db:
            db.execute("BEGIN IMMEDIATE")
            if self._inherited:
                db.execute(DROP_UNUSED)
            else:
                sql = "DELETE FROM embeddings WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE key = ?1)"
                db.executemany(sql, ((key,) for key in self._dropped))
            db.execute("UPDATE meta SET value = '' WHERE key = 'unswept'")
        self._dropped.clear()
        self._inherited = False

    def dated(self, since: str, until: str, beginnings: Sequence[str] = ("",)) -> Iterator[tuple[int, str, str]]:
        """(id, path, tags as JSON) of documents whose own date, or that of their last change, is in between.

        Of those alone whose path has one of some beginnings; each beginning is looked up in order of path.
        """
        date = (
            "CASE date WHEN '' THEN strftime('%Y-%m-%d', mtime_ns / 1000000000, 'unixepoch', 'localtime') ELSE date END"
        )
        where = f"AND {date} >= ?3 AND {date} < ?4" if since or until else ""
        sql = f"""SELECT id, path, tags FROM documents WHERE folder_id IN (SELECT id FROM folders)
                  AND path >= ?1 AND path < ?2 {where}"""
        for beginning in beginnings:
            between = [beginning, beginning + _LAST]
            for rows in self._batches(sql, [*between, since, until or "~"] if where else between, 5_000):
                yield from rows


def _since(generation: int) -> str:
    """Chunks after a generation, in order of id. All lie in that order; a few are looked up and put into it."""
    return f"WHERE c.generation > ? ORDER BY {'+' if generation else ''}c.id"


def _hit(row: tuple[Any, ...]) -> Hit:
    (chunk_id, folder, path, title, page, headings, start, end, text, language, ordinal, document_id, tokens, stale) = (
        row
    )
    return Hit(
        0, 0.0, chunk_id, folder, path, title, page, tuple(json.loads(headings)), start, end, text, language, ordinal,
        document_id, tokens, stale,
    )  # fmt: skip
