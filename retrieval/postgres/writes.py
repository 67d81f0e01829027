"""What one transaction may do to a knowledge base in PostgreSQL; as retrieval/transaction.py for SQLite."""

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.types import FileEntry, FileError
from retrieval.changes import LexicalRow
from retrieval.dictionary import Dictionary
from retrieval.lexical import words_of
from retrieval.minhash import bands
from retrieval.transaction import Indexed

if TYPE_CHECKING:
    from psycopg import Connection

_MOST = 16_383  # the highest position, and so how often a token can be told to stand in a chunk
_NO_WORDS = Dictionary()


def stored(text: str) -> str:
    """A text as PostgreSQL can hold it: U+0000 as U+FFFD, which is as long."""
    return text.replace("\x00", "\ufffd")


def quoted(term: str) -> str:
    """A lexeme as it is written in a tsvector or tsquery."""
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class PgWrites:
    """The writes of one transaction; made by `PgCatalog.transaction`."""

    db: "Connection[Any]"
    base: int
    added: list[int] = field(default_factory=list)  # documents whose words are counted at the end, all at once
    gone: list[int] = field(default_factory=list)

    def replace(self, folder_id: int, new: Indexed, reader: str = "") -> None:
        """A file's old chunks leave and its new ones arrive together. `reader` names what could not read all of it."""
        entry, document = new.entry, new.document
        found = self._rows("SELECT id FROM documents WHERE base = %s AND folder_id = %s AND path = %s", folder_id,
                           entry.path)  # fmt: skip
        if found:
            self.remove(found[0][0])
        row = {
            "base": self.base, "folder_id": folder_id, "path": entry.path, "size": entry.size,
            "mtime_ns": entry.mtime_ns, "ctime_ns": entry.ctime_ns, "hash": entry.hash, "checked_ns": entry.seen_ns,
            "title": stored(document.title), "language": new.language, "pages": document.pages,
            "empty_pages": json.dumps(document.empty_pages), "ocr_pages": json.dumps(document.ocr_pages),
            "tables": document.tables, "characters": len(document.text), "chunks": len(new.chunks),
            "encoding": document.encoding, "notes": stored(json.dumps(document.notes, ensure_ascii=False)),
            "seconds": round(new.seconds, 3),
            "tags": stored(json.dumps([tag.casefold() for tag in document.tags], ensure_ascii=False)),
            "date": stored(document.date), "sketch": new.sketch, "reader": reader if document.empty_pages else "",
            "indexed_at": time.time(),
        }  # fmt: skip
        columns, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        sql = f"INSERT INTO ragstone.documents({columns}) VALUES ({places}) RETURNING id"
        document_id: int = self.db.execute(sql.encode(), row).fetchall()[0][0]
        ids = self._new_ids(len(new.chunks))
        vector = """coalesce((SELECT vector FROM ragstone.embeddings WHERE base = %(base)s AND key = %(key)s), (SELECT
            vector FROM ragstone.chunks WHERE base = %(base)s AND key = %(key)s AND vector IS NOT NULL LIMIT 1))"""
        with self.db.cursor() as cursor:
            cursor.executemany(
                f"""INSERT INTO ragstone.chunks(base, id, document_id, ordinal, start, "end", page, headings, language,
                    tokens, text, key, vector, terms, length) VALUES (%(base)s, %(id)s, %(document)s, %(ordinal)s,
                    %(start)s, %(end)s, %(page)s, %(headings)s, %(language)s, %(tokens)s, %(text)s, %(key)s::bytea,
                    {vector}, %(terms)s::tsvector, %(length)s)""",
                [
                    {"base": self.base, "id": i, "document": document_id, "ordinal": c.ordinal, "start": c.start,
                     "end": c.end, "page": c.page, "headings": stored(json.dumps(c.headings, ensure_ascii=False)),
                     "language": c.language, "tokens": c.tokens, "text": stored(c.text), "key": key}
                    | _words(LexicalRow(i, document_id, entry.path, document.title, c.headings, c.text, c.language))
                    for i, c, key in zip(ids, new.chunks, new.keys, strict=True)
                ],
            )  # fmt: skip
            cursor.executemany(
                "INSERT INTO ragstone.bands VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [(self.base, band, document_id) for band in bands(new.sketch)],
            )
        self.added.append(document_id)
        languages = Counter(c.language for c in new.chunks)
        self._keep(len(new.chunks), sum(key is None for key in new.keys), languages)
        self._forget_failure(folder_id, entry.path)

    def remove(self, document_id: int) -> None:
        """A document and its chunks leave; their vectors are kept until the end of the run, others may want them."""
        rows = self._rows("SELECT key, language FROM chunks WHERE base = %s AND document_id = %s", document_id)
        self._keep(-len(rows), -sum(key is None for key, _ in rows), Counter(language for _, language in rows))
        self._do(
            """INSERT INTO embeddings SELECT base, key, vector FROM ragstone.chunks WHERE base = %s AND document_id = %s
               AND vector IS NOT NULL ON CONFLICT DO NOTHING""",
            document_id,
        )
        self._uncount(document_id)
        for table, column in (("chunks", "document_id"), ("bands", "document_id"), ("documents", "id")):
            self._do(f"DELETE FROM {table} WHERE base = %s AND {column} = %s", document_id)

    def move(self, document_id: int, entry: FileEntry) -> None:
        """A document gets a new path. Its chunks get new ids: the path is part of what they are found by."""
        self.touch(document_id, entry)
        self._uncount(document_id)
        self._do("UPDATE documents SET path = %s WHERE base = %s AND id = %s", document_id, first=[entry.path])
        sql = """SELECT c.id, d.title, c.headings, c.text, c.language FROM ragstone.chunks c
                 JOIN ragstone.documents d ON d.id = c.document_id WHERE c.base = %s AND c.document_id = %s
                 ORDER BY c.id"""
        rows = self.db.execute(sql, [self.base, document_id]).fetchall()
        moved = [
            {"base": self.base, "old": old, "id": i}
            | _words(LexicalRow(i, document_id, entry.path, title, tuple(json.loads(headings)), text, language))
            for i, (old, title, headings, text, language) in zip(self._new_ids(len(rows)), rows, strict=True)
        ]
        with self.db.cursor() as cursor:
            cursor.executemany(
                """UPDATE ragstone.chunks SET id = %(id)s, terms = %(terms)s::tsvector, length = %(length)s
                   WHERE base = %(base)s AND id = %(old)s""",
                moved,
            )
        self.added.append(document_id)

    def touch(self, document_id: int, entry: FileEntry) -> None:
        """Only the file's stat is new."""
        rows = self.db.execute(
            """UPDATE ragstone.documents SET size = %s, mtime_ns = %s, ctime_ns = %s, checked_ns = %s, stale = ''
               WHERE base = %s AND id = %s RETURNING folder_id""",
            [entry.size, entry.mtime_ns, entry.ctime_ns, entry.seen_ns, self.base, document_id],
        ).fetchall()
        self._forget_failure(rows[0][0], entry.path)

    def fail(self, folder_id: int, entry: FileEntry, error: FileError, reader: str) -> None:
        """A file could not be read: what it said last keeps answering, marked stale; it is not tried again as it is."""
        self._forget_failure(folder_id, entry.path)
        self.db.execute(
            "INSERT INTO ragstone.failures VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)",
            [self.base, folder_id, entry.path, entry.size, entry.mtime_ns, entry.ctime_ns, entry.seen_ns,
             stored(error.error), stored(error.hint), reader],
        )  # fmt: skip
        self._do(
            "UPDATE documents SET stale = %s WHERE base = %s AND folder_id = %s AND path = %s", folder_id, entry.path,
            first=[stored(error.error)],
        )  # fmt: skip

    def keep_failures(self, folder_id: int, paths: Collection[str]) -> None:
        """Forget the failures of a folder but those of `paths`."""
        self._do("DELETE FROM failures WHERE base = %s AND folder_id = %s AND path != ALL(%s)", folder_id, list(paths))

    def read_all_again(self, chunker: str) -> None:
        """Have the next run of each folder read all its documents, which then are cut by another chunker."""
        self._do("UPDATE documents SET hash = '', checked_ns = 0 WHERE base = %s")
        self._do("UPDATE meta SET value = %s WHERE base = %s AND key = 'chunker'", first=[chunker])

    def read_again(self, folder_id: int, paths: Collection[str]) -> None:
        """The next run reads these files of a folder as if nobody had; until then, what they said stays."""
        which = "WHERE base = %s AND folder_id = %s AND path = ANY(%s)"
        self._do(f"DELETE FROM failures {which}", folder_id, list(paths))
        self._do(f"UPDATE documents SET hash = '', checked_ns = 0 {which}", folder_id, list(paths))

    def remove_folder(self, folder_id: int) -> int:
        """A folder leaves the knowledge base with all its documents; returns how many there were."""
        ids = [i for (i,) in self._rows("SELECT id FROM documents WHERE base = %s AND folder_id = %s", folder_id)]
        for document_id in ids:
            self.remove(document_id)
        self._do("DELETE FROM failures WHERE base = %s AND folder_id = %s", folder_id)
        self._do("DELETE FROM folders WHERE base = %s AND id = %s", folder_id)
        return len(ids)

    def forget_embeddings(self) -> None:
        """No chunk has a vector any more, until it is given one of another embedder."""
        self._do("DELETE FROM embeddings WHERE base = %s")
        self._do("UPDATE chunks SET vector = NULL WHERE base = %s")
        self._do("DELETE FROM meta WHERE base = %s AND key = 'dimension'")

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.db.execute(sql.replace(" FROM ", " FROM ragstone.", 1).encode(), [self.base, *values]).fetchall()

    def _do(self, sql: str, *values: object, first: Sequence[object] = ()) -> None:
        verb, _, rest = sql.partition(" ")
        into = {"DELETE": "FROM ", "INSERT": "INTO ", "UPDATE": ""}[verb]
        own = f"{verb} {into}ragstone.{rest.removeprefix(into)}".encode()
        self.db.execute(own, [*first, self.base, *values])

    def _new_ids(self, count: int) -> list[int]:
        sql = "SELECT nextval('ragstone.chunk_ids') FROM generate_series(1, %s)"
        return [i for (i,) in self.db.execute(sql, [count]).fetchall()]

    def settle(self) -> None:
        """Count the words of what came; the last thing before the commit."""
        if self.added:
            self._count(self.added, 1)
            self.added.clear()
        if self.gone:
            self._do("DELETE FROM lexemes WHERE base = %s AND chunks <= 0")
            self.gone.clear()

    def _uncount(self, document_id: int) -> None:
        """Have the words of a document not count any more, while its chunks are still there."""
        if document_id in self.added:
            self.added.remove(document_id)
            return
        self._count([document_id], -1)
        self.gone.append(document_id)

    def _count(self, documents: Sequence[int], sign: int) -> None:
        """Keep how many chunks hold each token, and their whole length, as documents come (1) or leave (-1)."""
        values = {"sign": sign, "base": self.base, "documents": documents}
        self.db.execute(
            """INSERT INTO ragstone.lexemes SELECT c.base, u.lexeme, %(sign)s * count(*) FROM ragstone.chunks c,
               unnest(c.terms) u WHERE c.base = %(base)s AND c.document_id = ANY(%(documents)s)
               GROUP BY c.base, u.lexeme ON CONFLICT (base, term)
               DO UPDATE SET chunks = lexemes.chunks + excluded.chunks""",
            values,
        )
        self.db.execute(
            """UPDATE ragstone.meta SET value = (value::bigint + %(sign)s * (SELECT coalesce(sum(length), 0) FROM
               ragstone.chunks WHERE base = %(base)s AND document_id = ANY(%(documents)s)))::text
               WHERE base = %(base)s AND key = 'length'""",
            values,
        )

    def _keep(self, chunks: int, blind: int, languages: Mapping[str, int]) -> None:
        """Keep the counts of all chunks, of those without a vector, and of each language."""
        for key, change in (("chunks", chunks), ("blind_chunks", blind)):
            sql = "UPDATE meta SET value = (value::bigint + %s)::text WHERE base = %s AND key = %s"
            self._do(sql, key, first=[change])
        counts: dict[str, int] = json.loads(
            self._rows("SELECT value FROM meta WHERE base = %s AND key = 'languages'")[0][0]
        )
        for language, count in languages.items():
            counts[language] = counts.get(language, 0) + (count if chunks > 0 else -count)
        present = {language: count for language, count in counts.items() if count}
        self._do("UPDATE meta SET value = %s WHERE base = %s AND key = 'languages'", first=[json.dumps(present)])

    def _forget_failure(self, folder_id: int, path: str) -> None:
        self._do("DELETE FROM failures WHERE base = %s AND folder_id = %s AND path = %s", folder_id, path)


def _words(row: LexicalRow) -> dict[str, object]:
    """A chunk's tokens as a tsvector, and how many they are."""
    words = [stored(word) for word in words_of(row, _NO_WORDS)]
    terms = " ".join(f"{quoted(word)}:{min(count, _MOST)}" for word, count in Counter(words).items())
    return {"terms": terms, "length": len(words)}
