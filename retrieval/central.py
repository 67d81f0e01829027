"""A document -> its passages, and how near each is to what the document as a whole speaks about."""

from dataclasses import dataclass

import numpy as np

from core.types import F32, Hit
from retrieval.index import Index


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A document: its passages in order, how central each is (a cosine; 0 where it has no vector), and the centre.

    `centre` is a unit vector; None where no passage has one.
    """

    hits: tuple[Hit, ...]
    nearness: tuple[float, ...]
    centre: F32 | None


def whole(index: Index, document_id: int) -> Whole:
    """All of a document, as the catalog has it now."""
    hits = index.catalog.chunks_of(document_id)
    ids, vectors = index.catalog.vectors_of(document_id)
    if not len(ids):
        return Whole(tuple(hits), (0.0,) * len(hits), None)
    centre = vectors.mean(axis=0)
    centre /= max(float(np.linalg.norm(centre)), 1e-9)
    near = dict(zip(ids.tolist(), (vectors @ centre).tolist(), strict=True))
    return Whole(tuple(hits), tuple(near.get(hit.chunk_id, 0.0) for hit in hits), centre)
