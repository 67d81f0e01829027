"""Values of form fields, put beside the labels that they answer: `Surname: Okonkwo`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ingest.readers.pdf_words import Word, Words

_FAR = 220.0  # points from a label to its field
_ABOVE = 14.0  # points from a field up to the label that stands over it
_ALIGNED = 6.0  # points
_RIGHT = 24.0  # points from a box to the words behind it
_SPACE = 1.2  # heights between the words of a label
_ENDS = (":", "：", "?", "？")


@dataclass(slots=True)
class Filled(Word):
    """The value of a field; `box`: it is a mark of one that is ticked or not."""

    box: bool = False


def beside_labels(found: Words, put: Sequence[Word]) -> list[Word]:
    """The values of a page, those of single fields moved to the end of their labels.

    Fields below each other under one name are a column of a table, and stay where they are; so do boxes that have words
    behind them.
    """
    if not any(isinstance(word, Filled) for word in put):
        return list(put)
    around = [Word(text, *box) for text, box in zip(found.texts, found.boxes.tolist(), strict=True)]
    placed = {id(word): label for word in put if isinstance(word, Filled) and (label := _label(word, around, put))}
    over = {id(word): label for word in put if isinstance(word, Filled) and (label := _over(word, around))}
    for group in _columns(put):
        named = [id(word) in over for word in group]
        if named[0] and not all(named):  # but the first: one name over all of them
            for word in group:
                placed.pop(id(word), None)
                over.pop(id(word), None)
    return [_moved(word, placed.get(id(word)) or over.get(id(word))) for word in put]


def _columns(put: Sequence[Word]) -> list[list[Word]]:
    fields = [word for word in put if isinstance(word, Filled) and not word.box]
    fields.sort(key=lambda word: (round(word.left), -word.top))
    return [list(group) for _, group in groupby(fields, key=lambda word: round(word.left))]


def _label(value: Filled, around: Sequence[Word], put: Sequence[Word]) -> Word | None:
    """The last word of the label at the left of a value, where no other value stands between."""
    row = [word for word in around if abs(word.middle - value.middle) < 0.6 * max(word.height, value.height)]
    if value.box and any(0 <= word.left - value.right < _RIGHT for word in row):
        return None
    left = max((word for word in row if word.right <= value.left + 2), key=lambda word: word.right, default=None)
    if left is None or value.left - left.right > _FAR:
        return None
    others = (word for word in put if word is not value and abs(word.middle - value.middle) < value.height)
    return None if any(left.right < other.right <= value.left + 2 for other in others) else left


def _over(value: Filled, around: Sequence[Word]) -> Word | None:
    """The last word of the label over a value that begins where this does."""
    near = [word for word in around if -2 <= word.bottom - value.top < _ABOVE]
    first = next((word for word in near if abs(word.left - value.left) < _ALIGNED), None)
    if first is None or value.box:
        return None
    last = first
    for word in sorted(near, key=lambda word: word.left):
        if abs(word.bottom - first.bottom) < 2 and 0 <= word.left - last.right < _SPACE * first.height:
            last = word
    return last


def _moved(value: Word, label: Word | None) -> Word:
    if label is None:
        return value
    said = f"{'' if label.text.endswith(_ENDS) else ':'} {value.text}"
    return Word(said, label.right, label.bottom, label.right + 1, label.top)
