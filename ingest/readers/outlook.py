"""Outlook's own forms of a message: `.msg` (MS-OXMSG), winmail.dat (MS-OXTNEF) -> its header, text and attachments."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.archive import Contents
from ingest.readers.encoding import code_page, decode_as, signature
from ingest.readers.mail_text import is_fuller, mail_page, noted, shown_picture
from ingest.readers.markup import read_html
from ingest.readers.package import read_stream
from ingest.readers.rtf import read_rtf
from ingest.readers.text import Part, assemble, clean, collapse, date_of

if TYPE_CHECKING:
    from olefile import OleFileIO

SHOWN = ("Subject", "From", "To", "Cc", "Date")  # of a header
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_Properties = dict[int, tuple[int, bytes]]  # MAPI: number -> type, value
_LONG, _STRING8, _UNICODE, _TIME, _BINARY, _OBJECT = 0x03, 0x1E, 0x1F, 0x40, 0x102, 0x0D
_SUBJECT, _SENDER, _ADDRESS, _SMTP, _TO, _CC = 0x0037, 0x0C1A, 0x0C1F, 0x5D01, 0x0E04, 0x0E03
_BODY, _RTF, _HTML, _NAME, _DATA, _MIME, _CONTENT_ID = 0x1000, 0x1009, 0x1013, 0x3001, 0x3701, 0x370E, 0x3712
_DATES, _FILE_NAMES, _CODE_PAGES = (0x0039, 0x0E06), (0x3707, 0x3704, 0x3001), (0x3FFD, 0x3FDE)
_READ = (
    _SUBJECT, _SENDER, _ADDRESS, _SMTP, _TO, _CC, _BODY, _RTF, _HTML, _NAME, _DATA, _MIME, _CONTENT_ID, *_FILE_NAMES,
)  # fmt: skip
_RTF_START = (  # what the window of compressed RTF holds at the start
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_TNEF = b"\x78\x9f\x3e\x22"
_TNEF_SIZES = {2: 4, 3: 4, 4: 4, 0x0A: 4, 0x0B: 4, 5: 8, 6: 8, 7: 8, 0x14: 8, 0x40: 8, 0x48: 16} | dict.fromkeys(
    (0x0D, 0x1E, 0x1F, 0x102), 0
)  # bytes; 0: stated before the value
_EPOCH_GAP = 11_644_473_600  # seconds from 1601, where Windows counts from, to 1970


def read_msg(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """A message that Outlook saved; its subject is the title, the names of attachments are headings."""
    from olefile import OleFileIO

    if not data.startswith(_OLE):
        seen = signature(data)
        raise ReadError(
            "not an Outlook message" + (f": it looks like {seen}" if seen else ""), "give it the right suffix"
        )
    with OleFileIO(data) as ole:
        if not read_stream(ole, "__properties_version1.0"):
            raise ReadError("not an Outlook message: it has no properties", "give it the right suffix")
        parts, subject = _outlook(ole, (), cfg, contents)
        sent = _sent(_properties(ole, (), 32))
    document = assemble([*parts, *contents.parts], subject, tables=contents.tables, notes=contents.notes())
    return replace(document, date=date_of(sent))


def _outlook(ole: "OleFileIO", path: tuple[str, ...], cfg: IngestConfig, contents: Contents) -> tuple[list[Part], str]:
    """The header and the text of the message in a storage, and its subject; attachments go to `contents`."""
    properties = _properties(ole, path, 24 if path else 32)
    storages = sorted({entry[len(path)] for entry in ole.listdir() if entry[: len(path)] == list(path)})
    if _TO not in properties:
        names = [_properties(ole, (*path, name), 8) for name in storages if name.startswith("__recip_")]
        people = "; ".join(filter(None, (_text(recipient, _NAME, cfg) for recipient in names)))
        properties[_TO] = (_UNICODE, people.encode("utf-16-le"))
    subject = _text(properties, _SUBJECT, cfg)
    for storage in storages:
        if storage.startswith("__attach_"):
            _attachment(ole, (*path, storage), cfg, contents)
    return [Part(_mapi_header(properties, cfg)), *noted(_mapi_body(properties, cfg), contents)], subject


def _attachment(ole: "OleFileIO", path: tuple[str, ...], cfg: IngestConfig, contents: Contents) -> None:
    properties = _properties(ole, path, 8)
    name = next((text for key in _FILE_NAMES if (text := _text(properties, key, cfg))), "attachment")
    message = (*path, f"__substg1.0_{_DATA:04X}000D")
    if read_stream(ole, *message, "__properties_version1.0"):
        if message.count(message[-1]) + contents.depth > cfg.archive_depth:
            contents.failures.append(f"{name}: nested too deeply")
            return
        first = len(contents.parts)
        own, subject = _outlook(ole, message, cfg, contents)
        own += contents.parts[first:]
        contents.parts[first:] = [replace(part, headings=(subject or name, *part.headings)) for part in own]
    elif _DATA in properties:
        shown = _CONTENT_ID in properties and _text(properties, _MIME, cfg).startswith("image/")
        if shown:
            shown_picture(name, properties[_DATA][1], cfg, contents)
        elif contents.readable(name):
            contents.add(name, properties[_DATA][1])


def _properties(ole: "OleFileIO", path: tuple[str, ...], header: int) -> _Properties:
    """The MAPI properties of a storage; `header` is the number of bytes before the entries of fixed size."""
    properties: _Properties = {}
    fixed = read_stream(ole, *path, "__properties_version1.0")
    for at in range(header, len(fixed) - 15, 16):
        kind, key = struct.unpack_from("<HH", fixed, at)
        properties[key] = (kind, fixed[at + 8 : at + 16])
    for key in _READ:
        for kind in (_UNICODE, _STRING8, _BINARY):
            data = read_stream(ole, *path, f"__substg1.0_{key:04X}{kind:04X}")
            if data:
                properties[key] = (kind, data)
                break
        else:
            if key in properties and properties[key][0] not in (_LONG, _TIME):
                del properties[key]  # the entry of a stream that is not there
    return properties


def _text(properties: _Properties, key: int, cfg: IngestConfig) -> str:
    kind, data = properties.get(key, (0, b""))
    if kind == _UNICODE:
        return data.decode("utf-16-le", "replace").rstrip("\0")
    pages = (int.from_bytes(properties[page][1][:4], "little") for page in _CODE_PAGES if page in properties)
    if kind in (_STRING8, _BINARY) and data.strip(b"\0"):
        return decode_as(data.rstrip(b"\0"), code_page(next(pages, 0)) or "ascii", cfg)
    return ""


def _mapi_header(properties: _Properties, cfg: IngestConfig) -> str:
    sender, address = _text(properties, _SENDER, cfg), _text(properties, _SMTP, cfg) or _text(properties, _ADDRESS, cfg)
    if "@" in address and address != sender:
        sender = f"{sender} <{address}>"
    subject, to, cc = (_text(properties, key, cfg) for key in (_SUBJECT, _TO, _CC))
    values = zip(SHOWN, (subject, sender, to, cc, _sent(properties)), strict=True)
    return "\n".join(f"{name}: {collapse(clean(value))}" for name, value in values if value.strip())


def _sent(properties: _Properties) -> str:
    ticks = next((properties[key][1] for key in _DATES if key in properties), b"")
    seconds = int.from_bytes(ticks, "little") // 10_000_000 - _EPOCH_GAP
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if 0 < seconds < 1 << 33 else ""


def _mapi_body(properties: _Properties, cfg: IngestConfig) -> Document:
    """The text of a message: of the plain and the HTML form the fuller, else compressed RTF."""
    plain = assemble([Part(_text(properties, _BODY, cfg))])
    kind, data = properties.get(_HTML, (0, b""))
    if data.strip():
        binary = kind == _BINARY
        page = read_html(data, cfg, quotes=True) if binary else mail_page(_text(properties, _HTML, cfg), cfg)
        if not plain.text.strip() or is_fuller([page], [plain]):
            return page
    if plain.text.strip():
        return plain
    packed = properties.get(_RTF, (0, b""))[1]
    return read_rtf(_unpacked_rtf(packed), cfg) if packed else Document("")


def _unpacked_rtf(packed: bytes) -> bytes:
    """RTF out of its compressed form (MS-OXRTFCP 2.2). Raises `ReadError`."""
    if len(packed) < 16 or packed[8:12] not in (b"LZFu", b"MELA"):
        raise ReadError("damaged message: its text is compressed in an unknown way", "save it again from Outlook")
    if packed[8:12] == b"MELA":
        return packed[16:]
    window = bytearray(_RTF_START.ljust(4096, b"\0"))
    written = bytearray()
    at, to = 16, len(_RTF_START)
    while at < len(packed):
        control = packed[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                reference = int.from_bytes(packed[at : at + 2], "big")
                at += 2
                offset, length = reference >> 4, (reference & 15) + 2
                if offset == to:
                    return bytes(written)
            else:
                offset, length = to, 1
                window[to] = packed[at] if at < len(packed) else 0
                at += 1
            for i in range(length):
                byte = window[(offset + i) & 4095]
                window[to] = byte
                to = (to + 1) & 4095
                written.append(byte)
            if at >= len(packed):
                break
    return bytes(written)


def read_tnef(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """A winmail.dat that was saved by itself, or a message attached to one."""
    if not data.startswith(_TNEF):
        raise ReadError("not a winmail.dat: it does not begin like one", "give it the right suffix")
    properties, parts = _tnef(data, cfg, contents)
    header = Part(_mapi_header(properties, cfg))
    title = _text(properties, _SUBJECT, cfg)
    return assemble([header, *parts, *contents.parts], title, tables=contents.tables, notes=contents.notes())


def tnef_parts(data: bytes, cfg: IngestConfig, contents: Contents) -> list[Part]:
    """The text in a winmail.dat, which Outlook sends in place of MIME (MS-OXTNEF); its files go to `contents`."""
    return _tnef(data, cfg, contents)[1]


def _tnef(data: bytes, cfg: IngestConfig, contents: Contents) -> tuple[_Properties, list[Part]]:
    properties: _Properties = {}
    files: list[tuple[str, bytes]] = []
    at = 6
    while data.startswith(_TNEF) and at + 9 <= len(data):
        attribute, length = struct.unpack_from("<HxxI", data, at + 1)
        value = data[at + 9 : at + 9 + length]
        at += 11 + length
        if attribute == 0x9003:
            properties |= _tnef_properties(value)
        elif attribute == 0x9007 and len(value) >= 4:  # the code page of texts that are not in Unicode
            properties.setdefault(_CODE_PAGES[-1], (_LONG, value[:4]))
        elif attribute == 0x800C:
            properties.setdefault(_BODY, (_STRING8, value))
        elif attribute == 0x9002:
            files.append(("attachment", b""))
        elif attribute == 0x8010 and files:
            files[-1] = (decode_as(value.rstrip(b"\0"), "ascii", cfg), files[-1][1])
        elif attribute == 0x800F and files:
            files[-1] = (files[-1][0], value)
        elif attribute == 0x9005 and files:
            about = _tnef_properties(value)
            long_name = next((text for key in _FILE_NAMES if (text := _text(about, key, cfg))), "")
            files[-1] = (long_name or files[-1][0], _attached(about) or files[-1][1])
    for name, content in files:
        if content.startswith(_TNEF):
            contents.add(name, content, ".tnef")
        elif content and contents.readable(name):
            contents.add(name, content)
    return properties, noted(_mapi_body(properties, cfg), contents)


def _attached(properties: _Properties) -> bytes:
    """A message that is attached, behind the 16 bytes that say of what kind it is."""
    kind, data = properties.get(_DATA, (0, b""))
    return data[16:] if kind == _OBJECT and data[16:].startswith(_TNEF) else b""


def _tnef_properties(data: bytes) -> _Properties:
    """A list of MAPI properties (MS-OXTNEF 2.1.3.4), up to the first that is of no known kind."""
    properties: _Properties = {}
    at = 4
    while at + 8 <= len(data):
        kind, key = struct.unpack_from("<HH", data, at)
        at += 4
        if key >= 0x8000:  # named: a GUID, then a number or a string
            named, size = struct.unpack_from("<II", data, at + 16)
            at += 24 + (-(-size // 4) * 4 if named else 0)
        values, at = _tnef_values(data, kind, at)
        if not values:
            break
        properties[key] = (kind, values[0])
    return properties


def _tnef_values(data: bytes, kind: int, at: int) -> tuple[list[bytes], int]:
    """The values of a property and where the next begins; none where the type is unknown."""
    single, several = kind & 0x0FFF, kind & 0x1000
    size = _TNEF_SIZES.get(single)
    count = 1
    if several or size == 0:
        count = int.from_bytes(data[at : at + 4], "little")
        at += 4
    values: list[bytes] = []
    while size is not None and len(values) < count and at < len(data):
        length = size
        if size == 0:
            length = int.from_bytes(data[at : at + 4], "little")
            at += 4
        values.append(data[at : at + length])
        at += -(-length // 4) * 4
    return values, at
