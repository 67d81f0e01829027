"""The rules that are drawn on a PDF page, and the frames that they make. Source: fpdf_edit.h."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ingest.readers.pdf_drawn import PATH, Drawn, strokes

_THIN = 2.5  # points: a rule, however it is drawn
_NEAR = 3.0  # points: rules that meet
_SHORT = 6.0
_MOST_OBJECTS, _MOST_RULES = 6000, 3000

F64 = NDArray[np.float64]
Rule = tuple[float, float, float]  # where it lies; from; to


@dataclass
class Frame:
    """A table by its rules: `xs` from left to right, `ys` from top to bottom, and the rules between its cells."""

    xs: list[float]
    ys: list[float]
    across: list[Rule]
    down: list[Rule]

    @property
    def columns(self) -> int:
        """How many columns."""
        return len(self.xs) - 1

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.ys) - 1

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.ys[0]

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.ys[-1]

    def hold(self, x: F64, y: F64) -> NDArray[np.bool_]:
        """Which points lie inside."""
        return (self.xs[0] <= x) & (x <= self.xs[-1]) & (self.ys[-1] <= y) & (y <= self.ys[0])

    def cells(self, x: F64, y: F64) -> NDArray[np.int64]:
        """The cell of each point: row * columns + column of the first of those that are merged with it."""
        column = np.searchsorted(np.array(self.xs[1:-1]), x)
        row = np.searchsorted(-np.array(self.ys[1:-1]), -y)
        plain, place = np.unique(row * self.columns + column, return_inverse=True)
        first = [min(self.covered(*divmod(cell, self.columns))) for cell in plain.tolist()]
        return np.array([y * self.columns + x for y, x in first], np.int64)[place]

    def covered(self, row: int, column: int) -> list[tuple[int, int]]:
        """All cells that no rule parts from one."""
        across, down = self._parted
        top, bottom, left, right = row, row, column, column
        while top > 0 and (top, column) not in across:
            top -= 1
        while bottom + 1 < self.rows and (bottom + 1, column) not in across:
            bottom += 1
        while left > 0 and (left, row) not in down:
            left -= 1
        while right + 1 < self.columns and (right + 1, row) not in down:
            right += 1
        return [(y, x) for y in range(top, bottom + 1) for x in range(left, right + 1)]

    @cached_property
    def _parted(self) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """Where rules lie: above which row in which column; left of which column in which row."""
        columns = [(a + b) / 2 for a, b in pairwise(self.xs)]
        rows = [(a + b) / 2 for a, b in pairwise(self.ys)]
        return _levels(self.across, self.ys, columns), _levels(self.down, self.xs, rows)


def _levels(rules: Sequence[Rule], levels: Sequence[float], middles: Sequence[float]) -> set[tuple[int, int]]:
    """At which level a rule lies beside which of the rows or columns, by their middles."""
    return {
        (level, n)
        for place, a, b in rules
        for level, at in enumerate(levels)
        if abs(place - at) < _NEAR
        for n, middle in enumerate(middles)
        if a - 1 <= middle <= b + 1
    }


def frames(drawn: Drawn) -> list[Frame]:
    """The frames of at least two rows and two columns."""
    paths = drawn.of_kind(PATH)[:_MOST_OBJECTS]
    if not len(paths):
        return []
    boxes = drawn.boxes[paths]
    thin = (boxes[:, 2] - boxes[:, 0] <= _THIN) | (boxes[:, 3] - boxes[:, 1] <= _THIN)
    pieces = np.concatenate([boxes[thin], strokes(drawn, paths[~thin])])
    left, right = np.minimum(pieces[:, 0], pieces[:, 2]), np.maximum(pieces[:, 0], pieces[:, 2])
    bottom, top = np.minimum(pieces[:, 1], pieces[:, 3]), np.maximum(pieces[:, 1], pieces[:, 3])
    flat = (top - bottom <= _THIN) & (right - left >= _SHORT)
    steep = ~flat & (right - left <= _THIN) & (top - bottom >= _SHORT)
    if flat.sum() < 3 or steep.sum() < 3:
        return []
    across = _joined(((bottom + top) / 2)[flat], left[flat], right[flat])
    down = _joined(((left + right) / 2)[steep], bottom[steep], top[steep])
    if len(across) < 3 or len(down) < 3 or len(across) + len(down) > _MOST_RULES:
        return []
    return list(_made(across, down))


def _joined(place: F64, start: F64, end: F64) -> list[Rule]:
    """The rules, those that go on in each other as one: the borders of cells are mostly drawn cell by cell."""
    level = np.round(place * 2)
    order = np.lexsort((start, level))
    level, place, start, end = level[order], place[order], start[order], end[order]
    far = np.cumsum(np.append(0, np.diff(level) != 0)) * 1e6
    reach = np.maximum.accumulate(end + far)
    new = np.append(True, start[1:] + far[1:] > reach[:-1] + 1)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new)) - 1
    return list(zip(place[first].tolist(), start[first].tolist(), (reach - far)[last].tolist(), strict=True))


def _made(across: Sequence[Rule], down: Sequence[Rule]) -> Iterator[Frame]:
    """Rules that meet, together."""
    across, down = sorted(across), sorted(down)
    ys, xs = [rule[0] for rule in across], [rule[0] for rule in down]
    groups: list[tuple[list[Rule], list[Rule]]] = []
    rows_left, columns_left = set(range(len(across))), set(range(len(down)))
    while rows_left:
        rows, columns, new = [], [], [rows_left.pop()]
        while new:
            row = across[new.pop()]
            rows.append(row)
            near = range(bisect_left(xs, row[1] - _NEAR), bisect_right(xs, row[2] + _NEAR))
            for i in [i for i in near if i in columns_left and _meet(row, down[i])]:
                columns_left.discard(i)
                columns.append(down[i])
                close = range(bisect_left(ys, down[i][1] - _NEAR), bisect_right(ys, down[i][2] + _NEAR))
                more = [j for j in close if j in rows_left and _meet(across[j], down[i])]
                rows_left.difference_update(more)
                new += more
        groups.append((rows, columns))
    for rows, columns in groups:
        verticals, levels = _places(x for x, _, _ in columns), _places(y for y, _, _ in rows)[::-1]
        if len(verticals) > 2 and len(levels) > 2:
            yield Frame(verticals, levels, rows, columns)


def _meet(row: Rule, column: Rule) -> bool:
    y, left, right = row
    x, bottom, top = column
    return left - _NEAR <= x <= right + _NEAR and bottom - _NEAR <= y <= top + _NEAR


def _places(values: Iterator[float]) -> list[float]:
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _NEAR:
            found.append(value)
    return found
