"""A Word 2003 XML document (WordprocessingML 2003, which many office systems export as .doc) as a present Word package.

The names are mostly those of today in another namespace; notes, comments, headers and lists stand in other places.
Source: WordprocessingML 2003 schema reference (Microsoft): wordDocument, lists, listPr, annotation, sectPr, auxHint.
"""

import re
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

from ingest.readers.symbols import symbolic, unicode_of

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

NAMESPACE = "http://schemas.microsoft.com/office/word/2003/wordml"
_OLD, _NEW = f"{{{NAMESPACE}}}", "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HINT = "{http://schemas.microsoft.com/office/word/2003/auxHint}"
_NOTE = "{http://schemas.microsoft.com/aml/2001/core}"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_R_ID = f"{{{_RELATION}}}id"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"
_CORE = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
_WORDML = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_KEPT = (NAMESPACE, "urn:schemas-microsoft-com:", _NOTE.strip("{}"))  # of other namespaces only the text
_TAGS = {"vmerge": "vMerge", "hmerge": "hMerge", "listPr": "numPr", "ilfo": "numId", "nfc": "numFmt"}
_ATTRIBUTES = {"h-ansi": "hAnsi", "fareast": "eastAsia", "drop-cap": "dropCap"}
_REVISIONS = {"Word.Insertion": "ins", "Word.Deletion": "del"}
_SIDES = {"odd": "default", "even": "even", "first": "first"}
# The numbers of the forms of ST_NumberFormat, in their order there.
_FORMS = (
    "decimal upperRoman lowerRoman upperLetter lowerLetter ordinal cardinalText ordinalText hex chicago "
    "ideographDigital japaneseCounting aiueo iroha decimalFullWidth decimalHalfWidth japaneseLegal "
    "japaneseDigitalTenThousand decimalEnclosedCircle decimalFullWidth2 aiueoFullWidth irohaFullWidth decimalZero "
    "bullet ganada chosung decimalEnclosedFullstop decimalEnclosedParen decimalEnclosedCircleChinese "
    "ideographEnclosedCircle ideographTraditional ideographZodiac ideographZodiacTraditional taiwaneseCounting "
    "ideographLegalTraditional taiwaneseCountingThousand taiwaneseDigital chineseCounting chineseLegalSimplified "
    "chineseCountingThousand"
).split()


def as_package(root: "Element") -> bytes:
    """The .docx package that says the same as a wordDocument element, which is no longer what it was."""
    import lxml.etree as etree

    _labels(root)
    etree.strip_tags(root, *_foreign(root))
    notes = _revised(root)
    _rename(root)
    parts: dict[str, Element] = {}
    for kind in ("footnote", "endnote"):
        found = [note for note in root.iter(_NEW + kind) if not _is_in(note, f"{kind}Pr")]
        notes[kind] = [_moved(note, f"{kind}Reference", note.tag, _id(i)) for i, note in enumerate(found)]
    for kind, each in notes.items():
        parts[f"{kind}s"] = _part(f"{kind}s", each)
        for i, note in enumerate(each):
            note.attrib.update(_id(i))
    margins = [margin for margin in root.iter(f"{_NEW}hdr", f"{_NEW}ftr") if _is_in(margin, "sectPr")]
    for number, margin in enumerate(margins, start=1):
        name = "header" if margin.tag == f"{_NEW}hdr" else "footer"
        side = _SIDES.get(margin.get(f"{_NEW}type", "odd"), "default")
        parts[f"{name}{number}"] = _moved(
            margin, f"{name}Reference", margin.tag, {f"{_NEW}type": side, _R_ID: f"{name}{number}"}
        )
    for old, name in (("styles", "styles"), ("lists", "numbering"), ("docPr", "settings")):
        element = root.find(_NEW + old)
        parts[name] = _part(name, [] if element is None else list(element))
    _number(parts["numbering"])
    body = root.find(f"{_NEW}body")
    parts["document"] = _part("document", [] if body is None else [body])
    return _zipped(parts, root)


def _labels(root: "Element") -> None:
    """Write the numbers of paragraphs that the file states, as Word does; where it does not, they are counted."""
    for about in root.iter(f"{_OLD}listPr"):
        hint, properties = about.find(f"{_HINT}t"), about.getparent()
        paragraph = properties.getparent() if properties is not None else None
        if hint is None or properties is None or paragraph is None or paragraph.tag != f"{_OLD}p":
            continue
        label = hint.get(f"{_HINT}val", "")
        font = about.find(f"{_HINT}font")
        name = font.get(f"{_HINT}val", "") if font is not None else ""
        label = unicode_of(label, name) if symbolic(name) else label
        about[:] = [_element(about, f"{_OLD}ilfo", {f"{_OLD}val": "0"})]
        run = _element(paragraph, f"{_OLD}r", {})
        text = _element(run, f"{_OLD}t", {})
        text.text = f"{label} " if re.search(r"[\w☐☑]", label) else "- "
        run.append(text)
        paragraph.insert(paragraph.index(properties) + 1, run)


def _foreign(root: "Element") -> set[str]:
    """The elements that only wrap others: sections, smart tags, and those of a schema of the user's own."""
    tags = {str(element.tag) for element in root.iter() if isinstance(element.tag, str)}
    wraps = {tag for tag in tags if not tag[1:].startswith(_KEPT) or "smarttags" in tag}
    return wraps | {f"{_NOTE}content"}


def _revised(root: "Element") -> "dict[str, list[Element]]":
    """Tracked changes by the names of today; comments, which stand in the text, are taken out."""
    comments: list[Element] = []
    for mark in list(root.iter(f"{_NOTE}annotation")):
        kind = mark.get(f"{_OLD}type", "")
        if kind in _REVISIONS:
            mark.tag = _OLD + _REVISIONS[kind]
        elif kind == "Word.Comment":
            author = mark.get(f"{_NOTE}author", "")
            comments.append(_moved(mark, "commentReference", f"{_NEW}comment", _id(len(comments))))
            comments[-1].set(f"{_NEW}author", author)
        else:
            mark.tag = f"{_OLD}proofErr"
    return {"comment": comments}


def _id(number: int) -> dict[str, str]:
    return {f"{_NEW}id": str(number + 1)}


def _moved(element: "Element", name: str, tag: str, attributes: Mapping[str, str]) -> "Element":
    """What an element holds as one of its own, the element left as a reference to it."""
    copy = _element(element, tag, {})
    copy[:] = list(element)
    tail = element.tail
    element.clear()
    element.tag, element.tail = _NEW + name, tail
    element.attrib.update(attributes)
    return copy


def _rename(root: "Element") -> None:
    for element in root.iter():
        name = str(element.tag)
        if name.startswith(_OLD):
            local = name.removeprefix(_OLD)
            element.tag = _NEW + _TAGS.get(local, local)
        for key in [key for key in element.attrib if str(key).startswith(_OLD)]:
            local = str(key).removeprefix(_OLD)
            element.set(_NEW + _ATTRIBUTES.get(local, local), element.attrib.pop(key))
        if element.tag == f"{_NEW}numFmt":
            number = element.get(f"{_NEW}val", "0")
            known = number.isdecimal() and int(number) < len(_FORMS)
            element.set(f"{_NEW}val", _FORMS[int(number)] if known else "none" if number == "255" else "decimal")
        elif element.tag == f"{_NEW}suff":
            element.set(f"{_NEW}val", element.get(f"{_NEW}val", "").lower())
        elif element.tag == f"{_NEW}style" and element.get(f"{_NEW}default") == "on":
            element.set(f"{_NEW}default", "1")


def _number(numbering: "Element") -> None:
    """The definitions of lists by the names of today."""
    for definition in numbering.iterchildren(f"{_NEW}listDef"):
        definition.tag = f"{_NEW}abstractNum"
        definition.set(f"{_NEW}abstractNumId", definition.get(f"{_NEW}listDefId", ""))
    for one in numbering.iterchildren(f"{_NEW}list"):
        one.tag = f"{_NEW}num"
        one.set(f"{_NEW}numId", one.get(f"{_NEW}ilfo", ""))
        for kind in one.iterchildren(f"{_NEW}ilst"):
            kind.tag = f"{_NEW}abstractNumId"


def _element(near: "Element", tag: str, attributes: Mapping[str, str]) -> "Element":
    return near.makeelement(tag, dict(attributes), {})


def _is_in(element: "Element", name: str) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag == _NEW + name


def _part(name: str, children: "Iterable[Element]") -> "Element":
    import lxml.etree as etree

    part = etree.Element(_NEW + name, None, {"w": _NEW.strip("{}")})
    part[:] = list(children)
    return part


def _zipped(parts: "Mapping[str, Element]", root: "Element") -> bytes:
    import lxml.etree as etree

    def said(name: str) -> str:
        return "".join(root.itertext(f"{{urn:schemas-microsoft-com:office:office}}{name}")).strip()

    types = etree.Element(f"{{{_TYPES}}}Types", None, {None: _TYPES})
    etree.SubElement(types, f"{{{_TYPES}}}Default", {
        "Extension": "rels", "ContentType": "application/vnd.openxmlformats-package.relationships+xml",
    })  # fmt: skip
    core = etree.Element(f"{{{_CORE}}}coreProperties", None, {"cp": _CORE})
    for name, text in (
        ("{http://purl.org/dc/elements/1.1/}title", said("Title")), (f"{{{_CORE}}}keywords", said("Keywords")),
        ("{http://purl.org/dc/terms/}modified", said("LastSaved")),
    ):  # fmt: skip
        etree.SubElement(core, name).text = text
    etree.SubElement(types, f"{{{_TYPES}}}Override", {
        "PartName": "/docProps/core.xml", "ContentType": "application/vnd.openxmlformats-package.core-properties+xml",
    })  # fmt: skip
    links = etree.Element(f"{{{_LINKS}}}Relationships", None, {None: _LINKS})
    top = etree.Element(f"{{{_LINKS}}}Relationships", None, {None: _LINKS})
    _link(top, f"{_RELATION}/officeDocument", "d", "word/document.xml")
    _link(top, f"{_LINKS}/metadata/core-properties", "c", "docProps/core.xml")
    memory = BytesIO()
    with ZipFile(memory, "w") as package:
        for name, part in parts.items():
            kind = name.rstrip("0123456789")
            form = f"{_WORDML}.{'document.main' if kind == 'document' else kind}+xml"
            etree.SubElement(types, f"{{{_TYPES}}}Override", {"PartName": f"/word/{name}.xml", "ContentType": form})
            if kind != "document":
                _link(links, f"{_RELATION}/{kind}", name, f"{name}.xml")
            package.writestr(f"word/{name}.xml", etree.tostring(part))
        package.writestr("docProps/core.xml", etree.tostring(core))
        package.writestr("word/_rels/document.xml.rels", etree.tostring(links))
        package.writestr("_rels/.rels", etree.tostring(top))
        package.writestr("[Content_Types].xml", etree.tostring(types))
    return memory.getvalue()


def _link(links: "Element", kind: str, key: str, target: str) -> None:
    import lxml.etree as etree

    attributes = {"Id": key, "Type": kind, "Target": target}
    etree.SubElement(links, f"{{{_LINKS}}}Relationship", attributes)
