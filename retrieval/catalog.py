"""The catalog: one SQLite file that holds everything a knowledge base knows. FAISS and tantivy are caches of it.

Every write transaction bumps `generation`; chunks carry the generation that added them and `removed` the one that took
them out, so that a cache at generation g is caught up by a query instead of a rebuild.
"""

import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from core.errors import CatalogError
from core.files import make_folder
from core.sqlite import transaction
from core.types import F32, I64
from retrieval.changes import Changes, stored_vectors
from retrieval.home import current, writer_lock
from retrieval.reading import Manifest, Reading
from retrieval.transaction import CHECKS, DROP_UNUSED, SCHEMA, SCHEMA_VERSION, Transaction

_LAST = chr(0x10FFFF)  # sorts behind all that a path may go on with


class Catalog(Reading, Changes):
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

    def alone(self) -> AbstractContextManager[None]:
        """Hold the one writer's place (`home.writer_lock`)."""
        return writer_lock(self.file.parent.parent)

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now."""
        return current(self.file.parent.parent) != self.file.parent.name

    @property
    def gone(self) -> bool:
        """Whether the file is not there any more."""
        return not self.file.is_file()

    def check_there(self) -> None:
        """Raise `CatalogError` where the file is gone: SQLite would go on writing what nobody finds again."""
        if self.gone:
            raise CatalogError(
                f"{str(self.file)!r} is not there any more",
                "mount its disk again, or restore a backup; nothing more was written",
            )

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        self._rows("INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", [key, value])

    def has_schema(self) -> bool:
        """Whether these are the tables that this version reads and writes."""
        return self._rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest of a new catalog."""
        for key, value in asdict(manifest).items():
            self.set_meta(key, value)

    def folder_id(self, path: str) -> int:
        """The id of a folder; it is added where it is new."""
        self._rows("INSERT OR IGNORE INTO folders(path) VALUES (?)", [path])
        return self._rows("SELECT id FROM folders WHERE path = ?", [path])[0][0]

    def put_embeddings(self, keys: Sequence[bytes], vectors: F32) -> None:
        """Remember vectors, as float16 (a cosine moves by about 1e-4). Committed at once: a resumed run reuses them."""
        rows = zip(keys, (row.tobytes() for row in vectors.astype(np.float16)), strict=True)
        with self.transaction() as write:
            write.db.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
            write.db.execute("INSERT OR IGNORE INTO meta VALUES ('dimension', ?)", [str(vectors.shape[1])])

    def vectors_of(self, document_id: int) -> tuple[I64, F32]:
        """(ids, vectors) of the chunks of a document that have one."""
        sql = "SELECT c.id, e.vector FROM chunks c JOIN embeddings e ON e.key = c.key WHERE c.document_id = ?"
        rows = self._rows(sql, [document_id])
        return np.array([i for i, _ in rows], np.int64), stored_vectors([vector for _, vector in rows])

    def sample(self, count: int) -> tuple[F32, list[str]]:
        """(vectors, languages) of so many different chunks, always the same of an unchanged catalog."""
        # Keys are hashes, so that the first are a fair sample.
        sql = """SELECT e.vector, min(c.language) FROM chunks c JOIN embeddings e ON e.key = c.key
                 WHERE c.key IS NOT NULL GROUP BY c.key ORDER BY c.key LIMIT ?"""
        rows = self._rows(sql, [count])
        return stored_vectors([vector for vector, _ in rows]), [language for _, language in rows]

    def forget_removed(self, generation: int) -> None:
        """Drop the removal log up to a generation that every cache on disk has reached; older readers reload."""
        with self.connection() as db, db:  # both or none
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM removed WHERE generation <= ?", [generation])
            self.set_meta("log_starts", str(generation))

    def rename_folders(self, renamed: Mapping[str, str]) -> None:
        """Folders are found at other absolute paths from now on; two may change places."""
        with self.connection() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("UPDATE folders SET path = 'old ' || ?1 WHERE path = ?1", ((old,) for old in renamed))
            db.executemany("UPDATE folders SET path = ?2 WHERE path = 'old ' || ?1", renamed.items())

    def sizes(self) -> dict[str, int]:
        """Bytes of what it lies in, by name."""
        return {file.name: file.stat().st_size for file in sorted(self.file.parent.glob(f"{self.file.name}*"))}

    def problems(self) -> list[str]:
        """What is wrong inside the catalog, in words; empty when all is well."""
        found: list[str] = []
        try:
            with self.snapshot():
                found += [f"SQLite: {row[0]}" for row in self._rows("PRAGMA integrity_check(5)") if row[0] != "ok"]
                if not self.has_schema():
                    return [*found, "it was written by another version of ragstone"]
                for check in CHECKS:
                    ((count,),) = self._rows(f"SELECT count(*) FROM {check.table} WHERE {check.where}")
                    if count:
                        found.append(f"{count} {check.text}")
                if self.counts() != self.counted() or self.languages() != self.counted_languages():
                    found.append("the number of chunks that is kept is wrong")
        except CatalogError as error:
            if type(error.__cause__) is not sqlite3.DatabaseError:  # which is: malformed, or no database at all
                raise
            found.append(f"SQLite: {error.__cause__}")
        return found

    def mend(self) -> None:
        """Mend what `problems` finds; documents with damaged chunks count as changed, and the next run reads them."""
        with self.transaction() as write:
            write.mend()

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
