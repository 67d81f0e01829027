from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.types import F32, I64
from retrieval.allowed import Allowed
from retrieval.nearest import SAMPLE_PER_LIST, Nearest, lists_for

DIMENSION = 24


def clustered(n: int, seed: int = 0, centres: int = 60) -> F32:
    """Unit rows around centres, with the precision that the catalog keeps."""
    rng = np.random.default_rng(seed)
    middle = np.random.default_rng(99).normal(size=(centres, DIMENSION))
    rows = middle[rng.integers(0, centres, n)] + 0.5 * rng.normal(size=(n, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def exact_of(rows: F32, ids: I64) -> Nearest:
    nearest = Nearest.exact(DIMENSION)
    nearest.add(ids, rows)
    return nearest


def approximate_of(rows: F32, ids: I64, lists: int = 0) -> Nearest:
    nearest = Nearest.approximate(rows, lists or lists_for(len(rows)))
    nearest.add(ids, rows)
    return nearest


def best(rows: F32, ids: I64, query: F32, k: int) -> list[tuple[int, float]]:
    scores = rows @ query
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(ids[i]), float(scores[i])) for i in order]


def same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    """Whether ids and scores agree; rows of equal score may stand in either order."""
    scores = np.asarray([score for _, score in found]), np.asarray([score for _, score in expected])
    return {i for i, _ in found} == {i for i, _ in expected} and np.allclose(*scores, atol=1e-5)


@pytest.mark.parametrize("make", [exact_of, approximate_of])
def test_exact_search_is_that_of_numpy_in_both_kinds(make: Callable[[F32, I64], Nearest]) -> None:
    rows, ids = clustered(4_000), np.arange(4_000, dtype=np.int64) * 3 + 7
    nearest = make(rows, ids)
    for query in clustered(20, seed=1):
        assert same(nearest.search(query, 10, None, exact=True), best(rows, ids, query, 10))


@pytest.mark.parametrize("make", [exact_of, approximate_of])
@pytest.mark.parametrize("size", [1, 8, 300, 3_900])
def test_a_limited_exact_search_is_that_of_numpy_over_the_allowed(
    make: Callable[[F32, I64], Nearest], size: int
) -> None:
    rows, ids = clustered(4_000), np.arange(4_000, dtype=np.int64) * 3 + 7
    nearest = make(rows, ids)
    for seed, query in enumerate(clustered(10, seed=2)):
        allowed = np.sort(np.random.default_rng(seed).choice(4_000, size, replace=False))
        found = nearest.search(query, 10, Allowed(ids[allowed]), exact=True)
        assert same(found, best(rows[allowed], ids[allowed], query, 10))


def test_the_same_sample_gives_the_same_index() -> None:
    rows, ids = clustered(3_000), np.arange(3_000, dtype=np.int64)
    one, two = approximate_of(rows, ids), approximate_of(rows, ids)
    for query in clustered(20, seed=3):
        assert one.search(query, 20, None, exact=False) == two.search(query, 20, None, exact=False)


def test_approximate_search_finds_most_of_the_nearest_and_scores_them_exactly() -> None:
    rows, ids = clustered(12_000, centres=400), np.arange(12_000, dtype=np.int64)
    nearest = approximate_of(rows, ids)
    assert nearest.lists > 200
    found = hits = 0
    for query in clustered(100, seed=4, centres=400):
        expected = dict(best(rows, ids, query, 10))
        for i, score in nearest.search(query, 10, None, exact=False):
            assert score == pytest.approx(float(rows[i] @ query), abs=1e-5)
            found += 1
            hits += i in expected
    assert found == 1_000
    assert hits >= 950


def test_a_filter_on_what_is_far_from_the_question_is_filled() -> None:
    rows, ids = clustered(12_000, centres=400), np.arange(12_000, dtype=np.int64)
    nearest = approximate_of(rows, ids)
    query = rows[0]
    far = np.argsort(rows @ query)[:6_000].astype(np.int64)  # the farther half: no list near the question holds them
    found = nearest.search(query, 3_000, Allowed(far), exact=False)
    assert len(found) == 3_000
    assert {i for i, _ in found} <= set(far.tolist())


def test_ids_that_are_not_there_are_not_found() -> None:
    rows, ids = clustered(500), np.arange(500, dtype=np.int64)
    for nearest in (exact_of(rows, ids), approximate_of(rows, ids)):
        strange = np.array([-5, 3, 3, 700, 499, 10**6], np.int64)
        assert {i for i, _ in nearest.search(rows[0], 6, Allowed(strange), exact=True)} == {3, 499}
        assert nearest.search(rows[0], 6, Allowed(np.zeros(0, np.int64)), exact=True) == []
        assert nearest.search(rows[0], 6, Allowed(np.array([-1], np.int64)), exact=True) == []


def test_k_may_be_anything() -> None:
    rows, ids = clustered(2_000), np.arange(2_000, dtype=np.int64)
    for nearest in (exact_of(rows, ids), approximate_of(rows, ids)):
        for exact in (True, False):
            assert nearest.search(rows[0], 0, None, exact=exact) == []
            assert nearest.search(rows[0], -3, None, exact=exact) == []
            assert sorted(i for i, _ in nearest.search(rows[0], 10**6, None, exact=exact)) == list(range(2_000))


def test_what_is_removed_is_gone_and_what_is_added_is_found_at_once() -> None:
    rows, ids = clustered(2_000), np.arange(2_000, dtype=np.int64)
    for nearest in (exact_of(rows, ids), approximate_of(rows, ids)):
        nearest.remove(ids[::2])
        nearest.add(np.array([9_999], np.int64), clustered(1, seed=8))
        assert len(nearest) == 1_001
        assert set(nearest.ids().tolist()) == {*range(1, 2_000, 2), 9_999}
        assert {i % 2 for i, _ in nearest.search(rows[0], 100, None, exact=False)} == {1}
        assert nearest.search(clustered(1, seed=8)[0], 1, None, exact=False)[0][0] == 9_999


def test_a_file_gives_back_the_same_index(tmp_path: Path) -> None:
    rows, ids = clustered(2_000), np.arange(2_000, dtype=np.int64)
    for nearest in (exact_of(rows, ids), approximate_of(rows, ids)):
        nearest.write(tmp_path / "n.faiss")
        again = Nearest.read(tmp_path / "n.faiss")
        assert again.lists == nearest.lists
        assert again.search(rows[5], 50, None, exact=False) == nearest.search(rows[5], 50, None, exact=False)
        again.add(np.array([5_000], np.int64), clustered(1, seed=8))
        assert len(again) == 2_001


def test_lists_grow_with_the_root_of_the_vectors_and_have_enough_to_be_trained_on() -> None:
    assert [lists_for(n) for n in (0, 1, 79, 80, 40_000, 1_000_000)] == [1, 1, 1, 2, 800, 4_000]
    assert all(lists_for(n) * SAMPLE_PER_LIST <= max(n, SAMPLE_PER_LIST) for n in range(0, 50_000, 97))
