"""A clock set back, a data folder that goes away, a catalog that somebody locks: a clear message, nothing lost."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.keeping.index import run, sync
from app.running.bases import Bases
from core.config import Config
from core.errors import CatalogError
from retrieval import database
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search

Write = Callable[[str, str], Path]
DAY_S = 86_400.0


@pytest.fixture
def index(cfg: Config, embedder: Embedder, write: Write) -> Index:
    run(cfg, "kb", [write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent])
    return Index.open(Path(cfg.app.data), "kb", embedder)


def found(index: Index, cfg: Config, question: str) -> str:
    return search(index, [question], cfg.retrieval)[0].text


def folder(index: Index) -> Path:
    return Path(index.catalog.folders()[0])


# A clock


@pytest.mark.parametrize("seconds", [DAY_S, 3.0, 0.5])
def test_what_is_edited_after_the_clock_was_set_back_is_read(
    index: Index, cfg: Config, write: Write, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The clock goes ahead, a file is written and read, the clock is set right, the file is edited to the same size."""
    real, ahead = time.time_ns, [0.0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(ahead[0] * 1e9))

    def written(text: str) -> None:
        now = time.time_ns()
        os.utime(write("notes.md", f"# Notes\n\nThe door code is {text}."), ns=(now, now))

    ahead[0] = seconds
    written("1111")
    assert sync(index, folder(index), cfg.ingest).added == 1
    for n in range(2, 5):
        ahead[0] -= seconds / 2
        written(str(n) * 4)
        assert sync(index, folder(index), cfg.ingest).changed == 1
        assert str(n) * 4 in found(index, cfg, "door code")
    assert index.verify() == []


def test_of_two_runs_the_later_one_counts_though_its_clock_is_behind(
    index: Index, cfg: Config, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - DAY_S)
    write("leave.md", "# Leave\n\nAnnual leave is 30 days.")
    sync(index, folder(index), cfg.ingest)
    assert "30 days" in found(index, cfg, "annual leave")
    assert [card.path for card in index.catalog.cards()] == ["leave.md"]


# The data folder


def test_where_the_data_folder_is_gone_nothing_is_written_or_made_and_it_goes_on_when_it_is_back(
    index: Index, cfg: Config, write: Write, tmp_path: Path
) -> None:
    data, away = Path(cfg.app.data), tmp_path / "away"
    bases = Bases(cfg)
    served = bases.get("kb")
    assert "25 days" in found(served, cfg, "annual leave")
    write("later.md", "# Later\n\nThe garage opens at 06:30.")
    data.rename(away)
    for use in (
        lambda: sync(index, folder(index), cfg.ingest),
        lambda: sync(served, folder(served), cfg.ingest),
        lambda: bases.update("kb"),
        lambda: bases.upload("kb", [write("upload.md", "More.")]),
        lambda: bases.get("kb"),
    ):
        with pytest.raises(CatalogError, match="is not there") as error:
            use()
        assert "mount" in error.value.hint
    assert not data.exists()
    away.rename(data)
    assert "25 days" in found(bases.get("kb"), cfg, "annual leave")
    assert bases.update("kb").added == 2
    assert "06:30" in found(bases.get("kb"), cfg, "garage")
    assert bases.get("kb").verify() == []


def test_a_run_whose_data_folder_goes_in_the_middle_fails_and_says_so(
    index: Index, cfg: Config, write: Write, tmp_path: Path
) -> None:
    data = Path(cfg.app.data)
    for n in range(3):
        write(f"{n}.md", f"# {n}\n\nThe number {n}.")

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "index" and done == 1:
            data.rename(tmp_path / "away")

    with pytest.raises(CatalogError, match="is not there any more"):
        sync(index, folder(index), cfg.ingest, progress)
    assert not (data / "kb" / "g0001").exists()
    shutil.rmtree(data, ignore_errors=True)
    (tmp_path / "away").rename(data)
    assert sync(index, folder(index), cfg.ingest).added == 3
    assert index.verify() == []


def test_another_data_folder_in_the_same_place_is_read_by_who_had_the_old_one_open(
    index: Index, cfg: Config, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    data = Path(cfg.app.data)
    assert index.counts().documents == 1
    index.close()
    shutil.copytree(data, tmp_path / "copy")
    write("later.md", "# Later\n\nThe garage opens at 06:30.")
    sync(index, folder(index), cfg.ingest)
    assert index.counts().documents == 2
    data.rename(tmp_path / "old")
    (tmp_path / "copy").rename(data)
    assert index.counts().documents == 1
    assert sync(index, folder(index), cfg.ingest).added == 1


# A lock


def locked(file: Path, seconds: float) -> threading.Thread:
    """Somebody's write transaction on a catalog, begun, for so long."""
    begun = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            begun.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(60)
    return thread


def test_a_catalog_that_is_locked_for_seconds_is_waited_for_and_read_meanwhile(
    index: Index, cfg: Config, write: Write
) -> None:
    write("later.md", "# Later\n\nThe garage opens at 06:30.")
    thread = locked(index.files.file, 3.0)
    assert "25 days" in found(index, cfg, "annual leave")
    assert thread.is_alive()
    assert sync(index, folder(index), cfg.ingest).added == 1
    thread.join()
    assert index.verify() == []


def test_one_that_stays_locked_is_one_message_and_the_next_run_goes_on(
    index: Index, cfg: Config, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("later.md", "# Later\n\nThe garage opens at 06:30.")
    monkeypatch.setattr(database, "_WAIT_S", 0.2)
    index.close()
    thread = locked(index.files.file, 3.0)
    with pytest.raises(CatalogError, match="is locked by another program") as error:
        sync(index, folder(index), cfg.ingest)
    assert "try again" in error.value.hint
    thread.join()
    assert sync(index, folder(index), cfg.ingest).added == 1
    assert index.verify() == []
