"""An open knowledge base: its catalog, the store it is searched by, and with which embedder and chunker it was made."""

import json
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from core import plugins
from core.config import IngestConfig
from core.errors import CatalogError, ConfigError
from core.types import F32, Hit
from retrieval import check, tuning
from retrieval.background import Background
from retrieval.caches import Caches
from retrieval.catalog import Catalog as Files
from retrieval.embed import Embedder
from retrieval.home import (
    check_name,
    current,
    drop_generations,
    following,
    identity,
    names,
    no_writer,
    rollback,
    set_current,
    swap,
    writer_lock,
)  # fmt: skip
from retrieval.lexical import sought
from retrieval.made import begun, keeps_default, made_by, manifest, plain
from retrieval.migrations import upgrade
from retrieval.plugged import embedder_of, home_of
from retrieval.reading import Counts, Manifest
from retrieval.store import Catalog, Generations, Home, Store
from retrieval.tuning import Tuning

log = logging.getLogger(__name__)

_QUESTIONS = 32  # whose vectors are remembered


def chunker_identity(splitter: str, cfg: IngestConfig) -> str:
    """Names the chunker and its settings."""
    return f"{splitter} {cfg.chunk_tokens}+{cfg.chunk_overlap}"


class Index:
    """An open knowledge base. Searching is safe from many threads, also while one of them writes."""

    def __init__(
        self,
        home: Path,
        folder: Path,
        embedder: Embedder,
        *,
        catalog: Catalog | None = None,
        store: Store | None = None,
        where: Home | None = None,
    ) -> None:
        """A generation in SQLite files in a folder, or what another home (`where`) offers."""
        self.where = where
        self.home = home
        self.folder = folder
        self.embedder = embedder
        if catalog is None or store is None:
            files = Files(folder / "catalog.sqlite")
            catalog, store = files, Caches(home, files, embedder.cfg.exact_below)
        self.catalog: Catalog = catalog
        self.store: Store = store
        self._background: Background | None = None
        self._questions: dict[str, F32] = {}

    @property
    def name(self) -> str:
        """The knowledge base's name."""
        return self.home.name

    @classmethod
    def names(cls, data: Path, database: str = "") -> list[str]:
        """The knowledge bases there are."""
        if not database:
            return names(data)
        return home_of(database).names()

    @classmethod
    def identity_in(cls, data: Path, name: str, database: str = "") -> str:
        """The id of a knowledge base, which is never given twice.

        Where there is none, "" of a database, and a `CatalogError` of files (`home.identity`).
        """
        return home_of(database).identity(name) if database else identity(data / check_name(name))

    @property
    def identity(self) -> str:
        """The id of this knowledge base."""
        return self.where.identity(self.name) if self.where is not None else identity(self.home)

    def anew(self) -> "Index":
        """What answers by now, opened."""
        if self.where is None:
            return Index.open(self.home.parent, self.name, self.embedder)
        return self._found(self.home, self.embedder, self.where)._answering(self.embedder)

    @classmethod
    def catalog_in(cls, data: Path, name: str, database: str = "") -> Catalog:
        """The catalog that answers, whatever embedder made it. Raises `CatalogError` where there is none."""
        home = data / check_name(name)
        found = home_of(database).opened(name) if database else None
        if not database and (generation := check.answering(home)):
            upgrade(home, generation)
            found = Files(home / generation / "catalog.sqlite")
        if found is None:
            there = ", ".join(cls.names(data, database)) or "none"
            raise CatalogError(f"there is no knowledge base {name!r} (there: {there})", "give one of them by --kb")
        return found

    @classmethod
    def open(cls, data: Path, name: str, embedder: Embedder, database: str = "") -> "Index":
        """Open a knowledge base to search it. Raises `CatalogError` where there is none or it cannot be used."""
        home = data / check_name(name)
        if database:
            return cls._found(home, embedder, home_of(database))._answering(embedder)
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
        return cls(home, home / generation, embedder)._answering(embedder)

    @classmethod
    def _found(cls, home: Path, embedder: Embedder, where: Home, wanted: Manifest | None = None) -> "Index":
        """A knowledge base in a database; one that is not there is made as is `wanted`, else a `CatalogError`."""
        found = where.made(home.name, wanted) if wanted else where.opened(home.name)
        if found is None:
            raise CatalogError(
                f"there is no knowledge base {home.name!r} in the database of app.database "
                f"(there: {', '.join(where.names()) or 'none'})",
                f"make it with `ragstone index FOLDER --kb {home.name}`",
            )
        return cls._of(home, embedder, where, found)

    @classmethod
    def _of(cls, home: Path, embedder: Embedder, where: Home, catalog: Catalog) -> "Index":
        store = where.store(catalog, home, embedder.cfg.exact_below)
        return cls(home, home, embedder, catalog=catalog, store=store, where=where)

    def _answering(self, embedder: Embedder) -> "Index":
        """Itself, with the embedder that made it."""
        if keeps_default(self.catalog, embedder):
            self.embedder = self._own_embedder()
        elif not made_by(self.home.parent, self.catalog, embedder):
            self.embedder = self._own_embedder()
            hint = self._rebuild_hint()
            log.warning("knowledge base %r answers with %r until %s", self.name, self.embedder.name, hint)
        return self

    @classmethod
    def open_or_create(cls, data: Path, name: str, embedder: Embedder, chunker: str, database: str = "") -> "Index":
        """Open a knowledge base to write it; an absent one is made."""
        home = data / check_name(name)
        if database:
            wanted = manifest(data, embedder, chunker)
            return cls._found(home, embedder, home_of(database), wanted)._written(chunker)
        if check.answering(home) is None:
            wanted = manifest(data, embedder, chunker)  # an embedder that is not there leaves no folder behind
            with writer_lock(home):
                if current(home) is None:
                    cls.create(home, "g0001", wanted)
                    set_current(home, "g0001")
        generation = current(home) or ""
        upgrade(home, generation)
        return cls(home, home / generation, embedder)._written(chunker)

    def _written(self, chunker: str) -> "Index":
        """Itself, to be written by the embedder that made it. Raises `CatalogError` where that is another."""
        self.check_writable(self.embedder, chunker)
        if keeps_default(self.catalog, self.embedder):
            self.embedder = self._own_embedder()
        return self

    @classmethod
    def create(cls, home: Path, generation: str, manifest: Manifest) -> None:
        """Make an empty generation folder; what an earlier attempt left there is removed."""
        shutil.rmtree(home / generation, ignore_errors=True)
        catalog = Files.create(home / generation / "catalog.sqlite")
        catalog.set_manifest(manifest)
        catalog.close()

    @classmethod
    def open_next(cls, data: Path, name: str, embedder: Embedder, chunker: str, database: str = "") -> "Index":
        """The generation that is built beside the one that answers; one that was begun alike is gone on with."""
        return cls.open_beside(data / check_name(name), embedder, manifest(data, embedder, chunker), database)

    @classmethod
    def open_beside(cls, home: Path, embedder: Embedder, wanted: Manifest, database: str = "") -> "Index":
        """The same for what another embedder and chunker made, as `wanted` says."""
        if database:
            where = home_of(database)
            return cls._of(home, embedder, where, _generations(where).beside(home.name, wanted))
        with suppress(CatalogError):  # else it is what this one replaces
            if now := current(home):
                upgrade(home, now)  # what was chosen there is taken over
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
        if self.where is not None:
            _generations(self.where).promote(self.catalog, keep)
            return True
        return swap(self.home, self.folder.name, keep)

    @classmethod
    def roll_back(cls, data: Path, name: str, database: str = "") -> tuple[str, str]:
        """Let the generation before the present one answer again; the present one is removed. Returns both names.

        Raises `CatalogError` where none was kept, or what was is damaged.
        """
        home = data / check_name(name)
        if database:
            return _generations(home_of(database)).rollback(name)
        newest = current(home)
        return rollback(home, check.sound), str(newest)

    def forget_generations(self) -> list[str]:
        """Remove every generation but the one that answers; returns their names. Of its one writer only."""
        if self.where is not None:
            return _generations(self.where).forget(self.name, 0)
        return drop_generations(self.home, 0)

    @property
    def before(self) -> Catalog | None:
        """The catalog that answers, of one that is built beside it; None where there is none. To be closed."""
        if self.where is not None:
            return self.where.opened(self.name)
        now = current(self.home)
        return Files(self.home / now / "catalog.sqlite") if now else None

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now, so that this index should be opened anew."""
        return self.catalog.superseded

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
        settings = json.loads(made.embedder_settings)
        if plugins.is_named(str(settings.get("embedder"))):  # a catalog names no code to run: only config.toml does
            raise CatalogError(
                f"knowledge base {self.name!r} was embedded by {made.embedder_name!r}, with other settings than now",
                f"set retrieval.embedder and embedder_settings back, or re-embed it: {self._rebuild_hint()}",
            )
        own = embedder_of(self.embedder.cfg.model_copy(update=settings))
        if not made_by(self.home.parent, self.catalog, own):
            raise CatalogError(
                f"knowledge base {self.name!r} was embedded by {made.embedder_name!r}, whose files are not the same",
                f"re-embed it: {self._rebuild_hint()}",
            )
        return own

    def _rebuild_hint(self) -> str:
        folder = next(iter(self.catalog.folders()), "FOLDER")
        return f"`ragstone index {folder} --kb {self.name} --rebuild`"

    @property
    def files(self) -> Files:
        """The catalog in its SQLite file. Raises `CatalogError` where it lies in a database."""
        if not isinstance(self.catalog, Files):
            raise CatalogError(f"knowledge base {self.name!r} lies in a database", "see docs/databases.md")
        return self.catalog

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector."""
        return self.catalog.counts()

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

    def terms(self, question: str) -> dict[str, float]:
        """What the lexical search looks for: the question's tokens with their weights."""
        return sought(question, self.store.dictionary)

    def idf(self, terms: Iterable[str]) -> dict[str, float]:
        """Weight of each search token by its rarity: ln(1 + (N - df + 0.5) / (df + 0.5)), as BM25 has it."""
        total, frequencies = self.store.frequencies(terms)
        return {term: _idf(df, total) for term, df in frequencies.items()}

    def idf_of_rare(self, share: float, least: int) -> float:
        """The weight of a term that this share of the chunks holds, or `least` of them where these are more."""
        total, _ = self.store.frequencies(())
        return _idf(max(least, share * total), total)

    def hits(self, chunk_ids: Sequence[int]) -> dict[int, Hit]:
        """The chunks that the catalog still holds, by id."""
        return self.catalog.hits(chunk_ids)

    @contextmanager
    def writing(self) -> Iterator[Catalog]:
        """Hold the writer lock; at the end, even after an error, the caches are brought up to what was committed.

        Raises `CatalogError` where somebody else writes, or the knowledge base is not there any more.
        """
        self.catalog.check_there()  # before the lock makes its folder
        with self.catalog.alone():
            try:
                yield self.catalog
            finally:
                if not self.catalog.gone:
                    self.store.save()

    def verify(self, *, repair: bool = False) -> list[str]:
        """Everything that is wrong with this knowledge base, in words; empty when all is well. Nothing is written.

        `repair` then builds both caches anew and mends the catalog; documents whose chunks are damaged are read again
        by the next run. Raises `CatalogError` where a writer is at work.
        """
        with no_writer(self.home) if self.where is None else self.catalog.alone():
            problems = self.catalog.problems() + self.store.problems() + check.beside(self.home)
        if repair:
            with self.writing():
                self.catalog.mend()
                self.store.rebuild()
        return problems


def _generations(where: Home) -> Generations:
    """What a home offers that keeps generations. Raises `ConfigError`."""
    if isinstance(where, Generations):
        return where
    raise ConfigError("the store of app.database keeps one generation", "index its folders again as they are")


def _idf(df: float, total: int) -> float:
    return math.log(1 + (max(total - df, 0) + 0.5) / (df + 0.5))
