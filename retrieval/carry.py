"""A knowledge base from one home into another: every document with its chunks, vectors and card, nothing read anew.

What was carried is compared by digests of all that both homes keep, so that a run that was cut short goes on, and one
that ended is known to have lost nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from core.errors import CatalogError
from core.types import F32, Choice, FileEntry, FileError
from retrieval.catalog import Catalog as Files
from retrieval.index import Index
from retrieval.store import Catalog
from retrieval.transaction import ChunkRow

_TOGETHER = 32  # documents in a transaction
_COLUMNS = (
    "path", "size", "mtime_ns", "ctime_ns", "hash", "checked_ns", "title", "language", "pages", "empty_pages",
    "ocr_pages", "tables", "characters", "chunks", "encoding", "notes", "seconds", "tags", "date", "stale", "reader",
    "indexed_at", "sketch",
)  # fmt: skip
_DOCUMENT = ", ".join(f"d.{name}" for name in _COLUMNS)
_CHUNK = 'c.id, c.ordinal, c.start, c."end", c.page, c.headings, c.language, c.tokens, c.text, c.key'
_FAILURE = "path, size, mtime_ns, ctime_ns, checked_ns, error, hint, reader"


class Carried(Catalog, Protocol):
    """A catalog of which the rows can be had, and into which they can be put: that of either home of ours."""

    def asked(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question about the tables."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A document with all that is kept of it; `vectors` are those of the chunks with a key, in order."""

    folder: str
    document: dict[str, Any]
    chunks: list[ChunkRow]
    vectors: F32

    @property
    def digest(self) -> str:
        """The same for the same document in either home, of which one keeps U+FFFD for U+0000."""
        document = self.document | {"tags": json.loads(self.document["tags"])}
        values = [self.folder, *document.values(), *(value for chunk in self.chunks for value in chunk)]
        told = [value.hex() if isinstance(value, bytes) else value for value in values]
        text = json.dumps(told, ensure_ascii=False).replace("\\u0000", "\ufffd")
        return hashlib.sha256(text.encode() + self.vectors.astype(np.float16).tobytes()).hexdigest()


def copy_to(index: Index, file: Path) -> None:
    """The catalog of a knowledge base as of one moment, as a SQLite file whatever its home is."""
    if index.where is None:
        index.files.copy_to(file)
        return
    with closing(Files.create(file)) as copied:
        copied.set_manifest(index.catalog.manifest())
        with index.catalog.snapshot():
            carry(cast("Carried", index.catalog), copied, quiet)


def quiet(stage: str, done: int, total: int) -> None:
    """A progress listener that shows nothing."""


def whole(catalog: Carried, document_id: int) -> Whole:
    """A document as a catalog keeps it. Raises `CatalogError` where a vector of it is lost."""
    sql = f"SELECT f.path, {_DOCUMENT} FROM documents d JOIN folders f ON f.id = d.folder_id WHERE d.id = ?"
    ((folder, *values),) = catalog.asked(sql, [document_id])
    rows = catalog.asked(f"SELECT {_CHUNK} FROM chunks c WHERE c.document_id = ? ORDER BY c.ordinal", [document_id])
    ids, found = catalog.vectors_of(document_id)
    by_id = dict(zip(ids.tolist(), found, strict=True))
    document = {name: bytes(value) if name == "sketch" else value for name, value in zip(_COLUMNS, values, strict=True)}
    chunks = [ChunkRow._make((*row[1:-1], None if row[-1] is None else bytes(row[-1]))) for row in rows]
    keyed = [row[0] for row, chunk in zip(rows, chunks, strict=True) if chunk.key is not None]
    if lost := [i for i in keyed if i not in by_id]:
        raise CatalogError(
            f"{len(lost)} passages of {document['path']!r} have lost their vectors",
            "`ragstone verify --repair`, then index its folder again",
        )
    vectors = np.stack([by_id[i] for i in keyed]) if keyed else np.zeros((0, 0), np.float32)
    return Whole(folder, document, chunks, vectors)


def carry(source: Carried, target: Carried, progress: Callable[[str, int, int], None]) -> None:
    """Have `target`, which has the same manifest, hold what `source` does; what is there already stays.

    Nobody may write either meanwhile. Raises `CatalogError` where they are not equal in the end.
    """
    there = dict(_places(target))
    wanted = list(_places(source))
    for _, folder in source.asked("SELECT id, path FROM folders ORDER BY id"):
        target.folder_id(folder)
    for place in there.keys() - dict(wanted):
        with target.transaction() as write:
            write.remove(there.pop(place))
    done = 0
    for start in range(0, len(wanted), _TOGETHER):
        some = wanted[start : start + _TOGETHER]
        new = [_new(source, target, i, there.get(place)) for place, i in some]
        _put(target, [each for each in new if each is not None], there)
        done += len(some)
        progress("carry", done, len(wanted))
    _carry_failures(source, target)
    _carry_choices(source, target)
    target.drop_unused_embeddings()
    compare(source, target, progress)


def _places(catalog: Carried) -> Iterator[tuple[tuple[str, str], int]]:
    """((folder, path), id) of every document, in the order in which they came."""
    sql = "SELECT f.path, d.path, d.id FROM documents d JOIN folders f ON f.id = d.folder_id ORDER BY d.id"
    return (((folder, path), i) for folder, path, i in catalog.asked(sql))


def _new(source: Carried, target: Carried, document_id: int, known: int | None) -> Whole | None:
    """A document that the target lacks, or has otherwise."""
    found = whole(source, document_id)
    return None if known is not None and whole(target, known).digest == found.digest else found


def _put(target: Carried, documents: list[Whole], there: dict[tuple[str, str], int]) -> None:
    keys = [chunk.key for each in documents for chunk in each.chunks if chunk.key is not None]
    if keys:
        target.put_embeddings(keys, np.concatenate([each.vectors for each in documents if len(each.vectors)]))
    if documents:
        with target.transaction() as write:
            for each in documents:
                if (old := there.get((each.folder, each.document["path"]))) is not None:
                    write.remove(old)
                write.insert({"folder_id": target.folder_id(each.folder)} | each.document, each.chunks)


def _failures(catalog: Carried) -> list[tuple[Any, ...]]:
    columns = ", ".join(f"x.{name.strip()}" for name in _FAILURE.split(","))
    return catalog.asked(f"SELECT f.path, {columns} FROM failures x JOIN folders f ON f.id = x.folder_id ORDER BY 1, 2")


def _carry_failures(source: Carried, target: Carried) -> None:
    with target.transaction() as write:
        for folder in source.folders():
            write.keep_failures(target.folder_id(folder), ())
        for folder, *values in _failures(source):
            path, size, mtime_ns, ctime_ns, seen_ns, error, hint, reader = values
            entry = FileEntry(path, size, mtime_ns, ctime_ns, seen_ns)
            write.fail(target.folder_id(folder), entry, FileError(path, error, hint), reader)


def _choices(catalog: Carried) -> dict[str, tuple[dict[str, Choice], list[FileError]]]:
    """By folder: what people chose for files, and which were left out."""
    return {folder: (catalog.choices(folder), catalog.left_out(folder)) for folder in catalog.folders()}


def _carry_choices(source: Carried, target: Carried) -> None:
    with target.transaction() as write:
        for folder, (choices, left_out) in _choices(source).items():
            folder_id = target.folder_id(folder)
            for path in target.choices(folder).keys() | choices:
                write.choose(folder_id, path, choices.get(path, Choice()))
            write.leave_out(folder_id, left_out)


def compare(source: Carried, target: Carried, progress: Callable[[str, int, int], None]) -> None:
    """Raise `CatalogError` where two catalogs do not hold the same: documents, chunks, vectors, cards and failures."""
    other, wanted = dict(_places(target)), list(_places(source))
    wrong = [path for (folder, path), _ in wanted if (folder, path) not in other]
    for done, (place, i) in enumerate(wanted, start=1):
        if place in other and whole(source, i).digest != whole(target, other[place]).digest:
            wrong.append(place[1])
        progress("compare", done, len(wanted))
    same = (
        len(other) == len(wanted)
        and source.counts() == target.counts()
        and source.manifest() == target.manifest()
        and len(_failures(source)) == len(_failures(target))
        and _choices(source) == _choices(target)
    )
    if wrong or not same:
        raise CatalogError(
            f"what was carried is not what was there: {len(wrong)} documents differ, such as {wrong[:1] or 'none'}",
            "nothing was changed; run it again, and `ragstone verify` where it stays so",
        )
