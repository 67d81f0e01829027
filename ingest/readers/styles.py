"""Whether a person sees the text of a web page, by its own CSS: style sheets in it, style attributes, old attributes.

Scripts do not run and other files are not fetched: what they would change is not known. A colour counts as that of its
ground only where both are. Sources: CSS Cascading 4, CSS Display 3, CSS 2.2 (visual effects), HTML Standard 15.3.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.readers.css import (
    Declared,
    declarations,
    group,
    has_no_ink,
    hides,
    hiding_groups,
    rules_of,
)
from ingest.readers.css_boxes import AS_BEFORE, BOX, IN_LINE, PLACED, is_flat, is_in_line, is_outside, is_shut
from ingest.readers.css_colours import Shade, colour_of, picture_colour, shadow_colours
from ingest.readers.css_media import NO, YES, on_screen
from ingest.readers.css_shapes import leaves_nothing
from ingest.readers.css_valid import SHARED_WORDS
from ingest.readers.css_values import font_px, number
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
_CONTAINER = re.compile(r"\bcontain(?:er|er-type)?\s*:", re.I)
_KEPT = frozenset(("html", "body", "main", "article"))  # shown by a script once it has run
_WITH_GROUND = frozenset(("button", "mark"))  # of the browser's own
_UNSHOWN = frozenset(("template", "noscript"))
_NOT_DISPLAYED = frozenset(("noembed", "noframes"))
_ANY_UNSEEN = "boolean(//@hidden|//@popover|//dialog|//template|//noscript|//noembed|//noframes|//del|//s|//strike)"
_NO_TEXT = frozenset(("head", "script", "style"))
_STRUCK = frozenset(("del", "s", "strike"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What an element inherits; None is a colour that is not known, alpha 0 one that is transparent."""

    visible: bool = True
    colour: Colour | None = BLACK
    alpha: float = 1.0
    ground: Colour | None = WHITE
    px: float = 16.0
    filled: bool = False  # letters have a colour of their own, whatever `color` says
    shadows: tuple[Shade, ...] = ()  # of letters
    outlines: tuple[Shade, ...] = ()
    in_line: bool = True  # what stands in it may be part of a line; else its children are boxes of a grid


def leave_unseen(root: "Element", quirks: bool = False) -> Unseen:
    """Take what nobody sees out of a page; how many characters that were, by the reason.

    `quirks`: it has no doctype.
    """
    unseen = Unseen()
    sheets = list(_sheets(root, unseen))
    sized = any(map(_CONTAINER.search, (text for text, _ in sheets))) or bool(
        root.xpath("boolean(//@style[contains(., 'contain')])")
    )
    rules = [
        (selector, [replace(d, maybe=True) for d in own] if maybe else own)
        for text, maybe in sheets
        for selector, own in rules_of(text, sized, quirks)
    ]
    inline = {text: list(declarations(text, quirks)) for text in {str(t) for t in root.xpath("//@style")}}
    every = [*(d for _, own in rules for d in own), *(d for own in inline.values() for d in own)]
    dark = any(d.name == "color-scheme" and "dark" in d.value for d in every) or bool(
        root.xpath("boolean(//meta[@name='color-scheme' and contains(@content, 'dark')])")
    )
    if dark:  # of `light-dark()` either may be shown
        rules = [(selector, [_either(d) for d in own]) for selector, own in rules]
        inline = {text: [_either(d) for d in own] for text, own in inline.items()}
    hiding = hiding_groups(every)
    if root.xpath("boolean(//@bgcolor|//@color|//@text)"):
        hiding |= {"color"}
    if not hiding and not root.xpath(_ANY_UNSEEN):
        return unseen
    matched = _matched(root, [(s, [d for d in own if group(d.name) in hiding]) for s, own in rules])
    elsewhere = bool(root.xpath("boolean(//link[contains(@rel, 'stylesheet')])")) or any(
        "@import" in text for text, _ in sheets
    )
    _walk(
        root,
        _State(ground=None if elsewhere or dark else WHITE),
        lambda e: _cascade(e, matched.get(e, ()), inline),
        unseen,
    )
    return unseen


def _either(declared: Declared) -> Declared:
    return replace(declared, maybe=declared.maybe or "light-dark(" in declared.value)


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
                    element.tag = "span" if element.tag in IN_LINE else "div"
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
    drawn = why in (TRANSPARENT, SAME_COLOUR) and any(
        alpha >= 0.05 and not alike(ink, state.ground) for ink, alpha in (*state.shadows, *state.outlines)
    )
    if not why or drawn:
        return text
    unseen.leave(text, why)
    return " "


def _gone(element: "Element", own: Mapping[str, Declared], state: _State) -> str:
    """Why nothing of an element is seen, whatever stands in it; nothing where that is not so."""
    hidden = element.get("hidden") is not None or element.get("popover") is not None or element.tag in _NOT_DISPLAYED
    hidden = hidden or (element.tag == "dialog" and element.get("open") is None)
    if element.tag in _KEPT or not (own or hidden or element.tag in _STRUCK):
        return ""
    value = {name: declared.value for name, declared in own.items()}
    display = value.get("display", "")
    if (("none" if hidden else "") if display in ("", "revert", "revert-layer") else display) == "none":
        return NOT_DISPLAYED
    decoration = value.get("text-decoration-line", "revert")
    if "line-through" in decoration or (decoration.startswith("revert") and element.tag in _STRUCK):
        return STRUCK
    if ("opacity" in value and number(value["opacity"]) < 0.05) or has_no_ink(value.get("filter", "")):
        return TRANSPARENT
    if BOX.isdisjoint(value):
        return ""
    in_line = state.in_line and is_in_line(str(element.tag), value)
    if value.get("content-visibility") == "hidden" and not in_line:
        return NOT_DISPLAYED
    if leaves_nothing("clip-path", value.get("clip-path", "")):
        return NOT_DISPLAYED
    if value.get("position") in PLACED and leaves_nothing("clip", value.get("clip", "")):
        return NOT_DISPLAYED
    if is_outside(str(element.tag), value, state.px, in_line):
        return OUTSIDE
    if not in_line and (is_flat(value, state.px) or is_shut(str(element.tag), value, state.px, state.in_line)):
        return NOT_DISPLAYED
    return ""


def _inherited(element: "Element", own: Mapping[str, Declared], state: _State) -> _State:
    """The state of an element's own text."""
    if element.tag == "a" and element.get("href") is not None and "color" not in own:
        state = replace(state, colour=None, alpha=1.0)  # the browser's own colour of links
    if element.tag in _WITH_GROUND and not own.keys() & {"background-image", "background-color"}:
        state = replace(state, ground=None)
    if not own:
        return state if state.in_line else replace(state, in_line=True)
    value = {name: declared.value for name, declared in own.items()}
    visible = state.visible
    if value.get("visibility", "") not in AS_BEFORE and element.tag not in _KEPT:
        visible = value["visibility"] not in ("hidden", "collapse")
    px = font_px(value.get("font-size", ""), state.px)
    if "zoom" in value:
        px *= number(value["zoom"]) or 1.0
    (colour, alpha), filled = _colour(element, own, state)
    ground = _ground(value, own, state, colour)
    if "text" in value.get("background-clip", ""):
        colour, alpha = None, 1.0  # letters filled with the ground
    in_line = not any(name in value.get("display", "") for name in ("flex", "grid", "box"))
    return _State(
        visible=visible, colour=colour, alpha=alpha, ground=ground, px=px, filled=filled, in_line=in_line,
        shadows=_inks(own.get("text-shadow"), state.shadows),
        outlines=_inks(own.get("-webkit-text-stroke-color"), state.outlines),
    )  # fmt: skip


def _inks(said: Declared | None, before: tuple[Shade, ...]) -> tuple[Shade, ...]:
    """The colours of shadows or outlines of letters."""
    if said is None or said.value in AS_BEFORE:
        return before
    return (*before, (None, 1.0)) if said.maybe else shadow_colours(said.value)


def _colour(element: "Element", own: Mapping[str, Declared], state: _State) -> tuple[Shade, bool]:
    """The colour of letters and its alpha, and whether it is one that `color` does not change."""
    fill, said = own.get("-webkit-text-fill-color"), own.get("color")
    if fill and fill.value not in AS_BEFORE | {"currentcolor", "initial"}:
        return ((None, 1.0) if fill.maybe else colour_of(fill.value)), True
    if fill and fill.value in ("currentcolor", "initial") and state.filled:
        state = replace(state, filled=False, colour=None, alpha=1.0)  # that `color` says further out
    if said is None or state.filled or said.value in AS_BEFORE | {"currentcolor"}:
        own_colour = said is not None and said.value.startswith("revert") and element.tag in ("a", "mark", "button")
        return ((None, 1.0) if own_colour else (state.colour, state.alpha)), state.filled
    if said.value == "initial":
        return (BLACK, 1.0), False
    return ((None, 1.0) if said.maybe else colour_of(said.value)), False


def _ground(
    value: Mapping[str, str], own: Mapping[str, Declared], state: _State, colour: Colour | None
) -> Colour | None:
    ground = state.ground
    if value.get("position") in ("absolute", "fixed", "sticky", "-webkit-sticky"):
        ground = None  # it may stand over anything
    said = value.get("background-color", "")
    if said == "currentcolor":
        ground = colour
    elif said and said not in SHARED_WORDS:
        found, alpha = (None, 1.0) if own["background-color"].maybe else colour_of(said)
        ground = ground if alpha < 0.05 else found if alpha > 0.95 else None
    said = value.get("background-image", "")
    if said:
        found, alpha = (None, 1.0) if own["background-image"].maybe else picture_colour(said)
        whole = value.get("background-size", "auto") in SHARED_WORDS | {"auto", "repeat", "cover"}
        ground = ground if alpha == 0 else found if whole and alpha > 0.95 else None
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
