import doctest
import math

import pytest

from retrieval import metrics


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(metrics).failed == 0


def test_ndcg_with_grades_by_hand() -> None:
    gains = {"a": 3.0, "b": 1.0}
    dcg = 1 / math.log2(2) + 3 / math.log2(4)
    best = 3 / math.log2(2) + 1 / math.log2(3)
    assert metrics.ndcg(["b", "x", "a"], gains, 10) == pytest.approx(dcg / best)
    assert metrics.ndcg(["x"], gains, 10) == 0.0
    assert metrics.ndcg(["a"], {}, 10) == 0.0


def test_ranks_past_k_do_not_count() -> None:
    assert metrics.recall(["x", "y", "a"], {"a": 1}, 2) == 0.0
    assert metrics.mrr(["x", "y", "a"], {"a": 1}, 2) == 0.0
    assert metrics.ndcg(["x", "y", "a"], {"a": 1}, 2) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.95, 10), (0.0, 1), (1.0, 10)])
def test_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert metrics.percentile(list(range(10, 0, -1)), share) == value
