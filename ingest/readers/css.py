"""CSS as far as it decides what is seen: what style sheets and attributes declare, and under which conditions.

Sources: CSS Syntax 3, CSS Cascading 6, CSS Nesting 1.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ingest.readers.css_colours import colour_of, picture_colour
from ingest.readers.css_media import NO, SOME, YES, contained, on_screen, supported
from ingest.readers.css_shapes import leaves_nothing, moved
from ingest.readers.css_valid import SHORTHANDS, long_of
from ingest.readers.css_values import FAR_PX, WIDE, components, font_px, length, length_in_wide, number
from ingest.readers.unseen import BLACK, WHITE, alike

Node = Any  # of tinycss2, whose stated classes lack what theirs have

MOVING = ("transform", "translate", "scale", "rotate")
_GROUPS = {
    name: group
    for group, names in {
        "display": "display",
        "struck": "text-decoration-line",
        "visibility": "visibility",
        "opacity": "opacity filter",
        "size": "font-size zoom",
        "box": f"position float {' '.join(MOVING)} clip clip-path left right top bottom text-indent white-space "
        "margin-left margin-top width height max-width max-height min-width min-height padding-top padding-bottom "
        "padding-left padding-right overflow-x overflow-y contain contain-intrinsic-size "
        "contain-intrinsic-height aspect-ratio content-visibility",
        "color": "color background-color background-image background-clip background-size text-shadow color-scheme "
        "-webkit-text-fill-color -webkit-text-stroke-color",
    }.items()
    for name in names.split()
}  # fmt: skip
_SAME = {
    **{f"{box}-{way}-{end}": f"{name}{side}"
       for box, name in (("inset", ""), ("margin", "margin-"), ("padding", "padding-"))
       for way, sides in (("inline", ("left", "right")), ("block", ("top", "bottom")))
       for end, side in zip(("start", "end"), sides, strict=True)},
    **{f"{least}{size}-size": f"{least}{side}" for least in ("", "min-", "max-")
       for size, side in (("inline", "width"), ("block", "height"))},
    "overflow-inline": "overflow-x", "overflow-block": "overflow-y", "-webkit-background-clip": "background-clip",
    "background-repeat": "background-size", "background-position": "background-size", "-webkit-transform": "transform",
    "background-origin": "background-size", "-webkit-background-size": "background-size", "-webkit-filter": "filter",
    "-webkit-clip-path": "clip-path", "-webkit-opacity": "opacity", "contain-intrinsic-block-size":
    "contain-intrinsic-height", "text-wrap": "white-space", "text-wrap-mode": "white-space",
}  # fmt: skip
_QUIRKY = frozenset(
    "font-size width height max-width max-height min-width min-height left right top bottom text-indent margin padding "
    "margin-left margin-top padding-top padding-bottom padding-left padding-right".split()
)
_LONGEST_SELECTOR = 2000  # characters of one that stands in others


@dataclass(frozen=True, slots=True)
class Declared:
    """The value of a property; one of a media query that may not hold is `maybe`."""

    name: str
    value: str
    important: bool
    maybe: bool = False


def rules_of(
    sheet: str, sized: bool = False, quirks: bool = False
) -> Iterator[tuple[str | list[Node], list[Declared]]]:
    """Selectors and declarations of each rule of a style sheet that counts on a screen, or may.

    `sized`: the page has containers that queries can ask; `quirks`: it is in quirks mode.
    """
    import tinycss2

    nodes = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    yield from _rules(nodes, _Within(sized=sized, quirks=quirks))


@dataclass(frozen=True, slots=True)
class _Within:
    """What rules stand in: the selector of one, a query that may not hold, a page with containers or quirks."""

    selector: str = ""
    maybe: bool = False
    sized: bool = False
    quirks: bool = False
    depth: int = 8


def _rules(nodes: Iterable[Node], within: _Within) -> Iterator[tuple[str | list[Node], list[Declared]]]:
    import tinycss2

    for nested, group_of in groupby(nodes, lambda node: node.type != "declaration"):
        if not nested:
            if within.selector:
                yield within.selector, list(_declared(group_of, within))
            continue
        for rule in group_of:
            if rule.type == "qualified-rule":
                inner = tinycss2.parse_blocks_contents(rule.content, skip_comments=True, skip_whitespace=True)
                if not within.selector and all(node.type in ("declaration", "error") for node in inner):
                    yield rule.prelude, list(_declared(inner, within))
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


def declarations(source: str, quirks: bool = False) -> Iterator[Declared]:
    """What a style attribute declares of what may hide something."""
    import tinycss2

    nodes = tinycss2.parse_blocks_contents(source, skip_comments=True, skip_whitespace=True)
    yield from _declared(nodes, _Within(quirks=quirks))


def _declared(nodes: Iterable[Node], within: _Within) -> Iterator[Declared]:
    import tinycss2

    for node in nodes:
        if node.type != "declaration":
            continue
        name: str = _SAME.get(str(node.lower_name), str(node.lower_name))
        if name not in _GROUPS and name not in SHORTHANDS:
            continue
        try:
            value = " ".join(tinycss2.serialize(node.value).split()).lower()
        except RecursionError:  # brackets in brackets, hundreds deep: no value of these properties
            continue
        if within.quirks:
            value = _without_quirks(name, value)
        for long, said in long_of(name, value):
            if long in _GROUPS:
                yield Declared(long, said, node.important, within.maybe)


def _without_quirks(name: str, value: str) -> str:
    """A value of a page in quirks mode as others write it: 1 as 1px, fff as #fff (Quirks Mode Standard, 3.1, 3.2)."""
    if name in _QUIRKY:
        return (
            re.sub(r"(?<![\w.%()+-])([+-]?(?:\d+\.?\d*|\.\d+))(?![\w.%(])", r"\1px", value)
            if "(" not in value
            else value
        )
    if name in ("color", "background-color") and re.fullmatch(r"[0-9a-f]{3}(?:[0-9a-f]{3})?", value):
        return f"#{value}"
    return value


def group(name: str) -> str:
    """The group of a property; nothing for one that hides nothing."""
    return _GROUPS.get(name, "")


def hides(declared: Declared) -> bool:
    """Whether a declaration can hide text, by itself or with others, colours left aside."""
    name, value = declared.name, declared.value
    if name in ("display", "visibility"):
        return value in ("none", "hidden", "collapse")
    if name == "content-visibility":
        return value == "hidden"
    if name == "zoom":
        return 0 < number(value) < 0.5
    if name == "text-decoration-line":
        return "line-through" in value
    if name == "opacity":
        return number(value) < 0.05
    if name == "filter":
        return has_no_ink(value)
    if name == "font-size":
        return font_px(value, 16.0) < 8  # of em and percent several may lie in one another
    if name in ("clip", "clip-path"):
        return leaves_nothing(name, value)
    if name in MOVING:
        x, y, gone = moved(name, value)
        return gone or min(x, y) <= -FAR_PX / 2
    if name in ("width", "height", "max-width", "max-height"):
        px = length(value, 16.0)
        return px is not None and 0 <= px <= 1
    if name == "contain":
        return "size" in value.split() or "strict" in value
    return is_far(name, value, 16.0)


def is_far(name: str, value: str, em: float) -> bool:
    """Whether a place is outside of each window, in a direction that nobody can scroll to if it is fixed."""
    if name not in ("left", "top", "margin-left", "margin-top", "right", "bottom", "text-indent"):
        return False
    px, wide = length(value, em), length_in_wide(value, em)
    if px is None or wide is None:
        return False
    if name in ("right", "bottom"):
        return "%" not in value and (px >= 4 * FAR_PX or wide >= WIDE[name == "bottom"])
    if name == "text-indent":
        return px <= -FAR_PX or px >= 1280
    return px <= -FAR_PX or wide >= WIDE[name == "top"]


def has_no_ink(value: str) -> bool:
    """Whether a `filter` takes all ink away."""
    return any(
        node.type == "function"
        and node.lower_name == "opacity"
        and number(node.serialize()[8:-1].strip() or "1") < 0.05
        for node in components(value)
    )


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
        elif each.name in ("background-color", "background-image"):
            ground, _ = (colour_of if each.name == "background-color" else picture_colour)(each.value)
            found |= {"color"} if each.value == "currentcolor" else set()
            grounds |= {ground} if ground else set()
    if any(alike(colour, ground) for colour in colours for ground in grounds):
        found.add("color")
    return found | ({"box", "display"} if found & {"color", "box"} else set())
