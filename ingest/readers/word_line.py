"""The runs of a Word paragraph -> a line of text as the page shows it.

Raised characters, equations, symbols, fields and the marks of notes are written; what stands beside the line (text
boxes, charts, notes) is collected. Source: ISO/IEC 29500-1, 17.3 (paragraphs and runs), 17.16 (fields).
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.readers.alternative import informative, picture_text
from ingest.readers.equation_field import shown_by
from ingest.readers.equations import beside, linear
from ingest.readers.raised import lowered, raised
from ingest.readers.symbols import TICKED, UNTICKED, symbolic, unicode_of
from ingest.readers.word_numbers import value
from ingest.readers.word_unseen import HEIGHT

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_FIXED = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# Deleted and moved-away text, phonetic guides, properties, and elements that hold no text of the page.
_SKIPPED = frozenset(
    "del moveFrom rt rPr pPr sdtPr sdtEndPr delText posOffset footnoteRef endnoteRef annotationRef pgNum "
    "positionH positionV sizeRelH sizeRelV softHyphen lastRenderedPageBreak".split()
)
_NOTES = {"footnoteReference": "footnote", "endnoteReference": "endnote", "commentReference": "comment"}
_OF_PAGE = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES|SECTION)\b", re.I)
_OFF = ("0", "false", "off")


@dataclass(slots=True)
class Beside:
    """What was met in lines and stands elsewhere on the page, in order, until it is taken."""

    boxes: "list[Element]" = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # kind, id
    drawn: list[tuple[str, str]] = field(default_factory=list)  # chart or diagram, id of a relationship
    marks: dict[tuple[str, str], str] = field(default_factory=dict)  # of notes; "" for one with a mark of its own
    margin: bool = False  # the lines are those of a header or footer
    strange: int = 0  # symbols without a character


class _Line:
    def __init__(self, beside: Beside) -> None:
        self.beside = beside
        self.pieces: list[str] = []
        self.held, self.height = "", ""  # raised or lowered text that is not written yet
        self.fields: list[_Field] = []

    def say(self, text: str, height: str = "") -> None:
        if self.fields and not all(each.shown for each in self.fields):
            return
        if height != self.height:
            self.settle()
            self.height = height
        if height:
            self.held += text
        else:
            self.pieces.append(text)

    def settle(self) -> None:
        if self.held:
            before = "".join(self.pieces[-4:])[-60:]
            self.pieces.append((raised if self.height == "superscript" else lowered)(before, self.held))
        self.held = ""

    def walk(self, node: "Element", height: str = "", font: str = "") -> None:
        for child in node:
            tag = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
            if tag == "t":
                self.say(self.plain(child.text or "", font), height)
            elif tag == "r":
                self.walk(child, child.get(HEIGHT, ""), _font(child))
            elif tag in _FIXED:
                self.say(_FIXED[tag])
            elif tag and tag not in _SKIPPED:
                self.other(child, tag, height)

    def other(self, child: "Element", tag: str, height: str) -> None:
        """What is rarer than text, tabs and breaks."""
        if tag == "txbxContent":
            self.beside.boxes.append(child)
        elif tag in _NOTES:
            self.note(child, _NOTES[tag])
        elif tag in ("fldChar", "instrText", "fldSimple"):
            self.field(child, tag)
        elif tag in ("sym", "symEx"):
            self.say(self.plain(_char(child), _own(child, "font")), height)
        elif tag in ("oMath", "oMathPara"):
            self.settle()
            self.say(beside("".join(self.pieces[-1:]), linear(child)))
        elif tag == "AlternateContent":
            self.walk(chosen(child))
        elif tag == "chart":
            self.beside.drawn.append((tag, child.get(f"{_R}id", "")))
        elif tag == "relIds":
            self.beside.drawn.append((tag, child.get(f"{_R}dm", "")))
        elif tag == "textpath":
            self.say(child.get("string", ""))
        elif tag == "docPr":
            self.picture(picture_text(child))
        elif tag in ("shape", "rect") and not (child.find("{*}textbox") is not None):
            self.picture(informative(child.get("alt", "")))
            self.walk(child, height)
        else:
            self.walk(child, height)

    def picture(self, said: str) -> None:
        """The alternative text of a picture, apart from the words beside it."""
        if said:
            self.say(f" {said} ")

    def plain(self, text: str, font: str) -> str:
        """A text in Unicode; where its font is one of symbols, the letters stand for pictures."""
        if font and symbolic(font):
            text = unicode_of(text, font)
            self.beside.strange += text.count("\ufffd")
        return text

    def note(self, reference: "Element", kind: str) -> None:
        key = (kind, reference.get(f"{_W}id", ""))
        self.beside.notes.append(key)
        mark = self.beside.marks.get(key)  # none where the note has one of its own
        if kind != "comment" and mark:
            self.say(f" [{mark}]")

    def field(self, element: "Element", tag: str) -> None:
        kind = element.get(f"{_W}fldCharType", "")
        if tag == "instrText":
            if self.fields:
                self.fields[-1].code += element.text or ""
        elif tag == "fldSimple":
            if not (self.beside.margin and _OF_PAGE.match(element.get(f"{_W}instr", ""))):
                self.walk(element)
        elif kind == "begin":
            self.say(state := _filled(element))
            self.fields.append(_Field(said=bool(state)))
        elif self.fields and kind == "separate":
            here = self.fields[-1]
            here.shown = not here.said and not (self.beside.margin and _OF_PAGE.match(here.code))
        elif self.fields and kind == "end":
            ended = self.fields.pop()
            self.say("" if ended.shown else shown_by(ended.code))


@dataclass(slots=True)
class _Field:
    """A field that has begun: its code comes first, then what it shows."""

    code: str = ""
    shown: bool = False
    said: bool = False  # its value was, by its state, which some programs write as text too


def line_of(paragraph: "Element", beside: Beside) -> str:
    """The text of a paragraph, without the number before it; its line breaks stay."""
    line = _Line(beside)
    line.walk(paragraph)
    line.fields.clear()  # one that goes on in the next paragraph shows its text there
    line.say("")
    line.settle()
    return "".join(line.pieces)


def chosen(alternatives: "Element") -> "Element":
    """Of forms of the same thing the first (ISO/IEC 29500-3, 10.2.1), unless it is empty."""
    branches = [child for child in alternatives if isinstance(child.tag, str)]
    return next((branch for branch in branches if len(branch)), alternatives)


def fill_controls(root: "Element") -> tuple[int, int]:
    """Write the state of content controls as text: boxes as ☑ or ☐, and no prompt where nothing was filled in.

    How many controls hold a value, and how many are empty.
    """
    filled = empty = 0
    for control in root.iter(f"{_W}sdt"):
        about, content = control.find(f"{_W}sdtPr"), control.find(f"{_W}sdtContent")
        if about is None or content is None:
            continue
        box = about.find(f"{_W14}checkbox")
        texts = list(content.iter(f"{_W}t", f"{_W}sym"))
        if box is not None:
            _write(texts, TICKED if _is_on(box.find(f"{_W14}checked")) else UNTICKED)
            filled += 1
        elif _is_on(about.find(f"{_W}showingPlcHdr")):
            _write(texts, "")
            empty += 1
        elif any(about.find(f"{_W}{kind}") is not None for kind in ("text", "date", "comboBox", "dropDownList")):
            filled += 1
            if not any((text.text or "").strip() for text in texts):
                _write(texts, _chosen_value(about))
    return filled, empty


def _chosen_value(about: "Element") -> str:
    date = about.find(f"{_W}date")
    if date is not None:
        return date.get(f"{_W}fullDate", "").partition("T")[0]
    for kind in ("comboBox", "dropDownList"):
        listed = about.find(f"{_W}{kind}")
        last = listed.get(f"{_W}lastValue", "") if listed is not None else ""
        for item in listed if listed is not None and last else ():
            if item.get(f"{_W}value") == last:
                return item.get(f"{_W}displayText") or last
    return ""


def _write(texts: "list[Element]", said: str) -> None:
    for text in texts:
        text.tag, text.text = f"{_W}t", said
        said = ""
        run = text.getparent()
        fonts = run.find(f"{_W}rPr/{_W}rFonts") if run is not None else None
        if fonts is not None and symbolic(fonts.get(f"{_W}ascii", "")):
            fonts.getparent().remove(fonts)


def _is_on(toggle: "Element | None") -> bool:
    return toggle is not None and next(iter(toggle.attrib.values()), "1") not in _OFF


def _filled(begin: "Element") -> str:
    """The value of a form field of the old kind whose value is no text: a box, or the choice from a list."""
    data = begin.find(f"{_W}ffData")
    if data is None:
        return ""
    box, choice = data.find(f"{_W}checkBox"), data.find(f"{_W}ddList")
    if box is not None:
        state = box.find(f"{_W}checked")
        state = box.find(f"{_W}default") if state is None else state
        return TICKED if state is not None and state.get(f"{_W}val", "1") not in _OFF else UNTICKED
    if choice is not None:
        entries = [entry.get(f"{_W}val", "") for entry in choice.iterfind(f"{_W}listEntry")]
        number = value(choice, "result") or value(choice, "default") or "0"
        return entries[int(number)] if number.isdecimal() and len(number) < 6 and int(number) < len(entries) else ""
    return ""


def _char(symbol: "Element") -> str:
    code = _own(symbol, "char")
    return chr(int(code, 16)) if re.fullmatch(r"0?[0-9A-Fa-f]{2,5}", code) else ""


def _own(symbol: "Element", name: str) -> str:
    """An attribute of a symbol in the name space of the symbol: that of 2015 has characters beyond the basic plane."""
    return symbol.get(f"{str(symbol.tag).rpartition('}')[0]}}}{name}", "")


def _font(run: "Element") -> str:
    fonts = run.find(f"{_W}rPr/{_W}rFonts")
    return fonts.get(f"{_W}ascii", "") or fonts.get(f"{_W}hAnsi", "") if fonts is not None else ""
