import errno
import os
from pathlib import Path

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import CatalogError
from core.types import Chunk, Document, FileEntry
from retrieval.allowed import Allowed
from retrieval.caches import Caches
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.reading import Manifest
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
    vectors = Vectors(DIMENSION, 1_000)
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
    vectors = Vectors(DIMENSION, 1_000)
    assert vectors.search(unit_rows(1)[0], 10) == []
    vectors.catch_up(catalog)
    assert len(vectors.search(unit_rows(1)[0], 10)) == 3


def test_a_delta_equals_a_fresh_load(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(20))
    followed = Vectors(DIMENSION, 1_000)
    followed.catch_up(catalog)
    put(catalog, "a", unit_rows(5, seed=2))
    put(catalog, "b", unit_rows(7, seed=3))
    followed.catch_up(catalog)
    fresh = Vectors(DIMENSION, 1_000)
    fresh.catch_up(catalog)
    assert followed.ids() == fresh.ids()
    assert len(followed) == 12
    query = unit_rows(1, seed=9)[0]
    assert [i for i, _ in followed.search(query, 12)] == [i for i, _ in fresh.search(query, 12)]


def test_a_saved_index_comes_back_at_its_generation(catalog: Catalog, tmp_path: Path) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION, 1_000)
    vectors.catch_up(catalog)
    vectors.save(tmp_path / "v.faiss")
    loaded = Vectors.load(tmp_path / "v.faiss", DIMENSION, 1_000)
    assert (loaded.generation, loaded.ids()) == (catalog.generation, vectors.ids())
    assert loaded.catch_up(catalog) == 0


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_not_trusted(catalog: Catalog, tmp_path: Path, harm: str) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION, 1_000)
    vectors.catch_up(catalog)
    file = tmp_path / "v.faiss"
    vectors.save(file)
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    file.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-700]), "empty": b""}[harm])
    assert damaged(file)
    loaded = Vectors.load(file, DIMENSION, 1_000)
    assert loaded.generation == 0
    loaded.catch_up(catalog)
    assert loaded.ids() == vectors.ids()


def test_vectors_of_another_length_are_one_clear_error(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(2))
    with pytest.raises(CatalogError, match="16 numbers, the embedder makes 8"):
        Vectors(8, 1_000).catch_up(catalog)


def test_a_log_of_removals_that_was_cut_short_means_a_reload(catalog: Catalog) -> None:
    put(catalog, "a", unit_rows(20))
    followed = Vectors(DIMENSION, 1_000)
    followed.catch_up(catalog)
    put(catalog, "a", unit_rows(4, seed=5))
    catalog.forget_removed(catalog.generation)
    followed.catch_up(catalog)
    assert len(followed) == 4


def test_a_full_disk_leaves_the_old_file(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(catalog, "a", unit_rows(20))
    vectors = Vectors(DIMENSION, 1_000)
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


# -- approximate: a small `exact_below` stands for a large knowledge base --


def clustered(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.random.default_rng(99).normal(size=(50, DIMENSION))[rng.integers(0, 50, n)]
    rows = rows + 0.5 * rng.normal(size=(n, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def caught_up(catalog: Catalog, exact_below: int) -> Vectors:
    vectors = Vectors(DIMENSION, exact_below)
    vectors.catch_up(catalog)
    return vectors


def stored(catalog: Catalog) -> tuple[np.ndarray, np.ndarray]:
    parts = list(catalog.vectors_since(0))
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts])


def test_a_large_catalog_is_searched_approximately_with_exact_scores(catalog: Catalog) -> None:
    put(catalog, "a", clustered(6_000, seed=0))
    vectors = caught_up(catalog, 500)
    assert vectors.approximate
    ids, rows = stored(catalog)
    at = {int(i): row for i, row in zip(ids, rows, strict=True)}
    hits = 0
    for query in clustered(100, seed=1):
        expected = set(ids[np.argsort(-(rows @ query))[:10]].tolist())
        found = vectors.search(query, 10)
        assert [score for _, score in found] == pytest.approx([float(at[i] @ query) for i, _ in found], abs=1e-5)
        hits += len(expected & {i for i, _ in found})
    assert hits >= 950


def test_a_filter_to_few_is_exact_in_a_large_catalog(catalog: Catalog) -> None:
    put(catalog, "a", clustered(6_000, seed=0))
    vectors = caught_up(catalog, 500)
    ids, rows = stored(catalog)
    for seed, query in enumerate(clustered(20, seed=1)):
        allowed = np.random.default_rng(seed).choice(6_000, 400, replace=False)
        scores = rows[allowed] @ query
        order = np.argsort(-scores)[:10]
        found = vectors.search(query, 10, Allowed(ids[allowed]))
        assert [i for i, _ in found] == ids[allowed][order].tolist()
        assert [score for _, score in found] == pytest.approx(scores[order].tolist(), abs=1e-5)


def test_recall_is_measured_against_the_catalog(catalog: Catalog) -> None:
    put(catalog, "a", clustered(6_000, seed=0))
    vectors = caught_up(catalog, 500)
    assert 0.95 <= vectors.recall(catalog) <= 1.0
    lost = caught_up(catalog, 500)
    lost._nearest.remove(np.fromiter(sorted(lost.ids())[::2], np.int64))
    assert 0.4 <= lost.recall(catalog) <= 0.6  # half of what there is cannot be found
    assert caught_up(catalog, 10_000).recall(catalog) == 1.0


def test_chunks_of_the_same_vector_do_not_lower_recall(catalog: Catalog) -> None:
    put(catalog, "a", np.repeat(clustered(60, seed=0), 50, axis=0))
    assert caught_up(catalog, 500).recall(catalog) == 1.0


def test_an_approximate_index_is_saved_loaded_and_goes_on(catalog: Catalog, tmp_path: Path) -> None:
    put(catalog, "a", clustered(3_000, seed=0))
    caught_up(catalog, 500).save(tmp_path / "v.faiss")
    put(catalog, "b", clustered(10, seed=5))
    loaded = Vectors.load(tmp_path / "v.faiss", DIMENSION, 500)
    assert loaded.approximate
    assert loaded.catch_up(catalog) == 10
    assert loaded.ids() == set(stored(catalog)[0].tolist())
    assert loaded.search(clustered(10, seed=5)[3], 1)[0][1] == pytest.approx(1.0, abs=2e-3)


def test_an_index_that_no_longer_suits_says_so_and_a_new_one_does(catalog: Catalog) -> None:
    put(catalog, "a", clustered(300, seed=0))
    vectors = caught_up(catalog, 500)
    assert (vectors.approximate, vectors.outgrown) == (False, False)
    put(catalog, "b", clustered(300, seed=1))
    vectors.catch_up(catalog)
    assert (vectors.approximate, vectors.outgrown) == (False, True)  # one that only reads stays exact for a while
    vectors = caught_up(catalog, 500)
    assert (vectors.approximate, vectors.outgrown) == (True, False)
    put(catalog, "b", clustered(150, seed=1))  # a little below the limit: not worth the work yet
    vectors.catch_up(catalog)
    assert (vectors.approximate, vectors.outgrown) == (True, False)
    put(catalog, "b", clustered(10, seed=1))
    vectors.catch_up(catalog)
    assert (vectors.approximate, vectors.outgrown) == (True, True)
    assert not caught_up(catalog, 500).approximate


def test_lists_made_for_far_fewer_are_outgrown(catalog: Catalog) -> None:
    put(catalog, "a", clustered(1_000, seed=0))
    vectors = caught_up(catalog, 100)
    assert not vectors.outgrown
    put(catalog, "b", clustered(6_000, seed=1))
    vectors.catch_up(catalog)
    assert vectors.outgrown
    assert not caught_up(catalog, 100).outgrown


def test_a_flood_makes_an_exact_index_approximate_at_once(catalog: Catalog) -> None:
    put(catalog, "a", clustered(50, seed=0))
    vectors = caught_up(catalog, 100)
    put(catalog, "b", clustered(2_000, seed=1))
    vectors.catch_up(catalog)
    assert vectors.approximate
    assert vectors.ids() == set(stored(catalog)[0].tolist())


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_writes_leaves_what_the_catalog_holds(catalog: Catalog, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    exact_below, file = 120, tmp_path / "v.faiss"
    vectors, kinds = Vectors(DIMENSION, exact_below), set()
    for step in range(30):
        size = int(rng.choice([1, 5, 60, 200]))
        put(catalog, f"d{rng.integers(4)}", clustered(size, seed=1_000 * seed + step))
        if rng.random() < 0.2:
            vectors.save(file)
            vectors = Vectors.load(file, DIMENSION, exact_below)
        if rng.random() < 0.2:
            catalog.forget_removed(catalog.generation)
        vectors.catch_up(catalog)
        if vectors.outgrown:
            vectors = caught_up(catalog, exact_below)
        kinds.add(vectors.approximate)
        ids, rows = stored(catalog)
        assert vectors.ids() == set(ids.tolist())
        query = clustered(1, seed=step)[0]
        found = vectors.search(query, len(ids))
        assert dict(found) == pytest.approx(dict(zip(ids.tolist(), (rows @ query).tolist(), strict=True)), abs=1e-5)
    assert kinds == {True, False}


# -- odd questions --


@pytest.mark.parametrize("exact_below", [10_000, 100])
def test_odd_questions_have_a_clear_answer(catalog: Catalog, exact_below: int) -> None:
    put(catalog, "a", clustered(1_000, seed=0))
    vectors, query = caught_up(catalog, exact_below), clustered(1, seed=1)[0]
    assert vectors.search(query, 0) == []
    assert vectors.search(query, 10, Allowed(np.zeros(0, np.int64))) == []
    everything = vectors.search(query, 1_000_000)
    assert {i for i, _ in everything} == vectors.ids()
    assert len(vectors.search(np.zeros(DIMENSION, np.float32), 10)) == 10
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            vectors.search(np.full(DIMENSION, bad, np.float32), 10)
    with pytest.raises(CatalogError, match=r"shape \(8,\), the index holds 16"):
        vectors.search(query[:8], 10)


def test_an_empty_catalog_finds_nothing_however_it_is_configured(catalog: Catalog) -> None:
    for exact_below in (0, 100):
        vectors = caught_up(catalog, exact_below)
        assert vectors.search(unit_rows(1)[0], 10) == []
        assert vectors.recall(catalog) == 1.0
        assert not vectors.outgrown
    put(catalog, "a", unit_rows(3))
    vectors = caught_up(catalog, 0)
    assert len(vectors.search(unit_rows(1)[0], 10)) == 3
    assert vectors.recall(catalog) == 1.0


def test_a_catalog_that_lost_its_vectors_is_no_crash(catalog: Catalog) -> None:
    put(catalog, "a", clustered(300, seed=0))
    vectors = caught_up(catalog, 100)
    with catalog.transaction() as write:
        write.db.execute("DELETE FROM embeddings")
    assert vectors.recall(catalog) == 0.0
    assert caught_up(catalog, 100).search(unit_rows(1)[0], 10) == []


# -- in an open knowledge base --


def open_index(tmp_path: Path, exact_below: int) -> Index:
    """An empty knowledge base whose vectors are put into its catalog; the embedder is never asked."""
    home = tmp_path / "kb"
    Index.create(home, "g0001", Manifest("", "", "{}", ""))
    return Index(home, home / "g0001", Embedder(RetrievalConfig(exact_below=exact_below)))


def test_a_knowledge_base_changes_its_kind_of_index_as_it_grows_and_shrinks(tmp_path: Path) -> None:
    index = open_index(tmp_path, 500)
    for name, size, approximate in (("a", 300, False), ("b", 400, True), ("b", 3_000, True), ("b", 10, False)):
        with index.writing():
            put(index.files, name, clustered(size, seed=size))
        again = Index(index.home, index.folder, index.embedder)
        for one in (index, again):  # in the process that wrote, and from the file
            assert isinstance(one.store, Caches)
            assert one.store._loaded().approximate is approximate
            assert not one.store._loaded().outgrown
            ids, rows = stored(one.files)
            assert one.store.dense(rows[-1], 1)[0][0] == ids[-1]
            assert one.store.dense(rows[-1], 1, Allowed(ids[:3]))[0][0] == ids[np.argmax(rows[:3] @ rows[-1])]
        assert index.verify() == []


def test_verify_says_when_approximate_search_misses_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(tmp_path, 500)
    with index.writing():
        put(index.files, "a", clustered(3_000, seed=0))
    assert index.store.recall() >= 0.95
    assert index.verify() == []
    monkeypatch.setattr("retrieval.nearest._LEAST_PROBES", 1)
    monkeypatch.setattr("retrieval.nearest._PROBE_SHARE", 0.001)
    assert any("of the nearest chunks" in problem for problem in index.verify())
