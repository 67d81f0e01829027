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
from typing import TYPE_CHECKING

from core.errors import RagstoneError

if TYPE_CHECKING:
    from app.texts import Tongue

_CHINESE = Path(__file__).with_name("errors_zh.toml")
_PLACE = re.compile(r"(?<!\{)\{(\d*)\}(?!\})")
_HINT = "\n  → "  # as `RagstoneError` puts message and hint together


def says(error: RagstoneError | str, tongue: "Tongue") -> str:
    """An error as its reader sees it; what has no translation, such as a parser's own words, stays as it is."""
    text = str(error)
    return text if tongue == "en" else _HINT.join(_chinese(part) for part in text.split(_HINT))


@lru_cache(maxsize=4096)
def _chinese(text: str) -> str:
    for pattern, chinese in _patterns():
        if found := pattern.fullmatch(text):
            return _filled(chinese, [_chinese(value) for value in found.groups()])  # errors quote other errors
    return text


def _filled(template: str, values: Sequence[str]) -> str:
    order = count()
    return _PLACE.sub(lambda place: values[int(place[1] or next(order))], template)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Those that say most first: a text may have the form of several."""
    rows = tomllib.loads(_CHINESE.read_text("utf-8")).items()
    longest = sorted(rows, key=lambda row: -len(_PLACE.sub("", row[0])))
    return [(_pattern(english), chinese) for english, chinese in longest]


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, re.split(r"(?<!\{)\{\}(?!\})", english))), re.DOTALL)
