import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.keeping.index import Report, chunker, look, run, sync
from app.keeping.plan import forecast
from core.config import Config, IngestConfig
from core.errors import CatalogError, ConfigError, ReadError
from core.types import FileError
from ingest.reach import Reach
from ingest.workers import Reading, read_apart
from retrieval.embed import Embedder
from retrieval.home import generations
from retrieval.index import Index
from retrieval.search import search
from tests.conftest import ROOT
from tests.ingest.readers.test_pdf import build, saved
from tests.retrieval.sql import select

Write = Callable[[str, str], Path]


def opened(cfg: Config, embedder: Embedder) -> Index:
    return Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))


def contents(index: Index) -> list[tuple[str, int, str, bool]]:
    """Every chunk there is, whatever its id: path, ordinal, text, whether it has a vector."""
    sql = """SELECT d.path, c.ordinal, c.text, c.key IS NOT NULL FROM chunks c
             JOIN documents d ON d.id = c.document_id ORDER BY 1, 2"""
    return select(index.catalog, sql)  # type: ignore[return-value]


def found(index: Index, cfg: Config, question: str) -> list[str]:
    return [hit.path for hit in search(index, [question], cfg.retrieval)]


@pytest.fixture
def folder(write: Write) -> Path:
    write("leave.md", "# Leave\n\nAnnual leave is 25 days.")
    write("it/vpn.md", "# VPN\n\nConnect to vpn.lanting.example on port 8443.")
    return write("zh/年假.md", "# 年假\n\n年假每年二十五天。").parents[1]


def test_added_changed_moved_and_deleted_files_are_followed(
    cfg: Config, embedder: Embedder, folder: Path, write: Write
) -> None:
    index = opened(cfg, embedder)
    first = sync(index, folder, cfg.ingest)
    assert (first.added, first.embedded, first.failed) == (3, 2, [])  # the Chinese one cannot be read

    write("leave.md", "# Leave\n\nAnnual leave is 27 days.")
    (folder / "it/vpn.md").rename(folder / "it/remote.md")
    shutil.rmtree(folder / "zh")
    write("new.md", "# Parking\n\nThe garage opens at 06:30.")
    second = sync(index, folder, cfg.ingest)
    assert (second.added, second.changed, second.moved, second.deleted, second.unchanged) == (1, 1, 1, 1, 0)
    assert second.embedded == 2
    assert found(index, cfg, "vpn port")[0] == "it/remote.md"
    assert "zh/年假.md" not in found(index, cfg, "年假")
    assert "27 days" in search(index, ["annual leave"], cfg.retrieval)[0].text


def test_an_unchanged_run_embeds_and_writes_nothing(cfg: Config, embedder: Embedder, folder: Path) -> None:
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    generation = index.catalog.generation
    again = sync(index, folder, cfg.ingest)
    assert (again.unchanged, again.embedded, again.added, again.changed) == (3, 0, 0, 0)
    os.utime(folder / "leave.md")
    touched = sync(index, folder, cfg.ingest)
    assert (touched.unchanged, touched.embedded) == (3, 0)
    assert index.catalog.generation - generation <= 2


def test_the_same_content_twice_is_embedded_once(cfg: Config, embedder: Embedder, write: Write) -> None:
    write("a/readme.md", "# Same\n\nThe very same words.")
    folder = write("b/readme.md", "# Same\n\nThe very same words.").parents[1]
    report = sync(opened(cfg, embedder), folder, cfg.ingest)
    assert (report.added, report.embedded, report.cache_hits) == (2, 1, 1)


def test_an_edit_embeds_only_the_chunks_that_changed(cfg: Config, embedder: Embedder, write: Write) -> None:
    sections = [f"## Part {i}\n\n" + f"Sentence about topic {i} goes here. " * 12 for i in range(10)]
    folder = write("long.md", "\n\n".join(sections)).parent
    index = opened(cfg, embedder)
    total = sync(index, folder, cfg.ingest).embedded
    sections[4] = sections[4].replace("goes", "went")
    write("long.md", "\n\n".join(sections))
    report = sync(index, folder, cfg.ingest)
    assert (report.changed, report.embedded) == (1, 1)
    assert total > 5


def test_folders_of_one_knowledge_base_do_not_disturb_each_other(
    cfg: Config, embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "leave.md").write_text("# Canteen\n\nLunch is at noon.", encoding="utf-8")
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    report = sync(index, other, cfg.ingest)
    assert (report.added, report.deleted) == (1, 0)
    assert index.counts().documents == 4
    assert search(index, ["lunch noon"], cfg.retrieval)[0].folder == str(other)


def test_a_directory_replaced_by_a_file_and_back(cfg: Config, embedder: Embedder, folder: Path, write: Write) -> None:
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    shutil.rmtree(folder / "it")
    (folder / "it").write_text("no longer a folder", encoding="utf-8")
    assert sync(index, folder, cfg.ingest).deleted == 1
    (folder / "it").unlink()
    write("it/vpn.md", "# VPN\n\nBack again.")
    assert sync(index, folder, cfg.ingest).added == 1
    assert index.verify() == []


def test_a_plan_says_what_a_run_then_does(cfg: Config, embedder: Embedder, folder: Path, write: Write) -> None:
    assert len(forecast(cfg, "kb", [folder]).plans[str(folder)].added) == 3
    assert not Path(cfg.app.data).exists()
    sync(opened(cfg, embedder), folder, cfg.ingest)
    (folder / "leave.md").rename(folder / "holiday.md")
    write("it/vpn.md", "changed")
    plan = forecast(cfg, "kb", [folder]).plans[str(folder)]
    assert [(old.path, new.path) for old, new in plan.moved] == [("leave.md", "holiday.md")]
    assert [old.path for old, _ in plan.changed] == ["it/vpn.md"]
    assert (plan.added, plan.deleted, plan.unchanged) == ([], [], 1)


# Bad input: each is one row or one message, and the rest goes on.


def failures(cfg: Config, embedder: Embedder, folder: Path) -> dict[str, tuple[str, str]]:
    report = sync(opened(cfg, embedder), folder, cfg.ingest)
    return {f.path: (f.error, f.hint) for f in report.failed}


def test_a_missing_folder_a_file_and_an_empty_folder(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        run(cfg, "kb", [tmp_path / "none"])
    file = tmp_path / "file.md"
    file.write_text("x", encoding="utf-8")
    with pytest.raises(ReadError, match="not a folder"):
        run(cfg, "kb", [file])
    assert not Path(cfg.app.data).exists()
    (tmp_path / "empty").mkdir()
    report = sync(opened(cfg, embedder), tmp_path / "empty", cfg.ingest)
    assert (report.added, report.chunks, report.failed) == (0, 0, [])


def test_bad_files_are_rows_and_good_ones_are_read(cfg: Config, embedder: Embedder, folder: Path) -> None:
    (folder / "empty.md").write_bytes(b"")
    (folder / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type")
    (folder / "fake.docx").write_bytes(b"PK\x03\x04 not a document")
    os.symlink("loop.md", folder / "loop.md")
    cfg_ = cfg.ingest.model_copy(update={"follow_symlinks": True})
    report = sync(opened(cfg, embedder), folder, cfg_)
    rows = {f.path: f.error for f in report.failed}
    assert set(rows) == {"empty.md", "cut.pdf", "fake.docx", "loop.md"}
    assert "empty" in rows["empty.md"]
    assert all(f.hint for f in report.failed)
    assert report.added == 3


def test_a_huge_text_file_is_refused_with_its_size_and_the_key(cfg: Config, embedder: Embedder, folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as handle:
        handle.truncate(200 * 1024 * 1024)
    error, hint = failures(cfg, embedder, folder)["huge.txt"]
    assert "209.7 MB" in error
    assert "ingest.max_file_mb" in error + hint


def test_names_with_newlines_are_indexed_and_invalid_utf8_is_a_row(
    cfg: Config, embedder: Embedder, folder: Path
) -> None:
    (folder / "two\nlines.md").write_text("# Odd name\n\nSomething about zebras.", encoding="utf-8")
    with open(os.fsencode(folder) + b"/bad\xff.md", "wb") as handle:
        handle.write(b"text")
    index = opened(cfg, embedder)
    report = sync(index, folder, cfg.ingest)
    assert [(f.path, f.error) for f in report.failed] == [("bad\\xff.md", "the name is not valid UTF-8")]
    assert found(index, cfg, "zebras")[0] == "two\nlines.md"
    json.dumps(report.as_json())


def test_a_symlink_loop_of_folders_ends(cfg: Config, embedder: Embedder, folder: Path) -> None:
    os.symlink("..", folder / "it" / "up")
    follow = cfg.ingest.model_copy(update={"follow_symlinks": True})
    report = sync(opened(cfg, embedder), folder, follow)
    assert report.added == 3
    assert [s.path for s in report.skipped] == ["it/up"]


def test_a_file_that_may_not_be_read_keeps_its_last_good_content(
    cfg: Config, embedder: Embedder, folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    write("leave.md", "# Leave\n\nAnnual leave is 99 days.")

    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("ingest.scan.hash_file", closed)
        report = sync(index, folder, cfg.ingest)
    row = next(f for f in report.failed if f.path == "leave.md")
    assert row.error == "no permission to read"
    assert "chmod" in row.hint
    assert "25 days" in search(index, ["annual leave"], cfg.retrieval)[0].text


def test_a_file_that_became_unreadable_is_marked_stale(
    cfg: Config, embedder: Embedder, folder: Path, write: Write
) -> None:
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    (folder / "leave.md").write_bytes(b"")
    report = sync(index, folder, cfg.ingest)
    assert "stale" in report.failed[0].hint
    assert "25 days" in search(index, ["annual leave"], cfg.retrieval)[0].text
    write("leave.md", "# Leave\n\nAnnual leave is 30 days.")
    assert sync(index, folder, cfg.ingest).failed == []
    assert "30 days" in search(index, ["annual leave"], cfg.retrieval)[0].text


def test_a_file_whose_reader_was_killed_is_tried_again_and_one_that_is_damaged_is_not(
    cfg: Config, embedder: Embedder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = {"leave.md": ReadError("its reader was killed", transient=True), "vpn.md": ReadError("damaged")}
    tried: list[str] = []

    def reading(path: Path, cfg_: IngestConfig, pages: Sequence[int], reach: Reach) -> Reading:
        tried.append(path.name)
        if error := failing.get(path.name):
            raise error
        return read_apart(path, cfg_, pages, reach)

    monkeypatch.setattr("app.keeping.work.read_apart", reading)
    monkeypatch.setattr("ingest.scan._RACY_NS", 0)
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    failing.clear()
    tried.clear()
    report = sync(index, folder, cfg.ingest)
    assert tried == ["leave.md"]
    assert (report.added, [row.path for row in report.failed]) == (1, ["it/vpn.md"])


def test_a_document_read_in_part_is_read_again_once_its_reader_can_do_more(
    cfg: Config, embedder: Embedder, folder: Path
) -> None:
    (folder / "mixed.pdf").write_bytes(saved(build([["Typed page"], []])))
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    assert look(index, folder, cfg.ingest).changed == []
    able = cfg.ingest.model_copy(update={"ocr_pages": 7})
    assert [entry.path for _, entry in look(index, folder, able).changed] == ["mixed.pdf"]
    report = sync(index, folder, able)
    assert (report.changed, report.embedded) == (1, 0)
    assert sync(index, folder, able).changed == 0


def test_a_file_deleted_between_scan_and_read_is_a_row(
    cfg: Config, embedder: Embedder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deleting(path: Path, cfg_: IngestConfig, pages: Sequence[int], reach: Reach) -> Reading:
        if path.name == "leave.md":
            path.unlink()
        return read_apart(path, cfg_, pages, reach)

    monkeypatch.setattr("app.keeping.work.read_apart", deleting)
    error, hint = failures(cfg, embedder, folder)["leave.md"]
    assert "disappeared" in error
    assert "again" in hint


def test_chunks_that_do_not_fit_the_embedder_are_one_message(cfg: Config, embedder: Embedder, folder: Path) -> None:
    large = cfg.ingest.model_copy(update={"chunk_tokens": 500, "chunk_overlap": 0})
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(large))
    with pytest.raises(ConfigError, match=r"chunk_tokens.*500.*256 tokens") as error:
        sync(index, folder, large)
    assert "222" in error.value.hint


def test_a_full_disk_loses_nothing_that_was_committed(
    cfg: Config, embedder: Embedder, folder: Path, write: Write
) -> None:
    index = opened(cfg, embedder)
    sync(index, folder, cfg.ingest)
    write("more.md", "# More\n\n" + "A sentence that needs room on the disk. " * 4000)
    ((pages,),) = select(index.catalog, "PRAGMA page_count")
    select(index.catalog, f"PRAGMA max_page_count = {pages + 4}")  # SQLite reports the disk as full
    with pytest.raises(CatalogError, match="the disk is full") as error:
        sync(index, folder, cfg.ingest)
    assert "free some space" in error.value.hint
    assert found(index, cfg, "annual leave")[0] == "leave.md"
    select(index.catalog, f"PRAGMA max_page_count = {pages * 1000}")
    assert sync(index, folder, cfg.ingest).added == 1
    assert index.verify() == []


# Stopped anywhere, run again: the same as a fresh build.


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.nightly)])
def test_kill_9_during_index_then_a_rerun_equals_a_fresh_build(
    cfg: Config, embedder: Embedder, tmp_path: Path, kills: int
) -> None:
    folder = tmp_path / "docs"
    shutil.copytree(ROOT / "examples" / "handbook", folder)
    for i in range(60):
        text = f"# Note {i}\n\n" + " ".join(f"Item {j} of note {i} concerns valve {i * j}." for j in range(40))
        (folder / f"note{i}.md").write_text(text, encoding="utf-8")
    environ = os.environ | {"RAGSTONE_DATA": cfg.app.data, "RAGSTONE_RETRIEVAL__PRECISION": "float32"}
    command = [sys.executable, "-c", "from app.cli import main; main()", "index", str(folder), "--kb", "kb"]
    rng = random.Random(7)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        catalog = Path(cfg.app.data) / "kb" / "g0001" / "catalog.sqlite"
        deadline = time.monotonic() + 60
        while not catalog.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 6))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    resumed = opened(cfg, embedder)
    sync(resumed, folder, cfg.ingest)
    assert resumed.verify() == []
    fresh_cfg = cfg.model_copy(update={"app": cfg.app.model_copy(update={"data": str(tmp_path / "fresh")})})
    fresh = opened(fresh_cfg, embedder)
    sync(fresh, folder, cfg.ingest)
    assert contents(resumed) == contents(fresh)
    for question in ("annual leave days", "年假有几天", "valve 36 of note 12", "E-4102", "who repairs the sensor"):
        mine, other = (search(index, [question], cfg.retrieval, k=10) for index in (resumed, fresh))
        assert [(h.path, h.ordinal) for h in mine] == [(h.path, h.ordinal) for h in other]
        assert [h.score for h in mine] == pytest.approx([h.score for h in other])


def test_a_report_of_what_failed_before_alone_tells_nothing_new() -> None:
    known, fresh = FileError("a.pdf", "damaged", known=True), FileError("b.pdf", "damaged")
    assert Report(failed=[known]).empty
    assert Report(failed=[known, fresh]).fresh == [fresh]
    assert not Report(failed=[known, fresh]).empty


def test_a_rebuild_swaps_in_one_step_and_serves_the_new_settings(cfg: Config, embedder: Embedder, folder: Path) -> None:
    run(cfg, "kb", [folder])
    old = Index.open(Path(cfg.app.data), "kb", embedder)
    smaller = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 64})})
    with pytest.raises(CatalogError, match="--rebuild"):
        run(smaller, "kb", [folder])
    run(smaller, "kb", [folder], rebuild=True)
    assert old.superseded
    new = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(smaller.ingest))
    assert new.counts().documents == 3
    assert generations(new.home) == ["g0001", "g0002"]


def test_what_was_read_is_committed_after_some_time_however_little_it_is(
    cfg: Config, embedder: Embedder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(f"{n}.txt", f"第{n}篇。") for n in range(5)]
    (files[0].parent / "5.txt").touch()  # a failure is worth keeping too
    index = opened(cfg, embedder)
    committed: list[int] = []

    def listen(stage: str, done: int, total: int) -> None:
        if stage == "index":
            committed.append(index.counts().documents + len(index.catalog.failures()))

    monkeypatch.setattr("app.keeping.index._FLUSH_S", 0.0)
    sync(index, files[0].parent, cfg.ingest, listen)
    assert committed == [1, 2, 3, 4, 5, 6]
