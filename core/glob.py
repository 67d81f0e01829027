"""Glob patterns over paths with `/`: `*` and `?` within a name, `**/` any number of folders."""

import re
from collections.abc import Callable, Sequence

_PARTS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a whole path matches one of the patterns; without patterns none does.

    >>> [matcher(["it/**/*.md"])(path) for path in ("it/vpn.md", "it/a/b.md", "hr/it/vpn.md")]
    [True, True, False]
    """
    if not patterns:
        return lambda path: False
    if "**/*" in patterns:
        return lambda path: True
    compiled = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(_PARTS.get(piece, re.escape(piece)) for piece in pieces)
