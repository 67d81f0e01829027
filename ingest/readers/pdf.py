"""PDF -> text by page, under the headings of its outline (bookmarks)."""

import re
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import signature
from ingest.readers.text import HeadingPath, Part, assemble, clean, collapse, descend, meaningful, names

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

Bookmark = tuple[int, int, str]  # (page from 0, level, name)

_LOCK = threading.Lock()  # pdfium may only be called from one thread at a time
_PASSWORD_CODE, _SECURITY_CODE = 4, 5
# pdfium puts a mark for hyphen and line break where a word is cut; a soft hyphen elsewhere is a hyphen one can see.
_CUT = re.compile("[\x02\ufffe][^\\S\n]*\n?|\xad[^\\S\n]*\n")
_CUT_MARK = "\x02"
_CJK = "\u3400-\u9fff\uf900-\ufaff"
_WRAPPED_CJK = re.compile(f"(?<=[{_CJK}、，])\n(?=[{_CJK}])")
_WRAPPED = re.compile(r"(?<=[^\W\d_]|[,;])\n(?=[a-z])|(?<=[a-z,;])\n(?=[A-Z\d(\"“$])")
_FULL_LINE = 0.8  # of the longest lines of a page
_SHORT_LINES = 32  # columns: shorter lines are those of lists and narrow tables


def read_pdf(data: bytes, cfg: IngestConfig) -> Document:
    """A PDF with its pages. Raises `ReadError` for a password, damage beyond repair, and a scan without text."""
    with _LOCK:
        document = _read(data)
        if document is None:
            repaired = _repair(data)
            document = _read(repaired) if repaired else None
    if document is None:
        kind = signature(data)
        raise ReadError(
            "not a PDF" + (f": it looks like {kind}" if kind else "")
            if b"%PDF-" not in data[:1024]
            else "damaged PDF: neither it nor a repaired copy can be opened",
            "open it in a viewer; if that works, print it to a new PDF, else restore it from a copy",
        )
    if not document.text:
        pages = f"{document.pages} page{'s' if document.pages != 1 else ''}"
        raise ReadError(f"no text in the PDF ({pages}): probably a scan", "it needs OCR: save a copy with a text layer")
    return document


def _read(data: bytes) -> Document | None:
    """None where pdfium cannot open the file or any page of it."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        pdf = PdfDocument(data)
    except PdfiumError as error:
        if error.err_code in (_PASSWORD_CODE, _SECURITY_CODE):
            hint = "save a copy without the password, or leave it out with ingest.exclude"
            raise ReadError("the PDF needs a password", hint) from None
        return None
    try:
        texts = [_page_text(pdf, i) for i in range(len(pdf))]
        if all(text is None for text in texts):
            return None
        pages = [text or "" for text in texts]
        title = meaningful(pdf.get_metadata_value("Title"))
        empty = [i for i, text in enumerate(pages, start=1) if not text.strip()]
        return assemble(_parts(pages, _bookmarks(pdf)), title, len(pages), empty)
    finally:
        pdf.close()


def _page_text(pdf: "PdfDocument", index: int) -> str | None:
    from pypdfium2 import PdfiumError

    try:
        page = pdf[index]
        text = page.get_textpage().get_text_bounded()
        page.close()
    except PdfiumError:
        return None
    text = _CUT.sub(f"{_CUT_MARK}\n", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\xad", "-")
    return clean(_unwrap(text))


def _unwrap(text: str) -> str:
    """Join cut words, and the lines of a paragraph; lines of tables and lists stay apart.

    A line goes on where it is about as long as the longest of the page and does not end a sentence: in Chinese on
    both sides of the break, else before a small letter, or after one.
    """
    lines = text.split("\n")
    widths = sorted(map(_width, lines), reverse=True)
    full = max(_FULL_LINE * widths[len(widths) // 10], _SHORT_LINES)
    pieces: list[str] = []
    last = ""  # the line before, as it stands on the page
    for line in lines:
        seam = last.rstrip()[-1:] + "\n" + line[:1]
        if last.endswith(_CUT_MARK):
            pieces += [_hyphen(last[:-1], line, text), line]
        elif _width(last) >= full and _WRAPPED_CJK.search(seam):
            pieces.append(line)
        elif _width(last) >= full and _WRAPPED.search(seam):
            pieces += [" ", line]
        else:
            pieces += ["\n", line]
        last = line
    return "".join(pieces[1:])


def _hyphen(before: str, after: str, text: str) -> str:
    """What joins a cut word: a hyphen where the page writes the word with one elsewhere."""
    left, right = re.search(r"\w*$", before), re.match(r"\w*", after)
    return "-" if left and right and f"{left[0]}-{right[0]}" in text else ""


def _width(line: str) -> int:
    """Columns that a line takes: a CJK character fills two."""
    return len(line) + len(re.findall(f"[{_CJK}\u3000-\u303f\uff00-\uffef]", line))


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


def _repair(data: bytes) -> bytes | None:
    """The file as qpdf can rebuild it."""
    from pikepdf import Pdf, PdfError

    try:
        with Pdf.open(BytesIO(data)) as pdf:
            rebuilt = BytesIO()
            pdf.save(rebuilt)
    except (PdfError, ValueError, RuntimeError, OSError):
        return None
    return rebuilt.getvalue()
