"""What a person does not see on a web page is no part of its text, and is counted; what they may see stays."""

import pytest

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes
from ingest.readers.epub import read_epub
from ingest.readers.markup import read_html
from tests.ingest.readers.test_epub import PAGE, book

SR_ONLY = ".sr-only{position:absolute;width:1px;height:1px;overflow:hidden;clip:rect(0, 0, 0, 0);white-space:nowrap}"


def html(body: str, head: str = "") -> Document:
    return read_html(f"<html><head>{head}</head><body>{body}</body></html>".encode(), IngestConfig())


def styled(css: str, body: str = "<p>seen <span class='x' id='i'>MARKER</span> end</p>") -> Document:
    return html(body, f"<style>{css}</style>")


@pytest.mark.parametrize(
    "style",
    [
        "display:none", "DISPLAY : NONE", "display:none !important", "visibility:hidden", "visibility: collapse",
        "opacity:0", "opacity:0.0", "opacity:0%", "filter:opacity(0)",
        "filter: blur(0) opacity(0%)", "font-size:0", "font-size:1px", "font-size:0.01em", "font:0/0 a",
        "position:absolute;left:-9999px", "position:fixed; top:-100em", "text-indent:-9999px", "margin-left:-5000px",
        "position:absolute;clip:rect(0,0,0,0)", "position:absolute;clip-path:inset(50%)", "clip-path:inset(100%)",
        "width:0;height:0;overflow:hidden", "height:1px;overflow:hidden", "transform:scale(0)",
        "transform:translateX(-9999px)", "color:white", "color:#fff", "color:#FFFFFF", "color:rgb(255,255,255)",
        "color:hsl(0,0%,100%)", "color:rgb(254 254 255 / 100%)", "color:transparent", "color:rgba(0,0,0,0)",
        "color:#0000", "background:#000", "background:#000;color:black", "background-color:navy;color:#000080",
        "color:red;background:rgb(255,0,0) none", "max-height:0;overflow:hidden", "height:0;overflow-y:clip",
        "max-width:0;max-height:0;overflow:hidden", "position:absolute;inset:0 0 0 -9999px",
        "position:fixed;inset:-9999px auto auto -9999px", "position:absolute;left:calc(-1 * 9999px)",
        "position:absolute;left:calc(10px - 900px)", "position:absolute;inset-inline-start:-9999px",
        "margin:0 0 0 -9999px", "display:block;margin-top:-9999px", "scale:0", "scale:.001", "translate:-9999px 0",
        "rotate:y 90deg", "transform:scale(.001)", "transform:rotateY(90deg)", "transform:matrix(0,0,0,0,0,0)",
        "transform:translate(1px) scale3d(0,1,1)", "-webkit-text-fill-color:transparent",
        "color:red;-webkit-text-fill-color:white", "zoom:.01", "font-size:calc(0px)", "content-visibility:hidden",
        "color:oklch(1 0 0)", "color:oklab(100% 0 0)", "color:lab(100 0 0)", "color:lch(100% 0 0)",
        "color:color(srgb 1 1 1)", "color:color(display-p3 1 1 1)", "color:color(srgb-linear 1 1 1)", "color:Canvas",
        "color:lab(50 40 20);background:lab(50 40 20)",
        "position:absolute;bottom:9999px", "position:absolute;right:110vw", "position:fixed;left:110vw",
        "text-indent:100%;white-space:nowrap;overflow:hidden", "text-indent:9999px;text-wrap:nowrap;overflow:hidden",
        "clip-path:ellipse(0 0)", "clip-path:inset(0 100% 0 0)", "clip-path:rect(0 0 0 0)", "clip-path:xywh(0 0 0 0)",
        "clip-path:polygon(0 0,100% 100%)", "contain:size;overflow:hidden", "contain:strict",
        "transform:perspective(1px) translateZ(2px)", "transform:perspective(1px) translateZ(-999px)",
        "transform:scale(min(0,1))", "height:min(0px,9px);overflow:auto", "background:currentcolor;color:red",
        "background:#000 url(x)", "background:linear-gradient(#000,#000)", "all:unset;color:#fff",
        "color:#fff;text-shadow:none", "color:#fff;text-shadow:1px 1px white", "color:#fff;-webkit-text-stroke:0",
    ],
)  # fmt: skip
def test_what_its_style_hides_is_left_out_and_counted(style: str) -> None:
    style = f"display:inline-block;{style}"  # boxes of a line have no size of their own
    for page in (html(f"<p>seen <span style='{style}'>MARKER</span> end</p>"), styled(f".x{{{style}}}")):
        assert page.text.split() == ["seen", "end"]
        (note,) = page.notes
        assert note.startswith("6 characters that nobody sees were left out: ")


@pytest.mark.parametrize(
    "style",
    [
        "display:block", "visibility:visible", "opacity:0.6", "filter:opacity(0.6)",
        "filter:opacity(100%)", "font-size:9px", "font:700 12px/1 Arial", "left:-9999px",
        "position:absolute;left:-20px", "clip:rect(0,0,0,0)", "width:0", "overflow:hidden;height:20px", "color:#eee",
        "background:#003366;color:white", "background:url(dark.png);color:white", "color:var(--x)",
        "background:linear-gradient(red,blue);color:#fff", "position:absolute;color:#fff", "clip-path:inset(5%)",
        "background-clip:text;color:transparent", "text-shadow:0 0 2px black;color:white", "color:inherit",
        "background:var(--dark);color:#fff", "display:contents", "font-size:smaller", "max-height:0",
        "max-height:300px;overflow:hidden", "max-height:0;min-height:20px;overflow:hidden",
        "height:0;padding-bottom:56%;overflow:hidden", "position:absolute;inset:0 0 0 -9px", "inset:-9999px",
        "position:absolute;left:calc(-9px)", "margin:0 0 0 -9px", "scale:.5", "scale:50%", "translate:-9px 0",
        "rotate:y 180deg", "rotate:90deg", "transform:scale(.5)", "transform:rotateY(180deg)",
        "transform:rotate(90deg)",
        "transform:matrix(0,1,-1,0,0,0)", "-webkit-text-fill-color:#333;color:white",
        "background-clip:text;-webkit-text-fill-color:transparent", "zoom:.8", "zoom:0", "font-size:calc(1em + 1px)",
        "font-size:calc(80% + 1px)", "content-visibility:auto", "color:oklch(0.5 0.1 30)", "color:lab(50 40 20)",
        "color:color(srgb 0 0 0)", "color:CanvasText", "color:color(display-p3 1 0 0)",
        "width:0;height:0;overflow:hidden", "transform:scale(0)", "text-indent:-9999px", "margin-top:-9999px",
        "position:absolute;left:50%;transform:translate(-50%,-100%)", "position:absolute;bottom:100%",
        "position:relative;left:50%;margin-left:-50vw", "background:linear-gradient(#fff,#000);color:#fff",
        "background:linear-gradient(#000,#000) no-repeat 0 100%/100% 1px", "color-scheme:dark;color:#fff",
        "background:#fff;background-image:url(dark.png);color:#fff", "contain:size;height:20px;overflow:hidden",
        "clip-path:url(#x)", "opacity:var(--x)", "font-size:calc(1px * var(--x))", "font-size:calc-size(auto,0px)",
    ],
)  # fmt: skip
def test_what_may_be_seen_stays(style: str) -> None:
    for page in (html(f"<p>seen <span style='{style}'>MARKER</span> end</p>"), styled(f".x{{{style}}}")):
        assert page.text.split() == ["seen", "MARKER", "end"]
        assert page.notes == ()


DECLARED = {  # what hides, what is no value, what is one and shows
    "display": ("none", "bogus|-ms-flexbox|none none|0|none block", "flow-root|inline-grid|block flow|var(--x)|revert"),
    "visibility": ("hidden", "none|bogus|hidden hidden", "visible|inherit|unset|initial|var(--x)"),
    "opacity": ("0", "bogus|1px|calc(1 -1)|min()", "1|calc(.5 + .5)|min(1,2)|inherit|50%"),
    "font-size": ("0", "bogus|-1px|5|calc(0)|12px 1|foo(1px)", "12px|larger|inherit|max(0px,1em)|clamp(9px,1em,none)"),
    "font": ("0/1 a", "bogus|12px|0 0", "12px a|bold 12px/1 a,b|menu|inherit"),
    "color": ("#fff", "bogus|#ff|rgb(0,0)|rgb(0,0,0,)", "red|rgb(0 0 0)|currentcolor|initial"),
    "background": ("#000", "bogus|#000 #000|bogus(1)|#00", "none|#fff|var(--x)|url(x)|transparent|0 0"),
    "clip-path": ("circle(0)", "bogus|inset()|circle(-1px)|ellipse(0)", "none|circle(50%)|path('M0 0')|initial"),
    "transform": ("scale(0)", "bogus|scale(1px)|rotate(90)|translate(1)", "none|scale(1)|translateX(1px) scale(.9)"),
    "text-decoration": ("line-through", "bogus|underline bogus", "none|underline red|inherit"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hides", "value", "seen"),
    [
        (name, hides, value, seen)
        for name, (hides, wrong, right) in DECLARED.items()
        for seen, values in ((False, wrong), (True, right))
        for value in values.split("|")
    ],
)
def test_a_value_that_is_none_of_its_property_changes_nothing(name: str, hides: str, value: str, seen: bool) -> None:
    both = f"{name}:{hides};{name}:{value}"
    tag = "<div class='x'>MARKER</div>"
    for page in (f"<style>.x{{{both}}}</style>{tag}", f"<style>.x{{{name}:{hides}}} .x{{{name}:{value}}}</style>{tag}",
                 tag.replace("class='x'", f'style="{both}"')):  # fmt: skip
        assert ("MARKER" in read_html(f"<!doctype html>{page}".encode(), IngestConfig()).text) == seen
        important = page.replace(f":{hides}", f":{hides}!important")
        assert "MARKER" not in read_html(f"<!doctype html>{important}".encode(), IngestConfig()).text


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("font-size:min(0px,1em)", True), ("font-size:max(0px,1em)", False), ("font-size:clamp(0px,0em,9px)", True),
        ("font-size:calc(1px*0)", True), ("font-size:calc(-5px)", True), ("font-size:calc(0/0*1px)", True),
        ("font-size:calc(2px - 1px*(3 - 1))", True), ("font-size:round(0.4px,1px)", True),
        ("font-size:abs(-9px)", False),
        ("opacity:calc(0)", True), ("opacity:calc(1 - 1)", True), ("opacity:min(0,1)", True), ("opacity:sin(0)", True),
        ("opacity:cos(0)", False), ("opacity:calc(0%)", True), ("opacity:calc(1px - 1px)", False),
        ("opacity:calc(infinity)", False), ("opacity:calc(pi - 3.1416)", True), ("filter:opacity(calc(0))", True),
        ("color:color-mix(in srgb,white,white)", True), ("color:color-mix(in srgb,white 99%,#fefefe)", True),
        ("color:color-mix(in oklch,white,black)", False), ("color:light-dark(#fff,#000)", True),
        ("color:color-mix(in srgb,black 1%,transparent)", True), ("color:rgb(from white r g b)", True),
        ("color:rgb(from black 255 255 255)", True), ("color:hsl(from black h s 100%)", True),
        ("color:oklch(from white l c h)", True), ("color:rgb(calc(255) 255 255)", True),
        ("color:rgb(from white 0 g b)", False), ("color:rgb(0 0 0/calc(0))", True),
        ("color:lab(from red 100 0 0)", False),
    ],
)  # fmt: skip
def test_mathematics_and_colours_are_reckoned(value: str, hidden: bool) -> None:
    assert ("MARKER" not in styled(f".x{{{value}}}").text) == hidden


@pytest.mark.parametrize("deep", ["(", "calc(", "color-mix(in srgb,", "[", "rgb(from "])
def test_values_that_lie_in_one_another_without_end_are_none(deep: str) -> None:
    for times in (20, 3000):
        assert "MARKER" in html(f"<p style='color:red;opacity:{deep * times}'>MARKER</p>").text
        assert "MARKER" in html(f"<p style='background:{deep * times}'>MARKER</p>").text


def test_numbers_without_a_unit_are_lengths_in_pages_without_a_doctype() -> None:
    page = "<p style='font-size:1'>MARKER</p><p style='color:fff'>MARKER</p>"
    assert html(page).text == ""
    assert read_html(f"<!doctype html>{page}".encode(), IngestConfig()).text.split() == ["MARKER", "MARKER"]


@pytest.mark.parametrize(
    ("css", "seen"),
    [
        (".x{display:none} #i{display:inline}", True),
        ("#i{display:none} .x{display:inline}", False),
        (".x{display:none!important} #i{display:inline}", False),
        ("p > span.x{display:none} .x{display:inline}", False),
        (".x{display:none} .x{display:inline}", True),
        (".x:hover{display:none} .y{display:none} a .x{color:#fff}", True),
        ("@media print{.x{display:none}}", True),
        ("@media screen{.x{display:none}}", False),
        ("@media print{.x{display:inline}} .x{display:none}", False),
        ("@media (max-width:600px){.x{display:none}}", True),
        (".x{display:none} @media (min-width:600px){.x{display:inline}}", True),
        ("@media (prefers-color-scheme:dark){.x{color:#fff}}", True),
        ("@layer a{.x{display:none}}", False),
        ("@supports (display:grid){.x{visibility:hidden}}", False),
        (".x::before{display:none} .x{display:none", False),
        ("}}}{ .x{{ ; .x{color:white", True),
        ("p{visibility:hidden} span{visibility:visible}", True),
        ("p{font-size:0} .x{font-size:12px}", True),
        ("body{color:#fff;background:#000}", True),
        ("body{color:#fff} p{background:#222}", True),
        ("body{background:#111} .x{color:#111}", False),
        ("*{color:#fff} *{background:#fff}", False),
        ("@media (min-width:1px){.x{display:none}}", False),
        ("@media all and (width > 0px){.x{display:none}}", False),
        ("@media (1px <= width < 99999px){.x{display:none}}", False),
        ("@media not print{.x{display:none}}", False),
        ("@media screen and (min-width:100px){@supports (color:red){.x{display:none}}}", False),
        ("@media not screen{.x{display:none}}", True),
        ("@media not all{.x{display:none}}", True),
        ("@media (min-width:99999px){.x{display:none}}", True),
        ("@media (min-width:600px){.x{display:none}}", True),
        ("@media not (min-width:1px){.x{display:none}}", True),
        ("@media (prefers-color-scheme:dark){.x{display:none}}", True),
        ("@supports not (display:grid){.x{display:none}}", True),
        ("p{container-type:inline-size} @container (min-width:1px){.x{display:none}}", False),
        ("@container (min-width:1px){.x{display:none}}", True),
        ("@scope (p){.x{display:none}}", False),
        ("@scope (div){.x{display:none}}", True),
        ("p{& .x{display:none}}", False),
        ("body{color:red; .x{display:none}}", False),
        ("p{> .x{display:none}}", False),
        (".x{@media screen{display:none}}", False),
        (".x{@media print{display:none}}", True),
        ("div{.x{display:none}}", True),
        ("p{.y{display:none} color:red}", True),
        ("p{& .x{display:none}} #i{display:inline}", True),
        ("<!-- .x{display:none} -->", False),
        ("@keyframes k{from{opacity:0}} .x{animation:k 1s}", True),
        ("p{-webkit-text-fill-color:white} .x{color:red}", False),
        ("p{-webkit-text-fill-color:white} .x{-webkit-text-fill-color:red}", True),
    ],
)
def test_the_cascade_decides(css: str, seen: bool) -> None:
    assert ("MARKER" in styled(css).text) == seen


def test_what_stands_in_hidden_elements_and_attributes() -> None:
    document = html(
        "<p hidden>one</p><p hidden='until-found'>sev</p><template>two</template><noscript>six</noscript>"
        "<input type=hidden value=four><p aria-hidden=true>Read</p><details><summary>More</summary>Inside</details>"
        "<p style='display:none'>a<span style='display:inline'>b</span></p><font color=white>five</font> tail"
    )
    assert document.text.split() == ["Read", "More", "Inside", "tail"]
    assert document.notes == (
        "14 characters that nobody sees were left out: they are not displayed",
        "4 characters that nobody sees were left out: they have the colour of their ground",
    )


def test_the_classes_for_screen_readers_are_hidden_where_the_page_defines_them() -> None:
    body = "<a href=x>Next<span class=sr-only> page</span></a>"
    assert html(body, f"<style>{SR_ONLY}</style>").text == "Next"
    assert html(body).text == "Next page"


def test_a_colour_is_none_of_the_ground_where_the_ground_is_not_known() -> None:
    sheet = "<link rel=stylesheet href=site.css>"
    assert "MARKER" in html("<p class=hero style='color:#fff'>MARKER</p>", sheet).text
    assert "MARKER" not in html("<p style='color:#fff;background:white'>MARKER</p>", sheet).text
    assert "MARKER" in html("<table bgcolor='#003366'><tr><td style='color:white'>MARKER<td>x</table>").text
    assert "MARKER" in html("<table background=x.png><tr><td style='color:white'>MARKER<td>x</table>").text
    assert "MARKER" in html("<div style='color:white'><a href=x>MARKER</a> <mark>y</mark></div>").text


def test_a_page_that_a_script_would_show_is_read() -> None:
    css = "<style>body{opacity:0;visibility:hidden} main{display:none}</style>"
    assert html("<main>Shown later</main>", css).text == "Shown later"
    assert html("<p>Here</p>", "<noscript><style>p{display:none}</style></noscript>").text == "Here"


def test_a_long_and_deep_page_with_a_large_style_sheet_is_read_in_one_go() -> None:
    css = "".join(f".c{n}{{color:#{n:06x};display:block}}" for n in range(3000)) + ".x{display:none}"
    body = "<div class='c1 c2'>" * 200 + "<p>a<span class=x>b</span></p>" * 3000
    assert set(styled(css, body).text.split()) == {"a"}


def test_mails_and_books_leave_out_what_their_pages_hide_and_say_so_once() -> None:
    hidden = "<p>seen</p><p style='display:none'>MARKER</p>"
    mail = f"From: a@b.example\nSubject: x\nContent-Type: text/html\n\n{hidden}"
    chapters = {f"OPS__text__{name}_DOT_xhtml": PAGE.format(hidden) for name in ("two", "一")}
    read = read_bytes("x.eml", mail.encode(), IngestConfig()), read_epub(book(**chapters), IngestConfig())
    for document, count in zip(read, (6, 12), strict=True):
        assert "seen" in document.text
        assert "MARKER" not in document.text
        assert f"{count} characters that nobody sees were left out: they are not displayed" in document.notes


def test_a_dialog_is_seen_while_it_is_open() -> None:
    document = html("<p>seen</p><dialog>closed</dialog><dialog open>shown</dialog>")
    assert document.text == "seen\n\nshown"
    assert document.notes == ("6 characters that nobody sees were left out: they are not displayed",)


@pytest.mark.parametrize(
    "before",
    [
        "<style>}</style>", "<style>.a{</style>", "<style>/*</style>", "<style>.a{content:\"</style>",
        "<style media='print{'>.z{}</style>", "<style>@media print{</style>", "<style>.a[b='</style>",
    ],
)  # fmt: skip
def test_no_style_sheet_reaches_into_the_next(before: str) -> None:
    assert styled(".x{display:none}").text == html(BODY, f"{before}<style>.x{{display:none}}</style>").text
    assert "MARKER" in html(BODY, before).text


BODY = "<p>seen <span class='x' id='i'>MARKER</span> end</p>"


def test_a_style_sheet_within_a_drawing_counts_for_the_page() -> None:
    assert "MARKER" not in html(f"<svg><style>.x{{display:none}}</style><text>y</text></svg>{BODY}").text
    assert "MARKER" in html(f"<svg><style>.y{{display:none}}</style><text>y</text></svg>{BODY}").text


def test_the_media_of_a_style_sheet_are_asked() -> None:
    for media, seen in (("print", True), ("screen, print", False), ("(min-width:1px)", False), ("(hover:hover)", True)):
        assert ("MARKER" in html(BODY, f"<style media='{media}'>.x{{display:none}}</style>").text) == seen


def test_what_is_too_long_of_style_sheets_is_noted() -> None:
    long = ".a{color:red}" * 80_000
    document = html(BODY, f"<style>{long}</style><style>.x{{display:none}}</style>")
    assert document.notes == (
        "of its style sheets only 1000000 characters were read: what the others hide is in its text",
    )


def test_elements_that_browsers_do_not_display_are_left_out() -> None:
    document = html("<p>seen</p><noembed>one</noembed><div popover>two</div><p popover style='display:block'>shown</p>")
    assert document.text.split() == ["seen", "shown"]
    assert document.notes == ("6 characters that nobody sees were left out: they are not displayed",)
