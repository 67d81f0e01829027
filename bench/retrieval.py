"""Retrieval quality and latency beside llama-index and LangChain: `python -m bench.retrieval`, RAGSTONE_EVAL set.

One embedder for everybody, the default one unless `--embedder` names another; each text is embedded once. Every method
is asked for 300 chunks a retriever; a document's rank is that of its best chunk. The peers run on their defaults:
bench/peers.py.

`ragstone fusion` is what an answer rests on where there is no model: hybrid, and what the best passages leave open is
asked again. `--reranker MODEL` adds `ragstone rerank`. all@5: the share of questions of which every judged document is
among the first five, for sets where one is not enough. Intervals are 95 % of a bootstrap over questions.

Times are those of the search alone: the question's vector, the same for all, is made before (`question_ms`).
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from opencc import OpenCC

from app.answering.backend import EXTRACTIVE
from app.answering.find import find
from app.answering.plan import Plan
from app.keeping.index import chunker, write_documents
from app.measuring.evaluate import MODES
from app.measuring.plot import write_plot
from bench.peers import DEPTH, Rank, Row, langchain, llama_index
from bench.record import environment, evaluation_folder, merge, progress, read_rows, recorded
from core.config import Config, RetrievalConfig
from core.types import F32, Document, Section
from retrieval.bundled import ENGLISH
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import ndcg, percentile, recall
from retrieval.rerank import reranker_of
from retrieval.search import search

_PACKAGES = (
    "bm25s", "faiss-cpu", "langchain-classic", "langchain-core", "langchain-text-splitters", "llama-index-core",
    "rank-bm25", "sentence-transformers", "tantivy", "torch", "transformers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of an evaluation folder: rows whose fields equal `where`, and questions likewise.

    `script` is what OpenCC makes of the documents: "s2t" writes them in Traditional characters.
    """

    folder: str
    qrels: str = "qrels.tsv"
    where: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, Any] = field(default_factory=dict)
    script: str = ""


@dataclass(frozen=True, slots=True)
class TestSet:
    """Documents, questions by id, and `qrels[question id][document id] = grade`."""

    documents: Sequence[Row]
    questions: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, float]]


_EN, _ZH = {"lang": "en"}, {"lang": "zh"}
SETS = {
    "scifact_en": Selection("scifact_en"),
    "xquad_en": Selection("xquad_zh_en", "qrels_mono.tsv", _EN, _EN),
    "multihop_en": Selection("multihop_en"),
    "musique_en": Selection("multihop_en", where={"pool": "musique"}, questions={"pool": "musique"}),
    "hotpotqa_en": Selection("multihop_en", where={"pool": "hotpot"}, questions={"pool": "hotpot"}),
    "productdocs_en": Selection("productdocs_en"),
    "rageval_en": Selection("rageval_zh_en", where=_EN, questions=_EN | {"unanswerable": False}),
    "xquad_zh": Selection("xquad_zh_en", "qrels_mono.tsv", _ZH, _ZH),
    "xquad_traditional": Selection("xquad_zh_en", "qrels_mono.tsv", _ZH, _ZH, "s2t"),
    "xquad_en_zh": Selection("xquad_zh_en", "qrels_cross.tsv", _ZH, _EN),
    "xquad_zh_en": Selection("xquad_zh_en", "qrels_cross.tsv", _EN, _ZH),
    "cmrc2018_zh": Selection("cmrc2018_zh"),
    "rageval_zh": Selection("rageval_zh_en", where=_ZH, questions=_ZH | {"unanswerable": False}),
    "dureader_demo_zh": Selection("dureader_demo_zh"),
}


def load(root: Path, selection: Selection, limit: int | None) -> TestSet:
    """Read a set; `limit` keeps the first questions only."""
    folder = root / selection.folder
    written = OpenCC(selection.script).convert if selection.script else str
    rows = _rows(folder / "corpus.jsonl", selection.where)
    documents = [Row(r["_id"], written(r["title"]), written(r["text"])) for r in rows]
    known = {row.id for row in documents}
    qrels: dict[str, dict[str, float]] = {}
    for line in (folder / selection.qrels).read_text("utf-8").splitlines()[1:]:
        question, document, grade = line.split("\t")
        if document in known:
            qrels.setdefault(question, {})[document] = float(grade)
    questions = _rows(folder / "queries.jsonl", selection.questions)
    asked = [
        (r["_id"], r["text"]) for r in questions if r["_id"] in qrels and r["text"].strip()
    ]  # two of CMRC are empty
    if not asked:
        raise SystemExit(f"{folder}: no question left by {dict(selection.questions)}")
    return TestSet(documents, dict(asked[:limit]), qrels)


def _rows(file: Path, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in read_rows(file) if all(row.get(key) == value for key, value in where.items())]


class Remembering(Embedder):
    """An embedder; a text that was embedded once is not embedded again, whoever asks."""

    def __init__(self, cfg: RetrievalConfig) -> None:
        super().__init__(cfg)
        self.passages: dict[str, F32] = {}
        self.questions: dict[str, F32] = {}

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        """Vectors of passages; only new ones are computed."""
        new = [text for text in dict.fromkeys(texts) if text not in self.passages]
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            progress("embed", done, len(new))

        self.passages.update(zip(new, super().embed_passages(new, report), strict=True))
        return np.stack([self.passages[text] for text in texts]) if texts else super().embed_passages([])

    def embed_query(self, text: str) -> F32:
        """Vector of a question; only a new one is computed."""
        text = text.strip()
        if text not in self.questions:
            self.questions[text] = super().embed_query(text)
        return self.questions[text]


Peer = Callable[[Sequence[Row], Remembering], dict[str, Rank]]


@contextmanager
def ragstone(documents: Sequence[Row], embedder: Embedder, reranker: str = "") -> Iterator[dict[str, Rank]]:
    """Dense, lexical and hybrid search of this project on its defaults, what follows a first search, and reranking."""
    cfg = Config()
    retrieval = cfg.retrieval.model_copy(update={"candidates": DEPTH, "k": DEPTH, "reranker": reranker})
    fused = cfg.model_copy(update={"retrieval": retrieval.model_copy(update={"reranker": ""})})
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        index = Index.open_or_create(Path(data), "bench", embedder, chunker(cfg.ingest))
        whole = ((row.id, Document(row.text, row.title, (Section(0, len(row.text)),))) for row in documents)
        write_documents(index, whole, cfg.ingest, progress)

        def rank(mode: Any) -> Rank:
            return lambda question: [hit.path for hit in search(index, [question], retrieval, mode=mode)]

        def fusion(question: str) -> list[str]:
            _, result = loop.run(find(index, question, Plan(fused, EXTRACTIVE)))
            return [hit.path for hit in result.hits]

        def reranked(question: str) -> list[str]:
            return [hit.path for hit in search(index, [question], retrieval, reranker=reranker_of(retrieval))]

        ranks: dict[str, Rank] = {f"ragstone {mode}": rank(mode) for mode in MODES} | {"ragstone fusion": fusion}
        with asyncio.Runner() as loop:
            yield ranks | ({"ragstone rerank": reranked} if reranker else {})
        index.close()


def measure(name: str, rank: Rank, testset: TestSet) -> dict[str, Any]:
    """nDCG@10 with its interval, recall@10, recall@100 and all@5 where they can tell, milliseconds a question."""
    figures: list[tuple[float, float, float, float]] = []
    times: list[float] = []
    for done, (question_id, text) in enumerate(testset.questions.items(), start=1):
        started = time.perf_counter()
        found = rank(text)
        times.append((time.perf_counter() - started) * 1000)
        ranking, gains = list(dict.fromkeys(found)), testset.qrels[question_id]
        both = (recall(ranking, gains, 10), recall(ranking, gains, 100))
        figures.append((ndcg(ranking, gains, 10), *both, float(gains.keys() <= set(ranking[:5]))))
        progress(name, done, len(testset.questions))
    means = [round(sum(column) / len(figures), 4) for column in zip(*figures, strict=True)]
    row: dict[str, Any] = dict(zip(("ndcg@10", "recall@10", "recall@100", "all@5"), means, strict=True))
    scores = np.array([figure[0] for figure in figures])
    drawn = np.random.default_rng(0).choice(scores, (2_000, len(scores))).mean(axis=1)
    row["interval"] = [round(float(bound), 4) for bound in np.percentile(drawn, [2.5, 97.5])]
    if len(testset.documents) <= 100:
        del row["recall@100"]
    if sum(len(testset.qrels[question]) for question in testset.questions) < 2 * len(testset.questions):
        del row["all@5"]
    return row | {"p50_ms": round(percentile(times, 0.5), 1), "p95_ms": round(percentile(times, 0.95), 1)}


def compare(testset: TestSet, embedder: Remembering, peers: Sequence[Peer], reranker: str) -> dict[str, Any]:
    """Our methods and those of the peers on one set."""
    times = []
    for text in testset.questions.values():
        started = time.perf_counter()
        embedder.embed_query(text)
        times.append((time.perf_counter() - started) * 1000)
    with ragstone(testset.documents, embedder, reranker) as ours:
        methods = {name: measure(name, rank, testset) for name, rank in ours.items()}
    for peer in peers:
        ranks = peer(testset.documents, embedder)
        methods |= {name: measure(name, rank, testset) for name, rank in ranks.items()}
    return {
        "documents": len(testset.documents),
        "questions": len(testset.questions),
        "question_ms": round(percentile(times, 0.5), 1),
        "methods": methods,
    }


def table(results: Mapping[str, Any]) -> str:
    """The figures as Markdown, the best nDCG@10 of a set in bold."""
    head = "| set | method | nDCG@10 | recall@10 | recall@100 | all@5 | p50 ms | p95 ms |"
    lines = [head, "|---" * 8 + "|"]
    for name, result in results.items():
        best = max(row["ndcg@10"] for row in result["methods"].values())
        for method, row in result["methods"].items():
            score = f"**{best:.3f}**" if row["ndcg@10"] == best else f"{row['ndcg@10']:.3f}"
            more = " | ".join(f"{row[key]:.3f}" if key in row else "–" for key in ("recall@10", "recall@100", "all@5"))
            lines.append(f"| {name} | {method} | {score} | {more} | {row['p50_ms']} | {row['p95_ms']} |")
    return "\n".join(lines)


def draw(file: Path, results: Mapping[str, Any], embedder: str) -> None:
    """nDCG@10 of the fused rankings on every set, as a picture."""
    series = {}
    for method in ("ragstone hybrid", "llama-index fusion (RRF)", "LangChain ensemble"):
        rows = {name: result["methods"].get(method) for name, result in results.items()}
        if all(row and "interval" in row for row in rows.values()):
            means = {name: row["ndcg@10"] for name, row in rows.items() if row}
            series[method] = (means, {name: row["interval"] for name, row in rows.items() if row})
    if series:
        note = f"95 % intervals of a bootstrap over questions; one embedder for all ({embedder})"
        write_plot(file, "nDCG@10", note, series)


def main() -> None:
    """Run the chosen sets, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description="Retrieval beside other frameworks.")
    parser.add_argument("--sets", default=",".join(SETS), help=f"some of {', '.join(SETS)}")
    parser.add_argument("--reranker", default="", help="a cross-encoder: a folder, or a name on the hub")
    parser.add_argument("--embedder", default="auto", help="as retrieval.embedder; each has its own record")
    parser.add_argument("--own", action="store_true", help="without the peers, whose recorded figures stay")
    parser.add_argument("--plot", type=Path, help="draw the recorded figures of the chosen sets into this .svg")
    parser.add_argument("--limit", type=int, help="only the first so many questions; such a run is not recorded")
    options = parser.parse_args()
    chosen = options.sets.split(",")
    if unknown := [name for name in chosen if name not in SETS]:
        parser.error(f"there is no set {unknown[0]!r}; there are {', '.join(SETS)}")
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    root = evaluation_folder(sorted({SETS[name].folder for name in chosen}))
    peers: list[Peer] = [] if options.own else [llama_index, langchain]
    if peers and find_spec("langchain_classic") is None:
        peers.remove(langchain)
        print("LangChain is left out: its EnsembleRetriever needs `pip install langchain-classic`", file=sys.stderr)
    results: dict[str, Any] = {}
    named = Embedder(RetrievalConfig(embedder=options.embedder)).name
    bench = "retrieval" if named == ENGLISH else f"retrieval by {named}"
    for name in chosen:
        print(f"== {name}", file=sys.stderr)
        embedder = Remembering(RetrievalConfig(embedder=options.embedder))
        embedder.embed_query("warm up")
        results[name] = compare(load(root, SETS[name], options.limit), embedder, peers, options.reranker)
        if options.own:
            known = recorded(bench).get(name, {}).get("methods", {})
            results[name]["methods"] = known | results[name]["methods"]
        if options.limit is None:
            merge(bench, {name: results[name], "environment": environment(_PACKAGES)})
    print(table(results))
    if options.plot:
        draw(options.plot, results, named)


if __name__ == "__main__":
    main()
