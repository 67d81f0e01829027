"""With `ingest.follow_symlinks` no link of a folder leads into the data folder, or out of those of `app.folders`."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.keeping import index as keeping
from app.keeping.folders import reach_of
from app.keeping.index import Report, run, sync
from app.keeping.plan import forecast
from app.keeping.work import read_one
from core.config import Config, load
from core.types import FileEntry, FileError
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.conftest import SMALL

Write = Callable[[str, str], Path]
MARKER = "the marker of somebody else"
AWAY = "a link to where nothing may be read from here"


@pytest.fixture
def shared(write: Write) -> Path:
    """A folder that is followed."""
    return write("shared/it/vpn.md", "# VPN\n\nUse the gateway.").parents[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder, in which the upload of another knowledge base lies."""
    (tmp_path / "data" / "other" / "files").mkdir(parents=True)
    (tmp_path / "data" / "other" / "files" / "secret.md").write_text(MARKER, encoding="utf-8")
    return tmp_path / "data"


def links(data: Path, *folders: Path) -> Config:
    flags = {"app.data": str(data), "app.folders": [str(one) for one in folders], "ingest.follow_symlinks": True}
    return load(flags=flags | SMALL, environ={}).config


def texts(cfg: Config) -> str:
    with closing(sqlite3.connect(Path(cfg.app.data) / "kb" / "g0001" / "catalog.sqlite")) as db:
        return str(db.execute("SELECT text FROM chunks").fetchall())


def left_out(report: Report) -> list[str]:
    return sorted(row.path for row in report.skipped if row.error == AWAY)


def test_no_link_leads_into_the_data_folder(shared: Path, data: Path, tmp_path: Path) -> None:
    (shared / "a.md").symlink_to(data / "other" / "files" / "secret.md")
    (shared / "b").symlink_to(data / "other")
    (shared / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(data)
    (tmp_path / "around").mkdir()
    shutil.move(data, tmp_path / "around" / "data")
    data.symlink_to(tmp_path / "around" / "data")  # is itself reached by a link
    (shared / "d").symlink_to(tmp_path / "around")
    cfg = links(data)
    report = run(cfg, "kb", [shared])
    assert left_out(report) == ["a.md", "b", "c"]
    assert MARKER not in texts(cfg)
    planned = forecast(cfg, "kb")
    assert sorted(row.path for row in planned.plans[str(shared)].skipped if row.error == AWAY) == ["a.md", "b", "c"]


@pytest.mark.parametrize("only", ["a.md", "b", "b/other/files/secret.md", "d/data/other/files/secret.md", "d/data"])
def test_nor_where_one_path_alone_is_looked_at(
    only: str, shared: Path, data: Path, tmp_path: Path, embedder: Embedder
) -> None:
    cfg = links(data)
    run(cfg, "kb", [shared])
    (shared / "a.md").symlink_to(data / "other" / "files" / "secret.md")
    (shared / "b").symlink_to(data)
    (shared / "d").symlink_to(tmp_path)
    index = Index.open(data, "kb", embedder)
    assert sync(index, shared, cfg.ingest, only=[only]).added == 0
    index.close()
    assert MARKER not in texts(cfg)


def test_in_a_folder_that_editors_may_name_links_lead_to_another_such_alone(
    shared: Path, data: Path, tmp_path: Path, write: Write
) -> None:
    beside = write("beside/notes.md", "# Notes\n\nThe garage opens at 06:30.").parent
    private = write("private/secret.md", MARKER)
    (shared / "a.md").symlink_to(private)
    (shared / "b").symlink_to(private.parent)
    (shared / "c").symlink_to(beside)
    (shared / "d.md").symlink_to(beside / "notes.md")
    cfg = links(data, shared, beside)
    report = run(cfg, "kb", [shared])
    assert left_out(report) == ["a.md", "b"]
    assert report.added == 3
    assert MARKER not in texts(cfg)
    elsewhere = links(tmp_path / "elsewhere", beside)
    assert left_out(run(elsewhere, "kb", [shared])) == []  # that only admins may name: they may have links followed
    assert MARKER in texts(elsewhere)


def test_a_link_that_leads_elsewhere_by_now_takes_its_document_along(shared: Path, data: Path, write: Write) -> None:
    (shared / "a.md").symlink_to(write("private/ours.md", "# Ours\n\nWe may read it."))
    cfg = links(data)
    assert run(cfg, "kb", [shared]).added == 2
    (shared / "a.md").unlink()
    (shared / "a.md").symlink_to(data / "other" / "files" / "secret.md")
    assert run(cfg, "kb").deleted == 1
    assert MARKER not in texts(cfg)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("what", ["file", "folder", "root"])
def test_what_was_exchanged_for_a_link_after_the_scan_is_not_read(
    what: str, follow: bool, shared: Path, data: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = links(data)
    cfg = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"follow_symlinks": follow})})
    secret = data / "other" / "files"
    (secret / "it").mkdir()
    for name in ("vpn.md", "it/vpn.md"):
        (secret / name).write_text(MARKER, encoding="utf-8")
    look = keeping.look

    def exchanged(*args: object, **options: object) -> object:
        todo = look(*args, **options)  # type: ignore[arg-type]
        place, to = {
            "file": (shared / "it" / "vpn.md", secret / "vpn.md"),
            "folder": (shared / "it", secret),
            "root": (shared, secret),
        }[what]
        place.rename(shared.parent / "aside")
        place.symlink_to(to)
        return todo

    monkeypatch.setattr(keeping, "look", exchanged)
    report = run(cfg, "kb", [shared])
    assert [(row.path, row.error) for row in report.failed] in (
        [("it/vpn.md", AWAY)], [("it/vpn.md", "a symbolic link")],
    )  # fmt: skip
    assert MARKER not in texts(cfg)


def test_uploads_and_what_was_downloaded_are_read_though_they_lie_in_the_data_folder(
    data: Path, embedder: Embedder, tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    shutil.move(data, tmp_path / "moved" / "data")
    data.symlink_to(tmp_path / "moved" / "data")
    cfg = links(data, tmp_path / "nowhere")
    mirror = reach_of(data / "kb", "https://example.org/", cfg.ingest)
    Path(mirror.root).mkdir(parents=True)
    (Path(mirror.root) / "page.md").write_text("# Page\n\nIt says much.", encoding="utf-8")
    entry = FileEntry("page.md", 1, 0, 0, 0)
    assert not isinstance(read_one(mirror, entry, cfg.ingest, embedder), FileError)
    real = (data / "kb" / "files").resolve()
    real.mkdir()
    (real / "up.md").write_text("# Up\n\nIt was uploaded.", encoding="utf-8")
    assert run(cfg, "kb", [real]).added == 1
