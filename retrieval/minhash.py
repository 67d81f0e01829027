"""MinHash sketches: which documents say nearly the same (versions and copies of one page).

One-permutation hashing (Li, Owen and Zhang 2012) over runs of characters, empty bins filled by optimal densification
(Shrivastava 2017); candidates share a band of the sketch, and count from an estimated Jaccard similarity of 0.8.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.text import fold

SIMILAR = 0.8
_BINS = 120
_ROWS = 6  # of a band: two documents of similarity 0.8 share one of the 20 bands in 99.8 of 100 cases
_RUN = 8  # characters that are hashed together, white space left out
_SHORTEST = 100  # characters; below it, everything is alike
_LONGEST = 1_000_000  # characters; a sample of a longer text says as much

U64 = NDArray[np.uint64]


def sketch(text: str) -> bytes:
    """The sketch of a document, 480 bytes; empty for a text too short to compare."""
    folded = "".join(fold(text[:_LONGEST]).split())
    if len(folded) < _SHORTEST:
        return b""
    codes = np.frombuffer(folded.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    runs = np.zeros(len(codes) - _RUN + 1, np.uint64)
    for i in range(_RUN):
        runs = runs * np.uint64(1_000_003) + codes[i : len(codes) - _RUN + 1 + i]
    hashes = np.unique(_mixed(runs))  # in order, so that each bin is a stretch
    edges = np.array([(b << 64) // _BINS for b in range(_BINS)], np.uint64)
    first = np.searchsorted(hashes, edges)
    last = np.append(first[1:], len(hashes))
    lowest = hashes[np.minimum(first, len(hashes) - 1)]
    return _filled(lowest, first < last).astype("<u4").tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """The estimated Jaccard similarity of two documents, 0 to 1; 0 where one has no sketch."""
    if not one or not other:
        return 0.0
    return float((np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")).mean())


def bands(sketch: bytes) -> list[int]:
    """The keys under which similar documents find each other."""
    width = 4 * _ROWS
    pieces = (sketch[i : i + width] for i in range(0, len(sketch), width))
    hashed = (hashlib.blake2b(piece, digest_size=8, salt=bytes([i])) for i, piece in enumerate(pieces))
    return [int.from_bytes(h.digest(), "little", signed=True) for h in hashed]


def _mixed(values: U64) -> U64:
    """splitmix64: every bit of the outcome depends on every bit of the input."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _filled(lowest: U64, full: NDArray[np.bool_]) -> U64:
    """Each empty bin takes the value of a full one, chosen by the bin's number alone."""
    values = lowest & np.uint64(0xFFFFFFFF)
    empty = np.flatnonzero(~full)
    order = _donors()[empty]
    values[empty] = values[order[np.arange(len(empty)), full[order].argmax(axis=1)]]
    return values


@cache
def _donors() -> NDArray[np.int64]:
    """For each bin, the order in which the others are asked: (bins, bins)."""
    rng = np.random.Generator(np.random.PCG64(0))
    return np.array([rng.permutation(_BINS) for _ in range(_BINS)])
