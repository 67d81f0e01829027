"""Several rankings -> one."""

from collections.abc import Sequence


def rrf(rankings: Sequence[Sequence[int]], weights: Sequence[float] | None = None, *, k: int = 60) -> dict[int, float]:
    """Reciprocal rank fusion, best first; ties keep the order of first appearance.

    score(d) = sum over rankings of weight / (k + rank), rank from 1; an absent document adds 0.
    Cormack, Clarke, Büttcher, SIGIR 2009 (k = 60 is theirs).

    >>> {d: round(s, 4) for d, s in rrf([[7, 8], [8]]).items()}
    {8: 0.0325, 7: 0.0164}
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, document in enumerate(dict.fromkeys(ranking), start=1):
            scores[document] = scores.get(document, 0.0) + weight / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
