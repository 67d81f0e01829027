import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from core.config import Config
from core.errors import CatalogError
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import writer_lock
from retrieval.index import Index
from retrieval.search import search
from tests.app import tiny_embedder
from tests.conftest import ROOT
from tests.retrieval.corpus import build

ON_A_SMALL_DISK = """import os, sys
from pathlib import Path
from app.keeping.index import run
from core.config import load
from core.errors import RagstoneError
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
disk, docs, model, state = sys.argv[1:]
cfg = load(flags={"app.data": disk, "retrieval.embedder": model, "retrieval.device": "cpu"}, environ={}).config
run(cfg, "kb", [Path(docs)])
if state == "full":
    with open(f"{disk}/fill", "wb", buffering=0) as handle:
        try:
            while handle.write(bytes(4096)):
                pass
        except OSError as error:
            print(error.strerror)
else:
    os.system(f"mount -o remount,ro {disk}")
index = Index.open(Path(disk), "kb", Embedder(cfg.retrieval))
print([hit.path for hit in search(index, ["bakan"], cfg.retrieval)][:1], [card.path for card in index.catalog.cards()])
print(index.verify())
Path(docs, "new.md").write_text("balen")
try:
    run(cfg, "kb")
except RagstoneError as error:
    print(error)
if state == "full":
    os.unlink(f"{disk}/fill")
    print(run(cfg, "kb").added, sorted(card.path for card in index.catalog.cards()))
"""


def on_a_small_disk(tmp_path: Path, state: str) -> list[str]:
    """What a process says whose data folder is a disk of its own that became full or read-only; skips without one."""
    private = ["unshare", "-rm"]
    if not shutil.which("unshare") or subprocess.run([*private, "mount", "-t", "tmpfs", "x", "/mnt"]).returncode:
        pytest.skip("no disk can be mounted here (unshare -rm)")
    (tmp_path / "docs").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "docs" / "a.md").write_text("bakan bamir", encoding="utf-8")
    tiny_embedder.build(tmp_path / "model")
    places = [str(tmp_path / name) for name in ("disk", "docs", "model")]
    script = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$0" -c "$5" "$1" "$2" "$3" "$4"'
    command = [*private, "sh", "-c", script, sys.executable, *places, state, ON_A_SMALL_DISK]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_full_disk_answers_and_is_written_again_when_there_is_room(tmp_path: Path) -> None:
    full, answers, sound, refusal, *hint, later = on_a_small_disk(tmp_path, "full")
    assert full == "No space left on device"
    assert answers == "['a.md'] ['a.md']"
    assert sound == "[]"
    assert "disk" in refusal or "written" in refusal
    assert any("space" in line for line in hint)
    assert later == "1 ['a.md', 'new.md']"  # an index that was opened meanwhile sees it too


@pytest.mark.slow
def test_a_read_only_disk_answers_and_is_verified(tmp_path: Path) -> None:
    answers, sound, refusal, hint = on_a_small_disk(tmp_path, "read-only")
    assert answers == "['a.md'] ['a.md']"
    assert sound == "[]"
    assert "Read-only file system" in refusal
    assert hint.startswith("  →")


def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on SQLite can make no file on the disk."""
    connect = sqlite3.connect

    def refuse(file: object, **options: object) -> sqlite3.Connection:
        if "immutable" not in str(file):
            raise sqlite3.OperationalError("disk I/O error")
        return connect(file, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("retrieval.database.sqlite3.connect", refuse)


def test_where_nothing_can_be_written_a_catalog_with_a_log_is_not_read_without_it(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = build(cfg, embedder)
    assert writer.catalog.counts().documents == 5  # it is open, so that what was written last is in the log
    assert (writer.folder / "catalog.sqlite-wal").stat().st_size > 0
    closed(monkeypatch)
    with pytest.raises(CatalogError, match="could not be read or written: disk I/O error") as error:
        Catalog(writer.files.file).counts()
    assert "free space" in error.value.hint


def test_where_nothing_can_be_written_a_catalog_that_is_being_written_is_not_read(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(cfg, embedder)
    index.close()
    closed(monkeypatch)
    assert Catalog(index.files.file).counts().documents == 5
    with writer_lock(index.home), pytest.raises(CatalogError, match="disk I/O error"):
        Catalog(index.files.file).counts()


def test_a_database_that_was_opened_as_unchanging_is_opened_anew_when_it_changes(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(cfg, embedder)
    index.close()
    with monkeypatch.context() as patch:
        closed(patch)
        reader = Index.open(index.home.parent, "kb", embedder)
        assert search(reader, ["annual leave"], cfg.retrieval)[0].path == "leave.md"
        with pytest.raises(CatalogError, match="could not be read or written: attempt to write a readonly database"):
            reader.catalog.set_meta("x", "y")
    build(cfg, embedder, {"later.md": "Later than all."}).close()
    assert search(reader, ["later than all"], cfg.retrieval)[0].path == "later.md"


def test_damage_names_a_command_for_this_knowledge_base(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    index.close()
    index.files.file.write_bytes(b"no database" * 500)
    with pytest.raises(CatalogError, match="is damaged: file is not a database") as error:
        Index.open(index.home.parent, "kb", embedder)
    assert "`ragstone index FOLDER --kb kb --rebuild`" in error.value.hint


def test_threads_that_ended_leave_no_connection(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    for _ in range(3):
        search(index, ["annual leave"], cfg.retrieval)
    links = Path("/proc/self/fd")
    if not links.is_dir():
        pytest.skip("no /proc here")
    before = len(list(links.iterdir()))
    found: list[str] = []
    for _ in range(50):
        thread = Thread(target=lambda: found.append(search(index, ["annual leave"], cfg.retrieval)[0].path))
        thread.start()
        thread.join()
    assert found == ["leave.md"] * 50
    assert len(list(links.iterdir())) <= before


def test_a_database_that_nobody_holds_any_more_is_closed(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    index.close()
    catalog = Catalog(index.files.file)
    with catalog.connection() as db:
        db.execute("SELECT 1")
    del catalog
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")


def test_a_new_catalog_that_another_process_is_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "g0001" / "catalog.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("core.sqlite.sleep", lambda _: other.execute("COMMIT"))
        with closing(Catalog(file)) as catalog:
            assert not catalog.has_schema()
