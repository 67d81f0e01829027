"""Recipe: measure retrieval, on a folder in BEIR form or on a knowledge base's own golden set.

BEIR form is corpus.jsonl, queries.jsonl and qrels.tsv. Where the corpus rows carry no text and there is a `files/`
folder, the files are indexed and a row's id is a path. There, documents are ranked, each by its best chunk; with a
golden set, passages are.
"""

import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.keeping.index import Progress, chunker, quiet, sync, write_documents
from app.measuring.golden import GoldenQuestion, Located, OutOfDate, locate
from core.config import Config, RetrievalConfig
from core.errors import EvalError
from core.types import Document, Hit, SearchMode, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import mrr, ndcg, percentile, recall
from retrieval.search import search

MODES: tuple[SearchMode, ...] = ("dense", "lexical", "hybrid")
METRICS = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "recall@k")  # k: what `retrieval.k` passages hold
_DEPTH = 100  # documents or passages per ranking
_RESAMPLES = 2_000
_CELLS = 2_000_000  # of a bootstrap that are held at once

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """How good one ranking is: a value for each of `METRICS`, and the rank of the first that is relevant."""

    scores: tuple[float, ...]
    rank: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its judge; `document` names what is to be found, for the reader. `judge(hits, k)`."""

    id: str
    text: str
    document: str
    judge: Callable[[Sequence[Hit], int], Judged]


@dataclass(frozen=True, slots=True)
class TestSet:
    """Questions to measure with. `skipped` counts those left out, by reason; `chunks` is how deep a ranking goes."""

    questions: tuple[Question, ...]
    chunks: int
    skipped: Mapping[str, int]
    out_of_date: tuple[OutOfDate, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one configuration made of one question; `ms` is the time of the search."""

    judged: Judged
    ms: float


@dataclass(frozen=True, slots=True)
class Side:
    """One of the configurations that are measured beside each other; `label` tells it apart in progress."""

    index: Index
    cfg: Config
    mode: SearchMode
    label: str = ""


def evaluate(
    folder: Path, cfg: Config, embedder: Embedder, modes: Sequence[SearchMode] = MODES, progress: Progress = quiet
) -> dict[str, Any]:
    """Index the corpus of a BEIR folder in a temporary data folder and measure each mode on it.

    Raises `EvalError` where the folder is not in BEIR form.
    """
    testset = read_testset(folder)
    started = time.monotonic()
    with indexed(folder, cfg, embedder, progress) as index:
        seconds = time.monotonic() - started
        return report(index, testset, cfg, modes, progress) | {"index_seconds": round(seconds, 3)}


def report(
    index: Index, testset: TestSet, cfg: Config, modes: Sequence[SearchMode] = MODES, progress: Progress = quiet
) -> dict[str, Any]:
    """Metrics, their 95% intervals and latency (ms) of each mode, as plain data."""
    found = measure_beside(testset, [Side(index, cfg, mode) for mode in modes], progress)
    outcomes = dict(zip(modes, found, strict=True))
    return {
        "modes": {mode: summary(found) for mode, found in outcomes.items()},
        "intervals": {mode: intervals(scores(found)) for mode, found in outcomes.items()},
    } | extent(index, testset)


def extent(index: Index, testset: TestSet) -> dict[str, Any]:
    """What was measured on, as plain data."""
    counts = index.counts()
    return {
        "questions": len(testset.questions),
        "skipped": dict(testset.skipped),
        "out_of_date": [asdict(row) for row in testset.out_of_date],
        "documents": counts.documents,
        "chunks": counts.chunks,
    }


def measure(index: Index, testset: TestSet, cfg: Config, mode: SearchMode, progress: Progress = quiet) -> list[Outcome]:
    """Ask every question in one mode and judge what is found, in order."""
    (outcomes,) = measure_beside(testset, [Side(index, cfg, mode)], progress)
    return outcomes


def measure_beside(testset: TestSet, sides: Sequence[Side], progress: Progress = quiet) -> list[list[Outcome]]:
    """The outcomes of each side, in the order of the questions.

    So that their times can be compared, each is warmed up before the first question, every question is asked of all
    sides in turn, another one first each time, and none has the vector of a question that another has embedded.
    """
    settings = [_deep_enough(side.cfg.retrieval, testset) for side in sides]
    for side, retrieval in zip(sides, settings, strict=True):
        search(side.index, ["warm up"], retrieval, mode=side.mode)  # models and caches load at the first search
    outcomes: list[list[Outcome]] = [[] for _ in sides]
    for asked, question in enumerate(testset.questions):
        for turn in range(len(sides)):
            at = (asked + turn) % len(sides)
            side, retrieval = sides[at], settings[at]
            side.index.forget_questions()
            depth = max(min(testset.chunks, retrieval.candidates), retrieval.k)
            started = time.perf_counter()
            hits = search(side.index, [question.text], retrieval, k=depth, mode=side.mode)
            ms = (time.perf_counter() - started) * 1000
            outcomes[at].append(Outcome(question.judge(hits, retrieval.k), ms))
            progress(f"search {side.mode}{side.label}", asked + 1, len(testset.questions))
    return outcomes


def _deep_enough(cfg: RetrievalConfig, testset: TestSet) -> RetrievalConfig:
    if testset.chunks <= _DEPTH:
        return cfg
    return cfg.model_copy(update={"candidates": max(cfg.candidates, testset.chunks)})  # documents, by their best chunk


def scores(outcomes: Sequence[Outcome]) -> F64:
    """(questions, metrics)."""
    return np.array([o.judged.scores for o in outcomes], np.float64).reshape(len(outcomes), len(METRICS))


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Each metric averaged over the questions, and the latency; zeros for no questions."""
    means = scores(outcomes).mean(axis=0) if outcomes else np.zeros(len(METRICS))
    times = [outcome.ms for outcome in outcomes]
    return {name: round(float(value), 4) for name, value in zip(METRICS, means, strict=True)} | {
        "p50_ms": round(percentile(times, 0.5), 2),
        "p95_ms": round(percentile(times, 0.95), 2),
    }


def intervals(values: F64, names: Sequence[str] = METRICS) -> dict[str, list[float]]:
    """95% percentile bootstrap interval [low, high] of each metric's mean (Efron 1979); of differences, paired.

    `values`: (questions, metrics), `names` the metrics. The questions are what is drawn; the seed is fixed.
    """
    n = len(values)
    if not n:
        return {name: [0.0, 0.0] for name in names}
    rng = np.random.Generator(np.random.PCG64(0))
    batch = max(_CELLS // n, 1)
    sizes = [min(batch, _RESAMPLES - start) for start in range(0, _RESAMPLES, batch)]
    means = np.concatenate([values[rng.integers(n, size=(size, n))].mean(axis=1) for size in sizes])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {name: [round(float(a), 4), round(float(b), 4)] for name, a, b in zip(names, low, high, strict=True)}


# --- a golden set ----------------------------------------------------------------------------------------------------


def golden_testset(index: Index, questions: Sequence[GoldenQuestion]) -> TestSet:
    """The approved questions whose evidence the knowledge base still holds; passages are ranked.

    Raises `EvalError` where no question is approved.
    """
    approved = [question for question in questions if question.status == "approved"]
    if not approved:
        raise EvalError(
            f"the golden set of {index.name!r} has no approved question ({len(questions)} in all)",
            f"`ragstone golden draft --kb {index.name}`, then `ragstone golden approve ID...`",
        )
    located, gone = locate(index, approved)
    asked = []
    for found in located:
        ids = sorted({i for homes in found.homes for i in homes})
        ideal = [found.held_by(hit) for hit in index.hits(ids).values()]
        question = found.question
        asked.append(Question(question.id, question.question, question.file, _evidence_judge(found, ideal)))
    others = Counter(q.status for q in questions if q.status != "approved")
    return TestSet(tuple(asked), _DEPTH, others, tuple(gone))


def _evidence_judge(found: Located, ideal: Sequence[frozenset[int]]) -> Callable[[Sequence[Hit], int], Judged]:
    return lambda hits, k: judge_evidence([found.held_by(hit) for hit in hits], ideal, len(found.homes), k)


def judge_evidence(held: Sequence[frozenset[int]], ideal: Sequence[frozenset[int]], total: int, k: int) -> Judged:
    """Judge ranked passages by the evidence sentences (numbered below `total`) that each holds.

    recall@n is the share of sentences that the first n passages hold. nDCG's gain is the number of sentences that no
    passage before held: alpha-nDCG with alpha = 1 (Clarke et al., SIGIR 2008), beside the greedy order of `ideal`.
    """
    gains = _new(held)
    best: list[frozenset[int]] = []
    left = list(ideal)
    while left:
        had = frozenset[int]().union(*best)
        left.sort(key=lambda held: -len(held - had))
        best.append(left.pop(0))
    possible = _dcg(_new(best))
    rank = next((place for place, gain in enumerate(gains, start=1) if gain), None)
    values = (
        min(_dcg(gains) / possible, 1.0) if possible else 0.0,
        *(sum(gains[:n]) / total for n in (10, 100)),
        1 / rank if rank and rank <= 10 else 0.0,
        sum(gains[:k]) / total,
    )
    return Judged(values, rank)


def _new(held: Sequence[frozenset[int]]) -> list[int]:
    """How many sentences each passage holds that none before it did."""
    seen: set[int] = set()
    gains = []
    for sentences in held:
        gains.append(len(sentences - seen))
        seen |= sentences
    return gains


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], start=1))


# --- a folder in BEIR form -------------------------------------------------------------------------------------------


@contextmanager
def indexed(folder: Path, cfg: Config, embedder: Embedder, progress: Progress = quiet) -> Iterator[Index]:
    """The corpus of a BEIR folder in a temporary knowledge base."""
    with tempfile.TemporaryDirectory(prefix="ragstone-eval-") as data:
        index = Index.open_or_create(Path(data), "eval", embedder, chunker(cfg.ingest))
        try:
            index_corpus(index, folder, cfg, progress)
            yield index
        finally:
            index.close()


def index_corpus(index: Index, folder: Path, cfg: Config, progress: Progress = quiet) -> None:
    """Index the rows of corpus.jsonl, or the files they name."""
    first = next(_rows(folder / "corpus.jsonl"), None)
    if first is None:
        raise EvalError(f"{str(folder / 'corpus.jsonl')!r} is empty", "give a folder in BEIR form")
    if not first.get("text") and (folder / "files").is_dir():
        sync(index, folder / "files", cfg.ingest, progress)
    else:
        write_documents(index, _documents(folder), cfg.ingest, progress)


def read_testset(folder: Path) -> TestSet:
    """The judged questions of a BEIR folder; documents are ranked.

    Left out and counted: those marked "unanswerable", empty ones, and those without a judgement.
    """
    qrels: dict[str, dict[str, float]] = {}
    file = folder / "qrels.tsv"
    for number, line in enumerate(_lines(file), start=1):
        if number == 1 and line.startswith("query-id"):
            continue
        try:
            query, document, grade = line.split("\t")
            qrels.setdefault(query, {})[document] = float(grade)
        except ValueError:
            raise EvalError(f"{file}:{number}: {line!r} is not query<TAB>document<TAB>grade", "mend the line") from None
    questions, skipped = [], Counter[str]()
    for row in _rows(folder / "queries.jsonl"):
        text, gains = str(row.get("text") or "").strip(), qrels.get(row["_id"])
        if row.get("unanswerable") is True:
            skipped["unanswerable"] += 1
        elif not text or not gains:
            skipped["unjudged" if text else "empty"] += 1
        else:
            best, _ = max(gains.items(), key=lambda pair: pair[1])
            questions.append(Question(row["_id"], text, best, _document_judge(gains)))
    return TestSet(tuple(questions), 3 * _DEPTH, skipped)


def _document_judge(gains: Mapping[str, float]) -> Callable[[Sequence[Hit], int], Judged]:
    return lambda hits, k: judge_documents([hit.path for hit in hits], gains, k)


def judge_documents(paths: Sequence[str], gains: Mapping[str, float], k: int) -> Judged:
    """Judge ranked chunks by the documents they are of; `gains`: document -> grade."""
    ranking = list(dict.fromkeys(paths))
    rank = next((place for place, document in enumerate(ranking, start=1) if gains.get(document, 0.0) > 0), None)
    first = list(dict.fromkeys(paths[:k]))
    values = (
        ndcg(ranking, gains, 10), recall(ranking, gains, 10), recall(ranking, gains, 100), mrr(ranking, gains, 10),
        recall(first, gains, k),
    )  # fmt: skip
    return Judged(values, rank)


def _documents(folder: Path) -> Iterator[tuple[str, Document]]:
    for row in _rows(folder / "corpus.jsonl"):
        text, title = row.get("text", ""), row.get("title", "")
        yield row["_id"], Document(text, title, (Section(0, len(text)),))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(file), start=1):
        try:
            row = json.loads(line)
            row["_id"] = str(row["_id"])
        except (ValueError, KeyError, TypeError):
            raise EvalError(f"{file}:{number}: not a JSON object with '_id'", "mend the line") from None
        yield row


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as handle:
            yield from (line.rstrip("\n") for line in handle if line.strip())
    except FileNotFoundError:
        raise EvalError(
            f"{str(file)!r} is missing", "an evaluation folder holds corpus.jsonl, queries.jsonl and qrels.tsv"
        ) from None
    except UnicodeDecodeError:
        raise EvalError(f"{str(file)!r} is not UTF-8", "convert it") from None
