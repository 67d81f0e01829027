"""Recipes for those who keep a knowledge base: its files page by page, reading some again, measuring its golden set."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.keeping.index import Progress, Report, quiet, sync
from app.measuring.evaluate import Outcome, TestSet, golden_testset, measure
from app.measuring.golden import golden_file, read
from app.running.bases import Bases
from core.errors import CatalogError
from core.types import Card, FileError, SearchMode
from retrieval.index import Index

FileState = Literal["all", "failed", "stale", "notes"]
_WHERE: dict[FileState, str] = {
    "all": "1",
    "failed": "error IS NOT NULL",
    "stale": "stale != ''",
    "notes": "notes != '[]' OR empty_pages != '[]'",
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a knowledge base: its report card where it was read, and why it could not be (the last time)."""

    folder: str
    path: str
    document_id: int | None
    card: Card | None
    failure: FileError | None


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
    columns = """language, characters, chunks, pages, empty_pages, ocr_pages, tables, encoding, seconds, notes, stale"""
    sql = f"""FROM (
        SELECT f.path AS folder, d.path AS path, d.id AS id, {columns}, x.error AS error, x.hint AS hint
        FROM documents d JOIN folders f ON f.id = d.folder_id
        LEFT JOIN failures x ON x.folder_id = d.folder_id AND x.path = d.path
        UNION ALL
        SELECT f.path, x.path, NULL, '', 0, 0, NULL, '[]', '[]', 0, NULL, 0, '[]', '', x.error, x.hint
        FROM failures x JOIN folders f ON f.id = x.folder_id
        WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.folder_id = x.folder_id AND d.path = x.path))
        WHERE ({_WHERE[state]}) AND instr(lower(path), lower(?))"""
    ((total,),) = index.catalog.rows(f"SELECT count(*) {sql}", [name.strip()])
    rows = index.catalog.rows(f"SELECT * {sql} ORDER BY path, folder LIMIT ? OFFSET ?", [name.strip(), count, first])
    return [_file_row(*row) for row in rows], total


def file_row(index: Index, folder: str, path: str) -> FileRow:
    """One file. Raises `CatalogError` where the knowledge base does not know it."""
    rows, _ = files(index, "all", path, 0, -1)
    for row in rows:
        if (row.folder, row.path) == (folder, path):
            return row
    raise CatalogError(
        f"{index.name!r} has no file {path!r} of {folder!r}", "it left meanwhile: look at the list again"
    )


def first_chunk(index: Index, document_id: int) -> int | None:
    """The id of a document's first passage."""
    rows = index.catalog.rows("SELECT id FROM chunks WHERE document_id = ? ORDER BY ordinal LIMIT 1", [document_id])
    return rows[0][0] if rows else None


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
        report += sync(index, Path(folder), bases.cfg.ingest, progress, only=paths)
    return report


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


def _file_row(
    folder: str, path: str, document_id: int | None, language: str, characters: int, chunks: int, pages: int | None,
    empty: str, ocr: str, tables: int, encoding: str | None, seconds: float, notes: str, stale: str,
    error: str | None, hint: str | None,
) -> FileRow:  # fmt: skip
    card = None if document_id is None else Card(
        path, language, characters, chunks, pages, tuple(json.loads(empty)), tuple(json.loads(ocr)), tables, encoding,
        seconds, tuple(json.loads(notes)), stale, folder,
    )  # fmt: skip
    failure = None if error is None else FileError(path, error, hint or "", folder=folder)
    return FileRow(folder, path, document_id, card, failure)
