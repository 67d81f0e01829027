"""Recipe: make a knowledge base say what a folder says. scan -> plan -> read -> split -> embed -> commit.

Files are committed a few at a time, each whole: stopped anywhere and run again, the result is that of a fresh build.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.config import Config, IngestConfig
from core.errors import ConfigError, ReadError
from core.text import digest, heading_line, language
from core.types import Chunk, Document, FileEntry, FileError, KnownFile
from ingest.read import read_file, supported
from ingest.scan import Plan, check_folder, plan, scan
from ingest.split import SPLITTER, split
from retrieval.catalog import Transaction
from retrieval.embed import MULTILINGUAL, Embedder
from retrieval.index import Index, chunker_identity, names

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (stage, done, total)

_HEADER_TOKENS = 32  # room kept in front of a chunk for its title and heading path
_FLUSH_TEXTS = 256  # new texts that are embedded and committed together
_FLUSH_FILES = 64
_SYNC_CHUNKS = 4096  # after so many chunks the lexical index on disk follows, so that readers need not
_READ_AHEAD = 8


@dataclass(slots=True)
class Report:
    """What a run did. `chunks`: how many the knowledge base holds now. `failed` files kept their last good content."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: list[FileError] = field(default_factory=list)
    skipped: list[FileError] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    cache_hits: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        """Both runs as one; of `chunks` and `notes`, the later."""
        return Report(
            self.added + other.added, self.changed + other.changed, self.moved + other.moved,
            self.deleted + other.deleted, self.unchanged + other.unchanged, self.failed + other.failed,
            self.skipped + other.skipped, other.chunks, self.embedded + other.embedded,
            self.cache_hits + other.cache_hits, self.seconds + other.seconds, other.notes,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class _Work:
    """A file that was read and cut; `keys` name the embedding of each chunk, None where the embedder cannot read it."""

    entry: FileEntry
    document: Document
    chunks: list[Chunk]
    texts: list[str]
    keys: list[bytes | None]


def quiet(stage: str, done: int, total: int) -> None:
    """A progress listener that shows nothing."""


def chunker(cfg: IngestConfig) -> str:
    """Identity of the chunker that this configuration asks for."""
    return chunker_identity(SPLITTER, cfg)


def run(cfg: Config, kb: str, folder: Path, *, rebuild: bool = False, progress: Progress = quiet) -> Report:
    """`ragstone index`: open or make the knowledge base and bring `folder` up to date.

    `rebuild` reads and embeds all of its folders anew beside what answers now, and swaps at the end.
    """
    check_folder(folder)  # before anything is made
    embedder = Embedder(cfg.retrieval)
    if not rebuild:
        index = Index.open_or_create(Path(cfg.app.data), kb, embedder, chunker(cfg.ingest))
        report = sync(index, folder, cfg.ingest, progress)
        index.close()
        return report
    index, known = Index.open_next(Path(cfg.app.data), kb, embedder, chunker(cfg.ingest))
    folder = folder.resolve()
    report = sync(index, folder, cfg.ingest, progress)
    for other in known:
        if other != str(folder):
            report = report + sync(index, Path(other), cfg.ingest, progress)
    index.promote()
    index.close()
    return report


def plan_only(cfg: Config, kb: str, folder: Path) -> Plan:
    """`ragstone index --plan`: what `run` would do; nothing is written."""
    check_folder(folder)
    known: list[KnownFile] = []
    if kb in names(Path(cfg.app.data)):
        index = Index.open(Path(cfg.app.data), kb, Embedder(cfg.retrieval))
        known = index.catalog.known_files_of(str(folder.resolve()))
        index.close()
    return plan(folder, scan(folder, cfg.ingest, supported), known)


def follow(cfg: Config, kb: str, folder: Path) -> Iterator[Report]:
    """`ragstone index --watch`: a report whenever the folder has changed and been read again, until interrupted."""
    from watchfiles import watch

    index = Index.open(Path(cfg.app.data), kb, Embedder(cfg.retrieval))
    for _ in watch(folder, debounce=1600, step=200, raise_interrupt=True):
        report = sync(index, folder, cfg.ingest)
        if report.added or report.changed or report.moved or report.deleted or report.failed:
            yield report


def sync(index: Index, folder: Path, cfg: IngestConfig, progress: Progress = quiet) -> Report:
    """Bring one folder of a knowledge base up to date. Files of its other folders are left alone.

    Raises `ReadError` for the folder itself, `CatalogError` where it is locked or the disk fails, `ConfigError` where
    chunks would not fit the embedder; one bad file is a row of `Report.failed`.
    """
    started = time.monotonic()
    folder = folder.resolve()
    report = Report()
    with index.writing() as catalog:
        progress("scan", 0, 0)
        found = scan(folder, cfg, supported)
        todo = plan(folder, found, catalog.known_files_of(str(folder)))
        report.skipped = found.skipped
        report.unchanged, report.failed = todo.unchanged, list(todo.failed)
        report.moved, report.deleted = len(todo.moved), len(todo.deleted)
        folder_id = catalog.folder_id(str(folder))
        if todo.moved or todo.touched or todo.deleted:
            with catalog.transaction() as write:
                _apply_cheap(write, todo)
        changed = {entry.path: old for old, entry in todo.changed}
        queue = [*todo.added, *(entry for _, entry in todo.changed)]
        if queue:
            _check_fits(cfg, index.embedder)
        pipeline = _Pipeline(index, folder_id, report)
        for done, work in enumerate(_read_ahead(folder, queue, cfg, index.embedder), start=1):
            if isinstance(work, FileError):
                report.failed.append(_failed(work, changed.get(work.path), pipeline))
            else:
                report.added += work.entry.path not in changed
                report.changed += work.entry.path in changed
                pipeline.add(work)
            progress("index", done, len(queue))
        pipeline.flush()
        progress("save", 0, 0)
        if queue or todo.deleted:
            catalog.drop_orphan_embeddings()
    report.chunks = index.counts().chunks
    report.notes = language_notes(index)
    report.seconds = time.monotonic() - started
    log.info("sync folder=%s added=%d changed=%d seconds=%.1f", folder, report.added, report.changed, report.seconds)
    return report


def language_notes(index: Index) -> list[str]:
    """Which languages the embedder cannot read, and which models would do; empty when it reads all."""
    blind = index.catalog.languages(unreadable_only=True)
    if not blind:
        return []
    what = ", ".join(f"{count} chunks in {code!r}" for code, count in blind.items())
    return [
        f"embedder {index.embedder.name!r} cannot read {what}: they are found by words only, not by meaning. "
        f"Models that read Chinese and English: {', '.join(MULTILINGUAL)} (set retrieval.embedder, then --rebuild)"
    ]


class _Pipeline:
    """Collects files until a batch is worth embedding, then commits them together."""

    def __init__(self, index: Index, folder_id: int, report: Report) -> None:
        self.index = index
        self.folder_id = folder_id
        self.report = report
        self.held: list[_Work] = []
        self.new: dict[bytes, str] = {}
        self.unsynced = 0

    def add(self, work: _Work) -> None:
        self.held.append(work)
        texts = {key: text for key, text in zip(work.keys, work.texts, strict=True) if key is not None}
        missing = self.index.catalog.missing(texts.keys() - self.new.keys())
        self.new.update((key, texts[key]) for key in texts if key in missing)
        self.report.cache_hits += sum(key is not None for key in work.keys) - len(missing)
        if len(self.new) >= _FLUSH_TEXTS or len(self.held) >= _FLUSH_FILES:
            self.flush()

    def flush(self) -> None:
        catalog = self.index.catalog
        keys = list(self.new)
        for start in range(0, len(keys), _FLUSH_TEXTS):
            part = keys[start : start + _FLUSH_TEXTS]
            catalog.put_embeddings(part, self.index.embedder.embed_passages([self.new[key] for key in part]))
            self.report.embedded += len(part)
        if self.held:
            with catalog.transaction() as write:
                for work in self.held:
                    tongue = language(work.document.text)
                    write.replace(self.folder_id, work.entry, work.document, work.chunks, work.keys, tongue)
        self.unsynced += sum(len(work.chunks) for work in self.held)
        self.held, self.new = [], {}
        if self.unsynced >= _SYNC_CHUNKS:
            self.index.sync_caches()
            self.unsynced = 0

    def mark_stale(self, document: KnownFile, reason: str) -> None:
        with self.index.catalog.transaction() as write:
            write.mark_stale(document.id, reason)


def _apply_cheap(write: Transaction, todo: Plan) -> None:
    for old in todo.deleted:
        write.remove(old.id)
    for old, entry in todo.moved:
        write.move(old.id, entry)
    for old, entry in todo.touched:
        write.touch(old.id, entry)


def _failed(error: FileError, known: KnownFile | None, pipeline: _Pipeline) -> FileError:
    if known is None:
        return error
    pipeline.mark_stale(known, error.error)
    return FileError(error.path, error.error, f"{error.hint}; what it said before keeps answering, marked stale")


def _read_ahead(
    folder: Path, queue: Sequence[FileEntry], cfg: IngestConfig, embedder: Embedder
) -> Iterator[_Work | FileError]:
    """Read and cut files in a thread of its own, a few ahead, in order: it overlaps with embedding."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        ahead: deque[Future[_Work | FileError]] = deque()
        for entry in queue:
            ahead.append(pool.submit(_read_one, folder, entry, cfg, embedder))
            if len(ahead) > _READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_one(folder: Path, entry: FileEntry, cfg: IngestConfig, embedder: Embedder) -> _Work | FileError:
    try:
        document = read_file(folder / entry.path, cfg)
    except ReadError as error:
        return FileError(entry.path, error.message, error.hint)
    return prepare(entry, document, cfg, embedder)


def prepare(entry: FileEntry, document: Document, cfg: IngestConfig, embedder: Embedder) -> _Work:
    """Cut a document and name the embedding of each chunk."""
    chunks = split(document, cfg, embedder.count_tokens)
    room = embedder.max_tokens - 2  # the model's own start and end tokens
    texts = [_in_context(document.title, chunk, room - chunk.tokens, embedder) for chunk in chunks]
    readings = embedder.read(texts)
    keys = [
        digest(f"{embedder.identity}\0{text}") if reading.readable else None
        for text, reading in zip(texts, readings, strict=True)
    ]
    return _Work(entry, document, chunks, texts, keys)


def _in_context(title: str, chunk: Chunk, room: int, embedder: Embedder) -> str:
    """The text that is embedded: title and heading path, as far as there is room, then the chunk."""
    header = heading_line(title, chunk.headings)
    if header and embedder.count_tokens(header) > room:
        header = header[: max(room, 0)]  # a token is at least one character
    return f"{header}\n{chunk.text}" if header else chunk.text


def _check_fits(cfg: IngestConfig, embedder: Embedder) -> None:
    most = embedder.max_tokens - 2 - _HEADER_TOKENS
    if cfg.chunk_tokens + cfg.chunk_overlap > most:
        raise ConfigError(
            f"ingest.chunk_tokens + chunk_overlap = {cfg.chunk_tokens + cfg.chunk_overlap}, but embedder "
            f"{embedder.name!r} reads {embedder.max_tokens} tokens, {_HEADER_TOKENS} of them kept for the heading path",
            f"set ingest.chunk_tokens to {most - cfg.chunk_overlap} or less",
        )


def check_upload(name: str) -> str:
    """The name of an uploaded file, if it can be stored and will be read. Raises `ReadError`."""
    plain = Path(name).name
    if plain != name or plain.startswith(".") or any(ord(c) < 32 for c in plain):
        raise ReadError(f"{name!r} cannot name an uploaded file", "rename it: no folders, no leading dot")
    if not supported(plain):
        raise ReadError(f"no reader for {name!r}", "convert it to PDF, DOCX, Markdown or text")
    return plain


def write_documents(
    index: Index, documents: Iterable[tuple[str, Document]], cfg: IngestConfig, progress: Progress = quiet
) -> Report:
    """Index documents that are not files, such as the rows of an evaluation corpus: (name, document) each."""
    report = Report()
    with index.writing() as catalog:
        _check_fits(cfg, index.embedder)
        pipeline = _Pipeline(index, catalog.folder_id(""), report)
        for done, (name, document) in enumerate(documents, start=1):
            entry = FileEntry(name, len(document.text), 0, 0, 0)
            pipeline.add(prepare(entry, document, cfg, index.embedder))
            progress("index", done, 0)
        pipeline.flush()
    report.chunks = index.counts().chunks
    return report
