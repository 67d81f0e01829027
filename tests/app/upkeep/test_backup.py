import io
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.answering import unanswered
from app.keeping.index import run
from app.running.bases import Bases
from app.upkeep.backup import backup
from app.upkeep.purge import purge
from app.upkeep.restore import restore
from core.config import Config
from core.errors import CatalogError
from retrieval.embed import Embedder
from retrieval.home import names, rollback
from retrieval.index import Index
from retrieval.search import search
from tests.conftest import ROOT
from tests.retrieval.sql import select

pytestmark = pytest.mark.slow

Write = Callable[[str, str], Path]


@pytest.fixture
def data(cfg: Config) -> Path:
    return Path(cfg.app.data)


@pytest.fixture
def base(cfg: Config, embedder: Embedder, data: Path, write: Write, tmp_path: Path) -> Iterator[Index]:
    """A knowledge base of a folder and an uploaded file."""
    write("zh/年假.md", "# 年假\n\n年假每年二十五天。")
    run(cfg, "kb", [write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent])
    upload = tmp_path / "parking.md"
    upload.write_text("# Parking\n\nThe garage opens at 06:30.", encoding="utf-8")
    Bases(cfg).upload("kb", [upload])
    index = Index.open(data, "kb", embedder)
    yield index
    index.close()


def contents(index: Index) -> list[tuple[object, ...]]:
    sql = """SELECT f.path, d.path, c.ordinal, c.text FROM chunks c JOIN documents d ON d.id = c.document_id
             JOIN folders f ON f.id = d.folder_id ORDER BY 1, 2, 3"""
    return select(index.catalog, sql)


def found(index: Index, cfg: Config, question: str) -> list[str]:
    return [hit.path for hit in search(index, [question], cfg.retrieval)]


def state(folder: Path) -> dict[str, bytes]:
    """Every file but those of the lock."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("writer."))
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


def elsewhere(cfg: Config, data: Path) -> Config:
    return cfg.model_copy(update={"app": cfg.app.model_copy(update={"data": str(data)})})


def test_a_restored_backup_answers_under_another_name_in_another_data_folder(
    base: Index, cfg: Config, embedder: Embedder, data: Path, tmp_path: Path
) -> None:
    upload = data / "kb" / "files" / "parking.md"
    os.utime(upload, (1_500_000_000, 1_500_000_000))
    manifest = backup(base, tmp_path / "kb.tar")
    assert set(manifest["files"]) == {"catalog.sqlite", "files/parking.md"}
    assert restore(tmp_path / "other", "copy", tmp_path / "kb.tar")[0] == manifest

    copy = Index.open(tmp_path / "other", "copy", embedder)
    assert copy.verify() == []
    old, new = str((data / "kb" / "files").resolve()), str((tmp_path / "other" / "copy" / "files").resolve())
    assert contents(copy) == sorted((new if row[0] == old else row[0], *row[1:]) for row in contents(base))
    assert found(copy, cfg, "annual leave")[0] == "leave.md"
    assert found(copy, cfg, "garage")[0] == "parking.md"
    restored = tmp_path / "other" / "copy" / "files" / "parking.md"
    assert restored.read_bytes() == upload.read_bytes()
    assert restored.stat().st_mtime == 1_500_000_000  # which version is the newest is told by it
    copy.close()
    report = run(elsewhere(cfg, tmp_path / "other"), "copy")
    assert (report.unchanged, report.added, report.changed, report.deleted, report.failed) == (3, 0, 0, 0, [])


def test_questions_that_nothing_was_found_for_come_along(base: Index, data: Path, tmp_path: Path) -> None:
    unanswered.keep([base.home], "Who won the football cup?")
    backup(base, tmp_path / "kb.tar")
    restore(tmp_path / "other", "copy", tmp_path / "kb.tar")
    assert unanswered.read(tmp_path / "other" / "copy") == unanswered.read(base.home) != []


def test_a_data_folder_with_odd_characters_is_backed_up_and_restored(
    base: Index, embedder: Embedder, data: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "数据 #1?mode=rw%20&x"
    base.close()
    shutil.copytree(data, odd)
    index = Index.open(odd, "kb", embedder)
    backup(index, odd / "kb #1?.tar")
    restore(odd, "复制", odd / "kb #1?.tar")
    copy = Index.open(odd, "复制", embedder)
    assert len(contents(copy)) == len(contents(index)) == 3


def test_a_backup_beside_a_writer_is_the_state_of_one_commit(
    cfg: Config, embedder: Embedder, data: Path, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(8):
        (docs / f"{n}.txt").write_text("第0版。" * 400, encoding="utf-8")
    run(cfg, "kb", [docs])
    code = """import sys
from pathlib import Path
from app.keeping.index import run
from core.config import load
cfg = load(flags={"app.data": sys.argv[1]}, environ={}).config
for version in range(1, 1000):  # eight files are committed together; the embedder reads no Chinese, so it is quick
    for n in range(8):
        Path(sys.argv[2], f"{n}.txt").write_text(f"第{version}版。" * 400, encoding="utf-8")
    run(cfg, "kb")
    print(version, flush=True)"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(data), str(docs)]
    writer = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout
        assert writer.stdout.readline() == "1\n"
        index = Index.open(data, "kb", embedder)
        for n in range(6):
            backup(index, tmp_path / f"{n}.tar")
            writer.stdout.readline()
            time.sleep(0.03 * n)
    finally:
        writer.kill()
        writer.communicate()
    seen: list[str] = []
    for n in range(6):
        restore(tmp_path / "other", f"kb{n}", tmp_path / f"{n}.tar", maps=[f"{docs}={docs}"])  # all changed since
        copy = Index.open(tmp_path / "other", f"kb{n}", embedder)
        assert copy.verify() == []
        assert copy.counts().documents == 8
        versions = {version for row in contents(copy) for version in re.findall(r"第(\d+)版。", str(row[3]))}
        assert len(versions) == 1
        seen += versions
    assert len(set(seen)) > 1
    assert seen == sorted(seen, key=int)


def test_a_flipped_byte_anywhere_is_refused_and_nothing_changes(
    base: Index, data: Path, tmp_path: Path, embedder: Embedder
) -> None:
    source, damaged = tmp_path / "kb.tar", tmp_path / "damaged.tar"
    backup(base, source)
    base.close()
    whole = source.read_bytes()
    with tarfile.open(source) as archive:
        spans = [(m.name, m.offset_data, m.size) for m in archive]
    before = state(data)
    rng = random.Random(5)
    places = [start + rng.randrange(size) for _, start, size in spans[:2] for _ in range(15)]
    places += [place for _, start, size in spans[2:] for place in range(start, start + size, 5)]
    for place in places:
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        with pytest.raises(CatalogError, match="is damaged") as error:
            restore(data, "kb", damaged, replace=True)
        assert error.value.hint
    assert state(data) == before
    for part in (0, 1, 700, len(whole) // 2, spans[-1][1] + 10):
        damaged.write_bytes(whole[:part])
        with pytest.raises(CatalogError, match="is damaged"):
            restore(data, "kb", damaged, replace=True)
    assert state(data) == before
    with pytest.raises(CatalogError, match="is damaged"):
        restore(data, "fresh", damaged)
    assert names(data) == ["kb"]


@pytest.mark.parametrize(
    "name",
    ["../x", "/tmp/x", "files/../../x", "files/..", "files/a/b", "x/y", "files", "catalog.sqlite-wal", "link", "pipe"],
)
def test_a_backup_with_a_hostile_member_is_refused(name: str, base: Index, data: Path, tmp_path: Path) -> None:
    source = tmp_path / "kb.tar"
    backup(base, source)
    base.close()
    member = tarfile.TarInfo(name)
    member.size = 4
    if name in ("link", "pipe"):
        member = tarfile.TarInfo(f"files/{name}")
        member.type, member.linkname = (tarfile.SYMTYPE, "/etc/passwd") if name == "link" else (tarfile.FIFOTYPE, "")
    with tarfile.open(source, "a") as archive:
        archive.addfile(member, io.BytesIO(b"evil"))
    before, around = state(data), sorted(f.name for f in tmp_path.iterdir())
    with pytest.raises(CatalogError, match="holds") as error:
        restore(data, "kb", source, replace=True)
    assert error.value.hint == "it is not a backup of ragstone"
    assert state(data) == before
    assert sorted(f.name for f in tmp_path.iterdir()) == around
    assert not Path("/tmp/x").exists()


def test_what_is_no_backup_is_one_message(data: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar at all" * 100, encoding="utf-8")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.add(ROOT / "README.md", "README.md")
    for name, words in {
        "text": "damaged",
        "empty": "damaged",
        "other": "holds 'README.md'",
        "none": "no backup",
    }.items():
        with pytest.raises(CatalogError, match=words):
            restore(data, "kb", tmp_path / f"{name}.tar")
    assert names(data) == []


def test_restoring_over_a_knowledge_base_needs_replace_and_can_be_taken_back(
    base: Index, cfg: Config, embedder: Embedder, data: Path, write: Write, tmp_path: Path
) -> None:
    backup(base, tmp_path / "kb.tar")
    base.close()
    write("later.md", "# Later\n\nAdded after the backup.")
    run(cfg, "kb")
    later = Index.open(data, "kb", embedder)
    with pytest.raises(CatalogError, match="there is a knowledge base 'kb' already"):
        restore(data, "kb", tmp_path / "kb.tar")
    restore(data, "kb", tmp_path / "kb.tar", replace=True)
    assert later.superseded
    restored = Index.open(data, "kb", embedder)
    assert "later.md" not in found(restored, cfg, "added after the backup")
    assert restored.verify() == []
    restored.close()
    assert rollback(data / "kb") == "g0001"
    back = Index.open(data, "kb", embedder)
    assert contents(back) == contents(later)
    assert found(back, cfg, "added after the backup")[0] == "later.md"
    assert back.verify() == []


def test_a_knowledge_base_whose_catalog_is_lost_is_restored(
    base: Index, embedder: Embedder, data: Path, tmp_path: Path
) -> None:
    backup(base, tmp_path / "kb.tar")
    before = contents(base)
    base.close()
    shutil.rmtree(data / "kb" / "g0001")
    with pytest.raises(CatalogError) as error:
        Index.open(data, "kb", embedder)
    assert error.value.hint == "restore a backup"
    restore(data, "kb", tmp_path / "kb.tar", replace=True)
    assert contents(Index.open(data, "kb", embedder)) == before


def test_a_backup_does_not_overwrite_a_file_and_leaves_nothing_when_it_fails(base: Index, tmp_path: Path) -> None:
    (tmp_path / "kb.tar").write_text("precious", encoding="utf-8")
    with pytest.raises(CatalogError, match="is there already"):
        backup(base, tmp_path / "kb.tar")
    assert (tmp_path / "kb.tar").read_text("utf-8") == "precious"
    with pytest.raises(CatalogError, match="absent' does not exist"):
        backup(base, tmp_path / "absent" / "kb.tar")
    before = sorted(f.name for f in tmp_path.iterdir())
    backup(base, tmp_path / "second.tar")
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([*before, "second.tar"])


def test_a_purge_while_another_process_writes_is_refused(base: Index, data: Path, embedder: Embedder) -> None:
    code = """import sys, time
from pathlib import Path
from retrieval.home import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(data / "kb")]
    writer = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout
        assert writer.stdout.readline() == "held\n"
        before = state(data)
        with pytest.raises(CatalogError, match=f"being written by process {writer.pid}"):
            purge(data, "kb", embedder)
        with pytest.raises(CatalogError, match="being written"):
            rollback(data / "kb")
        assert state(data) == before
    finally:
        writer.kill()
        writer.communicate()
