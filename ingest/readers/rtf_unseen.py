"""What the characters of a rich text document look like, as far as it decides whether somebody sees them.

Programs write out at each run what a style says of it, so that styles need not be looked up. A colour counts as that of
its ground only where both are known: in a table with coloured cells the ground is not. Source: RTF specification 1.9.1,
"Color Table", "Font (Character) Formatting Properties", "Paragraph Shading".
"""

from dataclasses import dataclass, field, replace

from ingest.readers.unseen import (
    DELETED,
    NOT_DISPLAYED,
    SAME_COLOUR,
    STRUCK,
    TINY,
    WHITE,
    Colour,
    alike,
)

_TINY = 2  # half points
_GROUNDS = frozenset(("cb", "chcbpat", "highlight"))
_HEIGHTS = {"super": "super", "sub": "sub", "nosupersub": "", "up": "super", "dn": "sub"}
_MOVED = 5  # half points off the line, from which on characters count as raised or lowered
_WORDS = frozenset("plain pard v deleted strike striked fs cf cbpat".split()) | _GROUNDS | _HEIGHTS.keys()


@dataclass(frozen=True, slots=True)
class Look:
    """What holds for the characters that follow. Colours are numbers in the table of colours; 0 is the usual one."""

    hidden: bool = False
    deleted: bool = False
    struck: bool = False
    half_points: int = 24
    colour: int = 0
    ground: int = 0
    paragraph: int = 0  # its ground
    height: str = ""  # super, sub

    def after(self, word: str, number: int | None) -> "Look":
        """The look behind a control word."""
        if word not in _WORDS:
            return self
        value, on = max(number or 0, 0), number != 0
        if word == "plain":
            return Look(paragraph=self.paragraph)
        if word == "pard":
            return replace(self, paragraph=0)
        if word == "v":
            return replace(self, hidden=on)
        if word == "deleted":
            return replace(self, deleted=on)
        if word in ("strike", "striked"):
            return replace(self, struck=on)
        if word == "fs":
            return replace(self, half_points=24 if number is None else value)
        if word == "cf":
            return replace(self, colour=value)
        if word in _HEIGHTS:
            moves = word not in ("up", "dn") or (6 if number is None else value) >= _MOVED
            return replace(self, height=_HEIGHTS[word] if on and moves else "")
        if word in _GROUNDS:
            return replace(self, ground=value)
        return replace(self, paragraph=value)


@dataclass(slots=True)
class Colours:
    """The colours of a document, whether cells of the present table row have some, and whether this is hidden."""

    table: list[Colour | None] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)  # of the colour that is being defined
    in_cells: bool = False
    row_hidden: bool = False

    def word(self, word: str, number: int | None) -> None:
        """Part of the definition of a colour."""
        if word in ("red", "green", "blue"):
            self.levels[word] = min(max(number or 0, 0), 255)

    def text(self, text: str) -> None:
        """Each semicolon ends a colour; one without a definition is the usual one."""
        for _ in range(text.count(";")):
            red, green, blue = (self.levels.get(name, 0) / 255 for name in ("red", "green", "blue"))
            self.table.append((red, green, blue) if self.levels else None)
            self.levels.clear()

    def cell(self, word: str, number: int | None) -> None:
        """The definition of a row, or the ground of a cell of it."""
        if word == "trowd":
            self.in_cells = self.row_hidden = False
        elif word == "trhidden":
            self.row_hidden = number != 0
        elif word in ("clcbpat", "trcbpat", "clcfpat", "clshdng"):
            self.in_cells = self.in_cells or bool(number)

    def why(self, look: Look, in_table: bool) -> str:
        """Why characters of a look are left out; "" where they are seen."""
        for is_so, why in (
            (look.hidden, NOT_DISPLAYED), (look.deleted, DELETED), (look.struck, STRUCK),
            (look.half_points <= _TINY, TINY),
        ):  # fmt: skip
            if is_so:
                return why
        return SAME_COLOUR if look.colour and alike(self._of(look.colour), self._ground(look, in_table)) else ""

    def _ground(self, look: Look, in_table: bool) -> Colour | None:
        number = look.ground or look.paragraph
        if number:
            return self._of(number)
        return None if in_table and self.in_cells else WHITE

    def _of(self, number: int) -> Colour | None:
        return self.table[number] if number < len(self.table) else None
