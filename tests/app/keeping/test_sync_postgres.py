"""Whatever happens to a folder, and wherever a sync into PostgreSQL is killed, it ends as a fresh build of files."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis.stateful import rule, run_state_machine_as_test

from app.keeping.index import chunker, sync
from retrieval.index import Index
from retrieval.postgres import server
from retrieval.postgres.catalog import PgCatalog
from tests.app.keeping.test_sync_model import QUERIES, Following, dying, few_and_many, machine_settings, rankings
from tests.app.tiny_embedder import build
from tests.retrieval.pg import Cluster

pytestmark = pytest.mark.slow


class FollowingThere(Following):
    """The same folder, followed by a knowledge base in a database."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.kb = uuid.uuid4().hex

    @contextmanager
    def there(self) -> Iterator[Index]:
        data, cut = self.work / "data", chunker(self.cfg.ingest)
        yield Index.open_or_create(data, self.kb, self.embedder, cut, self.url)

    @rule()
    def sync(self) -> None:
        with self.there() as index:
            before, embedded = keys(index), self.embedder.embedded
            report = sync(index, self.docs, self.cfg.ingest)
            assert self.embedder.embedded - embedded == report.embedded
            shutil.rmtree(self.work / "fresh", ignore_errors=True)
            with self.opened("fresh") as fresh:
                sync(fresh, self.docs, self.cfg.ingest)
                assert contents(index) == contents(fresh)
                assert keys(index) == keys(fresh)
                assert report.embedded <= len(keys(fresh) - before)  # those that a killed run left are there
                for query in QUERIES:
                    for mine, other in zip(rankings(index, query), rankings(fresh, query), strict=True):
                        assert mine == pytest.approx(other, abs=1e-4)
            assert index.verify() == []

    def die(self, transactions: int, committed: bool) -> None:
        server._SERVERS.clear()  # psycopg closes no connection of another process
        self.patch.setattr(PgCatalog, "transaction", dying(PgCatalog, transactions, committed))
        with self.there() as index:
            sync(index, self.docs, self.cfg.ingest)


def contents(index: Index) -> list[tuple[object, ...]]:
    catalog = index.catalog
    return [
        (hit.path, hit.ordinal, hit.text, hit.headings, hit.page)
        for document in sorted(catalog.documents(), key=lambda each: each.path)
        for hit in catalog.chunks_of(document.id)
    ]


def keys(index: Index) -> set[bytes]:
    """The distinct texts that chunks need a vector for."""
    return set(map(bytes, index.catalog.keys()))


@few_and_many(6, 40)
def test_a_sync_into_postgresql_ends_as_a_fresh_build_of_files(cluster: Cluster, tmp_path: Path, examples: int) -> None:
    FollowingThere.url = cluster.database("folders")
    FollowingThere.embedder = build(tmp_path / "tiny")
    run_state_machine_as_test(FollowingThere, settings=machine_settings(examples, 12))
