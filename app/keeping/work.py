"""A file -> what is written of it: read, cut into chunks, and each chunk with the name of its embedding.

`Local` does so on this machine, `app/keeping/team.py` by the workers of a cluster.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from core.config import IngestConfig
from core.errors import ReadError
from core.text import digest, heading_line, language
from core.types import F32, Chunk, Document, FileEntry, FileError
from ingest import plugged
from ingest.columns import name_columns
from ingest.correct import corrected
from ingest.reach import Reach
from ingest.split import says_nothing
from ingest.workers import Reading, read_apart
from retrieval.embed import Embedder
from retrieval.minhash import sketch
from retrieval.transaction import Indexed

HEADER_TOKENS = 32  # room kept in front of a chunk for its title and heading path
BATCH = 256  # new texts that are embedded and committed together, for each who embeds
READERS = max(1, min(4, (os.cpu_count() or 2) - 1))  # embedding needs the rest
_READ_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Work:
    """A file that was read and cut; `texts` are what is embedded, under the keys of `indexed`."""

    indexed: Indexed
    texts: list[str]


class Hands(Protocol):
    """Who reads and embeds; `notes` are for the report."""

    notes: list[str]

    @property
    def batch(self) -> int:
        """How many texts are worth embedding together."""
        ...

    def ahead(self, reach: Reach, queue: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, Work | FileError]]:
        """Each file of a queue, read and cut, in order; some are read ahead."""
        ...

    def embed(self, texts: Sequence[str]) -> F32:
        """Vectors of passages, (n, dimension) float32 unit rows."""
        ...


@contextmanager
def hands_of(cfg: IngestConfig, embedder: Embedder) -> Iterator[Hands]:
    """Those that the configuration names: the workers of a cluster, or this machine."""
    if not cfg.workers:
        yield Local(cfg, embedder)
        return
    from app.keeping.team import Team

    with Team(cfg, embedder) as team:
        yield team


class Local:
    """Files are read in processes of their own and embedded, on this machine."""

    batch = BATCH

    def __init__(self, cfg: IngestConfig, embedder: Embedder) -> None:
        self.cfg, self.embedder = cfg, embedder
        self.notes: list[str] = []

    def ahead(self, reach: Reach, queue: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, Work | FileError]]:
        """Read and cut files in threads of their own, a few ahead, in order: it overlaps with embedding."""
        ahead: deque[tuple[FileEntry, Future[Work | FileError]]] = deque()
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        try:
            for entry in queue:
                ahead.append((entry, pool.submit(read_one, reach, entry, self.cfg, self.embedder)))
                if len(ahead) > _READ_AHEAD:
                    yield ahead[0][0], ahead.popleft()[1].result()
            while ahead:
                yield ahead[0][0], ahead.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)  # interrupted: what was to be read ahead is not waited for

    def embed(self, texts: Sequence[str]) -> F32:
        """Vectors of passages."""
        return self.embedder.embed_passages(texts)


def read_one(reach: Reach, entry: FileEntry, cfg: IngestConfig, embedder: Embedder) -> Work | FileError:
    """Read and cut one file, or say why that cannot be done."""
    try:
        reading = read_apart(Path(reach.root, entry.path), cfg, entry.ocr_pages, reach)
        return cut(entry, reading, cfg, embedder)
    except ReadError as error:
        return FileError(entry.path, error.message, error.hint, error.transient)


def cut(entry: FileEntry, reading: Reading, cfg: IngestConfig, embedder: Embedder) -> Work:
    """Cut a file that was read."""
    return prepare(replace(entry, hash=reading.hash), reading.document, cfg, embedder, reading.seconds)


def prepare(entry: FileEntry, document: Document, cfg: IngestConfig, embedder: Embedder, seconds: float = 0.0) -> Work:
    """Cut a document and name the embedding of each chunk."""
    document = corrected(name_columns(document, cfg, embedder.size), entry.corrections)
    chunks = plugged.chunks(document, cfg, embedder.size)
    silent = [chunk.language == "und" and says_nothing(chunk.text) for chunk in chunks]
    if any(silent):
        what = f"{sum(silent)} of {len(chunks)} passages say nothing (figures, repetition or encoded data)"
        document = replace(document, notes=(*document.notes, f"{what}: they are found by their words only"))
    room = embedder.max_tokens - 2  # the model's own start and end tokens
    texts = [in_context(document.title, chunk, room - chunk.tokens, embedder) for chunk in chunks]
    readings = embedder.read(texts)
    keys = [
        digest(f"{embedder.identity}\0{text}") if reading.readable and not empty else None
        for text, reading, empty in zip(texts, readings, silent, strict=True)
    ]
    tongue = language(document.text)
    return Work(Indexed(entry, document, chunks, keys, tongue, sketch(document.text), seconds), texts)


def in_context(title: str, chunk: Chunk, room: int, embedder: Embedder) -> str:
    """The text that is embedded: title and heading path, as far as there is room, then the chunk."""
    header = heading_line(title, chunk.headings)
    if header and embedder.count_tokens(header) > room:
        header = header[: max(room, 0)]  # a token is at least one character
    return f"{header}\n{chunk.text}" if header else chunk.text
