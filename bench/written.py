"""Tables of ten shapes, as PDF, DOCX, XLSX and HTML; pages of two columns; plain pages. All of chance, seeded."""

import html
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

from pikepdf import Array, Dictionary, Name, Pdf

_WORDS = (
    "pump valve seal hose motor filter gasket bearing spring panel meter switch cable sensor relay fuse bracket clamp "
    "rotor shaft board lever hinge tank nozzle"
).split()
_NAMES = "North South East West Central Coast Inland Export Retail Online Service Spares".split()
_ZH_WORDS = "水泵 阀门 密封件 软管 电机 滤芯 垫片 轴承 弹簧 面板 仪表 开关 电缆 传感器 继电器".split()
_ZH_NAMES = "华北 华东 华南 西南 西北 东北 出口 零售".split()


@dataclass(frozen=True, slots=True)
class Cell:
    """A fact that a table states: its value, what names its row, and what names its column, from above."""

    row: tuple[str, ...]
    column: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows of texts, of which the first `head` name the columns; None is covered by the cell left or above."""

    shape: str
    rows: list[list[str | None]]
    head: int = 1
    ruled: bool = True

    def cells(self) -> list[Cell]:
        """What the table states."""
        filled = [list(row) for row in self.rows]
        for y, row in enumerate(filled):
            for x, text in enumerate(row):
                if text is None:
                    row[x] = row[x - 1] if y < self.head and x and self.rows[y][x - 1] != "" else filled[y - 1][x]
        labels = 2 if self.shape == "row groups" else 1
        return [
            Cell(
                tuple(str(text) for text in row[:labels]),
                tuple(dict.fromkeys(str(filled[y][x]) for y in range(self.head) if filled[y][x])),
                str(text),
            )
            for row in filled[self.head :]
            for x, text in enumerate(row)
            if x >= labels and text
        ]


def _figure(chance: random.Random) -> str:
    return f"{chance.randint(1000, 999_999):,}"


def _plain(shape: str, chance: random.Random, rows: int = 8, columns: int = 4, ruled: bool = True) -> Grid:
    names = chance.sample(_NAMES, min(columns, len(_NAMES)))
    labels = [f"{word} {number}" for number, word in enumerate(chance.choices(_WORDS, k=rows), start=10)]
    head: list[str | None] = ["Part", *names]
    return Grid(shape, [head, *([label, *(_figure(chance) for _ in names)] for label in labels)], ruled=ruled)


def _empty_cells(chance: random.Random) -> Grid:
    grid = _plain("empty cells", chance)
    for row in grid.rows[1:]:
        row[chance.randint(1, 4)] = ""
    return grid


def _groups(chance: random.Random) -> Grid:
    body = _plain("", chance).rows[1:]
    top: list[str | None] = ["", "Sales 2023", None, "Sales 2024", None]
    return Grid("grouped columns", [top, ["Part", "Units", "Value", "Units", "Value"], *body], head=2)


def _row_groups(chance: random.Random) -> Grid:
    body = _plain("", chance, rows=9, columns=3).rows[1:]
    groups = chance.sample(_NAMES, 3)
    rows: list[list[str | None]] = [
        [groups[number // 3] if number % 3 == 0 else None, *row] for number, row in enumerate(body)
    ]
    return Grid("row groups", [["Region", "Part", "Units", "Price", "Value"], *rows])


def _wrapped(chance: random.Random) -> Grid:
    rows: list[list[str | None]] = [["Part", "What it is for", "Price"]]
    for number, word in enumerate(chance.sample(_WORDS, 6), start=10):
        text = " ".join(chance.choices(_WORDS, k=11))
        rows.append([f"{word} {number}", text, _figure(chance)])
    return Grid("wrapped texts", rows)


def _chinese(chance: random.Random) -> Grid:
    names = chance.sample(_ZH_NAMES, 4)
    labels = chance.sample(_ZH_WORDS, 8)
    return Grid("Chinese", [["品名", *names], *([label, *(_figure(chance) for _ in names)] for label in labels)])


def _statement(chance: random.Random) -> Grid:
    rows: list[list[str | None]] = [["(in millions)", "2024", "2023", "2022"]]
    for number, word in enumerate(chance.sample(_WORDS, 10)):
        values = [_figure(chance) for _ in range(3)]
        values = [f"({value})" if chance.random() < 0.3 else value for value in values]
        rows.append([f"Net {word} costs", *(f"${value}" if number in (0, 9) else value for value in values)])
    return Grid("statement", rows, ruled=False)


SHAPES: dict[str, Callable[[random.Random], Grid]] = {
    "plain": lambda chance: _plain("plain", chance),
    "without rules": lambda chance: _plain("without rules", chance, ruled=False),
    "empty cells": _empty_cells,
    "grouped columns": _groups,
    "row groups": _row_groups,
    "wrapped texts": _wrapped,
    "wide": lambda chance: _plain("wide", chance, columns=9),
    "long": lambda chance: _plain("long", chance, rows=90),
    "Chinese": _chinese,
    "statement": _statement,
}


def as_html(grid: Grid) -> bytes:
    """A page with the table, merged cells by `rowspan` and `colspan`."""
    lines = []
    for y, row in enumerate(grid.rows):
        tag = "th" if y < grid.head else "td"
        cells = []
        for x, text in enumerate(row):
            if text is None:
                continue
            across, down = _spans(grid, y, x)
            cells.append(f'<{tag} colspan="{across}" rowspan="{down}">{html.escape(text)}</{tag}>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<html><body><p>Before.</p><table>{''.join(lines)}</table><p>After.</p></body></html>".encode()


def _spans(grid: Grid, y: int, x: int) -> tuple[int, int]:
    across, down = 1, 1
    if y < grid.head:
        while x + across < len(grid.rows[y]) and grid.rows[y][x + across] is None:
            across += 1
    else:
        while y + down < len(grid.rows) and grid.rows[y + down][x] is None:
            down += 1
    return across, down


def as_docx(grid: Grid) -> bytes:
    """A document with the table."""
    import docx

    document = docx.Document()
    document.add_paragraph("Before.")
    table = document.add_table(len(grid.rows), len(grid.rows[0]), style="Table Grid" if grid.ruled else None)
    for y, row in enumerate(grid.rows):
        for x, text in enumerate(row):
            if text is None:
                continue
            across, down = _spans(grid, y, x)
            cell = table.cell(y, x)
            if across + down > 2:
                cell = cell.merge(table.cell(y + down - 1, x + across - 1))
            cell.text = text
    document.add_paragraph("After.")
    file = BytesIO()
    document.save(file)
    return file.getvalue()


def as_xlsx(grid: Grid) -> bytes:
    """A workbook with the table on one sheet."""
    import xlsxwriter

    file = BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        sheet = book.add_worksheet("Figures")
        for y, row in enumerate(grid.rows):
            for x, text in enumerate(row):
                if text is None:
                    continue
                across, down = _spans(grid, y, x)
                if across + down > 2:
                    sheet.merge_range(y, x, y + down - 1, x + across - 1, text)
                else:
                    sheet.write_string(y, x, text)
    return file.getvalue()


class _Paper:
    """Pages of a PDF that is written."""

    def __init__(self) -> None:
        self.pdf = Pdf.new()
        latin = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name.WinAnsiEncoding)
        kin = Dictionary(Registry=b"Adobe", Ordering=b"GB1", Supplement=2)
        below = Dictionary(
            Type=Name.Font, Subtype=Name.CIDFontType0, BaseFont=Name("/STSong-Light"), CIDSystemInfo=kin, DW=1000
        )
        wide = Dictionary(
            Type=Name.Font, Subtype=Name.Type0, BaseFont=Name("/STSong-Light"), Encoding=Name("/UniGB-UCS2-H")
        )
        wide.DescendantFonts = Array([self.pdf.make_indirect(below)])
        self.fonts = Dictionary(F1=self.pdf.make_indirect(latin), F2=self.pdf.make_indirect(wide))

    def page(self, puts: Sequence[tuple[float, float, str]], drawn: Sequence[str] = ()) -> None:
        """A page of texts, (from the left, from below, text) each, and of what is drawn."""
        page = self.pdf.add_blank_page(page_size=(612, 792))
        page.Resources = Dictionary(Font=self.fonts)
        pieces = list(drawn)
        for x, y, text in puts:
            shown = f"<{text.encode('latin-1').hex()}>" if text.isascii() else f"<{text.encode('utf-16-be').hex()}>"
            pieces.append(f"BT /F{1 if text.isascii() else 2} 9 Tf {x:.1f} {y:.1f} Td {shown} Tj ET")
        page.Contents = self.pdf.make_stream(" ".join(pieces).encode())

    def saved(self) -> bytes:
        """The file."""
        file = BytesIO()
        self.pdf.save(file)
        return file.getvalue()


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def as_pdf(grid: Grid) -> bytes:
    """Pages with the table, ruled or not; figures are set to the right."""
    paper, columns = _Paper(), len(grid.rows[0])
    left, right = 50.0, 562.0
    widths = [max(len(line) for row in grid.rows for line in _lines(row[x] or "", 36)) + 2 for x in range(columns)]
    xs = [left + (right - left) * sum(widths[:x]) / sum(widths) for x in range(columns + 1)]
    top, y = 720.0, 0
    while y < len(grid.rows):
        puts, drawn, level = [(left, 750.0, "Figures of the year, as the board has approved them.")], list[str](), top
        while y < len(grid.rows) and level > 80:
            wrapped = [_lines(text or "", 36) for text in grid.rows[y]]
            below = level - 13 * max(map(len, wrapped)) - 2
            for x, text in enumerate(grid.rows[y]):
                if text is None:
                    continue
                across, down = _spans(grid, y, x)
                for number, line in enumerate(wrapped[x]):
                    size = sum(4.5 if c.isascii() else 9 for c in line)
                    valued = x and line[-1:].isdigit() | line.endswith(")")
                    middle = (xs[x] + xs[x + across] - size) / 2
                    at = middle if across > 1 else xs[x + 1] - 6 - size * 1.1 if valued else xs[x] + 4
                    puts.append((at, level - 11 - 13 * number, line))
                if grid.ruled:
                    drawn.append(
                        f"{xs[x]:.1f} {level - (level - below) * down:.1f} {xs[x + across] - xs[x]:.1f} "
                        f"{(level - below) * down:.1f} re S"
                    )
            level, y = below, y + 1
        paper.page([put for put in puts if put[2]], drawn)
    return paper.saved()


FORMATS: dict[str, Callable[[Grid], bytes]] = {
    ".pdf": as_pdf,
    ".docx": as_docx,
    ".xlsx": as_xlsx,
    ".html": as_html,
}


def two_columns(seed: int) -> tuple[bytes, list[str]]:
    """A page of two columns, and its sentences in the order in which they are read."""
    chance = random.Random(seed)
    sentences = [f"S{number:02d} {' '.join(chance.choices(_WORDS, k=12))}." for number in range(24)]
    half = 12
    columns = [[line for s in part for line in _lines(s, 40)] for part in (sentences[:half], sentences[half:])]
    shift = chance.choice((0.0, 5.5))
    puts = [(50.0 + 270 * c, 700.0 - 13 * n - shift * c, line) for c in (0, 1) for n, line in enumerate(columns[c])]
    kind = seed % 3
    if kind == 1:  # line by line over the page
        puts.sort(key=lambda put: (-put[1], put[0]))
    elif kind == 2:  # the right column first
        puts.sort(key=lambda put: -put[0])
    paper = _Paper()
    paper.page([(50.0, 740.0, "On parts and what they cost"), *puts])
    return paper.saved(), sentences


def prose(pages: int, columns: int) -> bytes:
    """A PDF of nothing but running text."""
    chance, paper = random.Random(pages), _Paper()
    for _ in range(pages):
        puts: list[tuple[float, float, str]] = []
        for column in range(columns):
            lines = _lines(" ".join(chance.choices(_WORDS, k=1200)), 100 // columns)[:52]
            puts += [(50 + 270.0 * column, 740 - 13.0 * number, line) for number, line in enumerate(lines)]
        paper.page(puts)
    return paper.saved()
