"""What may be wrong inside a catalog, and how it is mended."""

from retrieval.catalog import DROP_UNUSED, Catalog

# What may be wrong, in which table, how it is found, and the column that names the document to be read again for it.
_CHECKS = (
    ("chunks belong to no document", "chunks", "document_id NOT IN (SELECT id FROM documents)", ""),
    ("chunks have lost their embedding", "chunks", "key IS NOT NULL AND key NOT IN (SELECT key FROM embeddings)",
     "document_id"),
    ("chunks do not match their offsets", "chunks", 'length(text) != "end" - start', "document_id"),
    ("removed chunks are still there", "removed", "chunk_id IN (SELECT id FROM chunks)", ""),
    ("documents do not have all their chunks", "documents",
     "chunks != (SELECT count(*) FROM chunks c WHERE c.document_id = documents.id AND c.ordinal < documents.chunks)",
     "id"),
)  # fmt: skip


def problems(catalog: Catalog) -> list[str]:
    """What is wrong with a catalog, in words; empty when all is well."""
    found = [f"SQLite: {row[0]}" for row in catalog.rows("PRAGMA integrity_check(5)") if row[0] != "ok"]
    for text, table, where, _ in _CHECKS:
        ((count,),) = catalog.rows(f"SELECT count(*) FROM {table} WHERE {where}")
        if count:
            found.append(f"{count} {text}")
    return found


def mend(catalog: Catalog) -> None:
    """Mend what `problems` finds; documents with damaged chunks count as changed, so that the next run reads them."""
    with catalog.transaction() as write:
        for _, table, where, again in _CHECKS:
            if again:
                which = f"SELECT {again} FROM {table} WHERE {where}"
                sql = f"UPDATE documents SET size = -1, hash = 'damaged' WHERE id IN ({which})"
            else:
                sql = f"DELETE FROM {table} WHERE {where}"
            write.db.execute(sql)
        write.db.execute(DROP_UNUSED)
