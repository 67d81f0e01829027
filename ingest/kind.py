"""What kind of file the bytes of a file say that it is, for one without a suffix or with a wrong one."""

import csv
import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SUFFIX = re.compile(r"\.(?=.*[a-z])[a-z0-9_~+-]{1,12}")
_STARTS = (
    (b"{\\rtf", ".rtf"), (b"\x78\x9f\x3e\x22", ".tnef"),
    (b"\x89PNG\r\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF87a", ".gif"), (b"GIF89a", ".gif"),
    (b"\x1f\x8b\x08", ".gz"), (b"BZh", ".bz2"), (b"\xfd7zXZ\0", ".xz"), (b"7z\xbc\xaf\x27\x1c", ".7z"),
    (b"Rar!\x1a\x07", ".rar"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"\0\0\0\x0cjP  ", ".jp2"),
)  # fmt: skip
_STREAMS = (  # of compound files
    ("__properties_version1.0", ".msg"), ("WordDocument", ".doc"), ("PowerPoint Document", ".ppt"),
    ("Workbook", ".xls"), ("Book", ".xls"),
)  # fmt: skip
_MEMBERS = (("word/", ".docx"), ("ppt/", ".pptx"), ("xl/", ".xlsx"))
_MIMETYPES = (
    (b"application/epub+zip", ".epub"), (b"application/vnd.oasis.opendocument.text", ".odt"),
    (b"application/vnd.oasis.opendocument.presentation", ".odp"),
    (b"application/vnd.oasis.opendocument.spreadsheet", ".ods"),
)  # fmt: skip
_PAGE = re.compile(rb"(?:<!--.*?-->\s*)?<(?:!doctype html|html)[\s>]", re.I | re.S)
FLAT_OPC = "http://schemas.microsoft.com/office/2006/xmlPackage"
OPEN_DOCUMENT = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_OFFICE = frozenset((  # whose files may begin without <?xml
    FLAT_OPC, OPEN_DOCUMENT, "urn:schemas-microsoft-com:office:spreadsheet",
    "http://schemas.microsoft.com/office/word/2003/wordml",
))  # fmt: skip
_PROLOG = re.compile(r"(?:\s++|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*+(?:\[[^\]]*+\])?+[^>]*+>)*+", re.S)
_ROOT = re.compile(r"<(?:([\w.-]+):)?([\w.-]+)(?=[\s/>])([^>]*+)")
_FIELD = re.compile(rb"^([A-Za-z][\w-]*):", re.M)
_SENT = frozenset((b"from", b"received", b"return-path", b"message-id", b"delivered-to", b"mime-version"))
_ABOUT = frozenset((b"subject", b"date", b"to", b"content-type", b"cc"))
_MAILBOX = re.compile(rb"From \S[^\r\n]*\d\d:\d\d[^\r\n]*\r?\n[A-Za-z-]+:")
_BINARY_CHARACTERS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD = 4096
# Formats that hold text as it is: what their first bytes look like is theirs to say, unless it is no text at all.
_TEXTS = frozenset((".html", ".xml", ".eml", ".mbox", ".mhtml", ".csv"))


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case; empty where what stands behind the last dot is none: `No. 12`."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".dat" and os.path.basename(name).lower() == "winmail.dat":
        return ".tnef"  # Outlook gives every one the same name
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def kind_of(data: bytes) -> str:
    """The suffix of the format that a file is in; empty where its bytes say nothing, as those of plain text."""
    start = data[:_HEAD]
    if b"%PDF-" in start[:1024]:
        return ".pdf"
    if start.startswith(_OLE):
        return _compound(data)
    if start.startswith(b"PK\x03\x04"):
        return _package(data)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    if start.startswith(b"bplist00") and b"WebMainResource" in data:
        return ".webarchive"
    if start[257:262] == b"ustar":
        return ".tar"
    found = next((suffix for signature, suffix in _STARTS if start.startswith(signature)), "")
    return found or _marked_text(start.lstrip(b"\xef\xbb\xbf \t\r\n"))


def root_name(data: bytes) -> tuple[str, str]:
    """The namespace and the name of the root element of an XML file; empty where its first bytes do not say."""
    head = data[: 4 * _HEAD]
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = head.decode("utf-16" if wide else "latin-1", "replace").removeprefix("\xef\xbb\xbf")
    prolog = _PROLOG.match(text)
    found = _ROOT.match(text, prolog.end() if prolog else 0)
    if found is None:
        return "", ""
    prefix, name, about = found.groups()
    stated = re.search(rf"""\sxmlns{f":{re.escape(prefix)}" if prefix else ""}\s*=\s*["']([^"']*)""", about)
    return stated[1] if stated else "", name


def other_kind(data: bytes, suffix: str, texts: frozenset[str]) -> str:
    """The suffix to read a file by where its bytes contradict the one that it has; else empty.

    `texts` are suffixes of formats that hold text as it is.
    """
    found = kind_of(data)
    if found and found not in _TEXTS:
        return found
    if found == ".mhtml" or (found == ".html" and suffix in (".txt", ".text", ".mht", ".mhtml")):
        return found if suffix != ".eml" else ""
    if suffix in texts:
        return ""
    if not found and suffix in (".xlsx", ".xlsm", ".ods") and _is_delimited(data):
        return ".csv"
    return found


def opens_readably(path: str | Path, others: Callable[[bytes], bool]) -> bool:
    """Whether the first bytes of a file without a suffix are of a format with a reader, also of `others`, or text."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:  # reading it will say why
        return False
    if not head.strip():
        return False
    return head.startswith((b"PK\x03\x04", _OLE)) or bool(kind_of(head)) or is_text(head) or others(head)


def is_text(data: bytes) -> bool:
    """Whether the first bytes of a file hold no character that text does not have."""
    head = data[:_HEAD]
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or not _BINARY_CHARACTERS.search(head)


def _compound(data: bytes) -> str:
    from olefile import OleFileIO

    try:
        with OleFileIO(data) as ole:
            streams = {path[0] for path in ole.listdir() if len(path) == 1}
            return next((suffix for stream, suffix in _STREAMS if stream in streams), "")
    except (OSError, ValueError, IndexError, TypeError, AttributeError):  # damaged: its reader will say so
        return ""


def _package(data: bytes) -> str:
    try:
        with ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                kind = archive.read("mimetype")
                return next((suffix for start, suffix in _MIMETYPES if kind.startswith(start)), "")
    except (BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, EOFError):  # damaged, as above
        return ""
    if "[Content_Types].xml" in names:
        return next((suffix for folder, suffix in _MEMBERS if any(name.startswith(folder) for name in names)), "")
    return ".ofd" if any(name.lower() == "ofd.xml" for name in names) else ".zip"


def _marked_text(start: bytes) -> str:
    if _PAGE.match(start):
        return ".html"
    if start.startswith(b"<?xml") or (start.startswith(b"<") and root_name(start)[0] in _OFFICE):
        return ".xml"
    if _MAILBOX.match(start):
        return ".mbox"
    if not _FIELD.match(start):
        return ""
    head = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    names = {name.lower() for name in _FIELD.findall(head)}
    if not names & _SENT or not names & _ABOUT:
        return ""
    related = re.search(rb"^content-type:\s*multipart/related", head, re.I | re.M)
    page = b"snapshot-content-location" in names or b"Saved by" in head
    return ".mhtml" if related and (page or b"text/html" in head) and b"to" not in names else ".eml"


def _is_delimited(data: bytes) -> bool:
    """Whether this is text in columns, as programs export it under the name of a workbook."""
    head = data[:_HEAD]
    if not is_text(head):
        return False
    lines = head.decode("utf-8", "replace").splitlines()[:-1] or [head.decode("utf-8", "replace")]
    for delimiter in "\t,;":
        widths = {len(row) for row in csv.reader(lines[:20], delimiter=delimiter) if row}
        if len(widths) == 1 and widths.pop() > 1:
            return True
    return False
