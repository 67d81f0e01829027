"""What came into a catalog and left it since a generation: what its caches are caught up by."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.types import F32, I64
from retrieval.database import Database


@dataclass(frozen=True, slots=True)
class LexicalRow:
    """What the lexical index needs of a chunk."""

    chunk_id: int
    document_id: int
    path: str
    title: str
    headings: tuple[str, ...]
    text: str
    language: str


class Changes(Database):
    """The chunks of one knowledge base by the generation that added them or took them out."""

    def removed_since(self, generation: int) -> list[int]:
        """Ids of chunks that later transactions took out."""
        return [r[0] for r in self._rows("SELECT chunk_id FROM removed WHERE generation > ?", [generation])]

    def changes_since(self, generation: int) -> int:
        """How many chunks later transactions added or took out."""
        sql = """SELECT (SELECT count(*) FROM chunks WHERE generation > ?1)
                      + (SELECT count(*) FROM removed WHERE generation > ?1)"""
        return self._rows(sql, [generation])[0][0]

    def chunks_until(self, generation: int) -> int:
        """How many of the chunks that are there now were there at a generation."""
        return self._rows("SELECT count(*) FROM chunks WHERE generation <= ?", [generation])[0][0]

    def vectors_since(self, generation: int, batch: int = 20_000) -> Iterator[tuple[I64, F32]]:
        """(ids, vectors) of chunks added by later transactions, a batch at a time, in order of id."""
        sql = f"SELECT c.id, e.vector FROM chunks c JOIN embeddings e ON e.key = c.key {_since(generation)}"
        for rows in self._batches(sql, [generation], batch):
            ids = np.fromiter((r[0] for r in rows), np.int64, len(rows))
            yield ids, stored_vectors([r[1] for r in rows])

    def lexical_since(self, generation: int, batch: int = 5_000) -> Iterator[list[LexicalRow]]:
        """Chunks added by later transactions, a batch at a time, as the lexical index wants them."""
        sql = f"""SELECT c.id, d.id, d.path, d.title, c.headings, c.text, c.language FROM chunks c
                  JOIN documents d ON d.id = c.document_id {_since(generation)}"""
        for rows in self._batches(sql, [generation], batch):
            yield [LexicalRow(i, d, p, t, tuple(json.loads(h)), x, lang) for i, d, p, t, h, x, lang in rows]

    def members_since(self, generation: int, batch: int = 20_000) -> Iterator[list[tuple[int, int, str]]]:
        """(id, document id, language) of chunks added by later transactions, a batch at a time, in order of id."""
        yield from self._batches(
            f"SELECT id, document_id, language FROM chunks c {_since(generation)}", [generation], batch
        )


def stored_vectors(stored: Sequence[bytes]) -> F32:
    """The vectors, each a row, of what a catalog holds of them: float16."""
    rows = np.frombuffer(b"".join(stored), np.float16)
    return rows.reshape(len(stored), -1 if stored else 0).astype(np.float32)


def _since(generation: int) -> str:
    """Chunks after a generation, in order of id. All lie in that order; a few are looked up and put into it."""
    return f"WHERE c.generation > ? ORDER BY {'+' if generation else ''}c.id"
