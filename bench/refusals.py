"""Questions that the documents do not answer, and those that they do: `python -m bench.refusals`, RAGSTONE_EVAL set.

Without a model, an answer is refused where the relevance of what was found (`retrieval.search.relevance`) is below a
threshold. Both rates always: refused of the questions without an answer, and refused of those with one; at the default
threshold, and at one calibrated as `ragstone tune retrieval` does on every other question and measured on the rest.

- RAGEval: long reports; the unanswerable questions name real entities and ask for what no document says.
- RGB: a question is searched among its own snippets, once with those that answer it and once without them.
- handbook: the sample documents, English and Chinese.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.keeping.index import chunker, run, write_documents
from app.measuring.tune import coverage_of
from bench.record import environment, evaluation_folder, merge, progress, read_rows
from core.config import RetrievalConfig, load
from core.types import Document, Query, Section
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import MIN_RELEVANCE, rank, relevance, retrieve

_EXAMPLES = Path(__file__).parent.parent / "examples"
_PACKAGES = ("faiss-cpu", "sentence-transformers", "tantivy")

Rows = list[dict[str, Any]]
Scores = tuple[list[float], list[float]]  # relevances of answerable and of unanswerable questions


@contextmanager
def indexed(documents: Iterable[tuple[str, Document]]) -> Iterator[Index]:
    """An index of its own over documents."""
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        cfg = load(flags={"app.data": data}, environ={}).config
        index = Index.open_or_create(Path(data), "bench", Embedder(cfg.retrieval), chunker(cfg.ingest))
        write_documents(index, documents, cfg.ingest, progress)
        yield index
        index.close()


def relevance_of(index: Index, question: str, where: Filter | None = None) -> float:
    """How relevant the best passages are to a question."""
    cfg = RetrievalConfig()
    return relevance(index, question, rank(index, retrieve(index, [Query(question)], cfg, where=where), cfg).hits)


def rageval(root: Path, language: str) -> Scores:
    """All questions of a language over all its documents."""
    rows = [row for row in read_rows(root / "rageval_zh_en" / "corpus.jsonl") if row["lang"] == language]
    questions = [row for row in read_rows(root / "rageval_zh_en" / "queries.jsonl") if row["lang"] == language]
    with indexed((row["_id"], _document(row)) for row in rows) as index:
        found: Scores = ([], [])
        for done, row in enumerate(questions, start=1):
            found[row["unanswerable"]].append(relevance_of(index, row["text"]))
            progress(f"rageval {language}", done, len(questions))
    return found


def rgb(root: Path, language: str) -> Scores:
    """Each question among its snippets, and among those that do not answer it."""
    corpus = {row["_id"]: row for row in read_rows(root / "rgb_zh_en" / "corpus.jsonl")}
    questions = [row for row in read_rows(root / "rgb_zh_en" / "queries.jsonl") if row["lang"] == language]
    documents = [
        (f"{row['_id']}/{kind}/{snippet}.md", _document(corpus[snippet]))
        for row in questions
        for kind in ("positive", "negative")
        for snippet in row[f"{kind}_ids"]
        if snippet in corpus
    ]
    with indexed(documents) as index:
        found: Scores = ([], [])
        for done, row in enumerate(questions, start=1):
            if row["positive_ids"]:
                found[0].append(relevance_of(index, row["text"], Filter(paths=(f"{row['_id']}/**",))))
            if row["negative_ids"]:
                found[1].append(relevance_of(index, row["text"], Filter(paths=(f"{row['_id']}/negative/**",))))
            progress(f"rgb {language}", done, len(questions))
    return found


def handbook() -> Scores:
    """The sample documents and the questions about them."""
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        cfg = load(flags={"app.data": data}, environ={}).config
        run(cfg, "handbook", [_EXAMPLES / "handbook"], progress=progress)
        index = Index.open(Path(data), "handbook", Embedder(cfg.retrieval))
        found: Scores = ([], [])
        for row in read_rows(_EXAMPLES / "questions.jsonl"):
            found[not row.get("answers")].append(relevance_of(index, row["text"]))
        index.close()
    return found


def rates(scores: Scores) -> dict[str, Any]:
    """Shares refused at the default threshold, and at one calibrated on every other question."""
    answerable, unanswerable = scores
    calibrated = coverage_of(answerable[::2], unanswerable[::2]).threshold
    rest = (answerable[1::2], unanswerable[1::2])
    return {
        "questions": {"answerable": len(answerable), "unanswerable": len(unanswerable)},
        "default": {"threshold": MIN_RELEVANCE} | _refused(scores, MIN_RELEVANCE),
        "calibrated": {"threshold": calibrated} | _refused(rest, calibrated),
    }


def _refused(scores: Scores, threshold: float) -> dict[str, float]:
    shares = [sum(score < threshold for score in side) / max(len(side), 1) for side in scores]
    return {"false_refusals": round(shares[0], 3), "refusals": round(shares[1], 3)}


def _document(row: dict[str, Any]) -> Document:
    return Document(row["text"], row.get("title", ""), (Section(0, len(row["text"])),))


def main() -> None:
    """Measure all sets, print and record."""
    root = evaluation_folder(["rageval_zh_en", "rgb_zh_en"])
    sets = {
        f"{name} {code}": (measure, code)
        for name, measure in (("RAGEval", rageval), ("RGB", rgb))
        for code in ("en", "zh")
    }
    results = {"handbook": rates(handbook())} | {
        name: rates(measure(root, code)) for name, (measure, code) in sets.items()
    }
    print("| set | answerable / not | default: false refusals / refusals | calibrated |\n|---|---|---|---|")
    for name, row in results.items():
        both = [
            f"{row[kind]['false_refusals']:.2f} / {row[kind]['refusals']:.2f}" for kind in ("default", "calibrated")
        ]
        print(f"| {name} | {' / '.join(map(str, row['questions'].values()))} | {' | '.join(both)} |")
    merge("refusals", results | {"environment": environment(_PACKAGES)})


if __name__ == "__main__":
    main()
