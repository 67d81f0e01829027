"""`#` in a question: it names a knowledge base, or a file of one, that the question is put to."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from app.answering.find import Scope
from app.running.bases import Bases
from core.errors import CatalogError
from retrieval.filters import Filter
from retrieval.store import Catalog

_MENTION = re.compile(r'(?:^|(?<=\s))#(?:"([^"\n]{1,500})"|([^\s#"]{1,500}))')
_OFFERED = 20
_BETWEEN = "\0"  # stands in no name


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
    typed = typed.casefold().replace(_BETWEEN, "")
    found = [kb for kb in seen if typed in kb.casefold()][:_OFFERED]
    for kb in seen:
        if len(found) == _OFFERED:
            break
        try:
            catalog = bases.get(kb).catalog
            found += islice(_holding(*_files(catalog, kb, catalog.generation), typed), _OFFERED - len(found))
        except CatalogError:
            continue  # one that cannot be opened can be asked nothing
    return found


@lru_cache(maxsize=8)
def _files(catalog: Catalog, kb: str, generation: int) -> tuple[list[str], str]:
    """The names of a knowledge base's files as of a generation, and in one text, folded: it is asked at every key."""
    names = [f"{kb}/{path}" for path in catalog.paths()]
    return names, _BETWEEN.join(name.casefold() for name in names)


def _holding(names: Sequence[str], folded: str, typed: str) -> Iterator[str]:
    """The names that hold what was typed; each is passed over once."""
    at = number = 0
    while names and (found := folded.find(typed, at)) >= 0:
        number += folded.count(_BETWEEN, at, found)
        yield names[number]
        end = folded.find(_BETWEEN, found)
        if end < 0:
            return
        at, number = end + 1, number + 1
