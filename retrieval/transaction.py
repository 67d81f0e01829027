"""The write side of the catalog: its tables, and what one transaction may do to them."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.types import Choice, Chunk, Document, FileEntry, FileError
from retrieval.listing import choice_row
from retrieval.minhash import bands

SCHEMA_VERSION = 6  # kept as SQLite's user_version; a change of SCHEMA is a new number, and a step in migrations.py
CHOICES = """CREATE TABLE choices(
    folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL, left_out INTEGER NOT NULL,
    ocr_pages TEXT NOT NULL, tags TEXT, date TEXT, corrections TEXT NOT NULL,
    PRIMARY KEY(folder_id, path))"""  # what people chose for single files
LEFT_OUT = """CREATE TABLE left_out(
    folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL, error TEXT NOT NULL, hint TEXT NOT NULL,
    PRIMARY KEY(folder_id, path))"""  # which files the last run left out
SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE folders(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE documents(
    id INTEGER PRIMARY KEY AUTOINCREMENT, folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, hash TEXT NOT NULL,
    checked_ns INTEGER NOT NULL, title TEXT NOT NULL, language TEXT NOT NULL, pages INTEGER, empty_pages TEXT NOT NULL,
    ocr_pages TEXT NOT NULL, tables INTEGER NOT NULL, characters INTEGER NOT NULL, chunks INTEGER NOT NULL,
    encoding TEXT, notes TEXT NOT NULL, seconds REAL NOT NULL, sketch BLOB NOT NULL,
    tags TEXT NOT NULL, date TEXT NOT NULL, stale TEXT NOT NULL DEFAULT '', reader TEXT NOT NULL,
    indexed_at REAL NOT NULL,
    UNIQUE(folder_id, path));
CREATE INDEX documents_in_part ON documents(reader) WHERE reader != '';
CREATE TABLE chunks(
    id INTEGER PRIMARY KEY AUTOINCREMENT, document_id INTEGER NOT NULL REFERENCES documents, ordinal INTEGER NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER, headings TEXT NOT NULL, language TEXT NOT NULL,
    tokens INTEGER NOT NULL, text TEXT NOT NULL, key BLOB, generation INTEGER NOT NULL);
CREATE UNIQUE INDEX chunks_by_document ON chunks(document_id, ordinal);
CREATE INDEX chunks_by_generation ON chunks(generation);
CREATE INDEX chunks_by_key ON chunks(key) WHERE key IS NOT NULL;
CREATE INDEX chunks_without_key ON chunks(language) WHERE key IS NULL;
CREATE TABLE removed(chunk_id INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX removed_by_generation ON removed(generation);
CREATE TABLE embeddings(key BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE bands(band INTEGER NOT NULL, document_id INTEGER NOT NULL, PRIMARY KEY(band, document_id)) WITHOUT ROWID;
CREATE INDEX bands_by_document ON bands(document_id);
CREATE TABLE failures(
    folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, checked_ns INTEGER NOT NULL, error TEXT NOT NULL, hint TEXT NOT NULL,
    reader TEXT NOT NULL, PRIMARY KEY(folder_id, path));
{CHOICES};
{LEFT_OUT};
PRAGMA user_version = {SCHEMA_VERSION};
"""


DROP_UNUSED = "DELETE FROM embeddings WHERE key NOT IN (SELECT key FROM chunks WHERE key IS NOT NULL)"
DAMAGED = "damaged"  # stands for the hash of a document that is to be read again


class Check(NamedTuple):
    """What may be wrong, in which table, how it is found, and the column that names the document to be read again."""

    text: str
    table: str
    where: str
    again: str = ""


CHECKS = (
    Check("chunks belong to no document", "chunks", "document_id NOT IN (SELECT id FROM documents)"),
    Check("chunks have lost their embedding", "chunks",
          "key IS NOT NULL AND key NOT IN (SELECT key FROM embeddings)", "document_id"),
    Check("chunks do not match their offsets", "chunks", 'length(text) != "end" - start', "document_id"),
    Check("removed chunks are still there", "removed", "chunk_id IN (SELECT id FROM chunks)"),
    Check("documents do not have all their chunks", "documents", """chunks !=
          (SELECT count(*) FROM chunks c WHERE c.document_id = documents.id AND c.ordinal < documents.chunks)""", "id"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Indexed:
    """A document as it is written: `keys` name the embedding of each chunk, None where the embedder cannot read it.

    `sketch` is the document's MinHash; `seconds` is what reading took.
    """

    entry: FileEntry
    document: Document
    chunks: Sequence[Chunk]
    keys: Sequence[bytes | None]
    language: str
    sketch: bytes = b""
    seconds: float = 0.0


class ChunkRow(NamedTuple):
    """A chunk as either home keeps it, in its document."""

    ordinal: int
    start: int
    end: int
    page: int | None
    headings: str  # JSON
    language: str
    tokens: int
    text: str
    key: bytes | None


def document_row(folder_id: int, new: Indexed, reader: str) -> dict[str, Any]:
    """A document as either home keeps it: values by column, without an id."""
    entry, document = new.entry, new.document
    return {
        "folder_id": folder_id, "path": entry.path, "size": entry.size, "mtime_ns": entry.mtime_ns,
        "ctime_ns": entry.ctime_ns, "hash": entry.hash, "checked_ns": entry.seen_ns, "title": document.title,
        "language": new.language, "pages": document.pages, "empty_pages": json.dumps(document.empty_pages),
        "ocr_pages": json.dumps(document.ocr_pages), "tables": document.tables,
        "characters": len(document.text), "chunks": len(new.chunks), "encoding": document.encoding,
        "notes": json.dumps(document.notes, ensure_ascii=False), "seconds": round(new.seconds, 3),
        "tags": json.dumps([tag.casefold() for tag in document.tags], ensure_ascii=False),
        "date": document.date, "sketch": new.sketch, "reader": reader if document.empty_pages else "",
        "indexed_at": time.time(),
    }  # fmt: skip


def chunk_rows(new: Indexed) -> list[ChunkRow]:
    """The chunks of a document, in order."""
    return [
        ChunkRow(c.ordinal, c.start, c.end, c.page, json.dumps(c.headings, ensure_ascii=False), c.language, c.tokens,
                 c.text, key)
        for c, key in zip(new.chunks, new.keys, strict=True)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transaction:
    """The writes of one transaction; made by `Catalog.transaction`."""

    db: sqlite3.Connection
    generation: int
    dropped: set[bytes]  # collects the embedding keys of removed chunks

    def replace(self, folder_id: int, new: Indexed, reader: str = "") -> None:
        """A file's old chunks leave and its new ones arrive together. `reader` names what could not read all of it."""
        path = new.entry.path
        found = self.db.execute("SELECT id FROM documents WHERE folder_id = ? AND path = ?", [folder_id, path])
        if old := found.fetchone():
            self.remove(old[0])
        self.insert(document_row(folder_id, new, reader), chunk_rows(new))
        found = self.db.execute("SELECT tags, date FROM choices WHERE folder_id = ? AND path = ?", [folder_id, path])
        for tags, date in found.fetchall():
            self._name(folder_id, path, tags, date)
        self._forget_failure(folder_id, path)

    def insert(self, document: Mapping[str, Any], chunks: Sequence[ChunkRow]) -> None:
        """A document that is not there yet, by its columns, with its chunks."""
        columns, places = ", ".join(document), ", ".join(f":{name}" for name in document)
        document_id = self.db.execute(f"INSERT INTO documents({columns}) VALUES ({places})", document).lastrowid
        self.db.executemany(
            'INSERT INTO chunks(document_id, ordinal, start, "end", page, headings, language, tokens, text, key,'
            " generation) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            ((document_id, *chunk, self.generation) for chunk in chunks),
        )
        self._count(len(chunks), sum(c.key is None for c in chunks), Counter(c.language for c in chunks))
        pairs = ((band, document_id) for band in bands(document["sketch"]))
        self.db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", pairs)

    def remove(self, document_id: int) -> None:
        """A document and its chunks leave."""
        rows = self.db.execute("SELECT key, language FROM chunks WHERE document_id = ?", [document_id]).fetchall()
        keys = [key for key, _ in rows]
        self.dropped.update(key for key in keys if key is not None)
        self._count(-len(keys), -keys.count(None), Counter(language for _, language in rows))
        self.db.execute(
            "INSERT INTO removed SELECT id, ? FROM chunks WHERE document_id = ?", [self.generation, document_id]
        )
        for table, column in (("chunks", "document_id"), ("bands", "document_id"), ("documents", "id")):
            self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", [document_id])

    def move(self, document_id: int, entry: FileEntry) -> None:
        """A document gets a new path. Its chunks get new ids: the path is part of what the lexical index holds."""
        self.touch(document_id, entry)
        was = "SELECT folder_id, path FROM documents WHERE id = ?"
        self.db.execute(f"UPDATE OR REPLACE choices SET path = ? WHERE (folder_id, path) = ({was})",
                        [entry.path, document_id])  # fmt: skip
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
        (folder_id,) = self.db.execute("SELECT folder_id FROM documents WHERE id = ?", [document_id]).fetchone()
        self._forget_failure(folder_id, entry.path)

    def fail(self, folder_id: int, entry: FileEntry, error: FileError, reader: str) -> None:
        """A file could not be read: what it said last keeps answering, marked stale; it is not tried again as it is."""
        self.db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?,?,?,?)",
            [folder_id, entry.path, entry.size, entry.mtime_ns, entry.ctime_ns, entry.seen_ns, error.error, error.hint,
             reader],
        )  # fmt: skip
        where = "WHERE folder_id = ? AND path = ?"
        self.db.execute(f"UPDATE documents SET stale = ? {where}", [error.error, folder_id, entry.path])

    def keep_failures(self, folder_id: int, paths: Collection[str]) -> None:
        """Forget the failures of a folder but those of `paths`."""
        known = self.db.execute("SELECT path FROM failures WHERE folder_id = ?", [folder_id]).fetchall()
        for (path,) in known:
            if path not in paths:
                self._forget_failure(folder_id, path)

    def read_all_again(self, chunker: str) -> None:
        """Have the next run of each folder read all its documents, which then are cut by another chunker."""
        self.db.execute("UPDATE documents SET hash = '', checked_ns = 0")
        self.db.execute("UPDATE meta SET value = ? WHERE key = 'chunker'", [chunker])

    def read_again(self, folder_id: int, paths: Collection[str]) -> None:
        """The next run reads these files of a folder as if nobody had; until then, what they said stays."""
        for path in paths:
            self._forget_failure(folder_id, path)
            self.db.execute(
                "UPDATE documents SET hash = '', checked_ns = 0 WHERE folder_id = ? AND path = ?", [folder_id, path]
            )

    def choose(self, folder_id: int, path: str, choice: Choice) -> None:
        """Keep what somebody chose for a file; the next run does by it. A choice of nothing is forgotten.

        Tags and date hold at once; what the file says of itself in their place, once it was read again.
        """
        self.db.execute("DELETE FROM choices WHERE folder_id = ? AND path = ?", [folder_id, path])
        if choice != Choice():
            row = choice_row(choice)
            self.db.execute("INSERT INTO choices VALUES (?,?,?,?,?,?,?)", [folder_id, path, *row])
            self._name(folder_id, path, row[2], row[3])

    def _name(self, folder_id: int, path: str, tags: str | None, date: str | None) -> None:
        """Give a document the tags, as JSON, and the date that somebody chose for it."""
        self.db.execute(
            "UPDATE documents SET tags = coalesce(?, tags), date = coalesce(?, date) WHERE folder_id = ? AND path = ?",
            [tags, date, folder_id, path],
        )

    def leave_out(self, folder_id: int, files: Sequence[FileError]) -> None:
        """Keep which files of a folder were left out, and why, in the place of what was kept of it."""
        self.db.execute("DELETE FROM left_out WHERE folder_id = ?", [folder_id])
        rows = ((folder_id, file.path, file.error, file.hint) for file in files)
        self.db.executemany("INSERT OR REPLACE INTO left_out VALUES (?,?,?,?)", rows)

    def remove_folder(self, folder_id: int) -> int:
        """A folder leaves the knowledge base with all its documents; returns how many there were."""
        ids = [i for (i,) in self.db.execute("SELECT id FROM documents WHERE folder_id = ?", [folder_id])]
        for document_id in ids:
            self.remove(document_id)
        for table in ("failures", "choices", "left_out"):
            self.db.execute(f"DELETE FROM {table} WHERE folder_id = ?", [folder_id])
        self.db.execute("DELETE FROM folders WHERE id = ?", [folder_id])
        return len(ids)

    def forget_embeddings(self) -> None:
        """No chunk has a vector any more, until it is given one of another embedder."""
        self.db.execute("DELETE FROM embeddings")
        self.db.execute("DELETE FROM meta WHERE key IN ('dimension', 'vectors_saved')")

    def mend(self) -> None:
        """Take out what the checks find; documents with damaged chunks count as changed."""
        for check in CHECKS:
            if check.again:
                which = f"SELECT {check.again} FROM {check.table} WHERE {check.where}"
                sql = f"UPDATE documents SET size = -1, hash = '{DAMAGED}' WHERE id IN ({which})"
            else:
                sql = f"DELETE FROM {check.table} WHERE {check.where}"
            self.db.execute(sql)
        self.db.execute(DROP_UNUSED)
        self.recount()

    def recount(self) -> None:
        """Set the counts that are kept to what is there."""
        for key, where in (("chunks", ""), ("blind_chunks", " WHERE key IS NULL")):
            (count,) = self.db.execute(f"SELECT count(*) FROM chunks{where}").fetchone()
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, str(count)])
        languages = dict(self.db.execute("SELECT language, count(*) FROM chunks GROUP BY language"))
        self.db.execute("INSERT OR REPLACE INTO meta VALUES ('languages', ?)", [json.dumps(languages)])

    def _count(self, chunks: int, blind: int, languages: Mapping[str, int]) -> None:
        """Keep the counts of all chunks, of those without a vector, and of each language, whose chunks come or, where
        `chunks` is negative, leave: counting a million takes a second.
        """
        change = "UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key = ?"
        self.db.executemany(change, [(chunks, "chunks"), (blind, "blind_chunks")])
        (kept,) = self.db.execute("SELECT value FROM meta WHERE key = 'languages'").fetchone()
        counts = json.loads(kept)
        for language, count in languages.items():
            counts[language] = counts.get(language, 0) + (count if chunks > 0 else -count)
        present = {language: count for language, count in counts.items() if count}
        self.db.execute("UPDATE meta SET value = ? WHERE key = 'languages'", [json.dumps(present)])

    def _forget_failure(self, folder_id: int, path: str) -> None:
        self.db.execute("DELETE FROM failures WHERE folder_id = ? AND path = ?", [folder_id, path])
