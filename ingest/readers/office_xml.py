"""XML files: those that hold a whole Office document are read as it, all others as XML.

The forms: Excel and Word 2003 XML, Flat OPC (an Office package as one XML file, ISO/IEC 29500-2 and [MS-FLATOPC]), and
flat OpenDocument (OpenDocument 1.3, part 3, 3.1.2).
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.kind import FLAT_OPC, OPEN_DOCUMENT, kind_of, root_name
from ingest.readers import sheet_2003, sheet_ods, word_2003
from ingest.readers.encoding import decode
from ingest.readers.markup import parse, read_xml
from ingest.readers.office import read_docx
from ingest.readers.opendocument import read_odp, read_odt
from ingest.readers.package import stated_in
from ingest.readers.slides import read_pptx
from ingest.readers.table import read_sheets, workbook

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_PKG = f"{{{FLAT_OPC}}}"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_PICTURES = re.compile(r"(<(?:\w+:)?bin(?:ary)?-?[dD]ata\b[^<>]*+>)[^<>]{1000000,}+(?=<)")


def read_xml_file(data: bytes, cfg: IngestConfig) -> Document:
    """An XML file by what its root element is."""
    namespace, _ = root_name(data)
    if namespace == OPEN_DOCUMENT:
        return _open_document(data, cfg)
    if namespace not in (sheet_2003.NAMESPACE, word_2003.NAMESPACE, FLAT_OPC):
        return read_xml(data, cfg)
    source, encoding = decode(data, cfg, markup=True)
    root = parse(_PICTURES.sub(r"\1", source))
    if namespace == sheet_2003.NAMESPACE:
        about = root.find("{urn:schemas-microsoft-com:office:office}DocumentProperties")
        document = workbook(sheet_2003.sheets(root), _stated(about))
    elif namespace == word_2003.NAMESPACE:
        document = read_docx(word_2003.as_package(root), cfg)
    else:
        package = _package(root)
        read = {".docx": read_docx, ".pptx": read_pptx, ".xlsx": read_sheets}.get(kind_of(package))
        if read is None:
            raise ReadError("a flat Office package without a document", "save it again from Office")
        document = read(package, cfg)
    return replace(document, encoding=encoding)


def _open_document(data: bytes, cfg: IngestConfig) -> Document:
    root = parse(decode(data, cfg, markup=True)[0])
    body = root.find("{*}body")
    kinds = (
        {str(child.tag).rpartition("}")[2] for child in body if isinstance(child.tag, str)} if body is not None else ()
    )
    if "spreadsheet" in kinds:
        about = root.find("{*}meta")
        return workbook(sheet_ods.sheets(root), ((), "") if about is None else stated_in(about))
    return (read_odp if "presentation" in kinds else read_odt)(data, cfg)


def _stated(about: "Element | None") -> tuple[tuple[str, ...], str]:
    """Tags and date of the properties as Office 2003 calls them."""
    if about is None:
        return (), ""
    for child in about:
        name = str(child.tag).rpartition("}")[2]
        child.tag = {"LastSaved": "modified", "Keywords": "keywords", "Category": "category"}.get(name, "other")
    return stated_in(about)


def _package(root: "Element") -> bytes:
    """The package that a flat one stands for. It takes no more room than the file."""
    import lxml.etree as etree

    types = etree.Element(f"{{{_TYPES}}}Types", None, {None: _TYPES})
    etree.SubElement(types, f"{{{_TYPES}}}Default", {
        "Extension": "rels", "ContentType": "application/vnd.openxmlformats-package.relationships+xml",
    })  # fmt: skip
    memory = BytesIO()
    with ZipFile(memory, "w") as package:
        written = {"[content_types].xml"}
        for part in root.iterchildren(f"{_PKG}part"):
            name = part.get(f"{_PKG}name", "").lstrip("/")
            if not name or name.lower() in written:
                continue
            written.add(name.lower())
            if not name.endswith(".rels"):
                about = {"PartName": f"/{name}", "ContentType": part.get(f"{_PKG}contentType", "")}
                etree.SubElement(types, f"{{{_TYPES}}}Override", about)
            package.writestr(name, _content(part))
        package.writestr("[Content_Types].xml", etree.tostring(types))
    return memory.getvalue()


def _content(part: "Element") -> bytes:
    import lxml.etree as etree

    held = part.find(f"{_PKG}xmlData")
    if held is not None:
        return etree.tostring(held[0], with_tail=False) if len(held) else b""
    try:
        return b64decode(part.findtext(f"{_PKG}binaryData") or "")
    except (Base64Error, ValueError):  # a picture that is cut short
        return b""
