"""Recipe: the same questions under two configurations: what differs, how sure that is, and which questions moved."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.keeping.index import Progress, quiet
from app.measuring.evaluate import (
    METRICS,
    Outcome,
    Side,
    TestSet,
    extent,
    golden_testset,
    indexed,
    intervals,
    measure_beside,
    read_testset,
    scores,
    summary,
)
from app.measuring.golden import GoldenQuestion
from core.config import SECRETS, Config, Settings, load
from core.errors import ConfigError
from retrieval.index import Index
from retrieval.plugged import embedder_of

_OF_THE_INDEX = {"embedder", "revision", "query_prompt", "passage_prompt", "device", "precision", "batch_size"}
_EQUAL = 1e-9
_Standing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Moved:
    """A question that one configuration serves better than the other; ranks are of the first relevant result."""

    id: str
    question: str
    document: str
    rank_before: int | None
    rank_after: int | None
    ndcg_before: float
    ndcg_after: float


def varied(settings: Settings, against: Sequence[str]) -> tuple[Config, dict[str, Any]]:
    """The configuration with "section.key=value" settings on top, and what they changed: {name: value}.

    Raises `ConfigError` for one that cannot be set, or that has nothing to do with what a search finds.
    """
    flags = {name: _value(settings.config, name) for name, origin in settings.origins.items() if origin == "flag"}
    for item in against:
        name, sign, value = (part.strip() for part in item.partition("="))
        if not sign or not name.startswith(("ingest.", "retrieval.")):
            raise ConfigError(
                f"--against {item!r} is not a setting of [ingest] or [retrieval]", "e.g. retrieval.mode=lexical"
            )
        flags[name] = value
    other = load(settings.file, flags).config
    named = sorted({item.partition("=")[0].strip() for item in against} - SECRETS)
    return other, {name: _value(other, name) for name in named}


def _value(cfg: Config, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(cfg, section), key)


def compare_folder(folder: Path, cfg: Config, other: Config, progress: Progress = quiet) -> dict[str, Any]:
    """Both configurations on a folder in BEIR form; where they need different indexes, both are built."""
    testset = read_testset(folder)
    with ExitStack() as stack:
        index = stack.enter_context(indexed(folder, cfg, embedder_of(cfg.retrieval), progress))
        second = index
        if needs_another_index(cfg, other):
            second = stack.enter_context(indexed(folder, other, embedder_of(other.retrieval), progress))
        return _compared(testset, (index, cfg), (second, other), progress)


def compare_golden(
    index: Index, questions: Sequence[GoldenQuestion], cfg: Config, other: Config, progress: Progress = quiet
) -> dict[str, Any]:
    """Both configurations on a knowledge base's golden set. Raises `ConfigError` where that needs another index."""
    if reasons := needs_another_index(cfg, other):
        raise ConfigError(
            f"{', '.join(reasons)}: this knowledge base was read and embedded otherwise, so it cannot say what that "
            "would change",
            "index the folder into another --kb with that setting, and measure it there; or give an evaluation FOLDER",
        )
    return _compared(golden_testset(index, questions), (index, cfg), (index, other), progress)


def needs_another_index(cfg: Config, other: Config) -> list[str]:
    """The settings that differ and that an index depends on."""
    names = [f"ingest.{key}" for key in type(cfg.ingest).model_fields] + [f"retrieval.{key}" for key in _OF_THE_INDEX]
    return sorted(name for name in names if _value(cfg, name) != _value(other, name))


def _compared(
    testset: TestSet, before: tuple[Index, Config], after: tuple[Index, Config], progress: Progress
) -> dict[str, Any]:
    sides = [
        Side(index, cfg, cfg.retrieval.mode, f" ({which})")
        for which, (index, cfg) in (("now", before), ("against", after))
    ]
    first, second = measure_beside(testset, sides, progress)
    return contrast(first, second) | moved(testset, first, second) | extent(before[0], testset)


def contrast(before: Sequence[Outcome], after: Sequence[Outcome]) -> dict[str, Any]:
    """Both summaries, and of each metric the difference (after - before): mean, paired 95% bootstrap interval, counts.

    `better`, `worse` and `equal` count questions.
    """
    difference = scores(after) - scores(before)
    between = intervals(difference)
    rows = {}
    for column, name in enumerate(METRICS):
        values = difference[:, column]
        better, worse = int((values > _EQUAL).sum()), int((values < -_EQUAL).sum())
        rows[name] = {
            "mean": round(float(values.mean()), 4) if len(values) else 0.0, "low": between[name][0],
            "high": between[name][1], "better": better, "worse": worse, "equal": len(values) - better - worse,
        }  # fmt: skip
    return {
        "before": summary(before), "after": summary(after), "difference": rows,
        "intervals": {"before": intervals(scores(before)), "after": intervals(scores(after))},
    }  # fmt: skip


def moved(testset: TestSet, before: Sequence[Outcome], after: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """The questions that got worse and better, those that moved farthest first.

    A question is judged by nDCG@10, then by what the first `retrieval.k` passages hold, then by the first rank.
    """
    worse: list[tuple[_Standing, Moved]] = []
    better: list[tuple[_Standing, Moved]] = []
    for question, one, two in zip(testset.questions, before, after, strict=True):
        old, new = _standing(one), _standing(two)
        change = (new[0] - old[0], new[1] - old[1], new[2] - old[2])
        direction = next((delta for delta in change if abs(delta) > _EQUAL), 0.0)
        row = Moved(
            question.id, question.text, question.document, one.judged.rank, two.judged.rank, round(old[0], 4),
            round(new[0], 4),
        )  # fmt: skip
        if direction:
            (better if direction > 0 else worse).append((change, row))
    worse.sort(key=lambda pair: pair[0])
    better.sort(key=lambda pair: pair[0], reverse=True)
    return {"worse": [asdict(row) for _, row in worse], "better": [asdict(row) for _, row in better]}


def _standing(outcome: Outcome) -> _Standing:
    named = dict(zip(METRICS, outcome.judged.scores, strict=True))
    return named["ndcg@10"], named["recall@k"], 1 / outcome.judged.rank if outcome.judged.rank else 0.0
