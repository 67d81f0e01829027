"""Recipe: measure retrieval on a folder in BEIR form (corpus.jsonl, queries.jsonl, qrels.tsv).

Where the corpus rows carry no text and there is a `files/` folder, the files are indexed and a row's id is a path.
A document's rank is that of its best chunk.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.index import Progress, chunker, quiet, sync, write_documents
from core.config import Config
from core.errors import EvalError
from core.types import Document, SearchMode, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import mrr, ndcg, percentile, recall
from retrieval.search import search

MODES: tuple[SearchMode, ...] = ("dense", "lexical", "hybrid")
_DEPTH = 100  # documents per ranking


@dataclass(frozen=True, slots=True)
class TestSet:
    """Questions and judgements: `qrels[query id][document id] = grade`."""

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, float]]


def evaluate(
    folder: Path, cfg: Config, embedder: Embedder, modes: Sequence[SearchMode] = MODES, progress: Progress = quiet
) -> dict[str, Any]:
    """Index the corpus in a temporary data folder and measure each mode on it.

    Raises `EvalError` where the folder is not in BEIR form.
    """
    testset = read_testset(folder)
    with tempfile.TemporaryDirectory(prefix="ragstone-eval-") as data:
        started = time.monotonic()
        index = Index.open_or_create(Path(data), "eval", embedder, chunker(cfg.ingest))
        index_corpus(index, folder, cfg, progress)
        seconds = time.monotonic() - started
        counts = index.counts()
        results = {mode: measure(index, testset, cfg, mode, progress) for mode in modes}
        index.close()
    return {
        "modes": results,
        "documents": counts.documents,
        "chunks": counts.chunks,
        "index_seconds": round(seconds, 3),
    }


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
    """Queries that have a judgement, and the judgements."""
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
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl") if row["_id"] in qrels}
    return TestSet(queries, qrels)


def measure(
    index: Index, testset: TestSet, cfg: Config, mode: SearchMode, progress: Progress = quiet
) -> dict[str, float]:
    """nDCG@10, recall@10, recall@100, MRR@10 and latency of one mode, averaged over the questions."""
    rows: list[tuple[float, float, float, float]] = []
    times: list[float] = []
    retrieval = cfg.retrieval.model_copy(update={"candidates": max(cfg.retrieval.candidates, 3 * _DEPTH)})
    for done, (query_id, text) in enumerate(testset.queries.items(), start=1):
        started = time.perf_counter()
        hits = search(index, [text], retrieval, k=3 * _DEPTH, mode=mode)
        times.append((time.perf_counter() - started) * 1000)
        ranking = list(dict.fromkeys(hit.path for hit in hits))
        gains = testset.qrels[query_id]
        rows.append(
            (ndcg(ranking, gains, 10), recall(ranking, gains, 10), recall(ranking, gains, 100), mrr(ranking, gains, 10))
        )
        progress(f"search {mode}", done, len(testset.queries))
    means = [
        round(sum(column) / len(rows), 4) if rows else 0.0 for column in (zip(*rows, strict=True) if rows else [()] * 4)
    ]
    names = ("ndcg@10", "recall@10", "recall@100", "mrr@10")
    return dict(zip(names, means, strict=True)) | {
        "p50_ms": round(percentile(times, 0.5), 2),
        "p95_ms": round(percentile(times, 0.95), 2),
    }


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
