"""A look into the tables of a catalog, past its methods."""

from collections.abc import Sequence
from typing import Any

from retrieval.catalog import Catalog as Files
from retrieval.store import Catalog


def select(catalog: Catalog, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """The rows of a question in SQL."""
    assert isinstance(catalog, Files)
    with catalog.connection() as db:
        return db.execute(sql, parameters).fetchall()
