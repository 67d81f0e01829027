import os
import stat
from pathlib import Path

import pytest

from core.files import copy_whole, keep_private, name_folder_whole, name_whole, write_whole


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in paths}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as an older version made it, open to others."""
    data = tmp_path / "data"
    (data / "kb" / "files").mkdir(parents=True)
    (data / "kb" / "files" / "a.md").write_text("a", encoding="utf-8")
    (data / "users.sqlite").touch()
    (data / "run.sh").touch()
    for path in [data, *data.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o664)
    return data


def test_a_data_folder_that_is_open_to_others_is_closed_with_one_line(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_private(data)
    assert modes(data) == {
        ".": 0o700, "kb": 0o700, "kb/files": 0o700, "kb/files/a.md": 0o600, "users.sqlite": 0o600, "run.sh": 0o700,
    }  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [
        f"{data} was open to other users of this machine: 6 files and folders are closed to them"
    ]
    keep_private(data)
    assert len(caplog.records) == 1


def test_one_file_beside_the_knowledge_bases_is_enough(data: Path) -> None:
    keep_private(data)
    (data / "users.sqlite").chmod(0o644)
    keep_private(data)
    assert modes(data)["users.sqlite"] == 0o600


def test_links_lead_nowhere_else_and_what_another_owns_is_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    outside.chmod(0o755)
    (data / "link").symlink_to(outside)
    keep_private(data)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    caplog.clear()
    data.chmod(0o755)
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    keep_private(data)
    assert modes(data)["."] == 0o755
    assert caplog.records == []


def test_where_there_is_no_data_folder_yet_none_is_made(tmp_path: Path) -> None:
    keep_private(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_gets_its_name_was_synced_with_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents before the name, and the name after it: so a power cut leaves the whole or nothing (POSIX, fsync)."""
    synced, named = set[int](), dict[str, set[int]]()
    sync, rename = os.fsync, os.rename

    def note_sync(handle: int) -> None:
        sync(handle)
        synced.add(os.fstat(handle).st_ino)

    def note_name(source: Path, target: Path) -> None:
        named[Path(target).name] = set(synced)
        rename(source, target)
        synced.discard(Path(target).parent.stat().st_ino)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_name)
    monkeypatch.setattr(os, "replace", note_name)
    part = tmp_path / "model.partial"
    (part / "tokenizer").mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer/vocab.txt"):
        (part / name).write_text(name)
    (tmp_path / "weights.part").write_text("w")
    name_folder_whole(part, tmp_path / "model")
    name_whole(tmp_path / "weights.part", tmp_path / "weights")
    copy_whole(tmp_path / "weights", tmp_path / "copy")
    write_whole(tmp_path / "run.json", "{}")
    assert named.keys() == {"model", "weights", "copy", "run.json"}
    for name, safe in named.items():
        below = [tmp_path / name, *(tmp_path / name).rglob("*")]
        assert {path.stat().st_ino for path in below} <= safe, name
    assert tmp_path.stat().st_ino in synced
