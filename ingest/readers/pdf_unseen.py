"""Characters of a PDF page that nobody sees: of no colour or that of their ground, tiny, drawn not at all, of a layer
that is not shown.

Characters are looked at where the object that draws them is in doubt, and what is light is judged by the page as pdfium
draws it, whatever lies below and above. Text without ink stays where a picture covers it: it says what the picture
shows, as recognised scans do. Sources: ISO 32000-1, 9.3.6 (rendering modes); fpdf_text.h, fpdf_edit.h.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingest.readers.pdf_drawn import TEXT, Drawn, over_text
from ingest.readers.pdf_glyphs import Boxes, Glyphs
from ingest.readers.pdf_texts import TINY_PT, Doubt
from ingest.readers.unseen import COVERED, NOT_DISPLAYED, OUTSIDE, SAME_COLOUR, TINY, TRANSPARENT, Unseen

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_CONTRAST = 8  # of 255, in any channel, within the box of a character
_OBJECTS = 1000  # pictures of a page that are looked at
_PAIRS = 4_000_000  # of characters that are held against each other
_AROUND = 3.0  # points
_SIDE = 3000  # pixels of a page that is drawn


def layers_off(data: bytes) -> frozenset[str]:
    """The names of the optional content groups of a PDF that are not shown as it is opened (ISO 32000-1, 8.11.4)."""
    from pikepdf import Pdf, PdfError

    try:
        with Pdf.open(BytesIO(data)) as pdf:
            every = pdf.Root.get("/OCProperties", {})
            shown, config = {}, every.get("/D", {})
            for group in every.get("/OCGs", ()):
                shown[group.objgen] = str(group.get("/Name", "")), config.get("/BaseState", "/ON") != "/OFF"
            for state in ("/ON", "/OFF"):
                for group in config.get(state, ()):
                    shown[group.objgen] = str(group.get("/Name", "")), state == "/ON"
    except (PdfError, AttributeError, TypeError, ValueError):
        return frozenset()
    seen = {name for name, on in shown.values() if on}
    return frozenset(name for name, _ in shown.values()) - seen


def unseen_characters(
    page: "PdfPage", glyphs: Glyphs, outside: bool, tiny: bool, doubtful: Mapping[int, Doubt]
) -> dict[int, str]:
    """The characters of a page that nobody sees, each with the reason.

    `outside`: some may stand outside of it; `tiny`: some may be too small; `doubtful`: what draws them, by its address.
    """
    why = _judged(page, glyphs, _suspects(glyphs, tiny, doubtful)) if tiny or doubtful else {}
    return dict.fromkeys(_outside(page, glyphs), OUTSIDE) | why if outside else why


def covered_characters(page: "PdfPage", glyphs: Glyphs, drawn: Drawn) -> dict[int, str]:
    """The characters that a shape or a picture of one colour, drawn later, covers.

    Nothing can be told apart there, or what can is text that was written upon it in their place.
    """
    width, height = page.get_size()
    covers = over_text(drawn, width * height)
    if not covers:
        return {}
    runs = glyphs.drawing
    order = np.argsort(runs, kind="stable")
    drawing = np.array([drawn.pointers[text].value for text in covers], np.uint64)
    starts, ends = (np.searchsorted(runs[order], drawing, side=side) for side in ("left", "right"))
    chosen = np.concatenate([order[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
    boxes = glyphs.boxes(chosen.tolist())
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    covered = np.zeros(glyphs.count, np.int64)  # the first place in the order of drawing that covers each, plus one
    at = 0
    for start, end, places in zip(starts.tolist(), ends.tolist(), covers.values(), strict=True):
        chars = order[start:end]
        x, y = middles[at : at + len(chars)].T[:, :, None]
        left, bottom, right, top = drawn.boxes[places].T
        at += len(chars)
        over = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
        covered[chars] = np.where(over.any(axis=1), np.array(places)[over.argmax(axis=1)] + 1, covered[chars])
    found = [index for index in np.flatnonzero(covered).tolist() if not glyphs.is_gap(index)]
    if not found:
        return {}
    boxes = glyphs.boxes(found)
    ground = _Ground(page, boxes)
    shown = np.array([ground.shows(_core(box)) for box in boxes.tolist()], bool)
    if shown.any():
        asked = np.array(found)[shown]
        shown[shown] = ~_replaced(glyphs, drawn, asked, covered[asked] - 1)
    return dict.fromkeys(np.array(found)[~shown].tolist(), COVERED)


def _replaced(glyphs: Glyphs, drawn: Drawn, chars: NDArray[np.int64], covers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of characters, each with the place of what covers it, those in whose place others are written upon the cover."""
    texts = drawn.of_kind(TEXT)
    addresses = np.array([drawn.pointers[place].value for place in texts.tolist()], np.uint64)
    order = np.argsort(addresses)
    at = np.minimum(np.searchsorted(addresses[order], glyphs.drawing), len(order) - 1)
    drawing = np.where(addresses[order][at] == glyphs.drawing, texts[order][at], -1)
    later = np.flatnonzero(drawing > covers.min())
    later = later[[not glyphs.is_gap(index) for index in later.tolist()]] if len(later) else later
    if not len(later) or len(later) * len(chars) > _PAIRS:
        return np.zeros(len(chars), bool)
    own, others = glyphs.boxes(chars.tolist())[:, None], glyphs.boxes(later.tolist())[None]
    width = np.minimum(own[..., 2], others[..., 2]) - np.maximum(own[..., 0], others[..., 0])
    height = np.minimum(own[..., 3], others[..., 3]) - np.maximum(own[..., 1], others[..., 1])
    upon = (width > 0.2 * (own[..., 2] - own[..., 0])) & (height > 0.5 * (own[..., 3] - own[..., 1]))
    upon &= drawing[later][None] > covers[:, None]
    return np.any(upon, axis=1, keepdims=True)[:, 0]


def _core(box: Sequence[float]) -> Sequence[float]:
    """The inner part of a character's box, where its shape must show."""
    left, bottom, right, top = box
    across, up = 0.1 * (right - left), 0.25 * (top - bottom)
    return left + across, bottom + up, right - across, top - up


def _suspects(glyphs: Glyphs, tiny: bool, doubtful: Mapping[int, Doubt]) -> dict[int, str]:
    """Why characters may not be seen, in order; "" for gaps, whether they stand between them or not."""
    addresses, objects = np.unique(glyphs.drawing, return_inverse=True)
    said = [doubtful.get(address, Doubt()) for address in addresses.tolist()]
    cut = np.array([doubt.window is not None for doubt in said])
    small = np.array([tiny or doubt.small for doubt in said])
    asked = np.flatnonzero((cut | small)[objects]).tolist()
    boxes = glyphs.boxes(asked)
    tiniest = small & _are_tiny(glyphs, asked, objects[asked], boxes, len(said))
    reasons = [doubt.why or (TINY if is_tiny else "") for doubt, is_tiny in zip(said, tiniest.tolist(), strict=True)]
    why = [reasons[place] for place in objects.tolist()]
    for index, place, box in zip(asked, objects[asked].tolist(), boxes.tolist(), strict=True):
        window = said[place].window
        if window is not None and not _within(box, window):
            why[index] = NOT_DISPLAYED
    if not any(why):
        return {}
    gaps = map(glyphs.is_gap, range(glyphs.count))
    return {i: "" if gap else reason for i, (gap, reason) in enumerate(zip(gaps, why, strict=True)) if gap or reason}


def _are_tiny(
    glyphs: Glyphs, asked: Sequence[int], objects: NDArray[np.int64], boxes: Boxes, count: int
) -> NDArray[np.bool_]:
    """Which objects, of `count`, draw letters that are all too small; `objects` and `boxes` are those of characters."""
    letters = np.array([glyphs.whole[index].isalnum() for index in asked], bool)
    sizes = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0])
    largest = np.zeros(count)
    np.maximum.at(largest, objects[letters], sizes[letters])
    return (largest > 0) & (largest < TINY_PT)


def without(glyphs: Glyphs, why: Mapping[int, str], unseen: Unseen) -> str:
    """The text of a page without some characters, which are counted where there is a reason."""
    pieces = []
    for reason, run in groupby(range(glyphs.count), lambda index: why.get(index)):
        indexes = list(run)
        piece = glyphs.piece(indexes[0], len(indexes))
        if reason is None:
            pieces.append(piece)
        else:
            unseen.leave(piece, reason)
    return "".join(pieces)


def _judged(page: "PdfPage", glyphs: Glyphs, why: Mapping[int, str]) -> dict[int, str]:
    """The reasons that hold once pictures and grounds are looked at; a gap goes with what stands before it."""
    pictures = list(_pictures(page)) if {TRANSPARENT, TINY} & set(why.values()) else []
    light = [index for index, reason in why.items() if reason == SAME_COLOUR]
    places = dict(zip(why, glyphs.boxes(list(why)).tolist(), strict=True))
    ground = _Ground(page, np.array([places[index] for index in light])) if light else None
    found: dict[int, str] = {}
    for index, reason in why.items():
        if not reason:
            reason = found.get(index - 1, "")
        elif reason == SAME_COLOUR:
            reason = "" if ground and ground.shows(places[index]) else reason
        elif any(_within(places[index], picture) for picture in pictures):
            reason = ""
        if reason:
            found[index] = reason
    return found


def _outside(page: "PdfPage", glyphs: Glyphs) -> Iterator[int]:
    bounds = page.get_bbox()
    outside = False
    for index, box in enumerate(glyphs.boxes(range(glyphs.count)).tolist()):
        if not glyphs.is_gap(index):
            outside = not _within(box, bounds)
        if outside:
            yield index


def _pictures(page: "PdfPage") -> Iterator[Sequence[float]]:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    for picture in islice(page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE], max_depth=3), _OBJECTS):
        yield picture.get_bounds()


def _within(box: Sequence[float], picture: Sequence[float]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return picture[0] <= x <= picture[2] and picture[1] <= y <= picture[3]


class _Ground:
    """A page as it is drawn around some boxes, to see whether anything can be told apart at a place."""

    def __init__(self, page: "PdfPage", boxes: Boxes) -> None:
        width, height = page.get_size()
        self.scale = min(1.0, _SIDE / max(width, height, 1.0))
        self.rotated = page.get_rotation() != 0
        if self.rotated:
            return
        left, bottom, right, top = page.get_bbox()
        self.left = float(min(max(boxes[:, 0].min() - _AROUND, left), right))
        self.top = float(max(min(boxes[:, 3].max() + _AROUND, top), bottom))
        lowest = max(boxes[:, 1].min() - _AROUND, bottom)
        rightmost = min(boxes[:, 2].max() + _AROUND, right)
        crop = (self.left - left, max(lowest - bottom, 0.0), max(right - rightmost, 0.0), top - self.top)
        try:
            bitmap = page.render(scale=self.scale, crop=tuple(map(float, crop)))  # type: ignore[arg-type]
        except ValueError:  # nothing of the page is left
            self.pixels = np.zeros((0, 0, 4), np.uint8)
            return
        self.pixels = bitmap.to_numpy().copy()
        bitmap.close()

    def shows(self, box: Sequence[float]) -> bool:
        """Whether the pixels of a box differ; True where it cannot be told."""
        if self.rotated:
            return True
        left, bottom, right, top = box
        x0, x1 = (int((x - self.left) * self.scale) for x in (left - 0.5, right + 0.5))
        y0, y1 = (int((self.top - y) * self.scale) for y in (top + 0.5, bottom - 0.5))
        area = self.pixels[max(y0, 0) : max(y1 + 1, 0), max(x0, 0) : max(x1 + 1, 0)].reshape(-1, self.pixels.shape[2])
        return not len(area) or bool((area.max(axis=0).astype(int) - area.min(axis=0) >= _CONTRAST).any())
