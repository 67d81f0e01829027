"""What staying in step costs, beside a bare walk and beside other frameworks: `python -m bench.sync`.

Files are generated. Vectors come from a real but tiny model (a table of static embeddings), the same for all, so that
what is measured is everything but the model.

- unchanged: a run over a folder in which nothing changed, in a warm process, against `os.scandir` and `stat` alone.
- one changed: one file of all was edited; the whole folder is compared, or (`by event`) only the path that an event
  named, as `--watch` does. Less the time that embedding the same texts takes.
- llama-index: `SimpleDirectoryReader`, `IngestionPipeline` with a docstore and the strategy "upserts and delete".
  LangChain: the same files as documents, `index` of the indexing API with cleanup="full". Both keep their stores in
  memory and write nothing to disk; for each the same two runs.
- resume: a build killed half way and run again, against one that was left alone.
- memory: peak of a process of its own that does `ragstone index` over folders of several sizes.
"""

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.keeping.index import Report, chunker, run, sync
from bench.indexing import walk
from bench.record import environment, merge, progress
from core.config import AppConfig, Config, RetrievalConfig
from core.types import F32
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import percentile

_REPEATS = 7
_DIMENSION = 64
_WORDS = [
    f"{stem}{i}"
    for stem in "pump valve sensor cable leave invoice tunnel report desk permit".split()
    for i in range(300)
]
_RACY_S = 2.5  # a file written this long before its check need not be hashed again
_PACKAGES = ("faiss-cpu", "langchain-core", "llama-index-core", "sentence-transformers", "tantivy")


class Timed(Embedder):
    """An embedder that knows how long it was at work."""

    seconds = 0.0

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        """Vectors of passages."""
        started = time.perf_counter()
        vectors = super().embed_passages(texts, on_batch)
        self.seconds += time.perf_counter() - started
        return vectors


def static_model(folder: Path) -> Path:
    """Save a sentence-transformers model that is one table of random vectors, a row a word."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(["[UNK]", *_WORDS, *map(str, range(10_000)), "note", "#", "."])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    table = np.random.default_rng(0).normal(size=(len(vocabulary), _DIMENSION)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)]).save(str(folder))
    return folder


def generate(folder: Path, files: int, sections: int = 1) -> Path:
    """Markdown notes of some 80 words a section, 100 to a folder."""
    rng = random.Random(files)
    for i in range(files):
        if i % 100 == 0:
            (folder / f"{i // 100:04d}").mkdir(parents=True, exist_ok=True)
        body = "\n\n".join(f"## {i} {n}\n\n{' '.join(rng.choices(_WORDS, k=80))}." for n in range(sections))
        (folder / f"{i // 100:04d}" / f"note{i}.md").write_text(f"# Note {i}\n\n{body}\n", encoding="utf-8")
    return folder


def edited(folder: Path, turn: int) -> str:
    """Append a sentence to one file; its path."""
    file = sorted(folder.rglob("*.md"))[turn * 37 % 500]
    with file.open("a", encoding="utf-8") as handle:
        handle.write(f"\nAdded pump{turn} and valve{turn + 1}.\n")
    return file.relative_to(folder).as_posix()


def ours(folder: Path, data: Path, model: Path) -> dict[str, Any]:
    """First, unchanged and one-changed runs of this project, and the bare walk."""
    cfg = _config(data, model)
    embedder = Timed(cfg.retrieval)
    embedder.embed_query("warm up")
    index = Index.open_or_create(data, "bench", embedder, chunker(cfg.ingest))
    first = _seconds(lambda: sync(index, folder, cfg.ingest, progress))
    time.sleep(_RACY_S)
    sync(index, folder, cfg.ingest)
    still, walks, changed, event = [], [], [], []
    for turn in range(_REPEATS):
        still.append(_seconds(lambda: _expect(sync(index, folder, cfg.ingest), 0)))
        walks.append(_seconds(lambda: walk(folder)))
        edited(folder, turn)
        changed.append(_less_embedding(embedder, lambda: _expect(sync(index, folder, cfg.ingest), 1)))
        path = edited(folder, turn + _REPEATS)
        event.append(_less_embedding(embedder, lambda p=path: _expect(sync(index, folder, cfg.ingest, only=[p]), 1)))
    index.close()
    unchanged, bare = percentile(still, 0.5), percentile(walks, 0.5)
    return {
        "first_s": round(first, 2),
        "unchanged_ms": _ms(unchanged),
        "walk_ms": _ms(bare),
        "unchanged_to_walk": round(unchanged / bare, 2),
        "one_changed_ms": _ms(percentile(changed, 0.5)),
        "one_changed_by_event_ms": _ms(percentile(event, 0.5)),
    }


def _expect(report: Report, changed: int) -> None:
    if report.changed != changed or report.added or report.failed:
        raise SystemExit(f"not the run that was to be measured: {report}")


def _less_embedding(embedder: Timed, work: Callable[[], object]) -> float:
    before = embedder.seconds
    return _seconds(work) - (embedder.seconds - before)


def llama_index(folder: Path, model: Path) -> dict[str, Any]:
    """The same runs by llama-index's ingestion pipeline with docstore upserts."""
    from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.core.vector_stores import SimpleVectorStore

    embedder = Embedder(RetrievalConfig(embedder=str(model), precision="float32"))
    rows = {"texts": 0}

    class Same(BaseEmbedding):
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            rows["texts"] += len(texts)
            return embedder.embed_passages(texts).tolist()

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return embedder.embed_query(query).tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    embedder.embed_query("warm up")
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), Same(embed_batch_size=256)],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    assert VectorStoreIndex  # the store is searched through it

    def once() -> None:
        documents = SimpleDirectoryReader(str(folder), recursive=True, filename_as_id=True).load_data()
        pipeline.run(documents=documents)

    return _others(folder, once, rows)


def langchain(folder: Path, model: Path) -> dict[str, Any]:
    """The same runs by LangChain's indexing API."""
    from langchain_core.documents import Document as Page
    from langchain_core.embeddings import Embeddings
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_core.vectorstores import InMemoryVectorStore

    embedder = Embedder(RetrievalConfig(embedder=str(model), precision="float32"))
    rows = {"texts": 0}

    class Same(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            rows["texts"] += len(texts)
            return embedder.embed_passages(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return embedder.embed_query(text).tolist()

    embedder.embed_query("warm up")
    store, records = InMemoryVectorStore(Same()), InMemoryRecordManager("bench")
    records.create_schema()

    def once() -> None:
        pages = (
            Page(file.read_text(encoding="utf-8"), metadata={"source": str(file)})
            for file in sorted(folder.rglob("*.md"))
        )
        index(pages, records, store, cleanup="full", source_id_key="source", key_encoder="sha256")

    return _others(folder, once, rows)


def _others(folder: Path, once: Callable[[], None], rows: dict[str, int]) -> dict[str, Any]:
    first = _seconds(once)
    unchanged = min(_seconds(once) for _ in range(2))
    edited(folder, 91)
    rows["texts"] = 0
    changed = _seconds(once)
    return {
        "first_s": round(first, 2),
        "unchanged_ms": _ms(unchanged),
        "one_changed_ms": _ms(changed),
        "texts_embedded_for_one_change": rows["texts"],
    }


def resume(folder: Path, scratch: Path, model: Path) -> dict[str, Any]:
    """A build that is killed half way and run again, against one left alone; each in processes of their own."""
    whole = _in_child(folder, scratch / "alone", model, None)
    first = _in_child(folder, scratch / "killed", model, whole["seconds"] / 2)
    rest = _in_child(folder, scratch / "killed", model, None)
    total = first["seconds"] + rest["seconds"]
    return {
        "alone_s": round(whole["seconds"], 2),
        "killed_after_s": round(first["seconds"], 2),
        "rest_s": round(rest["seconds"], 2),
        "cost": round(total / whole["seconds"], 2),
        "left_to_do": rest["added"],
    }


def memory(scratch: Path, sizes: Sequence[int], model: Path, sections: int) -> list[dict[str, Any]]:
    """Peak memory of one run over folders of several sizes."""
    rows = []
    for size in sizes:
        folder = generate(scratch / f"files{size}", size, sections)
        row = _in_child(folder, scratch / f"data{size}", model, None)
        rows.append(row | {"again_s": _in_child(folder, scratch / f"data{size}", model, None)["seconds"]})
    return rows


def _in_child(folder: Path, data: Path, model: Path, kill_after: float | None) -> dict[str, Any]:
    """`ragstone index` in a process of its own, killed after some seconds of indexing where that is given."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(folder, data, model, sender))
    child.start()
    started = time.monotonic()
    receiver.recv()  # it has loaded everything and begins
    started = time.monotonic()
    if kill_after is not None and not receiver.poll(kill_after) and child.pid:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        return {"seconds": time.monotonic() - started}
    result = receiver.recv()
    child.join()
    return result


def _child(folder: Path, data: Path, model: Path, sender: Any) -> None:
    cfg = _config(data, model)
    Embedder(cfg.retrieval).embed_query("warm up")
    sender.send("ready")
    report = run(cfg, "bench", [folder], progress=progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    sender.send(
        {
            "files": report.added + report.unchanged,
            "added": report.added,
            "chunks": report.chunks,
            "seconds": round(report.seconds, 2),
            "peak_mib": round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)),
        }
    )


def _config(data: Path, model: Path) -> Config:
    return Config(app=AppConfig(data=str(data)), retrieval=RetrievalConfig(embedder=str(model), precision="float32"))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    own = results["ragstone"]
    lines = [
        f"| {results['files']} files | first run | unchanged | one file changed | texts embedded for it |",
        "|---|---|---|---|---|",
        f"| bare walk | | {own['walk_ms']} ms | | |",
        f"| **ragstone** | {own['first_s']} s | **{own['unchanged_ms']} ms** ({own['unchanged_to_walk']} walks) | "
        f"**{own['one_changed_ms']} ms**, by event {own['one_changed_by_event_ms']} ms | 1 |",
    ]
    for name in ("llama-index", "LangChain"):
        if row := results.get(name):
            lines.append(
                f"| {name} | {row['first_s']} s | {row['unchanged_ms']} ms | {row['one_changed_ms']} ms | "
                f"{row['texts_embedded_for_one_change']} |"
            )
    again = results["resume"]
    lines += ["", f"Killed half way and run again: {again['cost']} times the run that was left alone."]
    lines += [
        f"{row['files']} files, {row['chunks']} chunks: {row['seconds']} s, peak {row['peak_mib']} MiB; "
        f"again {row['again_s']} s."
        for row in results["memory"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description="What staying in step costs.")
    parser.add_argument("--files", type=int, default=10_000, help="files of the comparison (default 10000)")
    parser.add_argument("--sizes", default="1000,10000", help="files of the memory runs (default 1000,10000)")
    parser.add_argument("--sections", type=int, default=1, help="chunks a file in the memory runs (default 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
        scratch = Path(name)
        model = static_model(scratch / "model")
        sizes = [int(size) for size in options.sizes.split(",")]
        results: dict[str, Any] = {"memory": memory(scratch, sizes, model, options.sections)}
        folder = generate(scratch / "files", options.files)
        results |= {"files": options.files, "resume": resume(folder, scratch, model)}
        results["ragstone"] = ours(folder, scratch / "data", model)
        results["llama-index"] = llama_index(folder, model)
        results["LangChain"] = langchain(folder, model)
    merge("sync", results | {"environment": environment(_PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
