"""What the catalog says of documents: which there are, what was read of them, which could not be read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from core.types import Card, Choice, Correction, FileError, KnownFailure, KnownFile
from retrieval.rows import Rows

FileState = Literal["all", "failed", "stale", "notes", "left_out"]
_WHERE = {
    "all": "TRUE",
    "failed": "error IS NOT NULL",
    "stale": "stale != ''",
    "notes": "notes != '[]' OR empty_pages != '[]'",
}
_ALL = 1 << 40  # files
_LISTED = """SELECT d.id, f.path, d.path, d.title, d.hash, d.indexed_at
    FROM folders f JOIN documents d ON d.folder_id = f.id"""
_CARD = """d.path, language, characters, chunks, pages, empty_pages, ocr_pages, tables, encoding, seconds, notes, stale,
    tags, date, f.path FROM documents d JOIN folders f ON f.id = d.folder_id"""


CHOSEN = "left_out, ocr_pages, tags, date, corrections"  # the columns of what was chosen for a file


def choice_of(row: Sequence[Any]) -> Choice:
    """What was chosen for a file, from its columns."""
    left_out, pages, tags, date, corrections = row
    own = None if tags is None else tuple(json.loads(tags))
    return Choice(
        bool(left_out),
        tuple(json.loads(pages)),
        own,
        date,
        tuple(Correction(*each) for each in json.loads(corrections)),
    )


def choice_row(choice: Choice) -> list[Any]:
    """The columns of what was chosen for a file; JSON in ASCII, which either home takes as it is."""
    corrections = [[each.before, each.was, each.now] for each in choice.corrections]
    tags = None if choice.tags is None else json.dumps(choice.tags)
    return [int(choice.left_out), json.dumps(choice.ocr_pages), tags, choice.date, json.dumps(corrections)]


class Listed(NamedTuple):
    """A document by its name; `indexed_at` is when it was read, in seconds since 1970."""

    id: int
    folder: str
    path: str
    title: str
    hash: str
    indexed_at: float


class Extent(NamedTuple):
    """How much a document is; `pages` is None where its format has none."""

    path: str
    language: str
    chunks: int
    pages: int | None


class Unchanged(NamedTuple):
    """A document whose file has not changed since `mtime_ns`, in nanoseconds since 1970."""

    folder: str
    path: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a knowledge base: its report card where it was read, and why it could not be (the last time).

    `left_out`: why it is left out, where it is.
    """

    folder: str
    path: str
    document_id: int | None = None
    card: Card | None = None
    failure: FileError | None = None
    left_out: FileError | None = None


class Listing(Rows):
    """The documents and files of one knowledge base."""

    def folders(self) -> list[str]:
        """Absolute paths of the folders this knowledge base follows."""
        return [path for (path,) in self._rows("SELECT path FROM folders ORDER BY id")]

    def documents_of(self, folder: str) -> int:
        """How many documents a folder has, by its absolute path."""
        sql = "SELECT count(*) FROM documents WHERE folder_id = (SELECT id FROM folders WHERE path = ?)"
        return self._rows(sql, [folder])[0][0]

    def documents(self) -> list[Listed]:
        """Every document, in order of folder and path."""
        return list(map(Listed._make, self._rows(f"{_LISTED} ORDER BY f.path, d.path")))

    def document(self, document_id: int) -> Listed | None:
        """One document; None where it is gone."""
        return next(map(Listed._make, self._rows(f"{_LISTED} WHERE d.id = ?", [document_id])), None)

    def paths(self) -> list[str]:
        """The path of every document, in order; one that two folders have stands there twice."""
        return [path for (path,) in self._rows("SELECT path FROM documents ORDER BY path")]

    def extents(self) -> Iterator[Extent]:
        """How much each document is."""
        for rows in self._batches("SELECT path, language, chunks, pages FROM documents ORDER BY id", [], 1_000):
            yield from map(Extent._make, rows)

    def unchanged(self, since_ns: int, count: int) -> tuple[list[Unchanged], int]:
        """The so many documents whose files have not changed since then for longest, and how many there are."""
        sql = "FROM documents d JOIN folders f ON f.id = d.folder_id WHERE mtime_ns < ?"
        ((total,),) = self._rows(f"SELECT count(*) {sql}", [since_ns])
        rows = self._rows(f"SELECT f.path, d.path, mtime_ns {sql} ORDER BY mtime_ns, d.id LIMIT ?", [since_ns, count])
        return list(map(Unchanged._make, rows)), total

    def last_read(self) -> float | None:
        """When a document was read last, in seconds since 1970; None where there is none."""
        return self._rows("SELECT max(indexed_at) FROM documents")[0][0]

    def files(self, state: FileState, name: str, first: int, count: int) -> tuple[list[FileRow], int]:
        """Files `first` (from 0) to `first + count` in order of path whose path holds `name`, and how many there are.

        All from `first` on where `count` is negative. Those that are left out are listed by that state alone.
        """
        if state == "left_out":
            return self._left_out(name, first, count)
        columns = "language, characters, chunks, pages, empty_pages, ocr_pages, tables, encoding, seconds, notes, stale"
        sql = f"""FROM (
            SELECT f.path AS folder, d.path AS path, d.id AS id, {columns}, tags, date, x.error AS error, x.hint AS hint
            FROM documents d JOIN folders f ON f.id = d.folder_id
            LEFT JOIN failures x ON x.folder_id = d.folder_id AND x.path = d.path
            UNION ALL
            SELECT f.path, x.path, NULL, '', 0, 0, NULL, '[]', '[]', 0, NULL, 0, '[]', '', '[]', '', x.error, x.hint
            FROM failures x JOIN folders f ON f.id = x.folder_id
            WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.folder_id = x.folder_id AND d.path = x.path))
            WHERE ({_WHERE[state]}) AND {self._finds}(lower(path), lower(?)) > 0"""
        ((total,),) = self._rows(f"SELECT count(*) {sql}", [name])
        rows = self._rows(
            f"SELECT * {sql} ORDER BY path, folder LIMIT ? OFFSET ?", [name, count if count >= 0 else _ALL, first]
        )
        return [_file_row(row) for row in rows], total

    def _left_out(self, name: str, first: int, count: int) -> tuple[list[FileRow], int]:
        sql = f"""FROM left_out x JOIN folders f ON f.id = x.folder_id
                  WHERE {self._finds}(lower(x.path), lower(?)) > 0"""
        ((total,),) = self._rows(f"SELECT count(*) {sql}", [name])
        columns = f"SELECT x.path, error, hint, f.path {sql} ORDER BY x.path, f.path LIMIT ? OFFSET ?"
        rows = self._rows(columns, [name, count if count >= 0 else _ALL, first])
        return [
            FileRow(folder, path, left_out=FileError(path, error, hint, folder=folder))
            for path, error, hint, folder in rows
        ], total

    def left_out(self, folder: str) -> list[FileError]:
        """The files of a folder that the last run left out, and why; in order of path."""
        sql = """SELECT x.path, error, hint FROM left_out x JOIN folders f ON f.id = x.folder_id WHERE f.path = ?
                 ORDER BY x.path"""
        return [FileError(*row, folder=folder) for row in self._rows(sql, [folder])]

    def choices(self, folder: str) -> dict[str, Choice]:
        """What people chose for files of a folder, by path."""
        sql = f"SELECT x.path, {CHOSEN} FROM choices x JOIN folders f ON f.id = x.folder_id WHERE f.path = ?"
        return {path: choice_of(row) for path, *row in self._rows(sql, [folder])}

    def known_files(self, folder: str, below: str = "") -> Iterator[KnownFile]:
        """The files of a folder, by its absolute path, that are or lie below a path in it; in order of path."""
        where = "AND (d.path = ? OR d.path >= ? AND d.path < ?)" if below else ""
        sql = f"""SELECT d.id, d.path, size, mtime_ns, ctime_ns, hash, checked_ns FROM documents d
                  WHERE folder_id = (SELECT id FROM folders WHERE path = ?) {where} ORDER BY d.path"""
        between = [below, f"{below}/", f"{below}0"] if below else []
        for rows in self._batches(sql, [folder, *between], 1_000):
            yield from map(KnownFile._make, rows)

    def known_failures(self, folder: str) -> dict[str, KnownFailure]:
        """The files of a folder that could not be read when they were last tried, by path."""
        sql = """SELECT x.path, size, mtime_ns, ctime_ns, checked_ns, error, hint, reader FROM failures x
                 JOIN folders f ON f.id = x.folder_id WHERE f.path = ?"""
        return {row[0]: KnownFailure._make(row) for row in self._rows(sql, [folder])}

    def read_in_part(self, reader: str) -> set[int]:
        """Ids of documents with pages that had no text for another reader than this one."""
        return {i for (i,) in self._rows("SELECT id FROM documents WHERE reader != '' AND reader != ?", [reader])}

    def failures(self) -> list[FileError]:
        """Every file that could not be read when it was last tried."""
        sql = """SELECT x.path, error, hint, f.path FROM failures x JOIN folders f ON f.id = x.folder_id
                 ORDER BY x.path, f.id"""
        return [FileError(path, error, hint, folder=folder) for path, error, hint, folder in self._rows(sql)]

    def cards(self, since: float = 0.0) -> Iterator[Card]:
        """The report card of every document that was read since a time (seconds since 1970), in order of path."""
        for rows in self._batches(f"SELECT {_CARD} WHERE indexed_at >= ? ORDER BY d.path, f.id", [since], 1_000):
            yield from map(_card, rows)

    def card(self, document_id: int) -> Card | None:
        """The report card of one document; None where it is gone."""
        return next(map(_card, self._rows(f"SELECT {_CARD} WHERE d.id = ?", [document_id])), None)


def _card(row: tuple[Any, ...]) -> Card:
    path, tongue, characters, chunks, pages, empty, ocr, tables, encoding, seconds, notes, stale, *named, folder = row
    return Card(
        path, tongue, characters, chunks, pages, tuple(json.loads(empty)), tuple(json.loads(ocr)), tables, encoding,
        seconds, tuple(json.loads(notes)), stale, folder, tuple(json.loads(named[0])), named[1],
    )  # fmt: skip


def _file_row(row: tuple[Any, ...]) -> FileRow:
    folder, path, document_id, *read, error, hint = row
    card = None if document_id is None else _card((path, *read, folder))
    failure = None if error is None else FileError(path, error, hint or "", folder=folder)
    return FileRow(folder, path, document_id, card, failure)
