"""OFD (GB/T 33190-2016), the format of Chinese invoices and official documents -> text by page, in reading order.

A page holds texts at places in millimetres from its upper left corner; they are put in order as those of PDF are.
"""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.package import check_package, parse_xml
from ingest.readers.pdf import written
from ingest.readers.pdf_layout import Item, layout
from ingest.readers.pdf_running import join_pages
from ingest.readers.pdf_tables import Table
from ingest.readers.pdf_words import Word, Words
from ingest.readers.text import Part, assemble, clean, date_of, meaningful

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_SAME = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_POINTS = 72 / 25.4  # of a millimetre
_FAR = 5000.0  # millimetres
_MOST_PAGES, _MOST_TEXTS = 5000, 50_000


def read_ofd(data: bytes, cfg: IngestConfig) -> Document:
    """The pages of an OFD file. Raises `ReadError` for damage, and where no page has text."""
    check_package(data, "OFD")
    with ZipFile(BytesIO(data)) as archive:
        names = {name.lower().lstrip("/"): name for name in archive.namelist()}

        def member(path: str) -> "Element | None":
            name = names.get(posixpath.normpath(path).lower().lstrip("/"))
            return parse_xml(archive.read(name)) if name else None

        start = member("OFD.xml")
        if start is None:
            raise ReadError("damaged OFD file: it has no OFD.xml", "restore it from a copy")
        title = meaningful(start.findtext(".//{*}Title"))
        date = date_of(start.findtext(".//{*}ModDate") or start.findtext(".//{*}CreationDate") or "")
        pages: list[list[Item]] = []
        for root in start.iter("{*}DocRoot"):
            path = (root.text or "").strip()
            document = member(path)
            if document is not None:
                pages += _pages(document, posixpath.dirname(path), member)
    join_pages(pages)
    texts = [written(items) for items in pages]
    if not any(text.strip() for text in texts):
        raise ReadError("no text in the OFD file: its pages are pictures", "print it to a PDF and index that by OCR")
    empty = [number for number, text in enumerate(texts, start=1) if not text.strip()]
    tables = sum(isinstance(item, Table) for items in pages for item in items)
    parts = [Part(text, (), number) for number, text in enumerate(texts, start=1)]
    return replace(assemble(parts, title, len(texts), empty, tables=tables), date=date)


def _pages(document: "Element", folder: str, member: "Callable[[str], Element | None]") -> Iterator[list[Item]]:
    templates = {
        page.get("ID", ""): member(posixpath.join(folder, page.get("BaseLoc", "")))
        for page in document.iter("{*}TemplatePage")
    }
    for number, page in enumerate(document.iterfind("{*}Pages/{*}Page")):
        if number == _MOST_PAGES:
            return
        content = member(posixpath.join(folder, page.get("BaseLoc", "")))
        if content is None:
            yield []
            continue
        used = [templates.get(template.get("TemplateID", "")) for template in content.iterfind("{*}Template")]
        words = [word for part in (*used, content) if part is not None for word in _words(part)]
        yield layout(Words([], np.zeros((0, 4))).more(words), list)


def _words(page: "Element") -> Iterator[Word]:
    for number, shown in enumerate(page.iter("{*}TextObject")):
        if number == _MOST_TEXTS:
            return
        if shown.get("Visible", "true").lower() == "false":
            continue
        left, top, *_ = [*_numbers(shown.get("Boundary", "")), 0.0, 0.0]
        a, b, c, d, e, f = _numbers(shown.get("CTM", "")) if len(_numbers(shown.get("CTM", ""))) == 6 else _SAME
        size = next(iter(_numbers(shown.get("Size", ""))), 3.5)
        x = y = 0.0
        for code in shown.iter("{*}TextCode"):
            text = clean(code.text or "").strip("\n")
            x, y = (next(iter(_numbers(code.get(key, ""))), last) for key, last in (("X", x), ("Y", y)))
            if not text.strip():
                continue
            wide = sum(_steps(code.get("DeltaX", ""), len(text) - 1, size)) + size * (1 if text[-1] > "\u2e7f" else 0.5)
            at, below = left + a * x + c * y + e, top + b * x + d * y + f
            high = abs(d) * size
            box = at, -below - 0.15 * high, at + abs(a) * wide, -below + 0.85 * high
            if all(-_FAR < edge < _FAR for edge in box):
                yield Word(text, *(edge * _POINTS for edge in box))


def _steps(text: str, count: int, size: float) -> list[float]:
    """The steps from character to character: numbers, and `g n d` for n times d (GB/T 33190, 11.3)."""
    found: list[float] = []
    parts = text.split()
    while parts and len(found) < count:
        if parts[0] == "g" and len(parts) > 2:
            times, step = _numbers(" ".join(parts[1:3]))[:2] if len(_numbers(" ".join(parts[1:3]))) == 2 else (1, size)
            found += [step] * max(1, min(int(times), count))
            parts = parts[3:]
        else:
            found += _numbers(parts[0])
            parts = parts[1:]
    return (found + [size] * count)[: max(count, 0)]


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split()[:64]]
    except ValueError:
        return []
