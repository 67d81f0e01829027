"""What the runs of a Word document look like: which nobody sees, which are struck out, and which are raised.

Nobody sees what is hidden, also by its row, its table's style or its shape, of the colour of its ground, tiny or
squeezed, without fill, or off the page.

A colour counts as that of its ground only where both are stated: tables with a style, text boxes and pages with large
pictures behind the text have grounds of their own. Text that is hidden in web layout alone (`webHidden`, as the page
numbers of contents are) stands on the page. Source: ISO/IEC 29500-1, 17.3.2 (run properties), 17.7 (styles).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ingest.readers.unseen import (
    DELETED,
    NOT_DISPLAYED,
    OUTSIDE,
    SAME_COLOUR,
    STRUCK,
    TINY,
    TRANSPARENT,
    WHITE,
    Colour,
    Unseen,
    alike,
)

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
HEIGHT = "height"  # the attribute that `leave_unseen` gives to raised and lowered runs
_V = "{urn:schemas-microsoft-com:vml}"
_TINY = 2  # half points
_NARROW = 5  # percent of the width of letters
_FLAT = 20  # twentieths of a point that a line is high
_LEFT_OF, _RIGHT_OF = -10_000, 31_680  # twentieths of a point: where no page is, which may be 22 inches wide
_THEME = {"background1": "FFFFFF", "light1": "FFFFFF", "text1": "000000", "dark1": "000000"}  # as all themes have them
_MOVED = 5  # half points off the line, from which on characters count as raised or lowered
_LARGE = 1_828_800  # EMU: two inches
_PLAIN_TABLES = frozenset(("", "TableNormal", "TableGrid"))
_HIDDEN_SHAPE = re.compile(r"visibility\s*:\s*hidden", re.I)
_HIGHLIGHTS = {
    "black": "000000", "blue": "0000FF", "cyan": "00FFFF", "darkBlue": "000080", "darkCyan": "008080",
    "darkGray": "808080", "darkGreen": "008000", "darkMagenta": "800080", "darkRed": "800000",
    "darkYellow": "808000", "green": "00FF00", "lightGray": "C0C0C0", "magenta": "FF00FF", "red": "FF0000",
    "white": "FFFFFF", "yellow": "FFFF00",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Look:
    """What a style or a run says; None: nothing."""

    hidden: bool | None = None
    struck: bool | None = None
    height: str | None = None
    colour: str | None = None
    half_points: int | None = None
    no_fill: bool = False
    shading: "Element | None" = None
    ground: "Element | None" = None  # of its paragraphs
    narrow: bool | None = None
    flat: bool | None = None  # its lines
    away: bool | None = None  # its paragraphs

    def over(self, other: "_Look") -> "_Look":
        """What the one says, and where it says nothing, the other."""
        return _Look(
            other.hidden if self.hidden is None else self.hidden,
            other.struck if self.struck is None else self.struck,
            self.height or other.height,
            other.colour if self.colour is None else self.colour,
            other.half_points if self.half_points is None else self.half_points,
            self.no_fill or other.no_fill,
            other.shading if self.shading is None else self.shading,
            other.ground if self.ground is None else self.ground,
            other.narrow if self.narrow is None else self.narrow,
            other.flat if self.flat is None else self.flat,
            other.away if self.away is None else self.away,
        )


class Looks:
    """The styles of a document, to judge its runs by."""

    def __init__(self, styles: "Element", body: "Element") -> None:
        self._styles = {style.get(f"{_W}styleId", ""): style for style in styles.iter(f"{_W}style")}
        kinds = {style.get(f"{_W}type"): key for key, style in self._styles.items() if style.get(f"{_W}default") == "1"}
        self._paragraph = kinds.get("paragraph", "")
        self._defaults = _look(styles.find(f"{_W}docDefaults/{_W}rPrDefault/{_W}rPr"), None)
        self.style = cache(self._style)
        self.is_plain = cache(self._is_plain)
        page = next(iter(body.iterancestors(f"{_W}document")), body).find(f"{_W}background")
        self._page: Colour | None = WHITE if page is None else _hex(page.get(f"{_W}color", "FFFFFF"))
        if any(_is_large(anchor) for anchor in body.iter("{*}anchor") if anchor.get("behindDoc") in ("1", "true")):
            self._page = None

    def _style(self, key: str) -> _Look:
        look, seen = _Look(), set[str]()
        while key in self._styles and key not in seen:
            seen.add(key)
            style = self._styles[key]
            look = look.over(_look(style.find(f"{_W}rPr"), style.find(f"{_W}pPr")))
            key = _value(style, "basedOn") or ""
        return look

    def _is_plain(self, key: str) -> bool:
        """Whether a run that says nothing of itself is seen in a paragraph of this style, and stands on the line."""
        look = self.style(key).over(self.style("")).over(self._defaults)
        tiny = look.half_points is not None and look.half_points <= _TINY
        coloured = look.colour not in (None, "auto")
        unseen = look.hidden or look.struck or tiny or look.no_fill or look.narrow or look.flat or look.away
        return not (unseen or look.height or coloured)

    def leave_unseen(self, root: "Element", unseen: Unseen) -> None:
        """Empty the texts of a part of the document that nobody sees or that are struck out, and count them.

        Runs that are raised or lowered get the attribute `HEIGHT`: superscript or subscript.
        """
        for deleted in root.iter(f"{_W}delText"):
            unseen.leave(deleted.text or "", DELETED)
        gone = set(_in_hidden(root))
        styled = {run for table in root.iter(f"{_W}tbl") if self._hides(table) for run in table.iter(f"{_W}r")}
        for run in root.iter(f"{_W}r"):
            texts = [text for text in run.iter(f"{_W}t", f"{_W}sym") if _run_of(text) is run]
            if not texts:
                continue
            why, height = (NOT_DISPLAYED, None) if run in gone else self._judged(run, run in styled)
            if why:
                unseen.leave("".join(text.text or "" for text in texts), why)
                for text in texts:
                    text.tag, text.text = f"{_W}t", ""
            elif height in ("superscript", "subscript"):
                run.set(HEIGHT, height)

    def _hides(self, table: "Element") -> bool:
        """Whether the style of a table hides what stands in it."""
        about = table.find(f"{_W}tblPr")
        return bool(about is not None and self.style(_value(about, "tblStyle") or "").hidden)

    def _judged(self, run: "Element", styled: bool) -> tuple[str, str | None]:
        """Why a run is left out, empty where it is not; and its height. `styled`: its table's style hides it."""
        properties = run.find(f"{_W}rPr")
        paragraph = next(run.iterancestors(f"{_W}p"), None)
        about = paragraph.find(f"{_W}pPr") if paragraph is not None else None
        key = (_value(about, "pStyle") if about is not None else None) or self._paragraph
        if properties is None and not styled and (about is None or not _moves(about)) and self.is_plain(key):
            return "", None
        own = _look(properties, about)
        below = self.style(key)
        letters = self.style((_value(properties, "rStyle") if properties is not None else None) or "")
        look = own.over(letters).over(below).over(self._defaults)
        if _toggled(own.hidden, letters.hidden, below.hidden, self._defaults.hidden or styled):
            return NOT_DISPLAYED, None
        if _toggled(own.struck, letters.struck, below.struck, self._defaults.struck):
            return STRUCK, None
        if look.away:
            return OUTSIDE, None
        if look.narrow or look.flat or (look.half_points is not None and look.half_points <= _TINY):
            return TINY, None
        if look.no_fill:
            return TRANSPARENT, None
        if look.colour not in (None, "auto") and alike(_hex(look.colour or ""), self._ground(look, run)):
            return SAME_COLOUR, None
        return "", look.height

    def _ground(self, look: _Look, run: "Element") -> Colour | None:
        """The colour behind a run; None where it is not known."""
        for shading in (look.shading, look.ground):
            if shading is not None and (found := _fill(shading)) != "auto":
                return _hex(found)
        for parent in run.iterancestors():
            tag = str(parent.tag).rpartition("}")[2]
            if tag == "txbxContent":
                return None
            if tag in ("tc", "tbl"):
                about = parent.find(f"{_W}{tag}Pr")
                shading = about.find(f"{_W}shd") if about is not None else None
                if shading is not None and (found := _fill(shading)) != "auto":
                    return _hex(found)
                if tag == "tbl" and about is not None and (_value(about, "tblStyle") or "") not in _PLAIN_TABLES:
                    return None
        return self._page


def _look(run: "Element | None", paragraph: "Element | None") -> _Look:
    ground, flat, away = None, None, None
    if paragraph is not None:
        ground, flat, away = paragraph.find(f"{_W}shd"), _is_flat(paragraph), _is_away(paragraph)
    if run is None:
        return _Look(ground=ground, flat=flat, away=away)
    size, width = _value(run, "sz"), (_value(run, "w") or "").removesuffix("%")
    highlight = run.find(f"{_W}highlight")
    shading = highlight if highlight is not None and highlight.get(f"{_W}val") != "none" else run.find(f"{_W}shd")
    return _Look(
        _on(run.find(f"{_W}vanish")),
        _struck(run),
        _height(run),
        _colour(run.find(f"{_W}color")),
        int(size) if size and size.isdecimal() else None,
        next(iter(run.findall("{*}textFill/{*}noFill")), None) is not None,
        shading,
        ground,
        int(width) <= _NARROW if width.isdecimal() and len(width) < 6 else None,
        flat,
        away,
    )


def _colour(stated: "Element | None") -> str | None:
    """The colour of letters; one of the theme counts before the one beside it."""
    if stated is None:
        return None
    tinted = stated.get(f"{_W}themeTint") or stated.get(f"{_W}themeShade")
    return (not tinted and _THEME.get(stated.get(f"{_W}themeColor", ""))) or stated.get(f"{_W}val")


def _in_hidden(root: "Element") -> "Iterator[Element]":
    """The runs of table rows and shapes that are hidden."""
    for row in root.iter(f"{_W}tr"):
        if _on(row.find(f"{_W}trPr/{_W}hidden")):
            yield from row.iter(f"{_W}r")
    for about in root.iter("{*}docPr"):
        if about.get("hidden") in ("1", "true"):
            yield from about.getparent().iter(f"{_W}r")
    for shape in root.iter(f"{_V}*"):
        if _HIDDEN_SHAPE.search(shape.get("style", "")):
            yield from shape.iter(f"{_W}r")


def _moves(paragraph: "Element") -> bool:
    """Whether a paragraph says itself where its lines stand, and how high they are."""
    return any(paragraph.find(f"{_W}{name}") is not None for name in ("spacing", "ind", "framePr"))


def _is_flat(paragraph: "Element") -> bool | None:
    spacing = paragraph.find(f"{_W}spacing")
    line = _number(spacing, "line")
    return None if spacing is None or line is None else spacing.get(f"{_W}lineRule") == "exact" and line <= _FLAT


def _is_away(paragraph: "Element") -> bool | None:
    """Whether a paragraph, or its frame, stands off every page."""
    frame, indent = paragraph.find(f"{_W}framePr"), paragraph.find(f"{_W}ind")
    if frame is None and indent is None:
        return None
    places = [_number(frame, "x"), _number(frame, "y"), _number(indent, "left"), _number(indent, "start")]
    return any(place is not None and not _LEFT_OF < place < _RIGHT_OF for place in places)


def _number(element: "Element | None", name: str) -> int | None:
    value = element.get(f"{_W}{name}", "") if element is not None else ""
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else None


def _toggled(own: bool | None, letters: bool | None, below: bool | None, first: bool | None) -> bool:
    """A property that is on or off; two styles that set it cancel each other (17.7.3)."""
    return own if own is not None else bool(first) or bool(letters) != bool(below)


def _struck(run: "Element") -> bool | None:
    marks = [_on(run.find(f"{_W}{name}")) for name in ("strike", "dstrike")]
    return None if marks == [None, None] else any(marks)


def _height(run: "Element") -> str | None:
    stated, moved = _value(run, "vertAlign"), _value(run, "position") or ""
    if stated or not re.fullmatch(r"-?\d{1,4}", moved) or abs(int(moved)) < _MOVED:
        return stated
    return "superscript" if int(moved) > 0 else "subscript"


def _on(toggle: "Element | None") -> bool | None:
    return None if toggle is None else toggle.get(f"{_W}val", "1") not in ("0", "false", "off")


def _fill(shading: "Element") -> str:
    """The colour of a shading or a highlight: hex digits, auto for none, nothing where it is a pattern."""
    value = shading.get(f"{_W}val", "")
    if shading.tag == f"{_W}highlight":
        return _HIGHLIGHTS.get(value, "")
    if theme := shading.get(f"{_W}themeFill"):
        tinted = shading.get(f"{_W}themeFillTint") or shading.get(f"{_W}themeFillShade")
        return shading.get(f"{_W}fill", "").replace("auto", "") if tinted or theme not in _THEME else _THEME[theme]
    if value == "solid":
        return shading.get(f"{_W}color", "")
    return shading.get(f"{_W}fill", "auto") if value in ("clear", "nil", "") else ""


def _hex(value: str) -> Colour | None:
    try:
        number = int(value, 16) if len(value) == 6 else -1
    except ValueError:
        number = -1
    return None if number < 0 else ((number >> 16) / 255, (number >> 8 & 255) / 255, (number & 255) / 255)


def _value(parent: "Element", name: str) -> str | None:
    child = parent.find(_W + name)
    return child.get(f"{_W}val") if child is not None else None


def _run_of(text: "Element") -> "Element | None":
    return next(text.iterancestors(f"{_W}r"), None)


def _is_large(anchor: "Element") -> bool:
    extent: Mapping[str, str] = next((dict(e.attrib) for e in anchor.iter("{*}extent")), {})
    sides = [extent.get(side, "0") for side in ("cx", "cy")]
    return all(side.isdecimal() and int(side) >= _LARGE for side in sides)
