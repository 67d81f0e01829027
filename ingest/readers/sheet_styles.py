"""How the cells of an .xlsx look: the number format of each style, and why nobody sees what is written in it.

Source: ISO/IEC 29500-1, 18.8 (styles; 18.8.3 and 18.8.19 colours, 18.8.27 indexed ones), 20.1.6 (theme).
"""

import colorsys
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.readers.number_format import GENERAL, code_of
from ingest.readers.unseen import BLACK, SAME_COLOUR, STRUCK, TINY, WHITE, Colour, alike

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

CHECK_BOX = "check box"  # in the place of a number format: a box that shows a value of true or false
_INDEXED = ("000000", "FFFFFF", "FF0000", "00FF00", "0000FF", "FFFF00", "FF00FF", "00FFFF")  # 0 to 7, again 8 to 15
_TINY = 1  # point
_SYSTEM = {"64": BLACK, "65": WHITE}  # text and ground of a window
_THEME = ("lt1", "dk1", "lt2", "dk2", "accent1", "accent2", "accent3", "accent4", "accent5", "accent6")


@dataclass(frozen=True, slots=True)
class CellStyle:
    """A number format, why what is in the cell is left out ("" where it is seen), the colour behind it, where known."""

    code: str = GENERAL
    why: str = ""
    ground: Colour | None = WHITE


def cell_styles(styles: "Element", colours: "Colours") -> list[CellStyle]:
    """The styles that cells name by their number. A colour that is not known counts as seen."""
    own = {form.get("numFmtId"): form.get("formatCode", GENERAL) for form in styles.iterfind("{*}numFmts/{*}numFmt")}
    fonts = {str(n): _font(font, colours) for n, font in enumerate(styles.iterfind("{*}fonts/{*}font"))}
    grounds = {str(n): _ground(fill, colours) for n, fill in enumerate(styles.iterfind("{*}fills/{*}fill"))}
    found = []
    for style in styles.iterfind("{*}cellXfs/{*}xf"):
        number = style.get("numFmtId", "0")
        code = own.get(number) or code_of(int(number) if number.isdecimal() else 0)
        if style.find("{*}extLst/{*}ext/{*}xfComplement") is not None:
            code = CHECK_BOX
        own_why, colour = fonts.get(style.get("fontId", ""), ("", BLACK))
        ground = grounds.get(style.get("fillId", ""), WHITE)
        why = SAME_COLOUR if alike(colour, ground) else ""
        found.append(CellStyle(code, own_why or why, ground))
    return found


def is_struck(font: "Element") -> bool:
    """Whether a font strikes out what is written in it."""
    line = font.find("{*}strike")
    return line is not None and line.get("val", "1") not in ("0", "false")


def is_tiny(font: "Element") -> bool:
    """Whether nobody can read what is written in a font, so small is it."""
    size = font.find("{*}sz")
    points = re.fullmatch(r"\d{1,3}(?:\.\d{1,9})?", size.get("val", "")) if size is not None else None
    return bool(points) and float(points[0]) <= _TINY


def _font(font: "Element", colours: "Colours") -> tuple[str, Colour | None]:
    """Why what is written in a font is left out, whatever its colour; and this."""
    stated = font.find("{*}color")
    why = STRUCK if is_struck(font) else TINY if is_tiny(font) else ""
    return why, BLACK if stated is None else colours.of(stated)


def _ground(fill: "Element", colours: "Colours") -> Colour | None:
    """The colour behind a cell; None where it is a pattern or runs from one colour to another."""
    pattern = fill.find("{*}patternFill")
    kind = "" if pattern is None else pattern.get("patternType", "none")
    if pattern is None or kind != "solid":
        return WHITE if kind == "none" else None
    stated = pattern.find("{*}fgColor")
    return None if stated is None else colours.of(stated)


class Colours:
    """Colours as styles state them: by their parts, by a number, or by their place in the theme."""

    def __init__(self, styles: "Element | None", theme: "Element | None") -> None:
        self.own = styles is not None and styles.find("{*}colors/{*}indexedColors") is not None
        self.theme: dict[str, Colour | None] = {}
        for number, name in enumerate(_THEME if theme is not None else ()):
            stated = theme.find(f".//{{*}}clrScheme/{{*}}{name}/*") if theme is not None else None
            said = "" if stated is None else stated.get("lastClr") or stated.get("val", "")
            self.theme[str(number)] = _of_parts(said)

    def swallows(self, look: "Element") -> bool:
        """Whether letters in a shape over a sheet have the colour that this is filled with."""
        shape = next(look.iterancestors("{*}sp"), None)
        about = shape.find("{*}spPr") if shape is not None else None
        return about is not None and alike(self._filling(look), self._filling(about))

    def _filling(self, of: "Element") -> Colour | None:
        """The colour that DrawingML fills something with, where it is a plain one."""
        stated = next(of.iterfind("{*}solidFill/*"), None)
        if stated is None or len(stated):
            return None
        value, kind = stated.get("val", ""), str(stated.tag).rpartition("}")[2]
        if kind == "schemeClr":
            name = {"bg1": "lt1", "tx1": "dk1", "bg2": "lt2", "tx2": "dk2"}.get(value, value)
            return self.theme.get(str(_THEME.index(name))) if name in _THEME else None
        return _of_parts(stated.get("lastClr", "") if kind == "sysClr" else value if kind == "srgbClr" else "")

    def of(self, stated: "Element") -> Colour | None:
        """The colour that an element states; None where it is not known."""
        number = stated.get("indexed", "")
        if rgb := stated.get("rgb"):
            found = _of_parts(rgb[-6:])
        elif place := stated.get("theme"):
            found = self.theme.get(place)
        elif number in _SYSTEM:
            found = _SYSTEM[number]
        elif not self.own and number.isdecimal() and int(number) < 2 * len(_INDEXED):
            found = _of_parts(_INDEXED[int(number) % len(_INDEXED)])
        else:
            return BLACK if stated.get("auto") in ("1", "true") else None
        return _tinted(found, stated.get("tint", "0"))


def _of_parts(digits: str) -> Colour | None:
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        return None
    return red / 255, green / 255, blue / 255


def _tinted(colour: Colour | None, tint: str) -> Colour | None:
    """A colour lightened, or darkened where the tint is below zero (18.8.19)."""
    try:
        share = float(tint)
    except ValueError:
        return None
    if colour is None or not -1 <= share <= 1:
        return None
    hue, light, full = colorsys.rgb_to_hls(*colour)
    return colorsys.hls_to_rgb(hue, light * (1 + share) if share < 0 else light * (1 - share) + share, full)
