"""CSS as far as it decides what is seen: the declarations of style sheets and attributes, and what their values mean.

Sources: CSS Syntax 3, CSS Cascading 4, Media Queries 4, CSS Values 4, CSS Color 4.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.readers.unseen import BLACK, WHITE, Colour, alike

if TYPE_CHECKING:
    from tinycss2.ast import Node

FAR_PX = 500  # to the left or above of the page
_PX = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.945, "ch": 8.0, "ex": 8.0,
       "vw": 12.8, "vh": 8.0}  # fmt: skip
_SIZES = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
          "xx-large": 32.0}  # fmt: skip
_LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(%|[a-z]*)", re.I)
NOTHING_CLIPPED = re.compile(
    r"rect\(\s*0(?:px)?[\s,]+0(?:px)?[\s,]+0(?:px)?[\s,]+0(?:px)?\s*\)|rect\(\s*1px[\s,]+1px[\s,]+1px[\s,]+1px\s*\)"
    r"|inset\(\s*(?:[5-9]\d|\d{3,})(?:\.\d+)?%.*|circle\(\s*0(?:px|%)?[\s)].*|polygon\(\s*0 0\s*(?:,\s*0 0\s*)*\)"
)
NO_INK = re.compile(r"opacity\(\s*0*(?:\.0*)?%?\s*\)")
NO_SCALE = re.compile(r"scale(?:[xy]|3d)?\(\s*0(?:\.0+)?\s*[,)]")
FAR_MOVED = re.compile(r"translate(?:[xy]|3d)?\([^)]*-\d{3,}(?:\.\d+)?(?:px|em|rem|%)")
SIDES = ("left", "top", "right", "bottom", "text-indent", "margin-left", "margin-top")
_GROUPS = {
    name: group
    for group, names in {
        "display": "display",
        "struck": "text-decoration text-decoration-line",
        "visibility": "visibility",
        "opacity": "opacity filter",
        "size": "font font-size",
        "place": f"position transform clip clip-path {' '.join(SIDES)}",
        "box": "width height overflow overflow-x overflow-y",
        "color": "color background background-color background-image background-clip -webkit-background-clip "
        "text-shadow -webkit-text-fill-color -webkit-text-stroke",
    }.items()
    for name in names.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """The value of a property; one of a media query that may not hold is `maybe`."""

    name: str
    value: str
    important: bool
    maybe: bool = False


def rules_of(
    sheet: "str | list[Node]", maybe: bool = False, depth: int = 8
) -> "Iterator[tuple[list[Node], list[Declared]]]":
    """Selectors and declarations of each rule that counts on a screen, or may."""
    import tinycss2

    for rule in tinycss2.parse_rule_list(sheet, skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule":
            yield rule.prelude, list(declarations(rule.content, maybe))
        elif rule.type == "at-rule" and rule.content is not None and depth:
            name, query = rule.lower_at_keyword, tinycss2.serialize(rule.prelude)
            holds = on_screen(query) if name == "media" else "yes" if name in ("layer", "supports") else "no"
            if holds != "no":
                yield from rules_of(rule.content, maybe or holds == "maybe", depth - 1)


def on_screen(query: str) -> str:
    """Whether a media query holds for a screen: yes, no, or maybe."""
    parts = [part.strip().lower() for part in query.split(",")]
    if any(part in ("", "all", "screen", "only screen", "only all") for part in parts):
        return "yes"
    return "maybe" if any(not re.match(r"(?:only\s+)?(?:print|speech|tty|embossed|braille)|not\s+screen", p)
                          for p in parts) else "no"  # fmt: skip


def declarations(source: "str | list[Node]", maybe: bool = False) -> Iterator[Declared]:
    """What a style attribute or the body of a rule declares of what may hide something."""
    import tinycss2

    for node in tinycss2.parse_blocks_contents(source, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration" and group(node.lower_name):
            value = " ".join(tinycss2.serialize(node.value).split()).lower()
            yield Declared(node.lower_name, value, node.important, maybe)


def group(name: str) -> str:
    """The group of a property; nothing for one that hides nothing."""
    return _GROUPS.get(name, "")


def hides(declared: Declared) -> bool:
    """Whether a declaration can hide text by itself, colours left aside."""
    name, value = declared.name, declared.value
    if name in ("display", "visibility"):
        return value in ("none", "hidden", "collapse")
    if name in ("text-decoration", "text-decoration-line"):
        return "line-through" in value
    if name == "opacity":
        return number(value) < 0.05
    if name == "filter":
        return bool(NO_INK.search(value))
    if name in ("font", "font-size"):
        px = font_px(value if name == "font-size" else size_of(value), 16.0)
        return px < 8  # of em and percent several may lie in one another
    if name in SIDES:
        px = length(value, 16.0)
        return px is not None and px <= -FAR_PX
    if name in ("clip", "clip-path"):
        return bool(NOTHING_CLIPPED.fullmatch(value))
    if name == "transform":
        return bool(NO_SCALE.search(value) or FAR_MOVED.search(value))
    if name in ("width", "height"):
        px = length(value, 16.0)
        return px is not None and 0 <= px <= 1
    return False


def hiding_groups(declared: Iterable[Declared]) -> set[str]:
    """The groups of properties by which something may be hidden in a page."""
    found: set[str] = set()
    colours, grounds = {BLACK}, {WHITE}
    for each in set(declared):
        if hides(each):
            found.add(group(each.name))
        if each.name == "color":
            colour, alpha = colour_of(each.value)
            found |= {"color"} if alpha < 0.05 else set()
            colours |= {colour} if colour else set()
        elif each.name in ("background", "background-color"):
            ground, _ = first_colour(each.value)
            grounds |= {ground} if ground else set()
    if any(alike(colour, ground) for colour in colours for ground in grounds):
        found.add("color")
    return found | ({"place"} if "color" in found else set())


def number(value: str) -> float:
    """A number or a share; 1 where it is not known."""
    found = _LENGTH.fullmatch(value)
    if not found:
        return 1.0
    return float(found[1]) / (100 if found[2] == "%" else 1)


def length(value: str, em: float) -> float | None:
    """A length in px, percentages of a window 1280 px wide; None where it is not known."""
    found = _LENGTH.fullmatch(value.split()[0]) if value else None
    if not found:
        return None
    number, unit = float(found[1]), found[2].lower()
    scale = {"": 1.0, "em": em, "rem": 16.0, "%": 12.8} | _PX
    return number * scale[unit] if unit in scale else None


def size_of(font: str) -> str:
    """The size in a `font` shorthand."""
    sizes = (part.partition("/")[0] for part in font.split())
    found = ((size, _LENGTH.fullmatch(size)) for size in sizes)
    return next((size for size, match in found if match and (match[2] or not float(match[1]))), "")  # 700 is a weight


def font_px(value: str, parent: float) -> float:
    """A size of letters in px."""
    if not value or value in ("inherit", "smaller", "larger"):
        return parent
    if value in _SIZES:
        return _SIZES[value]
    found = _LENGTH.fullmatch(value)
    if not found:
        return max(parent, 16.0)  # reckoned from what is not known
    return float(found[1]) * parent / 100 if found[2] == "%" else (length(value, parent) or 0.0)


def colour_of(value: Any) -> tuple[Colour | None, float]:
    """A colour and its alpha; (None, 1) where it is not known. `value` is text or a node of tinycss2."""
    from tinycss2.color4 import parse_color

    found: Any = parse_color(value)
    if found is None or isinstance(found, str):
        return None, 1.0
    try:
        red, green, blue = found.to("srgb").coordinates
    except NotImplementedError:  # a colour space that it does not reckon in
        return None, 1.0
    return (red, green, blue), found.alpha


def first_colour(value: str) -> tuple[Colour | None, float]:
    """The colour in a `background`; alpha 0 where there is none in it."""
    import tinycss2

    for node in tinycss2.parse_component_value_list(value):
        colour, alpha = colour_of(node)
        if colour or node.type == "function" or getattr(node, "lower_value", "") == "currentcolor":
            return colour, alpha
    return None, 0.0
