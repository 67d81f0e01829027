"""What a catalog says of chunks and of itself, in SQL that both homes understand."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from core.types import Hit
from retrieval.listing import Listing
from retrieval.transaction import DAMAGED

_HIT_COLUMNS = """c.id, f.path, d.path, d.title, c.page, c.headings, c.start, c."end", c.text, c.language, c.ordinal,
    d.id, c.tokens, d.stale, x.corrections
    FROM chunks c JOIN documents d ON d.id = c.document_id JOIN folders f ON f.id = d.folder_id
    LEFT JOIN choices x ON x.folder_id = d.folder_id AND x.path = d.path"""
_ALL = 1 << 40  # behind the last chunk of any document


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


class Neighbours(NamedTuple):
    """Chunk ids for turning leaves: the passage before and after, and the first of the page before and after."""

    previous: int | None = None
    next: int | None = None
    previous_page: int | None = None
    next_page: int | None = None


class Heading(NamedTuple):
    """The innermost heading of a chunk that is not the document's first; `language` is the chunk's."""

    document_id: int
    title: str
    heading: str
    language: str


class Version(NamedTuple):
    """A document as far as it may be a version of another: `sketch` is its MinHash."""

    document_id: int
    path: str
    mtime_ns: int
    sketch: bytes


class Sketched(NamedTuple):
    """A document as far as others may say the same: its file's hash, and what it is as a version."""

    folder: str
    hash: str
    version: Version


class Reading(Listing):
    """The chunks of one knowledge base."""

    @property
    def generation(self) -> int:
        """Number of the last committed write transaction."""
        return int(self.meta("generation"))

    def meta(self, key: str, default: str = "") -> str:
        """A value of the manifest."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", [key])
        return rows[0][0] if rows else default

    def manifest(self) -> Manifest:
        """Embedder and chunker that made this catalog."""
        return Manifest(*(self.meta(field.name) for field in fields(Manifest)))

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector; as each transaction kept them, where the catalog has that."""
        ((documents,),) = self._rows("SELECT count(*) FROM documents")
        kept = dict(self._rows("SELECT key, CAST(value AS INTEGER) FROM meta WHERE key IN ('chunks', 'blind_chunks')"))
        if len(kept) < 2:
            return self.counted()
        return Counts(documents, kept["chunks"], kept["chunks"] - kept["blind_chunks"])

    def counted(self) -> Counts:
        """The same, counted one by one: seconds for a million chunks."""
        ((documents,),) = self._rows("SELECT count(*) FROM documents")
        ((chunks, blind),) = self._rows("SELECT (SELECT count(*) FROM chunks), count(*) FROM chunks WHERE key IS NULL")
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
        return dict(self._rows(f"SELECT language, count(*) FROM chunks {where} GROUP BY language"))

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """The keys that have no embedding yet."""
        wanted = set(keys)
        for (key,) in self._in("SELECT key FROM embeddings WHERE key IN", list(wanted)):
            wanted.discard(key)
        return wanted

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
        return [_hit(row) for row in self._rows(f"SELECT {_HIT_COLUMNS} {where}", [document_id, first, last])]

    def chunks_of(self, document_id: int) -> list[Hit]:
        """All chunks of a document, in order, as unranked hits."""
        return self.around(document_id, 0, _ALL)

    def chunk_ids(self) -> list[int]:
        """Ids of all chunks, ascending."""
        return [i for (i,) in self._rows("SELECT id FROM chunks ORDER BY id")]

    def neighbours(self, hit: Hit) -> Neighbours:
        """The chunks that one may turn to from a chunk."""
        own, ordinal = hit.document_id, hit.ordinal
        sql = """SELECT (SELECT id FROM chunks WHERE document_id = ? AND ordinal = ?),
                        (SELECT id FROM chunks WHERE document_id = ? AND ordinal = ?),
                        (SELECT min(id) FROM chunks WHERE document_id = ? AND page =
                            (SELECT max(page) FROM chunks WHERE document_id = ? AND page < ?)),
                        (SELECT min(id) FROM chunks WHERE document_id = ? AND page =
                            (SELECT min(page) FROM chunks WHERE document_id = ? AND page > ?))"""
        places = [own, ordinal - 1, own, ordinal + 1, own, own, hit.page, own, own, hit.page]
        return Neighbours._make(self._rows(sql, places)[0])

    def first_chunks(self, count: int) -> list[int]:
        """Ids of so many chunks: those without a vector first, then in order of their keys, which says nothing."""
        return [i for (i,) in self._rows("SELECT id FROM chunks ORDER BY key NULLS FIRST, id LIMIT ?", [count])]

    def headings(self, documents: int, chunks: int) -> list[Heading]:
        """Headings of so many documents that came last, the later one first, each in its own order; of the chunks
        after the first so many.
        """
        sql = """SELECT d.id, d.title, c.headings, c.language FROM
                 (SELECT id, title FROM documents WHERE stale = '' ORDER BY id DESC LIMIT ?) d
                 JOIN chunks c ON c.document_id = d.id WHERE c.ordinal BETWEEN 1 AND ? ORDER BY d.id DESC, c.ordinal"""
        rows = self._rows(sql, [documents, chunks])
        return [Heading(i, title, json.loads(found)[-1], tongue) for i, title, found, tongue in rows if found != "[]"]

    def keys(self) -> dict[bytes, int]:
        """The key of every embedding that chunks use, with the first of these chunks."""
        return {key: i for i, key in self._rows("SELECT id, key FROM chunks WHERE key IS NOT NULL ORDER BY id DESC")}

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

    def sketched(self, count: int) -> list[Sketched]:
        """The so many documents that came last, the latest first, each with its sketch."""
        sql = """SELECT f.path, d.hash, d.id, d.path, d.mtime_ns, d.sketch FROM documents d
                 JOIN folders f ON f.id = d.folder_id ORDER BY d.id DESC LIMIT ?"""
        rows = self._rows(sql, [count])
        return [Sketched(folder, known, Version._make(own)) for folder, known, *own in rows]

    def to_be_read_again(self) -> int:
        """How many documents `mend` left for the next run to read."""
        return self._rows("SELECT count(*) FROM documents WHERE hash = ?", [DAMAGED])[0][0]


def _hit(row: tuple[Any, ...]) -> Hit:
    chunk_id, folder, path, title, page, headings, start, end, text, *rest, corrections = row
    changed = {
        line.strip()
        for _, was, now in json.loads(corrections or "[]")
        for line in {*now.split("\n")} - {*was.split("\n")}
    }
    return Hit(
        0, 0.0, chunk_id, folder, path, title, page, tuple(json.loads(headings)), start, end, text, *rest,
        corrected=any(line and line in text for line in changed),
    )  # fmt: skip
