"""Which documents a search is limited to. Resolved to chunks first, so that both retrievers rank only these."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.glob import matcher, prefix
from retrieval.allowed import Allowed, Census
from retrieval.catalog import Catalog

if TYPE_CHECKING:
    from retrieval.store import Documents

_UNSTORED = re.compile("[\ud800-\udfff]")  # no path in a catalog has it, and SQLite does not take it
_REMEMBERED = 16  # filters
_MOST, _LONGEST = 200, 1000  # values of a part, and characters of one: each costs time for every document
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True, slots=True)
class Filter:
    """A limit on documents; every part that is given must hold, of several values of a part any may.

    `paths` are globs over the path in the folder, `types` suffixes (`pdf`, `.md`), `languages` codes of a chunk's
    language (`zh`, `en`), `tags` what the documents say of themselves. `since` and `until` are days, months or years
    (`2025-03-01`, `2025-03`, `2025`), both inclusive, against the document's own date or else its last change.
    """

    paths: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for day in (self.since, self.until):
            if day and not _DATE.fullmatch(day):
                raise ConfigError(f"{day!r} is no date", "give a day, a month or a year: 2025-03-01, 2025-03, 2025")
        for part in (self.paths, self.types, self.languages, self.tags):
            if len(part) > _MOST or any(len(value) > _LONGEST for value in part):
                raise ConfigError(
                    f"a part of a filter has at most {_MOST} values of {_LONGEST} characters",
                    "give fewer or shorter ones",
                )

    @property
    def empty(self) -> bool:
        """Whether it limits nothing."""
        return self == Filter()


class Filters:
    """Finds out which chunks a filter lets through, once until the catalog changes."""

    def __init__(self) -> None:
        self._census = Census()
        self._known: dict[Filter, Allowed] = {}  # at the census's generation

    def allowed(self, catalog: Catalog, where: Filter) -> Allowed:
        """The chunks that a filter lets through. One thread at a time may call this."""
        with catalog.snapshot():
            if self._census.generation != catalog.generation:
                self._census.catch_up(catalog)
                self._known.clear()
            if where not in self._known:
                if len(self._known) >= _REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[where] = self._census.allowed(documents_within(catalog, where), where.languages)
            return self._known[where]


def documents_within(catalog: "Documents", where: Filter) -> list[int]:
    """Ids of the documents that a filter lets through; of their languages it says nothing."""
    since, until = where.since, where.until + "~" if where.until else ""  # "~" sorts behind all days of a month
    suffixes = tuple("." + kind.lower().lstrip(".") for kind in where.types)
    tags = {tag.casefold() for tag in where.tags}
    matches = matcher(where.paths)
    found = {
        document_id
        for document_id, path, own in catalog.dated(since, until, beginnings(where.paths))
        if (not suffixes or path.lower().endswith(suffixes))
        and (not where.paths or matches(path))
        and (not tags or not tags.isdisjoint(json.loads(own)))
    }
    return list(found)


def beginnings(paths: Sequence[str]) -> list[str]:
    """How paths begin that match one of the globs, none of which begins another; all do with nothing."""
    found: list[str] = []
    for beginning in sorted({_UNSTORED.split(prefix(glob))[0] for glob in paths} or {""}):
        if not found or not beginning.startswith(found[-1]):
            found.append(beginning)
    return found
