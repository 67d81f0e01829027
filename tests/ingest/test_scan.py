import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Choice, FileError, KnownFailure, KnownFile
from ingest.scan import Past, Plan, check_folder, hash_file, plan
from ingest.wanted import chosen

Write = Callable[[str, str], Path]
LONG_AGO = 1_000_000_000


def any_file(name: str) -> bool:
    return True


def planned(
    folder: Path,
    known: Iterable[KnownFile] = (),
    only: Iterable[str] | None = None,
    failures: Mapping[str, KnownFailure] | None = None,
    **settings: Any,
) -> Plan:
    def below(top: str) -> list[KnownFile]:
        inside = [file for file in known if not top or file.path == top or file.path.startswith(f"{top}/")]
        return sorted(inside, key=lambda file: file.path)

    return plan(folder, IngestConfig.model_validate(settings), any_file, below, Past(failures or {}), only=only)


def skipped(plan: Plan) -> list[tuple[str, str]]:
    """What a plan leaves out, and why, beside what the settings exclude."""
    return [(file.path, file.error) for file in plan.skipped if file.error != "left out by ingest.exclude"]


def paths(folder: Path, **settings: Any) -> list[str]:
    return [entry.path for entry in planned(folder, **settings).added]


def known(folder: Path) -> list[KnownFile]:
    """The folder as a catalog would know it after a run, checked well after the files were written."""
    added = planned(folder).added
    later = max(e.ctime_ns for e in added) + 10 * LONG_AGO
    return [
        KnownFile(i, e.path, e.size, e.mtime_ns, e.ctime_ns, hash_file(folder / e.path), later)
        for i, e in enumerate(added)
    ]


@pytest.fixture
def folder(write: Write) -> Path:
    for name in ("b.md", "a/x.md", "a/.hidden/y.md", ".dot.md", "node_modules/lib.md", "~$lock.docx", "c.tmp"):
        write(name, f"content of {name}")
    return write("z.md", "z").parent


def test_files_come_in_order_without_hidden_and_excluded_ones(folder: Path) -> None:
    assert paths(folder) == ["a/x.md", "b.md", "z.md"]


def test_hidden_files_are_read_on_request(folder: Path) -> None:
    assert {".dot.md", "a/.hidden/y.md"} <= set(paths(folder, hidden=True))


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (["**/*.md"], [], ["a/x.md", "b.md", "node_modules/lib.md", "z.md"]),
        (["*.md"], [], ["b.md", "z.md"]),
        (["a/**"], [], ["a/x.md"]),
        (["**/*"], ["a/**", "node_modules/**", "?.tmp", "~*"], ["b.md", "z.md"]),
    ],
)
def test_patterns_choose_what_is_read(folder: Path, include: list[str], exclude: list[str], left: list[str]) -> None:
    assert paths(folder, include=include, exclude=exclude) == left


def test_files_without_a_reader_are_listed_with_the_reason(folder: Path) -> None:
    (folder / "song.mp3").write_bytes(b"x")
    result = plan(folder, IngestConfig(), lambda name: name.endswith(".md"), lambda top: [])
    assert skipped(result) == [("song.mp3", "no reader for '.mp3'")]


def test_what_the_settings_leave_out_is_told_with_the_reason_a_folder_once(folder: Path) -> None:
    os.makedirs(folder / "a" / "node_modules" / "deep")
    (folder / "a" / "node_modules" / "deep" / "x.md").write_text("x")
    result = planned(folder, include=["**/*.md", "a/**"], exclude=["**/node_modules/**", "**/*.tmp"])
    told = {file.path: file.error for file in result.skipped}
    assert told["a/node_modules/"] == told["c.tmp"] == "left out by ingest.exclude"
    assert "a/node_modules/deep/x.md" not in told
    assert told["~$lock.docx"] == "not named by ingest.include"
    assert not [path for path in told if path.split("/")[-1].startswith(".")]  # what is hidden is hidden here too
    assert all(file.hint for file in result.skipped)


def test_a_file_that_somebody_chose_to_leave_out_is_not_read_and_goes_where_it_was(folder: Path) -> None:
    choices = {"b.md": Choice(left_out=True), "a/x.md": Choice(ocr_pages=(2, 3))}
    known = KnownFile(7, "b.md", 1, 0, 0, "hash", LONG_AGO)
    found = plan(folder, IngestConfig(), any_file, lambda top: [known], Past(choices=choices))
    assert [file.id for file in found.deleted] == [7]
    assert "b.md" not in [entry.path for entry in found.added]
    assert ("b.md", "left out: somebody chose so") in skipped(found)
    assert {entry.path: entry.ocr_pages for entry in found.added} == {"a/x.md": (2, 3), "z.md": ()}


def test_links_are_skipped_unless_asked_for_and_a_loop_ends(folder: Path) -> None:
    os.symlink(folder / "b.md", folder / "link.md")
    os.symlink(folder, folder / "a" / "loop")
    assert [path for path, _ in skipped(planned(folder))] == ["link.md", "a/loop"]
    follow = planned(folder, follow_symlinks=True)
    assert "link.md" in [e.path for e in follow.added]
    assert [path for path, _ in skipped(follow)] == ["a/loop"]


def test_pipes_and_sockets_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    assert skipped(planned(folder)) == [("pipe.md", "not a regular file")]


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
    result = planned(folder, before)
    assert (result.unchanged, result.empty) == (3, True)


def test_a_file_written_right_before_its_last_check_is_hashed_again(folder: Path) -> None:
    racy = [file._replace(checked_ns=file.ctime_ns + 1, hash="what it was") for file in known(folder)]
    assert len(planned(folder, racy).changed) == 3


def test_changes_moves_copies_and_deletions_are_told_apart(folder: Path, write: Write) -> None:
    before = known(folder)
    write("b.md", "new content")
    (folder / "a" / "x.md").rename(folder / "a" / "moved.md")
    write("copy-of-z.md", "z")
    result = planned(folder, before)
    assert [(o.path, n.path) for o, n in result.changed] == [("b.md", "b.md")]
    assert [(o.path, n.path) for o, n in result.moved] == [("a/x.md", "a/moved.md")]
    assert [e.path for e in result.added] == ["copy-of-z.md"]
    assert (result.deleted, result.unchanged) == ([], 1)


def test_the_same_content_with_a_new_time_stamp_is_only_touched(folder: Path) -> None:
    before = known(folder)
    os.utime(folder / "b.md", ns=(LONG_AGO, LONG_AGO))
    result = planned(folder, before)
    assert [e.path for _, e in result.touched] == ["b.md"]
    assert (result.unchanged, result.empty) == (3, True)


def test_a_file_that_replaces_another_is_a_move_also_in_a_chain(folder: Path) -> None:
    before = known(folder)
    (folder / "z.md").rename(folder / "end.md")
    (folder / "b.md").rename(folder / "z.md")
    (folder / "a" / "x.md").rename(folder / "b.md")
    result = planned(folder, before)
    assert [(o.path, n.path) for o, n in result.moved] == [("z.md", "end.md"), ("b.md", "z.md"), ("a/x.md", "b.md")]
    assert (result.added, result.changed, result.deleted) == ([], [], [])
    (folder / "end.md").rename(folder / "z.md")
    result = planned(folder, before)
    assert [(o.path, n.path) for o, n in result.moved] == [("a/x.md", "b.md")]
    assert [file.path for file in result.deleted] == ["b.md"]


def test_a_folder_that_cannot_be_listed_does_not_delete_what_was_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known(folder)
    scandir = os.scandir

    def closed(path: object) -> object:
        if os.fspath(path).endswith("/a"):  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", closed)
    result = planned(folder, before)
    assert (result.deleted, result.unchanged) == ([], 2)
    assert [(f.path, f.error) for f in result.failed] == [("a", "no permission to read")]


def test_a_file_that_failed_is_not_tried_again_until_it_changes(folder: Path) -> None:
    b = next(file for file in known(folder) if file.path == "b.md")
    failure = KnownFailure("b.md", b.size, b.mtime_ns, b.ctime_ns, b.checked_ns, "damaged", "restore it", "readers 1")
    result = planned(folder, failures={"b.md": failure})
    assert [(f.path, f.error, f.hint) for f in result.failed] == [("b.md", "damaged", "restore it")]
    assert "b.md" not in [e.path for e in result.added]
    (folder / "b.md").write_text("mended")
    assert "b.md" in [e.path for e in planned(folder, failures={"b.md": failure}).added]


def test_a_comparison_of_some_paths_leaves_the_others_alone(folder: Path, write: Write) -> None:
    before = known(folder)
    write("b.md", "changed")
    write("z.md", "changed too")
    write("a/new.md", "new")
    write(".secret/c.md", "hidden")
    write("node_modules/d.md", "excluded")
    shutil.rmtree(folder / "a")
    write("a", "now a file")
    result = planned(folder, before, only=["a", "a/new.md", "b.md", ".secret/c.md", "node_modules/d.md", "none.md"])
    assert [e.path for e in result.added] == ["a"]
    assert [e.path for _, e in result.changed] == ["b.md"]
    assert [file.path for file in result.deleted] == ["a/x.md"]
    assert planned(folder, before, only=["z.md"]).unchanged == 0


def test_one_folder_is_kept_apart(folder: Path) -> None:
    result = plan(folder, IngestConfig(), any_file, lambda top: [], apart=folder / "a")
    assert [e.path for e in result.added] == ["b.md", "z.md"]


def test_paths_come_in_the_order_in_which_a_catalog_sorts_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    for _ in range(200):
        name = "/".join(
            "".join(rng.choice("ab-.中z ") for _ in range(rng.randint(1, 4))) for _ in range(rng.randint(1, 3))
        )
        target = tmp_path / "tree" / name.replace("..", "x")
        if not any(parent.is_file() for parent in target.parents) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
    found = paths(tmp_path / "tree", hidden=True)
    assert len(found) > 100
    assert found == sorted(found)
    assert [p.encode() for p in found] == sorted(p.encode() for p in found)


def test_an_entry_says_when_it_was_seen(folder: Path) -> None:
    entry = planned(folder).added[0]
    assert entry.seen_ns >= entry.ctime_ns


def test_a_file_that_gets_another_suffix_is_read_anew(folder: Path) -> None:
    before = known(folder)
    (folder / "a" / "x.md").rename(folder / "a" / "x.txt")
    result = planned(folder, before)
    assert [entry.path for entry in result.added] == ["a/x.txt"]
    assert [old.path for old in result.deleted] == ["a/x.md"]
    assert result.moved == []


_NAMES = st.sampled_from(["a", "b.md", ".c", "年", "a b"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_GLOBS = st.lists(st.sampled_from(["a", "**/a", "a/**", "*.md", "**/*.md", "年", "**/年/*", "?", "**"]), max_size=2)


@given(wanted=st.sets(_PATHS, max_size=8), include=_GLOBS, exclude=_GLOBS, hidden=st.booleans())
def test_what_is_chosen_by_its_path_is_what_the_walk_over_a_folder_finds(
    wanted: set[str], include: list[str], exclude: list[str], hidden: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("walk")
    files = {path for path in wanted if not any(other.startswith(path + "/") for other in wanted)}
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    settings: dict[str, Any] = {"include": include or ["**/*"], "exclude": exclude, "hidden": hidden}
    is_chosen = chosen(IngestConfig.model_validate(settings))
    assert sorted(paths(folder, **settings)) == sorted(filter(is_chosen, files))


def test_what_never_came_is_not_deleted_and_what_lies_below_its_name_is(folder: Path) -> None:
    before = Plan(failed=[FileError("z.md", "refused"), FileError("a", "refused")])
    was = known(folder)
    (folder / "z.md").unlink()
    (folder / "a/x.md").unlink()
    found = plan(folder, IngestConfig(), any_file, lambda _: was, before=before)
    assert [file.path for file in found.deleted] == ["a/x.md"]
    assert [error.path for error in found.failed] == ["z.md", "a"]
