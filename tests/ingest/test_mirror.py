"""A mirror says what the bucket says, whatever its server and whoever names its objects make of it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.config import IngestConfig
from core.errors import CatalogError, ReadError
from core.sources import mirror, place
from ingest import mirror as module
from ingest.bucket import Bucket
from ingest.mirror import discard, holds_some, refresh
from ingest.scan import Plan
from tests.s3_stub import Stub, speaking

SOURCE = "s3://papers"


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    with speaking() as stub:
        yield stub


@pytest.fixture
def stub(server: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    server.pages, server.ends_after, server.asked = [], 1_000, []
    server.cut, server.refused, server.sizes, server.token = set(), {}, {}, None
    return server


def refreshed(home: Path, cfg: IngestConfig | None = None, source: str = SOURCE) -> Plan:
    return refresh(home, source, cfg or IngestConfig(), lambda *_: None)


def files(home: Path, source: str = SOURCE) -> dict[str, bytes]:
    objects = place(home, source)
    return {str(f.relative_to(objects)): f.read_bytes() for f in objects.rglob("*") if f.is_file()}


def test_keys_that_are_no_paths_are_told_and_touch_nothing(stub: Stub, tmp_path: Path) -> None:
    hostile = [
        "../x.md", "../../../x.md", "a/../../x.md", "/etc/x.md", "a//b.md", "a/./b.md", "..", ".", "a/..", "n\0l.md",
        "//", "/",
    ]  # fmt: skip
    stub.pages = [dict.fromkeys([*hostile, "good.md"], b"text"), {"a/": b"", "": b"", "line\nfeed.md": b"text"}]
    home = tmp_path / "data" / "kb"
    home.mkdir(parents=True)
    plan = refreshed(home)
    told = [each for each in hostile if not each.endswith("/")]
    assert sorted(error.path for error in plan.failed) == sorted(told)
    assert files(home) == {"good.md": b"text", "line\nfeed.md": b"text"}
    everything = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()}
    assert all(name.startswith("data/kb/s3/") for name in everything)
    assert sorted(stub.asked) == ["good.md", "line\nfeed.md"]  # what has no path is not even asked for


def test_names_that_differ_in_case_or_form_only_are_kept_apart_or_told(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["A.md", "a.md", "caf\u00e9.md", "cafe\u0301.md", "Dir/x.md", "dir/y.md"]
    stub.pages = [{name: name.encode() for name in names}]
    if not module.folds(tmp_path / "objects"):
        assert refreshed(tmp_path).failed == []
        assert files(tmp_path) == stub.pages[0]
    monkeypatch.setattr(module, "folds", lambda _: True)
    plan = refreshed(tmp_path)
    assert sorted(error.path for error in plan.failed) == ["a.md", "caf\u00e9.md", "dir/y.md"]
    assert sorted(files(tmp_path)) == ["A.md", "Dir/x.md", "cafe\u0301.md"]


def test_a_key_that_is_a_folder_too_is_told_and_the_folder_is_read(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{"a.md": b"file"}]
    refreshed(tmp_path)
    stub.pages = [{"a.md": b"file", "a.md/b.md": b"below"}]
    plan = refreshed(tmp_path)
    assert [error.path for error in plan.failed] == ["a.md"]
    assert files(tmp_path) == {"a.md/b.md": b"below"}
    stub.pages = [{"a.md": b"file"}]
    assert refreshed(tmp_path).failed == []
    assert files(tmp_path) == {"a.md": b"file"}


def test_a_name_too_long_for_the_disk_fails_alone(stub: Stub, tmp_path: Path) -> None:
    long = "x" * 300 + ".md"
    stub.pages = [{long: b"text", "good.md": b"text"}]
    plan = refreshed(tmp_path)
    assert [(error.path, error.error) for error in plan.failed] == [(long, "the path is too long for this system")]
    assert files(tmp_path) == {"good.md": b"text"}
    assert [error.known for error in refreshed(tmp_path).failed] == [True]


def test_a_listing_that_breaks_off_removes_and_downloads_nothing(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{"a.md": b"a"}, {"b.md": b"b"}]
    refreshed(tmp_path)
    stub.pages, stub.ends_after, stub.asked = [{"new.md": b"n"}, {"b.md": b"b"}], 1, []
    with pytest.raises(ReadError, match="its server answers InternalError") as error:
        refreshed(tmp_path)
    assert "words of a server" not in str(error.value)
    assert files(tmp_path) == {"a.md": b"a", "b.md": b"b"}
    assert stub.asked == []


@pytest.mark.parametrize("token", ["", "0"])
def test_a_listing_that_would_never_end_is_no_listing(stub: Stub, tmp_path: Path, token: str) -> None:
    stub.pages, stub.token = [{"a.md": b"a"}, {"b.md": b"b"}], token
    with pytest.raises(ReadError, match="what answers there does not speak S3"):
        refreshed(tmp_path)
    assert stub.asked == []


def test_a_run_that_is_killed_at_any_write_is_made_good_by_the_next(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {f"{n}.md": b"old" for n in range(4)} | {"gone.md": b"gone"}
    new = {f"{n}.md": b"new" for n in range(1, 4)} | {"0.md/below.md": b"new"}

    class Killed(BaseException):
        pass

    stub.pages, bucket = [old], Bucket(SOURCE)
    monkeypatch.setattr(module, "Bucket", lambda _: bucket)
    refreshed(tmp_path / "before")
    for deadline in range(100):
        home, left = tmp_path / str(deadline), iter(range(deadline))

        def at_each(work: Any, left: Iterator[int] = left) -> Any:
            def counted(*arguments: Any, **named: Any) -> Any:
                if next(left, None) is None:
                    raise Killed
                return work(*arguments, **named)

            return counted

        shutil.copytree(tmp_path / "before", home)
        stub.pages, finished = [new], False
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir"), (os, "fsync")):
                patch.setattr(owner, name, at_each(getattr(owner, name)))
            with suppress(Killed):
                refreshed(home)
                finished = True
        assert set(files(home).values()) <= {b"old", b"new", b"gone"}  # each is whole
        assert refreshed(home).failed == []
        assert files(home) == new
        if finished:
            assert deadline > 10
            return
    pytest.fail("the run has more than 100 writes")


def test_an_object_that_breaks_off_or_is_refused_fails_alone_and_keeps_what_was(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{"a.md": b"old", "b.md": b"old", "c.md": b"old"}]
    refreshed(tmp_path)
    stub.pages = [{"a.md": b"new", "b.md": b"new", "c.md": b"new"}]
    stub.cut, stub.refused = {"a.md"}, {"b.md": "AccessDenied"}
    plan = refreshed(tmp_path)
    assert {error.path: error.error for error in plan.failed} == {
        "a.md": "its server breaks off before its end", "b.md": "cannot be downloaded (AccessDenied)"
    }  # fmt: skip
    assert files(tmp_path) == {"a.md": b"old", "b.md": b"old", "c.md": b"new"}
    stub.cut, stub.refused, stub.asked = set(), {}, []
    assert refreshed(tmp_path).failed == []
    assert files(tmp_path) == stub.pages[0]
    assert sorted(stub.asked) == ["a.md", "b.md"]


def test_a_key_that_expires_while_it_downloads_ends_the_run_and_not_each_object(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{f"{n:02}.md": b"text" for n in range(40)}]
    stub.refused = {"20.md": "ExpiredToken"}
    with pytest.raises(ReadError, match="the key has expired"):
        refreshed(tmp_path)
    assert sorted(files(tmp_path)) == [f"{n:02}.md" for n in range(16)]  # the first that were asked for at once
    stub.refused, stub.asked = {}, []
    refreshed(tmp_path)
    assert sorted(stub.asked) == [f"{n:02}.md" for n in range(16, 40)]
    assert len(files(tmp_path)) == 40


def test_an_object_larger_than_it_was_listed_is_no_larger_here(stub: Stub, tmp_path: Path) -> None:
    stub.pages, stub.sizes = [{"a.md": b"x" * 1_100_000}], {"a.md": 10}
    plan = refreshed(tmp_path, IngestConfig(max_file_mb=1))
    assert [error.path for error in plan.failed] == ["a.md"]
    assert files(tmp_path) == {}


def test_a_huge_object_takes_neither_room_nor_time(stub: Stub, tmp_path: Path) -> None:
    stub.pages, stub.sizes = [{"a.md": b"x"}], {"a.md": 5 * 10**12}
    assert refreshed(tmp_path, IngestConfig(max_file_mb=1)).failed == []
    info = (place(tmp_path, SOURCE) / "a.md").stat()
    assert (info.st_size, info.st_blocks, stub.asked) == (100_000_000, 0, [])


def test_what_does_not_fit_the_disk_is_told_before_anything_is_downloaded(stub: Stub, tmp_path: Path) -> None:
    stub.pages, stub.sizes = [{"a.md": b"x"}], {"a.md": 10**15}
    with pytest.raises(ReadError, match="MB in the data folder, whose disk has"):
        refreshed(tmp_path, IngestConfig(max_file_mb=10**10))
    assert stub.asked == []


def test_a_full_disk_is_told_as_such_and_leaves_whole_files(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.pages = [{f"{n:02}.md": b"text" for n in range(20)}]
    replace, count = Path.replace, iter(range(100))

    def full(self: Path, target: Path) -> Path:
        if next(count) == 18:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ReadError, match="could not be written to the data folder: No space left"):
            refreshed(tmp_path)
    assert set(files(tmp_path).values()) == {b"text"}
    assert len(files(tmp_path)) == 18
    refreshed(tmp_path)
    assert files(tmp_path) == stub.pages[0]
    assert not (mirror(tmp_path, SOURCE) / "parts").exists()


def test_two_processes_do_not_download_at_once(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.pages = [{"a.md": b"a"}]
    monkeypatch.setattr(module, "_LOCK_S", 0.0)

    def meanwhile(stage: str, done: int, total: int) -> None:
        with pytest.raises(CatalogError, match="another process is downloading"):
            refreshed(tmp_path)

    refresh(tmp_path, SOURCE, IngestConfig(), meanwhile)
    assert files(tmp_path) == stub.pages[0]


def test_files_have_the_times_of_their_objects_and_are_nobody_elses(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{"a.md": b"a"}]
    refreshed(tmp_path)
    assert (place(tmp_path, SOURCE) / "a.md").stat().st_mtime == 1767323045  # 2026-01-02 03:04:05 UTC


def test_a_mirror_is_discarded_and_documents_are_looked_for(stub: Stub, tmp_path: Path) -> None:
    stub.pages = [{"a.md": b"a"}]
    refreshed(tmp_path)
    assert holds_some(SOURCE, {"a.md", "b.md"})
    assert not holds_some(SOURCE, {"b.md"})
    discard(tmp_path, SOURCE)
    assert not mirror(tmp_path, SOURCE).exists()


def test_a_server_that_breaks_is_told_by_its_code_alone(stub: Stub) -> None:
    stub.ends_after = 0
    with pytest.raises(ReadError, match="its server answers InternalError") as error:
        Bucket(SOURCE).listed()
    assert "words of a server" not in str(error.value)
