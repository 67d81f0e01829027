"""What a home of knowledge bases offers: a `Catalog`, which is the truth, and a `Store`, by which it is searched.

What both promise beside their types is held by tests/retrieval/test_contract.py. In SQLite files they are
retrieval/catalog.py, retrieval/transaction.py and retrieval/caches.py. A `Home` opens both for an `app.database`: that
of PostgreSQL is retrieval/postgres/home.py, others are plug-ins of the group `ragstone.stores` (docs/extending.md).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.types import F32, I64, Card, Choice, FileEntry, FileError, Hit, KnownFailure, KnownFile
from retrieval.allowed import Allowed
from retrieval.dictionary import Dictionary
from retrieval.filters import Filter
from retrieval.listing import FileRow, FileState, Listed
from retrieval.reading import Counts, Heading, Manifest, Neighbours, Spot, Version
from retrieval.survey import Survey
from retrieval.transaction import ChunkRow, Indexed

Limit = Filter | Allowed | None  # None lets every chunk through


class Store(Protocol):
    """What one generation of a knowledge base is searched by; ids are those of the catalog's chunks."""

    @property
    def on_server(self) -> bool:
        """Whether a server searches, so that two searches are better begun at once."""
        ...

    @property
    def dictionary(self) -> Dictionary:
        """The knowledge base's own words, as last read."""
        ...

    def follow(self) -> None:
        """See what the catalog says now: all that is committed, nothing that is not."""
        ...

    def dense(self, vector: F32, k: int, where: Limit = None) -> list[tuple[int, float]]:
        """(chunk id, cosine) of the k nearest chunks within a limit; best first, fewer only where there are fewer."""
        ...

    def lexical(self, terms: Mapping[str, float], k: int, where: Limit = None) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks within a limit that hold a term; best first, all above 0."""
        ...

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many chunks there are, and how many of them hold each term; of this knowledge base alone."""
        ...

    def recall(self) -> float:
        """Share of the ten nearest chunks that `dense` finds, against exact search."""
        ...

    def problems(self) -> list[str]:
        """What is wrong, in words; empty when all is well. Nothing is written."""
        ...

    def save(self, *, whole: bool = False) -> None:
        """Keep on disk what a writer has committed, where that is worth while or in any case (`whole`)."""
        ...

    def rebuild(self) -> None:
        """Make anew what is not the catalog's own. Only the holder of the writer lock may call this."""
        ...


class Writes(Protocol):
    """The writes of one transaction of a catalog."""

    def replace(self, folder_id: int, new: Indexed, reader: str = "") -> None:
        """A file's old chunks leave and its new ones arrive together. `reader` names what could not read all of it."""
        ...

    def insert(self, document: Mapping[str, Any], chunks: Sequence[ChunkRow]) -> None:
        """A document that is not there yet, by its columns, with its chunks."""
        ...

    def remove(self, document_id: int) -> None:
        """A document and its chunks leave."""
        ...

    def move(self, document_id: int, entry: FileEntry) -> None:
        """A document gets a new path, and its chunks new ids."""
        ...

    def touch(self, document_id: int, entry: FileEntry) -> None:
        """Only the file's stat is new."""
        ...

    def fail(self, folder_id: int, entry: FileEntry, error: FileError, reader: str) -> None:
        """A file could not be read: what it said last keeps answering, marked stale."""
        ...

    def keep_failures(self, folder_id: int, paths: Collection[str]) -> None:
        """Forget the failures of a folder but those of `paths`."""
        ...

    def read_all_again(self, chunker: str) -> None:
        """Have the next run of each folder read all its documents, which then are cut by another chunker."""
        ...

    def read_again(self, folder_id: int, paths: Collection[str]) -> None:
        """The next run reads these files of a folder as if nobody had; until then, what they said stays."""
        ...

    def choose(self, folder_id: int, path: str, choice: Choice) -> None:
        """Keep what somebody chose for a file, which `move` takes along. A choice of nothing is forgotten."""
        ...

    def leave_out(self, folder_id: int, files: Sequence[FileError]) -> None:
        """Keep which files of a folder were left out, and why, in the place of what was kept of it."""
        ...

    def remove_folder(self, folder_id: int) -> int:
        """A folder leaves the knowledge base with all its documents; returns how many there were."""
        ...

    def forget_embeddings(self) -> None:
        """No chunk has a vector any more, until it is given one of another embedder."""
        ...


class Documents(Protocol):
    """What a catalog says of documents and files."""

    def folders(self) -> list[str]:
        """Absolute paths of the folders this knowledge base follows."""
        ...

    def documents(self) -> list[Listed]:
        """Every document, in order of folder and path."""
        ...

    def document(self, document_id: int) -> Listed | None:
        """One document; None where it is gone."""
        ...

    def documents_of(self, folder: str) -> int:
        """How many documents a folder has, by its absolute path."""
        ...

    def paths(self) -> list[str]:
        """The path of every document, in order; one that two folders have stands there twice."""
        ...

    def last_read(self) -> float | None:
        """When a document was read last, in seconds since 1970; None where there is none."""
        ...

    def files(self, state: FileState, name: str, first: int, count: int) -> tuple[list[FileRow], int]:
        """Files `first` to `first + count` in order of path whose path holds `name`, and how many there are."""
        ...

    def known_files(self, folder: str, below: str = "") -> Iterator[KnownFile]:
        """The files of a folder that are or lie below a path in it; in order of path."""
        ...

    def known_failures(self, folder: str) -> dict[str, KnownFailure]:
        """The files of a folder that could not be read when they were last tried, by path."""
        ...

    def left_out(self, folder: str) -> list[FileError]:
        """The files of a folder that the last run left out, and why; in order of path."""
        ...

    def choices(self, folder: str) -> dict[str, Choice]:
        """What people chose for files of a folder, by path."""
        ...

    def read_in_part(self, reader: str) -> set[int]:
        """Ids of documents with pages that had no text for another reader than this one."""
        ...

    def failures(self) -> list[FileError]:
        """Every file that could not be read when it was last tried."""
        ...

    def cards(self, since: float = 0.0) -> Iterator[Card]:
        """The report card of every document that was read since a time (seconds since 1970), in order of path."""
        ...

    def card(self, document_id: int) -> Card | None:
        """The report card of one document; None where it is gone."""
        ...

    def near(self, document_ids: Collection[int]) -> Iterator[tuple[Version, list[Version]]]:
        """Each of the documents, and those that share a band of the sketch with it."""
        ...

    def dated(self, since: str, until: str, beginnings: Sequence[str] = ("",)) -> Iterator[tuple[int, str, str]]:
        """(id, path, tags as JSON) of documents of a time whose path has one of some beginnings."""
        ...


class Chunks(Protocol):
    """What a catalog says of chunks and their vectors."""

    def hits(self, chunk_ids: Sequence[int]) -> dict[int, Hit]:
        """The chunks that still exist, by id, as unranked hits."""
        ...

    def spots(self, chunk_ids: Sequence[int]) -> dict[int, Spot]:
        """Where the chunks that still exist stand, by id."""
        ...

    def around(self, document_id: int, first: int, last: int) -> list[Hit]:
        """Chunks `first` to `last` (ordinals, inclusive) of a document, in order."""
        ...

    def chunks_of(self, document_id: int) -> list[Hit]:
        """All chunks of a document, in order, as unranked hits."""
        ...

    def chunk_ids(self) -> list[int]:
        """Ids of all chunks, ascending."""
        ...

    def neighbours(self, hit: Hit) -> Neighbours:
        """The chunks that one may turn to from a chunk."""
        ...

    def first_chunks(self, count: int) -> list[int]:
        """Ids of so many chunks: those without a vector first, then in order of their keys."""
        ...

    def headings(self, documents: int, chunks: int) -> list[Heading]:
        """Headings of so many documents that came last, the later one first; of the chunks after the first so many."""
        ...

    def keys(self) -> dict[bytes, int]:
        """The key of every embedding that chunks use, with the first of these chunks."""
        ...

    def vectors_of(self, document_id: int) -> tuple[I64, F32]:
        """(ids, vectors) of the chunks of a document that have one."""
        ...

    def sample(self, count: int) -> tuple[F32, list[str]]:
        """(vectors, languages) of so many different chunks, always the same of an unchanged catalog."""
        ...

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """The keys that have no embedding yet."""
        ...

    def counts(self) -> Counts:
        """Documents, chunks, and chunks with a vector."""
        ...

    def languages(self, unreadable_only: bool = False) -> dict[str, int]:
        """Chunks per language, most first; `unreadable_only` counts those the embedder could not read."""
        ...


class Catalog(Documents, Chunks, Survey, Protocol):
    """All that one generation of a knowledge base knows. Safe to share between threads."""

    def close(self) -> None:
        """Close the connections; what is being read is read to its end."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """What is read inside belongs together, whatever a writer does meanwhile."""
        ...

    def transaction(self) -> AbstractContextManager[Writes]:
        """A write transaction: all of it is committed at the end, or none of it."""
        ...

    @property
    def generation(self) -> int:
        """Number of the last committed write transaction."""
        ...

    def meta(self, key: str, default: str = "") -> str:
        """A value of the manifest."""
        ...

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        ...

    def manifest(self) -> Manifest:
        """Embedder and chunker that made this catalog."""
        ...

    def set_manifest(self, manifest: Manifest) -> None:
        """Write the manifest of a new catalog."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Hold the one writer's place. Raises `CatalogError` naming the holder; it is free when its holder dies."""
        ...

    @property
    def superseded(self) -> bool:
        """Whether another generation answers by now."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the catalog is not there any more."""
        ...

    def check_there(self) -> None:
        """Raise `CatalogError` where the catalog is gone, or cannot be reached."""
        ...

    def folder_id(self, path: str) -> int:
        """The id of a folder; it is added where it is new."""
        ...

    def rename_folders(self, renamed: Mapping[str, str]) -> None:
        """Folders are found at other absolute paths from now on; two may change places."""
        ...

    def put_embeddings(self, keys: Sequence[bytes], vectors: F32) -> None:
        """Remember vectors, as float16. Committed at once: a resumed run reuses them."""
        ...

    def drop_unused_embeddings(self) -> None:
        """Forget the vectors that no chunk uses by now."""
        ...

    def vacuum(self) -> int:
        """Erase what was deleted from it for good; returns how many unused embeddings went too."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of what it lies in, by name."""
        ...

    def problems(self) -> list[str]:
        """What is wrong inside the catalog, in words; empty when all is well."""
        ...

    def mend(self) -> None:
        """Mend what `problems` finds; documents with damaged chunks count as changed."""
        ...

    def to_be_read_again(self) -> int:
        """How many documents `mend` left for the next run to read."""
        ...


class Home(Protocol):
    """Where knowledge bases are, by the URL of `app.database`, whose scheme names the plug-in: it is called with `url`.

    Raise `core.errors.CatalogError` with a message and a hint where it cannot be reached.
    """

    def names(self) -> list[str]:
        """The knowledge bases there are, in order."""
        ...

    def identity(self, name: str) -> str:
        """The id of a knowledge base, which is never given twice; "" where there is none."""
        ...

    def opened(self, name: str) -> Catalog | None:
        """The catalog of a knowledge base; None where there is none."""
        ...

    def made(self, name: str, manifest: Manifest) -> Catalog:
        """The catalog of a knowledge base; made, empty, where there is none."""
        ...

    def store(self, catalog: Any, folder: Path, exact_below: int) -> Store:
        """What a catalog of `opened` or `made` is searched by. `folder` holds the knowledge base's own files; from
        `exact_below` chunks on, dense search may be approximate.
        """
        ...


@runtime_checkable
class Generations(Protocol):
    """What a `Home` offers beside, that builds a knowledge base anew beside the one that answers."""

    def beside(self, name: str, manifest: Manifest) -> Catalog:
        """The generation built beside the one that answers; one begun with the same manifest is gone on with."""
        ...

    def promote(self, catalog: Any, keep: int) -> None:
        """Let a generation answer from now on, at once; of those before it, the last `keep` stay."""
        ...

    def rollback(self, name: str) -> tuple[str, str]:
        """Let the generation before the present one answer again; the present one is removed. Returns both names.

        Raises `CatalogError` where none was kept.
        """
        ...

    def forget(self, name: str, keep: int) -> list[str]:
        """Remove the generations that do not answer but the `keep` before the one that does; returns their names."""
        ...
