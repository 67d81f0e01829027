"""Lexical search: BM25 by tantivy over the project's own tokens. A cache of the catalog.

The index on disk has one writer. A reader that is ahead of it (the catalog has moved on, the writer has not committed
yet) keeps the difference in a small index in memory, so that a search always sees what the catalog says.
"""

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CatalogError
from core.files import sync_folder, write_whole
from core.text import TOKENIZER, heading_line, numbered, openings, query_terms, tokens
from core.types import F32, I64
from retrieval.allowed import Allowed
from retrieval.catalog import Catalog
from retrieval.changes import LexicalRow
from retrieval.dictionary import Dictionary
from retrieval.vectors import cause

_STATE = "ragstone.json"
_FIELDS = "fields-2"  # what a chunk is indexed by; an index of other fields is made anew
_HEAP = 64_000_000  # bytes the writer may fill before it starts a segment
_SMALL_HEAP = 15_000_000  # the least that tantivy takes: what readers hold in memory is little
_NUMBERED = 3.0  # weight of an article that a question names by its number, where it begins (dev/LOG.md)
_MAX_TERMS = 256  # of a question; more only costs time
_REBUILD_BELOW = 5_000  # chunks: up to here a rebuild takes well under a second
# Among a million chunks, 100 hits more are found in the time in which a limit names some 50 documents, or goes through
# 10,000 chunks that it lets through (dev/LOG.md).
_NAMED = 2
_PASSED = 1 / 100
_SPARE = 1.5  # times as many hits are looked at as hold k allowed ones where these lie anywhere
_DEEPER = 16


class Lexical:
    """A BM25 index that stands at a generation of the catalog."""

    def __init__(self, folder: Path, dictionary: Dictionary) -> None:
        self.folder = folder
        self.dictionary = dictionary
        self._tokenizer = " ".join(filter(None, [TOKENIZER, _FIELDS, dictionary.identity]))
        self._disk: Any = None
        self._memory: Any = None
        self._seen = (-1, -1)  # generations of the catalog and of the index on disk that `search` shows
        self._hidden: set[int] = set()

    @property
    def generation(self) -> int:
        """Generation of the index on disk; 0 where there is none that can be used."""
        state = self._state()
        return int(state["generation"]) if state.get("tokenizer") == self._tokenizer else 0

    def catch_up(self, catalog: Catalog) -> None:
        """Bring the index on disk to the catalog's generation. Only the holder of the writer lock may call this."""
        if not self._open():
            self.rebuild(catalog)
            return
        with self._told():
            generation = self._write(self.folder, self._disk, self._state(), catalog)
            self._disk.reload()
        self._memory, self._seen, self._hidden = None, (generation, generation), set()

    def rebuild(self, catalog: Catalog) -> None:
        """Make the index on disk anew. Only the holder of the writer lock may call this.

        It is made beside the old one: tantivy follows the files on disk, and so would a reader an index half made.
        """
        import tantivy

        made, old = (self.folder.with_name(f"{self.folder.name}{end}.writing") for end in ("", ".old"))
        with self._told():
            for left in (made, old):
                if left.exists():
                    shutil.rmtree(left)
            made.mkdir(parents=True)
            generation = self._write(made, tantivy.Index(_schema(), str(made)), {}, catalog)
            if self.folder.exists():
                self.folder.replace(old)
            made.replace(self.folder)
            sync_folder(self.folder.parent)
            shutil.rmtree(old, ignore_errors=True)
            self._disk = tantivy.Index.open(str(self.folder))
        self._memory, self._seen, self._hidden = None, (generation, generation), set()

    def _write(self, folder: Path, index: Any, state: Mapping[str, Any], catalog: Catalog) -> int:
        """Write what the index lacks; `state` says what it holds. The generation that it stands at then."""
        since = int(state.get("generation", 0))
        writer = index.writer(_HEAP, 1)
        with catalog.snapshot():
            generation = catalog.generation
            removed = catalog.removed_since(since)
            dead, total = int(state.get("dead", 0)) + len(removed), catalog.counts().chunks
            clean = writer.commit_opstamp == state.get("opstamp", 0)
            behind_log = since < int(catalog.meta("log_starts", "0"))
            if behind_log or not clean or dead > (0 if total <= _REBUILD_BELOW else total // 4):
                # BM25 counts deleted chunks until they are merged away; starting anew makes it exact again.
                writer.delete_all_documents()
                since, dead, removed = 0, 0, []
            for chunk_id in removed:
                writer.delete_documents_by_term("id", chunk_id)
            self._add(writer, index.schema, catalog.lexical_since(since))
            opstamp = writer.commit()
        writer.wait_merging_threads()
        written = {"generation": generation, "opstamp": opstamp, "dead": dead, "tokenizer": self._tokenizer}
        write_whole(folder / _STATE, json.dumps(written))
        return generation

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise CatalogError(
                f"the lexical index in {str(self.folder)!r} could not be written: {cause(error)}",
                "check free space and permissions; nothing is lost, and the next run catches it up",
            ) from error

    def follow(self, catalog: Catalog) -> None:
        """See what the catalog says now without writing: what the index on disk lacks is held in memory."""
        import tantivy

        if self._seen == (catalog.generation, self.generation):
            return
        with catalog.snapshot():
            generation, since = catalog.generation, self.generation
            seen = (generation, since)
            if since < int(catalog.meta("log_starts", "0")) or not self._open():
                since, self._disk = 0, None
            memory = tantivy.Index(_schema())
            writer = memory.writer(_SMALL_HEAP, 1)
            self._add(writer, memory.schema, catalog.lexical_since(since))
            writer.commit()
            memory.reload()
            self._hidden = set(catalog.removed_since(since)) if self._disk else set()
        self._memory, self._seen = memory, seen

    def search(self, terms: Mapping[str, float], k: int, among: Allowed | None = None) -> list[tuple[int, float]]:
        """The k best chunks for search tokens, each with its weight: (id, BM25 score), best first.

        Only chunks that hold at least one term are returned; of these, where a limit is given, only those `among` it.
        """
        found: dict[int, float] = {}
        most = dict(islice(terms.items(), _MAX_TERMS))
        if k <= 0 or not most or (among is not None and not len(among)):
            return []
        for index in self._parts():
            words, wanted = _words(index, most), k + len(self._hidden)
            hits = _best(index, words, wanted) if among is None else self._best_among(index, words, wanted, among)
            for chunk_id, score in zip(*(part.tolist() for part in hits), strict=True):
                if chunk_id not in self._hidden:
                    found.setdefault(chunk_id, score)  # the disk may be ahead of what memory was made for
        return sorted(found.items(), key=lambda item: -item[1])[:k]

    def _best_among(self, index: Any, words: Any, k: int, among: Allowed) -> tuple[I64, F32]:
        """The k best of those allowed, in one of two ways that find the same.

        Many allowed are soon met among the best of all, which tantivy finds without a look at most others; few, or
        those that keep to the end of the ranking, are named to it.
        """
        total = max(int(index.searcher().num_docs), 1)
        cost = _NAMED * len(among.named) + _PASSED * len(among)
        depth = min(math.ceil(_SPARE * k * max(total / len(among), 1)), total)
        while depth < cost:
            ids, scores = _best(index, words, depth)
            kept = np.flatnonzero(among.hold(ids))[:k]
            if len(kept) == k or len(ids) < depth or depth == total:
                return ids[kept], scores[kept]
            depth = min(depth * _DEEPER, total)
        ids, scores = _best(index, _limited(index, words, among), k)
        kept = among.hold(ids)  # the disk may be ahead of what the limit was made for
        return ids[kept], scores[kept]

    def document_frequency(self, term: str) -> int:
        """How many chunks hold a search token."""
        return sum(int(index.searcher().doc_freq("body", term)) for index in self._parts())

    def __len__(self) -> int:
        return sum(int(index.searcher().num_docs) for index in self._parts())

    def problems(self, catalog: Catalog) -> list[str]:
        """What keeps chunks from being searched by words; empty when all is well. Each is read as a search reads it."""
        bad: list[str] = []
        for row in chain.from_iterable(catalog.lexical_since(0)):
            try:
                words_of(row, self.dictionary)
            except Exception as error:  # whatever it is, every search would end with it
                bad.append(f"{row.path!r}: {error!r}")
        return [f"{len(bad)} chunks cannot be searched by words, such as one of {bad[0]}"] if bad else []

    def finds(self, catalog: Catalog) -> bool:
        """Whether a search for the words of a chunk finds anything; what the index on disk lacks is held in memory."""
        self.follow(catalog)
        rows = next(catalog.lexical_since(0), [])
        words = words_of(rows[-1], self.dictionary) if rows else []
        return not words or bool(self.search(dict.fromkeys(words, 1.0), 1))

    def _add(self, writer: Any, schema: Any, batches: Iterable[list[LexicalRow]]) -> None:
        import tantivy

        for rows in batches:
            for row in rows:
                fields = {"id": row.chunk_id, "document": row.document_id, "language": row.language}
                fields["body"] = " ".join(words_of(row, self.dictionary))
                writer.add_document(tantivy.Document.from_dict(fields, schema))

    def _parts(self) -> list[Any]:
        return [index for index in (self._disk, self._memory) if index is not None]

    def _open(self) -> bool:
        """Open, or reopen, the index on disk; False where there is none or it is damaged."""
        import tantivy

        if self._state().get("tokenizer") != self._tokenizer:
            return False
        try:
            if self._disk is None:
                self._disk = tantivy.Index.open(str(self.folder))
            self._disk.reload()
        except ValueError:
            return False
        return True

    def _state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / _STATE).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"tokenizer": "damaged"}
        except OSError as error:
            raise CatalogError(f"{str(self.folder)!r} could not be read: {cause(error)}", "check the disk") from error


def sought(question: str, dictionary: Dictionary) -> dict[str, float]:
    """The search tokens of a question with their weights, those of the dictionary included."""
    named = dict.fromkeys(numbered(question), _NUMBERED)
    return query_terms(question) | named | dict.fromkeys(dictionary.names(question), 1.0)


def words_of(row: LexicalRow, dictionary: Dictionary) -> list[str]:
    """The tokens that a chunk is found by: those of its file's name, its title and headings, and its text."""
    name = row.path.rsplit("/", 1)[-1]
    whole = f"{name}\n{heading_line(row.title, row.headings)}\n{row.text}"
    return [*tokens(whole), *openings(row.text), *dictionary.names(whole)]


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    builder.add_unsigned_field("document", indexed=True)
    builder.add_text_field("language", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _words(index: Any, terms: Mapping[str, float]) -> Any:
    """A query for chunks that hold any of the terms."""
    import tantivy

    words = [_weighted(tantivy.Query.term_query(index.schema, "body", t, "freq"), w) for t, w in terms.items()]
    return tantivy.Query.boolean_query([(tantivy.Occur.Should, word) for word in words])


def _weighted(query: Any, weight: float) -> Any:
    import tantivy

    return query if weight == 1.0 else tantivy.Query.boost_query(query, weight)


def _limited(index: Any, words: Any, among: Allowed) -> Any:
    """The query, limited to what is allowed; scores are as without a limit."""
    from tantivy import Occur, Query

    def any_of(field: str, values: Sequence[object]) -> Any:
        return Query.const_score_query(Query.term_set_query(index.schema, field, values), 0.0)

    limit = any_of(among.field, among.named.tolist())
    parts = [(Occur.Must, words), (Occur.Must if among.these else Occur.MustNot, limit)]
    if among.languages:
        parts.append((Occur.Must, any_of("language", among.languages)))
    return Query.boolean_query(parts)


def _best(index: Any, query: Any, k: int) -> tuple[I64, F32]:
    """The k best matches of a query: ids and scores, best first."""
    searcher = index.searcher()
    hits = searcher.search(query, max(min(k, int(searcher.num_docs)), 1), count=False).hits
    ids = searcher.fast_field_values("id", [address for _, address in hits])
    return np.asarray(ids, np.int64), np.asarray([score for score, _ in hits], np.float32)
