"""The objects of a PDF page that draw text, and what each says that may keep its characters from being seen.

Each is asked: a page has hundreds of them where it has thousands of characters, and one that is not asked could hide a
sentence. pdfium tells the clip only of an object that does not stand wholly within it. Sources: ISO 32000-1, 8.5.4
(clipping), 9.3 (text state); fpdf_edit.h, fpdf_transformpage.h.
"""

from collections import deque
from collections.abc import Callable, Sequence
from ctypes import byref, c_char, c_float, c_int, c_ulong, c_void_p, cast
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.readers.pdf_drawn import FORM, PATH, TEXT, Drawn
from ingest.readers.pdf_glyphs import Box, Glyphs, bounds, channels, quick, room
from ingest.readers.unseen import NOT_DISPLAYED, SAME_COLOUR, TINY, TRANSPARENT

NO_INK = (3, 7)  # rendering modes
TINY_PT = 1.0  # height of a line
_FLAT, _SQUEEZED = 0.05, 0.2  # of the one side of a letter to the other: a line; what is too narrow if it is tiny
_STROKED, _BOTH = (1, 5), (2, 6)  # rendering modes
_LIGHT = 230  # of 255, in each channel: what white paper may swallow
_FAINT = 13  # of 255: alpha
_ALIKE = 6  # of 255, in each channel
_WIDE, _HIGH = 6.0, 4.0  # points: a shape that may be a ground
_MOST, _DEEPEST = 20_000, 8  # objects; forms in one another
_BLOCK = 1000  # objects that are asked at once
_MOST_POINTS = 200  # of a clip
_LONGEST_NAME = 512  # bytes
_OPTIONAL = "OC\0".encode("utf-16-le")  # the mark of optional content (ISO 32000-1, 8.11.3.2)
_Matrix = NDArray[np.float64]  # (3, 2): rows (x, y, 1) are multiplied by it


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the characters of an object may not be seen.

    `window` is the box of the page outside of which none of them is; `small`: it depends on the size of its letters.
    """

    why: str = ""
    window: Box | None = None
    small: bool = False


_NONE = Doubt()


@dataclass(frozen=True, slots=True)
class _Group:
    """Objects that are drawn together, by the page or by a form of it, and what holds for all of them."""

    objects: list[Any]
    matrix: _Matrix
    window: Box | None = None
    hidden: bool = False


def doubts(drawn: Drawn, glyphs: Glyphs, off: Callable[[], frozenset[str]]) -> dict[int, Doubt]:
    """The objects whose characters may not be seen, by their addresses. `off` gives the layers that are not shown."""
    found: dict[int, Doubt] = {}
    total, depth = len(drawn.pointers), 0
    groups = [_Group(drawn.pointers, np.eye(3, 2))]
    while groups and total < _MOST and depth < _DEEPEST:
        deeper: list[_Group] = []
        for group in groups:
            kinds = drawn.kinds if depth == 0 else np.array(list(map(quick("FPDFPageObj_GetType"), group.objects)))
            found |= _doubts(group, [group.objects[place] for place in np.flatnonzero(kinds == TEXT).tolist()], off)
            for place in np.flatnonzero(kinds == FORM).tolist():
                form = group.objects[place]
                count = quick("FPDFFormObj_CountObjects")(form)
                total += count
                if total < _MOST:
                    deeper.append(_in_form(form, count, group, off))
        groups, depth = deeper, depth + 1
    if groups or total >= _MOST:  # too many: those that draw characters are asked, whose clips may stand in any form
        runs = [c_void_p(run) for run in np.unique(glyphs.drawing).tolist() if run]
        said = _doubts(_Group(runs, np.eye(3, 2)), runs, off)
        found = {run: Doubt(doubt.why, None, doubt.small) for run, doubt in said.items()} | found
    for run, doubt in _of_their_ground(drawn).items():
        if not found.get(run, _NONE).why:
            found[run] = replace(found.get(run, _NONE), why=doubt)
    return found


def _doubts(group: _Group, texts: list[Any], off: Callable[[], frozenset[str]]) -> dict[int, Doubt]:
    found: dict[int, Doubt] = {}
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        flat, tiny = _sizes(block, group)
        why = dict.fromkeys(np.flatnonzero(flat).tolist(), TINY) | _reasons(block, off)
        if group.hidden:
            why = dict.fromkeys(range(len(block)), NOT_DISPLAYED)
        small = set(np.flatnonzero(tiny).tolist())
        windows = {place: _window(block[place], group) for place in _cut(block)}
        if group.window is not None:
            windows = dict.fromkeys(range(len(block)), group.window) | windows
        for place in why.keys() | windows.keys() | small:
            found[block[place].value] = Doubt(why.get(place, ""), windows.get(place), place in small)
    return found


def _reasons(texts: list[Any], off: Callable[[], frozenset[str]]) -> dict[int, str]:
    """By the places of texts, why they may not be seen."""
    modes = np.array(list(map(quick("FPDFTextObj_GetTextRenderMode"), texts)))
    clear, light = _unseen_inks("FPDFPageObj_GetFillColor", texts)
    stroked, both = np.isin(modes, _STROKED), np.isin(modes, _BOTH)
    if (stroked | both).any():
        no_line, light_line = _unseen_inks("FPDFPageObj_GetStrokeColor", texts)
        clear = np.where(stroked, no_line, clear & (no_line | ~both))
        light = np.where(stroked, light_line, light & (light_line | ~both))
    found = dict.fromkeys(np.flatnonzero(light).tolist(), SAME_COLOUR)
    found |= dict.fromkeys(np.flatnonzero(clear | np.isin(modes, NO_INK)).tolist(), TRANSPARENT)
    layers = layers_of(texts)
    return found | {place: NOT_DISPLAYED for place, names in layers.items() if any(name in off() for name in names)}


def _inks(name: str, objects: list[Any]) -> NDArray[np.int64]:
    """Red, green, blue and alpha, of 255, of at most a block of objects; what has none is black."""
    memory, refs = channels()
    inks = memory[: len(objects)]
    places = (refs[channel : 4 * len(objects) : 4] for channel in range(4))
    known = np.array(list(map(quick(name), objects, *places)), bool)
    inks[~known] = (0, 0, 0, 255)
    return inks.astype(np.int64)


def _unseen_inks(name: str, texts: list[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the inks of texts cannot be seen, and which of them cannot on white paper."""
    inks = _inks(name, texts)
    clear = inks[:, 3] < _FAINT
    return clear, clear | (inks[:, :3] >= _LIGHT).all(axis=1)


def _are_filled(paths: list[Any]) -> NDArray[np.bool_]:
    fills, line = (c_int * len(paths))(), c_int()
    places = [byref(fills, 4 * place) for place in range(len(paths))]
    deque(map(quick("FPDFPath_GetDrawMode"), paths, places, repeat(byref(line))), 0)
    return np.array(list(fills), np.int64) > 0


def _of_their_ground(drawn: Drawn) -> dict[int, str]:
    """The texts of the page itself that touch a filled shape of their colour."""
    boxes = drawn.boxes
    large = (boxes[:, 2] - boxes[:, 0] > _WIDE) & (boxes[:, 3] - boxes[:, 1] > _HIGH)
    shapes = np.flatnonzero(large & (drawn.kinds == PATH))[:_BLOCK]
    shapes = shapes[_are_filled([drawn.pointers[shape] for shape in shapes.tolist()])]
    texts = drawn.of_kind(TEXT)
    found: dict[int, str] = {}
    if not len(shapes):
        return found
    grounds = _inks("FPDFPageObj_GetFillColor", [drawn.pointers[shape] for shape in shapes.tolist()])[:, :3]
    for start in range(0, len(texts), _BLOCK):
        block = [drawn.pointers[text] for text in texts[start : start + _BLOCK].tolist()]
        inks = _inks("FPDFPageObj_GetFillColor", block)[:, :3]
        colours, kinds = np.unique(inks, axis=0, return_inverse=True)
        alike = np.abs(colours[:, None] - grounds).max(axis=2) <= _ALIKE
        kinds = kinds.reshape(-1)
        pale = np.any(alike, axis=1)[kinds]
        own = [text for text, is_pale in zip(block, pale.tolist(), strict=True) if is_pale]
        for text, box, kind in zip(own, bounds(own), kinds[pale].tolist(), strict=True):
            others = boxes[shapes[alike[kind]]]
            meets = (others[:, :2] < box[2:]).all(axis=1) & (box[:2] < others[:, 2:]).all(axis=1)
            if meets.any():
                found[text.value] = SAME_COLOUR
    return found


def _sizes(texts: list[Any], group: _Group) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which texts are squeezed to lines, and which may have tiny letters: fonts may have a scale of their own."""
    memory, refs = room()
    count = len(texts)
    floats = memory.reshape(-1)[: 7 * count]
    deque(map(quick("FPDFPageObj_GetMatrix"), texts, refs[: 6 * count : 6]), 0)
    deque(map(quick("FPDFTextObj_GetFontSize"), texts, refs[6 * count : 7 * count]), 0)
    matrices, sizes = floats[: 6 * count].reshape(count, 6), floats[6 * count :]
    linear = matrices[:, :4].astype(np.float64).reshape(-1, 2, 2) @ group.matrix[:2]
    large = np.maximum(np.hypot(*linear[:, 0].T), np.hypot(*linear[:, 1].T))
    small = np.abs(linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]) / np.maximum(large, 1e-9)
    tiny = small * np.abs(sizes) < TINY_PT
    return (small < _FLAT * large) | (tiny & (small < _SQUEEZED * large)), tiny


def layers_of(objects: Sequence[Any]) -> dict[int, list[str]]:
    """By the places of objects, the optional content groups that they are drawn in."""
    counts = list(map(quick("FPDFPageObj_CountMarks"), objects))
    memory, refs = room()
    size, longest = byref(c_ulong()), c_ulong(len(_OPTIONAL))
    layers: dict[int, list[str]] = {}
    for number in range(max(counts, default=0)):
        places = [place for place, count in enumerate(counts) if count > number]
        owners = [objects[place] for place in places]
        marks = list(map(c_void_p, map(quick("FPDFPageObj_GetMark"), owners, repeat(number))))
        memory[: len(marks)] = 0
        names = refs[: 4 * len(marks) : 4]
        deque(map(quick("FPDFPageObjMark_GetName"), marks, names, repeat(longest), repeat(size)), 0)
        found = memory[: len(marks)].view(np.uint8)[:, : len(_OPTIONAL)]
        for place in np.flatnonzero((found == np.frombuffer(_OPTIONAL, np.uint8)).all(axis=1)).tolist():
            layers.setdefault(places[place], []).append(_layer(marks[place]))
    return layers


def _layer(mark: Any) -> str:
    import pypdfium2.raw as raw

    size, text = c_ulong(), (c_char * _LONGEST_NAME)()
    where = cast(text, raw.POINTER(raw.FPDF_WCHAR))
    own = cast(mark, raw.FPDF_PAGEOBJECTMARK)
    if not raw.FPDFPageObjMark_GetParamStringValue(own, b"Name", where, _LONGEST_NAME, size):
        return ""
    return text.raw[: min(size.value, _LONGEST_NAME)].decode("utf-16-le", "replace").rstrip("\0")


# --- clips and forms -------------------------------------------------------------------------------------------------


def _in_form(form: Any, count: int, group: _Group, off: Callable[[], frozenset[str]]) -> _Group:
    objects = [c_void_p(quick("FPDFFormObj_GetObject")(form, place)) for place in range(count)]
    values = (c_float * 6)()
    quick("FPDFPageObj_GetMatrix")(form, byref(values))
    own = np.array(values, np.float64).reshape(3, 2)
    window = _window(form, group) if _cut([form]) else group.window
    hidden = group.hidden or any(name in off() for names in layers_of([form]).values() for name in names)
    return _Group(objects, np.hstack([own, [[0.0], [0.0], [1.0]]]) @ group.matrix, window, hidden)


def _cut(objects: list[Any]) -> list[int]:
    """The places of objects that do not stand wholly within their clips."""
    clips = map(c_void_p, map(quick("FPDFPageObj_GetClipPath"), objects))
    return [place for place, count in enumerate(map(quick("FPDFClipPath_CountPaths"), clips)) if count > 0]


def _window(drawn: Any, group: _Group) -> Box | None:
    """The box on the page that clips leave of an object."""
    clip = c_void_p(quick("FPDFPageObj_GetClipPath")(drawn))
    window = group.window
    for path in range(quick("FPDFClipPath_CountPaths")(clip)):
        count = quick("FPDFClipPath_CountPathSegments")(clip, path)
        if not 0 < count <= _MOST_POINTS:
            continue
        points, pair = np.ones((count, 3)), (c_float * 2)()
        for place in range(count):
            segment = c_void_p(quick("FPDFClipPath_GetPathSegment")(clip, path, place))
            quick("FPDFPathSegment_GetPoint")(segment, byref(pair), byref(pair, 4))
            points[place, :2] = pair
        places = points @ group.matrix
        (left, bottom), (right, top) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        if window is not None:
            left, bottom = max(left, window[0]), max(bottom, window[1])
            right, top = min(right, window[2]), min(top, window[3])
        window = left, bottom, right, top
    return window
