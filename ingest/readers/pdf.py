"""PDF -> text by page, under the headings of its outline (bookmarks)."""

import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import signature
from ingest.readers.ocr import MAX_PIXELS, next_page, ocr_obstacle, recognise
from ingest.readers.package import ASK
from ingest.readers.paragraphs import unwrap
from ingest.readers.pdf_layout import Item
from ingest.readers.pdf_page import Layer, read_page
from ingest.readers.pdf_running import join_pages
from ingest.readers.pdf_tables import Table
from ingest.readers.pdf_unseen import layers_off
from ingest.readers.text import (
    HeadingPath,
    Part,
    assemble,
    clean,
    collapse,
    date_of,
    descend,
    listed,
    meaningful,
    names,
    tags_of,
)
from ingest.readers.unseen import Unseen

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfDocument

    from ingest.readers.archive import Contents

Bookmark = tuple[int, int, str]  # (page from 0, level, name)

_LOCK = threading.Lock()  # pdfium may only be called from one thread at a time
_PASSWORD_CODE, _SECURITY_CODE = 4, 5
_SCALE = 200 / 72  # pixels a point: 200 dpi
_MAX_SIDE = 10_000  # pixels


def read_pdf(data: bytes, cfg: IngestConfig, contents: "Contents | None" = None) -> Document:
    """A PDF with its pages; those without a text layer are recognised where OCR is at hand, else named as empty.

    Attached files are put into `contents`. Raises `ReadError` for a password, damage beyond repair, and where no page
    has text and none can be recognised.
    """
    opened = _open(data)
    if opened is None:
        repaired = repair(data)
        opened = _open(repaired) if repaired else None
    if opened is None:
        kind = signature(data)
        raise ReadError(
            "not a PDF" + (f": it looks like {kind}" if kind else "")
            if b"%PDF-" not in data[:1024]
            else "damaged PDF: neither it nor a repaired copy can be opened",
            "open it in a viewer; if that works, print it to a new PDF, else restore it from a copy",
        )
    pdf, layers, unseen = opened
    try:
        attached = _attached(pdf, contents)
        document = _document(pdf, layers, cfg, contents)
        return replace(document, notes=(*document.notes, *unseen.notes(), *attached))
    finally:
        with _LOCK:
            pdf.close()


def _open(data: bytes) -> "tuple[PdfDocument, list[Layer], Unseen] | None":
    """The file, the text layers of its pages and what they leave out; None where pdfium can open no page of it."""
    from pypdfium2 import PdfDocument, PdfiumError

    with _LOCK:
        try:
            pdf = PdfDocument(data)
        except PdfiumError as error:
            if error.err_code in (_PASSWORD_CODE, _SECURITY_CODE):
                raise ReadError("the PDF needs a password", ASK) from None
            return None
        if pdf.get_formtype():
            pdf.init_forms()
        unseen = Unseen()
        off = lru_cache(lambda: layers_off(data))
        layers = [_layer(pdf, index, unseen, off) for index in range(len(pdf))]
        if any(layers):
            return pdf, [layer or Layer() for layer in layers], unseen
        pdf.close()
        return None


def _layer(pdf: "PdfDocument", index: int, unseen: Unseen, off: Callable[[], frozenset[str]]) -> Layer | None:
    """The text layer of a page; None where the page cannot be opened."""
    from pypdfium2 import PdfiumError

    try:
        page = pdf[index]
        layer = read_page(pdf, page, unseen, off)
        page.close()
    except PdfiumError:
        return None
    return layer


def _attached(pdf: "PdfDocument", contents: "Contents | None") -> list[str]:
    """Read the attached files; what could not be read."""
    from pypdfium2 import PdfiumError

    count = pdf.count_attachments()
    if contents is None or contents.depth > contents.cfg.archive_depth:
        return [f"{count} attached files were not read"] if count else []
    for number in range(count):
        try:
            with _LOCK:
                file = pdf.get_attachment(number)
                name = collapse(clean(file.get_name())) or f"attachment {number + 1}"
                data = bytes(file.get_data()) if contents.readable(name) else b""
        except PdfiumError:
            continue
        contents.budget.size -= len(data)
        if contents.budget.size < 0:
            return [*contents.notes(), "attached files were not read: they unpack to too much (ingest.archive_mb)"]
        if data:
            contents.add(name, data)
    return contents.notes()


def _document(pdf: "PdfDocument", layers: Sequence[Layer], cfg: IngestConfig, contents: "Contents | None") -> Document:
    attached: Sequence[Part] = contents.parts if contents else []
    wanted = contents.ocr_pages if contents else frozenset[int]()
    with _LOCK:
        title, marks = meaningful(pdf.get_metadata_value("Title")), _bookmarks(pdf)
        keywords, *times = map(pdf.get_metadata_value, ("Keywords", "ModDate", "CreationDate"))
    join_pages([layer.items for layer in layers])
    texts = [written(layer.items, layer.comments) for layer in layers]
    lacking = [index for index, layer in enumerate(layers) if layer.lacking and index + 1 not in wanted]
    chosen = [number - 1 for number in sorted(wanted) if number <= len(layers)]
    obstacle = ocr_obstacle(cfg) if lacking or chosen else None
    recognised: list[int] = []
    for index in [*chosen, *lacking[: cfg.ocr_pages]] if obstacle is None else ():
        next_page(cfg)
        text = recognise(picture) if (picture := _render(pdf, index)) else ""
        both = _together(texts[index], text) if text and index + 1 not in wanted else text
        if both:
            texts[index] = both
            recognised.append(index + 1)
    if not any(text.strip() for text in texts) and not attached:
        pages = f"{len(texts)} page{'s' if len(texts) != 1 else ''}"
        what, hint = obstacle or ("OCR found none", "leave it out with ingest.exclude")
        raise ReadError(f"no text in the PDF ({pages}): probably a scan, and {what}", hint)
    empty = [number for number, text in enumerate(texts, start=1) if not text.strip()]
    recognised.sort()
    notes = _unread(lacking, recognised, empty, obstacle, cfg) + _garbled(layers, recognised)
    if unread := [number for number in sorted(wanted) if number not in recognised]:
        why = obstacle[0] if obstacle else "it found nothing there"
        notes = (*notes, f"pages that were to be read by OCR were not: {why}: {_some(unread)}")
    own = [layer for number, layer in enumerate(layers, start=1) if number not in wanted or number not in recognised]
    tables = sum(not isinstance(item, str) for layer in own for item in layer.items)
    parts = [*_parts(texts, marks), *(Part(part.text, part.headings) for part in attached)]
    document = assemble(parts, title, len(texts), empty, tables=tables)
    date = next(filter(None, map(date_of, times)), "")
    return replace(document, ocr_pages=tuple(recognised), notes=notes, tags=tags_of(listed(keywords)), date=date)


def written(items: Sequence[Item], comments: Sequence[str] = ()) -> str:
    """The text of a page: lines of a paragraph joined, tables in Markdown's form, comments at the end."""
    pieces: list[str] = []
    for plain, run in groupby(items, lambda item: isinstance(item, str)):
        if plain:
            pieces.append(unwrap("\n".join(str(item) for item in run)))
        else:
            pieces += [f"\n{item.markdown()}\n" for item in run if isinstance(item, Table)]
    return clean("\n".join([*pieces, *comments])).strip("\n")


def _together(typed: str, recognised: str) -> str:
    """What was recognised of a page, and what of its text layer is not in it; nothing where OCR adds nothing."""
    seen = set(_words(recognised))
    if len(seen - set(_words(typed))) < 2 and len(recognised) <= 2 * len(typed):
        return ""
    lines = [line for line in typed.split("\n") if 2 * sum(word in seen for word in _words(line)) < len(_words(line))]
    return "\n".join([recognised, *lines])


def _words(text: str) -> list[str]:
    return re.findall(r"[\u2e80-\u9fff]|[^\W_]+", text.casefold())


def _unread(
    lacking: Sequence[int], recognised: Sequence[int], empty: Sequence[int], obstacle: object, cfg: IngestConfig
) -> tuple[str, ...]:
    """What stays unread of pages that are pictures, or whose glyphs say no characters."""
    left = len(lacking) - cfg.ocr_pages if obstacle is None else 0
    if left > 0:
        return (f"{left} pages without text were left out: ingest.ocr_pages = {cfg.ocr_pages}",)
    half = [index + 1 for index in lacking if obstacle and index + 1 not in empty]
    if not half:
        return ()
    return (f"pages that are mostly pictures, of which only the text beside them was read: {_some(half)}",)


def _garbled(layers: Sequence[Layer], recognised: Sequence[int]) -> tuple[str, ...]:
    pages = [number for number, layer in enumerate(layers, start=1) if layer.garbled and number not in recognised]
    if not pages:
        return ()
    count = sum(layers[number - 1].garbled for number in pages)
    return (f"{count} glyphs of which nothing says what characters they are were left out: page {_some(pages)}",)


def _some(pages: Sequence[int]) -> str:
    return ", ".join(map(str, pages[:12])) + (" ..." if len(pages) > 12 else "")


def _render(pdf: "PdfDocument", index: int) -> "Image | None":
    """A page as an RGB picture of at most `MAX_PIXELS`; None where it cannot be drawn or has no size."""
    from pypdfium2 import PdfiumError

    with _LOCK:
        try:
            page = pdf[index]
            width, height = page.get_size()
            scale = min(_SCALE, math.sqrt(MAX_PIXELS / (width * height)), _MAX_SIDE / max(width, height))
            bitmap = page.render(scale=scale, rev_byteorder=True)  # type: ignore[arg-type]
            picture = bitmap.to_pil().convert("RGB")  # a copy: the memory of pdfium is given back here
            bitmap.close()
            page.close()
        except (PdfiumError, ZeroDivisionError):
            return None
    return picture


def _bookmarks(pdf: "PdfDocument") -> list[Bookmark]:
    """The outline in page order; entries that point nowhere are left out."""
    from pypdfium2 import PdfiumError

    found: list[Bookmark] = []
    try:
        for entry in pdf.get_toc():
            target = entry.get_dest()
            page = target.get_index() if target else None
            name = collapse(clean(entry.get_title()))
            if page is not None and page >= 0 and name:
                found.append((page, entry.level, name))
    except PdfiumError:  # a damaged outline: the pages are still there
        return found
    return sorted(found, key=lambda mark: mark[0])


def _parts(pages: Sequence[str], marks: Sequence[Bookmark]) -> Iterator[Part]:
    """The pages, cut where the name of a bookmark stands on the page it points to."""
    path: HeadingPath = ()
    following = 0
    for index, text in enumerate(pages):
        start = 0
        while following < len(marks) and marks[following][0] <= index:
            _, level, name = marks[following]
            following += 1
            place = _find(name, text, start)
            if place is not None and place > start:
                yield Part(text[start:place], names(path), index + 1)
                start = place
            path = descend(path, level, name)
        yield Part(text[start:], names(path), index + 1)


def _find(name: str, text: str, start: int) -> int | None:
    words = r"\s*".join(map(re.escape, name.split()[:12]))
    found = re.compile(rf"^[^\S\n]*{words}", re.M | re.I).search(text, start)
    return found.start() if found else None


def repair(data: bytes) -> bytes | None:
    """The file as qpdf can rebuild it."""
    from pikepdf import Pdf, PdfError

    try:
        with Pdf.open(BytesIO(data)) as pdf:
            rebuilt = BytesIO()
            pdf.save(rebuilt)
    except (PdfError, ValueError, RuntimeError, OSError):
        return None
    return rebuilt.getvalue()
