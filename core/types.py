"""The records that travel between the folders: file -> Document -> Chunk -> Hit -> Answer.

All are frozen; offsets are character positions in `Document.text`, pages count from 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.sources import in_web

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
    `tags` and `date` (ISO 8601: a year, a month or a day) are what the document says of itself.
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
    tags: tuple[str, ...] = ()
    date: str = ""


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
class Correction:
    """What was read wrongly: the text `was`, where `before` stands in front of it, is read as `now`."""

    before: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody chose for one file: that it is left out, which of its pages are read by OCR, what of it is
    corrected, in this order; `tags` and `date` in the place of what it says of itself, None for that.
    """

    left_out: bool = False
    ocr_pages: tuple[int, ...] = ()
    tags: tuple[str, ...] | None = None
    date: str | None = None
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as scanned. `path` is relative to the folder, with `/`; `seen_ns` is when the stat was taken.

    `ocr_pages`: the pages that somebody chose to have read by OCR; `corrections`: of what is read.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    seen_ns: int
    hash: str = ""
    ocr_pages: tuple[int, ...] = ()
    corrections: tuple[Correction, ...] = ()

    def as_chosen(self, choices: Mapping[str, Choice]) -> "FileEntry":
        """The same, to be read as was chosen for it, by path."""
        chosen = choices.get(self.path)
        return replace(self, ocr_pages=chosen.ocr_pages, corrections=chosen.corrections) if chosen else self


class KnownFile(NamedTuple):
    """A file as the catalog has it; `checked_ns` is when its stat was last compared."""

    id: int
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    hash: str
    checked_ns: int

    def unread(self) -> "KnownFile":
        """The same as if nobody had read it: it counts as changed."""
        return self._replace(hash="", checked_ns=0)


class KnownFailure(NamedTuple):
    """A file that could not be read, as it was then; `reader` names what tried."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    checked_ns: int
    error: str
    hint: str
    reader: str


@dataclass(frozen=True, slots=True)
class FileError:
    """One file that could not be indexed: `path` relative to its folder, what failed, what to do.

    `transient`: the file as it is may be readable another time, so it is tried again. Where the folder itself failed,
    `path` is the folder. `known`: it failed when it was last tried, too, and has not changed since.
    """

    path: str
    error: str
    hint: str = ""
    transient: bool = False
    folder: str = ""
    known: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """The report card of a file that was read; `seconds` is the time that reading it took.

    `stale` says why the file as it is now cannot be read, where what it said before still answers. `tags` and `date`
    are those that somebody chose, else what the file says of itself.
    """

    path: str
    language: str
    characters: int
    chunks: int
    pages: int | None
    empty_pages: tuple[int, ...]
    ocr_pages: tuple[int, ...]
    tables: int
    encoding: str | None
    seconds: float
    notes: tuple[str, ...] = ()
    stale: str = ""
    folder: str = ""
    tags: tuple[str, ...] = ()
    date: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found by a search, best first. Scores: higher is better; ranks count from 1.

    `stale` says why its file as it is now cannot be read; `older` and `newer` are near-identical documents, by path.
    `kb` is the knowledge base, where an answer rests on it. `corrected`: somebody changed what was read of it.
    """

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
    tokens: int = 0
    stale: str = ""
    dense_rank: int | None = None
    dense_score: float | None = None
    lexical_rank: int | None = None
    lexical_score: float | None = None
    rerank_score: float | None = None
    older: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    kb: str = ""
    corrected: bool = False

    @property
    def url(self) -> str:
        """Where the page of the web stands that it is from; "" of a file."""
        return self.folder if in_web(self.folder) else ""


@dataclass(frozen=True, slots=True)
class Query:
    """One wording that is searched for, and how much its rankings count."""

    text: str
    origin: Literal["question", "rewritten", "variant", "feedback", "step"] = "question"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stood in one ranking: `query` counts from 0, `rank` from 1."""

    query: int
    retriever: Literal["dense", "lexical"]
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that some ranking held, and what became of it.

    `rank` is its place among the passages that were found; else `dropped` says at which stage it was lost.
    """

    chunk_id: int
    path: str
    page: int | None
    ordinal: int
    places: tuple[Place, ...]
    fused: float
    rerank: float | None = None
    rank: int | None = None
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """How a search came to its result: `candidates` in the order of fusion, milliseconds per stage, `notes`."""

    queries: tuple[Query, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage in the prompt: `[n]` in an answer points here. `text` may be wider than the hit."""

    n: int
    hit: Hit
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked `[n]` of an answer: the source exists; `quote` is its sentence nearest to the claim.

    `url`: where the page of the web stands that it is from, "" for a file.
    """

    n: int
    path: str
    page: int | None
    quote: str
    url: str = ""

    @property
    def source(self) -> str:
        """What a person is shown: the address of a page of the web, else the path."""
        return self.url or self.path


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a chat."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. `answered` is False when the documents do not cover the question.

    `prompt` are the messages as a model was sent them, (role, text); `stages` the milliseconds of each step; `finish`
    why its server says the answer ended ("length": at llm.max_tokens); `thoughts` what a reasoning model thought.
    """

    text: str
    answered: bool
    citations: tuple[Citation, ...]
    sources: tuple[Source, ...]
    backend: str
    model: str
    query: str
    seconds: float
    notes: tuple[str, ...] = ()
    trace: Trace = field(default=Trace())
    prompt: tuple[tuple[str, str], ...] = ()
    stages: tuple[tuple[str, float], ...] = ()
    finish: str = "stop"
    thoughts: str = ""
