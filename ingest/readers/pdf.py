"""PDF -> text by page, under the headings of its outline (bookmarks)."""

import math
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import signature
from ingest.readers.ocr import MAX_PIXELS, next_page, ocr_obstacle, recognise
from ingest.readers.paragraphs import CUT_MARK, unwrap
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

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfDocument, PdfPage

Bookmark = tuple[int, int, str]  # (page from 0, level, name)

_LOCK = threading.Lock()  # pdfium may only be called from one thread at a time
_PASSWORD_CODE, _SECURITY_CODE = 4, 5
# pdfium puts a mark for hyphen and line break where a word is cut; a soft hyphen elsewhere is a hyphen one can see.
_CUT = re.compile("[\x02\ufffe][^\\S\n]*\n?|\xad[^\\S\n]*\n")
_SCALE = 200 / 72  # pixels a point: 200 dpi
_MAX_SIDE = 10_000  # pixels
_STAMP = 100  # characters: a page number, a case number, who scanned it
_SCANNED = 0.5  # of a page that pictures cover
_OBJECTS = 1000  # of a page, that are looked at


class _Layer(NamedTuple):
    """The text layer of a page, and whether it cannot be all that the page says."""

    text: str
    lacking: bool


def read_pdf(data: bytes, cfg: IngestConfig) -> Document:
    """A PDF with its pages; those without a text layer are recognised where OCR is at hand, else named as empty.

    Raises `ReadError` for a password, damage beyond repair, and where no page has text and none can be recognised.
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
    pdf, layers = opened
    try:
        return _document(pdf, layers, cfg)
    finally:
        with _LOCK:
            pdf.close()


def _open(data: bytes) -> "tuple[PdfDocument, list[_Layer]] | None":
    """The file and the text layers of its pages; None where pdfium cannot open it or any page of it."""
    from pypdfium2 import PdfDocument, PdfiumError

    with _LOCK:
        try:
            pdf = PdfDocument(data)
        except PdfiumError as error:
            if error.err_code in (_PASSWORD_CODE, _SECURITY_CODE):
                hint = "save a copy without the password, or leave it out with ingest.exclude"
                raise ReadError("the PDF needs a password", hint) from None
            return None
        layers = [_layer(pdf, index) for index in range(len(pdf))]
        if any(layers):
            return pdf, [layer or _Layer("", True) for layer in layers]
        pdf.close()
        return None


def _layer(pdf: "PdfDocument", index: int) -> _Layer | None:
    """The text layer of a page; None where the page cannot be opened."""
    from pypdfium2 import PdfiumError

    try:
        page = pdf[index]
        text = page.get_textpage().get_text_bounded()
        size = sum(map(len, text.split()))
        lacking = size == 0 or (size < _STAMP and _scanned(page))
        page.close()
    except PdfiumError:
        return None
    text = _CUT.sub(f"{CUT_MARK}\n", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\xad", "-")
    return _Layer(clean(unwrap(text)), lacking)


def _scanned(page: "PdfPage") -> bool:
    """Whether pictures cover most of a page."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    left, bottom, right, top = page.get_bbox()
    covered = 0.0
    for picture in islice(page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE], max_depth=3), _OBJECTS):
        x0, y0, x1, y1 = picture.get_bounds()
        covered += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return covered >= _SCANNED * (right - left) * (top - bottom)


def _document(pdf: "PdfDocument", layers: Sequence[_Layer], cfg: IngestConfig) -> Document:
    with _LOCK:
        title, marks = meaningful(pdf.get_metadata_value("Title")), _bookmarks(pdf)
        keywords, *times = map(pdf.get_metadata_value, ("Keywords", "ModDate", "CreationDate"))
    texts = [layer.text for layer in layers]
    lacking = [index for index, layer in enumerate(layers) if layer.lacking]
    obstacle = ocr_obstacle(cfg) if lacking else None
    recognised: list[int] = []
    for index in lacking[: cfg.ocr_pages] if obstacle is None else ():
        next_page(cfg)
        text = recognise(picture) if (picture := _render(pdf, index)) else ""
        if len(text) > 2 * len(texts[index]):  # else it is no more than the stamp
            texts[index] = text
            recognised.append(index + 1)
    if not any(text.strip() for text in texts):
        pages = f"{len(texts)} page{'s' if len(texts) != 1 else ''}"
        what, hint = obstacle or ("OCR found none", "leave it out with ingest.exclude")
        raise ReadError(f"no text in the PDF ({pages}): probably a scan, and {what}", hint)
    empty = [number for number, text in enumerate(texts, start=1) if not text.strip()]
    left = len(lacking) - cfg.ocr_pages if obstacle is None else 0
    notes = (f"{left} pages without text were left out: ingest.ocr_pages = {cfg.ocr_pages}",) if left > 0 else ()
    document = assemble(_parts(texts, marks), title, len(texts), empty)
    date = next(filter(None, map(date_of, times)), "")
    return replace(document, ocr_pages=tuple(recognised), notes=notes, tags=tags_of(listed(keywords)), date=date)


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
