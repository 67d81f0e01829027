"""An open knowledge base: the catalog, its two caches, and what was made with which embedder and chunker."""

import json
import logging
import math
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.config import IngestConfig
from core.errors import CatalogError
from core.types import F32, Hit
from retrieval import check, dictionary, segments, tuning
from retrieval.allowed import Allowed
from retrieval.background import Background
from retrieval.catalog import Catalog, Counts, Manifest
from retrieval.dictionary import Dictionary
from retrieval.embed import Embedder
from retrieval.filters import Filter, Filters
from retrieval.home import check_name, current, following, names, no_writer, set_current, swap, writer_lock
from retrieval.lexical import Lexical
from retrieval.made import begun, keeps_default, made_by, manifest, plain
from retrieval.migrations import upgrade
from retrieval.tuning import Tuning
from retrieval.vectors import Vectors, damaged, has_form

log = logging.getLogger(__name__)

_UNSAVED = 200  # chunks that may have changed since the lexical index was saved: a reader adds them in some 20 ms
_LEAST_RECALL = 0.95  # of dense search among the ten nearest; below, `verify` says so
_QUESTIONS = 32  # whose vectors are remembered
_SAVE_EVERY = 0.1  # share of the vectors that may be new before the FAISS file is written again


def chunker_identity(splitter: str, cfg: IngestConfig) -> str:
    """Names the chunker and its settings."""
    return f"{splitter} {cfg.chunk_tokens}+{cfg.chunk_overlap}"


class Index:
    """An open knowledge base. Searching is safe from many threads, also while one of them writes."""

    def __init__(self, home: Path, folder: Path, embedder: Embedder) -> None:
        self.home = home
        self.folder = folder
        self.embedder = embedder
        self.catalog = Catalog(folder / "catalog.sqlite")
        self._vectors: Vectors | None = None
        self._dictionary_file = home / dictionary.FILE
        self._dictionary_stamp = -1
        self._lexical = Lexical(folder / "lexical", Dictionary())
        self._background: Background | None = None
        self._questions: dict[str, F32] = {}
        self._filters = Filters()
        self._mutex = threading.RLock()

    @property
    def name(self) -> str:
        """The knowledge base's name."""
        return self.home.name

    @classmethod
    def open(cls, data: Path, name: str, embedder: Embedder) -> "Index":
        """Open a knowledge base to search it. Raises `CatalogError` where there is none or it cannot be used."""
        home = data / check_name(name)
        generation = check.answering(home)
        if generation is None:
            there = ", ".join(names(data)) or "none"
            if not data.is_dir():
                raise CatalogError(
                    f"there is no knowledge base {name!r}: the data folder {str(data)!r} is not there",
                    f"mount it, or set RAGSTONE_DATA; `ragstone index FOLDER --kb {name}` makes a new one",
                )
            raise CatalogError(
                f"there is no knowledge base {name!r} in {str(data)!r} (there: {there})",
                f"make it with `ragstone index FOLDER --kb {name}`",
            )
        upgrade(home, generation)
        index = cls(home, home / generation, embedder)
        if keeps_default(index.catalog, embedder):
            index.embedder = index._own_embedder()
        elif not made_by(data, index.catalog, embedder):
            index.embedder = index._own_embedder()
            hint = index._rebuild_hint()
            log.warning("knowledge base %r answers with %r until %s", name, index.embedder.name, hint)
        return index

    @classmethod
    def open_or_create(cls, data: Path, name: str, embedder: Embedder, chunker: str) -> "Index":
        """Open a knowledge base to write it; an absent one is made."""
        home = data / check_name(name)
        if check.answering(home) is None:
            wanted = manifest(data, embedder, chunker)  # an embedder that is not there leaves no folder behind
            with writer_lock(home):
                if current(home) is None:
                    cls.create(home, "g0001", wanted)
                    set_current(home, "g0001")
        generation = current(home) or ""
        upgrade(home, generation)
        index = cls(home, home / generation, embedder)
        index.check_writable(embedder, chunker)
        if keeps_default(index.catalog, embedder):
            index.embedder = index._own_embedder()
        return index

    @classmethod
    def create(cls, home: Path, generation: str, manifest: Manifest) -> None:
        """Make an empty generation folder; what an earlier attempt left there is removed."""
        shutil.rmtree(home / generation, ignore_errors=True)
        catalog = Catalog.create(home / generation / "catalog.sqlite")
        catalog.set_manifest(manifest)
        catalog.close()

    @classmethod
    def open_next(cls, data: Path, name: str, embedder: Embedder, chunker: str) -> "Index":
        """The generation that is built beside the one that answers.

        One that was begun with the same embedder and chunker is gone on with.
        """
        home = data / check_name(name)
        wanted = manifest(data, embedder, chunker)
        generation = following(home)
        last = f"g{int(generation[1:]) - 1:04d}"
        if not (home / "CURRENT").exists() and begun(home / last / "catalog.sqlite", wanted):
            generation = last
        if not begun(home / generation / "catalog.sqlite", wanted):
            cls.create(home, generation, wanted)
        return cls(home, home / generation, embedder)

    def promote(self, keep: int = 0) -> bool:
        """Let this generation answer from now on, in one rename; of those before it, the last `keep` stay.

        None does where the disk has no room for another like this one; returns whether it has.
        """
        return swap(self.home, self.folder.name, keep)

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now, so that this index should be opened anew."""
        return current(self.home) != self.folder.name

    def close(self) -> None:
        """Close the catalog's connections."""
        self.catalog.close()

    def check_writable(self, embedder: Embedder, chunker: str) -> None:
        """Raise `CatalogError` where vectors or chunks were made otherwise than the configuration asks for."""
        made = self.catalog.manifest()
        if not keeps_default(self.catalog, embedder) and not made_by(self.home.parent, self.catalog, embedder):
            raise CatalogError(
                f"knowledge base {self.name!r} was embedded by {made.embedder_name!r}, "
                f"the configuration asks for {embedder.name!r} (or other files, revision or prompts of it)",
                f"set retrieval.embedder back, or re-embed: {self._rebuild_hint()}",
            )
        if plain(made.chunker) != plain(chunker):
            raise CatalogError(
                f"knowledge base {self.name!r} was cut by {made.chunker!r}, the configuration asks for {chunker!r}",
                f"set ingest.chunk_tokens and chunk_overlap back, or cut again: {self._rebuild_hint()}",
            )

    def _own_embedder(self) -> Embedder:
        """The embedder that this knowledge base was made with, where it is still to be had: it goes on answering."""
        made = self.catalog.manifest()
        own = Embedder(self.embedder.cfg.model_copy(update=json.loads(made.embedder_settings)))
        if not made_by(self.home.parent, self.catalog, own):
            raise CatalogError(
                f"knowledge base {self.name!r} was embedded by {made.embedder_name!r}, whose files are not the same",
                f"re-embed it: {self._rebuild_hint()}",
            )
        return own

    def _rebuild_hint(self) -> str:
        folder = next(iter(self.catalog.folders()), "FOLDER")
        return f"`ragstone index {folder} --kb {self.name} --rebuild`"

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector."""
        return self.catalog.counts()

    def refresh(self) -> None:
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

    def dense(self, vector: F32, k: int, among: Allowed | None = None) -> list[tuple[int, float]]:
        """(chunk id, cosine) of the k nearest chunks, or of the k nearest that are `among`."""
        with self._mutex:
            return self._loaded().search(vector, k, among)

    def vector(self, question: str) -> F32:
        """The vector of a question; that of the last ones is remembered, since a search and its answer ask for it."""
        if len(self._questions) > _QUESTIONS:
            self._questions = {}
        if (found := self._questions.get(question)) is None:
            found = self._questions[question] = self.embedder.embed_query(question)
        return found

    def forget_questions(self) -> None:
        """Forget the vectors of questions, so that the time of a search counts what it takes to make them."""
        self._questions = {}

    @property
    def background(self) -> Background:
        """What is near any question anyway."""
        if self._background is None or self._background.generation != self.catalog.generation:
            self._background = Background(self.catalog, self.embedder)
        return self._background

    def languages(self) -> list[str]:
        """The languages that at least a twentieth of the chunks is written in, the most common first."""
        counts = self.catalog.languages()
        return [code for code, count in counts.items() if code != "und" and 20 * count >= sum(counts.values())]

    def tuning(self) -> Tuning:
        """What was calibrated for this knowledge base."""
        return tuning.load(self.home / tuning.FILE)

    @property
    def dictionary(self) -> Dictionary:
        """The knowledge base's own words, as last read."""
        return self._lexical.dictionary

    def terms(self, question: str) -> dict[str, float]:
        """What the lexical search looks for: the question's tokens with their weights."""
        return self._lexical.terms(question)

    def lexical(self, terms: Mapping[str, float], k: int, among: Allowed | None = None) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks that hold a term, or of those that are `among`."""
        with self._mutex:
            return self._lexical.search(terms, k, among)

    def among(self, where: Filter | None) -> Allowed | None:
        """The chunks that a filter lets through; None where it lets all through."""
        if where is None or where.empty:
            return None
        with self._mutex:
            return self._filters.allowed(self.catalog, where)

    def idf(self, terms: Iterable[str]) -> dict[str, float]:
        """Weight of each search token by its rarity: ln(1 + (N - df + 0.5) / (df + 0.5)), as BM25 has it."""
        with self._mutex:
            total = len(self._lexical)
            frequencies = {term: self._lexical.document_frequency(term) for term in terms}
        return {term: _idf(df, total) for term, df in frequencies.items()}

    def idf_of_rare(self, share: float, least: int) -> float:
        """The weight of a term that this share of the chunks holds, or `least` of them where these are more."""
        with self._mutex:
            total = len(self._lexical)
        return _idf(max(least, share * total), total)

    def hits(self, chunk_ids: Sequence[int]) -> dict[int, Hit]:
        """The chunks that the catalog still holds, by id."""
        return self.catalog.hits(chunk_ids)

    def _loaded(self) -> Vectors:
        if self._vectors is None:
            dimension = int(self.catalog.meta("dimension", "0")) or self.embedder.dimension
            self._vectors = Vectors.load(self._vectors_file, dimension, self.embedder.cfg.exact_below)
        return self._vectors

    @property
    def _vectors_file(self) -> Path:
        return self.folder / "vectors.faiss"

    @contextmanager
    def writing(self) -> Iterator[Catalog]:
        """Hold the writer lock; at the end, even after an error, the caches are brought up to what was committed.

        Raises `CatalogError` where somebody else writes, or the knowledge base is not there any more.
        """
        self.catalog.check_there()  # before the lock makes its folder
        with writer_lock(self.home):
            try:
                yield self.catalog
            finally:
                if self.catalog.file.is_file():
                    self.sync_caches()

    def sync_caches(self, *, whole: bool = False) -> None:
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

    def verify(self, *, repair: bool = False) -> list[str]:
        """Everything that is wrong with this knowledge base, in words; empty when all is well. Nothing is written.

        `repair` then builds both caches anew and mends the catalog; documents whose chunks are damaged are read again
        by the next run. Raises `CatalogError` where a writer is at work.
        """
        with no_writer(self.home):
            problems = self.catalog.problems() + self._cache_problems()
        if repair:
            with self.writing():
                self.catalog.mend()
                self.drop_caches()
        return problems

    def _cache_problems(self) -> list[str]:
        """What is wrong with the caches on disk; where they were never saved, as after a restore, nothing is."""
        problems: list[str] = []
        saved, counts = self.catalog.meta("vectors_saved", "0") != "0", self.counts()
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

    def drop_caches(self) -> None:
        """Build both caches anew from the catalog. Only the holder of the writer lock may call this."""
        with self._mutex:
            self._vectors_file.unlink(missing_ok=True)
            self._vectors = None
            self._lexical.rebuild(self.catalog)
            self.sync_caches(whole=True)


def _idf(df: float, total: int) -> float:
    return math.log(1 + (max(total - df, 0) + 0.5) / (df + 0.5))
