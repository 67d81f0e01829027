"""A knowledge base on disk: the catalog, its two caches, the manifest and the writer lock.

<data>/<kb>/CURRENT             names the generation folder that answers
<data>/<kb>/g0001/              catalog.sqlite  vectors.faiss  lexical/
<data>/<kb>/writer.lock         one writer; any number of readers
<data>/<kb>/files/              what was uploaded
"""

import json
import math
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from core.config import IngestConfig
from core.errors import CatalogError
from core.types import F32, Hit
from retrieval.catalog import SCHEMA_VERSION, Catalog, Counts, Manifest
from retrieval.embed import Embedder
from retrieval.lexical import Lexical
from retrieval.vectors import Vectors, damaged, sync_folder

_NAME = re.compile(r"[\w][\w .-]{0,63}")
_LOCK_WAIT_S = 2.0
_SAVE_EVERY = 0.1  # share of the vectors that may be new before the FAISS file is written again


def chunker_identity(splitter: str, cfg: IngestConfig) -> str:
    """Names the chunker and its settings."""
    return f"{splitter} {cfg.chunk_tokens}+{cfg.chunk_overlap}"


def check_name(name: str) -> str:
    """A knowledge base's name, if it can be a folder's. Raises `CatalogError`."""
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise CatalogError(
            f"{name!r} cannot name a knowledge base",
            "use letters, digits, spaces, '-', '_' and '.', at most 64, beginning with a letter or digit",
        )
    return name


def names(data: Path) -> list[str]:
    """The knowledge bases in a data folder."""
    return sorted(p.name for p in data.iterdir() if (p / "CURRENT").is_file()) if data.is_dir() else []


class Index:
    """An open knowledge base. Searching is safe from many threads, also while one of them writes."""

    def __init__(self, home: Path, folder: Path, embedder: Embedder) -> None:
        self.home = home
        self.folder = folder
        self.embedder = embedder
        self.catalog = Catalog(folder / "catalog.sqlite")
        self._vectors: Vectors | None = None
        self._lexical = Lexical(folder / "lexical")
        self._mutex = threading.RLock()

    @property
    def name(self) -> str:
        """The knowledge base's name."""
        return self.home.name

    @classmethod
    def open(cls, data: Path, name: str, embedder: Embedder) -> "Index":
        """Open a knowledge base to search it. Raises `CatalogError` where there is none or it cannot be used."""
        home = data / check_name(name)
        current = _current(home)
        if current is None:
            there = ", ".join(names(data)) or "none"
            raise CatalogError(
                f"there is no knowledge base {name!r} in {str(data)!r} (there: {there})",
                f"make it with `ragstone index FOLDER --kb {name}`",
            )
        index = cls(home, home / current, embedder)
        index.check_embedder()
        return index

    @classmethod
    def open_or_create(cls, data: Path, name: str, embedder: Embedder, chunker: str) -> "Index":
        """Open a knowledge base to write it; an absent one is made."""
        home = data / check_name(name)
        if _current(home) is None:
            with _writer_lock(home):
                if _current(home) is None:
                    cls.create(home, "g0001", Manifest(embedder.identity, embedder.name, chunker))
                    _set_current(home, "g0001")
        index = cls.open(data, name, embedder)
        index.check_chunker(chunker)
        return index

    @classmethod
    def create(cls, home: Path, generation: str, manifest: Manifest) -> None:
        """Make an empty generation folder; what an earlier attempt left there is removed."""
        shutil.rmtree(home / generation, ignore_errors=True)
        catalog = Catalog.create(home / generation / "catalog.sqlite")
        catalog.set_manifest(manifest)
        catalog.close()

    @classmethod
    def open_next(cls, data: Path, name: str, embedder: Embedder, chunker: str) -> "tuple[Index, list[str]]":
        """The generation that is built beside the one that answers, and the folders of the latter.

        One that was begun with the same embedder and chunker is gone on with.
        """
        home = data / check_name(name)
        current = _current(home)
        manifest = Manifest(embedder.identity, embedder.name, chunker)
        generation = f"g{int(current[1:]) + 1 if current else 1:04d}"
        folders = Catalog(home / current / "catalog.sqlite").folders() if current else []
        begun = home / generation / "catalog.sqlite"
        if not begun.is_file() or Catalog(begun).manifest() != manifest:
            cls.create(home, generation, manifest)
        return cls(home, home / generation, embedder), folders

    def promote(self) -> None:
        """Let this generation answer from now on, in one rename, and remove the others."""
        _set_current(self.home, self.folder.name)
        for old in self.home.glob("g[0-9]*"):
            if old != self.folder:
                shutil.rmtree(old)

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now, so that this index should be opened anew."""
        return _current(self.home) != self.folder.name

    def close(self) -> None:
        """Close the catalog's connections."""
        self.catalog.close()

    def check_embedder(self) -> None:
        """Raise `CatalogError` where vectors were made by another embedder than the configured one."""
        if self.catalog.meta("schema") != SCHEMA_VERSION:
            raise CatalogError(
                f"knowledge base {self.name!r} was written by another version of ragstone", self._rebuild_hint()
            )
        made = self.catalog.manifest()
        if made.embedder != self.embedder.identity:
            raise CatalogError(
                f"knowledge base {self.name!r} was embedded by {made.embedder_name!r}, "
                f"the configuration asks for {self.embedder.name!r} (or other files, revision or prompts of it)",
                f"set retrieval.embedder back, or re-embed: {self._rebuild_hint()}",
            )

    def check_chunker(self, chunker: str) -> None:
        """Raise `CatalogError` where chunks were cut with other settings than the configured ones."""
        made = self.catalog.manifest().chunker
        if made != chunker:
            raise CatalogError(
                f"knowledge base {self.name!r} was cut by {made!r}, the configuration asks for {chunker!r}",
                f"set ingest.chunk_tokens and chunk_overlap back, or cut again: {self._rebuild_hint()}",
            )

    def _rebuild_hint(self) -> str:
        folder = next(iter(self.catalog.folders()), "FOLDER")
        return f"`ragstone index {folder} --kb {self.name} --rebuild`"

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector."""
        return self.catalog.counts()

    def refresh(self) -> None:
        """Bring both caches to the catalog's generation; on disk where no writer is at work, else in memory."""
        with self._mutex:
            if self._lexical.generation < self.catalog.generation:
                with self._try_lock() as alone:
                    if alone:
                        self._lexical.catch_up(self.catalog)
            self._lexical.follow(self.catalog)
            self._loaded().catch_up(self.catalog)

    def dense(self, vector: F32, k: int) -> list[tuple[int, float]]:
        """(chunk id, cosine) of the k nearest chunks."""
        with self._mutex:
            return self._loaded().search(vector, k)

    def lexical(self, terms: Sequence[str], k: int) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks that hold a term."""
        with self._mutex:
            return self._lexical.search(terms, k)

    def idf(self, terms: Sequence[str]) -> dict[str, float]:
        """Weight of each search token by its rarity: ln(1 + (N - df + 0.5) / (df + 0.5)), as BM25 has it."""
        with self._mutex:
            total = len(self._lexical)
            frequencies = {term: self._lexical.document_frequency(term) for term in terms}
        return {term: math.log(1 + (max(total - df, 0) + 0.5) / (df + 0.5)) for term, df in frequencies.items()}

    def hits(self, chunk_ids: Sequence[int]) -> dict[int, Hit]:
        """The chunks that the catalog still holds, by id."""
        return self.catalog.hits(chunk_ids)

    def _loaded(self) -> Vectors:
        if self._vectors is None:
            dimension = int(self.catalog.meta("dimension", "0")) or self.embedder.dimension
            self._vectors = Vectors.load(self._vectors_file, dimension)
        return self._vectors

    @property
    def _vectors_file(self) -> Path:
        return self.folder / "vectors.faiss"

    @contextmanager
    def writing(self) -> Iterator[Catalog]:
        """Hold the writer lock; at the end, even after an error, the caches are brought up to what was committed."""
        with _writer_lock(self.home):
            try:
                yield self.catalog
            finally:
                self.sync_caches()

    def sync_caches(self) -> None:
        """Bring the lexical index on disk up to date, and the FAISS file where enough has changed since it was saved.

        Only the holder of the writer lock may call this.
        """
        saved = int(self.catalog.meta("vectors_saved", "0"))
        with self._mutex:
            if self._lexical.generation < self.catalog.generation:
                self._lexical.catch_up(self.catalog)
            if self._vectors is None and not self.catalog.changes_since(saved) and self._vectors_file.exists():
                return  # nothing to write, and nobody searches here yet: do not read it
            vectors = self._loaded()
            vectors.catch_up(self.catalog)
            if self.catalog.changes_since(saved) > _SAVE_EVERY * len(vectors) or not vectors.on_disk:
                vectors.save(self._vectors_file)
                self.catalog.set_meta("vectors_saved", str(vectors.generation))
                self.catalog.forget_removed(min(vectors.generation, self._lexical.generation))

    @contextmanager
    def _try_lock(self) -> Iterator[bool]:
        with ExitStack() as stack:
            try:
                stack.enter_context(_writer_lock(self.home, wait=False))
            except CatalogError:
                yield False
            else:
                yield True

    def verify(self) -> list[str]:
        """Everything that is wrong with this knowledge base, in words; empty when all is well."""
        problems = self.catalog.check()
        if damaged(self._vectors_file):
            problems.append("vectors.faiss did not match its checksum; it is built again from the catalog")
        with self.writing():
            self.refresh()
        counts = self.counts()
        with self._mutex:
            if len(self._loaded()) != counts.dense:
                problems.append(f"{len(self._loaded())} vectors are searchable, the catalog holds {counts.dense}")
            if len(self._lexical) != counts.chunks:
                problems.append(
                    f"{len(self._lexical)} chunks are searchable by words, the catalog holds {counts.chunks}"
                )
        return problems


def _current(home: Path) -> str | None:
    try:
        name = (home / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch(r"g\d+", name) or not (home / name / "catalog.sqlite").is_file():
        raise CatalogError(f"{str(home / 'CURRENT')!r} names {name!r}, which is not there", "restore a backup")
    return name


def _set_current(home: Path, generation: str) -> None:
    aside = home / "CURRENT.writing"
    with aside.open("w", encoding="utf-8") as handle:
        handle.write(generation + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(home / "CURRENT")
    sync_folder(home)


@contextmanager
def _writer_lock(home: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the one writer's place of a knowledge base. Raises `CatalogError` naming the holder where it is taken.

    A moment is waited for a reader that catches a cache up. The operating system frees the lock when its holder dies.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home / "writer.lock", timeout=_LOCK_WAIT_S if wait else 0)
    holder = home / "writer.json"
    try:
        lock.acquire()
    except filelock.Timeout:
        raise CatalogError(
            f"knowledge base {home.name!r} is being written by {_holder(holder)}",
            "wait for it to end, then run it again",
        ) from None
    except OSError as error:
        raise CatalogError(
            f"{str(home)!r} cannot be written: {error.strerror}", "check its permissions, or set RAGSTONE_DATA"
        ) from error
    try:
        if lock.lock_counter == 1:
            record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {record['pid']} on {record['host']} since {record['since']}"
