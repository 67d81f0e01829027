"""The headings of a knowledge base: what its documents say they are about."""

import json
from dataclasses import dataclass

from retrieval.catalog import Catalog

_DOCUMENTS = 60  # that came last; of each its first chunks
_CHUNKS = 12


@dataclass(frozen=True, slots=True)
class Heading:
    """The innermost heading of a chunk that is not the document's first; `language` is the chunk's."""

    document_id: int
    title: str
    heading: str
    language: str


def headings(catalog: Catalog) -> list[Heading]:
    """Headings of the documents that came last, the later document first, each in its own order."""
    sql = """SELECT d.id, d.title, c.headings, c.language FROM
             (SELECT id, title FROM documents WHERE stale = '' ORDER BY id DESC LIMIT ?) d
             JOIN chunks c ON c.document_id = d.id AND c.ordinal BETWEEN 1 AND ? ORDER BY d.id DESC, c.ordinal"""
    rows = catalog.rows(sql, [_DOCUMENTS, _CHUNKS])
    return [Heading(i, title, json.loads(found)[-1], tongue) for i, title, found, tongue in rows if found != "[]"]
