"""A page of a PDF as a picture in which a passage is marked: for those who want to see where a citation stands."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from core.errors import ReadError
from core.text import sentences
from ingest.readers.pdf import repair
from ingest.readers.pdf_glyphs import Glyphs
from ingest.readers.text import paired

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfBitmap, PdfPage, PdfTextPage

MAX_PIXELS = 2_000_000
_SCALE = 130 / 72  # pixels a point: 130 dpi, on which small print can be read
_LONGEST = 10_000  # pixels of a side
_MARKER = (255, 232, 120)
_CHARACTERS = 50_000  # of a page, that a passage is looked for in
_SHORTEST = 6  # letters and digits of a sentence that is marked where the passage as a whole is not found
_UNREADABLE = ("this page cannot be drawn", "open the file in a viewer; what was read from it is shown as text")


def draw(data: bytes, page: int, text: str) -> bytes:
    """Page `page` (from 1) of a PDF as a PNG of at most `MAX_PIXELS`, `text` marked where the page's own text has it.

    A page that was recognised from a scan has no text of its own: nothing is marked. Raises `ReadError` where the page
    cannot be drawn. To be called from one thread of a process only, as pdfium is.
    """
    from pypdfium2 import PdfiumError

    try:
        return _drawn(data, page, text)
    except PdfiumError:
        repaired = repair(data)
    try:
        if repaired:
            return _drawn(repaired, page, text)
    except PdfiumError:
        pass
    raise ReadError(*_UNREADABLE)


def _drawn(data: bytes, page: int, text: str) -> bytes:
    from pypdfium2 import PdfDocument

    pdf = PdfDocument(data)
    try:
        if not 1 <= page <= len(pdf):
            raise ReadError(f"the file has no page {page}", "index it again")
        leaf = pdf[page - 1]
        width, height = leaf.get_size()
        if min(width, height) <= 0:
            raise ReadError(*_UNREADABLE)
        scale = min(_SCALE, math.sqrt(0.99 * MAX_PIXELS / (width * height)), _LONGEST / max(width, height))
        bitmap = leaf.render(scale=scale, rev_byteorder=True)  # type: ignore[arg-type]
        picture = bitmap.to_pil().convert("RGB")
        picture = _marked(picture, list(_boxes(leaf, bitmap, text)))
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()
    finally:
        pdf.close()


def _marked(picture: "Image", boxes: Sequence[tuple[float, float, float, float]]) -> "Image":
    """The picture with boxes (left, top, right, bottom) in the colour of a marker; ink stays ink."""
    from PIL import Image, ImageChops, ImageDraw

    if not boxes:
        return picture
    marker = Image.new("RGB", picture.size, (255, 255, 255))
    pen = ImageDraw.Draw(marker)
    for box in boxes:
        pen.rectangle(box, fill=_MARKER)
    return ImageChops.multiply(picture, marker)


def _boxes(page: "PdfPage", bitmap: "PdfBitmap", text: str) -> Iterator[tuple[float, float, float, float]]:
    """Where the lines of a passage stand on the picture of its page."""
    words = page.get_textpage()
    place = bitmap.get_posconv(page)
    for start, count in _runs(words, text):
        for number in range(words.count_rects(start, count)):
            left, bottom, right, top = words.get_rect(number)
            (x0, y0), (x1, y1) = place.to_bitmap(left, top), place.to_bitmap(right, bottom)
            yield min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1


def _runs(words: "PdfTextPage", text: str) -> list[tuple[int, int]]:
    """(first, count) of the page's characters that say the passage, or else each of its sentences that is found.

    Compared are letters and digits only: reading joined lines, took out hyphens and control characters.
    """
    letters: list[str] = []
    numbers: list[int] = []
    number = 0
    for character in paired(Glyphs(words).whole[:_CHARACTERS]):
        for letter in _bare(character):
            letters.append(letter)
            numbers.append(number)
        number += 1 if character < "\U00010000" else 2  # pdfium counts in UTF-16
    said = "".join(letters)
    runs, reached = [], 0
    wanted = _bare(text)
    for part in [wanted] if wanted and wanted in said else map(_bare, sentences(text)):
        start = said.find(part, reached) if len(part) >= min(_SHORTEST, len(wanted)) > 0 else -1
        if start >= 0:
            reached = start + len(part)
            runs.append((numbers[start], numbers[reached - 1] - numbers[start] + 1))
    return runs


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
