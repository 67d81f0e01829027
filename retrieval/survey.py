"""What a catalog says of all of its documents at once, for a report on a collection; a part of `retrieval.store`."""

from collections.abc import Iterator
from typing import Protocol

from retrieval.listing import Extent, Unchanged
from retrieval.reading import Sketched


class Survey(Protocol):
    """How much there is, how old, and what resembles what."""

    def extents(self) -> Iterator[Extent]:
        """How much each document is."""
        ...

    def unchanged(self, since_ns: int, count: int) -> tuple[list[Unchanged], int]:
        """The so many documents whose files have not changed since then for longest, and how many there are."""
        ...

    def sketched(self, count: int) -> list[Sketched]:
        """The so many documents that came last, the latest first, each with its sketch."""
        ...
