"""XML that is running text (JATS, DocBook, TEI, FictionBook) -> the elements of a web page that say the same.

Sources: ANSI/NISO Z39.96 (JATS), DocBook 5.2, TEI P5, FictionBook 2.1. Only what places text is translated: headings,
paragraphs, lists, tables, notes, code, raised characters, equations; the text of any other element stays in its line.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_TAGS = {
    # paragraphs and blocks
    "p": "p", "para": "p", "simpara": "p", "formalpara": "div", "ab": "p", "l": "div", "lg": "p",
    "blockquote": "blockquote",
    "disp-quote": "blockquote", "quote": "span", "q": "span", "sp": "div", "speaker": "div", "abstract": "section",
    "sec": "section", "section": "section", "chapter": "section", "appendix": "section", "preface": "section",
    "part": "section", "article": "section", "book": "section", "simplesect": "section", "bridgehead": "h3",
    "note": "div", "warning": "div", "caution": "div", "tip": "div", "important": "div", "example": "div",
    "figure": "div", "fig": "div", "caption": "div", "table-wrap": "div", "informalexample": "div", "ack": "section",
    "boxed-text": "div", "statement": "div", "epigraph": "div", "div": "section", "body": "div", "back": "div",
    "opener": "div", "closer": "div", "salute": "div", "signed": "div", "dateline": "div", "fn": "div",
    "stanza": "div", "v": "div", "poem": "div", "cite": "blockquote", "text-author": "div", "empty-line": "br",
    # lists
    "list": "ul", "itemizedlist": "ul", "orderedlist": "ol", "simplelist": "ul", "procedure": "ol", "substeps": "ol",
    "list-item": "li", "listitem": "li", "member": "li", "step": "li", "item": "li", "variablelist": "dl",
    "def-list": "dl", "def-item": "div", "varlistentry": "div", "term": "dt", "def": "dd", "ref-list": "section",
    "ref": "p", "bibl": "p", "biblioentry": "p", "bibliomixed": "p", "listBibl": "div", "glossentry": "div",
    "glossterm": "dt", "glossdef": "dd",
    # tables
    "table": "table", "informaltable": "table", "thead": "thead", "tbody": "tbody", "tr": "tr", "row": "tr", "td": "td",
    "th": "th", "entry": "td", "cell": "td",
    # in a line
    "sup": "sup", "superscript": "sup", "sub": "sub", "subscript": "sub", "del": "del", "math": "math",
    "programlisting": "pre", "screen": "pre", "literallayout": "pre", "code-block": "pre", "eg": "pre", "br": "br",
    "lb": "br", "break": "br",
}  # fmt: skip
_HEADINGS = frozenset(("title", "head", "article-title", "chapter-title", "subtitle", "label"))
_SECTIONS = frozenset(
    "sec section simplesect chapter appendix preface part article book div abstract ack app ref-list bibliography "
    "glossary info articleinfo bookinfo chapterinfo title-group body front back".split()
)
_TITLED = frozenset(
    "title-group FictionBook article book chapter info articleinfo bookinfo titleStmt book-title-group part appendix "
    "set".split()
)
_NAMES = frozenset("name string-name personname persName author editor".split())
_DIVISIONS = re.compile(r"sect[1-5]|div[1-7]|refsect[1-3]")
_DROPPED = (
    "{*}journal-meta", "{*}permissions", "{*}counts", "{*}article-id", "{*}pub-date", "{*}history", "{*}xref-group",
    "{*}indexterm", "{*}figDesc", "{*}encodingDesc", "{*}revisionDesc", "{*}orig", "{*}sic", "{*}abbr", "{*}fw",
    "{*}graphic", "{*}inline-graphic", "{*}annotation", "{*}annotation-xml", "{*}colspec", "{*}email",
    "{*}self-uri", "{*}custom-meta-group", "{*}contrib-id", "{*}issn", "{*}elocation-id", "{*}related-article",
)  # fmt: skip
_ROOTS = {
    "article",
    "book",
    "chapter",
    "TEI",
    "TEI.2",
    "teiCorpus",
    "part",
    "sect1",
    "section",
    "appendix",
    "set",
    "FictionBook",
}
_TEX = re.compile(r"\\documentclass.*?\\begin\{document\}|\\end\{document\}", re.S)
_PARAGRAPHS = ("{*}p", "{*}para", "{*}simpara", "{*}ab", "{*}l")


def is_prose(root: "Element") -> bool:
    """Whether an XML file is running text in one of these forms."""
    return _local(root) in _ROOTS and next(root.iter(*_PARAGRAPHS), None) is not None


def as_page(root: "Element") -> "Element":
    """The elements of a web page for those of the file, in place; `root` is no longer what it was."""
    import lxml.etree as etree

    if _local(root) == "FictionBook":
        _open_book(root)
    _write_tex(root)
    etree.strip_elements(root, *_DROPPED, with_tail=False)
    names = {element: _local(element) for element in root.iter() if isinstance(element.tag, str)}
    title = next(
        (e for e, name in names.items() if name in ("article-title", "title") and "".join(e.itertext()).strip()), None
    )
    mixed = {element: _is_mixed(element) for element in names}
    for element, name in names.items():
        parent = element.getparent()
        above = names.get(parent, "") if parent is not None else ""
        if above == "math" or name == "math":
            names[element] = "math"  # and so all below it, which are read as they are
            element.tag = name
        elif element is title and above in _TITLED:
            element.tag = "h1"
        else:
            _translate(element, name, above, parent is not None and mixed[parent])
    return root


def _write_tex(root: "Element") -> None:
    """Equations of which there is but the source in TeX stay, without what only sets them."""
    for tex in list(root.iter("{*}tex-math")):
        formula = next((up for up in tex.iterancestors() if _local(up) in ("disp-formula", "inline-formula")), None)
        source = "".join(tex.itertext())
        if formula is not None and next(formula.iter("{*}math"), None) is not None:
            source = ""
        tail = tex.tail
        tex.clear()
        tex.text, tex.tail = _TEX.sub(" ", source).replace("$", "").strip(), tail


def _open_book(root: "Element") -> None:
    """Of what a FictionBook says of itself the title stays, before its text; pictures are taken out."""
    title = root.find("{*}description/{*}title-info/{*}book-title")
    for element in root.findall("{*}description") + root.findall("{*}binary") + root.findall("{*}stylesheet"):
        root.remove(element)
    if title is not None:
        title.tag, title.tail = "title", None
        root.insert(0, title)


def _translate(element: "Element", name: str, above: str, in_line: bool) -> None:
    """Give an element its tag. `in_line`: it stands among text."""
    if name in _HEADINGS:
        element.tag = _heading(element, name, above)
    elif name == "hi" and "sup" in element.get("rend", ""):
        element.tag = "sup"
    elif name == "list" and "ordered" in (element.get("type", ""), element.get("list-type", "")):
        element.tag = "ol"
    elif name == "emphasis" and element.get("role") in ("strikethrough", "strike"):
        element.tag = "del"
    elif _DIVISIONS.fullmatch(name):
        element.tag = "section"
    elif name in _TAGS:
        if name in ("entry", "cell"):
            _span(element)
        element.tag = "th" if name == "cell" and element.get("role") == "label" else _TAGS[name]
    else:
        parent = element.getparent()
        inside = parent is not None and (above in _NAMES or parent.tag == "span")
        element.tag = "span" if inside or in_line else "div"
        if above in _NAMES:
            element.tail = " " + (element.tail or "")


def _is_mixed(element: "Element") -> bool:
    """Whether an element holds text beside elements."""
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _heading(element: "Element", name: str, above: str) -> str:
    """A heading of its level, or a line where it names a figure, a table or a list."""
    if name == "label" or (name == "article-title" and above != "title-group"):
        return "span"
    if above in ("table", "informaltable"):
        return "caption"
    if above not in _SECTIONS and not _DIVISIONS.fullmatch(above):
        return "div"
    depth = sum(1 for up in element.iterancestors() if up.tag == "section")
    return f"h{min(max(depth, 1), 6)}"


def _span(element: "Element") -> None:
    """What a cell covers: CALS names columns and counts further rows, TEI counts both."""
    first, last = (re.search(r"\d{1,4}$", element.get(key, "")) for key in ("namest", "nameend"))
    if first and last:
        element.set("colspan", str(max(int(last[0]) - int(first[0]) + 1, 1)))
    more = element.get("morerows", "")
    if more.isdecimal() and len(more) < 5:
        element.set("rowspan", str(int(more) + 1))
    for key, name in (("cols", "colspan"), ("rows", "rowspan")):
        if element.get(key):
            element.set(name, element.get(key, "1"))


def _local(element: "Element") -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
