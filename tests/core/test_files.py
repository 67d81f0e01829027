import os
import stat
from pathlib import Path

import pytest

from core.files import keep_private


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
