"""What numbers, lengths and the functions of `calc()` come to. Source: CSS Values 4, 6 (units), 10 (mathematics)."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Node = Any  # of tinycss2, whose stated classes lack what theirs have
Amount = tuple[float, str]  # and its kind: number, percentage, length (px), angle (degrees)

ENDLESS = 1e9  # infinity on a screen
_PX = {
    "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 9.6 / 2.54, "q": 2.4 / 2.54, "rem": 16.0,
    "rex": 8.0, "rch": 8.0, "ric": 16.0, "rcap": 11.0, "rlh": 19.0,
}  # fmt: skip
_EM = {"em": 1.0, "ex": 0.5, "ch": 0.5, "ic": 1.0, "cap": 0.7, "lh": 1.2}
_DEGREES = {"deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
_CONTAINER = frozenset(("cqw", "cqh", "cqi", "cqb", "cqmin", "cqmax"))
_OTHER_UNITS = frozenset(("s", "ms", "hz", "khz", "dpi", "dpcm", "dppx", "x", "fr"))
SUBSTITUTED = frozenset(("var", "env", "attr", "if", "inherit", "random-item", "first-valid"))
_NOT_RECKONED = frozenset(
    "calc-size sibling-index sibling-count anchor anchor-size progress media-progress container-progress random".split()
)
_CONSTANTS = {"e": math.e, "pi": math.pi, "infinity": math.inf, "-infinity": -math.inf, "nan": math.nan}
_DEEPEST = 32


class InvalidValue(ValueError):
    """No value of its property: browsers drop the declaration."""


class UnknownValue(ValueError):
    """A value that counts, but what it comes to is not known here."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What relative units come to: px of an em and of one percent (None: percentages stand for themselves)."""

    em: float = 16.0
    percent: float | None = None
    width: float = 1280.0
    height: float = 800.0
    names: tuple[tuple[str, float], ...] = ()  # what words stand for


def amount(node: Node, by: Measure, depth: int = 0) -> Amount:
    """What a component value comes to. Raises `InvalidValue` and `UnknownValue`."""
    if node.type == "number":
        return node.value, "number"
    if node.type == "percentage":
        return (node.value, "percentage") if by.percent is None else (node.value * by.percent, "length")
    if node.type == "dimension":
        return _dimension(node.value, node.lower_unit, by)
    if node.type != "function":
        raise InvalidValue
    name, inside = node.lower_name, node.arguments
    if name in SUBSTITUTED or name.startswith("--") or name in _NOT_RECKONED or depth > _DEEPEST:
        raise UnknownValue
    if name in ("calc", "-webkit-calc"):
        return _sum(inside, by, depth + 1)
    if name not in _FUNCTIONS:
        raise InvalidValue
    return _FUNCTIONS[name](inside, by, depth + 1)


def on_its_own(found: Amount) -> Amount:
    """An amount as the whole value of a property: what is no number is 0, and nothing is endless."""
    value, kind = found
    return 0.0 if math.isnan(value) else min(max(value, -ENDLESS), ENDLESS), kind


def _dimension(value: float, unit: str, by: Measure) -> Amount:
    if unit in _PX:
        return value * _PX[unit], "length"
    if unit in _EM:
        return value * _EM[unit] * by.em, "length"
    if unit in _DEGREES:
        return value * _DEGREES[unit], "angle"
    if unit in _CONTAINER:
        raise UnknownValue
    side = unit[1:] if unit[:1] in "sld" and unit[1:2] == "v" else unit
    if side in ("vw", "vi"):
        return value * by.width / 100, "length"
    if side in ("vh", "vb"):
        return value * by.height / 100, "length"
    if side in ("vmin", "vmax"):
        return value * (min if side == "vmin" else max)(by.width, by.height) / 100, "length"
    if unit in _OTHER_UNITS:
        return value, "other"
    raise InvalidValue


def _sum(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    nodes = [node for node in nodes if node.type != "comment"]
    terms: list[tuple[float, list[Node]]] = [(1.0, [])]
    for at, node in enumerate(nodes):
        if node.type == "literal" and node.value in "+-":
            if not 0 < at < len(nodes) - 1 or not nodes[at - 1].type == nodes[at + 1].type == "whitespace":
                raise InvalidValue
            terms.append((1.0 if node.value == "+" else -1.0, []))
        elif node.type != "whitespace":
            terms[-1][1].append(node)
    amounts = [(sign, _product(term, by, depth)) for sign, term in terms]
    return sum(sign * value for sign, (value, _) in amounts), _kind([found for _, found in amounts])


def _product(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    if len(nodes) % 2 == 0:
        raise InvalidValue
    value, kind = _operand(nodes[0], by, depth)
    for sign, node in zip(nodes[1::2], nodes[2::2], strict=True):
        other, other_kind = _operand(node, by, depth)
        if sign.type != "literal" or sign.value not in "*/":
            raise InvalidValue
        if sign.value == "*":
            if "number" not in (kind, other_kind):
                raise UnknownValue
            value, kind = value * other, other_kind if kind == "number" else kind
            continue
        if kind == other_kind:
            kind = "number"
        elif other_kind != "number":
            raise UnknownValue
        value = value / other if other else math.nan if not value else math.copysign(math.inf, value)
    return value, kind


def _operand(node: Node, by: Measure, depth: int) -> Amount:
    if depth > _DEEPEST:
        raise UnknownValue
    if node.type == "() block":
        return _sum(node.content, by, depth + 1)
    if node.type == "ident":
        known = dict(by.names).get(node.lower_value, _CONSTANTS.get(node.lower_value))
        if known is None:
            raise InvalidValue
        return known, "number"
    return amount(node, by, depth)


def _kind(amounts: Sequence[Amount]) -> str:
    kinds = {kind for _, kind in amounts}
    if len(kinds) != 1:
        raise InvalidValue
    return kinds.pop()


def split(nodes: Sequence[Node], mark: str = ",") -> list[list[Node]]:
    """Component values parted by a mark, without white space and comments."""
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if node.type == "literal" and node.value == mark:
            parts.append([])
        elif node.type not in ("whitespace", "comment"):
            parts[-1].append(node)
    return parts


def _parts(nodes: Sequence[Node]) -> list[list[Node]]:
    """The arguments of a function, white space kept."""
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if node.type == "literal" and node.value == ",":
            parts.append([])
        else:
            parts[-1].append(node)
    return parts


def _arguments(nodes: Sequence[Node], by: Measure, depth: int) -> list[Amount]:
    return [_sum(part, by, depth) for part in _parts(nodes)]


Function = Callable[[Sequence[Node], Measure, int], Amount]


def _of_same(reckon: Callable[..., float], least: int, most: int | None) -> Function:
    """A function of amounts of one kind, which it keeps."""

    def function(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
        found = _arguments(nodes, by, depth)
        if len(found) < least or (most is not None and len(found) > most):
            raise InvalidValue
        kind, values = _kind(found), [value for value, _ in found]
        return math.nan if any(map(math.isnan, values)) else _tried(reckon, values), kind

    return function


def _of_numbers(reckon: Callable[..., float], least: int, most: int, kinds: tuple[str, ...], gives: str) -> Function:
    """A function of numbers, or of angles where `kinds` says so."""

    def function(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
        found = _arguments(nodes, by, depth)
        if not least <= len(found) <= most or any(kind not in kinds for _, kind in found):
            raise InvalidValue
        return _tried(reckon, [math.radians(value) if kind == "angle" else value for value, kind in found]), gives

    return function


def _tried(reckon: Callable[..., float], values: Sequence[float]) -> float:
    try:
        return float(reckon(*values))
    except (ValueError, ZeroDivisionError):
        return math.nan
    except OverflowError:
        return math.inf


def _clamp(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    parts = _parts(nodes)
    words = [[node.lower_value for node in part if node.type == "ident"] for part in parts]
    found = [None if word == ["none"] else _sum(part, by, depth) for part, word in zip(parts, words, strict=True)]
    if len(found) != 3 or found[1] is None:
        raise InvalidValue
    kind = _kind([each for each in found if each])
    value = found[1][0] if found[2] is None else min(found[1][0], found[2][0])
    return value if found[0] is None else max(found[0][0], value), kind


def _round(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    how = "nearest"
    named = [node for node in nodes if node.type not in ("whitespace", "comment")]
    if named and named[0].type == "ident" and named[0].lower_value in ("nearest", "up", "down", "to-zero"):
        how = named[0].lower_value
        nodes = nodes[[node.type for node in nodes].index("ident") + 1 :]
        while nodes and nodes[0].type in ("whitespace", "comment", "literal"):
            nodes = nodes[1:]
    found = _arguments(nodes, by, depth)
    if len(found) == 1 and found[0][1] == "number":
        found.append((1.0, "number"))
    if len(found) != 2:
        raise InvalidValue
    (value, _), (step, _) = found
    if not step or not math.isfinite(step) or not math.isfinite(value):
        raise UnknownValue
    ratio = value / abs(step)
    whole = {"up": math.ceil, "down": math.floor, "to-zero": math.trunc, "nearest": lambda x: math.floor(x + 0.5)}[how]
    return whole(ratio) * abs(step), _kind(found)


def _sign(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    (value, _), *more = _arguments(nodes, by, depth)
    if more:
        raise InvalidValue
    return math.copysign(1.0, value) if value else 0.0, "number"


def _atan2(nodes: Sequence[Node], by: Measure, depth: int) -> Amount:
    found = _arguments(nodes, by, depth)
    if len(found) != 2 or not _kind(found):
        raise InvalidValue
    return math.degrees(math.atan2(found[0][0], found[1][0])), "angle"


_ANGLES, _NUMBERS = ("number", "angle"), ("number",)
_FUNCTIONS: dict[str, Function] = {
    "min": _of_same(lambda *values: min(values), 1, None),
    "max": _of_same(lambda *values: max(values), 1, None),
    "hypot": _of_same(math.hypot, 1, None),
    "abs": _of_same(math.fabs, 1, 1),
    "mod": _of_same(operator.mod, 2, 2),
    "rem": _of_same(math.fmod, 2, 2),
    "clamp": _clamp,
    "round": _round,
    "sign": _sign,
    "sqrt": _of_numbers(math.sqrt, 1, 1, _NUMBERS, "number"),
    "pow": _of_numbers(math.pow, 2, 2, _NUMBERS, "number"),
    "exp": _of_numbers(math.exp, 1, 1, _NUMBERS, "number"),
    "log": _of_numbers(math.log, 1, 2, _NUMBERS, "number"),
    "sin": _of_numbers(math.sin, 1, 1, _ANGLES, "number"),
    "cos": _of_numbers(math.cos, 1, 1, _ANGLES, "number"),
    "tan": _of_numbers(math.tan, 1, 1, _ANGLES, "number"),
    "asin": _of_numbers(lambda x: math.degrees(math.asin(x)), 1, 1, _NUMBERS, "angle"),
    "acos": _of_numbers(lambda x: math.degrees(math.acos(x)), 1, 1, _NUMBERS, "angle"),
    "atan": _of_numbers(lambda x: math.degrees(math.atan(x)), 1, 1, _NUMBERS, "angle"),
    "atan2": _atan2,
}  # fmt: skip
