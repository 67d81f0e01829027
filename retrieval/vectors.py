"""Dense search: FAISS over unit vectors by inner product, with chunk ids. A cache of the catalog."""

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CatalogError
from core.types import F32, I64
from retrieval.catalog import Catalog

_MARK = b"\nragstone-vectors "
_TRAILER = 512  # bytes at the end of the file that hold the mark and a JSON record


class Vectors:
    """An exact inner-product index that stands at a generation of the catalog."""

    def __init__(self, dimension: int) -> None:
        import faiss

        self.dimension = dimension
        self.generation = 0
        self.on_disk = False  # whether a file that can be loaded holds these vectors, or most of them
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def load(cls, file: Path, dimension: int) -> "Vectors":
        """The index of a file; an empty one where the file is missing, damaged or of another dimension.

        FAISS loads a file with a flipped byte without complaint, so the checksum decides.
        """
        import faiss

        vectors = cls(dimension)
        record = _read_record(file)
        if record is None or record["dimension"] != dimension:
            return vectors
        try:
            vectors._index = faiss.read_index(str(file))
        except RuntimeError:
            return vectors  # rebuilt from the catalog by `catch_up`
        vectors.generation = int(record["generation"])
        vectors.on_disk = True
        return vectors

    def save(self, file: Path) -> None:
        """Write aside, checksum, fsync, rename: the file is whole or the old one."""
        import faiss

        aside = file.with_suffix(".writing")
        try:
            faiss.write_index(self._index, str(aside))
            with aside.open("r+b") as handle:
                checksum = hashlib.file_digest(handle, "sha256").hexdigest()
                record = {"generation": self.generation, "dimension": self.dimension, "sha256": checksum}
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
        """Bring the index to the catalog's generation by its delta; returns how many vectors were added."""
        added = 0
        with catalog.snapshot():
            if self.generation < int(catalog.meta("log_starts", "0")):  # the log of removals does not reach back to us
                self._index.reset()
                self.generation = 0
            generation = catalog.generation
            if self.generation and (removed := catalog.removed_since(self.generation)):
                self._index.remove_ids(np.asarray(removed, np.int64))
            for ids, vectors in catalog.vectors_since(self.generation):
                self._add(ids, vectors)
                added += len(ids)
        self.generation = generation
        return added

    def _add(self, ids: I64, vectors: F32) -> None:
        if vectors.shape[1] != self.dimension:
            raise CatalogError(
                f"the catalog holds vectors of {vectors.shape[1]} numbers, the embedder makes {self.dimension}",
                "run `ragstone index DIR --rebuild`",
            )
        self._index.add_with_ids(np.ascontiguousarray(vectors), ids)

    def search(self, vector: F32, k: int) -> list[tuple[int, float]]:
        """The k nearest chunks of a (dimension,) unit vector: (id, cosine), best first; fewer where there are fewer."""
        k = min(k, len(self))
        if k == 0:
            return []
        scores, ids = self._index.search(np.ascontiguousarray(vector[None, :]), k)
        return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]

    def ids(self) -> set[int]:
        """Ids of all vectors held."""
        import faiss

        return set(faiss.vector_to_array(self._index.id_map).tolist())


def damaged(file: Path) -> bool:
    """Whether a file is there that is not what `save` wrote."""
    return file.exists() and _read_record(file) is None


def _read_record(file: Path) -> dict[str, Any] | None:
    """The record at the end of the file, if the file matches its checksum."""
    try:
        size = file.stat().st_size - _TRAILER
        with file.open("rb") as handle:
            handle.seek(max(size, 0))
            trailer = handle.read(_TRAILER)
            if _MARK not in trailer:
                return None
            record = json.loads(trailer.partition(_MARK)[2])
            handle.seek(0)
            digest = hashlib.sha256()
            while size > 0 and (block := handle.read(min(size, 1 << 20))):
                digest.update(block)
                size -= len(block)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CatalogError(f"{str(file)!r} could not be read: {error}", "check the disk and the permissions") from error
    return record if digest.hexdigest() == record["sha256"] else None


def cause(error: Exception) -> str:
    """What the operating system said, out of what a library makes of it."""
    text = str(error)
    known = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES))
    return next((words for words in known if words in text), text.splitlines()[-1])


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
