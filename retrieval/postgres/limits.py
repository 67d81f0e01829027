"""A `Filter` as a condition on the documents of PostgreSQL, so that the filter itself goes down into a search."""

import re
import unicodedata

from core.glob import WILD
from retrieval.filters import Filter, beginnings

_LAST = "\U0010ffff"  # behind all that begins alike
_UNSTORED = re.compile("[\x00\ud800-\udfff]")  # no path in a catalog has it, and PostgreSQL does not take it
_PIECES = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
Condition = tuple[str, list[object]]  # SQL, and what is bound in it


def condition(where: Filter) -> Condition:
    """What holds for the documents `d` that a filter lets through, by `filters.documents_within`; "" for all.

    Of their languages, which are those of chunks, it says nothing.
    """
    parts: list[str] = []
    values: list[object] = []
    if where.paths and "**/*" not in where.paths:
        starts = beginnings(where.paths)
        between = " OR ".join(["d.path >= %s AND d.path < %s"] * len(starts))
        parts.append(f"({between}) AND normalize(d.path, NFC) ~ ANY(%s)")
        values += [each for start in starts for each in (start, start + _LAST)]
        values.append([pattern(glob) for glob in where.paths if not _UNSTORED.search(glob)])
    if where.types:
        parts.append("d.path ~ ANY(%s)")
        values.append([_suffix(kind) for kind in where.types if not _UNSTORED.search(kind)])
    if where.tags:
        parts.append("d.tags::jsonb ?| %s::text[]")
        values.append([tag.casefold() for tag in where.tags if not _UNSTORED.search(tag)])
    if where.since or where.until:
        parts.append("d.day >= %s AND d.day < %s")
        values += [where.since, where.until + "~"]  # "~" sorts behind all days of a month
    return " AND ".join(parts), values


def pattern(glob: str) -> str:
    r"""A glob (core/glob.py) as a regular expression of PostgreSQL for a whole path.

    >>> pattern("it/**/*.md")
    '^it/(?:.*/)?[^/]*\\.md$'
    """
    found, before = "", ""
    for piece in WILD.split(unicodedata.normalize("NFC", glob)):
        if piece not in _PIECES:
            found += _plain(piece)
        elif piece != before or piece == "?":
            found += _PIECES[piece]
        before = piece or before  # the split leaves "" between two wildcards
    return f"^{found}$"


def _suffix(kind: str) -> str:
    """What a path ends with that is of a kind, in capitals or not."""
    letters = (dict.fromkeys((c, c.upper(), c.lower())) for c in "." + kind.lower().lstrip("."))
    return "".join(f"(?:{'|'.join(map(_plain, forms))})" for forms in letters) + "$"


def _plain(text: str) -> str:
    """A text that stands for itself: what is neither letter nor digit behind a backslash."""
    return "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in text)
