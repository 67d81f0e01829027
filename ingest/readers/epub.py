"""Electronic books (EPUB 2 and 3): the chapters in the order of the spine, each read as a web page.

https://www.w3.org/TR/epub-33/; the table of contents names chapters that have no heading of their own.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.markup import read_html
from ingest.readers.package import check_package, parse_xml
from ingest.readers.text import Part, assemble, clean, collapse, date_of, meaningful, parts_of, tags_of
from ingest.readers.unseen import joined

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # they hide no text
_SHOWN = (("Title", "title"), ("Author", "creator"), ("Publisher", "publisher"), ("Date", "date"))
_DAMAGED = "restore it from a copy, or convert it with Calibre"


@dataclass(frozen=True, slots=True)
class _Item:
    """A file that the package document lists; `path` is within the archive."""

    path: str
    media_type: str
    properties: str


def read_epub(data: bytes, cfg: IngestConfig) -> Document:
    """A book; its title and authors come first, the headings of a section are those of its chapter."""
    check_package(data, "EPUB")
    with ZipFile(BytesIO(data)) as archive:
        package_path = _package_path(archive)
        package = parse_xml(archive.read(package_path))
        about = _about(package)
        items = _items(package, posixpath.dirname(package_path))
        spine = [items[key] for key in _attributes(package, "itemref", "idref") if key in items]
        _check_rights(archive, {item.path for item in spine})
        labels = _labels(archive, package, items)
        parts = [Part("\n".join(f"{label}: {', '.join(about[name])}" for label, name in _SHOWN if name in about))]
        notes: list[str] = []
        tables = 0
        label = ""
        for item in spine:
            if "html" not in item.media_type and "oeb1-document" not in item.media_type:
                continue
            if "nav" in item.properties.split():
                continue
            try:
                chapter = read_html(archive.read(item.path), cfg)
            except KeyError:
                notes.append(f"{item.path}: the chapter is missing from the book")
                continue
            label = labels.get(item.path) or next((s.headings[0] for s in chapter.sections if s.headings), label)
            parts += [part if part.headings or not label else replace(part, headings=(label,))
                      for part in parts_of(chapter)]  # fmt: skip
            tables += chapter.tables
            notes += chapter.notes
    if len(parts) == 1 or not any(part.text.strip() for part in parts[1:]):
        raise ReadError("no text in the chapters of the book", "it may consist of pictures; leave it out with exclude")
    title = next(map(meaningful, about.get("title", ())), "")
    date = next(filter(None, map(date_of, about.get("date", ()))), "")
    return replace(
        assemble(parts, title, tables=tables, notes=joined(notes)), tags=tags_of(about.get("subject", ())), date=date
    )


def _package_path(archive: ZipFile) -> str:
    names = archive.namelist()
    if "META-INF/container.xml" in names:
        for path in _attributes(parse_xml(archive.read("META-INF/container.xml")), "rootfile", "full-path"):
            if path in names:
                return path
    found = next((name for name in names if name.endswith(".opf")), None)
    if found is None:
        raise ReadError("damaged EPUB file: it has no package document", _DAMAGED)
    return found


def _about(package: "Element") -> dict[str, list[str]]:
    """What the book says of itself, by the names of Dublin Core; no value stands twice."""
    values: dict[str, list[str]] = {}
    for element in package.iter("{http://purl.org/dc/elements/1.1/}*"):
        name = str(element.tag).rpartition("}")[2]
        text = collapse(clean("".join(element.itertext())))
        if text and text not in values.setdefault(name, []):
            values[name].append(text)
    return values


def _items(package: "Element", folder: str) -> dict[str, _Item]:
    return {
        item.get("id", ""): _Item(
            _resolve(folder, item.get("href", "")), item.get("media-type", ""), item.get("properties", "")
        )
        for item in package.iter("{*}item")
    }


def _attributes(root: "Element", tag: str, name: str) -> Iterator[str]:
    for element in root.iter(f"{{*}}{tag}"):
        yield element.get(name, "")


def _resolve(folder: str, href: str) -> str:
    """The path within the archive that a reference in a file of `folder` means."""
    return posixpath.normpath(posixpath.join(folder, unquote(urlsplit(href).path)))


def _labels(archive: ZipFile, package: "Element", items: dict[str, _Item]) -> dict[str, str]:
    """What the table of contents calls a chapter, by its path: the navigation document, before it the NCX of EPUB 2."""
    ncx = next((spine.get("toc", "") for spine in package.iter("{*}spine")), "")
    labels: dict[str, str] = {}
    for item in (*(item for item in items.values() if "nav" in item.properties.split()), items.get(ncx)):
        if item is None or item.path not in archive.namelist():
            continue
        root = parse_xml(archive.read(item.path))
        folder = posixpath.dirname(item.path)
        for anchor in root.iter("{*}a"):
            _label(labels, _resolve(folder, anchor.get("href", "")), anchor)
        for point in root.iter("{*}navPoint"):
            content, text = point.find("{*}content"), point.find("{*}navLabel")
            if content is not None and text is not None:
                _label(labels, _resolve(folder, content.get("src", "")), text)
    return labels


def _label(labels: dict[str, str], path: str, element: "Element") -> None:
    name = collapse(clean("".join(element.itertext())))
    if name:
        labels.setdefault(path, name)


def _check_rights(archive: ZipFile, chapters: set[str]) -> None:
    """Raise `ReadError` where chapters are encrypted; fonts often are, and hide nothing."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    for entry in parse_xml(archive.read("META-INF/encryption.xml")).iter("{*}EncryptedData"):
        method, reference = entry.find("{*}EncryptionMethod"), next(entry.iter("{*}CipherReference"), None)
        hidden = method is None or method.get("Algorithm") not in _FONT_ALGORITHMS
        if hidden and reference is not None and _resolve("", reference.get("URI", "")) in chapters:
            hint = "ask its publisher for a copy without DRM, or leave it out with ingest.exclude"
            raise ReadError("the book is encrypted (DRM)", hint)
