"""Measures of a ranking against judged documents. `gains` maps each relevant document to its grade (1 where binary)."""

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """Normalised discounted cumulative gain at k: sum of gain / log2(rank + 1) over the best such sum.

    Järvelin and Kekäläinen, TOIS 2002, with linear gains as trec_eval computes it.

    >>> round(ndcg(["a", "x", "b"], {"a": 1, "b": 1}, 10), 4)
    0.9197
    """
    dcg = sum(gains.get(document, 0.0) / math.log2(rank + 1) for rank, document in enumerate(ranking[:k], start=1))
    ideal = sorted(gains.values(), reverse=True)[:k]
    best = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(ideal, start=1))
    return dcg / best if best else 0.0


def recall(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """Share of the relevant documents among the first k.

    >>> recall(["a", "x"], {"a": 1, "b": 1}, 2)
    0.5
    """
    relevant = {document for document, gain in gains.items() if gain > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def mrr(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """Reciprocal rank of the first relevant document among the first k, else 0.

    >>> mrr(["x", "a"], {"a": 1}, 10)
    0.5
    """
    for rank, document in enumerate(ranking[:k], start=1):
        if gains.get(document, 0.0) > 0:
            return 1 / rank
    return 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank); 0 for no values.

    >>> percentile([4, 1, 3, 2], 0.5)
    2
    """
    if not values:
        return 0.0
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
