import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from app.keeping.index import Report, chunker, run
from app.keeping.watch import follow, keep_following
from core.config import Config
from core.types import Card, FileError
from retrieval.embed import Embedder
from retrieval.home import writer_lock
from retrieval.index import Index
from tests.conftest import ROOT
from tests.retrieval.sql import select

# The built-in embedder reads no Chinese, so texts in Chinese are indexed in no time.


class Watching:
    """A `follow` in a thread, and what the knowledge base says meanwhile."""

    def __init__(self, cfg: Config, embedder: Embedder, folders: list[Path]) -> None:
        self.cfg = cfg
        run(cfg, "kb", folders)
        self.data = Path(cfg.app.data)
        self.index = Index.open_or_create(self.data, "kb", embedder, chunker(cfg.ingest))
        self.reports: list[Report] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()
        self.first = folders[0]
        (self.first / "first.md").write_text("开始", encoding="utf-8")
        self.until(lambda: "first.md" in self.paths())  # from here on events arrive

    def _follow(self) -> None:
        try:
            for report in follow(self.index, self.cfg.ingest, self.stop):
                self.reports.append(report)
        except BaseException as error:
            self.error = error

    def cards(self) -> dict[str, Card]:
        index = Index.open(self.data, "kb", self.index.embedder)
        try:
            return {card.path: card for card in index.catalog.cards()}
        finally:
            index.close()

    def paths(self) -> set[str]:
        return set(self.cards())

    def failures(self) -> list[FileError]:
        return self.index.catalog.failures()

    def text(self, path: str) -> str:
        sql = "SELECT text FROM chunks c JOIN documents d ON d.id = c.document_id WHERE d.path = ? ORDER BY ordinal"
        return "".join(text for (text,) in select(self.index.catalog, sql, [path]))

    def until(self, condition: Callable[[], object], seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < end, f"waited in vain; {self.reports}"
            time.sleep(0.05)

    def total(self, what: str) -> int:
        return sum(getattr(report, what) for report in self.reports)

    def end(self) -> float:
        started = time.monotonic()
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return time.monotonic() - started


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "docs", tmp_path / "other"]
    for folder in found:
        folder.mkdir()
    return found


@pytest.fixture
def watching(cfg: Config, embedder: Embedder, folders: list[Path]) -> Iterator[Watching]:
    watch = Watching(cfg, embedder, folders)
    yield watch
    watch.end()
    assert watch.index.verify() == []


def test_files_are_followed_as_they_come_change_and_go(watching: Watching, folders: list[Path]) -> None:
    docs, other = folders
    (docs / "new.md").write_text("新的", encoding="utf-8")
    (other / "too.md").write_text("另一个", encoding="utf-8")
    watching.until(lambda: {"new.md", "too.md"} <= watching.paths())

    (docs / "new.md").write_text("改过的", encoding="utf-8")
    watching.until(lambda: watching.text("new.md") == "改过的")

    (docs / ".new.md.swp").write_text("换掉的", encoding="utf-8")
    os.replace(docs / ".new.md.swp", docs / "new.md")  # as editors save
    watching.until(lambda: watching.text("new.md") == "换掉的")

    (docs / "new.md").unlink()
    watching.until(lambda: "new.md" not in watching.paths())
    assert watching.paths() == {"first.md", "too.md"}
    assert watching.failures() == []
    assert [failure for report in watching.reports for failure in report.failed] == []
    assert all(not report.empty for report in watching.reports)


def test_a_folder_that_is_moved_takes_its_documents_along(watching: Watching, folders: list[Path]) -> None:
    docs, _ = folders
    (docs / "a" / "deep").mkdir(parents=True)
    for n in range(5):
        (docs / "a" / "deep" / f"{n}.md").write_text(f"第{n}篇", encoding="utf-8")
    watching.until(lambda: len(watching.paths()) == 6)
    time.sleep(1.2)
    (docs / "a").rename(docs / "b")
    watching.until(lambda: {f"b/deep/{n}.md" for n in range(5)} | {"first.md"} == watching.paths())
    watching.until(lambda: watching.total("moved") == 5)  # the report comes after the commit
    (docs / "b" / "deep" / "0.md").write_text("改过的", encoding="utf-8")
    watching.until(lambda: watching.text("b/deep/0.md") == "改过的")
    shutil.rmtree(docs / "b")
    watching.until(lambda: watching.paths() == {"first.md"})


def test_a_file_that_is_written_in_two_steps_is_read_when_it_is_whole(watching: Watching, folders: list[Path]) -> None:
    source = ROOT / "examples" / "handbook" / "people" / "休假制度.docx"
    data = source.read_bytes()
    with (folders[0] / "half.docx").open("wb") as handle:
        for start in range(0, len(data), len(data) // 3):
            handle.write(data[start : start + len(data) // 3])
            handle.flush()
            time.sleep(0.5)
    watching.until(lambda: "half.docx" in watching.paths())
    assert watching.text("half.docx").endswith("鹿特丹员工以英文文本为准。")
    assert watching.failures() == []
    assert [failure for report in watching.reports for failure in report.failed] == []


def test_a_file_that_could_not_be_read_and_then_can_leaves_no_failure(watching: Watching, folders: list[Path]) -> None:
    bad = folders[0] / "bad.md"
    bad.touch()
    watching.until(lambda: [failure.path for failure in watching.failures()] == ["bad.md"])
    bad.write_text("现在有字了", encoding="utf-8")
    watching.until(lambda: "bad.md" in watching.paths())
    assert watching.failures() == []


def test_a_burst_of_files_is_followed_in_a_few_runs(watching: Watching, folders: list[Path]) -> None:
    for n in range(300):
        (folders[n % 2] / f"{n}.md").write_text(f"第{n}篇", encoding="utf-8")
    watching.until(lambda: len(watching.paths()) == 301)
    for n in range(0, 300, 2):
        (folders[0] / f"{n}.md").unlink()
    watching.until(lambda: len(watching.paths()) == 151)
    assert len(watching.reports) <= 8


def test_missed_events_are_made_good_by_comparing_everything(
    cfg: Config, embedder: Embedder, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.keeping.watch._note", lambda pending, paths, *rest: None)
    ingest = cfg.ingest.model_copy(update={"rescan_minutes": 0.01})
    watch = Watching(cfg.model_copy(update={"ingest": ingest}), embedder, folders)
    (folders[1] / "missed.md").write_text("没有通知", encoding="utf-8")
    watch.until(lambda: "missed.md" in watch.paths())
    (folders[1] / "missed.md").unlink()
    watch.until(lambda: "missed.md" not in watch.paths())
    watch.end()


def test_stopping_ends_it_soon(watching: Watching, folders: list[Path]) -> None:
    (folders[0] / "late.md").write_text("刚写", encoding="utf-8")
    assert watching.end() < 3
    assert watching.error is None


def test_a_data_folder_inside_a_watched_folder_does_not_keep_it_busy(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    inside = cfg.model_copy(update={"app": cfg.app.model_copy(update={"data": str(docs / "data")})})
    watch = Watching(inside, embedder, [docs])
    lock = docs / "data" / "kb" / "writer.json"
    time.sleep(1.5)
    before = lock.stat().st_mtime_ns
    time.sleep(2.2)
    assert lock.stat().st_mtime_ns == before
    watch.end()


def test_a_knowledge_base_that_another_process_writes_is_followed_afterwards(
    watching: Watching, folders: list[Path]
) -> None:
    with writer_lock(watching.index.home):
        (folders[0] / "waits.md").write_text("等一等", encoding="utf-8")
        time.sleep(1.5)
    watching.until(lambda: "waits.md" in watching.paths())


def test_after_a_rebuild_the_generation_that_answers_is_followed(
    watching: Watching, cfg: Config, folders: list[Path]
) -> None:
    run(cfg, "kb", rebuild=True)
    assert watching.index.superseded
    (folders[0] / "after.md").write_text("重建以后", encoding="utf-8")
    watching.until(lambda: "after.md" in watching.paths())
    watching.index = Index.open(watching.data, "kb", watching.index.embedder)


def test_folders_that_are_added_or_come_back_are_followed(
    watching: Watching, cfg: Config, folders: list[Path], tmp_path: Path
) -> None:
    other = folders[1]
    third = tmp_path / "third"
    third.mkdir()
    run(cfg, "kb", [third])
    shutil.rmtree(other)
    watching.until(lambda: any(failure.path == str(other) for r in watching.reports for failure in r.failed))
    other.mkdir()
    (other / "back.md").write_text("回来了", encoding="utf-8")
    (third / "third.md").write_text("第三个", encoding="utf-8")
    watching.until(lambda: {"back.md", "third.md"} <= watching.paths())
    (other / "back.md").write_text("又改了", encoding="utf-8")
    watching.until(lambda: watching.text("back.md") == "又改了")


def test_a_watched_folder_that_is_suddenly_empty_keeps_its_documents(watching: Watching, folders: list[Path]) -> None:
    other = folders[1]
    for n in range(12):
        (other / f"{n}.md").write_text(f"第{n}篇", encoding="utf-8")
    watching.until(lambda: len(watching.paths()) == 13)
    away = other.with_name("away")
    other.rename(away)
    other.mkdir()  # as where a share was mounted
    watching.until(lambda: "now holds none" in "".join(f.error for report in watching.reports for f in report.failed))
    assert len(watching.paths()) == 13
    other.rmdir()
    away.rename(other)
    (other / "12.md").write_text("第十三篇", encoding="utf-8")
    watching.until(lambda: len(watching.paths()) == 14)


def test_what_happens_between_two_watches_is_found(
    cfg: Config, embedder: Embedder, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, other = folders
    third, away = docs.with_name("third"), docs.with_name("away")
    real = watchfiles.watch
    missed: list[Path] = []

    def late(*watched: Path, **options: Any) -> Any:
        if third.is_dir() and not missed:  # the folders are looked up, and none of them is watched
            (docs / "between.md").write_text("其间", encoding="utf-8")
            other.rename(away)
            missed.extend(watched)
        return real(*watched, **options)

    monkeypatch.setattr(watchfiles, "watch", late)
    watching = Watching(cfg, embedder, folders)
    third.mkdir()
    (third / "third.md").write_text("第三篇", encoding="utf-8")
    run(cfg, "kb", [third])
    watching.until(lambda: "between.md" in watching.paths())
    assert other in missed
    away.rename(other)
    (other / "back.md").write_text("回来", encoding="utf-8")
    watching.until(lambda: "back.md" in watching.paths())
    watching.end()


def test_a_folder_that_is_gone_is_told_once_with_what_there_is(
    watching: Watching, folders: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(folders[1])
    watching.until(lambda: any(report.failed for report in watching.reports))
    (folders[0] / "later.md").write_text("以后", encoding="utf-8")
    watching.until(lambda: "later.md" in watching.paths())
    (told,) = [report for report in watching.reports if report.failed]
    assert [failure.folder for failure in told.failed] == [str(folders[1])]
    assert told.chunks == 1
    assert caplog.text == ""


def test_watching_goes_on_after_an_error_of_the_embedder_and_tells_it(
    cfg: Config, embedder: Embedder, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cfg, "kb", folders)
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    told: list[Report | Exception] = []
    stop, broken = threading.Event(), threading.Event()
    embed = Embedder.embed_passages

    def failing(self: Embedder, *args: Any, **more: Any) -> Any:
        if broken.is_set():
            raise RuntimeError("out of memory, made for this test")
        return embed(self, *args, **more)

    monkeypatch.setattr(Embedder, "embed_passages", failing)
    monkeypatch.setattr("app.keeping.watch._FIRST_WAIT_S", 0.1)

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, told
            time.sleep(0.05)

    broken.set()
    args = (lambda: index, lambda: cfg, told.append, stop)
    thread = threading.Thread(target=keep_following, args=args, daemon=True)
    thread.start()
    (folders[0] / "english.md").write_text("The boiler is in the cellar.", encoding="utf-8")
    wait(lambda: sum(isinstance(what, RuntimeError) for what in told) > 1)
    broken.clear()
    wait(lambda: isinstance(told[-1], Report) and told[-1].added == 1)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert [card.path for card in index.catalog.cards()] == ["english.md"]
    index.close()


def test_a_knowledge_base_that_is_not_there_yet_is_followed_once_it_is(
    cfg: Config, embedder: Embedder, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.keeping.watch._FIRST_WAIT_S", 0.05)
    told: list[Report | Exception] = []
    stop = threading.Event()
    args = (lambda: Index.open(Path(cfg.app.data), "kb", embedder), lambda: cfg, told.append, stop)
    thread = threading.Thread(target=keep_following, args=args, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not told:
        assert time.monotonic() < end
        time.sleep(0.05)
    run(cfg, "kb", folders)
    while not isinstance(told[-1], Report):  # in step, though nothing had to be done
        assert time.monotonic() < end + 30, told
        time.sleep(0.05)
    assert told[-1].empty
    (folders[0] / "first.md").write_text("开始", encoding="utf-8")
    while not any(isinstance(what, Report) and what.added for what in told):
        assert time.monotonic() < end + 30, told
        time.sleep(0.05)
    stop.set()
    thread.join(30)
