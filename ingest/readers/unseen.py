"""What nobody sees in a document, or what is struck out in it, is no part of its text.

How much was left out, and why, stands in the report card.
"""

import re
from collections import Counter
from collections.abc import Iterable

NOT_DISPLAYED = "they are not displayed"
OUTSIDE = "they stand outside of the page"
TRANSPARENT = "they are transparent"
SAME_COLOUR = "they have the colour of their ground"
COVERED = "something that is drawn later covers them"
TINY = "they are too small to be read"
SHAPELESS = "they have no shape"
STRUCK = "they are struck out"
DELETED = "they are deleted by tracked changes"
BESIDE = "they stand beside the main part of the page"

Colour = tuple[float, float, float]  # red, green, blue, each from 0 to 1
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
_ALIKE = 6 / 255  # of each channel: what the eye does not tell apart
_SEEN = frozenset((STRUCK, DELETED, BESIDE))  # by a person who looks, but no part of what the document says
_NOTE = re.compile(r"(\d+) characters (?:that nobody sees )?were left out: (.*)")


class Unseen(Counter[str]):
    """Characters that were left out, spaces not counted, by the reason; and what could not be told."""

    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[str] = []

    def remark(self, note: str) -> None:
        """Note once what could not be told."""
        if note not in self.remarks:
            self.remarks.append(note)

    def leave(self, text: str, why: str) -> None:
        """Count a text that is left out."""
        if why and (count := sum(map(len, text.split()))):
            self[why] += count

    def notes(self) -> list[str]:
        """A note for each reason."""
        return self.remarks + [
            f"{count} characters {'' if why in _SEEN else 'that nobody sees '}were left out: {why}"
            for why, count in self.items()
        ]


def joined(notes: Iterable[str]) -> list[str]:
    """Notes of several parts as those of the whole: one for each reason, the other notes before them."""
    unseen, others = Unseen(), []
    for note in notes:
        if found := _NOTE.fullmatch(note):
            unseen[found[2]] += int(found[1])
        else:
            others.append(note)
    return [*others, *unseen.notes()]


def alike(colour: Colour | None, ground: Colour | None) -> bool:
    """Whether text of a colour cannot be told from its ground; False where either is not known."""
    return bool(colour and ground) and all(
        abs(a - b) <= _ALIKE for a, b in zip(colour or (), ground or (), strict=True)
    )
