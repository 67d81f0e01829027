"""A page of a PDF -> its lines and tables.

The places of the words say how it is read: lines that follow each other are taken as they stand, and only where some
stand beside others is there a look for columns and tables.
"""

import re
from collections.abc import Callable
from ctypes import cast
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.readers.paragraphs import CUT_MARK
from ingest.readers.pdf_drawn import FORM, IMAGE, Drawn, drawn_on
from ingest.readers.pdf_form import beside_labels
from ingest.readers.pdf_glyphs import Box, Glyphs
from ingest.readers.pdf_layout import Item, layout
from ingest.readers.pdf_marks import marks
from ingest.readers.pdf_rules import frames
from ingest.readers.pdf_texts import NO_INK, TINY_PT, doubts
from ingest.readers.pdf_unseen import covered_characters, unseen_characters, without
from ingest.readers.pdf_words import Words, words
from ingest.readers.unseen import OUTSIDE, Unseen

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

# pdfium puts a mark for hyphen and line break where a word is cut; a soft hyphen elsewhere is a hyphen one can see.
_CUT = re.compile("[\x02\ufffe][^\\S\n]*\n?|\xad[^\\S\n]*\n")
_UNTIDY = re.compile("[\x02\ufffe\xad]")
_AWAY = 24  # characters that stand outside of a page, from which on each is looked at
_STAMP = 100  # characters: a page number, a case number, who scanned it
_SCANNED = 0.5  # of a page that pictures cover
_TYPED = 0.1  # of a page that its characters cover: no stamp does
_MOST_STAMP = 2500  # characters
_GARBLED = 0.1  # of the glyphs of a page
_ODD = re.compile("[\x00\x01\x03-\x08\x0b\x0c\x0e-\x1f\ufffd\ue000-\uf8ff]")
_FROM_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


@dataclass(slots=True)
class Layer:
    """What a page holds as text, and whether that cannot be all that it says."""

    items: list[Item] = field(default_factory=list)
    lacking: bool = True
    comments: list[str] = field(default_factory=list)
    fields: int = 0
    garbled: int = 0

    @property
    def size(self) -> int:
        """Characters of its lines, without spaces."""
        return sum(map(len, " ".join(item for item in self.items if isinstance(item, str)).split()))


def read_page(pdf: "PdfDocument", page: "PdfPage", unseen: Unseen, off: Callable[[], frozenset[str]]) -> Layer:
    """The text layer of a page; what is left out of it is counted in `unseen`. `off` gives the layers not shown."""
    glyphs = Glyphs(page.get_textpage())
    bounds = page.get_bbox()
    found = words(glyphs, ())
    away = _outside(found, bounds)
    size = sum(len(found.texts[place]) for place in np.flatnonzero(away).tolist())
    drawn = lru_cache(lambda: drawn_on(page))
    why: dict[int, str] = {}
    if glyphs.count:
        why = unseen_characters(page, glyphs, size >= _AWAY, _is_tiny(found), doubts(drawn(), glyphs, off))
        why |= covered_characters(page, glyphs, drawn())
    garbled = _garbled(glyphs)
    unread = why | dict.fromkeys(garbled, "")
    if unread:
        found = words(glyphs, unread)
        away = _outside(found, bounds)
    if why:
        without(glyphs, why, unseen)
    if away.any() and not _is_turned(glyphs):
        for place in np.flatnonzero(away).tolist():
            unseen.leave(found.texts[place], OUTSIDE)
        found = found.some(~away)
    put, comments = marks(pdf, page)
    if found.texts and _is_as_drawn(glyphs, found):
        items = list[Item](without(glyphs, unread, Unseen()).splitlines() if unread else glyphs.whole.splitlines())
        items += [word.text for word in put]
    else:
        items = layout(found.more(beside_labels(found, put)), lambda: frames(drawn()))
    if _UNTIDY.search(glyphs.whole) or put:
        items = [tidy(item) if isinstance(item, str) else item for item in items]
    layer = Layer(items, False, comments, len(put), len(garbled))
    size = layer.size
    bare = not any(not isinstance(item, str) for item in items)
    layer.lacking = bool(
        (bare and size == 0)
        or len(garbled) > _GARBLED * glyphs.count
        or (size < _MOST_STAMP and _covered(page, drawn()) >= _SCANNED and _is_stamp(page, glyphs, size))
    )
    return layer


def tidy(text: str) -> str:
    """One kind of line end; hyphens at line ends marked."""
    return _CUT.sub(f"{CUT_MARK}\n", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\xad", "-").rstrip("\n")


def _outside(found: Words, bounds: Box) -> NDArray[np.bool_]:
    """Which words do not stand on the page."""
    left, bottom, right, top = bounds
    x, y = found.middles.T
    return (x < left) | (x > right) | (y < bottom) | (y > top)


def _is_tiny(found: Words) -> bool:
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    return bool(((sizes[:, 0] < TINY_PT) | (sizes[:, 1] < TINY_PT)).any())


def _garbled(glyphs: Glyphs) -> list[int]:
    """The glyphs that say no character, where they are more than a few bullets."""
    if not _ODD.search(glyphs.whole) and not any(glyphs.unmapped(range(0, glyphs.count, 48))):
        return []
    found = [index for index in range(glyphs.count) if glyphs.is_garbled(index)]
    return found if len(found) > max(4, 0.02 * glyphs.count) else []


def _is_as_drawn(glyphs: Glyphs, found: Words) -> bool:
    """Whether the order of the content is the best guess: from top to bottom or from the right, or lines overlap."""
    if not glyphs.whole.isascii() and len(_FROM_RIGHT.findall(glyphs.whole)) > 0.2 * glyphs.count:
        return True
    left, bottom, right, top = found.boxes.T
    middle = (bottom + top) / 2
    order = np.lexsort((left, np.round(middle)))
    a, b = order[:-1], order[1:]
    shared = np.minimum(right[a], right[b]) - np.maximum(left[a], left[b])
    near = np.abs(middle[a] - middle[b]) < 1
    over = int((near & (shared > 0.3 * np.minimum(right[a] - left[a], right[b] - left[b]))).sum())
    if over > 1 and over > 0.1 * len(found.texts):
        return True
    if glyphs.whole.isascii():
        return False
    single = sum(len(text) == 1 and text > "\u2e7f" for text in found.texts)
    if single < 4 or 2 * single < len(found.texts):
        return False
    down = int(((np.abs(np.diff(left)) < 2) & (np.diff(middle) < 0)).sum())
    return 2 * down > len(found.texts) - 1


def _is_turned(glyphs: Glyphs) -> bool:
    return any(angle > 0.1 for angle in glyphs.angles(range(0, glyphs.count, 50)))


def _covered(page: "PdfPage", drawn: Drawn) -> float:
    """The share of a page that pictures cover."""
    left, bottom, right, top = page.get_bbox()
    forms = [place for place in drawn.of_kind(FORM).tolist() if _holds_picture(drawn.pointers[place])]
    boxes = drawn.boxes[np.concatenate([drawn.of_kind(IMAGE), np.array(forms, np.int64)])]
    width = np.maximum(np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left), 0)
    height = np.maximum(np.minimum(boxes[:, 3], top) - np.maximum(boxes[:, 1], bottom), 0)
    return float((width * height).sum()) / max((right - left) * (top - bottom), 1.0)


def _holds_picture(form: Any, depth: int = 0) -> bool:
    import pypdfium2.raw as raw

    form = cast(form, raw.FPDF_PAGEOBJECT)
    for index in range(min(raw.FPDFFormObj_CountObjects(form), 200)):
        drawn = raw.FPDFFormObj_GetObject(form, index)
        kind = raw.FPDFPageObj_GetType(drawn)
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            return True
        if kind == raw.FPDF_PAGEOBJ_FORM and depth < 3 and _holds_picture(drawn, depth + 1):
            return True
    return False


def _is_stamp(page: "PdfPage", glyphs: Glyphs, size: int) -> bool:
    """Whether the text of a page that is a picture is but what was put on it: neither typed, nor what OCR found."""
    sample = [index for index in range(0, glyphs.count, max(1, glyphs.count // 60)) if not glyphs.is_gap(index)]
    if not sample:
        return True
    runs = glyphs.runs(sample)
    inks = glyphs.inks(runs, sample)
    inkless = sum(run is not None and inks[run][0] in NO_INK for run in runs)
    if size >= _STAMP and 2 * inkless > len(sample):
        return False
    boxes = glyphs.boxes(sample)
    area = float(np.median((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    left, bottom, right, top = page.get_bbox()
    return size * area < _TYPED * (right - left) * (top - bottom)
