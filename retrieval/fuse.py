"""Several rankings -> one."""

from collections.abc import Iterator, Sequence


def places(ranking: Sequence[tuple[int, float]]) -> Iterator[tuple[int, int, float]]:
    """(document, rank from 1, score) of a ranking, best first; documents of equal score share the better rank.

    >>> list(places([(7, 0.9), (8, 0.5), (9, 0.5), (6, 0.1)]))
    [(7, 1, 0.9), (8, 2, 0.5), (9, 2, 0.5), (6, 4, 0.1)]
    """
    rank, last = 0, None
    for at, (document, score) in enumerate(ranking, start=1):
        if (rounded := round(score, 5)) != last:
            rank, last = at, rounded
        yield document, rank, score


def rrf(
    rankings: Sequence[Sequence[tuple[int, float]]], weights: Sequence[float] | None = None, *, k: int = 60
) -> dict[int, float]:
    """Reciprocal rank fusion of scored rankings, best first; ties keep the order of first appearance.

    score(d) = sum over rankings of weight / (k + rank), rank from 1; an absent document adds 0.
    Cormack, Clarke, Büttcher, SIGIR 2009 (k = 60 is theirs).

    >>> {d: round(s, 4) for d, s in rrf([[(7, 0.9), (8, 0.8)], [(8, 12.0)]]).items()}
    {8: 0.0325, 7: 0.0164}
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for document, rank, _ in places(ranking):
            scores[document] = scores.get(document, 0.0) + weight / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def convex(rankings: Sequence[Sequence[tuple[int, float]]], weights: Sequence[float]) -> dict[int, float]:
    """Weighted mean of scores, each as a share of the best of its ranking; best first, 0 to 1.

    An absent document and a score below 0 count as 0. Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid
    Retrieval", TOIS 2023, with 0 as the lowest score that BM25 and a useful cosine have.

    >>> convex([[(7, 0.8), (8, 0.4)], [(8, 12.0)]], [0.25, 0.75])
    {8: 0.875, 7: 0.25}
    """
    scores: dict[int, float] = {}
    total = sum(weights) or 1.0
    for ranking, weight in zip(rankings, weights, strict=True):
        best = max((score for _, score in ranking), default=0.0)
        share = weight / total / best if best > 0 else 0.0
        for document, score in ranking:
            scores[document] = scores.get(document, 0.0) + (share * score if score > 0 else 0.0)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
