"""What a trained model gains on held-out questions: the same searches before and after, compared in pairs."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.keeping.index import Progress
from app.keeping.work import in_context
from app.measuring.compare import contrast
from app.measuring.evaluate import METRICS, Outcome, TestSet, measure, scores
from core.config import Config
from core.types import Chunk, Hit, SearchMode
from retrieval import dictionary, tuning
from retrieval.carry import copy_to
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.plugged import embedder_of
from retrieval.reading import Manifest
from retrieval.rerank import Reranker
from retrieval.search import search

_PASSAGES = 256  # that are embedded at a time


def of_embedder(cfg: Config, index: Index, testset: TestSet, model: Path, progress: Progress) -> dict[str, Any]:
    """Dense and hybrid search on held-out questions, with all passages embedded by either model."""
    after = cfg.model_copy(
        update={"retrieval": cfg.retrieval.model_copy(update={"embedder": str(model), "revision": ""})}
    )
    modes: tuple[SearchMode, ...] = ("dense", "hybrid")
    before = {mode: measure(index, testset, cfg, mode, progress) for mode in modes}
    with _embedded(index, embedder_of(after.retrieval), progress) as other:
        metrics = {mode: contrast(before[mode], measure(other, testset, after, mode, progress)) for mode in modes}
    mode = "dense" if cfg.retrieval.mode == "dense" else "hybrid"
    return {"metrics": metrics, "gain": _gain(f"nDCG@10 of {mode} search", metrics[mode])}


def of_reranker(
    cfg: Config, index: Index, testset: TestSet, base: str, model: Path, progress: Progress
) -> dict[str, Any]:
    """The order of hybrid search, of the base reranker and of the trained one; the gain is over the better of both."""
    found = {"hybrid": _reranked(cfg, index, testset, "", progress)}
    if base != "builtin":  # its head is new: there is nothing to compare with
        found["base"] = _reranked(cfg, index, testset, base, progress)
    after = _reranked(cfg, index, testset, str(model), progress)
    column = METRICS.index("ndcg@10")
    better = max(found, key=lambda name: float(scores(found[name])[:, column].mean()))
    metrics = {name: contrast(before, after) for name, before in found.items()}
    return {"metrics": metrics, "gain": _gain(f"nDCG@10 over {better}", metrics[better])}


def _reranked(cfg: Config, index: Index, testset: TestSet, name: str, progress: Progress) -> list[Outcome]:
    retrieval = cfg.retrieval.model_copy(update={"reranker": name, "reranker_revision": "", "rerank_url": ""})
    if name and name == cfg.retrieval.reranker:
        retrieval = retrieval.model_copy(update={"reranker_revision": cfg.retrieval.reranker_revision})
    reranker = Reranker(retrieval) if name else None
    depth = max(min(testset.chunks, retrieval.candidates), retrieval.k)
    outcomes = []
    for done, question in enumerate(testset.questions, start=1):
        started = time.perf_counter()
        hits = search(index, [question.text], retrieval, k=depth, mode="hybrid", reranker=reranker)
        ms = (time.perf_counter() - started) * 1000
        outcomes.append(Outcome(question.judge(hits, retrieval.k), ms))
        progress(f"rerank with {Path(name).name or 'nothing'}", done, len(testset.questions))
    return outcomes


def _gain(metric: str, compared: dict[str, Any]) -> dict[str, Any]:
    return {"metric": metric} | {key: compared["difference"]["ndcg@10"][key] for key in ("mean", "low", "high")}


@contextmanager
def _embedded(index: Index, embedder: Embedder, progress: Progress) -> Iterator[Index]:
    """A temporary copy of a knowledge base, the same to the chunk, with the vectors of another embedder."""
    with TemporaryDirectory(prefix="ragstone-train-") as data:
        home = Path(data) / index.name
        (home / "g0001").mkdir(parents=True)
        copy_to(index, home / "g0001" / "catalog.sqlite")
        for name in (tuning.FILE, dictionary.FILE):
            if (index.home / name).exists():
                shutil.copyfile(index.home / name, home / name)
        other = Index(home, home / "g0001", embedder)
        try:
            _embed_anew(other, progress)
            yield other
        finally:
            other.close()


def _embed_anew(index: Index, progress: Progress) -> None:
    catalog, embedder = index.catalog, index.embedder
    made = catalog.manifest()
    catalog.set_manifest(Manifest(embedder.identity, embedder.name, made.embedder_settings, made.chunker))
    with catalog.transaction() as write:
        write.forget_embeddings()
    todo = list(catalog.keys().items())
    for start in range(0, len(todo), _PASSAGES):
        part = todo[start : start + _PASSAGES]
        hits = catalog.hits([i for _, i in part])
        texts = [_as_indexed(hits[i], embedder) for _, i in part]
        catalog.put_embeddings([key for key, _ in part], embedder.embed_passages(texts))
        progress("embed", start + len(part), len(todo))


def _as_indexed(hit: Hit, embedder: Embedder) -> str:
    chunk = Chunk(hit.ordinal, hit.start, hit.end, hit.text, hit.headings)
    return in_context(hit.title, chunk, embedder.max_tokens - 2 - hit.tokens, embedder)
