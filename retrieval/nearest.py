"""Nearest neighbours among unit vectors by inner product, with FAISS: exact for few, inverted lists for many.

Inverted lists (the coarse quantizer of Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search",
2011) hold float16 codes. That is what the catalog holds too, so scores are exact in both kinds, and the only thing that
is approximate is which lists a search looks into; one that looks into all of them is exact.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.types import F32, I64
from retrieval.allowed import Allowed

SAMPLE_PER_LIST = 40  # vectors to train on; FAISS asks for 39, with 20 recall is 0.005 lower
_ROUNDS = 5  # of k-means; 10 find no more
# Lists that a search looks into: 96 or, of many, every 16th. On 50,000 vectors of real passages and 500 questions, 64,
# 96 and 128 lists give a recall@10 of 0.986, 0.991 and 0.994; it hardly changes between 12,000 and 50,000 vectors.
_LEAST_PROBES = 96
_PROBE_SHARE = 1 / 16


def lists_for(n: int) -> int:
    """How many inverted lists suit n vectors."""
    return max(1, min(round(4 * math.sqrt(n)), n // SAMPLE_PER_LIST))


class Nearest:
    """Vectors by id in a FAISS index; made by `exact`, `approximate` or `read`."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.lists = int(getattr(index, "nlist", 0))  # 0: exact

    @classmethod
    def exact(cls, dimension: int) -> "Nearest":
        """An empty index that compares with every vector, in float32."""
        import faiss

        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)))

    @classmethod
    def approximate(cls, sample: F32, lists: int) -> "Nearest":
        """An empty index of inverted lists around the centres of a sample; the same sample gives the same lists."""
        import faiss

        lists = min(lists, len(sample))
        index: Any = faiss.index_factory(sample.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False  # codes are the vectors themselves
        index.cp.min_points_per_centroid, index.cp.niter = 1, _ROUNDS
        index.train(sample)
        return cls(index)

    @classmethod
    def read(cls, file: Path) -> "Nearest":
        """The index of a file. Raises `RuntimeError` where it is none; a flipped byte goes unseen."""
        import faiss

        return cls(faiss.read_index(str(file)))

    def write(self, file: Path) -> None:
        """Write the index to a file. Raises `RuntimeError` where that fails."""
        import faiss

        faiss.write_index(self._index, str(file))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: I64, vectors: F32) -> None:
        """Add (n, dimension) vectors."""
        self._index.add_with_ids(np.ascontiguousarray(vectors), ids)

    def remove(self, ids: I64) -> None:
        """Take out the vectors of these ids; one pass over all ids, however few leave."""
        self._index.remove_ids(ids)

    def ids(self) -> I64:
        """Ids of all vectors, in no particular order."""
        import faiss

        if not self.lists:
            return faiss.vector_to_array(self._index.id_map)
        held = self._index.invlists
        parts = [faiss.rev_swig_ptr(held.get_ids(i), held.list_size(i)).copy() for i in range(self.lists)]
        return np.concatenate(parts)

    def search(self, vector: F32, k: int, among: Allowed | None, *, exact: bool) -> list[tuple[int, float]]:
        """The k nearest to a (dimension,) vector of all, or of those that are `among`: (id, inner product).

        Best first, fewer only where there are fewer. `exact` looks into every list; else as many allowed vectors are
        compared with as there would be without a limit.
        """
        allowed = len(self) if among is None else len(among)
        k = min(k, allowed, len(self))
        if k <= 0:
            return []
        probes = max(_LEAST_PROBES, self.lists * _PROBE_SHARE) * len(self) / allowed
        lists = self.lists if exact else min(self.lists, math.ceil(probes))
        found = self._probe(vector, k, among, lists)
        return found if len(found) == k or lists == self.lists else self._probe(vector, k, among, self.lists)

    def _probe(self, vector: F32, k: int, among: Allowed | None, lists: int) -> list[tuple[int, float]]:
        import faiss

        sel = None if among is None else faiss.IDSelectorBitmap(among.bits)  # type: ignore[call-arg]
        params: Any = faiss.SearchParametersIVF() if self.lists else faiss.SearchParameters()
        params.sel = sel
        if self.lists:
            params.nprobe = lists
        with _one_thread():
            scores, ids = self._index.search(vector[None, :], k, params=params)
        return [(i, score) for i, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if i >= 0]


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for the FAISS calls that this thread makes inside.

    A search of a few ms gains little from more, and takes 100 ms where they wait for one that has no CPU.
    """
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
