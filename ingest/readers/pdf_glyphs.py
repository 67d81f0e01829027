"""What pdfium knows of the characters of a page, many asked at once. Source: fpdf_text.h, fpdf_edit.h.

A call through ctypes costs more than what pdfium does in it. So the functions are called without conversion of their
arguments, from C (`map`), over references that are made once, and what they write is read as an array. Callers hold
the lock of pdfium.
"""

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pypdfium2 import PdfTextPage

Box = tuple[float, float, float, float]  # left, bottom, right, top in points
Boxes = NDArray[np.float64]  # (n, 4): left, bottom, right, top in points
Indices = NDArray[np.int64]

_BLOCK = 2048  # results that are held at once
_GAPS = frozenset((0, 2, 9, 10, 13, 32, 0xA0, 0x3000, 0xFFFE))


@lru_cache(maxsize=1)
def _functions() -> "dict[str, Callable[..., Any]]":
    """Functions of pdfium that keep Python's lock and take what they are given as it is."""
    import pypdfium2.raw as raw

    results = {
        "FPDFText_GetLooseCharBox": ctypes.c_int,
        "FPDFText_GetTextObject": ctypes.c_void_p,
        "FPDFText_GetCharAngle": ctypes.c_float,
        "FPDFText_HasUnicodeMapError": ctypes.c_int,
        "FPDFText_GetUnicode": ctypes.c_uint,
        "FPDFText_GetFillColor": ctypes.c_int,
        "FPDFTextObj_GetTextRenderMode": ctypes.c_int,
        "FPDFTextObj_GetFontSize": ctypes.c_int,
        "FPDFPageObj_CountMarks": ctypes.c_int,
        "FPDFPageObj_GetMark": ctypes.c_void_p,
        "FPDFPageObjMark_GetName": ctypes.c_int,
        "FPDFPageObj_GetStrokeColor": ctypes.c_int,
        "FPDFPageObj_GetClipPath": ctypes.c_void_p,
        "FPDFClipPath_CountPaths": ctypes.c_int,
        "FPDFClipPath_CountPathSegments": ctypes.c_int,
        "FPDFClipPath_GetPathSegment": ctypes.c_void_p,
        "FPDFFormObj_CountObjects": ctypes.c_int,
        "FPDFFormObj_GetObject": ctypes.c_void_p,
        "FPDFPage_GetObject": ctypes.c_void_p,
        "FPDFPageObj_GetType": ctypes.c_int,
        "FPDFPageObj_GetBounds": ctypes.c_int,
        "FPDFPageObj_GetFillColor": ctypes.c_int,
        "FPDFPageObj_GetMatrix": ctypes.c_int,
        "FPDFPath_GetDrawMode": ctypes.c_int,
        "FPDFPath_CountSegments": ctypes.c_int,
        "FPDFPath_GetPathSegment": ctypes.c_void_p,
        "FPDFPathSegment_GetPoint": ctypes.c_int,
        "FPDFPathSegment_GetType": ctypes.c_int,
        "FPDFPathSegment_GetClose": ctypes.c_int,
    }
    found: dict[str, Callable[..., Any]] = {}
    for name, result in results.items():
        address = ctypes.cast(getattr(raw, name), ctypes.c_void_p).value or 0
        found[name] = ctypes.PYFUNCTYPE(result)(address)
    return found


def quick(name: str) -> "Callable[..., Any]":
    """A function of pdfium for many calls: pointers are given as `c_void_p` or by `byref`, numbers as int."""
    return _functions()[name]


@lru_cache(maxsize=1)
def room() -> tuple[NDArray[np.float32], list[Any]]:
    """Room for rows of four floats, and a reference to each float."""
    rows = np.zeros((_BLOCK, 4), np.float32)
    memory = (ctypes.c_float * (4 * _BLOCK)).from_buffer(rows.data)
    return rows, [ctypes.byref(memory, 4 * place) for place in range(4 * _BLOCK)]


@lru_cache(maxsize=1)
def channels() -> tuple[NDArray[np.uint32], list[Any]]:
    """Room for rows of red, green, blue and alpha, and a reference to each."""
    rows = np.zeros((_BLOCK, 4), np.uint32)
    memory = (ctypes.c_uint * (4 * _BLOCK)).from_buffer(rows.data)
    return rows, [ctypes.byref(memory, 4 * place) for place in range(4 * _BLOCK)]


def bounds(objects: Sequence[Any]) -> Boxes:
    """The boxes of page objects; those that have none are empty."""
    rows, refs = room()
    found: list[Boxes] = []
    for start in range(0, len(objects), _BLOCK):
        block = objects[start : start + _BLOCK]
        rows[: len(block)] = 0
        places = (refs[edge : 4 * len(block) : 4] for edge in range(4))
        deque(map(quick("FPDFPageObj_GetBounds"), block, *places), 0)
        found.append(rows[: len(block)].astype(np.float64))
    return np.concatenate(found) if found else np.zeros((0, 4))


class Glyphs:
    """The characters of a page, each with what pdfium knows of it."""

    def __init__(self, text: "PdfTextPage") -> None:
        self.page: Any = text
        self._text = ctypes.cast(text.raw, ctypes.c_void_p)
        self.count = text.count_chars()
        self._ink: dict[int, tuple[int, tuple[int, ...]]] = {}

    @cached_property
    def whole(self) -> str:
        """All characters, one for each that pdfium counts."""
        text = self.page.get_text_range(errors="replace") if self.count else ""
        if len(text) != self.count:
            codes = map(quick("FPDFText_GetUnicode"), repeat(self._text), range(self.count))
            text = "".join(chr(code if code < 0x110000 else 0xFFFD) for code in codes)
        return text

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """The numbers of all characters."""
        return np.frombuffer(self.whole.encode("utf-32-le", "surrogatepass"), np.uint32)

    def boxes(self, indices: Sequence[int]) -> Boxes:
        """Where characters, and the lines they stand in, are."""
        rows, refs = room()
        ask = quick("FPDFText_GetLooseCharBox")
        found: list[Boxes] = []
        for start in range(0, len(indices), _BLOCK):
            block = indices[start : start + _BLOCK]
            rows[: len(block)] = 0
            deque(map(ask, repeat(self._text), block, refs[: 4 * len(block) : 4]), 0)
            found.append(rows[: len(block), (0, 3, 2, 1)].astype(np.float64))  # pdfium: left, top, right, bottom
        return np.concatenate(found) if found else np.zeros((0, 4))

    def box(self, index: int) -> Box:
        """Where a character is, and the line it stands in."""
        left, bottom, right, top = self.boxes((index,))[0].tolist()
        return left, bottom, right, top

    def angles(self, indices: Sequence[int]) -> list[float]:
        """By how much characters are turned, in radians, clockwise."""
        return [max(0.0, angle) for angle in map(quick("FPDFText_GetCharAngle"), repeat(self._text), indices)]

    def unmapped(self, indices: Sequence[int]) -> list[bool]:
        """Whether pdfium had to guess characters."""
        return [code == 1 for code in map(quick("FPDFText_HasUnicodeMapError"), repeat(self._text), indices)]

    def runs(self, indices: Sequence[int]) -> list[int | None]:
        """The objects that draw characters, each by its address; None where none does."""
        return list(map(quick("FPDFText_GetTextObject"), repeat(self._text), indices))

    @cached_property
    def drawing(self) -> NDArray[np.uint64]:
        """For all characters the addresses of the objects that draw them; 0 where none does."""
        return np.array([run or 0 for run in self.runs(range(self.count))], np.uint64)

    def inks(self, runs: Sequence[int | None], indices: Sequence[int]) -> dict[int, tuple[int, tuple[int, ...]]]:
        """For objects that draw some characters: rendering mode, and red, green, blue and alpha, of 255."""
        asked = {run: index for run, index in zip(runs, indices, strict=True) if run is not None}
        new = [(run, index) for run, index in asked.items() if run not in self._ink]
        memory, refs = channels()
        for start in range(0, len(new), _BLOCK):
            block = new[start : start + _BLOCK]
            memory[: len(block)] = 0
            modes = map(quick("FPDFTextObj_GetTextRenderMode"), [ctypes.c_void_p(run) for run, _ in block])
            places = (refs[channel : 4 * len(block) : 4] for channel in range(4))
            known = list(map(quick("FPDFText_GetFillColor"), repeat(self._text), [i for _, i in block], *places))
            for (run, _), mode, filled, ink in zip(block, modes, known, memory[: len(block)].tolist(), strict=True):
                self._ink[run] = mode, tuple(ink) if filled else (0, 0, 0, 255)
        return {run: self._ink[run] for run in asked}

    def is_garbled(self, index: int) -> bool:
        """Whether nothing says which character a glyph stands for."""
        code = int(self.codes[index])
        if code in _GAPS:
            return False
        return code < 32 or code == 0xFFFD or 0xE000 <= code < 0xF900 or self.unmapped((index,))[0]

    def is_gap(self, index: int) -> bool:
        """Whether a character is a space, or was put there by pdfium."""
        return ord(self.whole[index]) in _GAPS

    def piece(self, start: int, count: int) -> str:
        """Some characters."""
        return self.page.get_text_range(start, count, errors="ignore")
