"""How well documents are read: `python -m bench.reading --peers PYTHON`, RAGSTONE_EVAL set.

`tables`: of the cells of tables, the share that stands in the right row under the right column, over generated tables
(bench/written.py) and over 30 of real annual reports whose cells were written down by hand (reading_tables.jsonl).
`order`: of 20 pages of two columns, those whose sentences are whole and in order. `speed`: characters a second beside
bare pypdfium2, in the same run, by the time of the processor.

The peers run in an environment of their own, whose Python `--peers` names: pdfplumber (tables of PDF alone, by rules,
else by alignment), markitdown and kreuzberg on their defaults.
"""

import argparse
import json
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.parse import bare_pdf
from bench.record import environment, evaluation_folder, merge, progress, read_rows
from bench.written import FORMATS, SHAPES, Cell, prose, two_columns
from core.config import IngestConfig
from ingest.read import read_bytes

_OWN = "ragstone"
_REAL = Path(__file__).with_name("reading_tables.jsonl")
_EACH = 3  # tables of each shape and format
_PAGES = 20
_PACKAGES = ("pypdfium2", "python-docx", "xlsxwriter", "lxml", "python-calamine")
_PEERS = r"""
import json, sys
def markdown(rows):
    lines = ["| " + " | ".join(" ".join(str(c or "").split()) for c in row) + " |" for row in rows]
    return "\n".join([*lines[:1], "|" + " --- |" * len(rows[0]), *lines[1:]]) if rows else ""
def pdfplumber_text(path, page):
    import pdfplumber
    text = {"vertical_strategy": "text", "horizontal_strategy": "text"}
    with pdfplumber.open(path) as pdf:
        pages = pdf.pages if page is None else [pdf.pages[page - 1]]
        found = [(p, p.extract_tables() or p.extract_tables(text)) for p in pages]
        return "\n\n".join([*(p.extract_text() or "" for p in pages), *(markdown(t) for _, ts in found for t in ts)])
def markitdown_text(path, page):
    from markitdown import MarkItDown
    return MarkItDown().convert(path).text_content
def kreuzberg_text(path, page):
    import kreuzberg
    made = kreuzberg.extract_file_sync(path)
    return "\n\n".join([made.content, *((t.markdown or "") for t in (made.tables or []))])
ways = {"pdfplumber": pdfplumber_text, "markitdown": markitdown_text, "kreuzberg": kreuzberg_text}
for line in sys.stdin:
    path, page = json.loads(line)
    said = {}
    for name, way in ways.items():
        if name == "pdfplumber" and not path.endswith(".pdf"):
            continue
        try:
            said[name] = way(path, page)
        except Exception as error:
            said[name] = ""
            print(name, path, repr(error)[:200], file=sys.stderr)
    print(json.dumps(said), flush=True)
"""


def rows_of(text: str) -> list[list[tuple[str, str]]]:
    """The rows of the tables in a text: for each cell what stands above it, and what it says.

    A table is one of Markdown, or lines of `name: value | name: value`.
    """
    found: list[list[tuple[str, str]]] = []
    above: list[str] = []
    for line in text.split("\n"):
        if line.startswith("|"):
            cells = [re.sub(r"\s+", " ", cell.replace("\\|", "|")).strip() for cell in _CELLS.split(line.strip())[1:-1]]
            if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                continue
            above += [""] * (len(cells) - len(above))
            found.append(list(zip(above, cells, strict=False)))
            above = [f"{names}\n{cell}" for names, cell in zip(above, cells, strict=False)]
        else:
            above = []
            if " | " in line:
                pairs = [piece.partition(": ") for piece in line.split(" | ")]
                found.append([(name, value) if value else ("", name) for name, _, value in pairs])
    return found


_CELLS = re.compile(r"(?<!\\)\|")


def _said(value: str) -> str:
    return re.sub(r"[\s$]|(?<=\d) ?%", "", value)


def is_right(cell: Cell, rows: Iterable[Sequence[tuple[str, str]]]) -> bool:
    """Whether a table states a fact: its value right of the names of its row, below those of its column."""
    for row in rows:
        labels = [_said(text) for _, text in row]
        for number, (names, text) in enumerate(row):
            if _said(text) != _said(cell.value) or not all(_said(name) in _said(names) for name in cell.column):
                continue
            if all(any(_said(name) == label for label in labels[:number]) for name in cell.row):
                return True
    return False


class _Peers:
    """The peers in a process of their own; without a Python for them, none."""

    def __init__(self, python: str) -> None:
        self.process: subprocess.Popen[str] | None = None
        if python:
            command = [python, "-c", _PEERS]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, file: Path, page: int | None = None) -> dict[str, str]:
        """What each of them reads."""
        if not self.process or not self.process.stdin or not self.process.stdout:
            return {}
        self.process.stdin.write(json.dumps([str(file), page]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        if self.process and self.process.stdin:
            self.process.stdin.close()
            self.process.wait()


def _own(name: str, data: bytes, page: int | None = None) -> str:
    document = read_bytes(name, data, IngestConfig(ocr="off"))
    return "\n\n".join(document.text[s.start : s.end] for s in document.sections if page in (None, s.page))


class _Count:
    """Of each reader, how many there were and how many were right."""

    def __init__(self) -> None:
        self.right: dict[str, int] = {}
        self.all: dict[str, int] = {}

    def add(self, texts: dict[str, str], cells: Sequence[Cell]) -> None:
        """Count the cells that each of the texts states."""
        for name, text in texts.items():
            rows = rows_of(text)
            self.right[name] = self.right.get(name, 0) + sum(is_right(cell, rows) for cell in cells)
            self.all[name] = self.all.get(name, 0) + len(cells)

    def shares(self) -> dict[str, float]:
        """The share that was right."""
        return {name: round(self.right[name] / count, 3) for name, count in self.all.items() if count}


def generated(peers: _Peers, folder: Path) -> dict[str, Any]:
    """Cell accuracy over generated tables, by format and by shape."""
    results: dict[str, Any] = {}
    done = 0
    for suffix, write in FORMATS.items():
        whole, shapes = _Count(), dict[str, Any]()
        for shape, make in SHAPES.items():
            count = _Count()
            for seed in range(_EACH):
                grid = make(random.Random(f"{shape} {seed}"))
                file = folder / f"{shape.replace(' ', '-')}-{seed}{suffix}"
                file.write_bytes(write(grid))
                texts = {_OWN: _own(file.name, file.read_bytes())} | peers.read(file)
                count.add(texts, grid.cells())
                whole.add(texts, grid.cells())
                done += 1
                progress("generated tables", done, len(FORMATS) * len(SHAPES) * _EACH)
            shapes[shape] = count.shares()
        results[suffix] = {"all": whole.shares(), "shapes": shapes}
    return results


def real(peers: _Peers, pdfs: Path, folder: Path) -> dict[str, Any]:
    """Cell accuracy over real tables; each reader is given the page alone."""
    from pikepdf import Pdf

    count, tables = _Count(), read_rows(_REAL)
    single: dict[str, dict[str, float]] = {}
    for done, table in enumerate(tables, start=1):
        file = folder / f"{table['doc']}-{table['page']}.pdf"
        with Pdf.open(pdfs / f"{table['doc']}.pdf") as whole:
            page = Pdf.new()
            page.pages.append(whole.pages[table["page"] - 1])
            page.save(file)
        cells = [
            Cell((label,), tuple(column.split("|")), value)
            for label, values in table["rows"].items()
            for column, value in zip(table["columns"], values, strict=True)
        ]
        texts = {_OWN: _own(file.name, file.read_bytes())} | peers.read(file)
        count.add(texts, cells)
        alone = _Count()
        alone.add(texts, cells)
        single[f"{table['doc']} p{table['page']} #{done}"] = alone.shares()
        progress("real tables", done, len(tables))
    return {"all": count.shares(), "tables": single, "cells": count.all[_OWN]}


def order(peers: _Peers, folder: Path) -> dict[str, float]:
    """The share of pages of two columns whose sentences are whole and in order."""
    right: dict[str, int] = {}
    for seed in range(_PAGES):
        data, sentences = two_columns(seed)
        file = folder / f"columns-{seed}.pdf"
        file.write_bytes(data)
        from pypdfium2 import PdfDocument

        bare = PdfDocument(data)[0].get_textpage().get_text_bounded()
        for name, text in ({_OWN: _own(file.name, data), "pypdfium2": bare} | peers.read(file)).items():
            said = " ".join(text.split())
            places = [said.find(sentence) for sentence in sentences]
            right[name] = right.get(name, 0) + (min(places) >= 0 and places == sorted(places))
    return {name: round(count / _PAGES, 2) for name, count in right.items()}


def speed(pdfs: Path, rounds: int) -> dict[str, Any]:
    """Characters a second of reading, as a share of those of bare pypdfium2."""
    sets = {
        "one column": [prose(60, 1)],
        "two columns": [prose(60, 2)],
        "annual reports": [file.read_bytes() for file in sorted(pdfs.glob("*.pdf"))],
    }
    results: dict[str, Any] = {}
    for name, files in sets.items():
        bare, own, size = 0.0, 0.0, 0
        for data in files:
            times: list[tuple[float, float]] = []
            count = 0
            for _ in range(rounds):
                start = time.process_time()
                count = bare_pdf(data)
                middle = time.process_time()
                _own("a.pdf", data)
                times.append((middle - start, time.process_time() - middle))
            bare, own, size = bare + min(t for t, _ in times), own + min(t for _, t in times), size + count
        results[name] = {
            "characters": size,
            "bare_per_s": round(size / bare),
            "read_per_s": round(size / own),
            "read_to_bare": round(bare / own, 2),
        }
    return results


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    groups = {f"generated {suffix}": row["all"] for suffix, row in results["generated"].items()}
    groups |= {"annual reports": results["real"]["all"], "pages of two columns in order": results["order"]}
    names = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for group, shares in groups.items():
        lines.append(f"| {group} | " + " | ".join(str(shares.get(name, "–")) for name in names) + " |")
    for name, row in results["speed"].items():
        lines.append(f"\n{name}: {row['read_to_bare']} of bare pypdfium2's {row['bare_per_s']:,} characters a second")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description="How well documents are read.")
    parser.add_argument("--peers", default="", help="a Python that has pdfplumber, markitdown and kreuzberg")
    parser.add_argument("--rounds", type=int, default=3, help="best of so many (default 3)")
    options = parser.parse_args()
    pdfs = evaluation_folder(["financebench_pdf"]) / "financebench_pdf" / "pdfs"
    peers = _Peers(options.peers)
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as made:
        folder = Path(made)
        results = {
            "generated": generated(peers, folder),
            "real": real(peers, pdfs, folder),
            "order": order(peers, folder),
            "speed": speed(pdfs, options.rounds),
        }
    peers.end()
    merge("reading", results | {"environment": environment(_PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
