"""Files that were put into an Office package as objects: read by their own readers, below their names.

What a chart keeps its numbers in is none of them. Sources: ISO/IEC 29500-1, 15.2.10 and 15.2.11 (embedded objects and
packages), MS-OLEDS 2.3.6 (the native data of Windows' packager).
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

from core.errors import ReadError
from core.types import Document
from ingest.kind import kind_of
from ingest.readers.archive import Contents
from ingest.readers.encoding import decode
from ingest.readers.package import parse_xml, read_stream
from ingest.readers.text import Part, assemble, parts_of

if TYPE_CHECKING:
    from core.config import IngestConfig

# Of whose objects a person sees a picture or a sign: a document with its margins and notes, slides, sheets.
_SOURCE = re.compile(r"(word|ppt/slides|xl/worksheets)/_rels/([^/]+)\.xml\.rels", re.I)
_OBJECT = ("/oleObject", "/package")
_OFFICE = (".docx", ".pptx", ".xlsx", ".doc", ".ppt", ".xls", ".pdf", ".ods", ".odt", ".odp", ".msg")


def with_embedded(data: bytes, document: Document, contents: Contents) -> Document:
    """The document of an Office package, with the files that were put into it as objects behind its own text."""
    if not data.startswith(b"PK") or contents.depth > contents.cfg.archive_depth:
        return document
    with ZipFile(BytesIO(data)) as archive:
        for member in _members(archive):
            try:
                with archive.open(member) as stream:
                    content = contents.unpack(stream)
            except ReadError:
                contents.failures.append("attached files were not read: they unpack to too much (ingest.archive_mb)")
                break
            name, inner = _inner(posixpath.basename(member), content, contents.cfg)
            if contents.readable(name):
                contents.add(name, inner)
    notes = contents.notes()
    if not contents.parts:
        return replace(document, notes=(*document.notes, *notes))
    parts = [Part(part.text, part.headings) for part in contents.parts]
    whole = assemble([*parts_of(document), *parts], notes=(*document.notes, *notes))
    tables = document.tables + contents.tables
    return replace(document, text=whole.text, sections=whole.sections, notes=whole.notes, tables=tables)


def _members(archive: ZipFile) -> Iterator[str]:
    """The members that hold objects, each once, in the order of what they lie in."""
    found: set[str] = set()
    names = set(archive.namelist())
    for source in sorted(names, key=lambda name: (len(name), name)):  # slide10 after slide9
        if not (place := _SOURCE.fullmatch(source)):
            continue
        for link in parse_xml(archive.read(source)):
            if not link.get("Type", "").endswith(_OBJECT) or link.get("TargetMode") == "External":
                continue
            member = posixpath.normpath(posixpath.join(f"/{place[1]}", link.get("Target", ""))).lstrip("/")
            if member in names and member not in found:
                found.add(member)
                yield member


def _inner(name: str, content: bytes, cfg: "IngestConfig") -> tuple[str, bytes]:
    """The name and the bytes of the file that an object holds; those of the object where that is not known."""
    kind = kind_of(content)
    stem = posixpath.splitext(name)[0]
    if kind in _OFFICE:
        return f"{stem}{kind}", content
    from olefile import OleFileIO, isOleFile

    if not isOleFile(content):
        return name, content
    with OleFileIO(content) as ole:
        package = read_stream(ole, "Package") or read_stream(ole, "CONTENTS") or read_stream(ole, "EmbeddedOdf")
        if (kind := kind_of(package)) in _OFFICE:
            return f"{stem}{kind}", package
        native = read_stream(ole, "\x01Ole10Native")
    return _packed(native, cfg) or (name, content)


def _packed(native: bytes, cfg: "IngestConfig") -> tuple[str, bytes] | None:
    """A file of Windows' packager: its label, two paths, its size and its bytes, in this order."""
    label, end, rest = native[6:].partition(b"\0")
    _, path_end, rest = rest.partition(b"\0")
    length = int.from_bytes(rest[4:8], "little")
    size = int.from_bytes(rest[8 + length : 12 + length], "little")
    content = rest[12 + length : 12 + length + size]
    if not (end and path_end and label and content) or len(content) != size:
        return None
    return posixpath.basename(decode(label, cfg)[0].replace("\\", "/")), content
