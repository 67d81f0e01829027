"""Text of the colour of its slide, on shapes that are not filled, is left out where nothing else lies behind it."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.dml import MSO_THEME_COLOR
from pptx.oxml import parse_xml
from pptx.util import Inches

from core.config import IngestConfig
from core.types import Document
from ingest.readers.slides import read_pptx

NOTE = "6 characters that nobody sees were left out: they have the colour of their ground"
WHITE, BLUE = RGBColor(0xFF, 0xFF, 0xFF), RGBColor(0x1F, 0x4E, 0x79)
A, P = (
    "http://schemas.openxmlformats.org/drawingml/2006/main",
    ("http://schemas.openxmlformats.org/presentationml/2006/main"),
)


def deck(colour: RGBColor | MSO_THEME_COLOR, behind: Callable[[Any], object] = lambda _: None) -> Document:
    """A slide with a box without fill whose text has a colour; `behind` gets the slide before the box is made."""
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    behind(slide)
    box = slide.shapes.add_textbox(Inches(2), Inches(2), Inches(3), Inches(1))
    for text, own in (("fare ", RGBColor(0x30, 0x30, 0x30)), ("marker", colour)):
        run = box.text_frame.paragraphs[0].add_run()
        run.text = text
        if isinstance(own, RGBColor):
            run.font.color.rgb = own
        else:
            run.font.color.theme_color = own
    memory = BytesIO()
    presentation.save(memory)
    return read_pptx(memory.getvalue(), IngestConfig())


def painted(part: str) -> Callable[[Any], object]:
    """Give a slide, its layout or its master a blue ground."""

    def paint(slide: Any) -> None:
        layout = slide.slide_layout
        whose = {"slide": slide, "layout": layout, "master": layout.slide_master}[part]
        fill = whose.background.fill
        fill.solid()
        fill.fore_color.rgb = BLUE

    return paint


def named(slide: Any) -> None:
    """The ground of the slide is the theme's, in its dark colour."""
    ground = f'<p:bg xmlns:p="{P}" xmlns:a="{A}"><p:bgRef idx="1001"><a:schemeClr val="tx1"/></p:bgRef></p:bg>'
    slide.element.cSld.insert(0, parse_xml(ground))


def rectangle(left: float, fill: RGBColor | None) -> Callable[[Any], object]:
    def draw(slide: Any) -> None:
        shape = slide.shapes.add_shape(1, Inches(left), Inches(2), Inches(3), Inches(1))
        if fill is None:
            shape.fill.background()
        else:
            shape.fill.solid()
            shape.fill.fore_color.rgb = fill

    return draw


def picture(slide: Any) -> None:
    memory = BytesIO()
    Image.new("RGB", (8, 8), "navy").save(memory, "PNG")
    slide.shapes.add_picture(memory, Inches(2), Inches(2), Inches(3), Inches(1))


UNSEEN: list[tuple[Any, Callable[[Any], object]]] = [
    (WHITE, lambda _: None), (MSO_THEME_COLOR.BACKGROUND_1, lambda _: None), (BLUE, painted("slide")),
    (BLUE, painted("layout")), (BLUE, painted("master")), (MSO_THEME_COLOR.TEXT_1, named),
    (WHITE, rectangle(6, BLUE)), (WHITE, rectangle(2, None)),
]  # fmt: skip
SEEN: list[tuple[Any, Callable[[Any], object]]] = [
    (BLUE, lambda _: None), (MSO_THEME_COLOR.TEXT_1, lambda _: None), (WHITE, painted("slide")),
    (WHITE, painted("layout")), (WHITE, painted("master")), (WHITE, named), (WHITE, rectangle(2, BLUE)),
    (WHITE, rectangle(4, BLUE)), (WHITE, picture),
]  # fmt: skip


@pytest.mark.parametrize(("colour", "behind"), UNSEEN)
def test_text_of_the_colour_of_its_slide_is_left_out_and_named(colour: Any, behind: Callable[[Any], object]) -> None:
    document = deck(colour, behind)
    assert "marker" not in document.text
    assert "fare" in document.text
    assert document.notes == (NOTE,)


@pytest.mark.parametrize(("colour", "behind"), SEEN)
def test_text_of_another_colour_or_on_something_else_is_read(colour: Any, behind: Callable[[Any], object]) -> None:
    document = deck(colour, behind)
    assert "fare marker" in document.text
    assert document.notes == ()
