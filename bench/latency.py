"""How long a search takes as a knowledge base grows: `python -m bench.latency --sizes 10000,100000`.

Chunks are generated and written straight into a catalog: texts of 60 words of a vocabulary with a Zipf distribution,
and 384-d unit vectors around as many centres as there are 300 chunks. Questions are five words and the vector of a
chunk moved a little. In one process and on the same two indexes:

- bare: FAISS called for the nearest vectors and tantivy for the best documents, one after the other, nothing else;
  FAISS with one thread, which is the faster way for one question.
- hybrid: `retrieval.search.search` with the question's vector given. with embedding: with what the built-in embedder
  takes for such a question added.
- filtered: the same search among the documents of a tag that 0.01 % to 99 % of them bear, in processor time, which
  other work on the machine hardly moves, and how many times that of the search among all it is; first is what it takes
  to find out which chunks those are, once for a filter until the documents change; census what it takes to learn of
  which document each chunk is, once for a process.
- open: a fresh process's first search, without the imports. add: one document committed, then searched for.
- memory: resident set of a process that has opened the knowledge base and searched it.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import environment, merge, progress
from core.config import RetrievalConfig
from core.text import query_tokens
from core.types import F32, Chunk, Document, FileEntry
from retrieval.embed import Embedder
from retrieval.filters import Filter, Filters
from retrieval.index import Index
from retrieval.metrics import percentile
from retrieval.search import search
from retrieval.transaction import Indexed

_DIMENSION = 384
_PER_DOCUMENT = 10  # chunks
_PER_CENTRE = 300
_SPREAD = 0.8  # standard deviation around a centre, whose own is 1
_QUESTIONS = 100
_ADDED = 10
_WORDS = [f"{stem}{i}" for i in range(2_000) for stem in "pump valve sensor cable leave invoice".split()]
_WEIGHTS = list(accumulate(1 / rank for rank in range(1, len(_WORDS) + 1)))
_SHARES = {0.0001: "one in 10,000", 0.01: "one in 100", 0.5: "every other", 0.99: "99 in 100"}  # the tags
_PACKAGES = ("faiss-cpu", "tantivy")


class Given(Embedder):
    """An embedder whose questions have a vector already."""

    identity = "given"  # type: ignore[assignment]
    dimension = _DIMENSION  # type: ignore[assignment]

    @cached_property
    def vectors(self) -> dict[str, F32]:
        """The vector of each question."""
        return {}

    def embed_query(self, text: str) -> F32:
        """The vector given for the text."""
        return self.vectors[text]


def fill(index: Index, chunks: int) -> None:
    """Write that many chunks into the catalog, then build both caches."""
    rng, words = np.random.default_rng(chunks), random.Random(chunks)
    centres = rng.normal(size=(max(chunks // _PER_CENTRE, 1), _DIMENSION)).astype(np.float32)
    with index.writing() as catalog:
        folder = catalog.folder_id("/generated")
        for start in range(0, chunks, 5_000):
            count = min(5_000, chunks - start)
            keys = [i.to_bytes(16, "big") for i in range(start, start + count)]
            catalog.put_embeddings(keys, _around(centres, count, rng))
            with catalog.transaction() as write:
                for first in range(0, count, _PER_DOCUMENT):
                    part = keys[first : first + _PER_DOCUMENT]
                    write.replace(folder, _document(f"{start + first}.md", part, words))
            progress("chunks", start + count, chunks)


def _around(centres: F32, count: int, rng: np.random.Generator) -> F32:
    noise = rng.standard_normal((count, _DIMENSION), np.float32)
    rows = centres[rng.integers(0, len(centres), count)] + _SPREAD * noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _document(name: str, keys: Sequence[bytes], rng: random.Random) -> Indexed:
    chunks, start = [], 0
    for ordinal in range(len(keys)):
        text = " ".join(rng.choices(_WORDS, cum_weights=_WEIGHTS, k=60))
        chunks.append(Chunk(ordinal, start, start + len(text), text, language="en"))
        start += len(text) + 1
    text = "\n".join(chunk.text for chunk in chunks)
    document = Document(text, tags=_tags(int(name.removesuffix(".md")) // _PER_DOCUMENT))
    return Indexed(FileEntry(name, len(text), 0, 0, 0), document, chunks, keys, "en")


def _tags(number: int) -> tuple[str, ...]:
    """Each share of the documents has a tag."""
    has = [number % round(1 / share) == 0 if share <= 0.5 else number % round(1 / (1 - share)) > 0 for share in _SHARES]
    return tuple(tag for tag, own in zip(_SHARES.values(), has, strict=True) if own)


def questions(index: Index, chunks: int) -> dict[str, F32]:
    """Five words each, the rarer the likelier to matter; and the vector of a chunk, moved by a third of its length."""
    rng, words = np.random.default_rng(1), random.Random(1)
    step = max(chunks // _QUESTIONS, 1)
    rows = np.concatenate([vectors[::step] for _, vectors in index.files.vectors_since(0)])[:_QUESTIONS]
    found = {}
    for row in rows:
        moved = row + rng.normal(size=_DIMENSION).astype(np.float32) * (0.33 / _DIMENSION**0.5)
        text = " ".join(words.choices(_WORDS, cum_weights=_WEIGHTS, k=5))
        found[text] = (moved / np.linalg.norm(moved)).astype(np.float32)
    return found


def measure(data: Path, chunks: int, embed_s: float) -> dict[str, Any]:
    """All figures of one size."""
    cfg = RetrievalConfig()
    index = Index.open_or_create(data, "bench", Given(cfg), "generated")
    filled = _seconds(lambda: fill(index, chunks))
    asked = questions(index, chunks)
    index.close()
    opened = _in_child(data, asked)
    index = Index.open(data, "bench", given := Given(cfg))
    given.vectors.update(asked)
    texts = list(asked)
    search(index, texts[:1], cfg)
    hybrid = [_seconds(lambda t=text: search(index, [t], cfg)) for text in texts]
    dense = [_seconds(lambda t=text: index.store.dense(asked[t], cfg.candidates)) for text in texts]
    faiss_s, tantivy_s = _bare(index, asked, cfg.candidates)
    bare = [a + b for a, b in zip(faiss_s, tantivy_s, strict=True)]
    filters = Filters()
    census = _cpu_seconds(lambda: filters.allowed(index.files, Filter(paths=("none",))))
    filtered = {f"{share:.2%}": _filtered(index, asked, cfg, tag, filters) for share, tag in _SHARES.items()}
    recall = index.store.recall()
    added = [_add(index, given, cfg, i) for i in range(_ADDED)]
    result = {
        "chunks": chunks,
        "fill_s": round(filled, 1),
        "hybrid": _percentiles(hybrid),
        "hybrid_with_embedding": _percentiles([s + embed_s for s in hybrid]),
        "dense": _percentiles(dense),
        "faiss": _percentiles(faiss_s),
        "tantivy": _percentiles(tantivy_s),
        "hybrid_to_bare": round(percentile(hybrid, 0.5) / percentile(bare, 0.5), 2),
        "census_ms": round(census * 1000, 1),
        "filtered": filtered,
        "recall_at_10": round(recall, 4),
        "add_and_search": _percentiles(added),
        "vectors_mib": round((index.folder / "vectors.faiss").stat().st_size / 2**20),
    } | opened  # fmt: skip
    index.close()
    return result


def _filtered(index: Index, asked: dict[str, F32], cfg: RetrievalConfig, tag: str, filters: Filters) -> dict[str, Any]:
    """The figures of the same questions among the documents of a tag, and their ratios to those among all."""
    where = Filter(tags=(tag,))
    first = _cpu_seconds(lambda: filters.allowed(index.files, where))
    among = filters.allowed(index.files, where)
    figures: dict[str, Any] = {"chunks": len(among), "first_ms": round(first * 1000, 1)}
    ways: dict[str, Callable[[str, bool], object]] = {
        "hybrid": lambda text, limit: search(index, [text], cfg, where=where if limit else None),
        "dense": lambda text, limit: index.store.dense(asked[text], cfg.candidates, among if limit else None),
        "lexical": lambda text, limit: index.store.lexical(index.terms(text), cfg.candidates, among if limit else None),
    }
    for name, way in ways.items():
        pairs = [[_cpu_seconds(lambda t=text, f=f, way=way: way(t, f)) for f in (False, True)] for text in asked]
        plain, limited = zip(*pairs, strict=True)
        ratio = percentile(limited, 0.5) / percentile(plain, 0.5)
        figures[name] = _percentiles(limited) | {"ratio": round(ratio, 2)}
    return figures


def _bare(index: Index, asked: dict[str, F32], k: int) -> tuple[list[float], list[float]]:
    """Seconds of FAISS and of tantivy alone, with the file each wrote and the parameters that are used."""
    import faiss
    import tantivy

    faiss.omp_set_num_threads(1)
    vectors: Any = faiss.read_index(str(index.folder / "vectors.faiss"))
    if lists := getattr(vectors, "nlist", 0):
        vectors.nprobe = max(96, lists // 16)
    words = tantivy.Index.open(str(index.folder / "lexical"))
    searcher, should = words.searcher(), tantivy.Occur.Should
    nearest, best = [], []
    for text, vector in asked.items():
        row, terms = vector[None, :], query_tokens(text)
        nearest.append(_seconds(lambda r=row: vectors.search(r, k)))
        query = tantivy.Query.boolean_query(
            [(should, tantivy.Query.term_query(words.schema, "body", term, "freq")) for term in terms]
        )
        best.append(_seconds(lambda q=query: searcher.search(q, k, count=False).hits))
    return nearest, best


def _add(index: Index, given: Given, cfg: RetrievalConfig, number: int) -> float:
    """Seconds to commit one document and to find it."""
    rng = np.random.default_rng(10**6 + number)
    vector = _around(np.zeros((1, _DIMENSION), np.float32), 1, rng)
    key, text = f"added {number}".encode(), f"added{number} pump1"
    given.vectors[text] = vector[0]
    chunk = Chunk(0, 0, len(text), text, language="en")
    new = Indexed(FileEntry(f"added{number}.md", len(text), 0, 0, 0), Document(text), [chunk], [key], "en")
    started = time.perf_counter()
    with index.writing() as catalog:
        catalog.put_embeddings([key], vector)
        with catalog.transaction() as write:
            write.replace(catalog.folder_id("/generated"), new)
    hits = search(index, [text], cfg)
    seconds = time.perf_counter() - started
    if not hits or hits[0].text != text:
        raise SystemExit(f"{text!r} was added and is not the best hit for itself")
    return seconds


def _in_child(data: Path, asked: dict[str, F32]) -> dict[str, Any]:
    """Open time and memory of a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(data, asked, sender))
    child.start()
    sender.close()
    result = receiver.recv()
    child.join()
    return result


def _child(data: Path, asked: dict[str, F32], sender: Any) -> None:
    import faiss  # noqa: F401  (their import is no part of what is measured)
    import tantivy  # noqa: F401

    cfg = RetrievalConfig()
    given = Given(cfg)
    given.vectors.update(asked)
    given.read(["loads the tokenizer"])
    before = _resident_mib()
    texts = list(asked)
    started = time.perf_counter()
    index = Index.open(data, "bench", given)
    search(index, texts[:1], cfg)
    seconds = time.perf_counter() - started
    for text in texts:
        search(index, [text], cfg)
    sender.send({"open_s": round(seconds, 3), "resident_mib": _resident_mib(), "before_mib": before})


def _resident_mib() -> int:
    """Resident memory of this process, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 >> 20


def _embedding_s() -> float:
    """Median seconds the built-in embedder takes for a question of five words."""
    embedder = Embedder(RetrievalConfig())
    words = random.Random(2)
    texts = [" ".join(words.choices(_WORDS, cum_weights=_WEIGHTS, k=5)) for _ in range(20)]
    embedder.embed_query("warm up")
    return percentile([_seconds(lambda t=text: embedder.embed_query(t)) for text in texts], 0.5)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _cpu_seconds(work: Callable[[], object]) -> float:
    """What this thread computes; a search has no other."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(percentile(seconds, p / 100) * 1000, 2) for p in (50, 95)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| chunks | hybrid p50 / p95 ms | bare FAISS + tantivy p50 ms | ratio | recall@10 | open s | MiB | add ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['chunks']:,} | {row['hybrid']['p50_ms']} / {row['hybrid']['p95_ms']} "
            f"| {row['faiss']['p50_ms']} + {row['tantivy']['p50_ms']} | {row['hybrid_to_bare']} "
            f"| {row['recall_at_10']} | {row['open_s']} | {row['resident_mib'] - row['before_mib']} "
            f"| {row['add_and_search']['p50_ms']} |"
        )
    lines += [
        "",
        "| chunks | filtered: share | ratio | by meaning | by words | first ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for share, of in row["filtered"].items():
            ratios = " | ".join(str(of[name]["ratio"]) for name in ("hybrid", "dense", "lexical"))
            lines.append(f"| {row['chunks']:,} | {share} | {ratios} | {of['first_ms']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="What a search takes as chunks grow.")
    parser.add_argument("--sizes", default="10000,100000", help="chunks (default 10000,100000)")
    options = parser.parse_args()
    embed_s = _embedding_s()
    rows: dict[str, Any] = {}
    for size in options.sizes.split(","):
        with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
            rows[size] = measure(Path(name), int(size), embed_s)
        merge("latency", rows | {"environment": environment(_PACKAGES)})
    print(table(list(rows.values())))


if __name__ == "__main__":
    main()
