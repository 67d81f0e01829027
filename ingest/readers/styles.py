"""Whether a person sees the text of a web page, by its own CSS: style sheets in it, style attributes, old attributes.

Scripts do not run and other files are not fetched: what they would change is not known. A colour counts as that of its
ground only where both are. Sources: CSS Cascading 4, CSS Display 3, CSS 2.2 (visual effects), HTML Standard 15.3.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.readers.css import (
    FAR_MOVED,
    FAR_PX,
    NO_INK,
    NO_SCALE,
    NOTHING_CLIPPED,
    SIDES,
    Declared,
    colour_of,
    declarations,
    first_colour,
    font_px,
    group,
    hides,
    hiding_groups,
    length,
    number,
    rules_of,
    size_of,
)  # fmt: skip
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
_KEPT = frozenset(("html", "body", "main", "article"))  # shown by a script once it has run
_INLINE = frozenset(
    "a abbr b big cite code del em font i ins label mark s small span strike strong sub sup tt u var".split()
)
_WITH_GROUND = frozenset(("button", "mark"))  # of the browser's own
_UNSHOWN = frozenset(("template", "noscript"))
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


def leave_unseen(root: "Element") -> Unseen:
    """Take what nobody sees out of a page; how many characters that were, by the reason."""
    unseen = Unseen()
    styles = root.xpath("//style[not(ancestor::noscript or ancestor::template)]")
    sheets = "\n".join(f"@media {style.get('media') or 'all'} {{{style.text or ''}}}" for style in styles)
    rules = list(rules_of(sheets[:_MOST_CSS]))
    inline = {text: list(declarations(text)) for text in {str(t) for t in root.xpath("//@style")}}
    hiding = hiding_groups([*(d for _, own in rules for d in own), *(d for own in inline.values() for d in own)])
    if root.xpath("boolean(//@bgcolor|//@color|//@text)"):
        hiding |= {"color"}
    if not hiding and not root.xpath("boolean(//@hidden|//dialog|//template|//noscript|//del|//s|//strike)"):
        return unseen
    matched = _matched(root, [(s, [d for d in own if group(d.name) in hiding]) for s, own in rules])
    elsewhere = bool(root.xpath("boolean(//link[contains(@rel, 'stylesheet')])")) or "@import" in sheets
    _walk(root, _State(ground=None if elsewhere else WHITE), lambda e: _cascade(e, matched.get(e, ()), inline), unseen)
    return unseen


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
    hidden = element.get("hidden") is not None and element.get("hidden", "").lower() != "until-found"
    hidden = hidden or (element.tag == "dialog" and element.get("open") is None)
    if element.tag in _KEPT:
        return ""
    if value.get("display", "none" if hidden else "") == "none":
        return NOT_DISPLAYED
    decoration = value.get("text-decoration-line") or value.get("text-decoration", "")
    if "line-through" in (decoration or ("line-through" if element.tag in _STRUCK else "")):
        return STRUCK
    if ("opacity" in value and number(value["opacity"]) < 0.05) or NO_INK.search(value.get("filter", "")):
        return TRANSPARENT
    far = [length(value[side], state.px) for side in SIDES if side in value]
    placed = value.get("position", "static") != "static" or "text-indent" in value or "margin-left" in value
    if (placed and any(px is not None and px <= -FAR_PX for px in far)) or FAR_MOVED.search(value.get("transform", "")):
        return OUTSIDE
    clipped = value.get("clip", "") if value.get("position") in ("absolute", "fixed") else ""
    if any(map(NOTHING_CLIPPED.fullmatch, (clipped, value.get("clip-path", "")))):
        return NOT_DISPLAYED
    if NO_SCALE.search(value.get("transform", "")):
        return NOT_DISPLAYED
    sizes = [length(value[side], state.px) for side in ("width", "height") if side in value]
    cut = any(
        value.get(name, "").split()[:1] in (["hidden"], ["clip"]) for name in ("overflow", "overflow-x", "overflow-y")
    )
    return NOT_DISPLAYED if cut and any(px is not None and 0 <= px <= 1 for px in sizes) else ""


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
    colour, alpha = state.colour, state.alpha
    if own.get("color") and own["color"].maybe:
        colour, alpha = None, 1.0
    elif (said := value.get("color")) and said not in ("inherit", "currentcolor", "unset"):
        colour, alpha = colour_of(said)
    if any("text" in value.get(name, "") for name in ("background-clip", "-webkit-background-clip", "background")):
        colour, alpha = None, 1.0  # letters filled with the ground
    if "text-shadow" in value or "-webkit-text-fill-color" in value or "-webkit-text-stroke" in value:
        colour, alpha = None, 1.0
    return _State(visible, colour, alpha, ground, px)


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


def _matched(root: "Element", rules: "Iterable[tuple[list[Node], list[Declared]]]") -> "dict[Element, list[Declared]]":
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
