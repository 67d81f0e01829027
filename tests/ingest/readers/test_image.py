"""Pictures, written by Pillow."""

import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.image import read_image
from tests.ingest.readers.test_ocr import drawn

WORDS = "Receipts within two weeks"


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    memory = BytesIO()
    picture.save(memory, kind, **options)  # type: ignore[arg-type]
    return memory.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG2000"])
def test_a_picture_is_a_document_of_one_recognised_page(kind: str) -> None:
    document = read_image(saved(drawn(WORDS), kind), IngestConfig())
    assert (document.text, document.pages, document.ocr_pages) == (WORDS, 1, (1,))


@pytest.mark.slow
def test_a_photo_is_turned_as_its_camera_noted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was held upright
    document = read_image(saved(drawn(WORDS).rotate(90, expand=True), "JPEG", exif=exif), IngestConfig())
    assert document.text == WORDS


@pytest.mark.slow
def test_the_pages_of_a_tiff_keep_their_numbers() -> None:
    pages = [drawn("Cover"), Image.new("RGB", (300, 300), "white"), drawn(WORDS)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    document = read_image(data, IngestConfig())
    assert [(s.page, document.text[s.start : s.end]) for s in document.sections] == [(1, "Cover"), (3, WORDS)]
    assert (document.pages, document.ocr_pages, document.empty_pages) == (3, (1, 3), (2,))


@pytest.mark.slow
def test_transparent_and_deep_pictures_are_seen_as_a_viewer_shows_them() -> None:
    ink = drawn(WORDS).convert("L").point(lambda level: 255 - level)
    clear = Image.new("RGBA", ink.size, (0, 0, 0, 0))
    clear.putalpha(ink)
    deep = Image.fromarray(np.asarray(drawn(WORDS).convert("L"), np.uint16) * 200 + 9000)
    assert [read_image(saved(p, "PNG"), IngestConfig()).text for p in (clear, deep)] == [WORDS, WORDS]


def test_a_picture_without_text_is_an_error() -> None:
    with pytest.raises(ReadError, match="no text found in the picture"):
        read_image(saved(Image.linear_gradient("L"), "PNG"), IngestConfig())


def test_without_ocr_the_error_names_it_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(drawn(WORDS), "PNG")
    with pytest.raises(ReadError, match="OCR is off") as caught:
        read_image(data, IngestConfig(ocr="off"))
    assert "ingest.ocr" in caught.value.hint
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ReadError, match="OCR is not installed") as caught:
        read_image(data, IngestConfig())
    assert '".[ocr]"' in caught.value.hint


@pytest.mark.parametrize("size", [(9_500, 9_500), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(size: tuple[int, int]) -> None:
    with pytest.raises(ReadError, match="90 million pixels"):
        read_image(saved(Image.new("1", size), "PNG"), IngestConfig())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(drawn(WORDS), "PNG")[:700], "damaged picture"),
        (saved(drawn(WORDS), "JPEG")[:3000], "damaged picture"),
        (b"%PDF-1.7", "not a picture.*PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_whole_picture_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_image(data, IngestConfig())
