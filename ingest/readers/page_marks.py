"""What stands in a line of a web page and is no plain text, written as a person reads it.

Raised and lowered characters, equations, the state of form fields, and pictures whose alternative text says something.
Each element is emptied and gets that as its text. Source: HTML Standard 4.5, 4.8.4, 4.10; MathML Core.
"""

import re
from itertools import islice
from typing import TYPE_CHECKING

from ingest.readers.alternative import says_nothing
from ingest.readers.equations import beside, linear
from ingest.readers.raised import lowered, raised
from ingest.readers.symbols import TICKED, UNTICKED
from ingest.readers.text import collapse

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_SHOWING_VALUE = frozenset(
    "text tel email url number date time datetime datetime-local month week search range color".split()
)
_TEX = re.compile(r"\s*\{\\displaystyle (.*)\}\s*", re.S)
_NOTE = re.compile(r"(?:foot|end)?note|reference|\bfn|\bref\b|cite|citation", re.I)
_FIELDS = frozenset(("input", "select", "textarea"))
_INLINE = frozenset(("a", "abbr", "b", "em", "font", "i", "span", "strong", "u", "code", "small"))
_BESIDE = 50  # pieces of text beside a picture that are compared
_LONGEST = 2000  # characters of an alternative text


def write_marks(root: "Element") -> None:
    """Write each of these elements of a page as text in its place."""
    for element in list(root.iter("math", "sup", "sub", "input", "select", "textarea", "img")):
        tag = str(element.tag)
        if tag == "math":
            said = _equation(element)
        elif tag in ("sup", "sub"):
            said = _shifted(element, tag)
        elif tag == "img":
            said = _picture(element)
        else:
            said = _field(element, tag)
        tail = element.tail
        if said and tag in _FIELDS:
            said = f" {said} "
        element.clear()
        element.tag, element.text, element.tail = "span", said, tail
    for button in root.iter("button"):  # it has an edge, whatever stands beside it
        button.text, button.tail = f" {button.text or ''}", f" {button.tail or ''}"
    for katex in root.xpath("//*[contains(concat(' ', @class, ' '), ' katex-html ')]"):
        before = katex.getprevious()
        if before is not None and "katex-mathml" in before.get("class", "") and collapse("".join(before.itertext())):
            katex.clear(keep_tail=True)  # the same once more, for the eye


def _equation(math: "Element") -> str:
    return beside(_before(math), linear(math) or collapse(math.get("alttext", "")))


def _shifted(element: "Element", tag: str) -> str:
    text = "".join(element.itertext())
    before = _before(element)
    if tag == "sub":
        return lowered(before, text)
    link = next(element.iter("a"), None)
    names = " ".join((element.get("class", ""), element.get("id", ""), element.get("role", "")))
    marked = bool(_NOTE.search(names)) or (link is not None and link.get("href", "").startswith("#"))
    return raised(before, text, marked)


def _before(element: "Element") -> str:
    """What stands before an element in its line."""
    previous = element.getprevious()
    if previous is not None:
        tail = previous.tail or ""
        return tail if tail.strip() or not isinstance(previous.tag, str) else "".join(previous.itertext())[-60:] + tail
    parent = element.getparent()
    if parent is None:
        return ""
    return parent.text if parent.text else _before(parent) if parent.tag in _INLINE else ""


def _field(element: "Element", tag: str) -> str:
    if tag == "textarea":
        return "".join(element.itertext()).strip()
    if tag == "select":
        chosen = [option for option in element.iter("option") if option.get("selected") is not None]
        return ", ".join(collapse("".join(option.itertext()) or option.get("label", "")) for option in chosen)
    kind = (element.get("type") or "text").strip().lower()
    if kind in ("checkbox", "radio"):
        return f"{TICKED if element.get('checked') is not None else UNTICKED} "
    return element.get("value", "") if kind in _SHOWING_VALUE else ""


def _picture(image: "Element") -> str:
    """The alternative text of a picture, where it says something that does not stand beside it."""
    said = collapse(image.get("alt", ""))[:_LONGEST]
    tex = _TEX.fullmatch(said)
    if tex:
        return tex[1]
    if not said or says_nothing(said):
        return ""
    if image.get("role") in ("presentation", "none") or image.get("aria-hidden") == "true":
        return ""
    frame = next((parent for parent in image.iterancestors("figure", "a", "li", "td", "p")), image.getparent())
    texts = islice(frame.itertext(), _BESIDE) if frame is not None else ()
    beside = collapse("".join(str(text)[:_LONGEST] for text in texts))
    return "" if said.casefold() in beside.casefold() else f" {said} "
