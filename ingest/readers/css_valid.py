"""Which declarations browsers drop because their value is none of the property's, and what shorthands set.

A value that is not known to be wrong counts. Sources: CSS Syntax 3 (9), CSS Display 3, CSS Fonts 4, CSS Backgrounds 3.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from ingest.readers.css_colours import is_picture, shade
from ingest.readers.css_math import SUBSTITUTED, InvalidValue, Measure, Node, UnknownValue, amount, split
from ingest.readers.css_shapes import clipped_to, old_clip, transform_of
from ingest.readers.css_values import SIZES, components, edges

SHARED_WORDS = frozenset(("inherit", "initial", "unset", "revert", "revert-layer"))
_LENGTH = Measure(percent=1.0)
_SIZES = frozenset(
    "min-content max-content fit-content stretch -webkit-fill-available -moz-available -webkit-fit-content "
    "-webkit-min-content -webkit-max-content intrinsic min-intrinsic contain".split()
)
_WORDS = {
    name: frozenset(words.split())
    for name, words in {
        "visibility": "visible hidden collapse",
        "content-visibility": "visible auto hidden",
        "position": "static relative absolute fixed sticky -webkit-sticky",
        "float": "none left right inline-start inline-end",
        "overflow-x": "visible hidden clip scroll auto overlay",
        "overflow-y": "visible hidden clip scroll auto overlay",
        "white-space": "normal nowrap pre pre-wrap pre-line break-spaces collapse preserve preserve-breaks wrap "
        "preserve-spaces -webkit-nowrap",
        "color-scheme": "normal light dark only",
        "text-decoration-line": "none underline overline line-through blink spelling-error grammar-error",
    }.items()
}  # fmt: skip
_CONTAINED = frozenset(("none", "strict", "content", "size", "inline-size", "layout", "style", "paint"))
_SEVERAL = frozenset(("white-space", "color-scheme", "text-decoration-line"))
_DECORATION = _WORDS["text-decoration-line"] | frozenset("solid double dotted dashed wavy auto from-font".split())
_DISPLAY = frozenset(
    "none contents block inline flow flow-root inline-block run-in list-item flex inline-flex grid inline-grid "
    "grid-lanes inline-grid-lanes table inline-table table-row-group table-header-group table-footer-group table-row "
    "table-cell table-column-group table-column table-caption ruby ruby-base ruby-text ruby-base-container "
    "ruby-text-container math -webkit-box -webkit-inline-box -webkit-flex -webkit-inline-flex".split()
)
_DISPLAY_PARTS = frozenset("block inline flow flow-root list-item flex grid table ruby math".split())
# Least value, words; percentages count in all.
_LENGTHS: dict[str, tuple[bool, frozenset[str]]] = {
    **dict.fromkeys(("left", "right", "top", "bottom", "margin-left", "margin-top"), (True, frozenset(("auto",)))),
    **dict.fromkeys(("width", "height", "min-width", "min-height"), (False, _SIZES | {"auto"})),
    **dict.fromkeys(("max-width", "max-height"), (False, _SIZES | {"none"})),
    **dict.fromkeys(("padding-left", "padding-right", "padding-top", "padding-bottom"), (False, frozenset[str]())),
    "text-indent": (True, frozenset(("hanging", "each-line"))),
}  # fmt: skip
_PLAIN_LENGTH = re.compile(r"0|\d+(?:\.\d+)?(?:px|em|rem|%)")
_PLAIN = {
    **dict.fromkeys((*_LENGTHS, "font-size"), _PLAIN_LENGTH),
    **dict.fromkeys(("color", "background-color"), re.compile(r"#(?:[0-9a-f]{3}){1,2}")),
    "opacity": re.compile(r"\d*\.?\d+"),
}
_FILTERS = frozenset(
    "blur brightness contrast drop-shadow grayscale hue-rotate invert opacity saturate sepia url".split()
)
_FONT_SIZES = frozenset((*SIZES, "smaller", "larger", "math")) - {"initial"}
_FONT_BEFORE = frozenset(
    "normal italic oblique small-caps bold bolder lighter ultra-condensed extra-condensed condensed semi-condensed "
    "semi-expanded expanded extra-expanded ultra-expanded".split()
)
_SYSTEM_FONTS = frozenset("caption icon menu message-box small-caption status-bar -webkit-control".split())
_GROUND_WORDS = frozenset(
    "left right top bottom center auto cover contain repeat no-repeat repeat-x repeat-y space round scroll fixed local "
    "border-box padding-box content-box text border-area none".split()
)


def is_valid(name: str, value: str) -> bool:
    """Whether a browser takes a value, in lower case, of a property that is no shorthand."""
    if value in SHARED_WORDS or (name in _WORDS and value in _WORDS[name]) or (name == "display" and value in _DISPLAY):
        return True
    plain = _PLAIN.get(name)
    if plain and plain.fullmatch(value):
        return True  # most are, and need not be parsed
    nodes = components(value)
    if not nodes:
        return False
    if _is_substituted(nodes):
        return True
    try:
        _check(name, nodes)
    except InvalidValue:
        return False
    except UnknownValue:
        return True
    return True


def _is_substituted(nodes: Sequence[Node], depth: int = 0) -> bool:
    """Whether something in a value is put in later, so that it counts whatever it is."""
    return any(
        (node.type == "function" and (node.lower_name in SUBSTITUTED or node.lower_name.startswith("--")))
        or (depth < 8 and _is_substituted(getattr(node, "arguments", getattr(node, "content", None)) or (), depth + 1))
        for node in nodes
        if node.type in ("function", "() block", "[] block", "{} block")
    )


def _check(name: str, nodes: Sequence[Node]) -> None:
    """Raise `InvalidValue` where a browser drops the value, `UnknownValue` where that is not known."""
    words = [_word(node) for node in nodes]
    if name in _WORDS:
        _require(all(word in _WORDS[name] for word in words) and (len(nodes) == 1 or name in _SEVERAL))
    elif name in _LENGTHS:
        _check_length(name, nodes, words)
    elif name in ("transform", "translate", "scale", "rotate"):
        transform_of(name, nodes)
    elif name in ("color", "background-color", "-webkit-text-fill-color", "-webkit-text-stroke-color"):
        shade(_one(nodes))
    elif name in _CHECKS:
        _require(_CHECKS[name](nodes, words))


def _check_length(name: str, nodes: Sequence[Node], words: Sequence[str]) -> None:
    negative, known = _LENGTHS[name]
    rest = [node for node, word in zip(nodes, words, strict=True) if word not in known]
    _require(len(nodes) == 1 or name == "text-indent")
    _require(len(rest) == 1 or (not rest and name != "text-indent"))
    for node in rest:
        if node.type == "function" and node.lower_name in ("fit-content", "anchor", "anchor-size"):
            raise UnknownValue
        _length(node, negative)


def _is_zoom(nodes: Sequence[Node], words: Sequence[str]) -> bool:
    return words in (["normal"], ["document"], ["reset"]) or _share(_one(nodes)) >= 0


def _is_font_size(nodes: Sequence[Node], words: Sequence[str]) -> bool:
    if words[0] not in _FONT_SIZES:
        _length(_one(nodes), False)
    return len(nodes) == 1


def _is_filter(nodes: Sequence[Node], words: Sequence[str]) -> bool:
    return words == ["none"] or all(
        node.type == "url" or (node.type == "function" and node.lower_name in _FILTERS) for node in nodes
    )


# Of properties whose values are neither words nor one length or colour.
_CHECKS: dict[str, Callable[[Sequence[Node], Sequence[str]], bool]] = {
    "display": lambda _, words: 1 < len(words) < 4 and len(set(words)) == len(words) and set(words) <= _DISPLAY_PARTS,
    "opacity": lambda nodes, _: _share(_one(nodes)) is not None,
    "zoom": _is_zoom,
    "font-size": _is_font_size,
    "filter": _is_filter,
    "clip": lambda nodes, _: old_clip(nodes) >= 0,
    "clip-path": lambda nodes, _: clipped_to(nodes) >= 0,
    "background-image": lambda nodes, words: all(
        words[at] == "none" or is_picture(node) for at, node in enumerate(nodes) if node != ","
    ),
    "background-clip": lambda nodes, words: all(
        word in _GROUND_WORDS for word, node in zip(words, nodes, strict=True) if node != ","
    ),
    "text-shadow": lambda nodes, words: words == ["none"] or all(map(_is_shadow, split(nodes))),
    "contain": lambda _, words: set(words) <= _CONTAINED,
}


def _require(holds: bool) -> None:
    if not holds:
        raise InvalidValue


def _word(node: Node) -> str:
    return node.lower_value if node.type == "ident" else ""


def _one(nodes: Sequence[Node]) -> Node:
    _require(len(nodes) == 1)
    return nodes[0]


def _length(node: Node, negative: bool) -> None:
    value, kind = amount(node, _LENGTH)
    _require(kind == "length" or (node.type == "number" and value == 0))
    _require(negative or value >= 0 or node.type == "function")


def _share(node: Node) -> float:
    value, kind = amount(node, Measure())
    _require(kind in ("number", "percentage"))
    return value


def _is_colour(node: Node) -> bool:
    try:
        shade(node)
    except InvalidValue:
        return False
    except UnknownValue:
        pass
    return True


def _is_length(node: Node) -> bool:
    try:
        _length(node, True)
    except InvalidValue:
        return False
    except UnknownValue:
        pass
    return True


def _is_shadow(nodes: Sequence[Node]) -> bool:
    colours = sum(not _is_length(node) for node in nodes)
    return colours <= 1 and 2 <= len(nodes) - colours <= 3 and all(_is_length(n) or _is_colour(n) for n in nodes)


# --- shorthands ------------------------------------------------------------------------------------------------------

_SIDES = ("top", "right", "bottom", "left")
_PAIRS = {"inline": ("left", "right"), "block": ("top", "bottom")}
_BACKGROUND = {"background-color": "transparent", "background-image": "none", "background-clip": "border-box",
               "background-size": "auto"}  # fmt: skip
_LONG: dict[str, tuple[str, ...]] = {
    "inset": _SIDES,
    "margin": tuple(f"margin-{side}" for side in _SIDES),
    "padding": tuple(f"padding-{side}" for side in _SIDES),
    **{f"inset-{way}": sides for way, sides in _PAIRS.items()},
    **{f"{name}-{way}": tuple(f"{name}-{side}" for side in sides) for name in ("margin", "padding")
       for way, sides in _PAIRS.items()},
    "overflow": ("overflow-x", "overflow-y"),
    "font": ("font-size",),
    "text-decoration": ("text-decoration-line",),
    "-webkit-text-stroke": ("-webkit-text-stroke-color",),
    "background": tuple(_BACKGROUND),
    "all": (*_WORDS, *_LENGTHS, "display", "opacity", "zoom", "font-size", "color", "background-color", "filter",
            "clip", "-webkit-text-fill-color", "-webkit-text-stroke-color", "transform", "translate", "scale",
            "rotate", "clip-path", "background-image", "background-clip", "background-size", "text-shadow", "contain"),
}  # fmt: skip


SHORTHANDS = frozenset(_LONG)


@lru_cache(maxsize=20_000)
def long_of(name: str, value: str) -> tuple[tuple[str, str], ...]:
    """The properties that a declaration sets, with their values; none of one that browsers drop."""
    if name not in _LONG:
        return ((name, value),) if is_valid(name, value) else ()
    nodes = components(value)
    if value in SHARED_WORDS or (nodes and _is_substituted(nodes)):
        return tuple((each, value if value in SHARED_WORDS else "var(--)") for each in _LONG[name])
    try:
        return tuple(_set_by(name, nodes))
    except InvalidValue:
        return ()
    except UnknownValue:
        return tuple((each, "var(--)") for each in _LONG[name])


def _set_by(name: str, nodes: Sequence[Node]) -> list[tuple[str, str]]:
    _require(bool(nodes) and name != "all")
    if name == "font":
        return [("font-size", _font_size(nodes))]
    if name == "background":
        return list(_background(nodes).items())
    if name == "text-decoration":
        _require(all(_word(node) in _DECORATION or _is_length(node) or _is_colour(node) for node in nodes))
        lines = [_word(node) for node in nodes if _word(node) in _WORDS["text-decoration-line"]]
        return [("text-decoration-line", " ".join(lines) or "none")]
    if name == "-webkit-text-stroke":
        widths = [n for n in nodes if _is_length(n) or _word(n) in ("thin", "medium", "thick")]
        colours = [node for node in nodes if node not in widths]
        _require(len(widths) < 2 and len(colours) < 2 and all(map(_is_colour, colours)))
        drawn = any(getattr(node, "value", 1) for node in widths)
        colour = colours[0].serialize().lower() if colours else "currentcolor"
        return [("-webkit-text-stroke-color", colour if drawn else "transparent")]
    names, texts = _LONG[name], [node.serialize().lower() for node in nodes]
    _require(len(texts) <= len(names))
    said = edges(texts) if len(names) == 4 else [texts[0], texts[-1]]
    known = [(each, text) for each, text in zip(names, said, strict=True)]
    checked = "margin-left" if name.startswith("margin") else ""
    _require(all(is_valid(checked or each, text) for each, text in known))
    return known


def _font_size(nodes: Sequence[Node]) -> str:
    """The size in a `font`, of which families have to follow."""
    if len(nodes) == 1 and _word(nodes[0]) in _SYSTEM_FONTS:
        return "medium"
    for at, node in enumerate(nodes):
        if _word(node) in _FONT_BEFORE or (node.type == "number" and node.value and at < 4):
            continue
        if _word(node) not in _FONT_SIZES:
            _length(node, False)
        rest = nodes[at + 1 :]
        if rest and rest[0] == "/":
            rest = rest[2:]
        _require(bool(rest) and all(
            each.type in ("ident", "string") or each == "," for each in rest
        ) and rest[-1] != ",")  # fmt: skip
        return node.serialize().lower()
    raise InvalidValue


def _background(nodes: Sequence[Node]) -> dict[str, str]:
    """What a `background` sets. The colour that stands with a picture of another file is the ground without it."""
    found = dict(_BACKGROUND)
    layers = split(nodes)
    pictures: list[Node] = []
    plain = len(layers) == 1
    for at, layer in enumerate(layers):
        _require(bool(layer))
        images = 0
        for node in layer:
            if is_picture(node):
                images += 1
                pictures.append(node)
            elif _word(node) in _GROUND_WORDS:
                found["background-clip"] = "text" if _word(node) == "text" else found["background-clip"]
                plain = plain and _word(node) in ("none", "text", "scroll", "fixed")
            elif node == "/" or _is_length(node):
                plain = False
            else:
                _require(_is_colour(node) and at == len(layers) - 1 and found["background-color"] == "transparent")
                found["background-color"] = node.serialize().lower()
        _require(images < 2)
    if pictures:
        found["background-image"] = pictures[0].serialize().lower() if plain else "url()"
        outside = all(re.match(r"url\(\s*['\"]?(?!data:)", node.serialize(), re.I) for node in pictures)
        if outside and found["background-color"] not in ("transparent", "currentcolor"):
            found["background-image"] = "none"
    return found
