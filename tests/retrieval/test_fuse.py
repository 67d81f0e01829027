import doctest

import pytest

from retrieval import fuse
from retrieval.fuse import convex, rrf


def ranked(*documents: int) -> list[tuple[int, float]]:
    return [(document, 1 / place) for place, document in enumerate(documents, start=1)]


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(fuse).failed == 0


def test_scores_are_the_sum_of_weighted_reciprocal_ranks() -> None:
    scores = rrf([ranked(1, 2, 3), ranked(3, 1)], [0.25, 0.75], k=10)
    assert scores == {
        1: pytest.approx(0.25 / 11 + 0.75 / 12),
        3: pytest.approx(0.25 / 13 + 0.75 / 11),
        2: pytest.approx(0.25 / 12),
    }
    assert list(scores) == [3, 1, 2]


def test_a_smaller_k_trusts_first_ranks_more() -> None:
    rankings = [ranked(1, 2, 3, 4, 5), ranked(9, 2), ranked(8, 2)]
    assert next(iter(rrf(rankings, k=1000))) == 2
    only_first = rrf([ranked(1), ranked(2, 3, 4, 5, 6, 7, 8, 1)], k=1)
    assert only_first[1] > only_first[2]


def test_documents_of_equal_score_are_fused_alike() -> None:
    scores = rrf([[(1, 0.5), (2, 0.5), (3, 0.1)]], k=1)
    assert scores[1] == scores[2] == pytest.approx(1 / 2)
    assert scores[3] == pytest.approx(1 / 4)


def test_no_rankings_give_nothing() -> None:
    assert rrf([]) == {}
    assert rrf([[], []]) == {}


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rrf([ranked(1)], k=0)


def test_a_convex_sum_weighs_shares_of_the_best_score() -> None:
    dense, lexical = [(1, 0.8), (2, 0.6), (3, -0.2)], [(3, 20.0), (2, 5.0)]
    scores = convex([dense, lexical], [0.6, 0.4])
    assert scores == {
        1: pytest.approx(0.6),
        2: pytest.approx(0.6 * 0.75 + 0.4 * 0.25),
        3: pytest.approx(0.4),
    }
    assert list(scores) == [1, 2, 3]


def test_weights_of_a_convex_sum_need_not_sum_to_one() -> None:
    rankings = [[(1, 0.8), (2, 0.6)], [(2, 5.0)]]
    assert convex(rankings, [3.0, 1.0]) == pytest.approx(convex(rankings, [0.75, 0.25]))


def test_rankings_without_a_useful_score_give_nothing_to_it() -> None:
    assert convex([[], [(1, 0.0), (2, -1.0)]], [0.5, 0.5]) == {1: 0.0, 2: 0.0}
    assert convex([], []) == {}
