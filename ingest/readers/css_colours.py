"""What colours of CSS look like on a screen, and what pictures made of colours do. Source: CSS Color 4 and 5."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ingest.readers.css_math import SUBSTITUTED, InvalidValue, Measure, Node, UnknownValue, amount, on_its_own, split
from ingest.readers.css_values import components
from ingest.readers.unseen import BLACK, WHITE, Colour, alike

Shade = tuple[Colour | None, float]  # the colour, None where it is not known, and its alpha

_SYSTEM = {"canvas": WHITE, "field": WHITE, "window": WHITE, "canvastext": BLACK, "fieldtext": BLACK}
_OTHER_SYSTEM = frozenset(
    "accentcolor accentcolortext activetext buttonborder buttonface buttontext graytext highlight highlighttext "
    "linktext mark marktext selecteditem selecteditemtext visitedtext activeborder activecaption appworkspace "
    "background buttonhighlight buttonshadow captiontext inactiveborder inactivecaption inactivecaptiontext "
    "infobackground infotext menu menutext scrollbar threeddarkshadow threedface threedhighlight threedlightshadow "
    "threedshadow windowframe windowtext -webkit-link -webkit-activelink -webkit-focus-ring-color -webkit-text "
    "-internal-light-dark".split()
)
_CHANNELS = {"rgb": "rgb", "rgba": "rgb", "hsl": "hsl", "hsla": "hsl", "hwb": "hwb", "lab": "lab", "oklab": "lab",
             "lch": "lch", "oklch": "lch"}  # fmt: skip
_UNRECKONED = frozenset(("contrast-color", "color-layers", "alpha", "device-cmyk"))
_MIXED_IN = frozenset(
    "srgb srgb-linear display-p3 display-p3-linear a98-rgb prophoto-rgb rec2020 lab oklab xyz xyz-d50 xyz-d65 hsl hwb "
    "lch oklch".split()
)
_PICTURES = frozenset(
    "url image image-set -webkit-image-set cross-fade -webkit-cross-fade element paint -webkit-gradient "
    "-webkit-linear-gradient -webkit-radial-gradient -webkit-repeating-linear-gradient "
    "-webkit-repeating-radial-gradient".split()
)
_GRADIENTS = frozenset(
    f"{often}{kind}-gradient" for often in ("", "repeating-") for kind in ("linear", "radial", "conic")
)
_FROM_XYZ = {  # to linear sRGB
    "xyz-d65": ((3.24045, -1.53714, -0.49853), (-0.96927, 1.87601, 0.04156), (0.05564, -0.20403, 1.05723)),
    "xyz-d50": ((3.13386, -1.61687, -0.49061), (-0.97877, 1.91614, 0.03345), (0.07195, -0.22899, 1.40524)),
}  # fmt: skip
_SPACES = {"oklab": "xyz-d65", "oklch": "xyz-d65", "lab": "xyz-d50", "lch": "xyz-d50"}
_UNITS = {"percentage": "%", "angle": "deg", "length": "px"}
_DEEPEST = 8


@lru_cache(maxsize=4096)
def colour_of(value: str) -> Shade:
    """A colour and its alpha; (None, 1) where it is not known."""
    import tinycss2

    try:
        return shade(tinycss2.parse_one_component_value(value, skip_comments=True))
    except (InvalidValue, UnknownValue):
        return None, 1.0


def shade(node: Node, depth: int = 0) -> Shade:
    """The colour of a component value. Raises `InvalidValue` and `UnknownValue`."""
    from tinycss2.color4 import parse_color

    if depth > _DEEPEST:
        raise UnknownValue
    if node.type == "function":
        return _function(node, depth)
    if node.type == "ident" and node.lower_value in _SYSTEM:
        return _SYSTEM[node.lower_value], 1.0
    if node.type == "ident" and (node.lower_value in _OTHER_SYSTEM or node.lower_value == "currentcolor"):
        raise UnknownValue
    found: Any = parse_color(node) if node.type in ("ident", "hash") else None
    if found is None:
        raise InvalidValue
    return _srgb(found), found.alpha


def _function(node: Node, depth: int) -> Shade:
    name = node.lower_name
    if name in SUBSTITUTED or name.startswith("--") or name in _UNRECKONED:
        raise UnknownValue
    if name == "light-dark":  # what it is on a screen of dark things is for who calls
        light, _ = _pair([_shade_of(part, depth) for part in split(node.arguments)])
        return light
    if name == "color-mix":
        return _mixed(split(node.arguments), depth)
    values = [each for each in node.arguments if each.type not in ("whitespace", "comment")]
    if not values or (name not in _CHANNELS and name != "color"):
        raise InvalidValue
    if values[0].type == "ident" and values[0].lower_value == "from":
        return _relative(name, values[1:], depth)
    return _written(name, values, {})


def _pair(found: Sequence[Shade]) -> tuple[Shade, Shade]:
    if len(found) != 2:
        raise InvalidValue
    return found[0], found[1]


def _shade_of(nodes: Sequence[Node], depth: int) -> Shade:
    if len(nodes) != 1:
        raise InvalidValue
    return shade(nodes[0], depth + 1)


def _written(name: str, values: Sequence[Node], names: dict[str, float]) -> Shade:
    """A colour of a function, whose arguments may be reckoned."""
    import tinycss2
    from tinycss2.color4 import parse_color

    written: Any = tinycss2.parse_one_component_value(f"{name}({_plain(name, values, names)})")
    found: Any = parse_color(written)
    if found is None:
        raise InvalidValue
    return _srgb(found), found.alpha


def _plain(name: str, values: Sequence[Any], names: dict[str, float]) -> str:
    """The arguments of a colour, functions and channels' names replaced by what they come to."""
    texts: list[str] = []
    percent = (
        0.0
        if any(node.type == "literal" and node.value == "," for node in values)
        else {"rgb": 2.55, "rgba": 2.55, "hsl": 1.0, "hsla": 1.0}.get(name, 0.0)
    )
    node: Any
    for node in values:
        if node.serialize() == "/":
            percent = 0.0
        if percent and node.type == "percentage":  # numbers may stand beside it, which the parser does not take
            texts.append(f"{float(node.value) * percent:.6f}")
        elif node.type == "function":
            value, kind = on_its_own(amount(node, Measure(names=tuple(names.items()))))
            texts.append(f"{value:.6f}{_UNITS.get(kind, '')}")
        elif node.type == "ident" and node.lower_value in names:
            texts.append(f"{names[node.lower_value]:.6f}")
        else:
            texts.append(node.serialize())
    return " ".join(texts)


def _relative(name: str, values: Sequence[Node], depth: int) -> Shade:
    """A colour made from the channels of another."""
    if not values:
        raise InvalidValue
    origin, alpha = shade(values[0], depth + 1)
    values = values[1:]
    if origin is None:
        raise UnknownValue
    space = ""
    if name == "color":
        if not values or values[0].type != "ident":
            raise InvalidValue
        space, values = values[0].lower_value, values[1:]
    channels = "xyz" if space.startswith("xyz") else "rgb" if space else _CHANNELS[name]
    said = [node.lower_value if node.type == "ident" else "" for node in values]
    if said == list(channels):
        return origin, alpha
    red, green, blue = origin
    if channels == "rgb" and space in ("", "srgb"):
        scale = 1.0 if space else 255.0
        names = dict(zip(channels, (red * scale, green * scale, blue * scale), strict=True))
    elif channels == "hsl":
        hue, light, full = colorsys.rgb_to_hls(red, green, blue)
        names = {"h": hue * 360, "s": full * 100, "l": light * 100}
    elif channels == "hwb":
        names = {
            "h": colorsys.rgb_to_hsv(red, green, blue)[0] * 360,
            "w": min(origin) * 100,
            "b": 100 - max(origin) * 100,
        }
    else:
        raise UnknownValue
    names["alpha"] = alpha
    if not any(node.type == "literal" for node in values):
        values = [*values, *_nodes(f"/ {alpha:.6f}")]
    return _written(name, [*_nodes(space), *values] if space else values, names)


def _nodes(text: str) -> list[Node]:
    import tinycss2

    return [node for node in tinycss2.parse_component_value_list(text) if node.type != "whitespace"]


def _mixed(parts: list[list[Node]], depth: int) -> Shade:
    """`color-mix()` of two; spaces other than sRGB only where both are alike, or one is left out."""
    space = ""
    if parts and parts[0] and parts[0][0].type == "ident" and parts[0][0].lower_value == "in":
        named = parts.pop(0)
        if len(named) < 2 or named[1].type != "ident" or named[1].lower_value not in _MIXED_IN:
            raise InvalidValue
        space = named[1].lower_value
    found = [_part_of(part, depth) for part in parts]
    if len(found) != 2:
        raise UnknownValue
    (one, first), (two, second) = found
    if first is None and second is None:
        first = second = 50.0
    first = 100 - (second or 0.0) if first is None else first
    second = 100 - first if second is None else second
    total = first + second
    if not total:
        raise InvalidValue
    share, thinned = first / total, min(total / 100, 1.0)
    alpha = one[1] * share + two[1] * (1 - share)
    if alpha < 1e-6:
        return BLACK, 0.0
    if not share * one[1]:
        return two[0], alpha * thinned
    if not (1 - share) * two[1] or alike(one[0], two[0]):
        return one[0], alpha * thinned
    if one[0] is None or two[0] is None or space != "srgb":
        raise UnknownValue
    red, green, blue = (
        (a * one[1] * share + b * two[1] * (1 - share)) / alpha for a, b in zip(one[0], two[0], strict=True)
    )
    return (red, green, blue), alpha * thinned


def _part_of(part: Sequence[Node], depth: int) -> tuple[Shade, float | None]:
    """A colour of `color-mix()` and its share in percent, where that is said."""
    shares = [node for node in part if node.type == "percentage"]
    rest = [node for node in part if node.type != "percentage"]
    if len(shares) > 1 or any(not 0 <= node.value <= 100 for node in shares):
        raise InvalidValue
    if len(rest) > 1:
        raise UnknownValue  # a share that is reckoned
    return _shade_of(rest, depth), shares[0].value if shares else None


def _srgb(colour: Any) -> Colour | None:
    """The nearest colour that a screen shows; None where it cannot be told."""
    if colour.space in ("srgb", "hsl", "hwb"):
        red, green, blue = (min(max(each, 0.0), 1.0) for each in colour.to("srgb").coordinates)
        return red, green, blue
    coordinates = tuple(each or 0.0 for each in colour.coordinates)
    if colour.space == "srgb-linear":
        red, green, blue = map(_gamma, coordinates)
        return red, green, blue
    space = _SPACES.get(colour.space, colour.space)
    if space in _FROM_XYZ:
        xyz = colour.to(space).coordinates
        red, green, blue = (_gamma(sum(a * b for a, b in zip(row, xyz, strict=True))) for row in _FROM_XYZ[space])
        return red, green, blue
    red, green, blue = (min(max(each, 0.0), 1.0) for each in coordinates)
    return (red, green, blue) if red == green == blue else None  # white and black are the same in each space


def _gamma(level: float) -> float:
    level = min(max(level, 0.0), 1.0)
    return 12.92 * level if level <= 0.0031308 else 1.055 * level ** (1 / 2.4) - 0.055


# --- pictures --------------------------------------------------------------------------------------------------------


def is_picture(node: Node) -> bool:
    """Whether a component value is an image; a colour or a word is none."""
    return node.type == "url" or (node.type == "function" and node.lower_name in _PICTURES | _GRADIENTS)


@lru_cache(maxsize=1024)
def picture_colour(value: str) -> Shade:
    """The one colour of a gradient that fills a box; alpha 0 where there is no picture, None where it is not known."""
    nodes: Any = components(value)
    if len(nodes) == 1 and nodes[0].type == "ident" and nodes[0].lower_value in ("none", "initial", "unset", "revert"):
        return None, 0.0
    if len(nodes) != 1 or nodes[0].type != "function" or nodes[0].lower_name not in _GRADIENTS:
        return None, 1.0
    shades: list[Shade] = []
    for part in split(nodes[0].arguments):
        for node in part:
            try:
                shades.append(shade(node))
            except InvalidValue:  # a place, a direction, a shape
                continue
            except UnknownValue:
                return None, 1.0
    first = shades[0] if shades else (None, 1.0)
    if all(one[1] < 0.05 for one in shades) and shades:
        return None, 0.0
    same = all(alike(one[0], first[0]) and one[1] > 0.95 for one in shades)
    return first if same else (None, 1.0)


@lru_cache(maxsize=1024)
def shadow_colours(value: str) -> tuple[Shade, ...]:
    """The colours of a `text-shadow` or an outline; those of the letters themselves left out."""
    found: list[Shade] = []
    for part in split(components(value)):
        for node in part:
            if node.type == "ident" and node.lower_value in ("none", "currentcolor", "initial"):
                continue
            try:
                found.append(shade(node))
            except InvalidValue:  # a length
                continue
            except UnknownValue:
                found.append((None, 1.0))
    return tuple(found)
