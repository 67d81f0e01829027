"""Looking for a folder tells the names of folders and nothing else; what is in one is counted by kind."""

from pathlib import Path

import pytest

from app.keeping.picking import Kind, around, kinds, starts
from core.config import AppConfig
from core.errors import ReadError
from core.types import FileEntry


def test_a_place_tells_the_names_of_folders_and_no_file_link_or_hidden_one(tmp_path: Path) -> None:
    for name in ("b", "a", ".git", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret.txt").write_text("x", "utf-8")
    (tmp_path / "to-a").symlink_to(tmp_path / "a")
    found = around(tmp_path, tmp_path / "data")
    assert (found.path, found.above, found.folders, found.more) == (tmp_path, tmp_path.parent, ("a", "b"), 0)
    assert around(tmp_path / "to-a", tmp_path / "data").path == tmp_path / "a"
    assert around(Path("/"), tmp_path).above is None


def test_of_a_great_many_folders_some_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for number in range(203):
        (tmp_path / f"{number:03}").mkdir()
    found = around(tmp_path, tmp_path / "data")
    assert (len(found.folders), found.more) == (200, 3)


@pytest.mark.parametrize("path", ["absent", "file.txt", "a\0b", "x" * 5000], ids=["absent", "file", "nul", "long"])
def test_what_is_no_folder_is_one_message(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").write_text("x", "utf-8")
    with pytest.raises(ReadError, match="cannot be opened"):
        around(tmp_path / path, tmp_path)


def test_one_begins_in_the_named_folders_that_are_there_and_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").mkdir()
    cfg = AppConfig(folders=[str(tmp_path / "docs"), str(tmp_path / "gone"), str(tmp_path)])
    assert starts(cfg) == [tmp_path / "docs", tmp_path]


def test_files_are_counted_by_their_endings_the_heaviest_first() -> None:
    files = [FileEntry(path, size, 0, 0, 0) for path, size in (("a.PDF", 5), ("b/c.pdf", 7), ("d.md", 20), ("e", 1))]
    assert kinds(files) == [Kind(".md", 1, 20), Kind(".pdf", 2, 12), Kind("", 1, 1)]
