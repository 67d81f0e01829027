"""Tables of a page: by the rules around their cells, or by cells that stand below each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ingest.readers.named_rows import Copy, figures, head_of, name_rows
from ingest.readers.paragraphs import CUT_MARK, joint
from ingest.readers.pdf_rows import SIGN, Row, Segment, grouped_rows
from ingest.readers.pdf_rules import Frame
from ingest.readers.pdf_words import Words

CROSSING = 0.15  # of the lines, that may run over a gap between columns
_DATED = re.compile(r"\b(?:19|20)\d\d\b|[一二三四1-4]季度|\bQ[1-4]\b")
_SENTENCE = 60  # characters
_NEAR = 0.35  # heights between two lines of a cell
_LONG = 16  # letters of a line of a cell that goes on in the next
WIDEST = 30_000  # points: nothing is looked for in what is wider
_CUT = re.compile("[\x02\ufffe]\\s*|\xad\\s+")  # where pdfium saw a word cut by a line's end
_RUN = re.compile(rb"\x01+")
ITEM = re.compile(
    r"[•·▪●○■□◆–—*-]|[(（]?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5}|[一二三四五六七八九十]{1,3})[.)）、．]?"
    r"|(?:Item|Note|Part|Section|Article|Exhibit|Step)\s+[\dA-Z]{1,4}(?:\.\d+)*[.:：]?",
    re.I,
)


@dataclass(slots=True)
class Table:
    """Rows of equal length, of which the first `head` name the columns; `edges` are where its columns begin."""

    rows: list[list[str]]
    head: int
    edges: list[float] = field(default_factory=list)

    def names(self) -> list[str]:
        """The names of the columns, of one row."""
        if not self.head:
            return [""] * len(self.rows[0])
        names = name_rows(self.rows, 0, self.head)
        return names + [""] * (len(self.rows[0]) - len(names))

    def markdown(self) -> str:
        """The table in Markdown's form."""
        body = self.rows[self.head :]
        lines = [self.names(), *body]
        written = ["| " + " | ".join(map(_written, row)) + " |" for row in lines]
        return "\n".join([written[0], "|" + " --- |" * len(lines[0]), *written[1:]])


def _written(cell: str) -> str:
    whole = _CUT.sub(lambda cut: joint(cell[: cut.start()], cell[cut.end() :]), cell)
    return whole.replace("\xad", "-").replace("|", "\\|")


def unruled(rows: list[Row]) -> Table | None:
    """A table without rules, where the cells of rows stand below each other."""
    columns = _columns([row for row in rows if len(row) > 1])
    if len(columns) < 2:
        return None
    edges = [start for start, _ in columns]
    cells = [_in_order(row, columns) or _cells(row, columns) for row in rows]
    filled = [sum(1 for row in cells if row[column]) for column in range(len(edges))]
    if sum(count * 2 >= len(rows) for count in filled) < 2 and max(filled[1:]) < 2:
        return None
    first = [row[0] for row in cells if row[0]]
    if len(edges) == 2 and all(ITEM.fullmatch(text) for text in first):
        return None  # a list
    if len(edges) == 2 and sum(text.endswith((":", "：")) for text in first) * 2 > len(first):
        return None  # names before their values
    if len(rows) == 2 and not any(figures(text) for row in cells for text in row):
        return None
    head = _head(cells)
    for number in range(head - 1):
        cells[number] = _over_groups(rows[number], cells[head - 1], columns) or cells[number]
    merged = _merge_wrapped(rows, cells, head, columns)
    return Table(merged, head, edges) if len(merged) > 1 else None


def _columns(rows: list[Row]) -> list[tuple[float, float]]:
    """Where the columns of some rows begin and end; what stands over several of them closes no gap."""
    valued = [row for row in rows if any(is_figure(segment.text) or segment.text[0] in SIGN for segment in row[1:])]
    segments = [segment for row in rows for segment in row]
    if 1 < len(valued) < len(rows):
        known = _bands([segment for row in valued for segment in row], len(valued))
        if len(known) > 1 and max(map(len, rows)) <= len(known):
            return known
        alone = [s for s in segments if sum(min(s.right, b) - max(s.left, a) > 2 for a, b in known) < 2]
        if len(known) > 1 and alone:
            return _bands(alone, len(rows))
    return _bands(segments, len(rows))


def _bands(segments: Sequence[Segment], rows: int) -> list[tuple[float, float]]:
    """The stretches that segments of some rows cover, but for a few of them."""
    low, high = min(s.left for s in segments), max(s.right for s in segments)
    size = min(int(high - low) + 2, WIDEST)
    changes = [0] * (size + 1)
    for segment in segments:
        changes[min(int(segment.left - low), size)] += 1
        changes[min(int(segment.right - low) + 1, size)] -= 1
    allowed = int(CROSSING * rows) if rows > 3 else (1 if rows == 3 else 0)
    begins, ends = [0], list[int]()
    for start, end in free_stretches(np.array(changes[:size]), allowed):
        if start == 0:
            begins = []
        else:
            ends.append(start)
        if end < size:
            begins.append(end)
    ends += [size] * (len(begins) - len(ends))
    return [(low + a, low + b) for a, b in zip(begins, ends, strict=True)]


def _over_groups(row: Row, below: Sequence[str], columns: Sequence[tuple[float, float]]) -> list[str] | None:
    """The cells of names that stand over the middle of several columns each; None where they do not."""
    values = columns[1:]
    names = [segment for segment in row if segment.left >= columns[0][1] - 2]
    if not names or len(names) >= len(values):
        return None
    if len(names) == 1 and not all(_DATED.search(name) for name in below[1:]):
        return None  # a part of the name of one column
    groups: dict[int, list[int]] = {}
    for number, (start, end) in enumerate(values, start=1):
        nearest = min(range(len(names)), key=lambda i: abs(names[i].left + names[i].right - start - end))
        groups.setdefault(nearest, []).append(number)
    cells = [" ".join(segment.text for segment in row if segment not in names)] + [""] * len(values)
    for i, name in enumerate(names):
        own = groups.get(i, [])
        if not own or own != list(range(own[0], own[-1] + 1)):
            return None
        off = name.left + name.right - columns[own[0]][0] - columns[own[-1]][1]
        if abs(off) > max(16.0, 0.2 * (columns[own[-1]][1] - columns[own[0]][0])):
            return None
        for number in own:
            cells[number] = name.text if number == own[0] else Copy(name.text)
    return cells


def _in_order(row: Row, columns: Sequence[tuple[float, float]]) -> list[str] | None:
    """The cells of names of which there are as many as columns: they may stand beside the figures below them."""
    if any(is_figure(segment.text) for segment in row) or len(row) < 3:
        return None
    texts = [segment.text for segment in row]
    if len(row) == len(columns):
        return texts
    return ["", *texts] if len(row) == len(columns) - 1 and row[0].left > columns[0][1] - 2 else None


def _cells(row: Row, columns: Sequence[tuple[float, float]]) -> list[str]:
    """The cells of a row; what stands over several columns is in each of them, but for figures and first cells."""
    cells = [""] * len(columns)
    for segment in row:
        shared = [min(segment.right, end) - max(segment.left, start) for start, end in columns]
        most = max(range(len(columns)), key=shared.__getitem__)
        under = [i for i, width in enumerate(shared) if width > 2]
        valued = segment.text[0] in SIGN or figures(segment.text)
        places = [most] if valued or len(under) < 2 else under[:1] if under[0] == 0 else under
        for i in places:
            text = segment.text if i == places[0] else Copy(segment.text)
            cells[i] = f"{cells[i]} {text}" if cells[i] else text
    return cells


def _head(cells: list[list[str]]) -> int:
    """How many rows name the columns: those of words, or years, above the first row with figures."""
    for number, row in enumerate(cells[:5]):
        if any(figures(text) for text in row[1:]):
            while number > 1 and not any(cells[number - 1][1:]):
                number -= 1  # a title of the rows below it
            return number or head_of(cells[:12]) or 0  # a first row of codes names columns too
    return 1


def _merge_wrapped(
    rows: list[Row], cells: list[list[str]], head: int, columns: Sequence[tuple[float, float]]
) -> list[list[str]]:  # fmt: skip
    """Lines that go on in the row above are put into it, and a label before the figures of its last line."""
    gaps = [_gap(above, row) for above, row in pairwise(rows)]
    padded = gaps[head - 1] if 0 < head < len(rows) else 0.0
    merged = [cells[0]]
    for number in range(1, len(cells)):
        row, last, gap = cells[number], merged[-1], gaps[number - 1]
        goes_on = number > head and gap < _NEAR and not any(figures(text) for text in row if text)
        goes_on = goes_on and all(last[i] for i, text in enumerate(row) if text)
        if goes_on and (not row[0] or (padded > gap + 0.3 and _fill(rows[number - 1], rows[number], columns))):
            merged[-1] = [f"{a} {b}".strip() for a, b in zip(last, row, strict=True)]
        elif number > head and gap < 1 and row[0][:1].islower() and any(row[1:]) and _is_begun(last):
            merged[-1] = [f"{last[0]} {row[0]}", *row[1:]]
        else:
            merged.append(row)
    return merged


def _gap(above: Row, below: Row) -> float:
    """The space between two rows, in heights of the upper one."""
    height = max(segment.height for segment in above)
    return (min(segment.bottom for segment in above) - max(segment.top for segment in below)) / max(height, 0.1)


def _is_begun(row: Sequence[str]) -> bool:
    """Whether a row is the first line of a label."""
    return bool(row[0]) and not any(row[1:]) and row[0][-1] not in ":.：。;；"


def _fill(above: Row, below: Row, columns: Sequence[tuple[float, float]]) -> bool:
    """Whether all cells of a line go on in the next, whose first words had no room behind them."""
    for segment in below:
        last = next((each for each in above if abs(each.left - segment.left) < 2), None)
        word = segment.text.split()[0] if segment.text.isascii() else segment.text[0]
        if last is None or len(last.text) < (_LONG if last.text.isascii() else _LONG / 2):
            return False
        end = max(end for start, end in columns if start <= last.right)
        if last.right + segment.width * (len(word) + 0.5) / len(segment.text) < end:
            return False
    return True


def ruled(frame: Frame, words: Words) -> Table | None:
    """A table by its rules; a cell without a rule inside stands for all that it covers."""
    cells = [[""] * frame.columns for _ in range(frame.rows)]
    lines: dict[int, list[str]] = {}
    x, y = words.middles.T
    for cell, row in grouped_rows(words, frame.cells(x, y)):
        lines.setdefault(cell, []).append(" ".join(segment.text for segment in row))
    if 5 * sum(len(texts) > 1 and all(map(is_figure, texts)) for texts in lines.values()) > len(lines):
        return None  # rules between rows are wanting
    for cell, texts in lines.items():
        row, column = divmod(cell, frame.columns)
        text = _joined_lines(texts)
        for down, across in frame.covered(row, column):
            cells[down][across] = text if across == column else Copy(text)
    cells = [row for row in cells if any(row)]
    columns = [i for i in range(frame.columns) if any(row[i] for row in cells)]
    cells = _signed([[row[i] for i in columns] for row in cells])
    columns = range(len(cells[0]) if cells else 0)
    if len(cells) < 2 or len(columns) < 2 or _is_prose(cells):
        return None
    return Table(cells, head_of(cells) or (0 if any(figures(text) for text in cells[0]) else 1), frame.xs)


def _signed(cells: list[list[str]]) -> list[list[str]]:
    """The rows, a column that holds but the signs of a currency together with that of its figures."""
    column = 1
    while cells and column + 1 < len(cells[0]):
        pairs = [(row[column], row[column + 1]) for row in cells]
        alone = [not a or a in SIGN or (type(b) is Copy and b == a) for a, b in pairs]
        if all(alone) and any(a in SIGN for a, _ in pairs):
            for row, (sign, figure) in zip(cells, pairs, strict=True):
                row[column : column + 2] = [f"{sign} {figure}".strip() if sign in SIGN or not sign else sign]
        column += 1
    return cells


def _is_prose(cells: list[list[str]]) -> bool:
    """Whether most rows say one thing over most of their columns: lines of text on coloured grounds."""
    wide = sum(3 * sum(type(text) is Copy for text in row[1:]) >= 2 * len(row[1:]) for row in cells)
    if len(cells[0]) > 3 and 2 * wide > len(cells):
        return True
    single = [row[0] for row in cells if row[0] and all(not text or type(text) is Copy for text in row[1:])]
    return 3 * len(single) > 2 * len(cells) and sum(map(len, single)) > _SENTENCE * len(single)


def _joined_lines(lines: list[str]) -> str:
    text = ""
    for line in lines:
        if text.endswith(CUT_MARK):
            text = text[:-1] + joint(text[:-1], line) + line
        else:
            wide = text[-1:] > "\u2e7f" and line[:1] > "\u2e7f"
            text += line if wide or not text else f" {line}"
    return text


def is_part(words: Words, inside: NDArray[np.bool_]) -> bool:
    """Whether a frame holds but some columns of a table: most of its lines go on beside it, to or from figures."""
    left, bottom, right, top = words.boxes.T
    middle = (bottom + top) / 2
    near = 0.3 * float(np.median(top - bottom))
    places = np.flatnonzero(~inside)
    places = places[np.argsort(middle[places])]
    held = np.flatnonzero(inside)
    held = held[np.lexsort((left[held], -np.round(middle[held])))]
    lines = [line.tolist() for line in np.split(held, np.flatnonzero(np.diff(np.round(middle[held]))) + 1)]
    on, beside = 0, 0
    for line in lines:
        level = middle[line[0]]
        a, b = np.searchsorted(middle[places], (level - near, level + near))
        others = places[a:b]
        if not len(others):
            continue
        on += 1
        later = others[left[others] > right[line[-1]]]
        following = words.texts[int(later[np.argmin(left[later])])] if len(later) else ""
        labelled = len(later) < len(others) and is_figure(words.texts[line[0]])
        beside += labelled or is_figure(following)
    return 2 * on > len(lines) and 2 * beside > on


def is_headless(table: Table, frame: Frame, words: Words) -> bool:
    """Whether a table by its rules names no columns, and words stand just above them."""
    if any(table.names()[1:]) or table.head > 1:
        return False
    x, y = words.middles.T
    near = (y > frame.top) & (y < frame.top + 18) & (x > frame.xs[1]) & (x < frame.xs[-1] + 20)
    return int(near.sum()) > 1


def is_figure(text: str) -> bool:
    """Whether a text is a figure, or the sign of a currency."""
    return text in SIGN or figures(text)


def free_stretches(changes: NDArray[np.int64], allowed: int) -> list[tuple[int, int]]:
    """The stretches that no more than `allowed` cover, by how their number changes from point to point."""
    return [run.span() for run in _RUN.finditer((np.cumsum(changes) <= allowed).tobytes())]
