"""Pages as browsers save them in one file."""

from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes


def saved(*parts: tuple[str, str, str], charset: str = "utf-8", start: str = "") -> Document:
    """A saved page of (kind, address, text)."""
    message = MIMEMultipart("related")
    message.set_param("type", "text/html")
    if start:
        message.set_param("start", start)
    message["From"], message["Subject"] = "<Saved by Blink>", "Page"
    for kind, address, text in parts:
        part = MIMEText(text, kind, charset)
        part["Content-Location"] = address
        message.attach(part)
    return read_bytes("x.mhtml", message.as_bytes(), IngestConfig())


def page(body: str, head: str = "") -> str:
    return f"<html><head><title>VPN access</title>{head}</head><body>{body}</body></html>"


def test_the_page_is_read_as_a_page_on_the_web() -> None:
    table = "<table><tr><th>Gate<th>Port</tr><tr><td>vpn7<td>4433</tr></table>"
    document = saved(("html", "https://a.example/", page(f"<h1>VPN</h1><p>10<sup>6</sup></p>{table}")))
    assert document.text == "VPN\n\n10^6\n\n| Gate | Port |\n| --- | --- |\n| vpn7 | 4433 |"
    assert (document.title, document.tables) == ("VPN", 1)


@pytest.mark.parametrize("charset", ["utf-8", "gb2312", "big5", "utf-16"])
def test_the_charset_stated_beside_the_page_counts(charset: str) -> None:
    document = saved(("html", "https://a.example/", page("<p>年假制度</p>")), charset=charset)
    assert document.text == "年假制度"


def test_what_a_style_sheet_in_another_part_hides_is_left_out() -> None:
    link = '<link rel="stylesheet" href="cid:css-1@mhtml.blink">'
    document = saved(
        ("html", "https://a.example/", page("<p>seen</p><p class=x>MARKER</p>", link)),
        ("css", "cid:css-1@mhtml.blink", ".x { display: none }"),
    )
    assert document.text == "seen"
    assert document.notes == ("6 characters that nobody sees were left out: they are not displayed",)


def test_a_style_sheet_may_be_named_from_the_folder_of_the_page() -> None:
    link = '<link rel="stylesheet" href="b/c.css">'
    document = saved(
        ("html", "file:///C:/a/page.htm", page("<p>seen</p><p class=x>MARKER</p>", link)),
        ("css", "file:///C:/a/b/c.css", ".x { display: none }"),
    )
    assert document.text == "seen"


def test_frames_follow_the_page_and_the_first_part_is_the_one_that_is_named() -> None:
    document = saved(
        ("html", "https://a.example/frame", page("<p>in the frame</p>")),
        ("html", "https://a.example/", page("<p>the page</p>")),
        start="<https://a.example/>",
    )
    assert document.text == "the page\n\nin the frame"


@pytest.mark.parametrize(
    "data", [b"", b"MIME-Version: 1.0\r\n\r\n", b"\0\1\2", b"From: a\r\nContent-Type: image/png\r\n\r\nx"]
)
def test_a_file_without_a_page_is_an_error(data: bytes) -> None:
    with pytest.raises(ReadError, match="not a saved web page"):
        read_bytes("x.mht", data, IngestConfig())


def test_a_page_that_was_cut_short_is_read_as_far_as_it_goes() -> None:
    whole = MIMEMultipart("related")
    whole.attach(MIMEText(page("<p>first words</p>" * 50), "html"))
    data = whole.as_bytes()
    assert "first words" in read_bytes("x.mht", data[: len(data) - 400], IngestConfig()).text


def test_a_page_that_safari_saved_with_its_style_sheet() -> None:
    import plistlib

    page = b"<html><link rel=stylesheet href='http://a/x.css'><body><h1>Leave</h1><p>28 days</p><p class=h>no</p>"
    data = plistlib.dumps({
        "WebMainResource": {"WebResourceData": page, "WebResourceMIMEType": "text/html", "WebResourceURL": "http://a"},
        "WebSubresources": [{
            "WebResourceData": b".h{display:none}", "WebResourceMIMEType": "text/css", "WebResourceURL": "http://a/x.css",
        }],
    }, fmt=plistlib.FMT_BINARY)  # fmt: skip
    for name in ("x.webarchive", "x"):
        assert read_bytes(name, data, IngestConfig()).text == "Leave\n\n28 days"
    for cut in range(8, len(data), 37):
        with pytest.raises(ReadError):
            read_bytes("x.webarchive", data[:cut], IngestConfig())
