"""The words of a page -> its lines and tables, in the order in which a person reads them.

Columns of running text are read one after the other, whatever the order in the content stream; cells that stand below
each other are a table, with rules around them or without.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ingest.readers.named_rows import figures
from ingest.readers.pdf_rows import Row, Segment, rows
from ingest.readers.pdf_rules import Frame
from ingest.readers.pdf_tables import (
    CROSSING,
    ITEM,
    WIDEST,
    Table,
    free_stretches,
    is_headless,
    is_part,
    ruled,
    unruled,
)
from ingest.readers.pdf_words import Words

_ROW_GAP = 3.0  # heights between the middles of two rows of a table
_GUTTER = 6.0  # points between columns of text
_ZONE, _SAYING = 3, 100  # lines and characters at least of a column of text on a part of a page
_FAR_LINE = 1.5  # heights between lines of a text
_INITIAL = 1.7  # height of a large first letter, of that of the others
_MOST = 20_000  # words of a page that are put in order


Item = str | Table


def layout(words: Words, drawn: Callable[[], list[Frame]]) -> list[Item]:
    """The lines and tables of a page in order; `drawn` finds the frames, for pages that may have some."""
    if len(words.texts) > _MOST:  # the others follow as the file has them
        ordered = np.arange(len(words.texts)) < _MOST
        return [*layout(words.some(ordered), drawn), " ".join(words.some(~ordered).texts)]
    outside = _without_large_initials(words)
    askew = words.askew
    lines = rows(outside)
    if all(len(row) == 1 for row in lines) and all(_over(a[0], b[0]) for a, b in pairwise(lines)):
        return [*(row[0].text for row in lines), *(word.text for word in askew)]
    placed: list[tuple[float, Table]] = []
    for frame in drawn():
        x, y = outside.middles.T
        inside = frame.hold(x, y)
        if inside.sum() < 2 or is_part(outside, inside):
            continue
        turned = [word for word in askew if frame.hold(*np.array([[(word.left + word.right) / 2], [word.middle]]))[0]]
        table = ruled(frame, outside.some(inside).more(turned))
        if not table or is_headless(table, frame, outside):
            continue
        outside = outside.some(~inside)
        askew = [word for word in askew if word not in turned]
        placed.append((frame.top, table))
    beside = [word.text for word in askew]  # what runs in another direction belongs between no two lines
    if not placed:
        return [*_flow(lines), *beside]
    items: list[Item] = []
    for top, table in sorted(placed, key=lambda entry: -entry[0]):
        above = outside.middles[:, 1] > top
        items += _flow(rows(outside.some(above)))
        items.append(table)
        outside = outside.some(~above)
    return [*items, *_flow(rows(outside)), *beside]


def _without_large_initials(words: Words) -> Words:
    """The words, a large first letter that reaches down over several lines put before the word that it begins."""
    heights = words.boxes[:, 3] - words.boxes[:, 1]
    if len(heights) < 4:
        return words
    large = np.flatnonzero(heights > _INITIAL * np.median(heights))
    found = words
    for place in large.tolist():
        letter = words.texts[place]
        _, bottom, right, top = words.boxes[place].tolist()
        left, low, _, high = found.boxes.T
        beside = (left >= right - 1) & (left - right < 0.35 * heights[place]) & (high <= top + 1) & (low >= bottom - 1)
        beside &= heights < 0.7 * heights[place]
        if len(letter) > 1 or not letter.isalpha() or beside.sum() < 2:
            continue
        first = int(np.argmax(np.where(beside, low, -np.inf)))
        found.texts[first] = letter + found.texts[first]
        found.texts[place] = ""
    return found if all(found.texts) else found.some(np.array(list(map(bool, found.texts))))


def _over(a: Segment, b: Segment) -> bool:
    """Whether a line stands over another, not beside it."""
    return a.left < b.right and b.left < a.right


def _flow(lines: list[Row], depth: int = 0) -> list[Item]:
    """Rows -> items: columns of text apart, tables, lines."""
    segments = [segment for row in lines for segment in row]
    if depth < 3 and (cut := _gutter(_Lines(segments))):
        return _columns(lines, *cut, depth)
    return list(_blocks(lines))


class _Lines:
    """Segments as arrays: their boxes, and how many characters they hold."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        boxes = np.array([(s.left, s.bottom, s.right, s.top, len(s.text)) for s in segments])
        self.left, self.bottom, self.right, self.top, self.sizes = boxes.reshape(-1, 5).T

    def some(self, chosen: NDArray[np.bool_]) -> "_Lines":
        """Those that are chosen."""
        part = object.__new__(_Lines)
        part.segments = [self.segments[i] for i in np.flatnonzero(chosen).tolist()]
        for name in ("left", "bottom", "right", "top", "sizes"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    @property
    def heights(self) -> NDArray[np.float64]:
        return self.top - self.bottom

    @property
    def widths(self) -> NDArray[np.float64]:
        return self.right - self.left

    @property
    def width(self) -> float:
        return float(self.right.max() - self.left.min())

    def figures(self) -> int:
        """How many of them are figures."""
        return sum(figures(s.text) for s in self.segments)


def _gutter(lines: _Lines) -> tuple[float, bool, bool] | None:
    """Where a page divides into columns of running text, and whether the left or the right one are notes beside it."""
    if len(lines.segments) < 4:
        return None
    low = float(lines.left.min())
    size = int(lines.right.max() - low) + 2
    if size > WIDEST:
        return None
    changes = np.bincount(np.maximum((lines.left - low).astype(int), 0), minlength=size)
    changes = changes - np.bincount(np.minimum((lines.right - low).astype(int) + 1, size), minlength=size + 1)[:size]
    best: tuple[float, float, bool, bool] | None = None
    for again, allowed in enumerate(dict.fromkeys((int(CROSSING * len(lines.segments)), 0))):
        for start, end in free_stretches(changes, allowed):
            if start > 0 and end < size and end - start >= _GUTTER:
                middle = low + (start + end) / 2
                found = _sides(lines, middle, notes_only=again > 0)  # of which a few are no more than what crosses
                if found and (best is None or found[0] > best[0]):
                    best = (found[0], middle, found[1], found[2])
        if best:
            return best[1:]
    return None


def _sides(lines: _Lines, x: float, *, notes_only: bool) -> tuple[float, bool, bool] | None:
    left, right = lines.some(lines.right <= x + 1), lines.some(lines.left >= x - 1)
    count = min(len(left.segments), len(right.segments))
    if count < 2:
        return None
    overlap = min(left.top.max(), right.top.max()) - max(left.bottom.min(), right.bottom.min())
    if overlap < 1.2 * np.median(left.heights):
        return None
    for notes, body, at_left in ((left, right, True), (right, left, False)):
        if _are_notes(notes, body):
            return 0.5, at_left, not at_left
    if not notes_only and (_is_text(left) or _gutter(left)) and (_is_text(right) or _gutter(right)):
        return float(count), False, False
    return None


def _is_text(side: _Lines) -> bool:
    """Whether lines are those of running text: most reach across their column, few are figures."""
    count = len(side.segments)
    return bool(
        (side.widths >= 0.7 * side.width).sum() >= (0.35 if side.sizes.mean() >= 22 else 0.5) * count
        and np.median(side.widths / side.heights) >= 4
        and side.sizes.sum() >= 8 * count
        and side.figures() <= 0.2 * count
    )


def _are_notes(notes: _Lines, body: _Lines) -> bool:
    """Whether narrow lines stand beside the running text, in smaller letters."""
    if len(body.segments) < 4 or notes.width >= 0.4 * body.width:
        return False
    smaller = np.median(notes.heights) < 0.93 * np.median(body.heights)
    return bool(smaller and _is_text(body) and not notes.figures())


def _columns(rows: list[Row], x: float, left_notes: bool, right_notes: bool, depth: int) -> list[Item]:
    items: list[Item] = []
    left: list[Row] = []
    right: list[Row] = []

    def flush() -> None:
        first, second = (right, left) if left_notes else (left, right)
        items.extend(_flow(list(first), depth + 1))
        items.extend(_flow(list(second), depth + 1))
        left.clear()
        right.clear()

    for row in rows:
        if any(s.left < x - 1 and s.right > x + 1 for s in row):
            flush()
            items += _flow([row], 3)
            continue
        sides = [s for s in row if s.right <= x + 1], [s for s in row if s.right > x + 1]
        for side, part in zip((left, right), sides, strict=True):
            if part:
                side.append(part)
    flush()
    return items


def _blocks(rows: list[Row]) -> Iterator[Item]:
    at = tried = 0
    while at < len(rows):
        end, x = _text_beside(rows, at) if at >= tried else (at, None)
        tried = max(tried, end)
        if x is not None:
            yield from _columns(rows[at:end], x, False, False, 3)
            at = end
            continue
        end = _table_end(rows, at)
        table = unruled(rows[at:end]) if end - at > 1 else None
        if table:
            yield table
            at = end
        else:
            for row in rows[at : max(end, at + 1)]:
                yield " ".join(segment.text for segment in row)
            at = max(end, at + 1)


def _text_beside(rows: list[Row], at: int) -> tuple[int, float | None]:
    """Where rows end that begin at `at` and may be two columns of text, and where these divide; None: they are not."""
    begun = [segment for row in rows[at : at + 3] for segment in row]
    pairs = ((a, b) for a in begun[:4] for b in begun if a.right + _GUTTER <= b.left)
    first = next(pairs, None) if len(rows[at]) < 3 else None
    if first is None:
        return at + 1, None
    low, high = first[0].right, first[1].left
    end = at
    while end < len(rows) and len(rows[end]) < 3:
        row = rows[end]
        if end > at and min(s.bottom for s in rows[end - 1]) - max(s.top for s in row) > _FAR_LINE * row[0].height:
            break
        lefts = [s.right for s in row if s.right <= high]
        rights = [s.left for s in row if s.right > high]
        if max(lefts, default=low) > min(rights, default=high) or len(lefts) > 1 or len(rights) > 1:
            break
        if min([high, *rights]) - max([low, *lefts]) < _GUTTER:
            break
        low, high = max([low, *lefts]), min([high, *rights])
        end += 1
    if end - at < _ZONE:
        return max(end, at + 1), None
    lines, x = _Lines([segment for row in rows[at:end] for segment in row]), (low + high) / 2
    left, right = lines.some(lines.right <= x), lines.some(lines.left >= x)
    if not all(len(side.segments) >= _ZONE and side.sizes.sum() > _SAYING and _is_text(side) for side in (left, right)):
        return end, None
    gaps = [(above[0].bottom - row[0].top) / row[0].height for above, row in pairwise(rows[at:end])]
    if all(len(row) == 2 for row in rows[at:end]) and max(gaps) - min(gaps) > 0.3:  # rows of a table, set apart
        return end, None
    return end, x


def _table_end(rows: list[Row], at: int) -> int:
    """Where rows end that may be a table which begins at `at`."""
    if len(rows[at]) < 2 or _is_sentence(rows[at], rows[at][-1].right - rows[at][0].left):
        return at
    end = at + 1
    last = at
    while end < len(rows):
        above, row = rows[last], rows[end]
        height = max(segment.height for segment in (*above, *row))  # a first cell may be flat: 一
        if min(s.bottom for s in rows[end - 1]) - max(s.top for s in row) > (_ROW_GAP - 1) * height:
            break
        width = above[-1].right - above[0].left
        if len(row) > 1 and _is_sentence(row, max(width, row[-1].right - row[0].left)):
            break
        if len(row) > 1:
            last = end
        elif row[0].right < above[0].left:  # beside the names of columns
            if end - last > 6:
                break
        elif end - last > (6 if abs(row[0].left - rows[at][0].left) < 2 else 2) or row[0].width > 0.6 * width:
            break
        end += 1
    return last + 1 if not _wrapped(rows, last, last > at) else last + 2


def _is_sentence(row: Row, width: float) -> bool:
    """Whether a row is an item of a list: a mark, and a text that reaches over most of its width."""
    return len(row) == 2 and bool(ITEM.fullmatch(row[0].text)) and row[1].width > 0.6 * width


def _wrapped(rows: list[Row], last: int, labelled: bool) -> bool:
    """Whether the row below the last is the rest of one of its later cells, or, where rows have labels, of its own."""
    if last + 1 >= len(rows) or len(rows[last + 1]) != 1:
        return False
    row, above = rows[last + 1][0], rows[last]
    near = above[0].bottom - row.top < 0.4 * row.height
    label = labelled and row.text[:1].islower() and len(above) > 1 and abs(row.left - above[0].left) < 2
    return near and (label or any(abs(row.left - s.left) < 2 for s in above[1:]))
