import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ReadError
from core.sections import IngestConfig
from core.sources import mirror, place
from ingest import pages
from ingest.pages import Asking
from ingest.scan import Plan
from tests.site import Site, running

CFG = IngestConfig()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running(monkeypatch) as made:
        yield made


def had(home: Path, source: str, asking: Asking | None = "now", cfg: IngestConfig = CFG) -> Plan:
    return pages.refresh(home, source, cfg, asking)


def files(home: Path, source: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in place(home, source).iterdir()}


def test_a_page_is_one_file_named_after_its_address_and_what_it_is(site: Site, tmp_path: Path) -> None:
    site.says("/hr/annual%20leave.php?id=7", "26 days", **{"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
    source = site.at("/hr/annual%20leave.php?id=7")
    assert had(tmp_path, source) == Plan()
    assert list(files(tmp_path, source)) == ["annual leave.html"]
    assert (place(tmp_path, source) / "annual leave.html").stat().st_mtime == 1445412480
    assert sorted(each.name for each in mirror(tmp_path, source).iterdir() if each.name != "lock") == [
        "known.json", "objects"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "site.example.html"), ("/a/", "a.html"), ("/v/3.12", "3.12.html"),
        ("/..%2F..%2Fetc%2Fpasswd", "etcpasswd.html"),
        ("/%2E%2E", "site.example.html"), ("/.hidden", "hidden.html"), ("/%00%0A%E2%80%AEx", "x.html"),
        ("/" + "%E5%B9%B4" * 300, "年" * 60 + ".html"), ("/%FF%FE", "\ufffd\ufffd.html"),
    ],
)  # fmt: skip
def test_a_hostile_address_names_a_harmless_file(site: Site, tmp_path: Path, path: str, name: str) -> None:
    site.says(path, "x")
    had(tmp_path, site.at(path))
    (found,) = files(tmp_path, site.at(path))
    assert found == name
    assert {file.name for file in tmp_path.iterdir()} == {"web"}


def test_an_unchanged_page_is_not_written_again_and_a_changed_one_is(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one", ETag='"1"')
    had(tmp_path, source)
    before = (place(tmp_path, source) / "a.html").stat()
    had(tmp_path, source)
    assert site.asked[-1][1]["If-None-Match"] == '"1"'
    site.says("/a", "one", ETag='"2"')  # another version by its name, which says the same
    had(tmp_path, source)
    after = (place(tmp_path, source) / "a.html").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    site.says("/a", "two", ETag='"3"')
    had(tmp_path, source)
    assert b"two" in files(tmp_path, source)["a.html"]


def test_a_copy_that_was_lost_or_damaged_is_had_anew(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one", ETag='"1"')
    had(tmp_path, source)
    whole = files(tmp_path, source)
    (place(tmp_path, source) / "a.html").write_text("cut")
    (place(tmp_path, source) / "stray.html").write_text("nobody put this there")
    (mirror(tmp_path, source) / "known.json").chmod(0o600)
    had(tmp_path, source)
    assert files(tmp_path, source) == whole
    (mirror(tmp_path, source) / "known.json").write_text(json.dumps({"name": "../../../etc/passwd"}))
    had(tmp_path, source)
    assert files(tmp_path, source) == whole


def test_what_cannot_be_had_is_told_once_as_new_and_the_old_copy_stays(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one")
    had(tmp_path, source)
    whole = files(tmp_path, source)
    site.pages["/a"] = (302, {"Location": f"http://127.0.0.1:{site.port}/in"}, b"")
    told = [had(tmp_path, source).failed for _ in range(2)]
    assert [[(row.path, row.known) for row in rows] for rows in told] == [[(source, False)], [(source, True)]]
    assert "not on the public network" in told[0][0].error
    assert "/in" not in [path for path, _ in site.asked]
    assert files(tmp_path, source) == whole
    site.says("/a", "two")
    assert had(tmp_path, source) == Plan()


def test_a_page_that_never_came_is_an_error(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ReadError, match="status 404"):
            had(tmp_path, site.at("/none"))


@pytest.mark.parametrize("source", ["http://[x", "https://", "http://me:hidden@site.example/", "http://a:b/"])
def test_what_a_catalog_from_elsewhere_names_and_is_no_address_is_an_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(ReadError, match=r"no web address|a password"):
        had(tmp_path, source)


def test_a_page_that_is_gone_leaves_no_file_and_may_come_back(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one", ETag='"1"')
    had(tmp_path, source)
    site.pages["/a"] = (410, {}, b"")
    assert had(tmp_path, source) == Plan()
    assert files(tmp_path, source) == {}
    assert "status 410" in had(tmp_path, source).failed[0].error  # from now on it is told
    site.says("/a", "one", ETag='"1"')
    assert had(tmp_path, source) == Plan()
    assert list(files(tmp_path, source)) == ["a.html"]


def test_a_page_of_another_format_takes_the_place_of_the_one_before(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one")
    had(tmp_path, source)
    site.pages["/a"] = (200, {"Content-Type": "text/plain"}, b"two")
    had(tmp_path, source)
    assert files(tmp_path, source) == {"a.txt": b"two"}


def test_a_page_that_is_due_is_asked_for_and_one_that_failed_sooner(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, day = site.at("/a"), 86_400.0
    monkeypatch.setattr(pages.time, "time", lambda: clock[0])
    site.says("/a", "one")
    asked = list[int]()
    clock = [1e9]
    for clock[0], broken in ((1e9, False), (1e9 + day - 1, False), (1e9 + day, True), (1e9 + day + 3599, True),
                        (1e9 + day + 3600, False), (1e9 + 2 * day, False)):  # fmt: skip
        if broken:
            site.pages["/a"] = (500, {}, b"")
        else:
            site.says("/a", "one")
        had(tmp_path, source, "due")
        asked.append(site.times("/a"))
    assert asked == [1, 1, 2, 2, 3, 3]


def test_while_pages_are_switched_off_none_is_asked_for(site: Site, tmp_path: Path) -> None:
    source = site.at("/a")
    site.says("/a", "one")
    for asking in ("off", None):
        with pytest.raises(ReadError):
            had(tmp_path, source, asking)
    assert site.asked == []
    had(tmp_path, source)
    asked = len(site.asked)
    assert had(tmp_path, source, None) == Plan()
    assert "app.web_pages is off" in had(tmp_path, source, "off").failed[0].error
    assert len(site.asked) == asked
    assert list(files(tmp_path, source)) == ["a.html"]


def test_a_page_larger_than_the_limit_is_told(site: Site, tmp_path: Path) -> None:
    site.says("/a", "x" * 1_000_001)
    with pytest.raises(ReadError, match="larger than 1 MB"):
        had(tmp_path, site.at("/a"), "now", IngestConfig(max_file_mb=1))


def test_pages_of_one_host_are_asked_for_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(pages.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(pages.time, "sleep", waited.append)
    monkeypatch.setattr(pages, "_asked", {})
    for host in ("a.example", "a.example", "b.example", "a.example"):
        pages._wait(host)
    assert waited == [1.0, 2.0]
