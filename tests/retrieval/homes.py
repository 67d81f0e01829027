"""The homes that knowledge bases may have, for the contract that each must keep; and another process that uses one.

`python -m tests.retrieval.homes KIND PLACE NAME` opens a knowledge base and obeys one command a line, as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.config import RetrievalConfig
from core.errors import CatalogError
from core.text import language, tokens
from core.types import F32, Chunk, Document, FileEntry
from retrieval.embed import Embedder
from retrieval.home import current, set_current
from retrieval.index import Index
from retrieval.plugged import home_of
from retrieval.postgres.server import server
from retrieval.reading import Manifest
from retrieval.transaction import Indexed
from tests.conftest import ROOT

DIMENSION = 24
FOLDER = "/docs"


class Given(Embedder):
    """Texts have the vectors that a test gives them."""

    identity = "given"  # type: ignore[assignment]
    dimension = DIMENSION  # type: ignore[assignment]


class Home(Protocol):
    """Where knowledge bases are; another process finds the same by `place`."""

    kind: str
    place: str
    exact_below: int

    @property
    def found_by(self) -> dict[str, Any]:
        """What `Index` is told to find it: the data folder, and the database."""
        ...

    def holds(self, words: bytes) -> list[str]:
        """The files that hold some words, of those that knowledge bases lie in."""
        ...

    def make(self, name: str) -> Index:
        """An empty knowledge base, open."""
        ...

    def open(self, name: str) -> Index:
        """A knowledge base that is there, opened once more."""
        ...


class Files:
    """A folder with SQLite files and their caches."""

    kind = "sqlite"

    @property
    def found_by(self) -> dict[str, Any]:
        """The data folder."""
        return {"data": Path(self.place)}

    def holds(self, words: bytes) -> list[str]:
        """The files that hold some words."""
        return _holding(Path(self.place), words)

    def __init__(self, place: str, exact_below: int = 10_000) -> None:
        self.place = place
        self.exact_below = exact_below

    def make(self, name: str) -> Index:
        """An empty knowledge base, open."""
        home = Path(self.place) / name
        Index.create(home, "g0001", Manifest("given", "given", "{}", "given"))
        set_current(home, "g0001")
        return self.open(name)

    def open(self, name: str) -> Index:
        """A knowledge base that is there, opened once more."""
        home = Path(self.place) / name
        return Index(home, home / str(current(home)), Given(RetrievalConfig(exact_below=self.exact_below)))


class InDatabase:
    """What opens for the URL of an `app.database`: a PostgreSQL, or an installed plug-in's home."""

    kind = "store"

    @property
    def found_by(self) -> dict[str, Any]:
        """A data folder that is not there, and the database."""
        return {"data": Path("/nowhere"), "database": self.place}

    def holds(self, words: bytes) -> list[str]:
        """Nobody knows of another's store."""
        return []

    def __init__(self, place: str, exact_below: int = 10_000) -> None:
        self.place = place
        self.exact_below = exact_below

    def make(self, name: str) -> Index:
        """An empty knowledge base, open."""
        home_of(self.place).made(name, Manifest("given", "given", "{}", "given"))
        return self.open(name)

    def open(self, name: str) -> Index:
        """A knowledge base that is there, opened once more."""
        where, home = home_of(self.place), Path("/nowhere") / name
        catalog = where.opened(name)
        assert catalog is not None
        store = where.store(catalog, home, self.exact_below)
        embedder = Given(RetrievalConfig(exact_below=self.exact_below))
        return Index(home, home, embedder, catalog=catalog, store=store, where=where)


class Postgres(InDatabase):
    """A database of a server."""

    kind = "postgresql"

    def holds(self, words: bytes) -> list[str]:
        """The files of the server's tables that hold some words; its log of changes is not one of them."""
        with server(self.place).borrowed() as db:
            db.execute("CHECKPOINT")
            return _holding(Path(db.execute("SHOW data_directory").fetchall()[0][0]) / "base", words)


def _holding(folder: Path, words: bytes) -> list[str]:
    return [str(file) for file in sorted(folder.rglob("*")) if file.is_file() and words in file.read_bytes()]


HOMES: dict[str, Callable[..., Home]] = {"sqlite": Files, "postgresql": Postgres}
if "RAGSTONE_TEST_STORE" in os.environ:
    HOMES["store"] = InDatabase


def vector(seed: int) -> F32:
    """A unit vector, the same for the same seed."""
    row = np.random.default_rng(seed).normal(size=DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float32)


def held(seed: int) -> F32:
    """That vector as a catalog keeps it."""
    return vector(seed).astype(np.float16).astype(np.float32)


def document(path: str, texts: Mapping[int, str], *, tags: Sequence[str] = (), date: str = "") -> Indexed:
    """A document of chunks, each with the seed of its vector."""
    chunks = [
        Chunk(n, 0, len(text), text, language=language(text), tokens=len(tokens(text)))
        for n, text in enumerate(texts.values())
    ]
    keys = [f"{path} {seed}".encode() for seed in texts]
    made = Document("\n".join(texts.values()), tags=tuple(tags), date=date)
    return Indexed(FileEntry(path, 1, 0, 0, 0, hash=f"hash of {path}"), made, chunks, keys, "en")


def embed(index: Index, documents: Sequence[Indexed]) -> None:
    """Remember the vectors of documents."""
    keys = [key for each in documents for key in each.keys if key is not None]
    vectors = [vector(int(key.split()[-1])) for key in keys]
    index.catalog.put_embeddings(keys, np.stack(vectors))


def put(index: Index, *documents: Indexed) -> None:
    """Write documents in one transaction, as the one writer."""
    with index.writing() as catalog:
        folder = catalog.folder_id(FOLDER)
        embed(index, documents)
        with catalog.transaction() as write:
            for each in documents:
                write.replace(folder, each)
    index.store.follow()


def ids_of(index: Index) -> dict[str, list[int]]:
    """Of each path its chunks, in order."""
    return {each.path: [hit.chunk_id for hit in index.catalog.chunks_of(each.id)] for each in index.catalog.documents()}


class Elsewhere:
    """A knowledge base as another process has it open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def tell(self, command: str, **arguments: Any) -> Any:
        """What that process answers to a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        """End that process as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def elsewhere(home: Home, name: str) -> Iterator[Elsewhere]:
    """Another process with a knowledge base open."""
    argv = [sys.executable, "-m", "tests.retrieval.homes", home.kind, home.place, name]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield Elsewhere(process)
        finally:
            process.kill()


def _serve(index: Index) -> None:
    writing = index.writing()  # held by "hold" until the process ends
    for line in sys.stdin:
        command, arguments = json.loads(line)
        if command == "again":  # what answers now
            index = HOMES[kind](place).open(name)
            answer: object = None
        elif command == "find":  # [ids by words, ids by meaning, N, df]
            index.store.follow()
            words = [i for i, _ in index.store.lexical({arguments["word"]: 1.0}, 1000)]
            near = [i for i, _ in index.store.dense(vector(0), 1000)]
            total, df = index.store.frequencies([arguments["word"]])
            answer = [sorted(words), sorted(near), total, df[arguments["word"]]]
        elif command == "half":  # what has begun and is not committed
            writing.__enter__()
            catalog, new = index.catalog, document("a.md", {9: "half word"})
            embed(index, [new])
            begun = catalog.transaction()
            write = begun.__enter__()
            write.replace(catalog.folder_id(FOLDER), new)
            answer = "begun"
        else:
            try:
                writing.__enter__()
                answer = "held"
            except CatalogError as error:
                answer = error.message
                writing = index.writing()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    kind, place, name = sys.argv[1:]
    _serve(HOMES[kind](place).open(name))
