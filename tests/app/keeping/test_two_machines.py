"""Two processes index two folders into one knowledge base of a database at once: one after the other, both whole."""

import json
import subprocess
from pathlib import Path

import pytest

from app.keeping.index import chunker
from core.config import Config
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.app_process import ROOT, command, environment
from tests.cluster import SMALL, until

pytestmark = pytest.mark.slow


def indexing(folder: Path, data: Path, url: str) -> "subprocess.Popen[bytes]":
    """`ragstone index` of a folder into the knowledge base `both`."""
    env = environment(data, SMALL | {"RAGSTONE_APP__DATABASE": url})
    args = command("index", str(folder), "--kb", "both", "--json")
    with Path(f"{data}.log").open("wb") as log:
        return subprocess.Popen(args, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)


def written(tmp_path: Path, name: str, count: int) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.md").write_text(f"# {name} {number}\n\nRoom {number} of {name} closes at {number}.\n")
    return folder


def test_both_folders_are_whole_whoever_comes_first(shared: Config, embedder: Embedder, tmp_path: Path) -> None:
    folders = [written(tmp_path, name, 30) for name in ("north", "south")]
    url = shared.app.database
    runs = [indexing(folder, tmp_path / f"data-{folder.name}", url) for folder in folders]
    done = [json.loads(run.communicate(timeout=300)[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], [(tmp_path / f"data-{f.name}.log").read_text() for f in folders]
    assert [report["added"] for report in done] == [30, 30]
    index = Index.open(tmp_path / "data", "both", embedder, url)
    assert sorted(index.catalog.folders()) == [str(folder) for folder in folders]
    assert index.counts().documents == 60
    assert index.verify() == []


def test_who_comes_second_waits_and_says_for_whom(shared: Config, embedder: Embedder, tmp_path: Path) -> None:
    url = shared.app.database
    index = Index.open_or_create(tmp_path / "own", "both", embedder, chunker(shared.ingest), url)
    with index.writing():
        second = indexing(written(tmp_path, "north", 3), tmp_path / "data", url)
        log = tmp_path / "data.log"
        until(lambda: "waiting for it to end" in log.read_text() or second.poll() is not None, "the second waits")
        assert second.poll() is None, log.read_text()
        assert "knowledge base 'both' is being written by process" in log.read_text()
        assert index.counts().documents == 0
    assert json.loads(second.communicate(timeout=300)[0])["added"] == 3
    assert second.returncode == 0
    assert log.read_text().count("is being written by") == 1
