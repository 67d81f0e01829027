"""What is drawn on a PDF page, in the order in which it is drawn. Source: fpdf_edit.h."""

from collections import deque
from ctypes import byref, c_float, c_uint, c_void_p, cast
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.readers.pdf_glyphs import Boxes, bounds, quick

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

TEXT, PATH, IMAGE, SHADING, FORM = 1, 2, 3, 4, 5
_MOVE, _LINE = 2, 0
_WIDE, _HIGH = 6.0, 4.0  # points: what may cover a character
_MOST_COVERS, _MOST_PAIRS, _BLOCK = 1000, 20_000, 500
_MOST, _MOST_POINTS, _MOST_PIECES = 20_000, 4000, 100_000


@dataclass(slots=True)
class Drawn:
    """The objects of a page, those drawn later after the others; inside a form they are not told apart."""

    kinds: NDArray[np.int64]
    boxes: Boxes
    pointers: list[Any]

    def of_kind(self, kind: int) -> NDArray[np.int64]:
        """The places of the objects of a kind."""
        return np.flatnonzero(self.kinds == kind)


def drawn_on(page: "PdfPage") -> Drawn:
    """The objects of a page; the boxes of texts are not asked for."""
    import pypdfium2.raw as raw

    count = min(raw.FPDFPage_CountObjects(page.raw), _MOST)
    found = map(quick("FPDFPage_GetObject"), repeat(cast(page.raw, c_void_p)), range(count))
    pointers = list(map(c_void_p, found))
    kinds = np.array(list(map(quick("FPDFPageObj_GetType"), pointers)), np.int64)
    boxes = np.zeros((count, 4))
    others = np.flatnonzero(kinds != TEXT)
    boxes[others] = bounds([pointers[place] for place in others.tolist()])
    return Drawn(kinds, boxes, pointers)


def over_text(drawn: Drawn, area: float) -> dict[int, list[int]]:
    """Pictures and filled shapes that are drawn over texts: for each text the places of those that cover part of it.

    `area` is that of the page.
    """
    texts = drawn.of_kind(TEXT)
    boxes = drawn.boxes
    large = (boxes[:, 2] - boxes[:, 0] > _WIDE) & (boxes[:, 3] - boxes[:, 1] > _HIGH)
    # A scan may lie over the text that was recognised of it.
    scans = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) > 0.3 * area
    later = np.flatnonzero(large & ((drawn.kinds == PATH) | ((drawn.kinds == IMAGE) & ~scans)))
    later = later[later > texts[0]][:_MOST_COVERS] if len(texts) else later[:0]
    if not len(later):
        return {}
    found: dict[int, list[int]] = {}
    opaque: dict[int, bool] = {}
    pairs = 0
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        own = bounds([drawn.pointers[text] for text in block.tolist()])
        width = np.minimum(own[:, None, 2], boxes[None, later, 2]) - np.maximum(own[:, None, 0], boxes[None, later, 0])
        height = np.minimum(own[:, None, 3], boxes[None, later, 3]) - np.maximum(own[:, None, 1], boxes[None, later, 1])
        tall = own[:, 3] - own[:, 1]
        over = (block[:, None] < later[None, :]) & (width > 2) & (height > 0.8 * tall[:, None])
        for text, cover in zip(*(axis.tolist() for axis in np.nonzero(over)), strict=True):
            if (is_opaque := opaque.get(cover)) is None:
                is_opaque = opaque[cover] = _is_opaque(drawn, int(later[cover]))
            if is_opaque:
                place = int(later[cover])
                found.setdefault(int(block[text]), []).append(place)
            pairs += 1
            if pairs == _MOST_PAIRS:
                return found
    return found


def _is_opaque(drawn: Drawn, place: int) -> bool:
    """Whether a picture or a shape hides what lies below it."""
    import pypdfium2.raw as raw

    shape = drawn.pointers[place]
    filled = drawn.kinds[place] == IMAGE or (colour(shape) or (0, 0, 0, 0))[3] == 255
    return bool(filled and not raw.FPDFPageObj_HasTransparency(cast(shape, raw.FPDF_PAGEOBJECT)))


def strokes(drawn: Drawn, paths: NDArray[np.int64]) -> Boxes:
    """The straight pieces of some paths, from point to point: (x, y, x, y) each."""
    if not len(paths):
        return np.zeros((0, 4))
    pointers = [drawn.pointers[path] for path in paths.tolist()]
    counts = np.minimum(np.array(list(map(quick("FPDFPath_CountSegments"), pointers)), np.int64), _MOST_POINTS)
    counts[np.cumsum(counts) > _MOST_PIECES] = 0
    owner = np.repeat(np.arange(len(paths)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    owners = [pointers[i] for i in owner.tolist()]
    pieces = list(map(c_void_p, map(quick("FPDFPath_GetPathSegment"), owners, number.tolist())))
    kinds = np.array(list(map(quick("FPDFPathSegment_GetType"), pieces)), np.int64)
    closes = np.array(list(map(quick("FPDFPathSegment_GetClose"), pieces)), bool)
    points = _points(pieces)
    values = np.zeros((len(pointers), 6), np.float32)
    matrices = (c_float * values.size).from_buffer(values.data)
    deque(map(quick("FPDFPageObj_GetMatrix"), pointers, [byref(matrices, 24 * i) for i in range(len(pointers))]), 0)
    a, b, c, d, e, f = values.astype(np.float64)[owner].T
    x, y = points.T
    points = np.stack([a * x + c * y + e, b * x + d * y + f], axis=1)
    moves = np.maximum.accumulate(np.where(kinds == _MOVE, np.arange(len(kinds)), 0))  # where the figure of each began
    lines = np.flatnonzero((kinds == _LINE) & (number > 0))
    ends = np.flatnonzero(closes & (moves >= np.arange(len(kinds)) - number))
    return np.concatenate(
        [np.hstack([points[lines - 1], points[lines]]), np.hstack([points[ends], points[moves[ends]]])]
    )


def _points(pieces: list[Any]) -> NDArray[np.float64]:
    points = np.zeros((len(pieces), 2), np.float32)
    if not pieces:
        return points.astype(np.float64)
    memory = (c_float * points.size).from_buffer(points.data)
    refs = [[byref(memory, 8 * i + 4 * edge) for i in range(len(pieces))] for edge in (0, 1)]
    deque(map(quick("FPDFPathSegment_GetPoint"), pieces, *refs), 0)
    return points.astype(np.float64)


def colour(shape: Any) -> tuple[int, int, int, int] | None:
    """Red, green, blue and alpha, of 255, that fill an object."""
    channels = (c_uint * 4)()
    if not quick("FPDFPageObj_GetFillColor")(shape, *(byref(channels, 4 * i) for i in range(4))):
        return None
    red, green, blue, alpha = channels
    return red, green, blue, alpha
