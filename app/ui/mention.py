"""`#` in a question: it names a knowledge base, or a file of one, that the question is put to."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.find import Scope
from app.running.bases import Bases
from core.errors import CatalogError
from retrieval.filters import Filter

_MENTION = re.compile(r'(?:^|(?<=\s))#(?:"([^"\n]{1,500})"|([^\s#"]{1,500}))')
_OFFERED = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A question without its mentions, and what they name: knowledge base -> paths, none of them for all of it."""

    question: str
    named: dict[str, tuple[str, ...]]


def read(text: str, bases: Collection[str]) -> Asked:
    """Take the mentions out of a question. What begins with `#` and names no knowledge base is left as it is."""
    named: dict[str, tuple[str, ...]] = {}

    def taken(match: re.Match[str]) -> str:
        kb, _, path = (match[1] or match[2]).partition("/")
        if kb not in bases:
            return match[0]
        named[kb] = (*named.get(kb, ()), path) if path and named.get(kb, ("",)) else ()
        return ""

    return Asked(_MENTION.sub(taken, text).strip(), named)


def scopes(bases: Bases, named: dict[str, tuple[str, ...]]) -> list[Scope]:
    """The knowledge bases to search, each with what of it. Raises `CatalogError` where there is none of a name."""
    return [(bases.get(kb), Filter(paths=paths) if paths else None) for kb, paths in named.items()]


def offers(bases: Bases, seen: Sequence[str], typed: str) -> list[str]:
    """What can be mentioned and holds what was typed behind `#`: knowledge bases first, then files."""
    typed = typed.casefold()
    found = [kb for kb in seen if typed in kb.casefold()]
    for kb in seen:
        if len(found) >= _OFFERED:
            break
        try:
            rows = bases.get(kb).catalog.rows("SELECT path FROM documents ORDER BY path")
        except CatalogError:
            continue  # one that cannot be opened can be asked nothing
        names = (f"{kb}/{path}" for (path,) in rows)
        found += [name for name in names if typed in name.casefold()][: _OFFERED - len(found)]
    return found[:_OFFERED]
