"""What one transaction may do to a knowledge base in PostgreSQL; as retrieval/transaction.py for SQLite."""

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from core.types import Choice, FileEntry, FileError
from retrieval.changes import LexicalRow
from retrieval.dictionary import Dictionary
from retrieval.lexical import words_of
from retrieval.listing import choice_row
from retrieval.minhash import bands
from retrieval.postgres.generations import parts
from retrieval.transaction import ChunkRow, Indexed, chunk_rows, document_row

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

TOLD = 64  # times that a token stands in a chunk, which its lexeme has as many positions for
_MOST = 16_383  # the highest position, and so how often a token can be told to stand in a chunk
_POSITIONS = [",".join(map(str, range(1, n + 1))) for n in range(TOLD + 1)]
_NO_WORDS = Dictionary()


def stored(text: str) -> str:
    """A text as PostgreSQL can hold it: U+0000 as U+FFFD, which is as long."""
    return text.replace("\x00", "\ufffd")


def _stored(value: object) -> object:
    return stored(value) if isinstance(value, str) else value


def quoted(term: str) -> str:
    """A lexeme as it is written in a tsvector or tsquery."""
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def lexeme(term: str, count: int) -> str:
    """A token that stands so often in a chunk, as a tsvector has it.

    Up to 64 times it has the positions 1 to `count`, of which ts_rank makes a number that tells them apart; beyond, the
    64th position says how often.
    """
    positions = _POSITIONS[count] if count <= TOLD else f"{_POSITIONS[TOLD - 1]},{min(count, _MOST)}"
    return f"{quoted(term)}:{positions}"


@dataclass(frozen=True, slots=True)
class Told:
    """What a chunk is found by: its tokens as a tsvector, how many they are, and how many times each.

    `often` says that one stands there more often than the positions of its lexeme tell.
    """

    chunk_id: int
    document_id: int
    language: str
    terms: str
    counts: Mapping[str, int]

    @classmethod
    def of(cls, row: LexicalRow) -> "Told":
        """What a chunk should be found by."""
        counts = Counter(stored(word) for word in words_of(row, _NO_WORDS))
        terms = " ".join(lexeme(term, count) for term, count in counts.items())
        return cls(row.chunk_id, row.document_id, row.language, terms, counts)

    @property
    def length(self) -> int:
        """How many tokens there are."""
        return sum(self.counts.values())

    @property
    def often(self) -> bool:
        """Whether the positions of a lexeme do not tell how often it stands there."""
        return max(self.counts.values(), default=0) >= TOLD


@dataclass(slots=True)
class Change:
    """What a transaction adds to the counts that are kept; less than nothing where more leaves than comes."""

    documents: int = 0
    chunks: int = 0
    blind: int = 0
    length: int = 0
    languages: Counter[str] = field(default_factory=Counter[str])
    terms: Counter[str] = field(default_factory=Counter[str])  # how many chunks hold each token


@dataclass(frozen=True, slots=True)
class PgWrites:
    """The writes of one transaction; made by `PgCatalog.transaction`."""

    db: "Connection[Any]"
    base: int
    change: Change = field(default_factory=Change)

    def replace(self, folder_id: int, new: Indexed, reader: str = "") -> None:
        """A file's old chunks leave and its new ones arrive together. `reader` names what could not read all of it."""
        sql = "SELECT id FROM documents WHERE base = %s AND folder_id = %s AND path = %s"
        found = self._rows(sql, folder_id, new.entry.path)
        if found:
            self.remove(found[0][0])
        self.insert(document_row(folder_id, new, reader), chunk_rows(new))
        sql = "SELECT tags, date FROM choices WHERE base = %s AND folder_id = %s AND path = %s"
        for tags, date in self._rows(sql, folder_id, new.entry.path):
            self._name(folder_id, new.entry.path, tags, date)
        self._forget_failure(folder_id, new.entry.path)

    def insert(self, document: Mapping[str, Any], chunks: Sequence[ChunkRow]) -> None:
        """A document that is not there yet, by its columns, with its chunks."""
        row: dict[str, Any] = {
            name: stored(value) if isinstance(value, str) else value for name, value in document.items()
        }
        row["tags"] = json.dumps([stored(tag) for tag in json.loads(row["tags"])], ensure_ascii=False)
        row |= {"base": self.base, "day": _day(row["date"], row["mtime_ns"])}
        columns, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        sql = f"INSERT INTO ragstone.documents({columns}) VALUES ({places}) RETURNING id"
        document_id: int = self.db.execute(sql.encode(), row).fetchall()[0][0]
        words = [
            Told.of(
                LexicalRow(
                    0, document_id, row["path"], row["title"], tuple(json.loads(c.headings)), c.text, c.language
                )
            )
            for c in chunks
        ]  # fmt: skip
        values: dict[str, Any] = {
            name: [_stored(value) for value in map(attrgetter(name), chunks)] for name in ChunkRow._fields
        }
        values |= _columns(words)
        self._parts(
            """WITH new AS MATERIALIZED (
                SELECT nextval('ragstone.chunk_ids') AS id, n.* FROM (SELECT * FROM unnest(%(ordinal)s::int[],
                    %(start)s::bigint[], %(end)s::bigint[], %(page)s::int[], %(headings)s::text[],
                    %(language)s::text[], %(tokens)s::int[], %(text)s::text[], %(key)s::bytea[], %(terms)s::text[],
                    %(length)s::int[], %(often)s::bool[]) AS u(ordinal, start, "end", page, headings, language, tokens,
                    text, key, terms, length, often) ORDER BY ordinal) n),
            shown AS (INSERT INTO ragstone.chunks(base, id, document_id, ordinal, start, "end", page, headings,
                language, tokens, text, key) SELECT %(base)s, id, %(document)s, ordinal, start, "end", page, headings,
                language, tokens, text, key FROM new),
            told AS (INSERT INTO ragstone.words(base, id, document_id, length, often, terms, language)
                SELECT %(base)s, id, %(document)s, length, often, terms::tsvector, language FROM new)
            INSERT INTO ragstone.vectors(base, id, document_id, vector, language)
                SELECT %(base)s, id, %(document)s, vector, language FROM (SELECT id, language, coalesce(
                    (SELECT vector FROM ragstone.embeddings e WHERE e.base = %(base)s AND e.key = new.key),
                    (SELECT v.vector FROM ragstone.chunks c JOIN ragstone.vectors v ON v.base = %(base)s
                     AND v.id = c.id WHERE c.base = %(base)s AND c.key = new.key LIMIT 1)) AS vector
                    FROM new WHERE key IS NOT NULL) found WHERE vector IS NOT NULL""",
            values | {"base": self.base, "document": document_id},
        )
        if found := list(bands(document["sketch"])):
            sql = "INSERT INTO ragstone.bands SELECT %s, unnest(%s::bigint[]), %s ON CONFLICT DO NOTHING"
            self.db.execute(sql, [self.base, found, document_id])
        self.change.documents += 1
        self._come([(c.key is None, c.language) for c in chunks], 1)
        self._say(words)

    def remove(self, document_id: int) -> None:
        """A document and its chunks leave; their vectors are kept until the end of the run, others may want them."""
        self._do(
            """INSERT INTO embeddings SELECT c.base, c.key, v.vector FROM ragstone.chunks c JOIN ragstone.vectors v
               ON v.base = c.base AND v.id = c.id WHERE c.base = %s AND c.document_id = %s AND c.key IS NOT NULL
               ON CONFLICT DO NOTHING""",
            document_id,
        )
        self._unsay(document_id)
        where = "WHERE base = %s AND document_id = %s"
        rows = self._rows(f"DELETE FROM chunks {where} RETURNING key IS NULL, language", document_id)
        self._come(rows, -1)
        self.change.documents -= 1
        for table in ("words", "vectors", "bands"):
            self._do(f"DELETE FROM {table} {where}", document_id)
        self._do("DELETE FROM documents WHERE base = %s AND id = %s", document_id)

    def move(self, document_id: int, entry: FileEntry) -> None:
        """A document gets a new path. Its chunks get new ids: the path is part of what they are found by."""
        self.touch(document_id, entry)
        self._unsay(document_id)
        ((folder_id, was),) = self._rows(
            "SELECT folder_id, path FROM documents WHERE base = %s AND id = %s", document_id
        )
        which = "WHERE base = %s AND folder_id = %s AND path = %s"
        if self._rows(f"SELECT 1 FROM choices {which}", folder_id, was):
            self._do(f"DELETE FROM choices {which}", folder_id, entry.path)
            self._do(f"UPDATE choices SET path = %s {which}", folder_id, was, first=[entry.path])
        self._do("UPDATE documents SET path = %s WHERE base = %s AND id = %s", document_id, first=[entry.path])
        sql = """SELECT c.id, d.title, c.headings, c.text, c.language FROM ragstone.chunks c
                 JOIN ragstone.documents d ON d.id = c.document_id WHERE c.base = %s AND c.document_id = %s
                 ORDER BY c.ordinal"""
        rows = self._parts(sql, [self.base, document_id]).fetchall()
        words = [
            Told.of(LexicalRow(i, document_id, entry.path, title, tuple(json.loads(headings)), text, language))
            for i, title, headings, text, language in rows
        ]
        self._parts(
            """WITH new AS MATERIALIZED (SELECT nextval('ragstone.chunk_ids') AS id, u.* FROM unnest(%(old)s::bigint[],
                %(terms)s::text[], %(length)s::int[], %(often)s::bool[]) AS u(old, terms, length, often)),
            shown AS (UPDATE ragstone.chunks c SET id = new.id FROM new WHERE c.base = %(base)s AND c.id = new.old),
            moved AS (UPDATE ragstone.vectors v SET id = new.id FROM new WHERE v.base = %(base)s AND v.id = new.old)
            UPDATE ragstone.words w SET id = new.id, terms = new.terms::tsvector, length = new.length, often = new.often
                FROM new
                WHERE w.base = %(base)s AND w.id = new.old""",
            {"base": self.base, "old": [row[0] for row in rows]} | _columns(words),
        )
        self._say(words)

    def tell(self, words: Sequence[Told]) -> None:
        """What chunks are found by is as it should be; their tokens are not counted."""
        ids = [each.chunk_id for each in words]
        self._parts("DELETE FROM ragstone.words WHERE id = ANY(%s)", [ids])
        self._parts(
            """INSERT INTO ragstone.words(base, id, document_id, language, length, often, terms)
               SELECT %(base)s, u.id, u.document, u.language, u.length, u.often, u.terms::tsvector FROM unnest(
               %(ids)s::bigint[], %(documents)s::bigint[], %(languages)s::text[], %(length)s::int[], %(often)s::bool[],
               %(terms)s::text[]) AS u(id, document, language, length, often, terms)""",
            {"base": self.base, "ids": ids, "documents": [each.document_id for each in words],
             "languages": [each.language for each in words]} | _columns(words),
        )  # fmt: skip

    def touch(self, document_id: int, entry: FileEntry) -> None:
        """Only the file's stat is new."""
        rows = self.db.execute(
            """UPDATE ragstone.documents SET size = %s, mtime_ns = %s, ctime_ns = %s, checked_ns = %s, stale = '',
               day = CASE date WHEN '' THEN %s ELSE date END WHERE base = %s AND id = %s RETURNING folder_id""",
            [entry.size, entry.mtime_ns, entry.ctime_ns, entry.seen_ns, _day("", entry.mtime_ns), self.base,
             document_id],
        ).fetchall()  # fmt: skip
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

    def choose(self, folder_id: int, path: str, choice: Choice) -> None:
        """Keep what somebody chose for a file; the next run does by it. A choice of nothing is forgotten.

        Tags and date hold at once; what the file says of itself in their place, once it was read again.
        """
        self._do("DELETE FROM choices WHERE base = %s AND folder_id = %s AND path = %s", folder_id, path)
        if choice != Choice():
            row = choice_row(choice)
            sql = "INSERT INTO ragstone.choices VALUES (%s,%s,%s,%s,%s,%s,%s,%s)"
            self.db.execute(sql, [self.base, folder_id, path, *row])
            self._name(folder_id, path, row[2], row[3])

    def _name(self, folder_id: int, path: str, tags: str | None, date: str | None) -> None:
        """Give a document the tags, as JSON, and the date that somebody chose for it."""
        which = "WHERE base = %s AND folder_id = %s AND path = %s"
        if tags is not None:
            self._do(f"UPDATE documents SET tags = %s {which}", folder_id, path, first=[tags])
        for (mtime_ns,) in self._rows(f"SELECT mtime_ns FROM documents {which}", folder_id, path):
            if date is not None:
                day = _day(date, mtime_ns)
                self._do(f"UPDATE documents SET date = %s, day = %s {which}", folder_id, path, first=[date, day])

    def leave_out(self, folder_id: int, files: Sequence[FileError]) -> None:
        """Keep which files of a folder were left out, and why, in the place of what was kept of it."""
        self._do("DELETE FROM left_out WHERE base = %s AND folder_id = %s", folder_id)
        by_path = {stored(file.path): file for file in files}
        rows = [(self.base, folder_id, path, stored(file.error), stored(file.hint)) for path, file in by_path.items()]
        with self.db.cursor() as cursor:
            cursor.executemany("INSERT INTO ragstone.left_out VALUES (%s,%s,%s,%s,%s)", rows)

    def remove_folder(self, folder_id: int) -> int:
        """A folder leaves the knowledge base with all its documents; returns how many there were."""
        ids = [i for (i,) in self._rows("SELECT id FROM documents WHERE base = %s AND folder_id = %s", folder_id)]
        for document_id in ids:
            self.remove(document_id)
        for table in ("failures", "choices", "left_out"):
            self._do(f"DELETE FROM {table} WHERE base = %s AND folder_id = %s", folder_id)
        self._do("DELETE FROM folders WHERE base = %s AND id = %s", folder_id)
        return len(ids)

    def forget_embeddings(self) -> None:
        """No chunk has a vector any more, until it is given one of another embedder."""
        self._do("DELETE FROM embeddings WHERE base = %s")
        self._do("DELETE FROM vectors WHERE base = %s")
        self._do("DELETE FROM meta WHERE base = %s AND key = 'dimension'")

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._parts(sql.replace(" FROM ", " FROM ragstone.", 1), [self.base, *values]).fetchall()

    def _parts(self, sql: str, values: Sequence[object] | Mapping[str, object]) -> "Cursor[Any]":
        return self.db.execute(parts(sql, self.base).encode(), values)

    def _do(self, sql: str, *values: object, first: Sequence[object] = ()) -> None:
        verb, _, rest = sql.partition(" ")
        into = {"DELETE": "FROM ", "INSERT": "INTO ", "UPDATE": ""}[verb]
        self._parts(f"{verb} {into}ragstone.{rest.removeprefix(into)}", [*first, self.base, *values])

    def settle(self) -> None:
        """Keep the counts of all that came and left; the last thing before the commit."""
        change = self.change
        sums = {"documents": change.documents, "chunks": change.chunks, "blind_chunks": change.blind,
                "length": change.length}  # fmt: skip
        self.db.execute(
            """UPDATE ragstone.meta m SET value = (m.value::bigint + u.change)::text FROM
               unnest(%s::text[], %s::bigint[]) u(key, change) WHERE m.base = %s AND m.key = u.key AND u.change != 0""",
            [list(sums), list(sums.values()), self.base],
        )
        if any(change.languages.values()):
            ((kept,),) = self._rows("SELECT value FROM meta WHERE base = %s AND key = 'languages'")
            counts = Counter[str](json.loads(kept))
            counts.update(change.languages)
            present = {language: count for language, count in counts.items() if count}
            self._do("UPDATE meta SET value = %s WHERE base = %s AND key = 'languages'", first=[json.dumps(present)])
        changed = sorted(term for term, count in change.terms.items() if count)
        self.db.execute(
            """INSERT INTO ragstone.lexemes SELECT %s, u.* FROM unnest(%s::text[], %s::int[]) u
               ON CONFLICT (base, term) DO UPDATE SET chunks = lexemes.chunks + excluded.chunks""",
            [self.base, changed, [change.terms[term] for term in changed]],
        )
        if fewer := [term for term in changed if change.terms[term] < 0]:
            self._do("DELETE FROM lexemes WHERE base = %s AND chunks <= 0 AND term = ANY(%s)", fewer)
        self.db.execute(
            "UPDATE ragstone.meta SET value = (value::bigint + 1)::text WHERE base = %s AND key = 'generation'",
            [self.base],
        )

    def _say(self, words: Sequence[Told]) -> None:
        """Count the tokens of chunks that come."""
        for each in words:
            self.change.length += each.length
            for term in each.counts:
                self.change.terms[term] += 1

    def _unsay(self, document_id: int) -> None:
        """Have the words of a document not count any more, while its chunks are still there."""
        sql = "SELECT length, tsvector_to_array(terms) FROM words WHERE base = %s AND document_id = %s"
        for length, terms in self._rows(sql, document_id):
            self.change.length -= length
            for term in terms:
                self.change.terms[term] -= 1

    def _come(self, chunks: Sequence[tuple[bool, str]], sign: int) -> None:
        """Count chunks, each as (whether it has no vector, its language), that come (1) or leave (-1)."""
        self.change.chunks += sign * len(chunks)
        self.change.blind += sign * sum(blind for blind, _ in chunks)
        for _, language in chunks:
            self.change.languages[language] += sign

    def _forget_failure(self, folder_id: int, path: str) -> None:
        self._do("DELETE FROM failures WHERE base = %s AND folder_id = %s AND path = %s", folder_id, path)


def _columns(words: Sequence[Told]) -> dict[str, list[Any]]:
    return {
        "terms": [each.terms for each in words],
        "length": [each.length for each in words],
        "often": [each.often for each in words],
    }


def _day(date: str, mtime_ns: int) -> str:
    """The day that a document is of: its own date, or else that of its last change, where it is read."""
    return date or time.strftime("%Y-%m-%d", time.localtime(mtime_ns // 1_000_000_000))
