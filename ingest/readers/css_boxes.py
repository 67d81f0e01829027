"""Whether a box of a page has a place and a size in which text can be seen. Source: CSS 2.2 (visual formatting)."""

from collections.abc import Mapping

from ingest.readers.css import MOVING, is_far
from ingest.readers.css_shapes import moved
from ingest.readers.css_valid import SHARED_WORDS
from ingest.readers.css_values import FAR_PX, length

AS_BEFORE = frozenset(("", "inherit", "unset", "revert", "revert-layer"))  # of what is inherited, or by itself
PLACED = frozenset(("absolute", "fixed"))
IN_LINE = frozenset(
    "a abbr b big cite code del em font i ins label mark s small span strike strong sub sup tt u var".split()
)
# What may hide a box by its place, size or shape; what else is asked of one matters only beside these.
BOX = frozenset((
    *MOVING, "left", "right", "top", "bottom", "margin-left", "margin-top", "text-indent", "overflow-x", "overflow-y",
    "contain", "content-visibility", "clip", "clip-path",
))  # fmt: skip
_CELLS = frozenset("table caption colgroup col thead tbody tfoot tr td th".split())  # they grow with what they hold
_CUTTING = frozenset(("overflow-x", "overflow-y", "contain"))
_CLIPPING = frozenset(("hidden", "clip", "scroll", "auto", "overlay"))


def is_in_line(tag: str, value: Mapping[str, str]) -> bool:
    """Whether an element in running text is part of a line, and no box that has a size and a place of its own."""
    if value.get("position") in PLACED or value.get("float", "none") not in ("none", "initial", "unset"):
        return False
    display = value.get("display", "")
    if display in ("initial", "unset"):
        display = "inline"
    by_itself = tag in IN_LINE or "-" in tag
    return display in ("inline", "contents") or (by_itself and display in AS_BEFORE)


def is_flat(value: Mapping[str, str], em: float) -> bool:
    """Whether a transform makes a box so small or so flat that nobody sees it."""
    return any(moved(name, value[name], em)[2] for name in MOVING if name in value)


def is_outside(tag: str, value: Mapping[str, str], em: float, in_line: bool) -> bool:
    """Whether a box lies where nobody can scroll to."""

    def px(name: str) -> float:
        return (length(value[name], em) or 0.0) if name in value else 0.0

    def far(name: str) -> bool:
        return name in value and is_far(name, value[name], em)

    position = value.get("position", "static")
    within = in_line or value.get("display", "").startswith("inline")  # the line goes with its margin
    x, y = px("margin-left") + px("padding-left"), 0.0 if within else px("margin-top") + px("padding-top")
    if position in ("relative", "absolute", "fixed"):
        across, down = (value.get(name, "auto") in SHARED_WORDS | {"auto"} for name in ("left", "top"))
        if (across and far("right")) or (down and far("bottom")):
            return True
        x, y = x + px("left"), y + px("top")
    moves = [] if in_line else [moved(name, value[name], em) for name in MOVING if name in value]
    x, y = x + sum(move[0] for move in moves), y + sum(move[1] for move in moves)
    if position == "fixed" and not moves and min(x, y) > -FAR_PX:
        return (x > FAR_PX and far("left")) or (y > FAR_PX and far("top"))
    if min(x, y) <= -FAR_PX:
        return True
    indent = value.get("text-indent", "")
    if in_line or not is_far("text-indent", indent, em):
        return False
    cut = value.get("overflow-x", "") in ("hidden", "clip") and value.get("white-space", "").split()[:1] in (
        ["nowrap"], ["pre"],
    )  # fmt: skip
    return (cut and tag not in _CELLS) or (length(indent, em) or 0.0) < 0


def is_shut(tag: str, value: Mapping[str, str], em: float, in_flow: bool) -> bool:
    """Whether a box is too small for any letter, and cuts off what does not fit.

    `in_flow`: it stands in a block, and in no grid that may stretch it.
    """
    if _CUTTING.isdisjoint(value) or (tag in _CELLS and value.get("display", "") in AS_BEFORE):
        return False
    contain = value.get("contain", "").split()
    painted = not {"strict", "content", "paint"}.isdisjoint(contain)
    cut = {side: painted or value.get(f"overflow-{side}", "") in _CLIPPING for side in "xy"}
    if value.get("overflow-x", "") in _CLIPPING - {"clip"} or value.get("overflow-y", "") in _CLIPPING - {"clip"}:
        cut = {"x": True, "y": True}  # the other one becomes `auto`
    empty = not {"size", "strict"}.isdisjoint(contain) and not any(
        name in value for name in ("aspect-ratio", "contain-intrinsic-size", "contain-intrinsic-height")
    )
    for side, axis, ends in (("width", "x", ("left", "right")), ("height", "y", ("top", "bottom"))):
        around = [length(value.get(f"padding-{end}", ""), em) or 0.0 for end in ends]
        said = [value.get(name, "") for name in (side, f"max-{side}")]
        least = value.get(f"min-{side}", "")
        if not cut[axis] or max(around) > 1 or (length(least, em) or 0.0) > 1:
            continue
        if side == "height":  # shares are of a height that is not known
            said = ["" if "%" in each else each for each in said]
            stretched = not in_flow or value.get("position") in PLACED
            if empty and said[0] in SHARED_WORDS | {"", "auto"} and not stretched:
                return True
        sizes = [length(each, em) for each in said]
        if any(px is not None and 0 <= px <= 1 for px in sizes):
            return True
    return False
