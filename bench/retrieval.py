"""Retrieval quality and latency beside llama-index and LangChain: `python -m bench.retrieval`, RAGSTONE_EVAL set.

One embedder, the built-in one, for everybody, and each text is embedded once. Every method is asked for 300 chunks a
retriever; a document's rank is that of its best chunk. Beyond that depth (their default is 2 or 4) the peers run on
their defaults:

- llama-index: `SentenceSplitter()` (1024 tokens, overlap 200; the title as metadata, which it embeds),
  `VectorStoreIndex` with its in-memory store, and `QueryFusionRetriever` in its default mode (simple) and in
  reciprocal_rerank. num_queries is 1: its default of 4 needs a language model. Its BM25 retriever is a package of its
  own; the one here does the same over bm25s: English stop words and stemmer, words of two or more characters.
- LangChain: `RecursiveCharacterTextSplitter()` (4,000 characters, overlap 200; the title on top of the text),
  `InMemoryVectorStore`, and `EnsembleRetriever` (weighted RRF, c = 60, equal weights), both from langchain-classic.
  Its BM25 retriever is a part of langchain-community; the one here does the same over rank_bm25: split at white space.

Times are those of the search alone: the question's vector, the same for all, is made before (`question_ms`).
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import Stemmer
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as Page
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever as ChainRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document as Paper
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import PrivateAttr
from rank_bm25 import BM25Okapi

from app.evaluate import MODES
from app.index import chunker, write_documents
from bench.record import environment, evaluation_folder, merge, progress
from core.config import Config, RetrievalConfig
from core.types import F32, Document, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import ndcg, percentile, recall
from retrieval.search import search

_DEPTH = 300  # chunks a retriever brings; 100 documents are judged
_PACKAGES = (
    "bm25s", "faiss-cpu", "langchain-classic", "langchain-core", "langchain-text-splitters", "llama-index-core",
    "rank-bm25", "sentence-transformers", "tantivy", "torch", "transformers",
)  # fmt: skip

Rank = Callable[[str], Sequence[str]]  # a question -> ids of documents, best first


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of an evaluation folder: rows whose fields equal `where`, and questions likewise."""

    folder: str
    qrels: str = "qrels.tsv"
    where: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A document of a corpus."""

    id: str
    title: str
    text: str


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
    "productdocs_en": Selection("productdocs_en"),
    "rageval_en": Selection("rageval_zh_en", where=_EN, questions=_EN | {"unanswerable": False}),
    "xquad_zh": Selection("xquad_zh_en", "qrels_mono.tsv", _ZH, _ZH),
    "cmrc2018_zh": Selection("cmrc2018_zh"),
    "rageval_zh": Selection("rageval_zh_en", where=_ZH, questions=_ZH | {"unanswerable": False}),
    "dureader_demo_zh": Selection("dureader_demo_zh"),
}


def load(root: Path, selection: Selection, limit: int | None) -> TestSet:
    """Read a set; `limit` keeps the first questions only."""
    folder = root / selection.folder
    documents = [Row(r["_id"], r["title"], r["text"]) for r in _rows(folder / "corpus.jsonl", selection.where)]
    known = {row.id for row in documents}
    qrels: dict[str, dict[str, float]] = {}
    for line in (folder / selection.qrels).read_text("utf-8").splitlines()[1:]:
        question, document, grade = line.split("\t")
        if document in known:
            qrels.setdefault(question, {})[document] = float(grade)
    rows = _rows(folder / "queries.jsonl", selection.questions)
    asked = [(r["_id"], r["text"]) for r in rows if r["_id"] in qrels and r["text"].strip()]  # two of CMRC are empty
    return TestSet(documents, dict(asked[:limit]), qrels)


def _rows(file: Path, where: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            if all(row.get(key) == value for key, value in where.items()):
                yield row


class Remembering(Embedder):
    """The built-in embedder; a text that was embedded once is not embedded again, whoever asks."""

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


@contextmanager
def ragstone(documents: Sequence[Row], embedder: Embedder) -> Iterator[dict[str, Rank]]:
    """Dense, lexical and hybrid search of this project on its defaults."""
    cfg = Config()
    retrieval = cfg.retrieval.model_copy(update={"candidates": _DEPTH})
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        index = Index.open_or_create(Path(data), "bench", embedder, chunker(cfg.ingest))
        whole = ((row.id, Document(row.text, row.title, (Section(0, len(row.text)),))) for row in documents)
        write_documents(index, whole, cfg.ingest, progress)

        def rank(mode: Any) -> Rank:
            return lambda question: [hit.path for hit in search(index, [question], retrieval, k=_DEPTH, mode=mode)]

        yield {f"ragstone {mode}": rank(mode) for mode in MODES}
        index.close()


class PaperEmbedding(BaseEmbedding):
    """Our embedder as llama-index wants it."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name=embedder.name, embed_batch_size=1024)
        self._embedder = embedder

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_passages(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.embed_query(query).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class PaperWords(BaseRetriever):
    """BM25 over nodes as llama-index's own package sets bm25s up by default."""

    def __init__(self, nodes: Sequence[BaseNode]) -> None:
        self.nodes = nodes
        self.stemmer = Stemmer.Stemmer("english")
        self.bm25 = bm25s.BM25()
        self.bm25.index(self._tokens([n.get_content(MetadataMode.EMBED) for n in nodes]), show_progress=False)
        super().__init__()

    def _tokens(self, texts: str | list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="english", stemmer=self.stemmer, show_progress=False)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        k = min(_DEPTH, len(self.nodes))
        places, scores = self.bm25.retrieve(self._tokens(query_bundle.query_str), k=k, show_progress=False)
        found = zip(places[0], scores[0], strict=True)
        return [NodeWithScore(node=self.nodes[int(i)], score=float(score)) for i, score in found]


def llama_index(documents: Sequence[Row], embedder: Embedder) -> dict[str, Rank]:
    """`QueryFusionRetriever` over vectors and BM25, in its default mode and with reciprocal rank fusion."""
    papers = [Paper(text=row.text, id_=row.id, metadata={"title": row.title}) for row in documents]
    nodes = SentenceSplitter().get_nodes_from_documents(papers)
    embedder.embed_passages([node.get_content(MetadataMode.EMBED) for node in nodes])  # in one go: less padding
    index = VectorStoreIndex(nodes, embed_model=PaperEmbedding(embedder))
    retrievers = [index.as_retriever(similarity_top_k=_DEPTH), PaperWords(nodes)]

    def rank(mode: FUSION_MODES) -> Rank:
        fusion = QueryFusionRetriever(
            retrievers, llm=MockLLM(), mode=mode, similarity_top_k=_DEPTH, num_queries=1
        )  # the LLM writes no query variants here, but one must be named
        return lambda question: [hit.node.ref_doc_id or "" for hit in fusion.retrieve(question)]

    return {
        "llama-index fusion (simple)": rank(FUSION_MODES.SIMPLE),
        "llama-index fusion (RRF)": rank(FUSION_MODES.RECIPROCAL_RANK),
    }


class PageEmbedding(Embeddings):
    """Our embedder as LangChain wants it."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of passages."""
        return self.embedder.embed_passages(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Vector of a question."""
        return self.embedder.embed_query(text).tolist()


class PageWords(ChainRetriever):
    """BM25 over pages as LangChain's community package sets rank_bm25 up by default."""

    pages: list[Page]
    bm25: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Page]:
        return self.bm25.get_top_n(query.split(), self.pages, n=_DEPTH)


def langchain(documents: Sequence[Row], embedder: Embedder) -> dict[str, Rank]:
    """`EnsembleRetriever` over vectors and BM25."""
    classic = importlib.import_module("langchain_classic.retrievers")
    splitter = importlib.import_module("langchain_text_splitters").RecursiveCharacterTextSplitter()
    whole = [Page(page_content=f"{row.title}\n\n{row.text}".strip(), metadata={"id": row.id}) for row in documents]
    pages: list[Page] = splitter.split_documents(whole)
    store = InMemoryVectorStore(PageEmbedding(embedder))
    store.add_documents(pages)
    words = PageWords(pages=pages, bm25=BM25Okapi([page.page_content.split() for page in pages]))
    vectors = store.as_retriever(search_kwargs={"k": _DEPTH})
    ensemble = classic.EnsembleRetriever(retrievers=[words, vectors])
    return {"LangChain ensemble": lambda question: [page.metadata["id"] for page in ensemble.invoke(question)]}


def measure(name: str, rank: Rank, testset: TestSet) -> dict[str, float]:
    """nDCG@10, recall@10, recall@100 where there are more documents than that, and milliseconds a question."""
    figures: list[tuple[float, float, float]] = []
    times: list[float] = []
    for done, (question_id, text) in enumerate(testset.questions.items(), start=1):
        started = time.perf_counter()
        found = rank(text)
        times.append((time.perf_counter() - started) * 1000)
        ranking, gains = list(dict.fromkeys(found)), testset.qrels[question_id]
        figures.append((ndcg(ranking, gains, 10), recall(ranking, gains, 10), recall(ranking, gains, 100)))
        progress(name, done, len(testset.questions))
    means = [round(sum(column) / len(figures), 4) for column in zip(*figures, strict=True)]
    row = dict(zip(("ndcg@10", "recall@10", "recall@100"), means, strict=True))
    if len(testset.documents) <= 100:
        del row["recall@100"]
    return row | {"p50_ms": round(percentile(times, 0.5), 1), "p95_ms": round(percentile(times, 0.95), 1)}


def compare(testset: TestSet, embedder: Remembering, with_langchain: bool) -> dict[str, Any]:
    """Every method on one set."""
    times = []
    for text in testset.questions.values():
        started = time.perf_counter()
        embedder.embed_query(text)
        times.append((time.perf_counter() - started) * 1000)
    with ragstone(testset.documents, embedder) as ours:
        methods = {name: measure(name, rank, testset) for name, rank in ours.items()}
    peers = [llama_index, langchain] if with_langchain else [llama_index]
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
    lines = ["| set | method | nDCG@10 | recall@10 | recall@100 | p50 ms | p95 ms |", "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        best = max(row["ndcg@10"] for row in result["methods"].values())
        for method, row in result["methods"].items():
            score = f"**{best:.3f}**" if row["ndcg@10"] == best else f"{row['ndcg@10']:.3f}"
            deep = f"{row['recall@100']:.3f}" if "recall@100" in row else "–"
            times = f"{row['p50_ms']} | {row['p95_ms']}"
            lines.append(f"| {name} | {method} | {score} | {row['recall@10']:.3f} | {deep} | {times} |")
    return "\n".join(lines)


def main() -> None:
    """Run the chosen sets, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description="Retrieval beside other frameworks.")
    parser.add_argument("--sets", default=",".join(SETS), help=f"some of {', '.join(SETS)}")
    parser.add_argument("--limit", type=int, help="only the first so many questions; such a run is not recorded")
    options = parser.parse_args()
    chosen = options.sets.split(",")
    if unknown := [name for name in chosen if name not in SETS]:
        parser.error(f"there is no set {unknown[0]!r}; there are {', '.join(SETS)}")
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    root = evaluation_folder(sorted({SETS[name].folder for name in chosen}))
    with_langchain = find_spec("langchain_classic") is not None
    if not with_langchain:
        print("LangChain is left out: its EnsembleRetriever needs `pip install langchain-classic`", file=sys.stderr)
    results: dict[str, Any] = {}
    for name in chosen:
        print(f"== {name}", file=sys.stderr)
        embedder = Remembering(RetrievalConfig())
        embedder.embed_query("warm up")
        results[name] = compare(load(root, SETS[name], options.limit), embedder, with_langchain)
        if options.limit is None:
            merge("retrieval", {name: results[name], "environment": environment(_PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
