"""Pictures (PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000) -> text by OCR; each page of a TIFF is a page."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import signature
from ingest.readers.ocr import next_page, ocr_obstacle, recognise
from ingest.readers.text import Part, assemble

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")  # no EPS: that runs Ghostscript
_MAX_PIXELS = 90_000_000  # Pillow warns about more, and refuses twice as many
_RESTORE = "open it in a viewer; if that works, save it as a new PNG, else restore it from a copy"


def read_image(data: bytes, cfg: IngestConfig) -> Document:
    """A picture, recognised; of an animation the first frame.

    Raises `ReadError` where OCR is off or not installed, the picture is damaged or too large, or shows no text.
    """
    obstacle = ocr_obstacle(cfg)
    if obstacle:
        raise ReadError(f"a picture can only be read by OCR: {obstacle[0]}", obstacle[1])
    pages: list[str] = []
    for picture in islice(_pictures(data), cfg.ocr_pages):
        next_page(cfg)
        pages.append(recognise(picture))
    filled = [number for number, text in enumerate(pages, start=1) if text]
    if not filled:
        raise ReadError("no text found in the picture", "leave it out with ingest.exclude")
    empty = [number for number, text in enumerate(pages, start=1) if not text]
    parts = (Part(text, page=number) for number, text in enumerate(pages, start=1))
    return replace(assemble(parts, pages=len(pages), empty_pages=empty), ocr_pages=tuple(filled))


def _pictures(data: bytes) -> Iterator["Image"]:
    """The pictures of a file, upright, RGB on white."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # an error here: see _upright
            image = Image.open(BytesIO(data), formats=_FORMATS)
        with image:
            for frame in ImageSequence.Iterator(image) if image.format == "TIFF" else [image]:
                yield _upright(frame)
    except UnidentifiedImageError:
        kind = signature(data)
        raise ReadError("not a picture" + (f": it looks like {kind}" if kind else ""), _RESTORE) from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise
        raise ReadError(f"damaged picture: {error}", _RESTORE) from None


def _upright(frame: "Image") -> "Image":
    from PIL import Image, ImageOps

    if frame.width * frame.height > _MAX_PIXELS:
        raise _too_large()
    picture = ImageOps.exif_transpose(frame)
    if picture.mode.startswith(("I", "F")):  # more than 8 bits a pixel, which Pillow would cut off
        levels = np.asarray(picture, np.float32)
        picture = Image.fromarray(((levels - levels.min()) * (255 / max(np.ptp(levels), 1))).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _too_large() -> ReadError:
    return ReadError(f"the picture has more than {_MAX_PIXELS // 1_000_000} million pixels", "save a smaller copy")
