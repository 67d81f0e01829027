"""A page of the web as a source: all that holds for a folder, against a real server on loopback."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.answering.exported import Written, as_markdown
from app.keeping.folders import add_folder, folders_of, remove_folder, shower
from app.keeping.index import Report, chunker, run
from app.keeping.plan import forecast
from app.keeping.watch import follow
from app.running.audit import entries
from app.running.bases import Bases
from app.running.library import read_again
from app.upkeep.backup import backup
from app.upkeep.purge import purge
from app.upkeep.restore import restore
from core.config import Config
from core.errors import AccessError, ConfigError, ReadError
from core.sources import mirror
from core.types import Source
from prompts.context import cite
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
from tests.app.commands.test_manage import Cli
from tests.site import Site, running


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running(monkeypatch) as made:
        made.says("/leave", "Annual leave is 25 days.", ETag='"1"')
        made.says("/leave/vpn", "Connect to vpn.lanting.example on port 8443.")
        yield made


def switched(cfg: Config, on: bool, **more: object) -> Config:
    return cfg.model_copy(update={"app": cfg.app.model_copy(update={"web_pages": on} | more)})


@pytest.fixture
def on(cfg: Config) -> Config:
    """The default configuration, with pages of the web switched on."""
    return switched(cfg, True)


def opened(cfg: Config, embedder: Embedder) -> Index:
    return Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.moved, report.deleted, report.unchanged


def test_no_page_is_followed_or_asked_for_by_default(site: Site, cfg: Config, embedder: Embedder) -> None:
    index = opened(cfg, embedder)
    with pytest.raises(ConfigError, match=r"app\.web_pages is off") as error:
        add_folder(cfg, index, site.at("/leave"), anywhere=True)
    assert "app.web_pages to true" in error.value.hint
    with pytest.raises(ConfigError, match=r"app\.web_pages is off"):
        run(cfg, "kb", [site.at("/leave")], embedder=embedder)
    assert (site.asked, index.catalog.folders()) == ([], [])


def test_editors_add_no_page_even_where_app_folders_names_it(site: Site, on: Config, embedder: Embedder) -> None:
    index = opened(on, embedder)
    allowing = switched(on, True, folders=[site.at("/leave"), site.at("/")])
    for cfg in (on, allowing, switched(allowing, False)):
        with pytest.raises(AccessError, match="only admins"):
            add_folder(cfg, index, site.at("/leave"), anywhere=False)
    assert site.asked == []
    assert add_folder(on, index, site.at("/leave").replace("http", "HTTP") + "#top", anywhere=True) == site.at("/leave")
    assert run(on, "kb", embedder=embedder).added == 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/x", "https://u:p@x.example/"]
)
def test_what_is_not_public_is_not_followed(on: Config, embedder: Embedder, address: str) -> None:
    index = opened(on, embedder)
    with pytest.raises(ReadError, match=r"not on the public network|a password"):
        add_folder(on, index, address, anywhere=True)
    assert index.catalog.folders() == []


def test_a_page_that_changed_is_read_again_and_one_that_is_gone_is_deleted(
    site: Site, on: Config, embedder: Embedder
) -> None:
    sources = [site.at("/leave"), site.at("/leave/vpn")]
    first = run(on, "kb", sources, embedder=embedder)
    assert (counts(first), first.failed) == ((2, 0, 0, 0, 0), [])
    assert counts(run(on, "kb", embedder=embedder)) == (0, 0, 0, 0, 2)
    site.says("/leave", "Annual leave is 27 days.", ETag='"2"')
    site.pages["/leave/vpn"] = (404, {}, b"")
    plan = forecast(on, "kb", embedder=embedder).plans
    assert [(len(plan[each].changed), len(plan[each].deleted)) for each in sources] == [(1, 0), (0, 1)]
    assert counts(run(on, "kb", embedder=embedder)) == (0, 1, 0, 1, 0)
    index = opened(on, embedder)
    hits = search(index, ["annual leave"], on.retrieval)
    assert [(hit.folder, hit.path, "27 days" in hit.text) for hit in hits] == [(sources[0], "leave.html", True)]


def test_a_failure_is_a_row_and_what_the_page_said_goes_on_answering(
    site: Site, on: Config, embedder: Embedder
) -> None:
    source = site.at("/leave")
    run(on, "kb", [source], embedder=embedder)
    site.pages["/leave"] = (302, {"Location": f"http://127.0.0.1:{site.port}/leave/vpn"}, b"")
    report = run(on, "kb", embedder=embedder)
    assert [(row.path, row.folder) for row in report.failed] == [(source, source)]
    assert "not on the public network" in report.failed[0].error
    assert counts(report) == (0, 0, 0, 0, 1)
    assert run(on, "kb", embedder=embedder).fresh == []
    asked = len(site.asked)
    report = run(switched(on, False), "kb", embedder=embedder)
    assert ("app.web_pages is off" in report.failed[0].error, counts(report)) == (True, (0, 0, 0, 0, 1))
    assert len(site.asked) == asked


def test_a_redirect_to_what_is_not_public_is_refused_the_first_time(site: Site, on: Config, embedder: Embedder) -> None:
    site.pages["/leave"] = (302, {"Location": f"http://127.0.0.1:{site.port}/leave/vpn"}, b"")
    bases = Bases(on)
    add_folder(on, bases.make("kb"), site.at("/leave"), anywhere=True)
    (row,) = bases.update("kb").failed
    assert "not on the public network" in row.error
    assert "/leave/vpn" not in [path for path, _ in site.asked]


def test_a_page_is_asked_for_by_the_app_and_read_again_without_asking(site: Site, on: Config) -> None:
    bases = Bases(on)
    source = add_folder(on, bases.make("kb"), site.at("/leave"), anywhere=True)
    assert bases.update("kb").added == 1
    asked = len(site.asked)
    assert read_again(bases, "kb", [(source, "leave.html")]).changed == 1
    assert len(site.asked) == asked


def test_a_page_is_shown_by_its_address() -> None:
    page, folder = "https://a.example/x", "/srv/docs"
    assert shower([page])(page, "x.html") == page
    shown = shower([page, folder])
    assert (shown(page, "x.html"), shown(folder, "a.md"), shown("", "b")) == (page, "docs/a.md", "b")


def test_watching_asks_for_a_page_when_it_is_due(site: Site, on: Config, embedder: Embedder) -> None:
    run(on, "kb", [site.at("/leave")], embedder=embedder)
    site.says("/leave", "Annual leave is 27 days.", ETag='"2"')
    stop, ingest = threading.Event(), on.ingest.model_copy(update={"rescan_minutes": 0.001})
    looked = list[int]()

    def in_step() -> None:
        looked.append(site.times("/leave"))
        if len(looked) == 3:
            stop.set()

    assert list(follow(opened(on, embedder), ingest, stop, in_step, lambda: "due")) == []
    assert looked[:3] == [1, 1, 1]  # a day is not over
    known = mirror(Path(on.app.data) / "kb", site.at("/leave")) / "known.json"
    known.write_text(json.dumps(json.loads(known.read_text()) | {"asked": 1e9}))  # long ago
    stop = threading.Event()
    reports = follow(opened(on, embedder), ingest, stop, pages=lambda: "due")
    assert next(reports).changed == 1
    stop.set()
    assert list(reports) == []


def test_what_was_fetched_goes_with_the_page_and_with_purge(site: Site, on: Config, embedder: Embedder) -> None:
    data, kept = Path(on.app.data), site.at("/leave/vpn")
    run(on, "kb", [site.at("/leave"), kept], embedder=embedder)
    index = opened(on, embedder)
    assert remove_folder(index, site.at("/leave")) == 1
    assert not mirror(data / "kb", site.at("/leave")).exists()
    index.close()
    orphan = mirror(data / "kb", "https://followed.by.nobody/")
    orphan.mkdir(parents=True)
    (orphan / "a.html").write_text("25 days")
    assert orphan.relative_to(data / "kb").as_posix() in purge(data, "kb", embedder).removed
    assert mirror(data / "kb", kept).exists()
    assert counts(run(on, "kb", embedder=embedder)) == (0, 0, 0, 0, 1)


def test_a_backup_names_the_page_and_holds_no_copy_and_nothing_is_lost_before_it_is_asked_for(
    site: Site, on: Config, embedder: Embedder, tmp_path: Path
) -> None:
    source, target, other = site.at("/leave"), tmp_path / "kb.tar", tmp_path / "other"
    run(on, "kb", [source], embedder=embedder)
    assert sorted(backup(opened(on, embedder), target)["files"]) == ["catalog.sqlite"]
    asked = len(site.asked)
    assert restore(other, "kb", target)[1] == [source]
    assert len(site.asked) == asked
    report = run(switched(on, False, data=str(other)), "kb", embedder=embedder)
    assert (report.deleted, [row.path for row in report.failed]) == (0, [source])
    assert counts(run(switched(on, True, data=str(other)), "kb", embedder=embedder)) == (0, 0, 0, 0, 1)


def test_a_page_below_another_is_another_page(site: Site, on: Config) -> None:
    sources = [site.at("/leave"), site.at("/leave/vpn")]
    assert folders_of(on, "kb", sources, rebuild=False) == sources


def test_an_answer_names_the_page_and_leads_to_it(site: Site, on: Config, embedder: Embedder) -> None:
    run(on, "kb", [site.at("/leave")], embedder=embedder)
    (hit,) = search(opened(on, embedder), ["annual leave"], on.retrieval)
    sources = [Source(1, hit, hit.text)]
    (citation,) = cite("Annual leave is 25 days [1].", sources).citations
    assert (hit.url, citation.url, citation.source, citation.path) == (site.at("/leave"),) * 3 + ("leave.html",)
    assert site.at("/leave") in as_markdown(Written("?", "25 days [1].", (citation,), ""), "en")


def test_the_command_takes_an_address_where_it_takes_a_folder(site: Site, tmp_path: Path) -> None:
    cli, page = Cli(tmp_path / "data"), site.at("/leave")
    assert "app.web_pages" in cli.error("index", page, "--kb", "kb").hint
    assert [
        row["folder"]
        for row in cli.json("index", page, "--kb", "kb", "--plan", RAGSTONE_APP__WEB_PAGES="true")["added"]
    ] == [page]
    assert cli.json("index", page, "--kb", "kb", RAGSTONE_APP__WEB_PAGES="true")["added"] == 1
    assert [row.on + row.detail for row in entries(cli.data) if row.what == "folder.add"] == [f"kb{page}"]
    listed = cli.json("files", "--kb", "kb")
    assert (listed["folders"], listed["failed"]) == ([page], [])
    site.pages["/leave"] = (500, {}, b"")
    assert "answers with status 500" in cli("index", "--kb", "kb", code=1, RAGSTONE_APP__WEB_PAGES="true").output
    assert f"1 documents of {page} left 'kb'" in cli("remove", page, "--kb", "kb").output
    assert not mirror(cli.data / "kb", page).exists()
