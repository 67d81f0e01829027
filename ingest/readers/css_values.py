"""Values of CSS: lengths, shares, sizes of letters. Source: CSS Values 4, CSS Fonts 4."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from ingest.readers.css_math import InvalidValue, Measure, Node, UnknownValue, amount, on_its_own

T = TypeVar("T")

FAR_PX = 500  # to the left or above of the page
WIDE = (3840.0, 2400.0)  # px of a window as wide and high as they get
SIZES = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
         "xx-large": 32.0, "xxx-large": 48.0, "initial": 16.0}  # fmt: skip
_INHERITED = frozenset(("", "inherit", "unset", "smaller", "larger", "revert", "revert-layer", "math"))


@lru_cache(maxsize=8192)
def components(value: str) -> tuple[Node, ...]:
    """The component values of a text, without white space and comments."""
    import tinycss2

    nodes = tinycss2.parse_component_value_list(value, skip_comments=True)
    return tuple(node for node in nodes if node.type != "whitespace")


@lru_cache(maxsize=8192)
def _reckoned(value: str, by: Measure) -> float | None:
    nodes = components(value)
    try:
        found, kind = on_its_own(amount(nodes[0], by)) if len(nodes) == 1 else (0.0, "")
    except (InvalidValue, UnknownValue):
        return None
    return found / 100 if kind == "percentage" else found if kind else None


def number(value: str) -> float:
    """A number or a share; 1 where it is not known."""
    found = _reckoned(value, Measure())
    return 1.0 if found is None else found


def length(value: str, em: float, percent: float = 12.8) -> float | None:
    """A length in px in a window of 1280 px, which percentages are of; None where it is not known."""
    return _reckoned(value, Measure(em, percent)) if value else None


def length_in_wide(value: str, em: float) -> float | None:
    """A length in px in a window as wide and high as they get, `WIDE`."""
    return _reckoned(value, Measure(em, WIDE[0] / 100, *WIDE)) if value else None


def font_px(value: str, parent: float) -> float:
    """A size of letters in px."""
    if value in _INHERITED:
        return parent
    if value in SIZES:
        return SIZES[value]
    px = _reckoned(value, Measure(parent, parent / 100))
    return max(parent, 16.0) if px is None else max(px, 0.0)  # reckoned from what is not known


def edges(said: Sequence[T]) -> list[T]:
    """What a shorthand of one to four values says of top, right, bottom and left."""
    last = len(said) - 1
    right = said[min(1, last)]
    return [said[0], right, said[2] if last > 1 else said[0], said[3] if last > 2 else right]
