"""Recipe: calibrate a knowledge base on questions: the weight of each retriever, and what is not covered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.keeping.index import Progress, quiet
from app.measuring.evaluate import METRICS, TestSet
from core.config import Config
from core.errors import EvalError
from core.text import language
from core.types import Query
from retrieval import tuning
from retrieval.index import Index
from retrieval.search import DENSE_WEIGHT, rank, relevance, retrieve, trust, weighed
from retrieval.tuning import Tuning

WEIGHTS = tuple(round(i / 20, 2) for i in range(21))  # from words only to meaning only
_METRIC = METRICS.index("ndcg@10")
_DEPTH = 10  # passages that the metric looks at
_FEWEST = 10  # questions of a language; fewer say nothing
_FALSE_REFUSALS = 0.1  # the most that a threshold may cost


@dataclass(frozen=True, slots=True)
class Curve:
    """nDCG@10 at each of `WEIGHTS` over the questions of one language, and the weight that was chosen."""

    language: str
    questions: int
    ndcg: tuple[float, ...]
    chosen: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """A threshold of relevance, and what it does: shares of answerable and of unanswerable questions refused."""

    threshold: float
    false_refusals: float
    refusals: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found; `tuning` is what the knowledge base uses from now on."""

    curves: tuple[Curve, ...]
    coverage: Coverage | None
    tuning: Tuning


def tune(
    index: Index, testset: TestSet, cfg: Config, unanswerable: Sequence[str] = (), progress: Progress = quiet
) -> Tuned:
    """Calibrate on questions with judgements, and on questions that the documents do not answer; the result is saved.

    Of the weights that are no worse than the best by more than its standard error (Breiman et al. 1984), and no worse
    than either retriever alone, the one nearest to the default is taken: few questions must not move it far. Raises
    `EvalError` where there are too few.
    """
    values: dict[str, list[NDArray[np.float64]]] = {}
    answerable: list[float] = []
    settings = cfg.retrieval.model_copy(update={"mode": "hybrid"})
    for done, question in enumerate(testset.questions, start=1):
        rankings = retrieve(index, [Query(question.text)], settings)
        trusted = trust(index, rankings) if len(rankings) > 1 else 1.0
        hits = [rank(index, weighed(rankings, weight, trusted), settings, k=_DEPTH).hits for weight in WEIGHTS]
        scores = np.array([question.judge(found, settings.k).scores[_METRIC] for found in hits])
        values.setdefault(language(question.text), []).append(scores)
        answerable.append(relevance(index, question.text, hits[WEIGHTS.index(DENSE_WEIGHT)]))
        progress("calibrate", done, len(testset.questions))
    curves = tuple(_curve(code, np.array(rows)) for code, rows in sorted(values.items()) if len(rows) >= _FEWEST)
    if not curves:
        raise EvalError(
            f"{len(testset.questions)} questions are too few to calibrate on: {_FEWEST} of a language are needed",
            "draft some with `ragstone golden draft`, approve them, and run it again",
        )
    coverage = coverage_of(answerable, _relevances(index, unanswerable, cfg)) if unanswerable else None
    found = Tuning({curve.language: curve.chosen for curve in curves}, coverage.threshold if coverage else None)
    tuning.save(index.home / tuning.FILE, found)
    return Tuned(curves, coverage, found)


def _curve(code: str, values: NDArray[np.float64]) -> Curve:
    means = values.mean(axis=0)
    best = int(means.argmax())
    behind = values[:, [best]] - values  # (questions, weights)
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(values))
    good = (means >= means[best] - error) & (means >= max(means[0], means[-1]))
    good[best] = True
    chosen = min((w for w, fine in zip(WEIGHTS, good, strict=True) if fine), key=lambda w: abs(w - DENSE_WEIGHT))
    return Curve(code, len(values), tuple(round(float(mean), 4) for mean in means), chosen)


def _relevances(index: Index, questions: Sequence[str], cfg: Config) -> list[float]:
    found = []
    for question in questions:
        rankings = retrieve(index, [Query(question)], cfg.retrieval)
        found.append(relevance(index, question, rank(index, rankings, cfg.retrieval).hits))
    return found


def coverage_of(answerable: Sequence[float], unanswerable: Sequence[float]) -> Coverage:
    """The threshold that refuses most unanswerable questions for the answerable ones it costs (Youden's J)."""
    yes, no = np.array(answerable), np.array(unanswerable)
    best = Coverage(0.0, 0.0, 0.0)
    for threshold in np.unique(np.concatenate([yes, no])):
        row = Coverage(round(float(threshold), 4), float((yes < threshold).mean()), float((no < threshold).mean()))
        gain = (row.refusals - row.false_refusals) - (best.refusals - best.false_refusals)
        if row.false_refusals <= _FALSE_REFUSALS and gain > 0:
            best = row
    return best
