"""Dense search: the nearest unit vectors by inner product, with chunk ids. A cache of the catalog."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.errors import CatalogError
from core.files import sync_folder
from core.types import F32, I64
from retrieval.allowed import Allowed
from retrieval.catalog import Catalog
from retrieval.nearest import SAMPLE_PER_LIST, Nearest, lists_for

_MARK = b"\nragstone-vectors "
_FORM = 1  # of the file; one of another form is built anew from the catalog
_TRAILER = 512  # bytes at the end of the file that hold the mark and a JSON record
_GROWTH = 4  # times as many vectors as an index was made for, or a 4th: it is made anew
_SHRUNK = 0.8  # of `exact_below`: from here down an approximate index is made anew as an exact one
_QUESTIONS = 100  # stored vectors by which recall is measured
_TIE = 2e-5  # scores this close are the same; they are summed in another order


class Vectors:
    """An inner-product index that stands at a generation of the catalog; exact below a number of vectors."""

    def __init__(self, dimension: int, exact_below: int) -> None:
        self.dimension = dimension
        self.exact_below = exact_below
        self.generation = 0
        self.on_disk = False  # whether a file that can be loaded holds these vectors, or most of them
        self._nearest = Nearest.exact(dimension)
        self._recall = (-1, 1.0)  # as last measured, and at which generation

    def __len__(self) -> int:
        return len(self._nearest)

    @classmethod
    def load(cls, file: Path, dimension: int, exact_below: int) -> "Vectors":
        """The index of a file; an empty one where the file is missing, damaged or of another dimension.

        FAISS loads a file with a flipped byte without complaint, so the checksum decides.
        """
        vectors = cls(dimension, exact_below)
        record = _read_record(file)
        if record is None or record.get("dimension") != dimension:
            return vectors
        try:
            vectors._nearest = Nearest.read(file)
        except RuntimeError:
            return vectors  # rebuilt from the catalog by `catch_up`
        vectors.generation = int(record["generation"])
        vectors.on_disk = True
        return vectors

    def save(self, file: Path) -> None:
        """Write aside, checksum, fsync, rename: the file is whole or the old one."""
        aside = file.with_suffix(".writing")
        try:
            self._nearest.write(aside)
            with aside.open("r+b") as handle:
                checksum = hashlib.file_digest(handle, "sha256").hexdigest()
                record = {"form": _FORM, "generation": self.generation, "dimension": self.dimension, "sha256": checksum}
                handle.seek(0, os.SEEK_END)
                handle.write((_MARK + json.dumps(record).encode()).rjust(_TRAILER, b" "))
                handle.flush()
                os.fsync(handle.fileno())
            aside.replace(file)
            sync_folder(file.parent)
            self.on_disk = True
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise CatalogError(
                f"{str(file)!r} could not be written: {cause(error)}",
                "free some space; nothing is lost, and the next run writes it again",
            ) from error

    def catch_up(self, catalog: Catalog) -> int:
        """Bring the index to the catalog's generation by its delta; returns how many vectors were added.

        It is built from nothing where there is no delta, and where adding would leave an exact index far too large.
        """
        if self.generation and self.generation == catalog.generation:
            return 0
        added = 0
        with catalog.snapshot():
            generation = catalog.generation
            if self.generation < int(catalog.meta("log_starts", "0")) or self._floods(catalog):
                self.generation = 0  # the log of removals does not reach back to us, or too much is new
            if not self.generation:
                self._nearest = self._empty(catalog)
            elif removed := catalog.removed_since(self.generation):
                self._nearest.remove(np.asarray(removed, np.int64))
            for ids, vectors in self._stored(catalog, self.generation):
                self._nearest.add(ids, vectors)
                added += len(ids)
        self.generation = generation
        return added

    def _floods(self, catalog: Catalog) -> bool:
        """Whether what is new would make an exact index many times larger than one should be."""
        limit = _GROWTH * self.exact_below
        return not self.approximate and len(self) + catalog.changes_since(self.generation) > limit

    def _empty(self, catalog: Catalog) -> Nearest:
        """An index of the kind and size that suits the catalog, without vectors."""
        total = catalog.counts().dense
        if total >= max(self.exact_below, 1):
            lists = lists_for(total)
            sample = self._every(catalog, total // (lists * SAMPLE_PER_LIST))
            if len(sample):  # a damaged catalog may have lost them all
                return Nearest.approximate(sample, lists)
        return Nearest.exact(self.dimension)

    def _every(self, catalog: Catalog, step: int) -> F32:
        """Every `step`-th vector of the catalog, (n, dimension)."""
        parts = [vectors[:: max(step, 1)].copy() for _, vectors in self._stored(catalog, 0)]  # not a view of all
        return np.concatenate([np.zeros((0, self.dimension), np.float32), *parts])

    def _stored(self, catalog: Catalog, since: int) -> Iterator[tuple[I64, F32]]:
        for ids, vectors in catalog.vectors_since(since):
            if vectors.shape[1] != self.dimension:
                raise CatalogError(
                    f"the catalog holds vectors of {vectors.shape[1]} numbers, the embedder makes {self.dimension}",
                    "run `ragstone index DIR --rebuild`",
                )
            yield ids, vectors

    @property
    def approximate(self) -> bool:
        """Whether a search may miss some of the nearest."""
        return self._nearest.lists > 0

    @property
    def outgrown(self) -> bool:
        """Whether an index made anew would be of the other kind, or have many more or fewer lists."""
        n, lists = len(self), self._nearest.lists
        if not self.approximate:
            return n >= max(self.exact_below, 1)
        if n < _SHRUNK * self.exact_below:  # not at once, or a chunk that comes and goes would rebuild it every time
            return True
        return n > 0 and not lists**2 / _GROWTH <= lists_for(n) ** 2 <= lists**2 * _GROWTH

    def search(self, vector: F32, k: int, among: Allowed | None = None) -> list[tuple[int, float]]:
        """The k nearest chunks of a (dimension,) unit vector: (id, cosine), best first; fewer where there are fewer.

        `among` limits the search to these chunks. Exact where fewer than `exact_below` chunks may be found.
        Raises `CatalogError` for a vector of another length and `ValueError` for one that is not finite.
        """
        vector = np.ascontiguousarray(vector, np.float32)
        if vector.shape != (self.dimension,):
            raise CatalogError(
                f"the question's vector has the shape {vector.shape}, the index holds {self.dimension} numbers each",
                "set retrieval.embedder to what the knowledge base was made with",
            )
        if not np.isfinite(vector).all():
            raise ValueError("the question's vector holds NaN or infinity")
        allowed = len(self) if among is None else len(among)
        return self._nearest.search(vector, k, among, exact=allowed < self.exact_below)

    def recall(self, catalog: Catalog, k: int = 10) -> float:
        """Share of the k nearest that `search` finds, over stored vectors as questions; 1.0 where it is exact.

        What exact search says comes from the catalog's vectors. Any chunk that is as near as the k-th counts as found.
        """
        if not self.approximate or not len(self):
            return 1.0
        if self._recall[0] != self.generation:
            self._recall = (self.generation, self._measured_recall(catalog, min(k, len(self))))
        return self._recall[1]

    def _measured_recall(self, catalog: Catalog, k: int) -> float:
        with catalog.snapshot():
            questions = self._every(catalog, len(self) // _QUESTIONS)[:_QUESTIONS]
            best = np.full((len(questions), k), -np.inf, np.float32)
            for _, vectors in self._stored(catalog, 0):
                scores = np.concatenate([best, questions @ vectors.T], axis=1)
                best = np.partition(scores, -k, axis=1)[:, -k:]
        least = best.min(axis=1) - _TIE
        found = [sum(score >= low for _, score in self.search(q, k)) for q, low in zip(questions, least, strict=True)]
        return sum(found) / (k * max(len(questions), 1))

    def ids(self) -> set[int]:
        """Ids of all vectors held."""
        return set(self._nearest.ids().tolist())


def damaged(file: Path) -> bool:
    """Whether a file is there that is not what `save` wrote."""
    return has_form(file) and _read_record(file) is None


def has_form(file: Path) -> bool:
    """Whether a file is there that does not say it has another form than is written here; it may be damaged."""
    try:
        with file.open("rb") as handle:
            record = _trailer(handle)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(file, error) from error
    return not record or record.get("form", 1) == _FORM


def _read_record(file: Path) -> dict[str, Any] | None:
    """The record at the end of the file, if the file matches its checksum."""
    try:
        with file.open("rb") as handle:
            record = _trailer(handle)
            size = handle.tell() - _TRAILER
            handle.seek(0)
            digest = hashlib.sha256()
            while record and size > 0 and (block := handle.read(min(size, 1 << 20))):
                digest.update(block)
                size -= len(block)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(file, error) from error
    whole = digest.hexdigest() == record.get("sha256") and record.get("form", 1) == _FORM
    return record if whole else None


def _trailer(handle: IO[bytes]) -> dict[str, Any]:
    """The record at the end of a file that is read to its end; empty where there is none."""
    handle.seek(max(handle.seek(0, os.SEEK_END) - _TRAILER, 0))
    _, _, text = handle.read().partition(_MARK)
    try:
        return dict(json.loads(text or b"{}"))
    except (ValueError, TypeError):
        return {}


def _unreadable(file: Path, error: OSError) -> CatalogError:
    return CatalogError(f"{str(file)!r} could not be read: {error}", "check the disk and the permissions")


def cause(error: Exception) -> str:
    """What the operating system said, out of what a library makes of it."""
    text = str(error)
    known = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES))
    return next((words for words in known if words in text), text.splitlines()[-1])
