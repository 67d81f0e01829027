import errno
import os
from pathlib import Path

import numpy as np
import pytest

from core.errors import CatalogError
from core.types import Chunk, Document, FileEntry
from retrieval.catalog import Catalog
from retrieval.transaction import Indexed
from retrieval.vectors import Vectors, damaged

DIMENSION = 16


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def put(catalog: Catalog, name: str, vectors: np.ndarray) -> None:
    """A document of as many chunks as there are vectors."""
    keys = [f"{name}-{i}".encode() for i in range(len(vectors))]
    catalog.put_embeddings(keys, vectors)
    chunks = [Chunk(i, i, i + 1, "x") for i in range(len(vectors))]
    with catalog.transaction() as write:
        entry, document = FileEntry(name, 1, 0, 0, 0), Document("x" * len(vectors))
        write.replace(catalog.folder_id(""), Indexed(entry, document, chunks, keys, "en"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog.sqlite")


def test_ids_and_scores_are_those_of_numpy(catalog: Catalog) -> None:
    rows = unit_rows(500)
    put(catalog, "a", rows)
    vectors = Vectors(DIMENSION)
    vectors.catch_up(catalog)
    stored = rows.astype(np.float16).astype(np.float32)
    ids = [hit.chunk_id for hit in catalog.around(1, 0, 499)]
    for query in unit_rows(20, seed=1):
        exact = stored @ query
        best = np.argsort(-exact)[:10]
        found = vectors.search(query, 10)
        assert [i for i, _ in found] == [ids[j] for j in best]
        assert [score for _, score in found] == pytest.approx([float(exact[j]) for j in best], abs=1e-5)


def test_fewer_vectors_than_asked_for_are_not_padded(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(3))
    vectors = Vectors(DIMENSION)
    assert vectors.search(unit_rows(1)[0], 10) == []
    vectors.catch_up(catalog)
    assert len(vectors.search(unit_rows(1)[0], 10)) == 3


def test_a_delta_equals_a_fresh_load(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(20))
    followed = Vectors(DIMENSION)
    followed.catch_up(catalog)
    put(catalog, "a", unit_rows(5, seed=2))
    put(catalog, "b", unit_rows(7, seed=3))
    followed.catch_up(catalog)
    fresh = Vectors(DIMENSION)
    fresh.catch_up(catalog)
    assert followed.ids() == fresh.ids()
    assert len(followed) == 12
    query = unit_rows(1, seed=9)[0]
    assert [i for i, _ in followed.search(query, 12)] == [i for i, _ in fresh.search(query, 12)]


def test_a_saved_index_comes_back_at_its_generation(catalog: Catalog, tmp_path: Path) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION)
    vectors.catch_up(catalog)
    vectors.save(tmp_path / "v.faiss")
    loaded = Vectors.load(tmp_path / "v.faiss", DIMENSION)
    assert (loaded.generation, loaded.ids()) == (catalog.generation, vectors.ids())
    assert loaded.catch_up(catalog) == 0


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_not_trusted(catalog: Catalog, tmp_path: Path, harm: str) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION)
    vectors.catch_up(catalog)
    file = tmp_path / "v.faiss"
    vectors.save(file)
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    file.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-700]), "empty": b""}[harm])
    assert damaged(file)
    loaded = Vectors.load(file, DIMENSION)
    assert loaded.generation == 0
    loaded.catch_up(catalog)
    assert loaded.ids() == vectors.ids()


def test_vectors_of_another_length_are_one_clear_error(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(2))
    with pytest.raises(CatalogError, match="16 numbers, the embedder makes 8"):
        Vectors(8).catch_up(catalog)


def test_a_log_of_removals_that_was_cut_short_means_a_reload(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(20))
    followed = Vectors(DIMENSION)
    followed.catch_up(catalog)
    put(catalog, "a", unit_rows(4, seed=5))
    catalog.forget_removed(catalog.generation)
    followed.catch_up(catalog)
    assert len(followed) == 4


def test_a_full_disk_leaves_the_old_file(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION)
    vectors.catch_up(catalog)
    file = tmp_path / "v.faiss"
    vectors.save(file)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("retrieval.vectors.os.fsync", full)
    with pytest.raises(CatalogError, match="No space left"):
        vectors.save(file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "writing" in p.name] == []
