"""A passage where it stands: the page of its PDF as a picture with the passage marked, or the text around it."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from core.config import IngestConfig
from core.errors import CatalogError, ReadError
from core.sources import place
from core.types import Hit
from ingest.workers import draw_apart
from retrieval.index import Index

_AROUND = 2  # passages before and after that are shown with a text
_LONGEST = 6_000  # characters of them, on either side
_drawing = threading.BoundedSemaphore(2)  # pictures at once: each may take as much memory as reading a file may


@dataclass(frozen=True, slots=True)
class PassageText:
    """A passage with what its document says right before and after it."""

    before: str
    text: str
    after: str


def passage(index: Index, chunk_id: int) -> Hit:
    """A chunk by its id. Raises `CatalogError` where the knowledge base does not hold it (any more)."""
    hit = index.hits([chunk_id]).get(chunk_id) if 0 < chunk_id < 2**63 else None
    if hit is None:
        raise _gone(index, chunk_id)
    return hit


def _gone(index: Index, chunk_id: int) -> CatalogError:
    return CatalogError(
        f"{index.name!r} holds no passage {chunk_id}", "its file changed or left meanwhile: search again"
    )


def has_picture(hit: Hit) -> bool:
    """Whether `page_picture` can be asked for a passage: it stands on a page of a PDF."""
    return hit.page is not None and bool(hit.folder) and hit.path.lower().endswith(".pdf")


def page_picture(index: Index, chunk_id: int, cfg: IngestConfig) -> bytes:
    """The page that a passage stands on as a PNG of at most two megapixels, with the passage marked.

    Drawn by a process apart, within the limits for reading a file. Raises `CatalogError` for an unknown passage,
    `ReadError` where its file has no pages to draw, is away, or is not what was indexed any more.
    """
    hit = passage(index, chunk_id)
    if not has_picture(hit) or hit.page is None:
        raise ReadError(f"{hit.path!r} has no pages that can be drawn", "its text is shown instead")
    document = index.catalog.document(hit.document_id)
    if document is None:
        raise _gone(index, chunk_id)
    with _drawing:
        return draw_apart(place(index.home, hit.folder) / hit.path, document.hash, hit.page, hit.text, cfg)


def passage_text(index: Index, hit: Hit, around: int = _AROUND) -> PassageText:
    """A passage with the `around` passages of its document before and after it, as the index holds them."""
    near = index.catalog.around(hit.document_id, max(hit.ordinal - around, 0), hit.ordinal + around)
    before = _joined([chunk for chunk in near if chunk.ordinal < hit.ordinal], 0, hit.start)
    after = _joined([chunk for chunk in near if chunk.ordinal > hit.ordinal], hit.end, None)
    return PassageText(before[-_LONGEST:], hit.text, after[:_LONGEST])


def _joined(chunks: Iterable[Hit], reached: int, until: int | None) -> str:
    """The text of chunks in order; what overlaps, with each other or beyond `until`, is there once."""
    text = ""
    for chunk in chunks:
        piece = chunk.text[max(reached - chunk.start, 0) : None if until is None else max(until - chunk.start, 0)]
        text += ("\n" if chunk.start > reached > 0 else "") + piece  # only white space lies between
        reached = max(reached, chunk.end)
    return text + ("\n" if text and until and until > reached else "")
