"""What the size of chunks does to what is found: `python -m bench.chunking`, RAGSTONE_EVAL set.

`spans`: five long English texts, each question with the exact stretches that answer it. As Chroma's evaluation defines
it (Smith and Troynikov 2024, https://research.trychroma.com/evaluating-chunking), by characters, averaged over the
questions: with e the characters of the stretches, t those of the passages found (what two passages repeat counts
twice) and m the characters of the stretches that stand in some passage, recall is m / e, precision m / t, and IoU
m / (t + e - m). Taken are the first passage, the first five, and as many as fit 1,000 tokens, at least one.
`PEERS` cut the same texts; their chunks lie in the same index and are searched in the same way.

`evidence`: RAGEval's long reports, where several sentences answer a question. The share of them that the first five
passages hold, as the golden set has it (app/measuring/golden.py): whole, or the larger part where a cut runs through
it. Sentences that do not stand in their document as they are quoted are left out.
"""

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.keeping.index import Work, prepare
from app.measuring.golden import Located, locate, made
from bench.record import environment, evaluation_folder, merge, progress, read_rows
from bench.retrieval import Remembering
from core.config import IngestConfig, RetrievalConfig
from core.text import digest
from core.types import Chunk, Document, FileEntry, Hit, SearchMode, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
from retrieval.transaction import Indexed

_SIZES = ((64, 6), (100, 10), (150, 15), (200, 20), (240, 24))  # tokens of a chunk, and a tenth of them
_EVIDENCE_SIZES = (100, 150, 200, 240)
_SAMPLE = 400  # questions of a language, where not the default is measured
_BUDGET = 1000  # tokens
_DEPTH = 60  # passages; more of the smallest than fit the budget
_TEXTS = ("state_of_the_union", "wikitexts", "chatlogs", "finance", "pubmed")
_MODES: tuple[SearchMode, ...] = ("dense", "hybrid")
_PACKAGES = ("faiss-cpu", "langchain-text-splitters", "llama-index-core", "sentence-transformers", "tantivy", "torch")

Rows = Sequence[dict[str, Any]]
Span = tuple[str, int, int]  # document, first character, end
Cut = Callable[[FileEntry, Document], Work]


def own(tokens: int, overlap: int, embedder: Embedder) -> Cut:
    """Our chunker; the limit that leaves room for headings is not asked here."""
    cfg = IngestConfig(chunk_tokens=tokens, chunk_overlap=overlap)
    return lambda entry, document: prepare(entry, document, cfg, embedder)


def peer(spans: Callable[[str], list[tuple[int, int]]], embedder: Embedder) -> Cut:
    """Another chunker, by the (start, end) of its chunks."""

    def cut(entry: FileEntry, document: Document) -> Work:
        pieces = [(start, end, document.text[start:end]) for start, end in spans(document.text)]
        chunks = [
            Chunk(n, start, end, text, language="en", tokens=embedder.count_tokens(text))
            for n, (start, end, text) in enumerate(pieces)
        ]
        texts = [chunk.text for chunk in chunks]
        return Work(Indexed(entry, document, chunks, [digest(text) for text in texts], "en"), texts)

    return cut


def llama_index_spans(text: str) -> list[tuple[int, int]]:
    """The chunks of llama-index's `SentenceSplitter()`: 1,024 tokens of its own, overlap 200."""
    from llama_index.core import Document as Paper
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import TextNode

    nodes = SentenceSplitter().get_nodes_from_documents([Paper(text=text)])
    return [
        (node.start_char_idx, node.end_char_idx)
        for node in nodes
        if isinstance(node, TextNode) and node.start_char_idx is not None and node.end_char_idx is not None
    ]


def langchain_spans(text: str, chunk_size: int) -> list[tuple[int, int]]:
    """The chunks of LangChain's `RecursiveCharacterTextSplitter(chunk_size)`, in characters; overlap 200."""
    splitters = import_module("langchain_text_splitters")
    splitter = splitters.RecursiveCharacterTextSplitter(chunk_size=chunk_size, add_start_index=True)
    starts = [(page.metadata["start_index"], len(page.page_content)) for page in splitter.create_documents([text])]
    return [(start, start + length) for start, length in starts]


PEERS: Mapping[str, Callable[[str], list[tuple[int, int]]]] = {
    "llama-index SentenceSplitter": llama_index_spans,
    "LangChain recursive, 4000 characters": lambda text: langchain_spans(text, 4000),
    "LangChain recursive, 1200 characters": lambda text: langchain_spans(text, 1200),
}


@contextmanager
def indexed(documents: Rows, cut: Cut, embedder: Embedder) -> Iterator[Index]:
    """The rows of a corpus in an index of their own."""
    works = []
    for row in documents:
        text = row["text"]
        entry = FileEntry(row["_id"], len(text), 0, 0, 0)
        works.append(cut(entry, Document(text, row.get("title", ""), (Section(0, len(text)),))))
    texts = {
        key: text for work in works for key, text in zip(work.indexed.keys, work.texts, strict=True) if key is not None
    }
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        index = Index.open_or_create(Path(data), "bench", embedder, "bench")
        with index.writing() as catalog:
            folder = catalog.folder_id("")
            catalog.put_embeddings(list(texts), embedder.embed_passages(list(texts.values())))
            with catalog.transaction() as write:
                for work in works:
                    write.replace(folder, work.indexed)
        yield index
        index.close()


def score(references: Sequence[Span], passages: Sequence[Span]) -> tuple[float, float, float]:
    """Recall, precision and IoU of passages, by characters; see above.

    >>> score([("a", 10, 20)], [("a", 0, 15), ("b", 0, 5)])
    (0.5, 0.25, 0.2)
    """
    wanted = {(name, at) for name, start, end in references for at in range(start, end)}
    held = {(name, at) for name, start, end in passages for at in range(start, end)}
    met, read = len(wanted & held), sum(end - start for _, start, end in passages)
    return met / len(wanted), met / read if read else 0.0, met / (read + len(wanted) - met)


def fitting(hits: Sequence[Hit], budget: int) -> int:
    """How many of the first hits fit a budget of tokens, at least one."""
    taken = 0
    for count, hit in enumerate(hits):
        taken += hit.tokens
        if count and taken > budget:
            return count
    return len(hits)


def spans(index: Index, questions: Rows) -> dict[str, Any]:
    """Recall, precision and IoU at each depth in each mode; and the chunks of the index."""
    cfg = RetrievalConfig()
    tokens = [hit.tokens for each in index.catalog.documents() for hit in index.catalog.chunks_of(each.id)]
    result: dict[str, Any] = {"chunks": len(tokens), "mean_tokens": round(sum(tokens) / len(tokens), 1)}
    for mode in _MODES:
        found: dict[str, list[tuple[float, float, float]]] = {"1": [], "5": [], f"{_BUDGET} tokens": []}
        for question in questions:
            references = [(question["doc"], r["start_index"], r["end_index"]) for r in question["references"]]
            hits = search(index, [question["text"]], cfg, k=_DEPTH, mode=mode)
            for depth, count in zip(found, (1, 5, fitting(hits, _BUDGET)), strict=True):
                found[depth].append(score(references, [(hit.path, hit.start, hit.end) for hit in hits[:count]]))
        names = ("recall", "precision", "iou")
        result[mode] = {
            depth: dict(zip(names, (_mean(column) for column in zip(*rows, strict=True)), strict=True))
            for depth, rows in found.items()
        }
    return result


def measure_spans(root: Path, texts: Sequence[str], embedder: Embedder) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every chunker on the long texts, one after the other."""
    rows = [row for row in read_rows(root / "chunking_en" / "corpus.jsonl") if row["_id"] in texts]
    documents = [row | {"title": ""} for row in rows]  # ids are no titles
    questions = [row for row in read_rows(root / "chunking_en" / "queries.jsonl") if row["doc"] in texts]
    splitters = find_spec("langchain_text_splitters") is not None
    cuts = {f"ragstone {size}": own(size, 0, embedder) for size, _ in _SIZES}
    cuts |= {name: peer(cut, embedder) for name, cut in PEERS.items() if splitters or "LangChain" not in name}
    cuts |= {f"ragstone {size}, overlap {overlap}": own(size, overlap, embedder) for size, overlap in _SIZES}
    for done, (name, cut) in enumerate(cuts.items(), start=1):
        with indexed(documents, cut, embedder) as index:
            yield name, spans(index, questions)
        progress("spans", done, len(cuts))


def evidence_recall(index: Index, questions: Rows, documents: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The mean share of a question's sentences that the first five passages hold; `documents` by question."""
    asked = sorted(
        (
            made(row["_id"], [sentence], document, "person")
            for row in questions
            for sentence in row["evidence"]
            if sentence.strip()
            for document in documents[row["_id"]]
        ),
        key=lambda question: question.file,
    )
    homes: dict[tuple[str, str], list[Located]] = {}
    for found in locate(index, asked)[0]:
        homes.setdefault((found.question.question, found.question.evidence[0]), []).append(found)
    cfg, shares = RetrievalConfig(), []
    for row in questions:
        sentences = [homes[key] for sentence in row["evidence"] if (key := (row["_id"], sentence)) in homes]
        if sentences:
            hits = search(index, [row["text"]], cfg, k=5)
            held = [any(found.held_by(hit) for found in sentence for hit in hits) for sentence in sentences]
            shares.append(sum(held) / len(held))
    return {"recall@5": _mean(shares), "questions": len(shares)}


def measure_evidence(root: Path, embedder: Embedder) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each size of chunk on a sample of each language, the default on all questions too."""
    folder = root / "rageval_zh_en"
    documents: dict[str, list[str]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        question, document, _ = line.split("\t")
        documents.setdefault(question, []).append(document)
    for language in ("zh", "en"):
        corpus = [row for row in read_rows(folder / "corpus.jsonl") if row["lang"] == language]
        questions = [
            row
            for row in read_rows(folder / "queries.jsonl")
            if row["lang"] == language and not row["unanswerable"] and row["_id"] in documents
        ]
        sample = random.Random(0).sample(questions, min(_SAMPLE, len(questions)))
        for size in _EVIDENCE_SIZES:
            with indexed(corpus, own(size, size // 10, embedder), embedder) as index:
                yield f"{language} {size}", evidence_recall(index, sample, documents)
                if size == IngestConfig().chunk_tokens:
                    yield f"{language} {size}, all questions", evidence_recall(index, questions, documents)
            progress(f"evidence {language} {size}", 1, 1)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def span_table(results: Mapping[str, Any]) -> str:
    """Recall / precision / IoU in per cent, a line a chunker."""
    depths = ["1", "5", f"{_BUDGET} tokens"]
    columns = [f"{mode} @ {depth}" for mode in _MODES for depth in depths]
    lines = [f"| chunker | chunks | tokens | {' | '.join(columns)} |", "|---" * (3 + len(columns)) + "|"]
    for name, row in results.items():
        figures = [row[mode][depth].values() for mode in _MODES for depth in depths]
        cells = [" / ".join(f"{100 * value:.1f}" for value in values) for values in figures]
        lines.append(f"| {name} | {row['chunks']} | {row['mean_tokens']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def evidence_table(results: Mapping[str, Any]) -> str:
    """Evidence recall@5, a line a setting."""
    lines = ["| language, tokens of a chunk | questions | evidence recall@5 |", "|---|---|---|"]
    lines += [f"| {name} | {row['questions']} | {row['recall@5']:.3f} |" for name, row in results.items()]
    return "\n".join(lines)


def recorded(part: str, about: Mapping[str, Any], rows: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The rows by setting; each is on disk as soon as it is measured."""
    results: dict[str, Any] = {}
    for setting, row in rows:
        results[setting] = row
        merge("chunking", {part: results, "environment": environment(_PACKAGES), **about})
    return results


def main() -> None:
    """Run the chosen parts, print their tables and record them."""
    parser = argparse.ArgumentParser(prog="python -m bench.chunking", description="Sizes of chunks and other chunkers.")
    parser.add_argument("--part", choices=("spans", "evidence"), help="one of them only")
    parser.add_argument("--texts", default=",".join(_TEXTS), help="the texts of `spans`; the last two are the longest")
    options = parser.parse_args()
    texts = options.texts.split(",")
    if unknown := [text for text in texts if text not in _TEXTS]:
        parser.error(f"there is no text {unknown[0]!r}; there are {', '.join(_TEXTS)}")
    root = evaluation_folder(["chunking_en", "rageval_zh_en"])
    embedder = Remembering(RetrievalConfig())
    if options.part != "spans":
        print(evidence_table(recorded("evidence", {}, measure_evidence(root, embedder))))
    if options.part != "evidence":
        print(span_table(recorded("spans", {"texts": texts}, measure_spans(root, texts, embedder))))


if __name__ == "__main__":
    main()
