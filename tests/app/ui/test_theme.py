"""The colour tokens of the page: text can be read on every ground, in light and dark."""

import re
from pathlib import Path

import pytest

from app.ui import page
from app.ui.theme import theme

CSS = (Path(page.__file__).parent / "page.css").read_text("utf-8")
GROUNDS = ("back", "surface", "raised")
TEXTS = ("text", "subdued", "accent", "good", "warn", "bad")
PAIRS = [(text, ground) for text in TEXTS for ground in GROUNDS] + [
    ("on-press", "press"), ("on-press", "press-hover"), ("text", "mark"), ("text", "soft"), ("text", "good-soft"),
    ("text", "bad-soft"), ("bad", "bad-soft"),
]  # fmt: skip


def tokens(selector: str) -> dict[str, str]:
    block = re.search(rf"^{re.escape(selector)} {{(.*?)}}", CSS, re.DOTALL | re.MULTILINE)
    assert block
    return dict(re.findall(r"--rs-([\w-]+): (#\w+);", block[1]))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"; black on white is 21."""

    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("selector", [":root", ".dark"])
def test_text_has_the_contrast_of_wcag_on_every_ground(selector: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    colours = tokens(selector)
    assert [pair for pair in PAIRS if contrast(colours[pair[0]], colours[pair[1]]) < 4.5] == []
    assert [ground for ground in GROUNDS if contrast(colours["control"], colours[ground]) < 3] == []


def test_light_and_dark_have_the_same_tokens_and_every_token_that_is_used_is_one() -> None:
    assert tokens(":root").keys() == tokens(".dark").keys()
    used = set(re.findall(r"var\(--rs-([\w-]+)\)", CSS + theme()._get_theme_css()))
    assert used - tokens(":root").keys() == {"top"}


def test_no_colour_of_the_page_stands_outside_of_the_tokens() -> None:
    rules = re.sub(r"^(:root|\.dark) {.*?}", "", CSS, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"#[0-9a-f]{3,8}\b(?=[^{}]*})", rules)) <= {"#0003", "#000a"}  # shadows
