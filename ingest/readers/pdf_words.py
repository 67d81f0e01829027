"""The words of a PDF page with their places, in the direction in which they are read.

A word is known by the boxes of its first and its last character; only where figures may be raised, or characters stand
in several lines, all of its characters are asked for. Source: fpdf_text.h.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingest.readers.raised import may_be_raised, raised

if TYPE_CHECKING:
    from ingest.readers.pdf_glyphs import Boxes, Glyphs

_SMALL = 0.82  # height of raised characters, of that of their line
_LIFT = 0.12  # how far they stand above it
_LESS_SMALL, _MORE_LIFT = 0.88, 0.25  # the same of those that are set less small: browsers take five sixths
_LIGATURES = frozenset(("fi", "fl", "ff", "ffi", "ffl"))  # one glyph, whose box may be that of its ink
_TOUCHING = 0.1  # heights between a word and what is raised beside it
_ASKEW = 0.15  # radians
_IDEOGRAPHS = 0x2E80  # and other characters of Chinese and Japanese, of which some are flat
_SPACE, _DIGIT, _POINT, _MARK = 1, 2, 4, 8


@dataclass(slots=True)
class Word:
    """Some characters without a space between, and their box; `y` grows upwards."""

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        """In points."""
        return self.top - self.bottom

    @property
    def middle(self) -> float:
        """Half way up."""
        return (self.top + self.bottom) / 2


@dataclass(slots=True)
class Words:
    """The words of a page: their texts, and their boxes (n, 4) in the same order."""

    texts: list[str]
    boxes: "Boxes"
    raised: bool = False  # whether one of them holds raised characters
    askew: list[Word] = field(default_factory=list)  # lines that run in another direction than those of the page

    @property
    def middles(self) -> NDArray[np.float64]:
        """Where the words are (n, 2): across and up."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def some(self, chosen: NDArray[np.bool_]) -> "Words":
        """Those that are chosen."""
        texts = [self.texts[i] for i in np.flatnonzero(chosen).tolist()]
        return Words(texts, self.boxes[chosen], self.raised, self.askew)

    def more(self, words: Sequence[Word]) -> "Words":
        """These and others."""
        if not words:
            return self
        boxes = np.array([(word.left, word.bottom, word.right, word.top) for word in words])
        texts = [*self.texts, *(word.text for word in words)]
        return Words(texts, np.concatenate([self.boxes, boxes]), self.raised, self.askew)


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """What the first 65,536 characters are."""
    found = np.zeros(0x10000, np.uint8)
    for code, character in enumerate(map(chr, range(0x10000))):
        found[code] = _SPACE * character.isspace() + _DIGIT * character.isdigit()
    for character in ",.":
        found[ord(character)] |= _POINT
    for character in "abcdn*†‡":  # what marks of notes are
        found[ord(character)] |= _MARK
    return found


def words(glyphs: "Glyphs", left_out: Collection[int]) -> Words:
    """The words of a page in the order of its content, without some of its characters."""
    text = glyphs.whole
    kinds = _kinds()[np.minimum(glyphs.codes, 0xFFFF)]
    if left_out:
        kinds = kinds.copy()
        kinds[list(left_out)] = _SPACE
        text = "".join(" " if index in left_out else character for index, character in enumerate(text))
    inside = np.zeros(len(text) + 2, np.int8)
    inside[1:-1] = (kinds & _SPACE) == 0
    starts, ends = (np.flatnonzero(np.diff(inside) == step) for step in (1, -1))
    if not len(starts):
        return Words([], np.zeros((0, 4)))
    turn = _turn(glyphs, starts)
    edges = _turned(glyphs.boxes([*starts.tolist(), *(ends - 1).tolist()]), turn)
    first, last = edges[: len(starts)], edges[len(starts) :]
    tall = np.where((first[:, 3] - first[:, 1] >= last[:, 3] - last[:, 1])[:, None], first, last)
    boxes = np.stack(
        [np.minimum(first[:, 0], last[:, 0]), tall[:, 1], np.maximum(first[:, 2], last[:, 2]), tall[:, 3]], axis=1
    )
    texts = text.split()
    apart = np.abs(first[:, 1] + first[:, 3] - last[:, 1] - last[:, 3]) > 1.6 * (tall[:, 3] - tall[:, 1])
    apart = (ends - starts > 1) & (apart | (last[:, 2] < first[:, 0]))
    found = Words(texts, boxes)
    _mark_raised(glyphs, found, (starts, ends, kinds, ~apart), (first, last), turn)
    return _put_apart(glyphs, found, (starts, ends), apart, turn) if apart.any() else found


def _put_apart(
    glyphs: "Glyphs", found: Words, places: tuple[NDArray[np.int64], NDArray[np.int64]], apart: NDArray[np.bool_],
    turn: int,
) -> Words:  # fmt: skip
    """The words, those whose characters stand in several lines in pieces, and those that run askew by themselves."""
    texts: list[str] = []
    boxes: list[Boxes] = []
    askew: list[_Askew] = []
    starts, ends = places
    done = 0
    for number in np.flatnonzero(apart).tolist():
        if number < done:  # it went on in a line that runs askew
            continue
        texts += found.texts[done:number]
        boxes.append(found.boxes[done:number])
        done = number + 1
        start = int(starts[number])
        if _is_askew(glyphs, start, turn):
            line = _Askew(found.texts[number], _turned(glyphs.boxes((start, int(ends[number]) - 1)), turn))
            if not (askew and askew[-1].end == number and askew[-1].joins(line)):
                askew.append(line)
            askew[-1].end = done
            while done < len(starts) and not apart[done] and _is_askew(glyphs, int(starts[done]), turn):
                single = _Askew(
                    found.texts[done], _turned(glyphs.boxes((int(starts[done]), int(ends[done]) - 1)), turn)
                )
                if not askew[-1].joins(single):
                    break
                done += 1
                askew[-1].end = done
            continue
        pieces = list(_scattered(glyphs, found.texts[number], start, turn))
        texts += [piece.text for piece in pieces]
        boxes.append(np.array([(piece.left, piece.bottom, piece.right, piece.top) for piece in pieces]))
    rest = np.concatenate([*boxes, found.boxes[done:]])
    return Words([*texts, *found.texts[done:]], rest, found.raised, [line.word() for line in askew])


def _is_askew(glyphs: "Glyphs", index: int, turn: int) -> bool:
    """Whether a character is turned otherwise than most of its page."""
    off = (glyphs.angles((index,))[0] - turn * pi / 2) % (2 * pi)
    return _ASKEW < off < 2 * pi - _ASKEW


class _Askew:
    """A line that runs in a direction of its own: its text, and the boxes (n, 4) of some of its characters in order."""

    def __init__(self, text: str, boxes: "Boxes") -> None:
        self.text, self.boxes = text, boxes
        self.end = 0  # the number of the word behind it

    def joins(self, other: "_Askew") -> bool:
        """Put a line that goes on where this one ends behind it; whether it does."""
        middles = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        along = middles[-1] - middles[0]
        length = float(np.hypot(*along))
        size = float((self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1).max())
        if not length or not size:
            return False
        step = (other.boxes[0, :2] + other.boxes[0, 2:]) / 2 - middles[-1]
        across = float(along[0] * step[1] - along[1] * step[0]) / length
        if abs(across) > 0.5 * size or not 0 < float(along @ step) / length < 3 * size:
            return False
        self.text, self.boxes = f"{self.text} {other.text}", np.concatenate([self.boxes, other.boxes])
        return True

    def word(self) -> Word:
        """All of it as one word."""
        lowest, highest = self.boxes.min(axis=0), self.boxes.max(axis=0)
        return Word(self.text, float(lowest[0]), float(lowest[1]), float(highest[2]), float(highest[3]))


def _scattered(glyphs: "Glyphs", text: str, start: int, turn: int) -> Iterator[Word]:
    held: Word | None = None
    boxes = _turned(glyphs.boxes(range(start, start + len(text))), turn).tolist()
    for character, (left, bottom, right, top) in zip(text, boxes, strict=True):
        if held and abs(held.middle - (bottom + top) / 2) < 0.5 * held.height and left >= held.left:
            held.text, held.right = held.text + character, max(held.right, right)
            continue
        if held:
            yield held
        held = Word(character, left, bottom, right, top)
    if held:
        yield held


def _mark_raised(
    glyphs: "Glyphs",
    found: Words,
    places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_]],
    edges: "tuple[Boxes, Boxes]",
    turn: int,
) -> None:
    """Mark in place what is small and raised in a word, as exponents or marks."""
    starts, ends, kinds, whole = places
    digits = np.searchsorted(starts, np.flatnonzero(kinds & _DIGIT), side="right") - 1
    some = np.bincount(digits, minlength=len(starts)) > 0
    asked = whole & (ends - starts > 1) & (some | ((kinds[ends - 1] & _MARK) > 0))
    points = np.searchsorted(starts, np.flatnonzero(kinds & _POINT), side="right") - 1
    figures = np.bincount(digits, minlength=len(starts)) + np.bincount(points, minlength=len(starts))
    plain = some & (figures == ends - starts)
    lines = found.boxes
    asked &= ~plain | _are_raised(edges[0], lines) | _are_raised(edges[1], lines)
    chosen = np.flatnonzero(asked)
    if not len(chosen):
        return
    sizes = (ends - starts)[chosen]
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    indices = np.arange(sizes.sum()) + np.repeat(starts[chosen] - begins, sizes)
    own = _turned(glyphs.boxes(indices.tolist()), turn)
    small = _are_raised(own, np.repeat(_whole_line(own, lines[chosen], begins, sizes), sizes, axis=0))
    if not glyphs.whole.isascii():
        codes = glyphs.codes[indices]
        small &= (codes < _IDEOGRAPHS) | (codes == ord("注"))
    counted = np.add.reduceat(small, begins, dtype=np.int64)
    for at in np.flatnonzero((counted > 0) & (counted < sizes)).tolist():
        number = int(chosen[at])
        before = found.texts[number - 1] if number and _touches(lines[number - 1], lines[number]) else ""
        marks = small[begins[at] : begins[at] + sizes[at]].tolist()
        found.texts[number] = _written(found.texts[number], marks, before)
        found.raised = True


def _whole_line(own: "Boxes", lines: "Boxes", begins: NDArray[np.int64], sizes: NDArray[np.int64]) -> "Boxes":
    """The lines of words, as high as the highest of their characters: in some fonts boxes are those of the ink."""
    heights = own[:, 3] - own[:, 1]
    highest = np.maximum.reduceat(heights, begins)
    lowest = np.minimum.reduceat(np.where(heights >= 0.97 * np.repeat(highest, sizes), own[:, 1], np.inf), begins)
    found = lines.copy()
    higher = highest > lines[:, 3] - lines[:, 1]
    found[higher, 1], found[higher, 3] = lowest[higher], (lowest + highest)[higher]
    return found


def _touches(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    """Whether a word begins where another of its line ends."""
    height = right[3] - right[1]
    return bool(abs(right[0] - left[2]) < _TOUCHING * height and abs(right[1] - left[1]) < 0.5 * height)


def _written(text: str, small: Sequence[bool], before: str) -> str:
    written = ""
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and small[end] == small[at]:
            end += 1
        piece = text[at:end]
        written += (
            raised(before + written, piece) if small[at] and may_be_raised(piece) and piece not in _LIGATURES else piece
        )
        at = end
    return written


def _are_raised(boxes: "Boxes", lines: "Boxes") -> NDArray[np.bool_]:
    own, height = boxes[:, 3] - boxes[:, 1], lines[:, 3] - lines[:, 1]
    lift = boxes[:, 1] - lines[:, 1]
    raised_little = (own < _SMALL * height) & (lift > _LIFT * height)
    return (own > 0) & (raised_little | ((own < _LESS_SMALL * height) & (lift > _MORE_LIFT * height)))


def _turn(glyphs: "Glyphs", starts: NDArray[np.int64]) -> int:
    """By how many quarters most of a page's text is turned clockwise."""
    places = starts[:: max(1, len(starts) // 40)].tolist()
    quarters = [round(angle / (pi / 2)) % 4 for angle in glyphs.angles(places)]
    return max(set(quarters), key=quarters.count)


def _turned(boxes: "Boxes", turn: int) -> "Boxes":
    if turn == 0:
        return boxes
    left, bottom, right, top = boxes.T
    if turn == 3:
        return np.stack([bottom, -right, top, -left], axis=1)
    if turn == 2:
        return np.stack([-right, -top, -left, -bottom], axis=1)
    return np.stack([-top, left, -bottom, right], axis=1)
