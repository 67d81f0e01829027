"""Office files are zip archives: what is checked before a parser sees one, and the forms that parsers refuse."""

import re
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile
from zlib import error as ZlibError

from core.errors import ReadError
from ingest.readers.encoding import signature
from ingest.readers.text import date_of, listed, tags_of

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
    from olefile import OleFileIO

_MAX_UNPACKED = 1_000_000_000  # bytes
_MAX_RATIO, _RATIO_FROM = 200, 50_000_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ASK = "give its password on its card in the page, or with `ragstone unlock`; or leave it out with ingest.exclude"
_STRICT = b"http://purl.oclc.org/ooxml/"
# ISO "strict" files name the same things under other addresses; templates and macro files differ in their type.
_STRICT_NAME = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_VARIANT = re.compile(
    rb"application/vnd\.(?:ms-word\.(?:document|template)\.macroEnabled"
    rb"|openxmlformats-officedocument\.wordprocessingml\.template)\.main\+xml"
)
_SHOW = re.compile(
    rb"application/vnd\.(?:ms-powerpoint|openxmlformats-officedocument\.presentationml)"
    rb"\.(?:slideshow|template)(?:\.macroEnabled)?\.main\+xml"
)
_PPTX = b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"
_DOCX = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"

# When the empty files were saved that python-docx and python-pptx begin with; they leave it as it is.
_TEMPLATE_TIMES = ("2013-12-23T23:15:00Z", "2013-01-27T09:15:58Z")


def check_package(data: bytes, kind: str) -> None:
    """Raise `ReadError` unless `data` is a whole, unencrypted Office package of a sane size. `kind` is its name."""
    a_kind = f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise locked(kind)
        hint = f"save it in the present {kind} format from Office or LibreOffice"
        raise ReadError(f"an old binary Office file under the name of {a_kind} file", hint)
    if not data.startswith(b"PK"):
        seen = signature(data)
        raise ReadError(f"not {a_kind} file" + (f": it looks like {seen}" if seen else ""), "give it the right suffix")
    try:
        with ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
    except (BadZipFile, ValueError):  # ValueError: offsets or names in the directory that make no sense
        raise ReadError(f"damaged {kind} file: cut short or overwritten", "restore it from a copy") from None
    if any(member.flag_bits & 1 for member in members):
        raise locked(kind)
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MAX_UNPACKED or (unpacked > _RATIO_FROM and unpacked > _MAX_RATIO * len(data)):
        text = f"the {kind} file unpacks from {len(data):,} to {unpacked:,} bytes: refused as a zip bomb"
        raise ReadError(text, "if you trust it, split it into smaller files")
    names = {member.filename for member in members}
    if names.isdisjoint(("[Content_Types].xml", "mimetype", "META-INF/container.xml", "content.xml", "OFD.xml")):
        raise ReadError(f"an ordinary zip archive under the name of {a_kind} file", "unpack it into the folder")


def locked(kind: str, *, for_good: bool = False) -> ReadError:
    """The error for a file that opens with a password only; `for_good`: of a kind that is not opened by one here."""
    hint = "save a copy without the password, or leave it out with ingest.exclude" if for_good else ASK
    return ReadError(f"the {kind} file is password-protected", hint)


def read_stream(ole: "OleFileIO", *path: str) -> bytes:
    """A stream of a compound file (the container of old Office files); nothing where there is none."""
    name = list(path)
    if not ole.exists(name):
        return b""
    with ole.openstream(name) as stream:
        return stream.read()


def parse_xml(data: bytes) -> "Element":
    """The root of an XML member of a package; no entity is expanded, nothing is fetched, damage is passed over."""
    import lxml.etree as etree

    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, recover=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(data, parser)
    if root is None:
        raise ReadError("damaged file: a member is not XML", "restore it from a copy")
    etree.strip_tags(root, etree.Entity)
    return root


def stated(data: bytes) -> tuple[tuple[str, ...], str]:
    """Tags and date from the properties of an Office or OpenDocument package; none in other files."""
    if not data.startswith(b"PK"):
        return (), ""
    with ZipFile(BytesIO(data)) as archive:
        for name in archive.namelist():  # .NET gives the member a name of its own
            if name in ("docProps/core.xml", "meta.xml") or name.endswith(".psmdcp"):
                try:
                    return stated_in(parse_xml(archive.read(name)))
                except (ReadError, SyntaxError, BadZipFile, ZlibError):  # damaged: the text is there all the same
                    break
    return (), ""


def stated_in(properties: "Element") -> tuple[tuple[str, ...], str]:
    """Tags and the date of the last change from core properties (ECMA-376-2, 11) or an OpenDocument meta element."""
    lists = (",".join(element.itertext()) for element in properties.iter("{*}keywords", "{*}keyword", "{*}category"))
    times = ((element.text or "").strip() for element in properties.iter("{*}modified", "{*}date"))
    dates = (date_of(time) for time in times if time not in _TEMPLATE_TIMES)
    return tags_of(tag for text in lists for tag in listed(text)), next(filter(None, dates), "")


def transitional(content: bytes) -> bytes:
    """A member of a "strict" package under the addresses that others use."""
    return _STRICT_NAME.sub(rb"http://schemas.openxmlformats.org/\1/2006/", content) if _STRICT in content else content


def plain_package(data: bytes) -> bytes:
    """A Word or PowerPoint package in the form that python-docx and python-pptx open; mostly `data` itself."""
    with ZipFile(BytesIO(data)) as archive:
        types = archive.read("[Content_Types].xml")
        strict = _STRICT in archive.read("_rels/.rels")
        if not strict and not _VARIANT.search(types) and not _SHOW.search(types):
            return data
        rebuilt = BytesIO()
        with ZipFile(rebuilt, "w", ZIP_DEFLATED, compresslevel=1) as copy:
            for member in archive.infolist():
                content = archive.read(member)
                if member.filename.endswith((".xml", ".rels")):
                    content = _SHOW.sub(_PPTX, _VARIANT.sub(_DOCX, transitional(content)))
                copy.writestr(member.filename, content)
    return rebuilt.getvalue()
