"""What lies behind the text of a slide's shapes that are not filled: the background, where nothing else may.

Source: ISO/IEC 29500-1, 19.3.1.1 to 19.3.1.6 (background, map of colours), 20.1.2.3 (colours), 20.1.6 (theme).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from ingest.readers.package import parse_xml
from ingest.readers.unseen import WHITE, Colour, alike

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
    from pptx.slide import Slide

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_FILLS = ("solidFill", "gradFill", "blipFill", "pattFill", "grpFill")
_NAMED = {"white": WHITE, "black": (0.0, 0.0, 0.0)}
_FIRST_GROUND = 1001  # of the numbers by which a theme's grounds are named
_Place = tuple[int, int, int, int]  # left, top, right, bottom


class Ground:
    """The ground of a slide. What is not known for sure counts as another colour than the text's."""

    def __init__(self, slide: "Slide") -> None:
        layout = slide.slide_layout
        self.levels: list[Element] = [slide.element, layout.element, layout.slide_master.element]
        self.master = layout.slide_master

    def swallows(self, look: "Element") -> bool:
        """Whether a run of this look has the colour of the slide, and stands on nothing else."""
        colour = self._stated(look)
        if not alike(colour, self.colour):
            return False
        shape = next(look.iterancestors("{*}tc", "{*}sp"), None)
        if shape is None or shape.tag.endswith("}tc") or self._filled(shape):
            return False
        place = _place(shape)
        return not any(_overlap(place, _place(other)) for other in self._behind(shape))

    @cached_property
    def colour(self) -> Colour | None:
        """The colour of the background; None where it is a picture, runs from one to another, or is not known."""
        for level in self.levels:
            if (own := level.find("{*}cSld/{*}bg")) is None:
                continue
            stated, named = own.find("{*}bgPr"), own.find("{*}bgRef")
            if stated is not None:
                return self._stated(stated)
            number = named.get("idx", "") if named is not None else ""
            kinds = self._theme.find(".//{*}bgFillStyleLst") if self._theme is not None else None
            at = int(number) - _FIRST_GROUND if number.isdecimal() and len(number) < 6 else -1
            if named is None or kinds is None or not 0 <= at < len(kinds):
                return None
            plain = kinds[at].find(f"{_A}schemeClr[@val='phClr']")
            is_plain = kinds[at].tag == f"{_A}solidFill" and plain is not None and not len(plain)
            return self._colour(named) if is_plain else None
        return WHITE

    @cached_property
    def _theme(self) -> "Element | None":
        found = [
            rel for rel in self.master.part.rels.values() if rel.reltype.endswith("/theme") and not rel.is_external
        ]
        return parse_xml(found[0].target_part.blob) if found else None

    @cached_property
    def _map(self) -> dict[str, str]:
        """The names of colours on this slide, and those of the theme that they stand for."""
        own = (level.find("{*}clrMapOvr/{*}overrideClrMapping") for level in self.levels[:2])
        found = next((each for each in own if each is not None), self.levels[2].find("{*}clrMap"))
        return {} if found is None else {str(name): str(value) for name, value in found.attrib.items()}

    def _stated(self, of: "Element") -> Colour | None:
        fill = of.find(f"{_A}solidFill")
        return None if fill is None else self._colour(fill)

    def _colour(self, within: "Element") -> Colour | None:
        """The colour that stands in an element; None for one that is changed: made lighter, or transparent."""
        stated = within[0] if len(within) == 1 else None
        if stated is None or len(stated):
            return None
        kind, value = str(stated.tag).rpartition("}")[2], stated.get("val", "")
        if kind == "prstClr":
            return _NAMED.get(value)
        if kind == "schemeClr" and self._theme is not None:
            named = self._theme.find(f".//{{*}}clrScheme/{{*}}{self._map.get(value, value)}")
            return self._colour(named) if named is not None else None
        digits = stated.get("lastClr", "") if kind == "sysClr" else value if kind == "srgbClr" else ""
        try:
            red, green, blue = bytes.fromhex(digits)
        except ValueError:
            return None
        return red / 255, green / 255, blue / 255

    def _filled(self, shape: "Element") -> bool:
        """Whether a shape is filled, or may be by the place of the layout that it takes."""
        about = shape.find("{*}spPr")
        if about is not None and about.find(f"{_A}noFill") is not None:
            return False
        if _has_fill(shape):
            return True
        places = (other for level in self.levels[1:] for other in level.iter("{*}sp") if _takes_place(other))
        return _takes_place(shape) and any(map(_has_fill, places))

    def _behind(self, shape: "Element") -> "Iterator[Element]":
        """What is drawn before a shape, and covers the background."""
        for level in self.levels:
            for other in level.iter("{*}sp", "{*}pic", "{*}graphicFrame"):
                if other is shape:
                    break
                own = level is self.levels[0]
                if not other.tag.endswith("}sp") or (_has_fill(other) and (own or not _takes_place(other))):
                    yield other


def _has_fill(shape: "Element") -> bool:
    about, style = shape.find("{*}spPr"), shape.find("{*}style/{*}fillRef")
    if about is not None and any(about.find(f"{_A}{fill}") is not None for fill in _FILLS):
        return True
    unfilled = about is not None and about.find(f"{_A}noFill") is not None
    return style is not None and style.get("idx", "0") != "0" and not unfilled


def _takes_place(shape: "Element") -> bool:
    return shape.find("{*}nvSpPr/{*}nvPr/{*}ph") is not None


def _place(shape: "Element") -> _Place | None:
    """Where a shape is; None where its layout or a group says so, or it is turned."""
    frame = next((each for each in shape.iterfind("{*}spPr/{*}xfrm")), shape.find("{*}xfrm"))
    parent = shape.getparent()
    if frame is None or frame.get("rot", "0") != "0" or parent is None or not parent.tag.endswith("}spTree"):
        return None
    start, size = frame.find(f"{_A}off"), frame.find(f"{_A}ext")
    try:
        left, top = (int(start.get(name, "")) for name in "xy") if start is not None else (0, 0)
        width, height = (int(size.get(name, "")) for name in ("cx", "cy")) if size is not None else (0, 0)
    except ValueError:
        return None
    return left, top, left + width, top + height


def _overlap(one: _Place | None, other: _Place | None) -> bool:
    """Whether two places have a part in common, or may have."""
    if one is None or other is None:
        return True
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
