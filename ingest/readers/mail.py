"""Mails -> subject, sender, recipients and date, the text, then what is attached, each by its own reader.

`.eml` and `.mbox` hold messages after RFC 5322 and MIME; outlook.py reads Outlook's own forms.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.archive import Contents
from ingest.readers.encoding import decode, decode_as, signature
from ingest.readers.mail_text import is_fuller, mail_page, noted, repeats, shown_picture
from ingest.readers.outlook import SHOWN, tnef_parts
from ingest.readers.text import Part, assemble, clean, collapse, date_of

_EVIDENCE = frozenset("from to subject date received message-id return-path mime-version content-type sender".split())
_SEPARATOR = re.compile(rb"^From [^\r\n]*\d\d:\d\d[^\r\n]*\r?\n", re.M)
_NAMED = re.compile(r"""\b(?:file)?name\s*=\s*(?:"([^"]*)"|([^;\s"]+))""", re.I)
_RAW = re.compile("[\udc80-\udcff]")  # bytes beyond ASCII as Python keeps them


def read_eml(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """One message; its subject is the title, the names of attachments are headings."""
    from email import message_from_bytes

    message = message_from_bytes(data.lstrip(b"\xef\xbb\xbf \t\r\n"))
    if _EVIDENCE.isdisjoint(name.lower() for name in message):
        seen = signature(data)
        raise ReadError("not a mail" + (f": it looks like {seen}" if seen else ""), "give it the right suffix")
    parts = _message(message, cfg, contents)
    title = _header(message, "Subject", cfg, _charset_of(message, cfg))
    document = assemble([*parts, *contents.parts], title, tables=contents.tables, notes=contents.notes())
    return replace(document, date=date_of(_header(message, "Date", cfg)))


def read_mbox(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """A mailbox; the subject of each message is the first heading of its sections."""
    from email import message_from_bytes

    starts = [found.end() for found in _SEPARATOR.finditer(data)]
    if not data.startswith(b"From ") or not starts:
        raise ReadError("not a mailbox: it does not begin with a line 'From '", "give it the right suffix")
    parts: list[Part] = []
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        source = _SEPARATOR.sub(b"", data[start:end])
        message = message_from_bytes(re.sub(rb"^>(>*From )", rb"\1", source, flags=re.M))
        first = len(contents.parts)
        own = [*_message(message, cfg, contents), *contents.parts[first:]]
        subject = _header(message, "Subject", cfg, _charset_of(message, cfg))
        parts += [replace(part, headings=(subject, *part.headings)) if subject else part for part in own]
    return assemble(parts, tables=contents.tables, notes=contents.notes())


def _message(message: Message, cfg: IngestConfig, contents: Contents) -> list[Part]:
    """The header and the text of a message; its attachments go to `contents`."""
    hint = _charset_of(message, cfg)
    shown = ((name, _header(message, name, cfg, hint)) for name in SHOWN)
    parts = [Part("\n".join(f"{name}: {value}" for name, value in shown if value))]
    for body in _bodies(message, cfg, contents):
        parts += noted(body, contents)
    return parts


def _header(message: Message, name: str, cfg: IngestConfig, hint: str = "") -> str:
    value = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return _words(value, cfg, hint)


def _charset_of(message: Message, cfg: IngestConfig) -> str:
    """The encoding of bytes in a header that state none: what the texts of the message declare, or are found to be in.

    A subject of three characters is too short to be guessed.
    """
    texts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    for part in texts:
        charset = part.get_param("charset")
        if isinstance(charset, str) and charset.lower() not in ("us-ascii", "ascii", "iso-8859-1", "unknown-8bit"):
            return charset
    for part in texts:
        data = part.get_payload(decode=True)
        if isinstance(data, bytes) and not data.isascii():
            return decode(data, cfg, markup=part.get_content_subtype() == "html")[1]
    return ""


def _words(value: str, cfg: IngestConfig, hint: str = "") -> str:
    """The text of a header: words encoded after RFC 2047, and bytes as they came, by `hint` if not in UTF-8."""
    from email.errors import HeaderParseError
    from email.header import decode_header

    try:
        pieces = decode_header(value)
    except HeaderParseError:  # broken base64
        pieces = [(value, None)]
    texts: list[str] = []
    for piece, charset in pieces:
        if isinstance(piece, str) and not _RAW.search(piece):
            texts.append(piece)
            continue
        data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogateescape")
        if charset is None and hint and not _is_utf8(data):
            charset = hint
        texts.append(decode_as(data, charset or "ascii", cfg) if data.strip() else " ")
    return collapse(clean("".join(texts)))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _bodies(part: Message, cfg: IngestConfig, contents: Contents) -> Iterator[Document]:
    """The texts of a message in order; what is attached is read into `contents`."""
    kind = part.get_content_type()
    if kind == "message/rfc822" or not part.is_multipart():
        yield from _leaf(part, kind, cfg, contents)
    elif kind == "multipart/alternative":
        yield from _best(part, cfg, contents)
    else:
        for child in _children(part):
            yield from _bodies(child, cfg, contents)


def _children(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _best(part: Message, cfg: IngestConfig, contents: Contents) -> Iterator[Document]:
    """Of forms of the same text the fuller: plain before HTML before the rest, where it says as much.

    HTML says more where it has a table, which plain text flattens, or words that the plain form lacks. Two that say
    different things are both read.
    """
    forms = {"text/plain": 0, "text/html": 1, "multipart/related": 1, "multipart/mixed": 1}
    chosen: list[Document] = []
    rank = -1
    for child in sorted(_children(part), key=lambda child: forms.get(child.get_content_type(), 2)):
        form = forms.get(child.get_content_type(), 2)
        if chosen and (form == 2 or form == rank):
            if child.get_content_type() == "text/calendar":  # when and where, which the others need not say
                list(_bodies(child, cfg, contents))
            continue
        bodies = [body for body in _bodies(child, cfg, contents) if body.text.strip()]
        if bodies and (not chosen or is_fuller(bodies, chosen)):
            chosen, rank = bodies if repeats(bodies, chosen) else [*chosen, *bodies], form
    yield from chosen


def _leaf(part: Message, kind: str, cfg: IngestConfig, contents: Contents) -> Iterator[Document]:
    name = _file_name(part, cfg)
    if kind == "message/rfc822":
        for child in _children(part):
            contents.add(name or _header(child, "Subject", cfg) or "message", child.as_bytes(), ".eml")
        return
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or not data.strip():
        return
    if kind in ("text/plain", "text/html") and not name and part.get_content_disposition() != "attachment":
        charset = part.get_param("charset")
        text = decode_as(data, charset if isinstance(charset, str) else "ascii", cfg)
        yield mail_page(text, cfg) if kind == "text/html" else assemble([Part(_flowed(text, part))])
    elif kind == "application/ms-tnef" or name.lower() == "winmail.dat":
        yield assemble(tnef_parts(data, cfg, contents))
    elif kind.startswith("image/") and part.get("Content-ID"):  # that the HTML shows
        shown_picture(name or f"picture{_suffix(kind)}", data, cfg, contents)
    else:
        name = name or f"attachment{_suffix(kind)}"
        if contents.readable(name):
            contents.add(name, data)


def _file_name(part: Message, cfg: IngestConfig) -> str:
    """The name of an attachment; `get_filename` loses bytes that came as they are."""
    for key, value in part.raw_items():
        if key.lower() in ("content-disposition", "content-type") and _RAW.search(str(value)):
            found = _NAMED.search(str(value))
            if found:
                return _words(found[1] or found[2], cfg, _charset_of(part, cfg))
    return _words(str(part.get_filename() or ""), cfg)


def _suffix(kind: str) -> str:
    import mimetypes

    return mimetypes.guess_extension(kind) or ""


def _flowed(text: str, part: Message) -> str:
    """Paragraphs of plain text whose lines were broken for sending only (RFC 3676)."""
    if str(part.get_param("format", "")).lower() != "flowed":
        return text
    seam = "" if str(part.get_param("delsp", "")).lower() == "yes" else " "
    return re.sub(r"(?<!\n--) \r?\n(?=[^>\s])", seam, text)
