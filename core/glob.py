"""Glob patterns over paths with `/`: `*` and `?` within a name, `**/` any number of folders.

Patterns are anybody's, so that no pattern may cost more than its own length for each character of a path: all patterns
are followed at once, as the set of the places in them that have been reached (Thompson, "Regular Expression Search
Algorithm", 1968). A set is the bits of an integer, and is reckoned once for each that follows it: a path costs a
look-up a character, of its name alone where its folder has been met.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import takewhile

WILD = re.compile(r"(\*\*/|\*\*|\*|\?)")
_MOST_SETS = 2_000  # and folders that are remembered; of sets there may be two to the power of a pattern's length


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a whole path matches one of the patterns; without patterns none does.

    >>> [matcher(["it/**/*.md"])(path) for path in ("it/vpn.md", "it/a/b.md", "hr/it/vpn.md")]
    [True, True, False]
    """
    if not patterns:
        return lambda path: False
    if "**/*" in patterns:
        return lambda path: True
    return _Places(patterns).match


def prefix(pattern: str) -> str:
    """What every path begins with that matches a pattern, up to a character that has more than one form in Unicode.

    >>> prefix("it/*.md"), prefix("it/vpn.md")
    ('it/', 'it/vpn.md')
    """
    start = WILD.split(unicodedata.normalize("NFC", pattern), maxsplit=1)[0]
    if start.isascii():
        return start
    stable = takewhile(lambda c: unicodedata.normalize("NFD", c) == c and not unicodedata.combining(c), start)
    return "".join(stable)


class _Reached(dict[str, "_Reached"]):
    """A set of places, and by a character the set that follows it."""

    def __init__(self, places: int, automaton: "_Places") -> None:
        self.places = places
        self.ends = bool(places & automaton.ends)
        self._automaton = automaton

    def __missing__(self, character: str) -> "_Reached":
        return self.setdefault(character, self._automaton.after(self.places, character))


def _follow(reached: _Reached, text: str) -> _Reached:
    for character in text:
        reached = reached[character]
        if not reached.places:
            break
    return reached


class _Places:
    """The places in some patterns: bit n of an integer stands for being before the n-th piece of them all."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._places = 0
        self._letters: defaultdict[str, int] = defaultdict(int)  # places that a character leads on from
        self._one = 0  # places that any character but / leads on from
        self._within_name = self._anywhere = 0  # places that such a character, or any at all, leaves as they are
        self._passed = self._passed_by_two = 0  # places from which one may go on without a character
        self.ends = starts = 0
        for pattern in dict.fromkeys(unicodedata.normalize("NFC", pattern) for pattern in patterns):
            starts |= 1 << self._places
            self._add(pattern)
            self.ends |= self._place()
        self._known: dict[int, _Reached] = {}
        self._folders: dict[str, _Reached] = {}
        self._start = self._reached(self._without_characters(starts))

    def match(self, path: str) -> bool:
        """Whether a whole path matches one of the patterns, in whatever form of Unicode both are written."""
        if not path.isascii():
            path = unicodedata.normalize("NFC", path)
        cut = path.rfind("/") + 1
        reached = self._folders.get(path[:cut])
        if reached is None:  # many files lie in one folder
            if len(self._folders) >= _MOST_SETS:
                self._folders.clear()
            reached = self._folders[path[:cut]] = _follow(self._start, path[:cut])
        return _follow(reached, path[cut:]).ends

    def after(self, places: int, character: str) -> _Reached:
        """Where a character leads to."""
        on, stay = self._letters.get(character, 0), self._anywhere
        if character != "/":
            on, stay = on | self._one, stay | self._within_name
        return self._reached(self._without_characters((places & on) << 1 | places & stay))

    def _add(self, pattern: str) -> None:
        before = ""
        for piece in WILD.split(pattern):
            if piece == "**/" != before:
                place = self._place()
                self._passed |= place
                self._passed_by_two |= place
                place = self._place()
                self._anywhere |= place
                self._letters["/"] |= place
            elif piece == "**" != before:
                place = self._place()
                self._passed |= place
                self._anywhere |= place
            elif piece == "*" != before:
                place = self._place()
                self._passed |= place
                self._within_name |= place
            elif piece == "?":
                self._one |= self._place()
            elif piece not in ("**/", "**", "*"):
                for character in piece:
                    self._letters[character] |= self._place()
            before = piece or before  # the split leaves "" between two wildcards

    def _place(self) -> int:
        self._places += 1
        return 1 << (self._places - 1)

    def _reached(self, places: int) -> _Reached:
        if places not in self._known:
            if len(self._known) >= _MOST_SETS:
                self._known.clear()
                self._folders.clear()
                self._start = self._known[self._start.places] = _Reached(self._start.places, self)
            self._known[places] = _Reached(places, self)
        return self._known[places]

    def _without_characters(self, places: int) -> int:
        """The places, and those that are reached from them without a character."""
        while True:
            more = places | (places & self._passed) << 1 | (places & self._passed_by_two) << 2
            if more == places:
                return places
            places = more
