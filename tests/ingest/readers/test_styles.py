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
        "color:red;background:rgb(255,0,0) none",
    ],
)  # fmt: skip
def test_what_its_style_hides_is_left_out_and_counted(style: str) -> None:
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
        "background:var(--dark);color:#fff", "display:contents", "font-size:smaller",
    ],
)  # fmt: skip
def test_what_may_be_seen_stays(style: str) -> None:
    for page in (html(f"<p>seen <span style='{style}'>MARKER</span> end</p>"), styled(f".x{{{style}}}")):
        assert page.text.split() == ["seen", "MARKER", "end"]
        assert page.notes == ()


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
    ],
)
def test_the_cascade_decides(css: str, seen: bool) -> None:
    assert ("MARKER" in styled(css).text) == seen


def test_what_stands_in_hidden_elements_and_attributes() -> None:
    document = html(
        "<p hidden>one</p><p hidden='until-found'>Kept</p><template>two</template><noscript>six</noscript>"
        "<input type=hidden value=four><p aria-hidden=true>Read</p><details><summary>More</summary>Inside</details>"
        "<p style='display:none'>a<span style='display:inline'>b</span></p><font color=white>five</font> tail"
    )
    assert document.text.split() == ["Kept", "Read", "More", "Inside", "tail"]
    assert document.notes == (
        "11 characters that nobody sees were left out: they are not displayed",
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
