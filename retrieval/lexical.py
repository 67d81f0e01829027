"""Lexical search: BM25 by tantivy over the project's own tokens. A cache of the catalog.

The index on disk has one writer. A reader that is ahead of it (the catalog has moved on, the writer has not committed
yet) keeps the difference in a small index in memory, so that a search always sees what the catalog says.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import CatalogError
from core.files import write_whole
from core.text import TOKENIZER, heading_line, numbered, openings, query_terms, tokens
from core.types import I64
from retrieval.catalog import Catalog, LexicalRow
from retrieval.dictionary import Dictionary
from retrieval.vectors import cause

_STATE = "ragstone.json"
_HEAP = 64_000_000  # bytes the writer may fill before it starts a segment
_SMALL_HEAP = 15_000_000  # the least that tantivy takes: what readers hold in memory is little
_NUMBERED = 3.0  # weight of an article that a question names by its number, where it begins (dev/LOG.md)
_MAX_TERMS = 256  # of a question; more only costs time
_REBUILD_BELOW = 5_000  # chunks: up to here a rebuild takes well under a second


class Lexical:
    """A BM25 index that stands at a generation of the catalog."""

    def __init__(self, folder: Path, dictionary: Dictionary) -> None:
        self.folder = folder
        self.dictionary = dictionary
        self._tokenizer = " ".join(filter(None, [TOKENIZER, dictionary.identity]))
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
        try:
            state = self._prepare()
            since = int(state.get("generation", 0))
            writer = self._disk.writer(_HEAP, 1)
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
                self._add(writer, self._disk.schema, catalog.lexical_since(since))
                opstamp = writer.commit()
            writer.wait_merging_threads()
            state = {"generation": generation, "opstamp": opstamp, "dead": dead, "tokenizer": self._tokenizer}
            self._write_state(state)
            self._disk.reload()
        except (OSError, ValueError) as error:
            raise CatalogError(
                f"the lexical index in {str(self.folder)!r} could not be written: {cause(error)}",
                "check free space and permissions; nothing is lost, and the next run catches it up",
            ) from error
        self._memory, self._seen, self._hidden = None, (generation, generation), set()

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

    def terms(self, question: str) -> dict[str, float]:
        """The search tokens of a question with their weights, those of the dictionary included."""
        named = dict.fromkeys(numbered(question), _NUMBERED)
        return query_terms(question) | named | dict.fromkeys(self.dictionary.names(question), 1.0)

    def search(self, terms: Mapping[str, float], k: int, among: I64 | None = None) -> list[tuple[int, float]]:
        """The k best chunks for search tokens, each with its weight: (id, BM25 score), best first.

        Only chunks that hold at least one term are returned; of these, where ids are given, only those `among` them.
        """
        found: dict[int, float] = {}
        most = dict(islice(terms.items(), _MAX_TERMS))
        for index in self._parts():
            limit = None if among is None else _limit(index, among)
            for chunk_id, score in _search(index, most, k + len(self._hidden), limit):
                if chunk_id not in self._hidden:
                    found.setdefault(chunk_id, score)  # the disk may be ahead of what memory was made for
        return sorted(found.items(), key=lambda item: -item[1])[:k]

    def document_frequency(self, term: str) -> int:
        """How many chunks hold a search token."""
        return sum(int(index.searcher().doc_freq("body", term)) for index in self._parts())

    def __len__(self) -> int:
        return sum(int(index.searcher().num_docs) for index in self._parts())

    def _add(self, writer: Any, schema: Any, batches: Iterable[list[LexicalRow]]) -> None:
        import tantivy

        for rows in batches:
            for row in rows:
                name = row.path.rsplit("/", 1)[-1]
                whole = f"{name}\n{heading_line(row.title, row.headings)}\n{row.text}"
                words = [*tokens(whole), *openings(row.text), *self.dictionary.names(whole)]
                writer.add_document(tantivy.Document.from_dict({"id": row.chunk_id, "body": " ".join(words)}, schema))

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

    def _prepare(self) -> dict[str, Any]:
        """Open the index for writing; one that is missing, damaged or differently tokenized starts empty."""
        import tantivy

        if self._open():
            return self._state()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self._disk = tantivy.Index(_schema(), str(self.folder))
        return {}

    def _state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / _STATE).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"tokenizer": "damaged"}
        except OSError as error:
            raise CatalogError(f"{str(self.folder)!r} could not be read: {cause(error)}", "check the disk") from error

    def _write_state(self, state: dict[str, Any]) -> None:
        write_whole(self.folder / _STATE, json.dumps(state))


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    builder.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _limit(index: Any, among: I64) -> Any:
    """A query that only chunks with these ids match."""
    import tantivy

    ids = tantivy.Query.term_set_query(index.schema, "id", among.tolist())
    return tantivy.Query.const_score_query(ids, 0.0)


def _search(index: Any, terms: Mapping[str, float], k: int, limit: Any) -> list[tuple[int, float]]:
    import tantivy

    searcher = index.searcher()
    most = min(k, int(searcher.num_docs))
    if not terms or most == 0:
        return []
    words = [_weighted(tantivy.Query.term_query(index.schema, "body", t, "freq"), w) for t, w in terms.items()]
    query = tantivy.Query.boolean_query([(tantivy.Occur.Should, word) for word in words])
    if limit is not None:
        query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, limit)])
    hits = searcher.search(query, most, count=False).hits
    ids = searcher.fast_field_values("id", [address for _, address in hits])
    return [(int(i), float(score)) for i, (score, _) in zip(ids, hits, strict=True)]


def _weighted(query: Any, weight: float) -> Any:
    import tantivy

    return query if weight == 1.0 else tantivy.Query.boost_query(query, weight)
