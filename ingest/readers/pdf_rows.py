"""The words of a page -> its rows from top to bottom, each of segments: words that stand close together.

Rows whose words are of one size and height are put together by arrays; the others, and the gaps that part cells, are
looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ingest.readers.named_rows import figures
from ingest.readers.pdf_words import Word, Words
from ingest.readers.raised import may_be_raised, raised

_GAP = 0.85  # of a line's height: what sets two cells apart
_CLOSE = 0.45  # of a line's height: what surely sets none apart
_TIGHT = 0.08  # of a line's height: no space
_LINES, _OVER = 0.5, 0.5  # of the height of words that lie over each other: how far up, and across
_NOTE = 0.9  # height of notes beside a text, of that of its letters
_TEXT = 35  # letters of a line that has notes beside it
_APART = 1e6  # points between groups
SIGN = frozenset("$€£¥￥")
_CLOSING = frozenset(("%", ")", ")%", "%)", "‰"))


@dataclass(slots=True)
class Segment(Word):
    """Words of a line that stand close together."""

    @property
    def width(self) -> float:
        """In points."""
        return self.right - self.left


Row = list[Segment]


def rows(words: Words) -> list[Row]:
    """Words -> rows from top to bottom, each of segments from left to right."""
    return [row for _, row in grouped_rows(words, None)]


def grouped_rows(words: Words, groups: NDArray[np.int64] | None) -> list[tuple[int, Row]]:
    """The rows of each group of words apart, with the number of the group."""
    count = len(words.texts)
    if not count:
        return []
    left, bottom, right, top = words.boxes.T
    shift = 0.0 if groups is None else groups * _APART
    bottom, top = bottom - shift, top - shift
    middle, height = (bottom + top) / 2, top - bottom
    order = np.lexsort((left, -middle))
    label = _labels(middle[order], bottom[order], top[order])
    order = order[np.lexsort((left[order], label))]
    label = np.sort(label)
    ends = np.append(np.flatnonzero(np.diff(label)) + 1, count)
    left, right, bottom, top, height = left[order], right[order], bottom[order], top[order], height[order]
    texts = [words.texts[i] for i in order.tolist()]
    # A word that is smaller or stands higher than its neighbour may be raised: such rows are read word by word.
    steps = np.maximum(np.abs(np.diff(height)), np.abs(np.diff(bottom)))
    odd = np.append(steps > 0.02 * height[1:], False)
    odd[ends - 1] = False
    counted = np.concatenate([[0], np.cumsum(odd)])
    starts = np.concatenate([[0], ends[:-1]])
    uneven = counted[ends] > counted[starts]
    far = np.repeat(np.arange(len(ends)), ends - starts) * _APART
    reach = np.maximum.accumulate(right + far) - far
    gap = np.append(left[1:] - reach[:-1], 0.0)
    size = np.append(np.maximum(height[1:], height[:-1]), 1.0)
    wide, tight = gap > _CLOSE * size, gap < _TIGHT * height
    wide[ends - 1] = tight[ends - 1] = False
    seams = set((np.flatnonzero(tight) + 1).tolist())
    new = wide.copy()
    new[ends - 1] = True
    last = np.flatnonzero(new)
    first = np.append(0, last[:-1] + 1)
    pieces = [first, last + 1, left[first], words.boxes[order[first], 1], reach[last], words.boxes[order[first], 3]]
    cut = list(zip(*(piece.tolist() for piece in pieces), strict=True))
    counts = np.diff(np.append(0, np.searchsorted(last, ends - 1) + 1))
    owner = [0] * len(ends) if groups is None else groups[order[starts]].tolist()
    found: list[tuple[int, Row]] = []
    at = 0
    lines = zip(owner, counts.tolist(), starts.tolist(), ends.tolist(), uneven.tolist(), strict=True)
    for group, count, start, end, mixed in lines:
        if mixed:
            boxes = words.boxes[order[start:end]].tolist()
            line = [Word(text, *box) for text, box in zip(texts[start:end], boxes, strict=True)]
            found += [(group, _segments(part)) for part in _parted(line)]
        else:
            found.append((group, _even(texts, cut[at : at + count], seams)))
        at += count
    return found


def _parted(row: list[Word]) -> list[list[Word]]:
    """The lines of a row: where words lie over each other, the smaller ones are lines of notes beside a larger one."""
    level: list[Word] = []
    for left, right in pairwise(row):
        apart = abs(left.bottom - right.bottom) > _LINES * min(left.height, right.height)
        if apart and left.right - right.left > _OVER * min(left.height, right.height):
            level += [left, right]
    if not level:
        return [row]
    tallest = max(word.height for word in row)
    others = [word for word in row if word.height >= _NOTE * tallest]
    small = [word for word in level if word.height < _NOTE * tallest]
    if not small or not (
        max(word.right for word in small) < min(word.left for word in others)
        or min(word.left for word in small) > max(word.right for word in others)
    ):
        return [row]
    if sum(len(word.text) for word in others) < _TEXT or any(
        right.left - left.right > _GAP * tallest for left, right in pairwise(others)
    ):  # cells of a table
        return [row]
    levels = sorted({word.bottom for word in level if word.height < _NOTE * tallest}, reverse=True)
    lines: list[list[Word]] = [others]
    rest = [word for word in row if word.height < _NOTE * tallest]
    for bottom in levels:
        line = [word for word in rest if abs(word.bottom - bottom) < 1]
        rest = [word for word in rest if word not in line]
        lines.append(line)
    lines[0] = sorted([*lines[0], *rest], key=lambda word: word.left)
    return sorted(filter(None, lines), key=lambda line: -max(word.middle for word in line))


def _labels(middle: NDArray[np.float64], bottom: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.int64]:
    """The row of each word, of words from top to bottom."""
    height = top - bottom
    lowest = np.minimum.accumulate(np.minimum(middle - 0.45 * height, bottom - 1))
    highest = np.maximum.accumulate((middle + 0.45 * height)[::-1])[::-1]
    starts = np.concatenate([[0], np.flatnonzero((lowest[:-1] > middle[1:]) & (middle[:-1] >= highest[1:])) + 1])
    ends = np.append(starts[1:], len(middle))
    label = np.repeat(np.arange(len(starts)) * len(middle), ends - starts)
    unsure = middle[starts] - middle[ends - 1] >= 0.45 * height[starts]
    for start, end in zip(starts[unsure].tolist(), ends[unsure].tolist(), strict=True):
        pieces = [part[start:end].tolist() for part in (middle, bottom, top)]
        label[start:end] += _one_by_one(list(zip(*pieces, strict=True)))
    return label


def _one_by_one(words: Sequence[tuple[float, float, float]]) -> NDArray[np.int64]:
    """The row of each of some words, (middle, bottom, top), whose lines overlap."""
    leads: list[tuple[float, float, float]] = []
    found: list[int] = []
    for word in words:
        middle, bottom, top = word
        height = top - bottom
        for row in range(len(leads) - 1, max(len(leads) - 4, -1), -1):
            at, low, high = leads[row]
            if abs(at - middle) < 0.45 * max(high - low, height) or (
                height < 0.85 * (high - low) and low - 1 <= middle <= high + 1
            ):
                if height > high - low:
                    leads[row] = word
                break
        else:
            row = len(leads)
            leads.append(word)
        found.append(row)
    return np.array(found)


def _even(texts: Sequence[str], pieces: Sequence[tuple[int, int, float, float, float, float]], seams: set[int]) -> Row:
    """The segments of a row of words of one size: of its pieces between wide gaps, (first, end, box) each.

    `seams` are the words that no space parts from those before them.
    """
    found: Row = []
    for start, end, left, bottom, right, top in pieces:
        if seams and not seams.isdisjoint(range(start + 1, end)):
            text = texts[start] + "".join(("" if i in seams else " ") + texts[i] for i in range(start + 1, end))
        else:
            text = " ".join(texts[start:end])
        last = found[-1] if found else None
        if last and _joined(last, texts[start], top - bottom, left - last.right):
            last.text += f" {text}"
            last.right = right
        else:
            found.append(Segment(text, left, bottom, right, top))
    return found


def _segments(row: list[Word]) -> Row:
    found: Row = []
    for word in row:
        last = found[-1] if found else None
        gap = word.left - last.right if last else 0.0
        if last and _joined(last, word.text, word.height, gap):
            small = word.height < 0.82 * last.height and word.bottom > last.bottom + 0.12 * last.height and gap < 3
            small = small and may_be_raised(word.text)
            blank = "" if small or gap < _TIGHT * last.height else " "
            last.text += raised(last.text, word.text) if small else blank + word.text
            last.right = max(last.right, word.right)
            if not small:
                last.bottom, last.top = min(last.bottom, word.bottom), max(last.top, word.top)
        else:
            found.append(Segment(word.text, word.left, word.bottom, word.right, word.top))
    return found


def _joined(last: Segment, text: str, height: float, gap: float) -> bool:
    size = max(last.height, height)
    if gap > _CLOSE * size and (text in SIGN or (last.text[-1].isdigit() and figures(text))):
        return False
    if gap < _GAP * size:
        return True
    return (last.text in SIGN and gap < 8 * size) or (text in _CLOSING and gap < 2 * size)
