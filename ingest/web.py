"""One page of the web by its address, from public addresses only, and bounded in bytes and in seconds.

Whoever names an address makes this machine ask for it, so each one that is asked, a redirect's too, is checked first:
its host is looked up once, every address that it has must be public, and the connection goes to one of those that were
looked at. Nothing is sent that tells who asks: no cookie, no password, no key.
"""

import codecs
import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit
from urllib.robotparser import RobotFileParser

from core.errors import ReadError
from core.sources import checked
from ingest.kind import kind_of, suffix_of

AGENT = "Ragstone"
_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
_ROBOTS = 500_000  # characters of a host's rules that are looked at
_BLOCK = 1 << 16
_LISTED = 1 << 20  # bytes of the list of a package's members,
_LISTS, _END = re.compile(rb"(?=PK\x05\x06)"), (1 << 16) + 100  # whose length stands in so many bytes at its end
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
SUFFIXES = {
    "text/html": ".html", "application/xhtml+xml": ".html", "text/markdown": ".md", "text/csv": ".csv",
    "text/xml": ".xml", "application/xml": ".xml", "application/pdf": ".pdf", "application/epub+zip": ".epub",
    "application/rtf": ".rtf", "text/rtf": ".rtf", _OFFICE + "wordprocessingml.document": ".docx",
    _OFFICE + "presentationml.presentation": ".pptx", _OFFICE + "spreadsheetml.sheet": ".xlsx",
    _OPEN + "text": ".odt", _OPEN + "spreadsheet": ".ods", _OPEN + "presentation": ".odp",
}  # fmt: skip
_PLAIN = (".md", ".csv", ".txt")  # what a server may call plain text
# Python's codecs of text that pages are written in. Of others some take the square of the length, such as that of names
# of hosts, and this process, which no limit on time ends, would be at it for hours.
_OF_PAGES = re.compile(
    r"ascii|utf_(?:7|8|8_sig|16|16_[bl]e|32|32_[bl]e)|iso8859_\d+|cp\d+|koi8_[rtu]|mac_\w+|gb2312|gbk|gb18030|hz"
    r"|big5(?:hkscs)?|euc_(?:jp|kr|jis_2004|jisx0213)|shift_jis(?:_2004|x0213)?|iso2022_\w+|johab|tis_620|kz1048|ptcp154"
)
# Networks of the registries of special addresses that not every version of Python's `ipaddress` knows.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16")))
_NETWORKS_64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses as IPv6 ones

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Page(NamedTuple):
    """What an address holds. `suffix`: that of its format; `etag`, `modified`: what its server says of this version."""

    address: str
    data: bytes
    suffix: str
    etag: str
    modified: str


class GoneError(ReadError):
    """There is no page at an address any more."""


class _Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    data: bytes


def public(address: Address) -> bool:
    """Whether an address is one of the public network, with whatever address it holds within."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NETWORKS_64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped:
            return public(address.ipv4_mapped)
        if address.is_site_local or not all(public(one) for one in inner if one is not None):
            return False
    return address.is_global and not (
        any(address in network for network in _SPECIAL)
        or address.is_multicast
        or address.is_reserved
        or address.is_private
        or address.is_unspecified
    )


def endpoint(parts: SplitResult) -> tuple[str, int]:
    """The host and the port that an address names."""
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def looked_up(host: str, port: int) -> list[str]:
    """The addresses of a host, all of which are public. Raises `ReadError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ReadError(f"host {host!r} is not found", "check the address, and the network of this machine") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(public(ipaddress.ip_address(one)) for one in addresses):
        raise ReadError(
            f"host {host!r} is not on the public network, and is not asked",
            "give an address of the public web; what lies on this network is followed as a folder",
        )
    return addresses


def fetch(address: str, *, most: int, seconds: float, etag: str = "", modified: str = "") -> Page | None:
    """What lies at an address, of at most `most` bytes, had within `seconds`; None where it is unchanged.

    `etag`, `modified`: what its server said of the version that is had already. The look-up of a name takes as long as
    the system lets it. Raises `GoneError` where there is no page (404, 410), `ReadError` where it cannot be had, or is
    in no format that is read.
    """
    until, here, rules = time.monotonic() + seconds, checked(address), dict[str, RobotFileParser]()
    asked = {"If-None-Match": etag, "If-Modified-Since": modified}
    for _ in range(_REDIRECTS + 1):
        parts = urlsplit(here)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in rules:
            rules[origin] = _rules(origin, most, until)
        if not rules[origin].can_fetch(AGENT, here):
            raise ReadError(f"host {parts.hostname!r} asks programs not to read this page (robots.txt)", "leave it out")
        answer = _ask(parts, most, until, {name: value for name, value in asked.items() if value})
        if answer.status not in _MOVED:
            return _page(here, answer, bool(etag or modified))
        here = checked(urljoin(here, answer.headers.get("Location", "")))
    raise ReadError(f"the address leads on more than {_REDIRECTS} times", "give the address that it ends at")


def _page(address: str, answer: _Answer, conditional: bool) -> Page | None:
    host = urlsplit(address).hostname
    if answer.status == 304 and conditional:
        return None
    if answer.status != 200:
        error = GoneError if answer.status in (404, 410) else ReadError
        raise error(f"host {host!r} answers with status {answer.status}", "open the address in a browser")
    headers = answer.headers
    suffix = _suffix(headers, address, answer.data)
    data = _unicode(headers, answer.data) if suffix in (".html", *_PLAIN) else answer.data
    return Page(address, data, suffix, headers.get("ETag", ""), headers.get("Last-Modified", ""))


def _suffix(headers: http.client.HTTPMessage, address: str, data: bytes) -> str:
    kind = headers.get_content_type() if "Content-Type" in headers else "application/octet-stream"
    if kind in SUFFIXES:
        return SUFFIXES[kind]
    named = suffix_of(urlsplit(address).path)
    if kind == "text/plain":
        return named if named in _PLAIN else ".txt"
    found = kind_of(data) if kind == "application/octet-stream" and not _takes_a_parser(data) else ""
    if found not in SUFFIXES.values():
        raise ReadError(
            f"what lies there is of type {kind!r}, which is not read", "give a page, a PDF or an Office file"
        )
    return found


def _takes_a_parser(data: bytes) -> bool:
    """Whether to tell the kind of a file takes more than a look at it: in this process no parser has a limit.

    A package of Office lists hundreds of members at its end; a list of millions is read for minutes.
    """
    if not data.startswith(b"PK"):
        return data.startswith(b"\xd0\xcf\x11\xe0")
    end = data[-_END:]
    listed = (int.from_bytes(end[found.start() + 12 : found.start() + 16], "little") for found in _LISTS.finditer(end))
    return b"PK\6\7" in end or any(length > _LISTED for length in listed)


def _unicode(headers: http.client.HTTPMessage, data: bytes) -> bytes:
    """Text in UTF-8 where its server alone says how it is encoded: the file that is kept has no such header."""
    charset = headers.get_content_charset()
    if charset is None or data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return data
    try:
        name = codecs.lookup(charset).name.replace("-", "_")
        return data.decode(name).encode("utf-8-sig") if _OF_PAGES.fullmatch(name) else data
    except (LookupError, ValueError):
        return data


def _rules(origin: str, most: int, until: float) -> RobotFileParser:
    """What a host lets programs read: all where it does not say, nothing while it cannot say."""
    rules, here = RobotFileParser(), origin + "/robots.txt"
    status, text = 404, ""
    for _ in range(_REDIRECTS + 1):
        answer = _ask(urlsplit(here), most, until, {})
        status, text = answer.status, answer.data.decode("utf-8", "replace")
        if status not in _MOVED:
            break
        here = checked(urljoin(here, answer.headers.get("Location", "")))
    if status in (401, 403) or status >= 500:
        text = "User-agent: *\nDisallow: /"
    elif status != 200:
        text = ""
    rules.parse(text[:_ROBOTS].splitlines())
    return rules


def _ask(parts: SplitResult, most: int, until: float, headers: dict[str, str]) -> _Answer:
    """Ask one address once, without following where it leads. Raises `ReadError`."""
    host, port = endpoint(parts)
    addresses = looked_up(host, port)
    path = urlunsplit(("", "", parts.path, parts.query, ""))
    sent = {"User-Agent": AGENT, "Accept-Encoding": "identity", "Accept": "*/*", "Connection": "close", **headers}
    with _told(host, until), _connected(addresses, port, until) as raw:
        secure = parts.scheme == "https"
        with ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw as line:
            client = http.client.HTTPConnection(host, port)
            client.default_port = 443 if secure else 80  # its Host header names no other
            client.sock = line
            client.request("GET", path, headers=sent)
            answer = client.getresponse()
            body = answer.status == 200
            if body and answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise ReadError(f"host {host!r} sends the page packed, unasked", "leave it out")
            data = _body(answer, host, most) if body else b""
            if time.monotonic() >= until:
                raise TimeoutError  # cut, which looks like the end where its length was not told
            return _Answer(answer.status, answer.headers, data)


def _body(answer: http.client.HTTPResponse, host: str, most: int) -> bytes:
    data = bytearray()
    while block := answer.read(_BLOCK):
        data += block
        if len(data) > most:
            raise ReadError(
                f"what host {host!r} sends is larger than {most / 1e6:g} MB",
                "raise ingest.max_file_mb, or leave it out",
            )
    if answer.length:
        raise http.client.IncompleteRead(b"")
    return bytes(data)


@contextmanager
def _connected(addresses: list[str], port: int, until: float) -> Iterator[socket.socket]:
    """A connection to one of these addresses, which is cut when the time is up, however slowly bytes come."""
    line = _opened(addresses, port, until)
    left = max(until - time.monotonic(), 0.01)
    line.settimeout(left)
    with line.dup() as same:  # TLS takes the first one over
        cut = Timer(left, _shut, [same])
        cut.daemon = True
        cut.start()
        try:
            yield line
        finally:
            cut.cancel()
            cut.join()
            line.close()


def _opened(addresses: list[str], port: int, until: float) -> socket.socket:
    failed = OSError()
    for address in addresses:
        try:
            return socket.create_connection((address, port), max(until - time.monotonic(), 0.01))
        except OSError as error:
            failed = error
    raise failed


def _shut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def _told(host: str, until: float) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError:
        raise ReadError(f"the certificate of host {host!r} is not trusted", "check the address in a browser") from None
    except (OSError, http.client.HTTPException, ValueError):
        if time.monotonic() >= until:
            raise ReadError(
                f"host {host!r} did not send the page in time", "try again later, or leave it out"
            ) from None
        raise ReadError(f"host {host!r} breaks off or cannot be reached", "try again later") from None
