"""Recipes for those who keep a knowledge base: its files page by page, reading some again, measuring its golden set."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.keeping import choosing, correcting, naming, unlocking
from app.keeping.index import Progress, Report, quiet, sync
from app.measuring.evaluate import Outcome, TestSet, golden_testset, measure
from app.measuring.golden import golden_file, read
from app.running.bases import Bases
from core.errors import CatalogError
from core.types import SearchMode
from retrieval.index import Index
from retrieval.listing import FileRow, FileState


@dataclass(frozen=True, slots=True)
class Measured:
    """What the present settings make of a golden set, question by question."""

    mode: SearchMode
    k: int
    testset: TestSet
    outcomes: tuple[Outcome, ...]


def files(
    index: Index, state: FileState = "all", name: str = "", first: int = 0, count: int = 50
) -> tuple[list[FileRow], int]:
    """Files `first` (from 0) to `first + count` in order of path whose path holds `name`, and how many there are."""
    return index.catalog.files(state, name.strip(), first, count)


def file_row(index: Index, folder: str, path: str) -> FileRow:
    """One file. Raises `CatalogError` where the knowledge base does not know it."""
    for row in (*files(index, "all", path, 0, -1)[0], *files(index, "left_out", path, 0, -1)[0]):
        if (row.folder, row.path) == (folder, path):
            return row
    raise CatalogError(
        f"{index.name!r} has no file {path!r} of {folder!r}", "it left meanwhile: look at the list again"
    )


def first_chunk(index: Index, document_id: int) -> int | None:
    """The id of a document's first passage."""
    return next((hit.chunk_id for hit in index.catalog.around(document_id, 0, 0)), None)


def read_again(bases: Bases, kb: str, chosen: Iterable[tuple[str, str]], progress: Progress = quiet) -> Report:
    """Read files, (folder, path) each, as if they were new: after OCR was installed, say, or a limit was raised."""
    index = bases.make(kb)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for folder, path in chosen:
        by_folder[folder].append(path)
    report = Report(chunks=index.counts().chunks)
    for folder, paths in by_folder.items():
        with index.writing() as catalog, catalog.transaction() as write:
            write.read_again(catalog.folder_id(folder), paths)
        report += sync(index, folder, bases.cfg.ingest, progress, only=paths)
    return report


def leave_out(bases: Bases, kb: str, chosen: Iterable[choosing.Named], progress: Progress = quiet) -> Report:
    """Take files out of a knowledge base until somebody takes them in again (`choosing.leave_out`)."""
    return choosing.leave_out(bases.make(kb), chosen, bases.cfg.ingest, progress)


def take_in(bases: Bases, kb: str, chosen: Iterable[choosing.Named], progress: Progress = quiet) -> Report:
    """Read files that were left out by choice (`choosing.take_in`)."""
    return choosing.take_in(bases.make(kb), chosen, bases.cfg.ingest, progress)


def read_by_ocr(
    bases: Bases, kb: str, file: choosing.Named, pages: Sequence[int], progress: Progress = quiet
) -> Report:
    """Read pages of a file by OCR (`choosing.read_by_ocr`)."""
    return choosing.read_by_ocr(bases.make(kb), file, pages, bases.cfg.ingest, progress)


def name(
    bases: Bases, kb: str, files: Iterable[choosing.Named], tags: Sequence[str] | None, day: str | None,
    progress: Progress = quiet,
) -> Report:  # fmt: skip
    """Give files tags and a date (`naming.name`)."""
    return naming.name(bases.make(kb), files, tags, day, bases.cfg.ingest, progress)


def tag(
    bases: Bases, kb: str, files: Iterable[choosing.Named], more: Sequence[str], less: Sequence[str],
    progress: Progress = quiet,
) -> Report:  # fmt: skip
    """Add tags to those of files, and take others away (`naming.tag`)."""
    return naming.tag(bases.make(kb), files, more, less, bases.cfg.ingest, progress)


def correct(bases: Bases, kb: str, chunk_id: int, text: str, progress: Progress = quiet) -> Report:
    """Have a passage say something else (`correcting.correct`)."""
    return correcting.correct(bases.make(kb), chunk_id, text, bases.cfg.ingest, progress)


def take_back(bases: Bases, kb: str, file: choosing.Named, number: int | None, progress: Progress = quiet) -> Report:
    """Read a file without a correction, or without any (`correcting.take_back`)."""
    return correcting.take_back(bases.make(kb), file, number, bases.cfg.ingest, progress)


def unlock(bases: Bases, kb: str, file: choosing.Named, password: str, progress: Progress = quiet) -> Report:
    """Read a file by a password (`unlocking.unlock`)."""
    return unlocking.unlock(bases.make(kb), file, password, bases.cfg.ingest, progress)


def failed(index: Index) -> list[tuple[str, str]]:
    """(folder, path) of every file that could not be read."""
    return [(failure.folder, failure.path) for failure in index.catalog.failures()]


def delete_upload(bases: Bases, kb: str, path: str) -> Report:
    """Delete an uploaded file, and what it said. Raises `CatalogError` where no such file was uploaded."""
    index, folder = bases.make(kb), bases.uploads(kb)
    row = file_row(index, str(folder), path)  # so that only what was indexed can be named
    try:
        (folder / row.path).unlink(missing_ok=True)
    except OSError as error:
        raise CatalogError(f"{path!r} cannot be deleted: {error.strerror}", "check its permissions") from error
    return sync(index, folder, bases.cfg.ingest, only=[row.path], allow_empty=True)


def measure_golden(bases: Bases, kb: str, progress: Progress = quiet) -> Measured:
    """Ask the approved questions of a golden set in the configured mode. Raises `EvalError` where there is none."""
    index, cfg = bases.get(kb), bases.cfg
    testset = golden_testset(index, read(golden_file(bases.data, kb)))
    outcomes = measure(index, testset, cfg, cfg.retrieval.mode, progress)
    return Measured(cfg.retrieval.mode, cfg.retrieval.k, testset, tuple(outcomes))
