"""What counts as seen on a web page is what a browser draws: a sample of styles, by the pixels of their letters."""

from html import escape
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from core.config import IngestConfig
from ingest.readers.markup import read_html
from tests.app.app_process import chromium

pytestmark = pytest.mark.browser

STYLES = [
    "display:none;display:bogus", "display:inline-block;margin-top:-9999px", "display:table-cell;text-indent:-9999px",
    "display:none;display:flow-root", "display:none;display:block flow",
    "opacity:0;opacity:1px", "opacity:0;opacity:calc(.5 + .5)", "opacity:calc(1 - 1)", "font-size:0;font-size:5",
    "font-size:min(0px,1em)", "font-size:clamp(9px,1em,none)", "color:#fff;color:#ff", "visibility:hidden;all:unset",
    "color:color-mix(in srgb,white,white)", "color:rgb(from white 0 g b)", "background:linear-gradient(#000,#000)",
    "background:linear-gradient(#000,#000) no-repeat 0 100%/100% 1px",
    "text-indent:100%;white-space:nowrap;overflow:hidden",
    "position:absolute;bottom:9999px", "position:absolute;right:110vw", "clip-path:ellipse(0 0)",
    "clip-path:inset(1px)", "contain:size;overflow:hidden", "contain:size;height:30px;overflow:hidden",
    "transform:scale(0)",
    "transform:perspective(1px) translateZ(2px)", "transform:rotateY(180deg)", "color:#fff;text-shadow:1px 1px black",
    "height:0;overflow:hidden", "height:0;padding-bottom:40px;overflow:hidden", "opacity:0!important;opacity:1",
]  # fmt: skip
HEIGHT = 60  # px of each page


def test_what_a_browser_draws_of_a_page_is_what_is_read() -> None:
    pages = [
        f"<!doctype html><style>body{{font:16px monospace}}.x{{{style}}}</style><{tag} class=x>MARKER</{tag}>"
        for style in STYLES
        for tag in ("div", "span")
    ]
    shots: list[Image.Image] = []
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": HEIGHT * len(pages)})
        for word in ("MARKER", "&nbsp;" * len("MARKER")):
            frames = (escape(page.replace("MARKER", word)) for page in pages)
            style = f"display:block;border:0;width:1280px;height:{HEIGHT}px"
            tab.set_content(
                "<body style='margin:0'>" + "".join(f'<iframe style="{style}" srcdoc="{f}"></iframe>' for f in frames)
            )
            shots.append(Image.open(BytesIO(tab.screenshot())).convert("L"))
    letters = ImageChops.difference(*shots).point([0] * 13 + [255] * 243)
    drawn = {page: letters.crop((0, at * HEIGHT, 1280, (at + 1) * HEIGHT)).getbbox() is not None
             for at, page in enumerate(pages)}  # fmt: skip
    read = {page: "MARKER" in read_html(page.encode(), IngestConfig()).text for page in pages}
    assert read == drawn
    assert 0 < sum(drawn.values()) < len(pages)
