"""Recipe: make a knowledge base say what its folders say. scan -> plan -> read -> split -> embed -> commit.

Files are committed a few at a time, each whole: stopped anywhere and run again, the result is that of a fresh build.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.keeping.choices import choices_of, keep_left_out, take_over
from app.keeping.folders import asking, brought, check_rebuilt, emptied, folders_of, reach_of
from app.keeping.languages import language_notes
from app.keeping.work import HEADER_TOKENS, Hands, Local, Work, hands_of, prepare
from core.config import Config, IngestConfig
from core.errors import BusyError, ConfigError, ReadError
from core.sources import named
from core.types import Document, FileEntry, FileError, KnownFile
from ingest import plugged
from ingest.pages import Asking
from ingest.read import supported
from ingest.readers.package import ASK
from ingest.scan import Past, Plan, failed_before, plan
from ingest.workers import reader_identity
from retrieval.embed import Embedder
from retrieval.index import Index, chunker_identity
from retrieval.plugged import embedder_of
from retrieval.store import Writes
from retrieval.transaction import Indexed

log = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[str, int, int], None]  # (stage, done, total)

NO_ROOM = "the generation before was removed: the disk has no room for another, so `ragstone rollback` has none"
_FLUSH_FILES = 64
_FLUSH_S = 5.0  # what was read is committed at least this often: a run that is killed loses no more
_SYNC_CHUNKS = 4096  # after so many chunks the lexical index on disk follows, so that readers need not


@dataclass(slots=True)
class Report:
    """What a run did; `chunks`: how many the knowledge base holds now. The catalog has the cards of the files."""

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
    named: int = 0  # given other tags or another date

    def __add__(self, other: "Report") -> "Report":
        """Both runs as one; of `chunks` and `notes`, the later."""
        return Report(
            self.added + other.added, self.changed + other.changed, self.moved + other.moved,
            self.deleted + other.deleted, self.unchanged + other.unchanged, self.failed + other.failed,
            self.skipped + other.skipped, other.chunks, self.embedded + other.embedded,
            self.cache_hits + other.cache_hits, self.seconds + other.seconds, other.notes, self.named + other.named,
        )  # fmt: skip

    @property
    def fresh(self) -> list[FileError]:
        """What failed that had not failed before, or has changed since."""
        return [error for error in self.failed if not error.known]

    @property
    def empty(self) -> bool:
        """Whether nothing was done and nothing new is to be told."""
        return not (self.added or self.changed or self.moved or self.deleted or self.fresh)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def quiet(stage: str, done: int, total: int) -> None:
    """A progress listener that shows nothing."""


def chunker(cfg: IngestConfig) -> str:
    """Identity of the chunker that this configuration asks for."""
    return chunker_identity(plugged.splitter(cfg), cfg)


def run(
    cfg: Config,
    kb: str,
    folders: Sequence[Path | str] = (),
    *,
    rebuild: bool = False,
    allow_empty: bool = False,
    progress: Progress = quiet,
    embedder: Embedder | None = None,
) -> Report:
    """`ragstone index`: open or make the knowledge base and bring folders up to date, by default all it has.

    `rebuild` reads and embeds all of its folders anew beside what answers now, and swaps at the end. `allow_empty`:
    a folder in which nothing is left loses its documents, however many they were. `embedder`: the configured one.
    """
    todo = folders_of(cfg, kb, folders, rebuild=rebuild)  # before anything is made
    data, embedder, cut = Path(cfg.app.data), embedder or embedder_of(cfg.retrieval), chunker(cfg.ingest)
    if rebuild or kb not in Index.names(data, cfg.app.database):
        check_fits(cfg.ingest, embedder)
    turn = partial(_in_turn, cfg, progress)
    opens = Index.open_next if rebuild else Index.open_or_create
    index = turn(lambda: opens(data, kb, embedder, cut, cfg.app.database))
    report = Report()
    for path in todo:
        try:
            more = path != todo[-1]
            pages = asking(cfg)
            syncs = partial(sync, index, path, cfg.ingest, progress, more=more, allow_empty=allow_empty, pages=pages)
            report = report + turn(syncs)
        except ReadError as error:
            if rebuild or folders:  # a folder that is away must not be missing from what answers next
                raise
            report.failed.append(FileError(path, error.message, error.hint, folder=path))
    if rebuild:
        for path in todo:  # what changed while the rest was read
            late = turn(partial(sync, index, path, cfg.ingest, allow_empty=allow_empty))
            report = report + replace(late, unchanged=0, failed=[], skipped=[])
        if not allow_empty:
            check_rebuilt(index)
        take_over(index)
        if not turn(lambda: index.promote(cfg.app.keep_generations)):
            report.notes = [*report.notes, NO_ROOM]
    index.close()
    return report


def _in_turn(cfg: Config, progress: Progress, does: Callable[[], T]) -> T:
    """Do something that writes; in a database, where machines share a knowledge base, wait until the others are done.

    One in files has one user: there the `CatalogError` that names who writes is the answer.
    """
    told = ""
    while True:
        try:
            return does()
        except BusyError as error:  # the lock itself was waited for some time
            if not cfg.app.database:
                raise
            if told != (told := error.message):
                log.warning("%s: waiting for it to end", error.message)
            progress("wait", 0, 0)


def look(
    index: Index, folder: Path | str, cfg: IngestConfig, only: Iterable[str] | None = None, *,
    allow_empty: bool = False, progress: Progress = quiet, pages: Asking | None = None,
) -> Plan:  # fmt: skip
    """What a sync of one folder would do. `only`: paths in it, files or folders, to which the comparison is limited.

    Unless `allow_empty`, a folder that had many documents and has none left is a failure, and nothing is deleted.
    `pages`: whether a page of the web is asked for; by default it is what it was.
    """
    here, before = brought(index.home, str(folder), cfg, progress, pages)
    catalog, root, reader = index.catalog, str(folder), reader_identity(cfg)
    failures = {
        path: failure
        for path, failure in catalog.known_failures(root).items()
        if failure.reader == reader and not (cfg.passwords and failure.hint.startswith(ASK))
    }
    past = Past(failures, choices_of(index, root))
    partly, anew = catalog.read_in_part(reader), catalog.manifest().chunker != chunker(cfg)

    def known(below: str) -> Iterator[KnownFile]:
        files = catalog.known_files(root, below)
        return (file.unread() if anew or file.id in partly else file for file in files) if anew or partly else files

    reads, apart = partial(supported, cfg=cfg), index.home.parent.resolve()
    todo = plan(here, cfg, reads, known, past, only=only, apart=apart, before=before)
    todo.failed, todo.skipped = (
        [replace(error, folder=root) for error in errors] for errors in (todo.failed, todo.skipped)
    )
    error = None if allow_empty else emptied(index, root, todo)
    return todo if error is None else Plan(failed=[error], skipped=todo.skipped)


def sync(
    index: Index, folder: Path | str, cfg: IngestConfig, progress: Progress = quiet, *,
    only: Iterable[str] | None = None, more: bool = False, allow_empty: bool = False, pages: Asking | None = None,
) -> Report:  # fmt: skip
    """Bring one folder, bucket or page of a knowledge base up to date. Files of its other folders are left alone.

    `only`, `allow_empty` and `pages` as for `look`. `more` folders will follow: vectors that no chunk uses are kept,
    they may be wanted there. Raises `ReadError` for the folder itself, `CatalogError` where it is locked or the disk
    fails, `ConfigError` where chunks would not fit the embedder; one bad file is a row of `Report.failed`.
    """
    started, report = time.monotonic(), Report()
    with index.writing() as catalog:
        folder = str(folder) if str(folder) in catalog.folders() else named(folder)
        progress("scan", 0, 0)
        if catalog.manifest().chunker != chunker(cfg):  # of an earlier version, else it could not be written
            with catalog.transaction() as write:
                write.read_all_again(chunker(cfg))
        todo = look(index, folder, cfg, only, allow_empty=allow_empty, progress=progress, pages=pages)
        report.skipped, report.failed = todo.skipped, list(todo.failed)
        report.unchanged, report.moved, report.deleted = todo.unchanged, len(todo.moved), len(todo.deleted)
        if todo.moved or todo.touched or todo.deleted:
            with catalog.transaction() as write:
                _apply_cheap(write, todo)
        _read_and_write(index, folder, todo, cfg, report, progress)
        keep_left_out(catalog, folder, todo.skipped, only)
        failed = {error.path for error in report.failed}
        if only is None and folder not in failed and catalog.known_failures(folder).keys() - failed:
            with catalog.transaction() as write:
                write.keep_failures(catalog.folder_id(folder), failed)
        progress("save", 0, 0)
        if not more:
            catalog.drop_unused_embeddings()
    report.chunks = index.counts().chunks
    report.notes += language_notes(index)
    report.seconds = time.monotonic() - started
    log.info("sync folder=%s added=%d changed=%d seconds=%.1f", folder, report.added, report.changed, report.seconds)
    return report


def _read_and_write(
    index: Index, folder: str, todo: Plan, cfg: IngestConfig, report: Report, progress: Progress
) -> None:
    changed = {entry.path: old for old, entry in todo.changed}
    queue = [*todo.added, *(entry for _, entry in todo.changed)]
    if queue:
        check_fits(cfg, index.embedder)
    folder_id = index.catalog.folder_id(folder)  # it is followed, also while nothing is in it
    if not queue:
        return
    with hands_of(cfg, index.embedder) as hands:
        pipeline = _Pipeline(index, folder_id, cfg, report, hands, folder)
        ahead = hands.ahead(reach_of(index.home, folder, cfg), queue)
        for done, (entry, work) in enumerate(ahead, start=1):
            if isinstance(work, FileError):
                pipeline.fail(entry, work, changed.get(entry.path))
            else:
                report.added += entry.path not in changed
                report.changed += entry.path in changed
                pipeline.add(work)
            progress("index", done, len(queue))
        pipeline.flush()
        report.notes += hands.notes


class _Pipeline:
    """Collects files until a batch is worth embedding, then commits them together."""

    def __init__(
        self, index: Index, folder_id: int, cfg: IngestConfig, report: Report, hands: Hands, folder: str = ""
    ) -> None:
        self.index = index
        self.hands = hands
        self.folder = folder
        self.folder_id = folder_id
        self.before = index.catalog.known_failures(folder)
        self.cfg = cfg
        self.reader = reader_identity(cfg)
        self.report = report
        self.held: list[Indexed] = []
        self.failed: list[tuple[FileEntry, FileError, KnownFile | None]] = []
        self.new: dict[bytes, str] = {}
        self.unsynced = 0
        self.flushed = time.monotonic()

    def add(self, work: Work) -> None:
        """Hold a file; at times, commit what is held."""
        self.held.append(work.indexed)
        texts = {key: text for key, text in zip(work.indexed.keys, work.texts, strict=True) if key is not None}
        missing = self.index.catalog.missing(texts.keys() - self.new.keys())
        self.new.update((key, texts[key]) for key in texts if key in missing)
        self.report.cache_hits += sum(key is not None for key in work.indexed.keys) - len(missing)
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        due = time.monotonic() - self.flushed > _FLUSH_S
        if due or len(self.new) >= self.hands.batch or len(self.held) >= _FLUSH_FILES:
            self.flush()

    def fail(self, entry: FileEntry, error: FileError, known: KnownFile | None) -> None:
        """Note a file that could not be read; what is known of it stays, marked stale, or goes, as configured."""
        error = replace(error, folder=self.folder, known=failed_before(entry, self.before))
        if known is not None:
            then = "what it said before keeps answering, marked stale"
            then = then if self.cfg.unreadable == "keep" else "what it said before is dropped"
            error = replace(error, hint=f"{error.hint}; {then}")
        self.failed.append((entry, error, known))
        self.report.failed.append(error)
        self._flush_if_due()

    def flush(self) -> None:
        """Embed and commit what is held."""
        catalog = self.index.catalog
        keys, size = list(self.new), self.hands.batch  # which changes as workers come and go
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            catalog.put_embeddings(part, self.hands.embed([self.new[key] for key in part]))
            self.report.embedded += len(part)
        if self.held or self.failed:
            with catalog.transaction() as write:
                for new in self.held:
                    write.replace(self.folder_id, new, self.reader)
                for entry, error, known in self.failed:
                    write.fail(self.folder_id, entry, error, "" if error.transient else self.reader)
                    if known is not None and self.cfg.unreadable == "drop":
                        write.remove(known.id)
        self.unsynced += sum(len(new.chunks) for new in self.held)
        self.held, self.failed, self.new = [], [], {}
        if self.unsynced >= _SYNC_CHUNKS:
            self.index.store.save()
            self.unsynced = 0
        self.flushed = time.monotonic()


def _apply_cheap(write: Writes, todo: Plan) -> None:
    for old in todo.deleted:
        write.remove(old.id)
    for old, entry in todo.moved:
        write.move(old.id, entry)
    for old, entry in todo.touched:
        write.touch(old.id, entry)


def check_fits(cfg: IngestConfig, embedder: Embedder) -> None:
    """Raise `ConfigError` where chunks of the configured size would not fit the embedder."""
    most = embedder.max_tokens - 2 - HEADER_TOKENS
    if cfg.chunk_tokens + cfg.chunk_overlap > most:
        raise ConfigError(
            f"ingest.chunk_tokens + chunk_overlap = {cfg.chunk_tokens + cfg.chunk_overlap}, but embedder "
            f"{embedder.name!r} reads {embedder.max_tokens} tokens, {HEADER_TOKENS} of them kept for the heading path",
            f"set ingest.chunk_tokens to {most - cfg.chunk_overlap} or less",
        )


def write_file(index: Index, folder: str, entry: FileEntry, work: Work | FileError, cfg: IngestConfig) -> None:
    """Index one file of a folder that was read and cut, or note why it cannot be; what it said before is dropped."""
    with index.writing() as catalog:
        check_fits(cfg, index.embedder)
        known = next((file for file in catalog.known_files(folder, entry.path) if file.path == entry.path), None)
        hands, dropping = Local(cfg, index.embedder), cfg.model_copy(update={"unreadable": "drop"})
        pipeline = _Pipeline(index, catalog.folder_id(folder), dropping, Report(), hands, folder)
        if isinstance(work, FileError):
            pipeline.fail(entry, work, known)
        else:
            pipeline.add(work)
        pipeline.flush()
        catalog.drop_unused_embeddings()


def write_documents(
    index: Index, documents: Iterable[tuple[str, Document]], cfg: IngestConfig, progress: Progress = quiet
) -> Report:
    """Index documents that are not files, such as the rows of an evaluation corpus: (name, document) each."""
    report = Report()
    with index.writing() as catalog:
        check_fits(cfg, index.embedder)
        pipeline = _Pipeline(index, catalog.folder_id(""), cfg, report, Local(cfg, index.embedder))
        for done, (name, document) in enumerate(documents, start=1):
            entry = FileEntry(name, len(document.text), 0, 0, 0)
            pipeline.add(prepare(entry, document, cfg, index.embedder))
            progress("index", done, 0)
        pipeline.flush()
    report.chunks = index.counts().chunks
    return report
