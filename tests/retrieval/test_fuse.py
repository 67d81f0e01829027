import doctest

import pytest

from retrieval import fuse
from retrieval.fuse import rrf


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(fuse).failed == 0


def test_scores_are_the_sum_of_weighted_reciprocal_ranks() -> None:
    scores = rrf([[1, 2, 3], [3, 1]], [0.25, 0.75], k=10)
    assert scores == {
        1: pytest.approx(0.25 / 11 + 0.75 / 12),
        3: pytest.approx(0.25 / 13 + 0.75 / 11),
        2: pytest.approx(0.25 / 12),
    }
    assert list(scores) == [3, 1, 2]


def test_a_smaller_k_trusts_first_ranks_more() -> None:
    rankings = [[1, 2, 3, 4, 5], [9, 2], [8, 2]]
    assert next(iter(rrf(rankings, k=1000))) == 2
    only_first = rrf([[1], [2, 3, 4, 5, 6, 7, 8, 1]], k=1)
    assert only_first[1] > only_first[2]


def test_no_rankings_give_nothing() -> None:
    assert rrf([]) == {}
    assert rrf([[], []]) == {}


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rrf([[1]], k=0)
