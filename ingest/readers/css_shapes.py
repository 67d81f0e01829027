"""What transforms and clips of CSS leave of a box. Sources: CSS Transforms 2, CSS Masking 1, CSS Shapes 1."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from ingest.readers.css_math import ENDLESS, InvalidValue, Measure, Node, UnknownValue, amount, split
from ingest.readers.css_values import components, edges

_FLAT = 0.05  # of the size of letters
_WIDTH, _HEIGHT = 500.0, 24.0  # px of a box, which percentages of its own size are of
_BOX = 1000.0  # px of each side of a box that is clipped
Matrix = tuple[tuple[float, ...], ...]
_ONE: Matrix = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))


def _times(a: Matrix, b: Matrix) -> Matrix:
    columns = tuple(zip(*b, strict=True))
    return tuple(tuple(sum(x * y for x, y in zip(row, column, strict=True)) for column in columns) for row in a)


def _with(**cells: float) -> Matrix:
    """The matrix that leaves all as it is, but for cells by row and column from 1: `m14=2.0`."""
    rows = [list(row) for row in _ONE]
    for place, value in cells.items():
        rows[int(place[1]) - 1][int(place[2]) - 1] = value
    return tuple(map(tuple, rows))


def _turned(x: float, y: float, z: float, degrees: float) -> Matrix:
    size = math.sqrt(x * x + y * y + z * z)
    if not size:
        return _ONE
    x, y, z = x / size, y / size, z / size
    s, c = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    t = 1 - c
    return (
        (t * x * x + c, t * x * y - s * z, t * x * z + s * y, 0.0),
        (t * x * y + s * z, t * y * y + c, t * y * z - s * x, 0.0),
        (t * x * z - s * y, t * y * z + s * x, t * z * z + c, 0.0),
        _ONE[3],
    )


def _values(parts: Sequence[Sequence[Node]], by: Sequence[float], kinds: Sequence[str], em: float) -> list[float]:
    """What arguments come to: `by` is the size that percentages are of, `kinds` what each has to be."""
    values: list[float] = []
    for at, part in enumerate(parts):
        if len(part) != 1 or at >= len(kinds):
            raise InvalidValue
        size = by[at] if at < len(by) else 0.0
        value, kind = amount(part[0], Measure(em, size / 100 if size else None))
        if kind == "percentage" and kinds[at] == "scale":
            value, kind = value / 100, "scale"
        wanted = "number" if kinds[at] == "scale" and kind != "scale" else kinds[at]
        if kind != wanted and not (kind == "number" and value == 0 and part[0].type == "number"):
            raise InvalidValue
        values.append(min(max(value, -ENDLESS), ENDLESS) if value == value else 0.0)
    return values


_L, _A, _S, _N = "length", "angle", "scale", "number"
# Of each function the least number of arguments, what they have to be, and the matrix that they come to.
_FUNCTIONS: dict[str, tuple[int, tuple[str, ...], Callable[..., Matrix]]] = {
    "translate": (1, (_L, _L), lambda x, y=0.0: _with(m14=x, m24=y)),
    "translatex": (1, (_L,), lambda x: _with(m14=x)),
    "translatey": (1, (_L,), lambda y: _with(m24=y)),
    "translatez": (1, (_L,), lambda z: _with(m34=z)),
    "translate3d": (3, (_L, _L, _L), lambda x, y, z: _with(m14=x, m24=y, m34=z)),
    "scale": (1, (_S, _S), lambda x, y=None: _with(m11=x, m22=x if y is None else y)),
    "scalex": (1, (_S,), lambda x: _with(m11=x)),
    "scaley": (1, (_S,), lambda y: _with(m22=y)),
    "scalez": (1, (_S,), lambda z: _with(m33=z)),
    "scale3d": (3, (_S, _S, _S), lambda x, y, z: _with(m11=x, m22=y, m33=z)),
    "rotate": (1, (_A,), lambda angle: _turned(0, 0, 1, angle)),
    "rotatex": (1, (_A,), lambda angle: _turned(1, 0, 0, angle)),
    "rotatey": (1, (_A,), lambda angle: _turned(0, 1, 0, angle)),
    "rotatez": (1, (_A,), lambda angle: _turned(0, 0, 1, angle)),
    "rotate3d": (4, (_N, _N, _N, _A), _turned),
    "skew": (1, (_A, _A), lambda *_: _ONE),
    "skewx": (1, (_A,), lambda _: _ONE),
    "skewy": (1, (_A,), lambda _: _ONE),
    "matrix": (6, (_N,) * 6, lambda a, b, c, d, e, f: ((a, c, 0.0, e), (b, d, 0.0, f), _ONE[2], _ONE[3])),
    "matrix3d": (16, (_N,) * 16, lambda *cells: tuple(cells[row::4] for row in range(4))),
    "perspective": (1, (_L,), lambda distance: _with(m43=-1 / max(distance, 1.0))),
}  # fmt: skip
_BY = {
    "translate": (_WIDTH, _HEIGHT),
    "translatex": (_WIDTH,),
    "translatey": (_HEIGHT,),
    "translate3d": (_WIDTH, _HEIGHT),
}


def _matrix(name: str, parts: list[list[Node]], em: float) -> Matrix:
    """The matrix of one function of `transform`. Raises `InvalidValue` and `UnknownValue`."""
    if name not in _FUNCTIONS:
        raise InvalidValue
    least, kinds, reckon = _FUNCTIONS[name]
    if name == "perspective" and [getattr(part[0], "lower_value", "") for part in parts if part] == ["none"]:
        return _ONE
    values = _values(parts, _BY.get(name, ()), kinds, em)
    if len(values) < least or (name == "perspective" and values[0] < 0):
        raise InvalidValue
    return reckon(*values)


def transform_of(name: str, nodes: Sequence[Node], em: float = 16.0) -> Matrix:
    """The matrix of `transform`, `translate`, `scale` or `rotate`. Raises `InvalidValue` and `UnknownValue`."""
    words = [node.lower_value for node in nodes if node.type == "ident"]
    if words and words[0] in ("none", "initial", "inherit", "unset", "revert", "revert-layer") and len(nodes) == 1:
        return _ONE
    parts = [[node] for node in nodes]
    if name == "rotate" and len(words) == 1 and len(nodes) == 2 and words[0] in ("x", "y", "z"):
        return _matrix(f"rotate{words[0]}", [part for part in parts if part[0].type != "ident"], em)
    if name == "rotate" and len(nodes) == 4:
        return _matrix("rotate3d", parts, em)
    if name in ("translate", "scale") and len(nodes) == 3:
        return _matrix(f"{name}3d", parts, em)
    if name != "transform":
        return _matrix(name, parts, em)
    found = _ONE
    for node in nodes:
        if node.type != "function":
            raise InvalidValue
        found = _times(found, _matrix(node.lower_name, split(node.arguments), em))
    return found


@lru_cache(maxsize=2048)
def moved(name: str, value: str, em: float = 16.0) -> tuple[float, float, bool]:
    """How far a transform moves something to the right and down, in px, and whether nothing of it is seen."""
    try:
        matrix = transform_of(name, components(value), em)
    except (InvalidValue, UnknownValue):
        return 0.0, 0.0, False
    found: list[tuple[float, float]] = []
    for x, y in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        at = [row[0] * x + row[1] * y + row[3] for row in matrix]
        if at[3] <= 1e-6:  # behind who looks
            return 0.0, 0.0, True
        found.append((at[0] / at[3], at[1] / at[3]))
    (left, top), (right, slope), (lean, below) = found
    area = abs((right - left) * (below - top) - (slope - top) * (lean - left))
    thin = min(math.hypot(right - left, slope - top), math.hypot(lean - left, below - top))
    return left, top, thin < _FLAT or area < _FLAT**2


# --- clips -----------------------------------------------------------------------------------------------------------

_SHAPES = frozenset(("inset", "circle", "ellipse", "polygon", "rect", "xywh"))
_ROUNDS = frozenset(("closest-side", "farthest-side", "closest-corner", "farthest-corner"))
_BOXES = frozenset(
    "border-box padding-box content-box margin-box fill-box stroke-box view-box none initial inherit unset revert "
    "revert-layer".split()
)


def _px(node: Node) -> float:
    value, kind = amount(node, Measure(percent=_BOX / 100))
    if kind != "length" and not (kind == "number" and value == 0 and node.type == "number"):
        raise InvalidValue
    return value


def clipped_to(nodes: Sequence[Node]) -> float:
    """What a `clip-path` leaves of a box, in px² of one of 1000 px: 0 where that is nothing.

    Raises `InvalidValue` and `UnknownValue`.
    """
    shapes = [node for node in nodes if node.type == "function"]
    others = [node for node in nodes if node.type != "function"]
    if any(node.type == "url" for node in others) or any(node.lower_name in ("path", "shape") for node in shapes):
        raise UnknownValue
    if len(shapes) > 1 or any(node.type != "ident" or node.lower_value not in _BOXES for node in others):
        raise InvalidValue
    if not shapes:
        return _BOX**2
    name = shapes[0].lower_name
    if name not in _SHAPES:
        amount(shapes[0], Measure())  # raises
        raise InvalidValue
    return _shape(name, split(shapes[0].arguments))


def _shape(name: str, parts: list[list[Node]]) -> float:
    if name == "polygon":
        return _polygon(parts)
    values = parts[0]
    words = [node.lower_value if node.type == "ident" else "" for node in values]
    for word in ("round", "at"):
        values = values[: words.index(word)] if word in words else values
    counts = {"circle": (0, 1), "ellipse": (0, 2), "inset": (1, 2, 3, 4)}
    if len(parts) != 1 or len(values) not in counts.get(name, (4,)):
        raise InvalidValue
    if name in ("circle", "ellipse"):
        radii = [_BOX if node.type == "ident" and node.lower_value in _ROUNDS else _px(node) for node in values]
        if any(each < 0 for each in radii):
            raise InvalidValue
        return math.pi * radii[0] * radii[-1] if radii else _BOX**2
    if name == "inset":
        top, right, bottom, left = edges([_px(node) for node in values])
        return _area(_BOX - left - right, _BOX - top - bottom)
    ends = [math.nan if node.type == "ident" and node.lower_value == "auto" else _px(node) for node in values]
    return _area(ends[2], ends[3]) if name == "xywh" else _rect(ends)


def _area(width: float, height: float) -> float:
    return width * height if min(width, height) > 1.5 else 0.0


def _rect(ends: Sequence[float]) -> float:
    top, right, bottom, left = (
        at if at == at else default for at, default in zip(ends, (0.0, _BOX, _BOX, 0.0), strict=True)
    )
    return _area(right - left, bottom - top)


def _polygon(parts: list[list[Node]]) -> float:
    if parts and len(parts[0]) == 1 and parts[0][0].type == "ident":
        parts = parts[1:]
    if not parts or any(len(part) != 2 for part in parts):
        raise InvalidValue
    points = [(_px(x), _px(y)) for x, y in parts]
    return abs(sum(a * d - c * b for (a, b), (c, d) in zip(points, [*points[1:], points[0]], strict=True))) / 2


def old_clip(nodes: Sequence[Node]) -> float:
    """What a `clip` leaves of a box, in px². Raises `InvalidValue` and `UnknownValue`."""
    if len(nodes) == 1 and nodes[0].type == "ident" and nodes[0].lower_value in _BOXES | {"auto"}:
        return _BOX**2
    if len(nodes) != 1 or nodes[0].type != "function" or nodes[0].lower_name != "rect":
        raise InvalidValue
    values = [node for part in split(nodes[0].arguments) for node in part]
    if len(values) != 4:
        raise InvalidValue
    return _rect([math.nan if node.type == "ident" and node.lower_value == "auto" else _px(node) for node in values])


@lru_cache(maxsize=1024)
def leaves_nothing(name: str, value: str) -> bool:
    """Whether a `clip` or `clip-path` cuts all text off."""
    try:
        return (old_clip if name == "clip" else clipped_to)(components(value)) <= 4.0
    except (InvalidValue, UnknownValue):
        return False
