"""Values of CSS: lengths, sizes of letters, transforms, colours. Sources: CSS Values 4, Color 4, Transforms 2."""

import re
from typing import Any

from ingest.readers.unseen import BLACK, WHITE, Colour

FAR_PX = 500  # to the left or above of the page
_PX = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.945, "ch": 8.0, "ex": 8.0,
       "vw": 12.8, "vh": 8.0}  # fmt: skip
_SIZES = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
          "xx-large": 32.0}  # fmt: skip
_LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(%|[a-z]*)", re.I)
_TOKEN = re.compile(rf"\s*({_LENGTH.pattern}|[-+*/()])", re.I)
_CALC = re.compile(r"(?:-webkit-|-moz-)?calc\b", re.I)
_FAR_MOVED = re.compile(r"translate(?:[xy]|3d)?\([^)]*-\d{3,}(?:\.\d+)?(?:px|em|rem|%|vw|vh)")
_FUNCTION = re.compile(r"([a-z0-9]+)\(([^()]*)\)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?")
_FLAT = 0.05  # of the size of letters
_SYSTEM = {"canvas": WHITE, "field": WHITE, "window": WHITE, "canvastext": BLACK, "fieldtext": BLACK}
_FROM_XYZ = {  # to linear sRGB
    "xyz-d65": ((3.24045, -1.53714, -0.49853), (-0.96927, 1.87601, 0.04156), (0.05564, -0.20403, 1.05723)),
    "xyz-d50": ((3.13386, -1.61687, -0.49061), (-0.97877, 1.91614, 0.03345), (0.07195, -0.22899, 1.40524)),
}  # fmt: skip
_SPACES = {"oklab": "xyz-d65", "oklch": "xyz-d65", "lab": "xyz-d50", "lch": "xyz-d50"}


def number(value: str) -> float:
    """A number or a share; 1 where it is not known."""
    found = _LENGTH.fullmatch(value)
    if not found:
        return 1.0
    return float(found[1]) / (100 if found[2] == "%" else 1)


def length(value: str, em: float) -> float | None:
    """A length in px, percentages of a window 1280 px wide; None where it is not known."""
    value = value.strip()
    if "calc" in value:
        return _reckoned(_CALC.sub("", value), em)
    found = _LENGTH.fullmatch(value.split()[0]) if value else None
    return _scaled(found, em) if found else None


def _scaled(found: re.Match[str], em: float) -> float | None:
    number, unit = float(found[1]), found[2].lower()
    scale = {"": 1.0, "em": em, "rem": 16.0, "%": 12.8} | _PX
    return number * scale[unit] if unit in scale else None


def _reckoned(expression: str, em: float) -> float | None:
    """What a `calc()` without its name comes to; None where it is not known."""
    tokens: list[str] = []
    at = 0
    expression = expression.strip()
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if not found or len(tokens) > 100:
            return None
        sign = found[1][0] in "+-" and len(found[1]) > 1 and tokens and tokens[-1] not in "(+-*/"
        tokens += [found[1][0], found[1][1:]] if sign else [found[1]]
        at = found.end()
    try:
        return _sum(tokens, em)
    except (IndexError, ValueError, ZeroDivisionError, OverflowError):
        return None


def _sum(tokens: list[str], em: float) -> float:
    total = _product(tokens, em)
    while tokens and tokens[0] in "+-":
        total += _product(tokens, em) if tokens.pop(0) == "+" else -_product(tokens, em)
    return total


def _product(tokens: list[str], em: float) -> float:
    total = _factor(tokens, em)
    while tokens and tokens[0] in "*/":
        if tokens.pop(0) == "*":
            total *= _factor(tokens, em)
        else:
            total /= _factor(tokens, em)
    return total


def _factor(tokens: list[str], em: float) -> float:
    token = tokens.pop(0)
    if token == "(":
        total = _sum(tokens, em)
        if tokens.pop(0) != ")":
            raise ValueError
        return total
    if token == "-":
        return -_factor(tokens, em)
    found = _LENGTH.fullmatch(token)
    px = _scaled(found, em) if found else None
    if px is None:
        raise ValueError
    return px


def is_moved_away(value: str) -> bool:
    """Whether the value of `transform`, or of `translate` as a function, moves something off the page."""
    return bool(_FAR_MOVED.search(value))


def is_flattened(value: str) -> bool:
    """Whether the value of `transform` makes something so small or so flat that nobody sees it."""
    for name, inside in _FUNCTION.findall(value):
        numbers = [float(found) for found in _NUMBER.findall(inside)]
        if not numbers:
            continue
        if name in ("scale", "scalex", "scaley", "scale3d") and min(map(abs, numbers[:2])) < (
            _FLAT * (100 if "%" in inside else 1)
        ):
            return True
        if name == "matrix" and len(numbers) == 6:
            a, b, c, d = numbers[:4]
            if abs(a * d - b * c) < _FLAT**2:
                return True
        if (
            name == "matrix3d"
            and len(numbers) == 16
            and abs(numbers[0] * numbers[5] - numbers[1] * numbers[4]) < _FLAT**2
        ):
            return True
        if name in ("rotatex", "rotatey"):
            turns = numbers[0] / {"turn": 1.0, "rad": 6.2832, "grad": 400.0}.get(re.sub(r"[^a-z]", "", inside), 360.0)
            if abs(abs(turns % 0.5 - 0.25)) < 0.005:
                return True
    return False


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
    if "calc" in value and "%" not in value:
        px = length(value, parent)
        return max(parent, 16.0) if px is None else px
    found = _LENGTH.fullmatch(value)
    if not found:
        return max(parent, 16.0)  # reckoned from what is not known
    return float(found[1]) * parent / 100 if found[2] == "%" else (length(value, parent) or 0.0)


def colour_of(value: Any) -> tuple[Colour | None, float]:
    """A colour and its alpha; (None, 1) where it is not known. `value` is text or a node of tinycss2."""
    from tinycss2.color4 import parse_color

    name = value if isinstance(value, str) else getattr(value, "lower_value", "")
    if name in _SYSTEM:
        return _SYSTEM[name], 1.0
    found: Any = parse_color(value)
    if found is None or isinstance(found, str):
        return None, 1.0
    return _srgb(found), found.alpha


def _srgb(colour: Any) -> Colour | None:
    """The nearest colour that a screen shows; None where it cannot be told."""
    if colour.space in ("srgb", "hsl", "hwb"):
        red, green, blue = colour.to("srgb").coordinates
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
    red, green, blue = coordinates
    return (red, green, blue) if red == green == blue else None  # white and black are the same in each space


def _gamma(level: float) -> float:
    level = min(max(level, 0.0), 1.0)
    return 12.92 * level if level <= 0.0031308 else 1.055 * level ** (1 / 2.4) - 0.055


def first_colour(value: str) -> tuple[Colour | None, float]:
    """The colour in a `background`; alpha 0 where there is none in it."""
    import tinycss2

    for node in tinycss2.parse_component_value_list(value):
        colour, alpha = colour_of(node)
        if colour or node.type == "function" or getattr(node, "lower_value", "") == "currentcolor":
            return colour, alpha
    return None, 0.0
