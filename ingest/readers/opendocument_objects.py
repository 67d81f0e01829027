"""Equations, charts and sheets that lie in an OpenDocument file as objects, written where they are shown.

Source: OpenDocument 1.3, part 3, 10.4.6 (draw:object) and 11 (charts), whose numbers stand in a table of their own.
"""

import posixpath
from typing import TYPE_CHECKING
from zipfile import ZipFile

from ingest.readers.equations import beside, linear
from ingest.readers.package import parse_xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_CHART = "{urn:oasis:names:tc:opendocument:xmlns:chart:1.0}"


def show_objects(content: "Element", archive: ZipFile | None) -> None:
    """Put the text of equations, and the titles and tables of charts and sheets, in the place of their objects."""
    for held in list(content.iter(f"{_DRAW}object")):
        frame = held.getparent()
        root = _root(held, archive)
        if root is None or frame is None or frame.tag != f"{_DRAW}frame":
            continue
        equation = next(root.iter("{*}math"), None)
        if equation is not None:
            _write(frame, linear(equation))
        else:
            _open(frame, root)


def _root(held: "Element", archive: ZipFile | None) -> "Element | None":
    """What an object is made of: within it, or in a member of the file."""
    if len(held):
        return held
    name = posixpath.normpath(held.get(_LINK, "")) + "/content.xml"
    return parse_xml(archive.read(name)) if archive is not None and name in archive.namelist() else None


def _write(frame: "Element", said: str) -> None:
    """A text in the place of a frame."""
    previous, parent, tail = frame.getprevious(), frame.getparent(), frame.tail
    before = (previous.tail if previous is not None else parent.text if parent is not None else "") or ""
    frame.clear()
    frame.tag, frame.text, frame.tail = f"{_TEXT}span", beside(before, said), tail


def _open(frame: "Element", root: "Element") -> None:
    """A chart or a sheet as paragraphs and tables in a frame."""
    import lxml.etree as etree

    titles = ["".join(map(str, title.itertext())) for title in root.iter(f"{_CHART}title", f"{_CHART}subtitle")]
    tables = [table for table in root.iter("{*}table") if not any(up.tag == table.tag for up in table.iterancestors())]
    if not titles and not tables:
        return
    tail = frame.tail
    frame.clear()
    frame.tail = tail
    box = etree.SubElement(frame, f"{_DRAW}text-box")
    for title in titles:
        etree.SubElement(box, f"{_TEXT}p").text = title
    box.extend(tables)
