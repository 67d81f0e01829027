"""What two other processes see while one process indexes a whole folder again."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.keeping.index import run
from core.config import Config
from tests.conftest import ROOT

FILES = int(os.environ.get("RAGSTONE_FILES", "600"))

# Searches without end; prints what it saw once its standard input is closed.
READER = """
import json, re, sys, threading, time
from pathlib import Path
from core.config import load
from core.errors import RagstoneError
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search

data, reopen = Path(sys.argv[1]), sys.argv[2] == "reopen"
cfg = load(flags={"app.data": str(data), "retrieval.k": "40"}, environ={}).config.retrieval
embedder = Embedder(cfg)
index = Index.open(data, "kb", embedder)
over, seen = threading.Event(), {"searches": 0, "A": 0, "B": 0, "both": 0, "mixed": [], "errors": [], "slowest": 0.0}
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()

def look(question):
    global index
    if reopen:
        index.close()
        index = Index.open(data, "kb", embedder)
    versions = {}
    for hit in search(index, [question], cfg, mode="lexical"):
        versions.setdefault(hit.path, set()).update(re.findall(r"版本([AB])", hit.text))
    return versions

look("阀门")  # the first search loads the libraries
print("ready", flush=True)
questions = ["版本 A 阀门", "第 7 号阀门 版本B", "阀门 检修 周期", "版本B 检修"]
while not over.is_set():
    started = time.monotonic()
    try:
        versions = look(questions[seen["searches"] % len(questions)])
    except RagstoneError as error:
        seen["errors"].append(str(error))
        continue
    seen["slowest"] = max(seen["slowest"], time.monotonic() - started)
    seen["searches"] += 1
    seen["mixed"] += [path for path, found in versions.items() if len(found) != 1]
    shown = {version for found in versions.values() for version in found}
    for version in shown:
        seen[version] += 1
    seen["both"] += len(shown) == 2
after = {}  # the very next searches once the writer is through
for question in questions:
    after |= {path: sorted(found) for path, found in look(question).items()}
json.dump(seen | {"after": after}, sys.stdout)
"""


def text(n: int, version: str) -> str:
    """Three chunks, each of which names its version; the embedder reads no Chinese, so they are indexed quickly."""
    rng = random.Random(n)  # documents that were nearly the same would be versions of each other
    words = [
        "阀门",
        "检修",
        *(chr(rng.randrange(0x4E00, 0x9FA0)) + chr(rng.randrange(0x4E00, 0x9FA0)) for _ in range(60)),
    ]
    parts = ("，".join(rng.sample(words, 20)) + f"，阀门，见版本{version}。" for _ in range(3))
    return "\n\n".join(f"## 版本{version} 第{n}号 {number}\n\n{part}" for number, part in enumerate(parts))


@pytest.mark.slow
def test_readers_in_other_processes_see_each_document_whole_and_at_the_end_only_the_new(
    cfg: Config, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    files = [docs / f"{n % 20}" / f"{n}.md" for n in range(FILES)]
    for n, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text(n, "A"), encoding="utf-8")
    assert run(cfg, "kb", [docs]).added == FILES

    env = os.environ | {"PYTHONPATH": str(ROOT)}
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, cfg.app.data, how],
            env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for how in ("stay", "reopen")
    ]  # fmt: skip
    try:
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == "ready\n"
        time.sleep(0.3)
        for n, file in enumerate(files):
            if n % 3:
                file.write_text(text(n, "B"), encoding="utf-8")
            else:
                file.unlink()
        report = run(cfg, "kb")
        gone = len(files[::3])
        assert (report.changed, report.deleted, report.failed) == (FILES - gone, gone, [])
        results: list[dict[str, Any]] = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
    print({key: [seen[key] for seen in results] for key in ("searches", "A", "B", "both", "slowest")}, report.seconds)
    left = {f"{n % 20}/{n}.md" for n in range(FILES) if n % 3}
    for seen in results:
        assert (seen["errors"], seen["mixed"]) == ([], [])
        assert seen["searches"] > 3
        assert seen["A"] > 0  # it did search while there was something to change
        assert seen["after"]
        assert set(seen["after"]) <= left
        assert all(found == ["B"] for found in seen["after"].values())
