"""Words of a knowledge base's own: names that are one word, and different words for one thing.

`data/<kb>/dictionary.txt`, one entry a line, `#` begins a comment:

    兰亭科技                      a name; found as a whole, it counts beside its parts
    年假 = 带薪年假 = annual leave   synonyms, in any language: each finds the others
"""

from collections.abc import Sequence
from pathlib import Path

from core.errors import ConfigError
from core.text import digest, fold

FILE = "dictionary.txt"
_MOST = 100_000  # entries
_LATIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


class Dictionary:
    """Entries as groups of synonyms; a group adds one token of its own wherever one of its words stands."""

    def __init__(self, groups: Sequence[Sequence[str]] = ()) -> None:
        self._names: dict[str, str] = {}
        for group in groups:
            words = [" ".join(fold(word).split()) for word in group]
            for word in filter(None, words):  # of a mark alone nothing may be left
                self._names.setdefault(word, "=" + words[0].replace(" ", "_"))
        self.identity = digest(repr(sorted(self._names.items()))).hex() if self._names else ""
        self._lengths: dict[str, list[int]] = {}  # of the entries that begin with a character, the longest first
        for first, length in sorted({(word[0], len(word)) for word in self._names}, key=lambda own: -own[1]):
            self._lengths.setdefault(first, []).append(length)

    def names(self, text: str) -> list[str]:
        """The tokens of the entries in a text, in order; of several that begin at one place the longest."""
        if not self._names:
            return []
        text, at = " ".join(fold(text).split()), 0
        found: list[str] = []
        while at < len(text):
            ends = (at + length for length in self._lengths.get(text[at], ()) if at + length <= len(text))
            end = next((end for end in ends if text[at:end] in self._names and _stands_alone(text, at, end)), 0)
            if end:
                found.append(self._names[text[at:end]])
            at = end or at + 1
        return found


def load(file: Path) -> Dictionary:
    """The dictionary of a file; an empty one where there is none. Raises `ConfigError` for what cannot be read."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return Dictionary()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error}", "save it as UTF-8 text") from None
    groups: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if entry:
            groups.append([word.strip() for word in entry.split("=")])
            if not all(groups[-1]):
                hint = "write one word, or several with = between them"
                raise ConfigError(f"{file}:{number}: {entry!r} has an empty word", hint)
    if len(groups) > _MOST:
        raise ConfigError(f"{str(file)!r} has {len(groups):,} entries", f"at most {_MOST:,} are used: shorten it")
    return Dictionary(groups)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no Latin letter or digit goes on where a word ends with one, at either side."""
    before, after = text[max(start - 1, 0) : start + 1], text[end - 1 : end + 1]
    return not any(len(pair) == 2 and _LATIN.issuperset(pair) for pair in (before, after))
