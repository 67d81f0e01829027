import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import FileError, KnownFile
from ingest.scan import check_folder, plan, scan

Write = Callable[[str, str], Path]
LONG_AGO = 1_000_000_000


def any_file(name: str) -> bool:
    return True


def paths(folder: Path, **settings: object) -> list[str]:
    return [e.path for e in scan(folder, IngestConfig.model_validate(settings), any_file).files]


def known(folder: Path) -> list[KnownFile]:
    """The folder as a catalog would know it after a run, checked well after the files were written."""
    result = plan(folder, scan(folder, IngestConfig(), any_file), [])
    later = max(e.ctime_ns for e in result.added) + 10 * LONG_AGO
    return [KnownFile(i, e.path, e.size, e.mtime_ns, e.ctime_ns, e.hash, later) for i, e in enumerate(result.added)]


@pytest.fixture
def folder(write: Write) -> Path:
    for name in ("b.md", "a/x.md", "a/.hidden/y.md", ".dot.md", "node_modules/lib.md", "~$lock.docx", "c.tmp"):
        write(name, f"content of {name}")
    return write("z.md", "z").parent


def test_files_come_in_order_without_hidden_and_excluded_ones(folder: Path) -> None:
    assert paths(folder) == ["b.md", "z.md", "a/x.md"]


def test_hidden_files_are_read_on_request(folder: Path) -> None:
    assert {".dot.md", "a/.hidden/y.md"} <= set(paths(folder, hidden=True))


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (["**/*.md"], [], ["b.md", "z.md", "a/x.md", "node_modules/lib.md"]),
        (["*.md"], [], ["b.md", "z.md"]),
        (["a/**"], [], ["a/x.md"]),
        (["**/*"], ["a/**", "node_modules/**", "?.tmp", "~*"], ["b.md", "z.md"]),
        ([], [], []),
    ],
)
def test_patterns_choose_what_is_read(folder: Path, include: list[str], exclude: list[str], left: list[str]) -> None:
    assert paths(folder, include=include, exclude=exclude) == left


def test_files_without_a_reader_are_listed_with_the_reason(folder: Path) -> None:
    result = scan(folder, IngestConfig(), lambda name: name.endswith(".md"))
    assert [s.path for s in result.skipped] == []
    (folder / "song.mp3").write_bytes(b"x")
    result = scan(folder, IngestConfig(), lambda name: name.endswith(".md"))
    assert [(s.path, s.error) for s in result.skipped] == [("song.mp3", "no reader for '.mp3'")]


def test_links_are_skipped_unless_asked_for_and_a_loop_ends(folder: Path) -> None:
    os.symlink(folder / "b.md", folder / "link.md")
    os.symlink(folder, folder / "a" / "loop")
    assert [s.path for s in scan(folder, IngestConfig(), any_file).skipped] == ["link.md", "a/loop"]
    follow = scan(folder, IngestConfig(follow_symlinks=True), any_file)
    assert "link.md" in [e.path for e in follow.files]
    assert [s.path for s in follow.skipped] == ["a/loop"]


def test_pipes_and_sockets_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    assert [(s.path, s.error) for s in scan(folder, IngestConfig(), any_file).skipped] == [
        ("pipe.md", "not a regular file")
    ]


def test_folders_that_cannot_be_scanned_are_named(folder: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        check_folder(folder / "none")
    with pytest.raises(ReadError, match="is a file"):
        check_folder(folder / "b.md")


def test_an_unchanged_folder_is_not_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = known(folder)

    def forbidden(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("ingest.scan.hash_file", forbidden)
    result = plan(folder, scan(folder, IngestConfig(), any_file), before)
    assert (result.unchanged, result.empty) == (3, True)


def test_a_file_written_right_before_its_last_check_is_hashed_again(folder: Path) -> None:
    racy = [replace(file, checked_ns=file.ctime_ns + 1, hash="what it was") for file in known(folder)]
    assert len(plan(folder, scan(folder, IngestConfig(), any_file), racy).changed) == 3


def test_changes_moves_copies_and_deletions_are_told_apart(folder: Path, write: Write) -> None:
    before = known(folder)
    write("b.md", "new content")
    (folder / "a" / "x.md").rename(folder / "a" / "moved.md")
    write("copy-of-z.md", "z")
    result = plan(folder, scan(folder, IngestConfig(), any_file), before)
    assert [(o.path, n.path) for o, n in result.changed] == [("b.md", "b.md")]
    assert [(o.path, n.path) for o, n in result.moved] == [("a/x.md", "a/moved.md")]
    assert [e.path for e in result.added] == ["copy-of-z.md"]
    assert (result.deleted, result.unchanged) == ([], 1)


def test_the_same_content_with_a_new_time_stamp_is_only_touched(folder: Path) -> None:
    before = known(folder)
    os.utime(folder / "b.md", ns=(LONG_AGO, LONG_AGO))
    result = plan(folder, scan(folder, IngestConfig(), any_file), before)
    assert [e.path for _, e in result.touched] == ["b.md"]
    assert (result.unchanged, result.empty) == (3, True)


def test_a_folder_that_cannot_be_listed_does_not_delete_what_was_in_it(folder: Path) -> None:
    before = known(folder)
    result = scan(folder, IngestConfig(), any_file)
    result.files[:] = [e for e in result.files if not e.path.startswith("a/")]
    result.errors.append(FileError("a", "no permission to read", "chmod"))
    assert plan(folder, result, before).deleted == []


def test_an_entry_says_when_it_was_seen(folder: Path) -> None:
    entry = scan(folder, IngestConfig(), any_file).files[0]
    assert entry.seen_ns >= entry.ctime_ns
