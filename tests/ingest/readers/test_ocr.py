"""Recognition of pictures that are drawn here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from core.config import IngestConfig
from ingest.readers.ocr import ocr_obstacle, recognise

CJK_FONTS = ("NotoSansCJK-Regular.ttc", "SourceHanSansSC-Regular.otf", "wqy-zenhei.ttc", "PingFang.ttc")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts")
LEFT = [
    "The hotel allowance in the",
    "large cities is now about",
    "four hundred and fifty yuan",
    "for every single night.",
]
RIGHT = [
    "Receipts must be handed in",
    "within two or three weeks",
    "of the Monday that follows",
    "the end of the journey.",
]


def drawn(text: str, size: tuple[int, int] = (900, 400), at: tuple[int, int] = (40, 40), font: str = "") -> Image.Image:
    picture = Image.new("RGB", size, "white")
    write(picture, text, at, font)
    return picture


def write(picture: Image.Image, text: str, at: tuple[int, int], font: str = "") -> None:
    face = ImageFont.truetype(font, 32) if font else ImageFont.load_default(32)
    ImageDraw.Draw(picture).text(at, text, fill="black", font=face, spacing=14)


@pytest.fixture(scope="module")
def cjk_font() -> str:
    found = (file for folder in FONT_FOLDERS for name in CJK_FONTS for file in Path(folder).rglob(name))
    font = next(found, None)
    if font is None:
        reason = "no font with Chinese characters (Debian: apt-get install fonts-noto-cjk)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(font)


@pytest.mark.slow
def test_chinese_lines_are_recognised_and_their_paragraph_is_joined(cjk_font: str) -> None:
    lines = ["员工出差的住宿标准为每晚四百五十元，超出部分", "需要总经理书面同意。Visa费用另行报销"]
    assert recognise(drawn("\n".join(lines), font=cjk_font)) == "".join(lines)


@pytest.mark.slow
def test_columns_are_read_one_after_the_other_below_a_title_over_both() -> None:
    page = drawn("Rules for journeys on behalf of the company and its parts", (1000, 420))
    write(page, "\n".join(LEFT), (40, 130))
    write(page, "\n".join(RIGHT), (530, 130))
    words = " ".join(recognise(page).split())
    assert words == " ".join(["Rules for journeys on behalf of the company and its parts", *LEFT, *RIGHT])


@pytest.mark.slow
def test_the_cells_of_a_table_are_read_row_by_row() -> None:
    table = Image.new("RGB", (900, 400), "white")
    for row, cells in enumerate([("Region", "Sales"), ("North", "100"), ("South", "200"), ("West", "300")]):
        for column, cell in enumerate(cells):
            write(table, cell, (40 + 500 * column, 40 + 70 * row))
    assert recognise(table).split("\n") == ["Region Sales", "North 100", "South 200", "West 300"]


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [90, 180, 270, 3])
def test_a_page_that_lies_askew_is_read_from_its_top(degrees: int) -> None:
    page = drawn("\n".join(LEFT)).rotate(degrees, expand=True, fillcolor="white")
    assert " ".join(recognise(page).split()) == " ".join(LEFT)


@pytest.mark.slow
def test_a_long_screenshot_is_cut_between_its_lines() -> None:
    lines = [f"message number {n} of the chat" for n in range(40)]
    assert recognise(drawn("\n".join(lines), (620, 2000))).split("\n") == lines


@pytest.mark.slow
@pytest.mark.parametrize("size", [(12000, 3), (3, 3000), (1, 1)])
def test_pictures_of_hostile_shapes_take_no_memory_and_have_no_text(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "white")
    picture.putpixel((0, 0), (0, 0, 0))
    assert recognise(picture) == ""


@pytest.mark.slow
def test_recognition_needs_no_network_and_logs_nothing() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from tests.ingest.readers.test_ocr import drawn\n"
        "from ingest.readers.ocr import recognise\n"
        "print(recognise(drawn('offline')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("offline\n", "")


def test_ocr_is_at_hand_unless_it_is_off_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ocr_obstacle(IngestConfig()) is None
    assert "off" in str(ocr_obstacle(IngestConfig(ocr="off")))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "not installed" in str(ocr_obstacle(IngestConfig()))
