"""A web page as a browser saves it in one file (.mhtml, .mht, .webarchive) -> its text.

Source: RFC 2557 (MHTML); Apple's WebKit, LegacyWebArchive (.webarchive, a property list).

The page is the first part; style sheets that it names are taken from the other parts, so that what they hide is left
out, and pages in frames follow it. Pictures and scripts are passed over.
"""

from email.message import Message

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode_as, signature
from ingest.readers.markup import read_page
from ingest.readers.text import Part, assemble, collapse, parts_of
from ingest.readers.unseen import joined


def read_saved_page(data: bytes, cfg: IngestConfig) -> Document:
    """A saved page with its frames. Raises `ReadError` where there is none in the file."""
    from email import message_from_bytes

    message = message_from_bytes(data.lstrip(b"\xef\xbb\xbf \t\r\n"))
    leaves = [part for part in message.walk() if not part.is_multipart()]
    pages = [part for part in leaves if part.get_content_type() in ("text/html", "application/xhtml+xml")]
    if not pages:
        plain = [part for part in leaves if part.get_content_type() == "text/plain" and "content-type" in part]
        seen = signature(data)
        if not plain:
            reason = f": it looks like {seen}" if seen else ""
            raise ReadError(f"not a saved web page{reason}", "open the page in a browser and save it again")
        return assemble([Part(_text(part, cfg)) for part in plain])
    sheets = {
        name: _text(part, cfg) for part in leaves if part.get_content_type() == "text/css" for name in _names(part)
    }
    folders = {place[: place.rfind("/") + 1] for page in pages for place in _names(page) if "/" in place}
    sheets |= {name[len(folder) :]: text for name, text in sheets.items() for folder in folders
               if name.startswith(folder)}  # fmt: skip
    start = str(message.get_param("start") or "").strip("<> ")
    pages.sort(key=lambda page: bool(start) and start not in _names(page))
    documents = [read_page(_bytes(page), cfg, _charset(page), sheets) for page in pages]
    first = documents[0]
    parts = parts_of(first)
    for frame in documents[1:]:
        said = collapse(frame.text)
        if said and said not in collapse(first.text):
            parts += parts_of(frame, (frame.title,) if frame.title else ())
    notes = joined(note for document in documents for note in document.notes)
    document = assemble(
        parts, first.title, encoding=first.encoding, tables=sum(d.tables for d in documents), notes=notes
    )
    return Document(
        document.text, document.title, document.sections, encoding=first.encoding, tables=document.tables,
        notes=document.notes, tags=first.tags, date=first.date,
    )  # fmt: skip


def read_web_archive(data: bytes, cfg: IngestConfig) -> Document:
    """A page that Safari saved. Raises `ReadError` where there is none in the file."""
    import plistlib
    from xml.parsers.expat import ExpatError

    try:
        archive = plistlib.loads(data)
    except (plistlib.InvalidFileException, ExpatError, ValueError, OverflowError, RecursionError):
        archive = None
    main = _entry(archive, "WebMainResource")
    page = main.get("WebResourceData")
    if not isinstance(page, bytes) or not page.strip():
        raise ReadError("not a saved web page", "open the page in a browser and save it again")
    others = archive.get("WebSubresources") if isinstance(archive, dict) else None
    sheets = {
        str(other.get("WebResourceURL", "")): decode_as(other["WebResourceData"], "utf-8", cfg)
        for other in (others if isinstance(others, list) else ())
        if isinstance(other, dict)
        and other.get("WebResourceMIMEType") == "text/css"
        and isinstance(other.get("WebResourceData"), bytes)
    }
    return read_page(page, cfg, str(main.get("WebResourceTextEncodingName", "")), sheets)


def _entry(archive: object, name: str) -> dict[str, object]:
    found = archive.get(name) if isinstance(archive, dict) else None
    return found if isinstance(found, dict) else {}


def _names(part: Message) -> tuple[str, ...]:
    """How other parts call this one: its place on the web, and its id, with and without `cid:`."""
    place = "".join(str(part.get("Content-Location", "")).split())
    key = str(part.get("Content-ID", "")).strip("<> \r\n\t")
    return tuple(name for name in (place, key, f"cid:{key}" if key else "") if name)


def _bytes(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _charset(part: Message) -> str:
    charset = part.get_param("charset")
    return charset if isinstance(charset, str) else ""


def _text(part: Message, cfg: IngestConfig) -> str:
    data = _bytes(part)
    return decode_as(data, _charset(part) or "utf-8", cfg) if data.strip() else ""
