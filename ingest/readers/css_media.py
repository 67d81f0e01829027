"""Whether the rules of a style sheet count on a screen: media, container and feature queries.

"Some": on one usual screen or another, wide or narrow, light or dark, with a mouse or without. Sources: Media
Queries 4, CSS Conditional Rules 3, CSS Containment 3.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

Node = Any  # of tinycss2, whose stated classes lack what theirs have
Feature = Callable[[str], float]

YES, SOME, NO = 1.0, 0.5, 0.0
_WIDTHS, _HEIGHTS = (320.0, 3840.0), (320.0, 2400.0)  # px of usual screens
_SAID = re.compile(r"(min-|max-)?(?:device-)?(width|height|inline-size|block-size)\s*:\s*([\d.]+)(px|em|rem|)")
_SIDE = r"([\d.]+)(px|em|rem|)"
_RANGE = re.compile(
    rf"(?:{_SIDE}\s*(<=?|>=?|=)\s*)?(?:device-)?(width|height|inline-size|block-size)(?:\s*(<=?|>=?|=)\s*{_SIDE})?"
)
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}
_COLOURED = re.compile(r"color|min-color\s*:\s*1|grid\s*:\s*0|scripting\s*:\s*enabled|any-pointer|monochrome\s*:\s*0")


def on_screen(query: str) -> float:
    """Whether a list of media queries holds on screens."""
    import tinycss2

    parts: list[list[Node]] = [[]]
    nodes: list[Node] = tinycss2.parse_component_value_list(query, skip_comments=True)
    for node in nodes:
        if node.type == "literal" and node.value == ",":
            parts.append([])
        else:
            parts[-1].append(node)
    return max(_condition(part, _of_media) for part in parts)


def supported(prelude: list[Node]) -> float:
    """Whether a condition of @supports holds: browsers know what style sheets ask for."""
    return _condition(prelude, lambda _: YES)


def contained(prelude: list[Node]) -> float:
    """Whether a query of a container, which has a size, holds."""
    named = [node for node in prelude if node.type not in ("whitespace", "comment")]
    if named and named[0].type == "ident" and named[0].lower_value != "not":
        named = named[1:]
    return _condition(named, _of_media)


def _condition(nodes: Sequence[Node], feature: Feature) -> float:
    nodes = [node for node in nodes if node.type not in ("whitespace", "comment")]
    if nodes and nodes[0].type == "ident" and nodes[0].lower_value == "only":
        nodes = nodes[1:]
    if not nodes:
        return YES
    if nodes[0].type == "ident" and nodes[0].lower_value == "not":
        return 1 - _condition(nodes[1:], feature)
    found, how = YES, "and"
    for node in nodes:
        if node.type == "ident" and node.lower_value in ("and", "or"):
            how = node.lower_value
            continue
        value = _term(node, feature)
        found = min(found, value) if how == "and" else max(found, value)
    return found


def _term(node: Node, feature: Feature) -> float:
    import tinycss2

    if node.type == "ident":
        return YES if node.lower_value in ("all", "screen") else NO
    if node.type != "() block":
        return SOME
    inner = [each for each in node.content if each.type not in ("whitespace", "comment")]
    nested = inner and (inner[0].type == "() block" or (inner[0].type == "ident" and inner[0].lower_value == "not"))
    return _condition(inner, feature) if nested else feature(tinycss2.serialize(node.content).strip().lower())


def _of_media(text: str) -> float:
    """Whether a feature of a screen, as `min-width: 1px` or `width > 1px`, holds."""
    if said := _SAID.fullmatch(text):
        how = {"min-": ">=", "max-": "<=", None: "="}[said[1]]
        return _compared(said[2], how, _px(said[3], said[4]))
    if said := _RANGE.fullmatch(text):
        found = YES
        if said[1]:
            found = _compared(said[4], _TURNED[said[3]], _px(said[1], said[2]))
        if said[6]:
            found = min(found, _compared(said[4], said[5], _px(said[6], said[7])))
        return found
    return YES if _COLOURED.fullmatch(text) else SOME


def _px(number: str, unit: str) -> float:
    try:
        return float(number) * (16.0 if unit in ("em", "rem") else 1.0)
    except ValueError:
        return 1000.0


def _compared(side: str, how: str, px: float) -> float:
    low, high = _WIDTHS if side in ("width", "inline-size") else _HEIGHTS
    if how[0] == ">":
        return YES if px <= low else SOME if px <= high else NO
    if how[0] == "<":
        return YES if px >= high else SOME if px >= low else NO
    return SOME if low <= px <= high else NO
