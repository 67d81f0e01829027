"""What an error or a note says, in the language of whoever reads it.

Both are made in English; errors_zh.toml has them in Chinese, `{}` standing for what differs (`{0}`, `{1}` where the
order does too).
"""

import re
import tomllib
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Literal

from core.errors import RagstoneError

Tongue = Literal["en", "zh"]

_CHINESE = Path(__file__).with_name("errors_zh.toml")
_PLACE = re.compile(r"(?<!\{)\{(\d*)\}(?!\})")
_DEEPEST = 4  # quotes within quotes that are translated
_HINT = "\n  → "  # as `RagstoneError` puts message and hint together


def says(error: RagstoneError | str, tongue: Tongue) -> str:
    """An error as its reader sees it; what has no translation, such as a parser's own words, stays as it is."""
    text = str(error)
    return text if tongue == "en" else _HINT.join(_chinese(part) for part in text.split(_HINT))


@lru_cache(maxsize=4096)
def _chinese(text: str, depth: int = 0) -> str:
    for pieces, chinese in _forms():
        values = between(pieces, text)
        if values is not None:
            if depth < _DEEPEST:  # errors quote other errors
                values = [_chinese(value, depth + 1) for value in values]
            return _filled(chinese, values)
    return text


def _filled(template: str, values: Sequence[str]) -> str:
    order = count()
    return _PLACE.sub(lambda place: values[int(place[1] or next(order))], template)


@cache
def _forms() -> list[tuple[list[str], str]]:
    """What stands around the places of each English text. Those that say most first: a text may have several forms."""
    rows = tomllib.loads(_CHINESE.read_text("utf-8")).items()
    longest = sorted(rows, key=lambda row: -len(_PLACE.sub("", row[0])))
    return [(re.split(r"(?<!\{)\{\}(?!\})", english), chinese) for english, chinese in longest]


def between(pieces: Sequence[str], text: str) -> list[str] | None:
    """What stands between some pieces, of which a text is to consist; None where it does not.

    Each piece is taken where it comes first, which leaves the rest most room, so that nothing is ever tried twice: the
    time grows with the text's length, whatever a document or a server made of it.

    >>> between(["too large: ", " MB, the limit is ", " MB"], "too large: 7 MB, the limit is 5 MB")
    ['7', '5']
    """
    first, *others = pieces
    if not others:
        return [] if text == first else None
    last = others.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return None
    at, end, values = len(first), len(text) - len(last), []
    for piece in others:
        found = text.find(piece, at, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(piece)
    return [*values, text[at:end]]
