"""What the text of an OpenDocument file looks like, as far as it decides whether somebody sees it.

A colour counts as that of its ground only where both are known: in frames, on slides and on pages with a colour the
ground is not. Source: OpenDocument 1.3, part 3, 16 (styles) and 20 (formatting properties).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from ingest.readers.opendocument_numbers import Numbers
from ingest.readers.unseen import NOT_DISPLAYED, SAME_COLOUR, STRUCK, TINY, WHITE, Colour, Unseen, alike

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_POINTS = re.compile(r"(\d{1,4}(?:\.\d{1,4})?)pt")
_TINY = 1.0  # points
_MOVED = 10.0  # percent of the height of letters that text stands off its line
_READ = ("display", "color", "use-window-font-color", "background-color", "font-size", "text-line-through-style",
         "text-line-through-type", "text-position")  # fmt: skip
Look = Mapping[str, str]  # of a run: formatting properties by their local names


def attribute(element: "Element", name: str) -> str:
    """The value of an attribute by its local name; old and new versions put it in different namespaces."""
    return next((value for key, value in element.attrib.items() if str(key).endswith(f"}}{name}")), "")


class Looks:
    """The styles of a document: those of its content, and those of `styles`, where that is a file apart."""

    def __init__(self, content: "Element", styles: "Element | None" = None) -> None:
        roots = [root for root in (styles, content) if root is not None]  # the latter come first where both have one
        self._styles = {
            (attribute(style, "family"), attribute(style, "name")): style
            for root in roots
            for group in ("styles", "automatic-styles")
            for style in root.iterfind(f"{{*}}{group}/{{*}}style")
        }
        self.numbers = Numbers(roots)
        defaults = (style for root in roots for style in root.iterfind("{*}styles/{*}default-style"))
        self._defaults = {attribute(style, "family"): style for style in defaults}
        pages = (about for root in roots for about in root.iter("{*}page-layout-properties"))
        coloured = any(attribute(about, "background-color") not in ("", "transparent") for about in pages)
        self.page: Colour | None = None if coloured else WHITE
        self.of = cache(self._of)

    def _of(self, family: str, name: str, kind: str = "text") -> Look:
        """What a style and those that it is based on say of text, or of what else it is about (`kind`)."""
        chain: list[Element | None] = []
        seen: set[str] = set()
        while name not in seen and (style := self._styles.get((family, name))) is not None:
            seen.add(name)
            chain.append(style)
            name = attribute(style, "parent-style-name")
        chain.append(self._defaults.get(family))
        found: dict[str, str] = {}
        for style in reversed(chain):
            for about in style.iterfind(f"{{*}}{kind}-properties") if style is not None else ():
                found |= {key: value for key in _READ if (value := attribute(about, key))}
        return found

    def ground(self, element: "Element", family: str, around: Colour | None) -> Colour | None:
        """The colour behind what stands in a table, a row or a cell."""
        stated = self.of(family, attribute(element, "style-name"), family).get("background-color", "transparent")
        return around if stated == "transparent" else _colour(stated)

    def depends(self, family: str, name: str) -> bool:
        """Whether a style, or one that it is based on, takes another's place under some condition."""
        seen: set[str] = set()
        while name not in seen and (style := self._styles.get((family, name))) is not None:
            if style.find("{*}map") is not None:
                return True
            seen.add(name)
            name = attribute(style, "parent-style-name")
        return False

    def hides(self, page: "Element") -> bool:
        """Whether a slide is not shown."""
        style = self._styles.get(("drawing-page", attribute(page, "style-name")))
        about = style.iterfind("{*}drawing-page-properties") if style is not None else ()
        return any(attribute(one, "visibility") == "hidden" for one in about)


@dataclass(frozen=True, slots=True)
class Sight:
    """How text is seen at some place: its look, and the colour behind it."""

    looks: Looks
    unseen: Unseen
    ground: Colour | None
    look: Look
    why: str = ""  # it is left out
    hidden: bool = False  # whatever its look

    @classmethod
    def of_paragraph(cls, looks: Looks, unseen: Unseen, ground: Colour | None, paragraph: "Element") -> "Sight":
        """The sight of the text in a paragraph."""
        style = attribute(paragraph, "style-name")
        behind = looks.of("paragraph", style, "paragraph").get("background-color", "transparent")
        ground = ground if behind == "transparent" else _colour(behind)
        sight = cls(looks, unseen, ground, {})
        hidden = any(attribute(mark, "is-hidden") == "true" for mark in paragraph.iter("{*}hidden-paragraph"))
        if hidden:
            return replace(sight, why=NOT_DISPLAYED, hidden=True)
        return sight._with(looks.of("paragraph", style))

    @classmethod
    def of_cell(cls, looks: Looks, unseen: Unseen, style: str) -> "Sight":
        """The sight of the text in a cell of a sheet."""
        stated = looks.of("table-cell", style, "table-cell").get("background-color", "transparent")
        ground = WHITE if stated == "transparent" else _colour(stated)
        return cls(looks, unseen, ground, {})._with(looks.of("table-cell", style))

    def within(self, span: "Element") -> "Sight":
        """The sight of the text in a part of a paragraph."""
        if self.hidden or attribute(span, "is-hidden") == "true":
            return replace(self, why=NOT_DISPLAYED, hidden=True)
        name = attribute(span, "style-name")
        return self._with(self.looks.of("text", name)) if name else self

    @property
    def height(self) -> str:
        """`super` or `sub` where the text stands higher or lower than its line; else nothing."""
        stated = self.look.get("text-position", "").split(" ")[0]
        off = float(stated[:-1]) if re.fullmatch(r"-?\d{1,3}(?:\.\d{1,9})?%", stated) else 0.0
        return stated if stated in ("super", "sub") else "super" if off >= _MOVED else "sub" if off <= -_MOVED else ""

    def passes(self, text: str) -> str:
        """A text as far as it is seen; the rest is counted."""
        if self.why:
            self.unseen.leave(text, self.why)
            return ""
        return text

    def _with(self, said: Look) -> "Sight":
        look = {**self.look, **said}
        if "color" in said and "use-window-font-color" not in said:
            look.pop("use-window-font-color", None)
        return replace(self, look=look, why=self._judged(look))

    def _judged(self, look: Look) -> str:
        if look.get("display") == "none":
            return NOT_DISPLAYED
        if any(look.get(f"text-line-through-{part}", "none") != "none" for part in ("style", "type")):
            return STRUCK
        size = _POINTS.fullmatch(look.get("font-size", ""))
        if size and float(size[1]) <= _TINY:
            return TINY
        behind = look.get("background-color", "transparent")
        ground = self.ground if behind == "transparent" else _colour(behind)
        usual = look.get("use-window-font-color") == "true"
        return SAME_COLOUR if not usual and alike(_colour(look.get("color", "")), ground) else ""


def _colour(text: str) -> Colour | None:
    found = _COLOUR.fullmatch(text)
    if found is None:
        return None
    red, green, blue = (int(part, 16) / 255 for part in found.groups())
    return red, green, blue
