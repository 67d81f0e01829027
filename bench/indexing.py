"""What indexing costs beside its parts: `python -m bench.indexing`, RAGSTONE_EVAL set.

- speed: a fresh index of real Markdown files from the folder to the last commit, against the same embedder on the very
  same new texts in one call, in the same process with the model loaded. Each is run twice, in the order A B B A, and
  the best counts. `rest` is the same run with the vectors handed out of a table: everything but the model.
- unchanged: the next run, which must find that nothing is to be done, against `os.scandir` and `stat` alone.
- memory: peak of a process of its own that does `ragstone index`, for two sizes, and for the model without an index.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.keeping.index import Report, chunker, run, sync
from bench.record import environment, evaluation_folder, merge, progress
from core.config import AppConfig, Config, RetrievalConfig
from core.types import F32
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import percentile

_SET = "docs_folder_zh_en"
_REPEATS = 7
_PACKAGES = (
    "faiss-cpu", "llama-index-core", "markdown-it-py", "sentence-transformers", "tantivy", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


class Recorder(Embedder):
    """The built-in embedder; keeps what it was asked to embed, or answers from what it kept."""

    def __init__(self, cfg: RetrievalConfig) -> None:
        super().__init__(cfg)
        self.kept: dict[str, F32] = {}
        self.replaying = False

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        """Vectors of passages."""
        if self.replaying:
            return np.stack([self.kept[text] for text in texts])
        vectors = super().embed_passages(texts, on_batch)
        self.kept.update(zip(texts, vectors, strict=True))
        return vectors


def sample(root: Path, count: int, into: Path) -> Path:
    """Copy the first English files of the IoTDB documentation."""
    rows = map(json.loads, (root / "corpus.jsonl").read_text("utf-8").splitlines())
    names = sorted(row["_id"] for row in rows if row["lang"] == "en" and row["_id"].startswith("iotdb-docs/"))
    for name in names[:count]:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "files" / name, into / name)
    return into


def index_once(folder: Path, data: Path, embedder: Embedder) -> Report:
    """Open the knowledge base in `data`, an absent one is made, and bring it up to date with a loaded model."""
    cfg = Config().ingest
    index = Index.open_or_create(data, "bench", embedder, chunker(cfg))
    report = sync(index, folder, cfg, progress)
    index.close()
    return report


def speed(folder: Path, scratch: Path) -> dict[str, Any]:
    """End to end against embedding alone."""
    embedder = Recorder(RetrievalConfig())
    embedder.embed_query("warm up")
    reports: list[Report] = []

    def fresh(name: str) -> tuple[float, float]:
        return _timed(lambda: reports.append(index_once(folder, scratch / name, embedder)))

    def embed() -> tuple[float, float]:
        texts = list(embedder.kept)
        return _timed(lambda: Embedder.embed_passages(embedder, texts))

    first = fresh("first")
    alone = [embed(), embed()]
    whole = [first, fresh("second")]
    embedder.replaying = True
    rest = [fresh("third"), fresh("fourth")]
    report = reports[0]
    (best, best_cpu), (bare, bare_cpu), (other, other_cpu) = (
        map(min, zip(*x, strict=True)) for x in (whole, alone, rest)
    )
    return {
        "files": report.added,
        "chunks": report.chunks,
        "embedded": report.embedded,
        "end_to_end_s": round(best, 2),
        "embedding_alone_s": round(bare, 2),
        "rest_s": round(other, 2),
        "rest_cpu_s": round(other_cpu, 2),
        "chunks_per_s": round(report.embedded / best, 1),
        "embedding_alone_chunks_per_s": round(report.embedded / bare, 1),
        "ratio": round(bare / best, 3),
        "cpu_ratio": round(bare_cpu / best_cpu, 3),
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor; the latter say more where other programs run beside this one."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def unchanged(folder: Path, data: Path) -> dict[str, Any]:
    """A run that finds nothing to do against a bare walk; medians."""
    embedder = Embedder(RetrievalConfig())
    runs: list[float] = []
    walks: list[float] = []
    files = 0
    for _ in range(_REPEATS):
        started = time.perf_counter()
        report = index_once(folder, data, embedder)
        runs.append((time.perf_counter() - started) * 1000)
        if report.added or report.changed or report.unchanged == 0:
            raise SystemExit(f"the folder was changed while it was measured: {report}")
        started = time.perf_counter()
        files = walk(folder)
        walks.append((time.perf_counter() - started) * 1000)
    run_ms, walk_ms = percentile(runs, 0.5), percentile(walks, 0.5)
    return {
        "files": files,
        "unchanged_ms": round(run_ms, 1),
        "walk_ms": round(walk_ms, 1),
        "ratio": round(run_ms / walk_ms, 2),
        "ms_a_file_above_walk": round((run_ms - walk_ms) / files, 4),
    }


def walk(folder: Path) -> int:
    """How many files a folder holds, with a stat of each."""
    files, stack = 0, [str(folder)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    files += 1
    return files


def in_child(folder: Path | None, data: Path) -> dict[str, Any]:
    """Index a folder in a process of its own, or embed a batch where there is none: seconds and peak memory.

    Call it while this process is small: Linux counts the size of the parent at the fork in.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_child, (folder, data))
        pool.close()
        pool.join()
    return found


def _child(folder: Path | None, data: Path) -> dict[str, Any]:
    cfg = Config(app=AppConfig(data=str(data)))
    found: dict[str, Any] = {}
    if folder is None:
        Embedder(cfg.retrieval).embed_passages(["The same few words, again and again. " * 24] * 256)
    else:
        report = run(cfg, "bench", [folder], progress=progress)
        found = {"files": report.added, "chunks": report.chunks, "embedded": report.embedded}
        found |= {"failed": len(report.failed), "seconds": round(report.seconds, 1)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return found | {"peak_mib": round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))}


def table(results: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    quick = results["speed"]
    lines = [
        "| what | figure |",
        "|---|---|",
        f"| files, chunks, of them embedded | {quick['files']}, {quick['chunks']}, {quick['embedded']} |",
        f"| end to end | {quick['end_to_end_s']} s, {quick['chunks_per_s']} chunks/s |",
        f"| embedding alone | {quick['embedding_alone_s']} s, {quick['embedding_alone_chunks_per_s']} chunks/s |",
        f"| everything but the model | {quick['rest_s']} s, {quick['rest_cpu_s']} s of processor time |",
        f"| **embedding alone / end to end** | **{quick['ratio']}**, by processor time {quick['cpu_ratio']} |",
    ]
    lines += [_still(results[name]) for name in ("unchanged", "whole_unchanged") if name in results]
    for row in results["memory"]:
        what = f"{row['files']} files, {row['chunks']} chunks" if "files" in row else "model alone"
        lines.append(f"| peak memory, {what} | {row['peak_mib']} MiB |")
    if "whole" in results:
        row = results["whole"]
        lines.append(
            f"| whole folder: {row['files']} files, {row['chunks']} chunks, {row['embedded']} embedded, "
            f"{row['failed']} failed | {row['seconds']} s, {row['peak_mib']} MiB |"
        )
    return "\n".join(lines)


def _still(row: Mapping[str, Any]) -> str:
    times = f"{row['unchanged_ms']} ms, bare walk {row['walk_ms']} ms, {row['ratio']} times"
    return f"| unchanged run, {row['files']} files | {times} |"


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.indexing", description="What indexing costs.")
    parser.add_argument("--files", type=int, default=150, help="size of the sample (default 150)")
    parser.add_argument("--all", action="store_true", help="the whole folder too, in a process of its own")
    options = parser.parse_args()
    if options.files < 3:
        parser.error("--files must be at least 3")
    root = evaluation_folder([_SET]) / _SET
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as folder:
        scratch = Path(folder)
        some = sample(root, options.files // 3, scratch / "some")
        many = sample(root, options.files, scratch / "many")
        results: dict[str, Any] = {"memory": [in_child(None, scratch)]}
        results["memory"] += [in_child(some, scratch / "child-some"), in_child(many, scratch / "child-many")]
        if options.all:
            results["whole"] = in_child(root / "files", scratch / "whole")
        results["speed"] = speed(many, scratch)
        results["unchanged"] = unchanged(many, scratch / "first")
        if options.all:
            results["whole_unchanged"] = unchanged(root / "files", scratch / "whole")
    merge("indexing", results | {"environment": environment(_PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
