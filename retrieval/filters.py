"""Which documents a search is limited to. Resolved to chunk ids first, so that both retrievers rank only these."""

import json
import re
from dataclasses import dataclass

import numpy as np

from core.errors import ConfigError
from core.glob import matcher
from core.types import I64
from retrieval.catalog import Catalog

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

    @property
    def empty(self) -> bool:
        """Whether it limits nothing."""
        return self == Filter()


def chunk_ids(catalog: Catalog, where: Filter) -> I64:
    """Ids of the chunks that a filter lets through, ascending."""
    since, until = where.since, where.until + "~" if where.until else ""  # "~" sorts behind all days of a month
    suffixes = tuple("." + kind.lower().lstrip(".") for kind in where.types)
    tags = {tag.casefold() for tag in where.tags}
    matches = matcher(where.paths)
    documents = [
        document_id
        for document_id, path, own in catalog.dated(since, until)
        if (not suffixes or path.lower().endswith(suffixes))
        and (not where.paths or matches(path))
        and (not tags or not tags.isdisjoint(json.loads(own)))
    ]
    return np.sort(np.asarray(catalog.chunks_of(documents, where.languages), np.int64))
