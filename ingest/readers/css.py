"""CSS as far as it decides what is seen: what style sheets and attributes declare, and under which conditions.

Sources: CSS Syntax 3, CSS Cascading 6, CSS Nesting 1.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ingest.readers.css_media import NO, SOME, YES, contained, on_screen, supported
from ingest.readers.css_values import (
    FAR_PX,
    colour_of,
    first_colour,
    font_px,
    is_flattened,
    is_moved_away,
    length,
    number,
    size_of,
)
from ingest.readers.unseen import BLACK, WHITE, alike

Node = Any  # of tinycss2, whose stated classes lack what theirs have

NOTHING_CLIPPED = re.compile(
    r"rect\(\s*0(?:px)?[\s,]+0(?:px)?[\s,]+0(?:px)?[\s,]+0(?:px)?\s*\)|rect\(\s*1px[\s,]+1px[\s,]+1px[\s,]+1px\s*\)"
    r"|inset\(\s*(?:[5-9]\d|\d{3,})(?:\.\d+)?%.*|circle\(\s*0(?:px|%)?[\s)].*|polygon\(\s*0 0\s*(?:,\s*0 0\s*)*\)"
)
NO_INK = re.compile(r"opacity\(\s*0*(?:\.0*)?%?\s*\)")
SIDES = ("left", "top", "right", "bottom", "text-indent", "margin-left", "margin-top")
_GROUPS = {
    name: group
    for group, names in {
        "display": "display",
        "struck": "text-decoration text-decoration-line",
        "visibility": "visibility content-visibility",
        "opacity": "opacity filter",
        "size": "font font-size zoom",
        "place": f"position transform translate scale rotate clip clip-path {' '.join(SIDES)}",
        "box": "width height max-width max-height min-width min-height padding padding-top padding-bottom padding-left "
        "padding-right overflow overflow-x overflow-y",
        "color": "color background background-color background-image background-clip -webkit-background-clip "
        "text-shadow -webkit-text-fill-color -webkit-text-stroke",
    }.items()
    for name in names.split()
}  # fmt: skip


_EDGES = ("top", "right", "bottom", "left")
_SAME = {
    "inset-inline-start": "left", "inset-inline-end": "right", "inset-block-start": "top", "inset-block-end": "bottom",
    "margin-inline-start": "margin-left", "margin-block-start": "margin-top", "inline-size": "width",
    "block-size": "height", "max-inline-size": "max-width", "max-block-size": "max-height",
    "min-inline-size": "min-width", "min-block-size": "min-height", "overflow-inline": "overflow-x",
    "overflow-block": "overflow-y",
}  # fmt: skip
_LONGEST_SELECTOR = 2000  # characters of one that stands in others


@dataclass(frozen=True, slots=True)
class Declared:
    """The value of a property; one of a media query that may not hold is `maybe`."""

    name: str
    value: str
    important: bool
    maybe: bool = False


def rules_of(sheet: str, sized: bool = False) -> Iterator[tuple[str | list[Node], list[Declared]]]:
    """Selectors and declarations of each rule of a style sheet that counts on a screen, or may.

    `sized`: the page has containers that queries can ask.
    """
    import tinycss2

    nodes = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    yield from _rules(nodes, _Within(sized=sized))


@dataclass(frozen=True, slots=True)
class _Within:
    """What rules stand in: the selector of one, a query that may not hold, a page with containers or without."""

    selector: str = ""
    maybe: bool = False
    sized: bool = False
    depth: int = 8


def _rules(nodes: Iterable[Node], within: _Within) -> Iterator[tuple[str | list[Node], list[Declared]]]:
    import tinycss2

    for nested, group_of in groupby(nodes, lambda node: node.type != "declaration"):
        if not nested:
            if within.selector:
                yield within.selector, list(_declared(group_of, within.maybe))
            continue
        for rule in group_of:
            if rule.type == "qualified-rule":
                inner = tinycss2.parse_blocks_contents(rule.content, skip_comments=True, skip_whitespace=True)
                if not within.selector and all(node.type in ("declaration", "error") for node in inner):
                    yield rule.prelude, list(_declared(inner, within.maybe))
                elif within.depth and (selector := _joined(within.selector, tinycss2.serialize(rule.prelude))):
                    yield from _rules(inner, replace(within, selector=selector, depth=within.depth - 1))
            elif rule.type == "at-rule" and rule.content is not None and within.depth:
                yield from _conditional(rule, within)


def _conditional(rule: Node, within: _Within) -> Iterator[tuple[str | list[Node], list[Declared]]]:
    """The rules in an at-rule that counts, or may."""
    import tinycss2

    name, selector = rule.lower_at_keyword, within.selector
    holds = NO
    if name == "media":
        holds = on_screen(tinycss2.serialize(rule.prelude))
    elif name == "supports":
        holds = supported(rule.prelude)
    elif name == "container":
        holds = min(contained(rule.prelude), YES if within.sized else SOME)
    elif name == "layer":
        holds = YES
    elif name == "scope":
        blocks = [node for node in rule.prelude if node.type != "whitespace"]
        if len(blocks) == 1 and blocks[0].type == "() block":  # one without a lower limit
            holds, selector = YES, tinycss2.serialize(blocks[0].content)
    if holds == NO:
        return
    parse = tinycss2.parse_blocks_contents if selector else tinycss2.parse_rule_list
    nodes = parse(rule.content, skip_comments=True, skip_whitespace=True)
    yield from _rules(
        nodes, replace(within, selector=selector, maybe=within.maybe or holds < YES, depth=within.depth - 1)
    )


def _joined(outer: str, inner: str) -> str:
    """The selector of a rule that stands in another (CSS Nesting 1); nothing where it gets too long."""
    if not outer:
        return inner
    if len(outer) * (1 + inner.count("&") + inner.count(",")) + len(inner) > _LONGEST_SELECTOR:
        return ""
    around = f":is({outer})"
    parts = re.split(r",(?![^(]*\))", inner)
    return ",".join(re.sub(r"&|:scope\b", around, p) if re.search(r"&|:scope\b", p) else f"{around} {p}" for p in parts)


def declarations(source: str) -> Iterator[Declared]:
    """What a style attribute declares of what may hide something."""
    import tinycss2

    yield from _declared(tinycss2.parse_blocks_contents(source, skip_comments=True, skip_whitespace=True), False)


def _declared(nodes: Iterable[Node], maybe: bool) -> Iterator[Declared]:
    import tinycss2

    for node in nodes:
        if node.type != "declaration":
            continue
        name: str = _SAME.get(str(node.lower_name), str(node.lower_name))
        if not group(name) and name not in ("inset", "margin"):
            continue
        value = " ".join(tinycss2.serialize(node.value).split()).lower()
        if name in ("inset", "margin"):
            for edge, side in zip(_EDGES, _of_edges(value), strict=True):
                if group(long := edge if name == "inset" else f"margin-{edge}"):
                    yield Declared(long, side, node.important, maybe)
        else:
            yield Declared(name, value, node.important, maybe)


def _of_edges(value: str) -> list[str]:
    """What a shorthand says of top, right, bottom and left."""
    sides = re.findall(r"(?:[^\s()]|\((?:[^()]|\([^()]*\))*\))+", value)[:4] or [""]
    return [sides[place if place < len(sides) else place % 2 if len(sides) > 1 else 0]
            if not (place == 3 and len(sides) == 3) else sides[1] for place in range(4)]  # fmt: skip


def group(name: str) -> str:
    """The group of a property; nothing for one that hides nothing."""
    return _GROUPS.get(name, "")


def hides(declared: Declared) -> bool:
    """Whether a declaration can hide text by itself, colours left aside."""
    name, value = declared.name, declared.value
    if name in ("display", "visibility"):
        return value in ("none", "hidden", "collapse")
    if name == "content-visibility":
        return value == "hidden"
    if name == "zoom":
        return 0 < number(value) < 0.5
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
    if name in ("transform", "translate", "scale", "rotate"):
        return any(moves(name, value))
    if name in ("width", "height", "max-width", "max-height"):
        px = length(value, 16.0)
        return px is not None and 0 <= px <= 1
    return False


def moves(name: str, value: str) -> tuple[bool, bool]:
    """Whether a transform moves something off the page, and whether it makes it too small or flat to be seen."""
    if name == "rotate":
        found = re.fullmatch(r"(?:(x|y)\s+(\S+)|(\S+)\s+(x|y))", value)
        value = f"rotate{found[1] or found[4]}({found[2] or found[3]})" if found else ""
    elif name != "transform":
        value = f"{name}({value.replace(' ', ',')})"
    return is_moved_away(value), is_flattened(value)


def hiding_groups(declared: Iterable[Declared]) -> set[str]:
    """The groups of properties by which something may be hidden in a page."""
    found: set[str] = set()
    colours, grounds = {BLACK}, {WHITE}
    for each in set(declared):
        if hides(each):
            found.add(group(each.name))
        if each.name in ("color", "-webkit-text-fill-color"):
            colour, alpha = colour_of(each.value)
            found |= {"color"} if alpha < 0.05 else set()
            colours |= {colour} if colour else set()
        elif each.name in ("background", "background-color"):
            ground, _ = first_colour(each.value)
            grounds |= {ground} if ground else set()
    if any(alike(colour, ground) for colour in colours for ground in grounds):
        found.add("color")
    return found | ({"place"} if "color" in found else set())
