"""The records that travel between the folders: file -> Document -> Chunk -> Hit -> Answer.

All are frozen; offsets are character positions in `Document.text`, pages count from 1.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
SearchMode = Literal["dense", "lexical", "hybrid"]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch `text[start:end]` of a document under one heading path and, where there are pages, on one page."""

    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """What a reader makes of one file.

    `sections` are in order, do not overlap, and cover every character that is not white space.
    `title` is what the content says (first heading, <title>, document property), never the file name:
    a renamed file must not change what is embedded.
    `tables` counts the tables whose rows are kept; `ocr_pages` are those whose text was recognised from a picture.
    `notes` say what could not be read inside a file that could (a member of an archive, an attachment).
    """

    text: str
    title: str = ""
    sections: tuple[Section, ...] = ()
    pages: int | None = None
    empty_pages: tuple[int, ...] = ()
    encoding: str | None = None
    tables: int = 0
    ocr_pages: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: `document.text[start:end] == text`. `ordinal` counts from 0 within the document."""

    ordinal: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    language: str = "und"
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as scanned. `path` is relative to the folder, with `/`; `seen_ns` is when the stat was taken."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    seen_ns: int
    hash: str = ""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as the catalog has it; `checked_ns` is when its stat was last compared."""

    id: int
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    hash: str
    checked_ns: int


@dataclass(frozen=True, slots=True)
class FileError:
    """One file that could not be indexed: `path` relative to its folder, what failed, what to do."""

    path: str
    error: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found by a search, best first. Scores: higher is better; ranks count from 1."""

    rank: int
    score: float
    chunk_id: int
    folder: str
    path: str
    title: str
    page: int | None
    headings: tuple[str, ...]
    start: int
    end: int
    text: str
    language: str
    ordinal: int
    document_id: int
    dense_rank: int | None = None
    dense_score: float | None = None
    lexical_rank: int | None = None
    lexical_score: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage in the prompt: `[n]` in an answer points here. `text` may be wider than the hit."""

    n: int
    hit: Hit
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked `[n]` of an answer: the source exists; `quote` is its sentence nearest to the claim."""

    n: int
    path: str
    page: int | None
    quote: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a chat."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. `answered` is False when the documents do not cover the question."""

    text: str
    answered: bool
    citations: tuple[Citation, ...]
    sources: tuple[Source, ...]
    backend: str
    model: str
    query: str
    seconds: float
    notes: tuple[str, ...] = field(default=())
