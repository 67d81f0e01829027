"""What both frameworks are told of a passage and of an answer; plain data, the same for either."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.api import KnowledgeBase
from core.config import Config
from core.errors import ReadError
from core.types import Answer, Document, Hit
from ingest.read import supported
from ingest.scan import plan
from ingest.workers import read_apart


def opened(name: str, config: Path | str | None, settings: Mapping[str, Any] | None) -> KnowledgeBase:
    """An open knowledge base: one that is not there is told at once, not at the first question."""
    base = KnowledgeBase.open(name, config=config, settings=settings)
    _ = base.index
    return base


def identity(base: KnowledgeBase, hit: Hit) -> str:
    """Names a chunk across knowledge bases, so that a fusion of several keeps what is not the same."""
    return f"{base.name}/{hit.chunk_id}"


def ordering(hits: Iterable[Hit]) -> list[float]:
    """Of each passage a score that no passage behind it exceeds: the reranker's where one ordered, else the fused.

    What a reranker was not given stands behind what it was; the newest version of a document has the best score of all
    its versions, in front of which it stands.
    """
    hits = list(hits)
    least = min((hit.rerank_score for hit in hits if hit.rerank_score is not None), default=math.inf)
    best, scores = -math.inf, dict[int, float]()
    for hit in sorted(hits, key=lambda hit: -hit.rank):
        best = max(best, min(hit.score, least) if hit.rerank_score is None else hit.rerank_score)
        scores[hit.rank] = best
    return [scores[hit.rank] for hit in hits]


def metadata(hit: Hit, score: float) -> dict[str, Any]:
    """Where a passage stands, and how it was found; offsets are characters of the document, pages count from 1."""
    return {
        "path": hit.path, "folder": hit.folder, "title": hit.title, "page": hit.page, "headings": list(hit.headings),
        "start": hit.start, "end": hit.end, "chunk_id": hit.chunk_id, "language": hit.language, "stale": hit.stale,
        "rank": hit.rank, "score": score, "dense_rank": hit.dense_rank, "lexical_rank": hit.lexical_rank,
        "rerank_score": hit.rerank_score,
    }  # fmt: skip


def told(answer: Answer) -> dict[str, Any]:
    """Of an answer, what goes with its text: whether the documents cover the question, citations, who wrote it."""
    return {
        "answered": answer.answered,
        "citations": [{"n": c.n, "path": c.path, "page": c.page, "quote": c.quote} for c in answer.citations],
        "backend": answer.backend, "model": answer.model, "notes": list(answer.notes),
    }  # fmt: skip


def files(path: Path, cfg: Config) -> Iterator[tuple[str, Document]]:
    """The documents of a file, or of the files of a folder that `[ingest]` lets through, with their paths.

    Each is read in a process of its own. Raises `ReadError`, naming the file, for the first that cannot be read.
    """
    if path.is_file():
        yield path.name, _read(path, cfg)
        return
    data = Path(cfg.app.data).resolve()
    found = plan(path, cfg.ingest, partial(supported, cfg=cfg.ingest), lambda below: (), apart=data)
    for error in found.failed:
        raise ReadError(f"{error.path!r}: {error.error}", error.hint)
    for entry in found.added:
        yield entry.path, _read(path / entry.path, cfg)


def _read(file: Path, cfg: Config) -> Document:
    try:
        document = read_apart(file, cfg.ingest).document
    except ReadError as error:
        raise ReadError(f"{str(file)!r}: {error.message}", error.hint) from error
    return replace(document, title=document.title or file.stem)


def of_file(name: str, document: Document) -> dict[str, Any]:
    """Metadata of a whole document."""
    return {
        "source": name, "title": document.title, "pages": document.pages, "date": document.date,
        "tags": list(document.tags), "notes": list(document.notes),
    }  # fmt: skip
