"""Words of a knowledge base's own: names that are one word, and different words for one thing.

`data/<kb>/dictionary.txt`, one entry a line, `#` begins a comment:

    兰亭科技                      a name; found as a whole, it counts beside its parts
    年假 = 带薪年假 = annual leave   synonyms, in any language: each finds the others
"""

import re
from collections.abc import Sequence
from pathlib import Path

from core.errors import ConfigError
from core.text import digest, fold

FILE = "dictionary.txt"
_MOST = 100_000  # entries


class Dictionary:
    """Entries as groups of synonyms; a group adds one token of its own wherever one of its words stands."""

    def __init__(self, groups: Sequence[Sequence[str]] = ()) -> None:
        self._names: dict[str, str] = {}
        for group in groups:
            words = [" ".join(fold(word).split()) for word in group]
            for word in words:
                self._names.setdefault(word, "=" + words[0].replace(" ", "_"))
        self.identity = digest(repr(sorted(self._names.items()))).hex() if self._names else ""
        longest_first = sorted(self._names, key=len, reverse=True)
        self._words = re.compile("|".join(map(_expression, longest_first))) if self._names else None

    def names(self, text: str) -> list[str]:
        """The tokens of the entries in a text, in order."""
        matches = self._words.finditer(fold(text)) if self._words else ()
        return [self._names[" ".join(match[0].split())] for match in matches]


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


def _expression(word: str) -> str:
    body = r"\s+".join(map(re.escape, word.split(" ")))
    before = r"(?<![a-z0-9_])" if re.match(r"[a-z0-9_]", word) else ""
    after = r"(?![a-z0-9_])" if re.search(r"[a-z0-9_]$", word) else ""
    return before + body + after
