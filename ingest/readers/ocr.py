"""The text of a picture, Chinese and English, by the models that lie inside rapidocr (PP-OCRv6): nothing is fetched."""

import math
import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from core.config import IngestConfig
from core.errors import ReadError
from core.types import F32
from ingest.readers.paragraphs import CUT_MARK, unwrap

if TYPE_CHECKING:
    from PIL.Image import Image
    from rapidocr import RapidOCR

MAX_PIXELS = 4_000_000  # of what is recognised at once: A4 at 200 dpi
_MAX_WIDTH = 4000
_MAX_ASPECT = 4  # the detector enlarges the short side: a thin strip would take gigabytes
_PIECE = 3  # times as high as wide: pictures beyond, such as long screenshots, are cut
_THREADS = 4  # more do not help; files are read in several processes
_MIN_SCORE = 0.6
_SURE = 0.9  # mean score of a page: below it may stand on its head
_TALL = 1.5  # times as high as wide: rapidocr turns such a line by 90° before it reads it
_FULL_COLUMN = 0.35  # of a column's area that its lines fill; the cells of a table fill less
_CUT = re.compile(r"(?<=[^\W\d_])-\n(?=[a-z])")  # a hyphen that may have been put in at the end of a line
_COLUMN_LINES, _COLUMN_WIDTH = 3, 8  # lines at least, and their usual width in heights of a line


@dataclass(frozen=True, slots=True)
class _Line:
    """A recognised line and its box, in pixels on the straightened page."""

    text: str
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def ocr_obstacle(cfg: IngestConfig) -> tuple[str, str] | None:
    """Why pictures cannot be recognised and what to do about it; None where they can."""
    if cfg.ocr == "off":
        return "OCR is off", 'set ingest.ocr = "auto" in config.toml, or save a copy with a text layer'
    try:
        import onnxruntime  # noqa: F401
        from rapidocr import RapidOCR  # noqa: F401
    except ModuleNotFoundError:
        return "OCR is not installed", 'pip install -c constraints.txt -e ".[ocr]" in the project folder'
    except ImportError as error:
        return f"OCR does not load ({error})", 'reinstall it: pip install -c constraints.txt -e ".[ocr]"'
    return None


def next_page(cfg: IngestConfig) -> None:
    """Give a page that will be recognised the time that a file has to be read, where that is limited."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, cfg.read_seconds)


def recognise(picture: "Image") -> str:
    """The text of an RGB picture in reading order, its paragraphs joined; empty where there is none.

    Pages that lie on a side or on their head are turned. Raises `ReadError` where the models fail.
    """
    width, height = picture.size
    scale = min(1.0, _MAX_WIDTH / width, math.sqrt(MAX_PIXELS / (width * min(height, _PIECE * width))))
    if scale < 1:
        picture = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), reducing_gap=3.0)
    texts = (_recognise_piece(_padded(piece)) for piece in _pieces(picture))
    text = "\n".join(text for text in texts if text)
    return unwrap(_CUT.sub(f"{CUT_MARK}\n", text))


def _is_blank(picture: "Image") -> bool:
    """Whether all of a picture has one colour."""
    return all(low == high for low, high in picture.convert("RGB").getextrema())  # type: ignore[misc]


def _pieces(picture: "Image") -> Iterator["Image"]:
    """A tall picture cut into pieces, where no line of text is crossed."""
    width, height = picture.size
    limit = max(_PIECE * width, 1000)
    top = 0
    while height - top > limit:
        start = top + limit * 3 // 4
        rows = np.asarray(picture.crop((0, start, width, top + limit)).convert("L"))
        cut = start + int(np.ptp(rows, axis=1).argmin())
        yield picture.crop((0, top, width, cut))
        top = cut
    yield picture.crop((0, top, width, height))


def _padded(picture: "Image") -> "Image":
    from PIL import Image

    width, height = picture.size
    size = max(width, height // _MAX_ASPECT), max(height, width // _MAX_ASPECT)
    if size == picture.size:
        return picture
    canvas = Image.new("RGB", size, picture.getpixel((0, 0)))  # type: ignore[arg-type]
    canvas.paste(picture)
    return canvas


def _recognise_piece(picture: "Image") -> str:
    from PIL.Image import Transpose

    if _is_blank(picture):
        return ""
    lines = _lines(picture)
    tall = [line for line in lines if line.height > _TALL * line.width]
    if sum(line.height for line in tall) > sum(line.width for line in lines if line.height <= _TALL * line.width):
        # A page on its side. Vertical Chinese and Japanese, read from the right, is put in order by the same turn.
        picture = picture.transpose(Transpose.ROTATE_90)  # counterclockwise
        lines = _lines(picture)
    if lines and _certainty(lines) < _SURE:  # rapidocr's own classifier of turned lines garbles one long line in ten
        lines = max(lines, _lines(picture.transpose(Transpose.ROTATE_180)), key=_certainty)
    return "\n".join(_in_order([line for line in lines if line.score >= _MIN_SCORE]))


def _certainty(lines: Sequence[_Line]) -> float:
    """The mean score of the characters of some lines."""
    return sum(line.score * len(line.text) for line in lines) / max(1, sum(len(line.text) for line in lines))


@cache
def _engine() -> "RapidOCR":
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.use_preprocess_img": False,  # `recognise` bounds the size
            "Global.text_score": 0.0,
            "EngineConfig.onnxruntime.intra_op_num_threads": min(cores, _THREADS),
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # A path that is given is never downloaded.
            "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
        }
    )


def _lines(picture: "Image") -> list[_Line]:
    from rapidocr.inference_engine.onnxruntime.main import ONNXRuntimeError
    from rapidocr.utils.output import RapidOCROutput

    pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])  # BGR, as OpenCV has it
    try:
        found = _engine()(pixels)
    except ONNXRuntimeError as error:
        words = str(error).strip().rpartition("\n")[2]
        raise ReadError(f"OCR failed: {words[:200]}", "raise ingest.read_mb if it is short of memory") from None
    if not isinstance(found, RapidOCROutput) or found.boxes is None:
        return []
    corners = _straightened(found.boxes)
    lows, highs = corners.min(axis=1).tolist(), corners.max(axis=1).tolist()
    return [
        _Line(text, float(score), *low, *high)
        for text, score, low, high in zip(found.txts or (), found.scores or (), lows, highs, strict=True)
    ]


def _straightened(boxes: F32) -> F32:
    """Boxes (n, 4, 2: clockwise from the top left), turned by the angle at which the longer lines of a page lie."""
    edges = boxes[:, 1] - boxes[:, 0]
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    long = edges[lengths >= np.median(lengths)]
    angle = float(np.median(np.arctan2(long[:, 1], long[:, 0])))
    cos, sin = math.cos(angle), math.sin(angle)
    return boxes @ np.array([[cos, -sin], [sin, cos]], dtype=boxes.dtype)


def _in_order(lines: Sequence[_Line]) -> Iterator[str]:
    """The texts of lines: columns from left to right, between lines that run over them."""
    gutter = _gutter(lines)
    if gutter is None:
        yield from _rows(lines)
        return
    slack = median(line.height for line in lines) / 2
    band: list[_Line] = []
    for line in sorted(lines, key=lambda line: line.top):
        if _crosses(line, gutter, slack):
            yield from _columns(band, gutter)
            yield line.text
            band = []
        else:
            band.append(line)
    yield from _columns(band, gutter)


def _columns(lines: Sequence[_Line], gutter: float) -> Iterator[str]:
    for right in (False, True):
        yield from _in_order([line for line in lines if (line.left + line.right > 2 * gutter) == right])


def _crosses(line: _Line, gutter: float, slack: float) -> bool:
    return line.left < gutter - slack and line.right > gutter + slack


def _gutter(lines: Sequence[_Line]) -> float | None:
    """Where a page is best cut into columns of running text, if it has any."""
    if len(lines) < 2 * _COLUMN_LINES:
        return None
    height = median(line.height for line in lines)
    best: tuple[int, float] | None = None
    for x in sorted({line.left for line in lines}):
        crossing = sum(_crosses(line, x, height / 2) for line in lines)
        if best and crossing >= best[0]:
            continue
        sides = [[], []]
        for line in lines:
            if not _crosses(line, x, height / 2):
                sides[line.left + line.right > 2 * x].append(line)
        if crossing < min(map(len, sides)) and _beside(*sides) and all(_is_running(side, height) for side in sides):
            best = crossing, x
    return best[1] if best else None


def _beside(left: Sequence[_Line], right: Sequence[_Line]) -> bool:
    """Whether two groups of lines share at least half of the lower one's height."""
    tops = [min(line.top for line in side) for side in (left, right)]
    bottoms = [max(line.bottom for line in side) for side in (left, right)]
    return min(bottoms) - max(tops) > min(bottoms[0] - tops[0], bottoms[1] - tops[1]) / 2


def _is_running(lines: Sequence[_Line], height: float) -> bool:
    """Whether lines are those of a column of text, not the cells of a table."""
    if len(lines) < _COLUMN_LINES or median(line.width for line in lines) < _COLUMN_WIDTH * height:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    depth = max(line.bottom for line in lines) - min(line.top for line in lines)
    return sum(line.width * line.height for line in lines) > _FULL_COLUMN * width * depth


def _rows(lines: Sequence[_Line]) -> Iterator[str]:
    """Lines from top to bottom, those side by side joined from left to right."""
    row: list[_Line] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        if row and line.top + line.bottom > 2 * row[0].bottom - row[0].height / 2:
            yield _joined(row)
            row = []
        row.append(line)
    if row:
        yield _joined(row)


def _joined(row: Sequence[_Line]) -> str:
    return " ".join(line.text for line in sorted(row, key=lambda line: line.left))
