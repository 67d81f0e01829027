"""Of several answers to one question the one that most of the others agree with: self-consistency (Wang et al. 2022).

https://arxiv.org/abs/2203.11171 counts equal results of several chains of thought. Answers in words are seldom equal,
so two of them agree by the mean of two checks of ours: token F1 of what they say in the end, without marks, and the
share of the sources they cite that both cite (Jaccard). Refusals agree with each other wholly, and with no answer.
"""

from collections.abc import Sequence

from core.config import LlmConfig
from core.types import Source
from llm.parity import token_f1
from prompts import context
from prompts.support import final

_LEAST_TEMPERATURE = 0.5  # of the samples: colder ones agree whether they are right or not


def settings_of(cfg: LlmConfig, n: int) -> LlmConfig:
    """The settings of sample n, which counts from 0: warm enough to differ, and with a seed of its own."""
    seed = (cfg.seed + n) % 2**63 if cfg.seed >= 0 else cfg.seed
    return cfg.model_copy(update={"temperature": max(cfg.temperature, _LEAST_TEMPERATURE), "seed": seed})


def agreed(texts: Sequence[str], sources: Sequence[Source]) -> tuple[int, float]:
    """Which of the answers the others agree with most, and how far, 0 to 1; "" is a refusal, the first of equals wins.

    >>> agreed(["Ten days.", "", "Ten days."], [])
    (0, 0.5)
    """
    said = [context.without_marks(final(text)).strip() for text in texts]
    cited = [frozenset(c.n for c in context.cite(text, sources).citations) for text in texts]

    def alike(one: int, other: int) -> float:
        if not said[one] or not said[other]:
            return float(said[one] == said[other])
        both, either = cited[one] & cited[other], cited[one] | cited[other]
        return (token_f1(said[one], said[other]) + (len(both) / len(either) if either else 1.0)) / 2

    others = max(len(texts) - 1, 1)
    means = [sum(alike(n, m) for m in range(len(texts)) if m != n) / others for n in range(len(texts))]
    best = max(range(len(texts)), key=lambda n: means[n])
    return best, means[best]


def not_chosen(texts: Sequence[str], best: int, agreement: float) -> str:
    """The samples that were not chosen, as they are kept among the thoughts."""
    rest = "\n".join(f"- {' '.join(text.split()) or 'NO_ANSWER'}" for n, text in enumerate(texts) if n != best)
    return f"{len(texts)} answers drawn, agreement {agreement:.2f}; the others:\n{rest}"
