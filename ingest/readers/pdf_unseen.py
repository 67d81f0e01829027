"""Characters of a PDF page that nobody sees: of no colour or that of their ground, tiny, drawn not at all, of a layer
that is not shown.

Every 24th character is looked at; only where one is suspect, all of the page are, and what is light is judged by the
page as pdfium draws it, whatever lies below and above. Text without ink stays where a picture covers it: it says what
the picture shows, as recognised scans do. Sources: ISO 32000-1, 9.3.6 (rendering modes); fpdf_text.h, fpdf_edit.h.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np

from ingest.readers.pdf_drawn import Drawn, over_text
from ingest.readers.pdf_glyphs import Boxes, Glyphs
from ingest.readers.unseen import COVERED, NOT_DISPLAYED, OUTSIDE, SAME_COLOUR, TINY, TRANSPARENT, Unseen

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

STEP = 24  # no shorter run of characters is worth hiding
_LIGHT = 230  # of 255, in each channel: what white paper may swallow
_FAINT = 13  # of 255: alpha
TINY_PT = 1.0  # height of a line
NO_INK = (3, 7)  # rendering modes
_CONTRAST = 8  # of 255, in any channel, within the box of a character
_OBJECTS = 1000  # pictures of a page that are looked at
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
    page: "PdfPage", glyphs: Glyphs, outside: bool, tiny: bool, off: Callable[[], frozenset[str]]
) -> dict[int, str]:
    """The characters of a page that nobody sees, each with the reason.

    `outside`: some may stand outside of it; `tiny`: some may be too small; `off` gives the layers that are not shown.
    """
    asked = range(0, glyphs.count, STEP)
    runs = glyphs.runs(asked)
    if tiny or any(map(_why, glyphs.inks(runs, asked).values())):
        seeds = [index for index, reason in zip(asked, _suspects(glyphs, asked), strict=True) if reason]
    else:
        seeds = []
    why = _judged(page, glyphs, _runs(glyphs, seeds)) if seeds else {}
    if outside:
        why = dict.fromkeys(_outside(page, glyphs), OUTSIDE) | why
    if any(name in off() for name in glyphs.layers(runs).values()):
        drawing = glyphs.runs(range(glyphs.count))
        named = glyphs.layers(drawing)
        why |= {index: NOT_DISPLAYED for index, run in enumerate(drawing) if run and named.get(run) in off()}
    return why


def covered_characters(page: "PdfPage", glyphs: Glyphs, drawn: Drawn) -> dict[int, str]:
    """The characters that a shape or a picture of one colour, drawn later, covers: nothing can be told apart there."""
    width, height = page.get_size()
    covers = over_text(drawn, width * height)
    if not covers:
        return {}
    runs = np.array([run or 0 for run in glyphs.runs(range(glyphs.count))], np.uint64)
    order = np.argsort(runs, kind="stable")
    drawing = np.array([drawn.pointers[text].value for text in covers], np.uint64)
    starts, ends = (np.searchsorted(runs[order], drawing, side=side) for side in ("left", "right"))
    chosen = np.concatenate([order[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
    boxes = glyphs.boxes(chosen.tolist())
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    covered = np.zeros(glyphs.count, bool)
    at = 0
    for start, end, places in zip(starts.tolist(), ends.tolist(), covers.values(), strict=True):
        chars = order[start:end]
        x, y = middles[at : at + len(chars)].T[:, :, None]
        left, bottom, right, top = drawn.boxes[places].T
        at += len(chars)
        covered[chars] |= ((left <= x) & (x <= right) & (bottom <= y) & (y <= top)).any(axis=1)
    found = [index for index in np.flatnonzero(covered).tolist() if not glyphs.is_gap(index)]
    if not found:
        return {}
    boxes = glyphs.boxes(found)
    ground = _Ground(page, boxes)
    return {i: COVERED for i, box in zip(found, boxes.tolist(), strict=True) if not ground.shows(_core(box))}


def _core(box: Sequence[float]) -> Sequence[float]:
    """The inner part of a character's box, where its shape must show."""
    left, bottom, right, top = box
    across, up = 0.1 * (right - left), 0.25 * (top - bottom)
    return left + across, bottom + up, right - across, top - up


def _suspects(glyphs: Glyphs, indices: Sequence[int]) -> list[str]:
    """Why characters may not be seen; nothing for each that is, or is a gap."""
    boxes = glyphs.boxes(indices)
    sizes = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0])
    tiny = (sizes > 0) & (sizes < TINY_PT)
    runs = glyphs.runs(indices)
    why = {run: _why(ink) for run, ink in glyphs.inks(runs, indices).items()}
    if not tiny.any() and not any(why.values()):
        return [""] * len(indices)
    found = [
        (why[run] or (TINY if small else "")) if run else "" for run, small in zip(runs, tiny.tolist(), strict=True)
    ]
    return ["" if glyphs.is_gap(index) else reason for index, reason in zip(indices, found, strict=True)]


def _why(ink: tuple[int, tuple[int, ...]]) -> str:
    mode, (red, green, blue, alpha) = ink
    if mode in NO_INK or alpha < _FAINT:
        return TRANSPARENT
    return SAME_COLOUR if red >= _LIGHT and green >= _LIGHT and blue >= _LIGHT else ""


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


def _runs(glyphs: Glyphs, seeds: Sequence[int]) -> dict[int, str]:
    """The suspect characters around those that were looked at, in order; "" for what stands in between as a gap."""
    found: dict[int, str] = {}
    for seed in seeds:
        for step in (-1, 1):
            index = seed if step > 0 else seed - 1
            going = True
            while going and 0 <= index < glyphs.count and index not in found:
                block = range(index, min(max(index + step * STEP, -1), glyphs.count), step)
                for index, reason in zip(block, _suspects(glyphs, block), strict=True):
                    going = index not in found and bool(reason or glyphs.is_gap(index))
                    if not going:
                        break
                    found[index] = reason
                index += step
    return dict(sorted(found.items()))


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
