"""How a catalog is asked, whichever home it has."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

_BATCH = 500  # bound variables per statement, well below what either engine takes


class Rows(ABC):
    """The tables of one knowledge base. SQL is what SQLite and PostgreSQL share, with `?` for what is bound."""

    _finds = "instr"  # the function that says where a text stands in another, from 1; 0 for nowhere

    def asked(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question about the tables, for what looks after catalogs of both homes."""
        return self._rows(sql, parameters)

    @abstractmethod
    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a question."""

    @abstractmethod
    def _batches(self, sql: str, parameters: Sequence[object], size: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a question, so many at a time."""

    def _in(self, sql: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        """The rows of a question that ends with IN, for many values."""
        for start in range(0, len(values), _BATCH):
            part = values[start : start + _BATCH]
            yield from self._rows(f"{sql} ({','.join('?' * len(part))})", part)
