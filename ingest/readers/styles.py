"""Whether a person sees the text of a web page, by its own CSS: style sheets in it, style attributes, old attributes.

Scripts do not run and other files are not fetched: what they would change is not known. A colour counts as that of its
ground only where both are. Sources: CSS Cascading 4, CSS Display 3, CSS 2.2 (visual effects), HTML Standard 15.3.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.readers.css import (
    NO_INK,
    NOTHING_CLIPPED,
    SIDES,
    Declared,
    declarations,
    group,
    hides,
    hiding_groups,
    moves,
    rules_of,
)
from ingest.readers.css_media import NO, YES, on_screen
from ingest.readers.css_values import FAR_PX, colour_of, first_colour, font_px, length, number, size_of
from ingest.readers.unseen import (
    BLACK,
    NOT_DISPLAYED,
    OUTSIDE,
    SAME_COLOUR,
    STRUCK,
    TINY,
    TRANSPARENT,
    WHITE,
    Colour,
    Unseen,
    alike,
)

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
    from tinycss2.ast import Node

_MOST_CSS = 1_000_000  # characters of style sheets that are read
_TINY_PX = 1.34  # 1 pt
_PICTURE = re.compile(r"url\(|gradient\(|image|element\(|var\(|paint\(", re.I)
_CONTAINER = re.compile(r"\bcontain(?:er|er-type)?\s*:", re.I)
_KEPT = frozenset(("html", "body", "main", "article"))  # shown by a script once it has run
_INLINE = frozenset(
    "a abbr b big cite code del em font i ins label mark s small span strike strong sub sup tt u var".split()
)
_WITH_GROUND = frozenset(("button", "mark"))  # of the browser's own
_UNSHOWN = frozenset(("template", "noscript"))
_NOT_DISPLAYED = frozenset(("noembed", "noframes"))
_ANY_UNSEEN = "boolean(//@hidden|//@popover|//dialog|//template|//noscript|//noembed|//noframes|//del|//s|//strike)"
_MOVING = ("transform", "translate", "scale", "rotate")
_NO_TEXT = frozenset(("head", "script", "style"))
_STRUCK = frozenset(("del", "s", "strike"))


@dataclass(frozen=True, slots=True)
class _State:
    """What an element inherits; None is a colour that is not known, alpha 0 one that is transparent."""

    visible: bool = True
    colour: Colour | None = BLACK
    alpha: float = 1.0
    ground: Colour | None = WHITE
    px: float = 16.0
    filled: bool = False  # letters have a colour of their own, whatever `color` says


def leave_unseen(root: "Element") -> Unseen:
    """Take what nobody sees out of a page; how many characters that were, by the reason."""
    unseen = Unseen()
    sheets = list(_sheets(root, unseen))
    sized = any(map(_CONTAINER.search, (text for text, _ in sheets))) or bool(
        root.xpath("boolean(//@style[contains(., 'contain')])")
    )
    rules = [
        (selector, [replace(d, maybe=True) for d in own] if maybe else own)
        for text, maybe in sheets
        for selector, own in rules_of(text, sized)
    ]
    inline = {text: list(declarations(text)) for text in {str(t) for t in root.xpath("//@style")}}
    hiding = hiding_groups([*(d for _, own in rules for d in own), *(d for own in inline.values() for d in own)])
    if root.xpath("boolean(//@bgcolor|//@color|//@text)"):
        hiding |= {"color"}
    if not hiding and not root.xpath(_ANY_UNSEEN):
        return unseen
    matched = _matched(root, [(s, [d for d in own if group(d.name) in hiding]) for s, own in rules])
    elsewhere = bool(root.xpath("boolean(//link[contains(@rel, 'stylesheet')])")) or any(
        "@import" in text for text, _ in sheets
    )
    _walk(root, _State(ground=None if elsewhere else WHITE), lambda e: _cascade(e, matched.get(e, ()), inline), unseen)
    return unseen


def _sheets(root: "Element", unseen: Unseen) -> "Iterator[tuple[str, bool]]":
    """The style sheets in a page, and whether each counts on some screens alone: none can end in another."""
    left = _MOST_CSS
    for style in root.xpath("//style[not(ancestor::noscript or ancestor::template)]"):
        text, holds = style.text or "", on_screen(style.get("media") or "all")
        if holds == NO:
            continue
        if len(text) > left:
            unseen.remark(
                f"of its style sheets only {_MOST_CSS} characters were read: what the others hide is in its text"
            )
        yield text[:left], holds < YES
        left = max(left - len(text), 0)


def _walk(
    root: "Element", state: _State, declared: "Callable[[Element], Mapping[str, Declared]]", unseen: Unseen
) -> None:
    import lxml.etree as etree

    states = [state]
    walker = etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        if event == "start":
            own = declared(element)
            why = NOT_DISPLAYED if element.tag in _UNSHOWN else _gone(element, own, states[-1])
            if why:
                unseen.leave("".join(element.xpath(".//text()[not(parent::script or parent::style)]")), why)
                walker.skip_subtree()
                element.clear(keep_tail=True)  # emptied, not removed: it still parts what stands before and behind it
                if element.tag not in _UNSHOWN:
                    element.tag = "span" if element.tag in _INLINE else "div"
            states.append(_inherited(element, own, states[-1]))
            if element.tag in _NO_TEXT:
                walker.skip_subtree()
            else:
                element.text = _shown(element.text, states[-1], unseen)
        else:
            states.pop()
            if element is not root:
                element.tail = _shown(element.tail, states[-1], unseen)


def _shown(text: str | None, state: _State, unseen: Unseen) -> str | None:
    if not text or not text.strip():
        return text
    why = (
        NOT_DISPLAYED if not state.visible
        else TINY if state.px <= _TINY_PX
        else TRANSPARENT if state.alpha < 0.05
        else SAME_COLOUR if alike(state.colour, state.ground)
        else ""
    )  # fmt: skip
    if not why:
        return text
    unseen.leave(text, why)
    return " "


def _gone(element: "Element", own: Mapping[str, Declared], state: _State) -> str:
    """Why nothing of an element is seen, whatever stands in it; nothing where that is not so."""
    value = {name: declared.value for name, declared in own.items()}
    hidden = element.get("hidden") is not None or element.get("popover") is not None or element.tag in _NOT_DISPLAYED
    hidden = hidden or (element.tag == "dialog" and element.get("open") is None)
    if element.tag in _KEPT:
        return ""
    if value.get("display", "none" if hidden else "") == "none":
        return NOT_DISPLAYED
    if value.get("content-visibility") == "hidden":
        return NOT_DISPLAYED
    decoration = value.get("text-decoration-line") or value.get("text-decoration", "")
    if "line-through" in (decoration or ("line-through" if element.tag in _STRUCK else "")):
        return STRUCK
    if ("opacity" in value and number(value["opacity"]) < 0.05) or NO_INK.search(value.get("filter", "")):
        return TRANSPARENT
    far = [length(value[side], state.px) for side in SIDES if side in value]
    placed = value.get("position", "static") != "static" or any(
        side in value for side in ("text-indent", "margin-left", "margin-top")
    )
    moved = [moves(name, value[name]) for name in _MOVING if name in value]
    if (placed and any(px is not None and px <= -FAR_PX for px in far)) or any(away for away, _ in moved):
        return OUTSIDE
    clipped = value.get("clip", "") if value.get("position") in ("absolute", "fixed") else ""
    if any(map(NOTHING_CLIPPED.fullmatch, (clipped, value.get("clip-path", "")))) or any(flat for _, flat in moved):
        return NOT_DISPLAYED
    return NOT_DISPLAYED if _is_shut(value, state) else ""


def _is_shut(value: Mapping[str, str], state: _State) -> bool:
    """Whether a box is too small for any letter, and cuts off what does not fit."""
    if not any(
        value.get(name, "").split()[:1] in (["hidden"], ["clip"]) for name in ("overflow", "overflow-x", "overflow-y")
    ):
        return False
    for side, first, last in (("width", "left", "right"), ("height", "top", "bottom")):
        padding = [length(value.get(name, ""), state.px) for name in ("padding", f"padding-{first}", f"padding-{last}")]
        least = length(value.get(f"min-{side}", ""), state.px)
        if any(px is None or px > 1 for px in (least or 0, *(p for p in padding if p is not None))):
            continue
        sizes = [length(value.get(name, ""), state.px) for name in (side, f"max-{side}")]
        if any(px is not None and 0 <= px <= 1 for px in sizes):
            return True
    return False


def _inherited(element: "Element", own: Mapping[str, Declared], state: _State) -> _State:
    """The state of an element's own text."""
    if element.tag == "a" and element.get("href") is not None and "color" not in own:
        state = replace(state, colour=None, alpha=1.0)  # the browser's own colour of links
    if element.tag in _WITH_GROUND and not own.keys() & {"background", "background-color"}:
        state = replace(state, ground=None)
    if not own:
        return state
    value = {name: declared.value for name, declared in own.items()}
    visible = state.visible
    if value.get("visibility", "inherit") != "inherit" and element.tag not in _KEPT:
        visible = value["visibility"] not in ("hidden", "collapse")
    px = font_px(value.get("font-size") or size_of(value.get("font", "")), state.px)
    ground = _ground(value, own, state)
    if "zoom" in value and number(value["zoom"]) > 0:
        px *= number(value["zoom"])
    colour, alpha, filled = state.colour, state.alpha, state.filled
    name = "-webkit-text-fill-color" if "-webkit-text-fill-color" in own else "color"
    said = value.get(name, "")
    if said and (name != "color" or not filled) and said not in ("inherit", "currentcolor", "unset"):
        colour, alpha = (None, 1.0) if own[name].maybe else colour_of(said)
        filled = name != "color"
    if any("text" in value.get(name, "") for name in ("background-clip", "-webkit-background-clip", "background")):
        colour, alpha = None, 1.0  # letters filled with the ground
    if "text-shadow" in value or "-webkit-text-stroke" in value:
        colour, alpha = None, 1.0
    return _State(visible, colour, alpha, ground, px, filled)


def _ground(value: Mapping[str, str], own: Mapping[str, Declared], state: _State) -> Colour | None:
    ground = state.ground
    if value.get("position") in ("absolute", "fixed", "sticky"):
        ground = None  # it may stand over anything
    for name in ("background", "background-color", "background-image"):
        said = value.get(name, "")
        if not said or said in ("none", "inherit", "initial", "unset"):
            continue
        if own[name].maybe or _PICTURE.search(said):
            return None
        if name != "background-image":
            found, alpha = first_colour(said)
            ground = ground if alpha < 0.05 else found if alpha > 0.95 else None
    return ground


# --- declarations ----------------------------------------------------------------------------------------------------


def _cascade(
    element: "Element", matched: Iterable[Declared], inline: Mapping[str, list[Declared]]
) -> dict[str, Declared]:
    """The declarations that count for an element, by property."""
    own: dict[str, Declared] = {}
    written = inline.get(element.get("style", ""), ())
    for declared in (*_hints(element), *matched, *written):
        before = own.get(declared.name)
        if declared.maybe and hides(declared):
            continue
        if before is None or declared.important or not before.important:
            own[declared.name] = declared
            if declared.name in ("background", "font"):  # they set what was set one by one before
                own.pop({"background": "background-color", "font": "font-size"}[declared.name], None)
    return own


def _hints(element: "Element") -> Iterator[Declared]:
    """What attributes of the time before CSS say (HTML Standard 15.3)."""
    if not element.attrib:
        return
    for attribute, name in (("bgcolor", "background-color"), ("text", "color"), ("color", "color")):
        if (value := element.get(attribute)) and (attribute != "color" or element.tag in ("font", "basefont")):
            value = value.strip().lower()
            yield Declared(name, f"#{value}" if re.fullmatch(r"[0-9a-f]{6}", value) else value, False)
    if element.get("background"):
        yield Declared("background-image", "url()", False)


def _matched(
    root: "Element", rules: "Iterable[tuple[str | list[Node], list[Declared]]]"
) -> "dict[Element, list[Declared]]":
    """The declarations of style sheets for each element that any is for, those that count most last."""
    import cssselect2

    matcher = cssselect2.Matcher()
    any_rule = False
    for selectors, declared in rules:
        if not declared:
            continue
        try:
            compiled = cssselect2.compile_selector_list(selectors)
        except cssselect2.SelectorError:
            continue
        for selector in compiled:
            if selector.pseudo_element is None:
                matcher.add_selector(selector, declared)
                any_rule = True
    found: dict[Element, list[Declared]] = {}
    if any_rule:
        for wrapper in cssselect2.ElementWrapper.from_html_root(root).iter_subtree():
            if own := [each for _, _, _, declared in matcher.match(wrapper) for each in declared]:
                found[wrapper.etree_element] = own
    return found
