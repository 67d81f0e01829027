import ipaddress
import ssl
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from core.errors import ReadError
from core.sections import IngestConfig
from ingest import web
from ingest.read import supported
from tests.app.office import certificates
from tests.site import PAGE, Answer, Site, running


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running(monkeypatch) as made:
        yield made


def had(address: str, most: int = 10_000, seconds: float = 30.0, etag: str = "") -> web.Page | None:
    return web.fetch(address, most=most, seconds=seconds, etag=etag)


def test_a_page_comes_with_what_its_server_says_of_its_version(site: Site) -> None:
    site.pages["/leave"] = (200, {"Content-Type": "text/html; charset=utf-8", "ETag": '"1"'}, PAGE)
    page = had(site.at("/leave"))
    assert page is not None
    assert (page.data.removeprefix(b"\xef\xbb\xbf"), page.suffix, page.etag) == (PAGE, ".html", '"1"')
    assert {name for _, headers in site.asked for name in headers} == {
        "Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"
    }  # fmt: skip


def test_an_unchanged_page_is_not_sent_again(site: Site) -> None:
    site.pages["/leave"] = (304, {}, b"")
    assert had(site.at("/leave"), etag='"1"') is None
    assert site.asked[-1][1]["If-None-Match"] == '"1"'


def test_text_is_kept_in_unicode_where_only_the_header_tells_its_encoding(site: Site) -> None:
    site.pages["/a.txt"] = (200, {"Content-Type": "text/plain; charset=gb18030"}, "年假".encode("gb18030"))
    page = had(site.at("/a.txt"))
    assert page is not None
    assert (page.data.decode("utf-8-sig"), page.suffix) == ("年假", ".txt")


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "raw-unicode-escape", "undefined"])
def test_no_codec_that_pages_are_not_written_in_is_tried(site: Site, charset: str) -> None:
    """Some take the square of the length, in a process that nothing ends."""
    text = b"leave \\u0041 xn--a-"
    site.pages["/a.txt"] = (200, {"Content-Type": f"text/plain; charset={charset}"}, text)
    page = had(site.at("/a.txt"))
    assert page is not None
    assert page.data == text


def test_what_kind_a_package_is_is_told_while_its_list_is_short(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in ("[Content_Types].xml", "word/document.xml"):
            archive.writestr(name, "x")
    site.pages["/a"] = (200, {"Content-Type": "application/octet-stream"}, packed.getvalue())
    page = had(site.at("/a"))
    assert page is not None
    assert page.suffix == ".docx"
    monkeypatch.setattr(web, "_LISTED", 50)
    with pytest.raises(ReadError, match="not read"):
        had(site.at("/a"))


def test_a_redirect_is_followed_and_the_page_is_named_after_where_it_ends(site: Site) -> None:
    site.pages["/old"] = (301, {"Location": "/leave"}, b"")
    site.pages["/leave"] = (200, {"Content-Type": "text/html"}, PAGE)
    page = had(site.at("/old"))
    assert page is not None
    assert page.address == site.at("/leave")


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{port}/in", "http://[::1]:{port}/in", "file:///in", "//u:p@x.example/"]
)
def test_a_redirect_to_what_may_not_be_asked_is_refused(site: Site, to: str) -> None:
    site.pages["/old"] = (302, {"Location": to.format(port=site.port)}, b"")
    site.pages["/in"] = (200, {"Content-Type": "text/html"}, PAGE)
    with pytest.raises(ReadError, match=r"not on the public network|no web address|a password"):
        had(site.at("/old"))
    assert "/in" not in [path for path, _ in site.asked]


def test_redirects_end_after_five(site: Site) -> None:
    site.pages["/round"] = (302, {"Location": "/round"}, b"")
    with pytest.raises(ReadError, match="more than 5 times"):
        had(site.at("/round"))
    assert [path for path, _ in site.asked].count("/round") == 6


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, {"Content-Type": "text/html"}, b"x" * 10_001), "larger than 0.01 MB"),
        ((200, {"Content-Type": "text/html", "Content-Length": "9"}, b"x"), "breaks off"),
        ((200, {"Content-Type": "video/mp4"}, b"x"), "'video/mp4', which is not read"),
        ((200, {"Content-Type": "text/html", "Content-Encoding": "gzip"}, b"x"), "packed"),
        ((500, {}, b""), "status 500"),
        ((304, {}, b""), "status 304"),
    ],
)
def test_what_cannot_be_kept_is_refused(site: Site, answer: Answer, told: str) -> None:
    site.pages["/page"] = answer
    with pytest.raises(ReadError, match=told):
        had(site.at("/page"))


def test_a_page_that_never_ends_is_cut(site: Site) -> None:
    site.pages["/slow"] = (200, {"Content-Type": "text/html", "Endless": "1"}, PAGE)
    with pytest.raises(ReadError, match="in time"):
        had(site.at("/slow"), seconds=1.0)


@pytest.mark.parametrize("rules", [(200, {}, b"User-agent: *\nDisallow: /in"), (403, {}, b""), (503, {}, b"")])
def test_a_host_that_asks_programs_to_stay_away_is_obeyed(site: Site, rules: Answer) -> None:
    site.pages |= {"/robots.txt": rules, "/in": (200, {"Content-Type": "text/html"}, PAGE)}
    with pytest.raises(ReadError, match=r"robots\.txt"):
        had(site.at("/in"))
    assert "/in" not in [path for path, _ in site.asked]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.0.1", "100.64.0.1", "0.0.0.0", "224.0.1.1",
        "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff0e::1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "192.0.0.8", "192.88.99.1", "3fff::1", "5f00::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_told(address: str) -> None:
    assert not web.public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_a_public_address_is_told(address: str) -> None:
    assert web.public(ipaddress.ip_address(address))


def found(*addresses: str) -> Callable[..., object]:
    return lambda *_, **__: [(2, 1, 6, "", (address, 80)) for address in addresses]


def test_a_certificate_counts_for_its_host_alone(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(web, "looked_up", lambda host, port: ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.pages["/leave"] = (200, {"Content-Type": "text/html"}, PAGE)
    page = had(f"https://localhost:{site.port}/leave")
    assert page is not None
    assert page.data == PAGE
    with pytest.raises(ReadError, match=r"certificate of host 'site\.example'"):
        had(f"https://site.example:{site.port}/leave")


def test_a_host_is_refused_for_one_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", found("1.1.1.1", "10.0.0.1"))
    with pytest.raises(ReadError, match="not on the public network"):
        web.looked_up("site.example", 80)


@pytest.mark.parametrize(
    "text", ["ftp://a.example/", "a.example", "http://", "http://u:secret@a.example/", "http://a:b/"]
)
def test_what_is_no_web_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ReadError) as caught:
        web.checked(text)
    assert "secret" not in str(caught.value)


def test_every_kind_that_is_kept_has_a_reader() -> None:
    assert [one for one in web.SUFFIXES.values() if not supported("page" + one, IngestConfig())] == []
