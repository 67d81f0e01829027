"""The two caches of a catalog in a SQLite file: FAISS for vectors, tantivy for words; a `Store`.

Both carry the catalog's generation. They are brought up to it by what changed, on disk by who writes, in memory by who
reads, so that a search always sees what the catalog says.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.errors import CatalogError
from core.types import F32
from retrieval import dictionary, segments
from retrieval.allowed import Allowed
from retrieval.catalog import Catalog
from retrieval.dictionary import Dictionary
from retrieval.filters import Filter, Filters
from retrieval.home import writer_lock
from retrieval.lexical import Lexical
from retrieval.vectors import Vectors, damaged, has_form

log = logging.getLogger(__name__)

_UNSAVED = 200  # chunks that may have changed since the lexical index was saved: a reader adds them in some 20 ms
_LEAST_RECALL = 0.95  # of dense search among the ten nearest; below, `verify` says so
_SAVE_EVERY = 0.1  # share of the vectors that may be new before the FAISS file is written again


class Caches:
    """What one generation of a knowledge base is searched by. Safe to use from many threads."""

    def __init__(self, home: Path, catalog: Catalog, exact_below: int) -> None:
        self.home = home
        self.folder = catalog.file.parent
        self.catalog = catalog
        self._exact_below = exact_below
        self._vectors: Vectors | None = None
        self._dictionary_file = home / dictionary.FILE
        self._dictionary_stamp = -1
        self._lexical = Lexical(self.folder / "lexical", Dictionary())
        self._filters = Filters()
        self._mutex = threading.RLock()

    on_server = False

    @property
    def dictionary(self) -> Dictionary:
        """The knowledge base's own words, as last read."""
        return self._lexical.dictionary

    def follow(self) -> None:
        """Bring both caches to the catalog's generation; on disk where no writer is at work, else in memory."""
        with self._mutex:
            self._load_dictionary()
            if self._lexical.generation < self.catalog.generation:
                with self._try_lock() as alone:
                    if alone:
                        self._save_lexical()
            self._lexical.follow(self.catalog)
            self._loaded().catch_up(self.catalog)

    def _load_dictionary(self) -> None:
        file = self._dictionary_file
        stamp = file.stat().st_mtime_ns if file.exists() else 0
        if stamp != self._dictionary_stamp:
            self._lexical = Lexical(self.folder / "lexical", dictionary.load(file))
            self._dictionary_stamp = stamp

    def _save_lexical(self) -> None:
        try:
            self._lexical.catch_up(self.catalog)
        except CatalogError as error:  # nothing that a search needs
            log.warning("%s", error)

    def dense(self, vector: F32, k: int, where: Filter | Allowed | None = None) -> list[tuple[int, float]]:
        """(chunk id, cosine) of the k nearest chunks, or of the k nearest within a limit; best first."""
        with self._mutex:
            vectors = self._loaded()
            return vectors.search(vector, k, self.among(where)) if vectors.dimension else []

    def lexical(
        self, terms: Mapping[str, float], k: int, where: Filter | Allowed | None = None
    ) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks that hold a term, or of those within a limit; best first."""
        with self._mutex:
            return self._lexical.search(terms, k, self.among(where))

    def among(self, where: Filter | Allowed | None) -> Allowed | None:
        """The chunks that a limit lets through; None where it lets all through."""
        if where is None or isinstance(where, Allowed):
            return where
        if where.empty:
            return None
        with self._mutex:
            return self._filters.allowed(self.catalog, where)

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many chunks there are, and how many of them hold each term."""
        with self._mutex:
            return len(self._lexical), {term: self._lexical.document_frequency(term) for term in terms}

    def _loaded(self) -> Vectors:
        if self._vectors is None or not self._vectors.dimension:  # 0: the catalog had no vector yet
            dimension = int(self.catalog.meta("dimension", "0"))
            self._vectors = Vectors.load(self._vectors_file, dimension, self._exact_below)
        return self._vectors

    @property
    def _vectors_file(self) -> Path:
        return self.folder / "vectors.faiss"

    def save(self, *, whole: bool = False) -> None:
        """Save the caches where enough has changed since they were saved, or in any case; readers add the rest.

        Only the holder of the writer lock may call this.
        """
        saved = int(self.catalog.meta("vectors_saved", "0"))
        with self._mutex:
            self._load_dictionary()
            behind = self._lexical.generation
            if behind < self.catalog.generation and (
                whole or not behind or self.catalog.changes_since(behind) > _UNSAVED
            ):
                self._lexical.catch_up(self.catalog)
            if self._vectors is None and not self.catalog.changes_since(saved) and has_form(self._vectors_file):
                return  # nothing to write, and nobody searches here yet: do not read it
            vectors = self._loaded()
            vectors.catch_up(self.catalog)
        if vectors.outgrown:  # takes seconds or more: searches go on with the old one
            vectors = Vectors(vectors.dimension, vectors.exact_below)
            vectors.catch_up(self.catalog)
        with self._mutex:
            self._vectors = vectors
            if whole or self.catalog.changes_since(saved) > _SAVE_EVERY * len(vectors) or not vectors.on_disk:
                vectors.save(self._vectors_file)
                self.catalog.set_meta("vectors_saved", str(vectors.generation))
                self.catalog.forget_removed(min(vectors.generation, self._lexical.generation))

    @contextmanager
    def _try_lock(self) -> Iterator[bool]:
        with ExitStack() as stack:
            try:
                stack.enter_context(writer_lock(self.home, wait=False))
            except CatalogError:
                yield False
            else:
                yield True

    def problems(self) -> list[str]:
        """What is wrong with the caches on disk; where they were never saved, as after a restore, nothing is."""
        problems: list[str] = []
        saved, counts = self.catalog.meta("vectors_saved", "0") != "0", self.catalog.counts()
        if damaged(self._vectors_file):
            problems.append("vectors.faiss does not match its checksum")
        elif saved and not self._vectors_file.exists():
            problems.append("vectors.faiss is missing")
        if saved:
            problems += segments.problems(self.folder / "lexical", self.catalog)
        unread = self._lexical.problems(self.catalog)
        with self._mutex:
            if not problems and not unread and not self._lexical.finds(self.catalog):
                problems.append("lexical/ finds none of the words that the chunks hold")
            self._vectors = None  # so that what is on disk is looked at
            vectors = self._loaded()
            if 0 < vectors.generation < int(self.catalog.meta("log_starts", "0")):
                problems.append("vectors.faiss is too far behind the catalog to be caught up")
            vectors.catch_up(self.catalog)
            if len(vectors) != counts.dense:
                problems.append(f"{len(vectors)} vectors are searchable, the catalog holds {counts.dense}")
        if (recall := self.recall()) < _LEAST_RECALL:
            problems.append(
                f"approximate search finds {recall:.0%} of the nearest chunks; `ragstone verify --repair` makes its "
                "index anew, a higher retrieval.exact_below makes it exact"
            )
        return problems + unread

    def recall(self) -> float:
        """Share of the ten nearest chunks that dense search finds, against exact search; measured once a generation."""
        with self._mutex:
            return self._loaded().recall(self.catalog)

    def rebuild(self) -> None:
        """Build both caches anew from the catalog. Only the holder of the writer lock may call this."""
        with self._mutex:
            self._vectors_file.unlink(missing_ok=True)
            self._vectors = None
            self._lexical.rebuild(self.catalog)
            self.save(whole=True)
