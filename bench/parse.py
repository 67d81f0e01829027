"""What reading costs beside the bare parser library: `python -m bench.parse`, RAGSTONE_EVAL set.

For each format, the same bytes: `bare` calls the library that the reader stands on and takes the text it gives, without
headings, tables, offsets or limits; `read` is the reader; `apart` is the reader in its worker process, as indexing
uses it. Best of several rounds; pages are those of the format, else 3,000 characters count as one.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from email import message_from_bytes, policy
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from bench.record import environment, evaluation_folder, merge, progress
from core.config import IngestConfig
from ingest.read import read_bytes
from ingest.workers import read_apart

_PAGE = 3_000  # characters
_PACKAGES = ("lxml", "markdown-it-py", "pypdfium2", "python-calamine", "python-docx", "python-pptx")
_HANDBOOK = Path(__file__).resolve().parent.parent / "examples" / "handbook"


def bare_pdf(data: bytes) -> int:
    """Characters that pypdfium2 finds."""
    from pypdfium2 import PdfDocument

    pdf = PdfDocument(data)
    return sum(len(page.get_textpage().get_text_bounded()) for page in pdf)


def bare_docx(data: bytes) -> int:
    """Characters that python-docx finds in paragraphs and cells."""
    import docx

    document = docx.Document(BytesIO(data))
    cells = (cell.text for table in document.tables for row in table.rows for cell in row.cells)
    return sum(map(len, cells)) + sum(len(paragraph.text) for paragraph in document.paragraphs)


def bare_pptx(data: bytes) -> int:
    """Characters that python-pptx finds in text frames."""
    from pptx import Presentation

    shapes = (shape for slide in Presentation(BytesIO(data)).slides for shape in slide.shapes)
    return sum(len(cast(Any, shape).text_frame.text) for shape in shapes if shape.has_text_frame)


def bare_xlsx(data: bytes) -> int:
    """Characters that python-calamine finds in cells."""
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_filelike(BytesIO(data))
    rows = (row for name in book.sheet_names for row in book.get_sheet_by_name(name).to_python())
    return sum(len(str(cell)) for row in rows for cell in row)


def bare_html(data: bytes) -> int:
    """Characters that lxml finds."""
    import lxml.html

    return len(lxml.html.fromstring(data).text_content())


def bare_markdown(data: bytes) -> int:
    """Characters of the inline tokens of markdown-it-py."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(data.decode())
    return sum(len(token.content) for token in tokens if token.type == "inline")


def bare_text(data: bytes) -> int:
    """Characters by Python's own decoder."""
    return len(data.decode("utf-8", "replace"))


def bare_mail(data: bytes) -> int:
    """Characters of the body by the standard library."""
    message = cast(EmailMessage, message_from_bytes(data, policy=policy.default))
    body = message.get_body(("plain", "html"))
    return len(body.get_content()) if body else 0


_BARE: dict[str, tuple[str, Callable[[bytes], int]]] = {
    ".pdf": ("pypdfium2", bare_pdf),
    ".docx": ("python-docx", bare_docx),
    ".pptx": ("python-pptx", bare_pptx),
    ".xlsx": ("python-calamine", bare_xlsx),
    ".html": ("lxml", bare_html),
    ".md": ("markdown-it-py", bare_markdown),
    ".txt": ("bytes.decode", bare_text),
    ".eml": ("email", bare_mail),
}


def samples(root: Path, suffix: str) -> list[Path]:
    """Files of one format from the evaluation sets, or from the sample handbook where these hold none that is whole."""
    if suffix == ".pdf":
        return sorted((root / "financebench_pdf").rglob("*.pdf"))[:2]
    if suffix == ".md":
        return sorted((root / "docs_folder_zh_en" / "files").rglob("*.md"))[::60]
    odd = sorted(file for file in (root / "odd_files" / "files").glob(f"*{suffix}") if "gen__" not in file.name)
    return [*odd, *sorted(_HANDBOOK.rglob(f"*{suffix}"))]


def measure(files: Iterable[Path], suffix: str, rounds: int) -> dict[str, Any] | None:
    """Pages a second by the three ways, over the files that all of them read."""
    library, bare = _BARE[suffix]
    cfg = IngestConfig(ocr="off")  # no library here recognises pictures
    chosen: list[tuple[Path, bytes]] = []
    pages = 0.0
    for file in files:
        data = file.read_bytes()
        try:
            bare(data)
            document = read_bytes(file.name, data, cfg)
        except Exception:  # odd files are refused by one or the other, each in its own way
            continue
        chosen.append((file, data))
        pages += document.pages or len(document.text) / _PAGE
    if not chosen:
        return None
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: [bare(data) for _, data in chosen],
        "read": lambda: [read_bytes(file.name, data, cfg) for file, data in chosen],
        "apart": lambda: [read_apart(file, cfg) for file, _ in chosen],
    }
    best = {way: min(_seconds(work) for _ in range(rounds)) for way, work in ways.items()}
    return {
        "library": library,
        "files": len(chosen),
        "pages": round(pages, 1),
        "pages_per_s": {way: round(pages / seconds, 1) for way, seconds in best.items()},
        "read_to_bare": round(best["bare"] / best["read"], 2),
        "apart_to_bare": round(best["bare"] / best["apart"], 2),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| format | library | files, pages | bare | read | apart | apart / bare |",
        "|---|---|---|---|---|---|---|",
    ]
    for suffix, row in results.items():
        speed = row["pages_per_s"]
        lines.append(
            f"| {suffix} | {row['library']} | {row['files']}, {row['pages']} | {speed['bare']} pages/s | "
            f"{speed['read']} | {speed['apart']} | {row['apart_to_bare']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.parse", description="What reading costs.")
    parser.add_argument("--rounds", type=int, default=3, help="best of so many (default 3)")
    options = parser.parse_args()
    root = evaluation_folder(["financebench_pdf", "docs_folder_zh_en", "odd_files"])
    results: dict[str, Any] = {}
    for done, suffix in enumerate(_BARE, start=1):
        if row := measure(samples(root, suffix), suffix, options.rounds):
            results[suffix] = row
        progress("parse", done, len(_BARE))
    merge("parse", {"formats": results, "environment": environment(_PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
