"""A bucket of S3 as a source: all that holds for a folder, against a real server on loopback."""

import itertools
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.answering.view import has_picture, page_picture
from app.keeping.folders import add_folder, remove_folder
from app.keeping.index import Report, chunker, run
from app.keeping.plan import forecast
from app.keeping.watch import follow
from app.running.audit import entries
from app.running.bases import Bases
from app.running.library import read_again
from app.upkeep.backup import backup
from app.upkeep.purge import purge
from app.upkeep.restore import restore
from core.config import Config, load
from core.errors import AccessError, CatalogError, ConfigError, ReadError
from core.sources import mirror, place
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
from tests.app.commands.test_manage import Cli
from tests.ingest.readers.test_pdf import build, saved
from tests.retrieval import pg
from tests.s3 import KEY, S3, SECRET, running

_number = itertools.count()
LEAVE = "# Leave\n\nAnnual leave is 25 days."
VPN = "# VPN\n\nConnect to vpn.lanting.example on port 8443."
ZH = "# 年假\n\n年假每年二十五天。"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True)
def environ(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def name(server: S3) -> str:
    """An empty bucket."""
    name = f"papers-{next(_number)}"
    server.bucket(name)
    return name


@pytest.fixture
def filled(server: S3, name: str) -> str:
    """A bucket of three documents in folder `docs`, and one beside."""
    for key, text in {"leave.md": LEAVE, "it/vpn.md": VPN, "zh/年假.md": ZH, "../docs2/other.md": ""}.items():
        server.put(name, f"docs/{key}".replace("docs/../", ""), text or "Elsewhere.")
    return name


def opened(cfg: Config, embedder: Embedder) -> Index:
    return Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.moved, report.deleted, report.unchanged


def test_added_changed_moved_and_deleted_objects_are_followed(
    server: S3, filled: str, cfg: Config, embedder: Embedder
) -> None:
    source = f"s3://{filled}/docs/"
    first = run(cfg, "kb", [source], embedder=embedder)
    assert (counts(first), first.failed, first.skipped) == ((3, 0, 0, 0, 0), [], [])
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 0, 3)

    server.put(filled, "docs/leave.md", LEAVE.replace("25", "27"))
    server.move(filled, "docs/it/vpn.md", "docs/it/远程.md")
    server.delete(filled, "docs/zh/年假.md")
    server.put(filled, "docs/new.md", "# Parking\n\nThe garage opens at 06:30.")
    second = run(cfg, "kb", embedder=embedder)
    assert counts(second) == (1, 1, 1, 1, 0)

    index = opened(cfg, embedder)
    assert index.catalog.folders() == [f"s3://{filled}/docs"]
    assert sorted(index.catalog.paths()) == ["it/远程.md", "leave.md", "new.md"]
    assert "27 days" in search(index, ["annual leave"], cfg.retrieval)[0].text
    hit = search(index, ["vpn port"], cfg.retrieval)[0]
    assert (hit.path, hit.folder) == ("it/远程.md", f"s3://{filled}/docs")


def test_what_changed_within_a_second_at_the_same_size_is_read_again(
    server: S3, name: str, cfg: Config, embedder: Embedder
) -> None:
    while True:  # until both versions have the time of one second
        server.put(name, "leave.md", LEAVE)
        run(cfg, "kb", [f"s3://{name}"], embedder=embedder)
        before = server.listed(name)["leave.md"]
        server.put(name, "leave.md", LEAVE.replace("25", "31"))
        now = server.listed(name)["leave.md"]
        if now["LastModified"] == before["LastModified"]:
            break
    assert now["Size"] == before["Size"]
    assert run(cfg, "kb", embedder=embedder).changed == 1
    index = opened(cfg, embedder)
    assert "31 days" in search(index, ["annual leave"], cfg.retrieval)[0].text


def test_an_object_that_is_written_again_as_it_was_changes_nothing(
    server: S3, filled: str, cfg: Config, embedder: Embedder
) -> None:
    run(cfg, "kb", [f"s3://{filled}"], embedder=embedder)
    parts = server.call("create_multipart_upload", Bucket=filled, Key="docs/leave.md")
    which = {"Bucket": filled, "Key": "docs/leave.md", "UploadId": parts["UploadId"]}
    part = server.call("upload_part", **which, PartNumber=1, Body=LEAVE.encode())
    etags = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    old = server.listed(filled)["docs/leave.md"]["ETag"]
    server.call("complete_multipart_upload", **which, MultipartUpload=etags)
    assert server.listed(filled)["docs/leave.md"]["ETag"] != old  # which is no hash of its content, then
    report = run(cfg, "kb", embedder=embedder)
    assert (counts(report), report.embedded) == ((0, 0, 0, 0, 4), 0)


def test_1200_objects_in_two_pages_are_all_listed(server: S3, name: str, cfg: Config, embedder: Embedder) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: server.put(name, f"文件/{n:04}.md", f"第{n}篇。"), range(1200)))
    source = f"s3://{name}/文件"
    report = run(cfg, "kb", [source], embedder=embedder)
    assert (counts(report), report.failed) == ((1200, 0, 0, 0, 0), [])
    server.delete(name, "文件/0001.md")
    server.delete(name, "文件/1199.md")
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 2, 1198)


def test_a_plan_is_what_is_then_done(server: S3, filled: str, cfg: Config, embedder: Embedder) -> None:
    source = f"s3://{filled}/docs"
    plan = forecast(cfg, "kb", [source], embedder=embedder).plans[source]
    assert [entry.path for entry in plan.added] == ["it/vpn.md", "leave.md", "zh/年假.md"]
    assert run(cfg, "kb", [source], embedder=embedder).added == 3

    server.put(filled, "docs/leave.md", LEAVE.replace("25", "27"))
    server.move(filled, "docs/it/vpn.md", "docs/remote.md")
    server.delete(filled, "docs/zh/年假.md")
    server.put(filled, "docs/film.mp4", "no text")
    plan = forecast(cfg, "kb", embedder=embedder).plans[source]
    planned = len(plan.added), len(plan.changed), len(plan.moved), len(plan.deleted), plan.unchanged
    assert [row.path for row in plan.skipped] == ["film.mp4"]
    assert Index.open(Path(cfg.app.data), "kb", embedder).counts().documents == 3  # nothing was written there
    report = run(cfg, "kb", embedder=embedder)
    assert counts(report) == planned == (0, 1, 1, 1, 0)
    assert [row.path for row in report.skipped] == ["film.mp4"]


def test_what_is_not_read_is_not_downloaded(server: S3, filled: str, cfg: Config, embedder: Embedder) -> None:
    server.put(filled, "docs/film.mp4", b"0" * 1000)
    server.put(filled, "docs/.hidden/a.md", "nothing")
    server.put(filled, "docs/old/a.md", "nothing")
    server.put(filled, "docs/large.html", f"<!--{'x' * 1_000_000}--><p>A large page.</p>")
    ingest = cfg.ingest.model_copy(update={"exclude": ["old"], "max_file_mb": 1})
    cfg = cfg.model_copy(update={"ingest": ingest})
    source = f"s3://{filled}/docs"
    report = run(cfg, "kb", [source], embedder=embedder)
    assert (report.added, [row.path for row in report.skipped]) == (3, ["film.mp4", "old/a.md"])
    assert [(row.path, row.error) for row in report.failed] == [("large.html", "too large: 1.0 MB, the limit is 1 MB")]
    objects = place(Path(cfg.app.data) / "kb", source)
    files = {str(file.relative_to(objects)): file.stat() for file in objects.rglob("*") if file.is_file()}
    assert sorted(files) == ["it/vpn.md", "large.html", "leave.md", "zh/年假.md"]
    assert files["large.html"].st_blocks == 0  # it only stands for it
    assert [row.known for row in run(cfg, "kb", embedder=embedder).failed] == [True]

    cfg = cfg.model_copy(update={"ingest": ingest.model_copy(update={"max_file_mb": 2})})
    report = run(cfg, "kb", embedder=embedder)
    assert (report.added, report.failed) == (1, [])


def test_a_server_that_is_away_deletes_nothing_and_the_next_run_goes_on(
    tmp_path: Path, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with running(folder) as server:
        for variable, value in server.environ.items():
            monkeypatch.setenv(variable, value)
        server.bucket("papers")
        for n in range(40):
            server.put("papers", f"{n:02}.md", f"第{n}篇。")
        run(cfg, "kb", ["s3://papers"], embedder=embedder)
        for n in range(40, 80):
            server.put("papers", f"{n:02}.md", f"第{n}篇。")
        server.delete("papers", "00.md")

        def dies(stage: str, done: int, total: int) -> None:
            if stage == "fetch":  # some are there, more are to come
                server.stop()

        report = run(cfg, "kb", progress=dies, embedder=embedder)
        assert [row.path for row in report.failed] == ["s3://papers"]
        assert "'s3://papers' cannot be read: its server does not answer" in report.failed[0].error
        assert counts(report) == (0, 0, 0, 0, 0)
        assert opened(cfg, embedder).counts().documents == 40
        with pytest.raises(ReadError, match="does not answer"):
            run(cfg, "kb", ["s3://papers"], embedder=embedder)

        fetched = list[int]()
        server.start()
        report = run(
            cfg, "kb", embedder=embedder, progress=lambda stage, _, total: fetched.append(total * (stage == "fetch"))
        )
        assert counts(report) == (40, 0, 0, 1, 39)
        assert max(fetched) == 24  # of 40, 16 had come


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "not-the-secret-at-all", "the key does not fit its secret"),
        ("AWS_ACCESS_KEY_ID", "nobody-knows-this-key", "the key is not known there"),
        ("AWS_ACCESS_KEY_ID", "", "there is no key for it"),
        ("AWS_ENDPOINT_URL", "http://someone:hidden-word@127.0.0.1:1", "its server does not answer"),
        ("AWS_ENDPOINT_URL", "hidden-word", "the settings of S3 in the environment are wrong"),
    ],
    ids=["secret", "key", "none", "port", "endpoint"],
)
def test_wrong_settings_of_the_environment_are_told_and_never_repeated(
    filled: str, variable: str, value: str, said: str, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    source = f"s3://{filled}/docs"
    run(cfg, "kb", [source], embedder=embedder)
    monkeypatch.setenv(variable, value)
    if not value:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv(variable)
    caplog.set_level("DEBUG", "app")
    report = run(cfg, "kb", embedder=embedder)
    assert [(row.path, row.folder) for row in report.failed] == [(source, source)]
    assert said in report.failed[0].error
    assert opened(cfg, embedder).counts().documents == 3
    everything = (
        repr(report) + caplog.text + (Path(cfg.app.data) / "kb/g0001/catalog.sqlite").read_bytes().decode("latin1")
    )
    assert not [word for word in (SECRET, KEY, value) if word and word in everything]
    with pytest.raises(ReadError, match=said) as error:
        run(cfg, "new", [source], embedder=embedder)
    assert not [word for word in (SECRET, value) if word and word in str(error.value)]
    assert "new" not in Index.names(Path(cfg.app.data))


def test_a_bucket_that_is_gone_or_never_was_is_told_and_nothing_is_deleted(
    server: S3, filled: str, cfg: Config, embedder: Embedder
) -> None:
    with pytest.raises(ReadError, match="'s3://no-such-bucket/docs' cannot be read: there is no such bucket"):
        run(cfg, "kb", ["s3://no-such-bucket/docs"], embedder=embedder)
    with pytest.raises(ReadError, match="nothing lies below"):
        run(cfg, "kb", [f"s3://{filled}/doc"], embedder=embedder)  # which others begin with
    run(cfg, "kb", [f"s3://{filled}/docs"], embedder=embedder)
    for key in server.listed(filled):
        server.delete(filled, key)
    server.call("delete_bucket", Bucket=filled)
    report = run(cfg, "kb", embedder=embedder)
    assert "there is no such bucket" in report.failed[0].error
    assert opened(cfg, embedder).counts().documents == 3


def test_a_bucket_that_is_suddenly_empty_keeps_its_documents(
    server: S3, name: str, cfg: Config, embedder: Embedder
) -> None:
    keys = [f"{n}.md" for n in range(10)]
    for key in keys:
        server.put(name, key, f"第{key}篇。")
    run(cfg, "kb", [f"s3://{name}"], embedder=embedder)
    for key in keys:
        server.delete(name, key)
    report = run(cfg, "kb", embedder=embedder)
    assert "had 10 documents and now holds none" in report.failed[0].error
    assert report.deleted == 0
    assert run(cfg, "kb", allow_empty=True, embedder=embedder).deleted == 10


def test_two_prefixes_are_two_sources_but_one_within_another_is_refused(
    filled: str, cfg: Config, embedder: Embedder
) -> None:
    report = run(cfg, "kb", [f"s3://{filled}/docs", f"s3://{filled}/docs2"], embedder=embedder)
    assert report.added == 4
    with pytest.raises(ConfigError, match="would be there twice"):
        run(cfg, "kb", [f"s3://{filled}"], embedder=embedder)


def test_changes_are_followed_by_looking_now_and_then(
    server: S3, filled: str, cfg: Config, embedder: Embedder, write: Callable[[str, str], Path]
) -> None:
    folder = write("near.md", "附近。").parent
    ingest = cfg.ingest.model_copy(update={"rescan_minutes": 0.02})
    source = f"s3://{filled}/docs"
    run(cfg, "kb", [source, folder], embedder=embedder)
    stop = threading.Event()
    reports = follow(index := opened(cfg, embedder), ingest, stop)
    server.put(filled, "docs/new.md", "新的。")
    assert next(reports).added == 1
    server.move(filled, "docs/new.md", "docs/newer.md")
    assert next(reports).moved == 1
    write("nearer.md", "更近。")
    assert next(reports).added == 1
    server.delete(filled, "docs/newer.md")
    assert next(reports).deleted == 1
    stop.set()
    assert list(reports) == []
    assert sorted(index.catalog.paths()) == ["it/vpn.md", "leave.md", "near.md", "nearer.md", "zh/年假.md"]


def test_a_server_that_goes_and_comes_back_is_told_once_and_followed_again(
    server: S3, filled: str, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cfg, "kb", [f"s3://{filled}/docs"], embedder=embedder)
    ingest = cfg.ingest.model_copy(update={"rescan_minutes": 0.001})
    stop = threading.Event()
    reports = follow(opened(cfg, embedder), ingest, stop)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert "does not fit" in next(reports).failed[0].error
    server.put(filled, "docs/new.md", "新的。")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    report = next(reports)
    stop.set()
    assert list(reports) == []
    assert (report.added, report.failed) == (1, [])


def test_a_page_of_a_pdf_in_a_bucket_is_drawn_until_it_is_another_file(
    server: S3, name: str, cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    file = tmp_path / "paper.pdf"
    file.write_bytes(saved(build([["Annual leave is 25 days."]])))
    server.put(name, "讲义/paper.pdf", file.read_bytes())
    run(cfg, "kb", [f"s3://{name}"], embedder=embedder)
    index = opened(cfg, embedder)
    hit = search(index, ["annual leave"], cfg.retrieval)[0]
    assert has_picture(hit)
    assert page_picture(index, hit.chunk_id, cfg.ingest).startswith(b"\x89PNG")
    (place(index.home, f"s3://{name}") / "讲义/paper.pdf").write_bytes(b"%PDF-1.4 another")
    with pytest.raises(ReadError):
        page_picture(index, hit.chunk_id, cfg.ingest)


def below(home: Path, text: str) -> list[str]:
    """The files of a knowledge base that hold a text."""
    return [str(f.relative_to(home)) for f in home.rglob("*") if f.is_file() and text.encode() in f.read_bytes()]


def test_a_purge_leaves_no_copy_of_what_is_gone(server: S3, filled: str, cfg: Config, embedder: Embedder) -> None:
    data = Path(cfg.app.data)
    run(cfg, "kb", [f"s3://{filled}/docs", f"s3://{filled}/docs2"], embedder=embedder)
    server.delete(filled, "docs/leave.md")
    run(cfg, "kb", embedder=embedder)
    index = opened(cfg, embedder)
    assert remove_folder(index, f"s3://{filled}/docs2") == 1
    index.close()
    orphan = mirror(data / "kb", "s3://followed-by-nobody") / "objects"
    orphan.mkdir(parents=True)
    (orphan / "elsewhere.md").write_text("Elsewhere. Annual leave is 25 days.")
    receipt = purge(data, "kb", embedder)
    assert str(orphan.parent.relative_to(data / "kb")) in receipt.removed
    for gone in ("25 days", "Elsewhere", "leave.md", "other.md"):
        assert below(data / "kb", gone) == [], gone
    assert below(data / "kb", "vpn.lanting.example")
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 0, 2)


def test_a_backup_names_the_bucket_and_holds_no_copy_of_its_objects(
    server: S3, filled: str, cfg: Config, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = f"s3://{filled}/docs", tmp_path / "kb.tar"
    run(cfg, "kb", [source], embedder=embedder)
    manifest = backup(opened(cfg, embedder), target)
    assert sorted(manifest["files"]) == ["catalog.sqlite"]

    other = tmp_path / "other"
    _, followed = restore(other, "kb", target)
    assert followed == [source]
    cfg = cfg.model_copy(update={"app": cfg.app.model_copy(update={"data": str(other)})})
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 0, 3)

    server.bucket(moved := f"{filled}-moved")
    server.put(moved, "leave.md", LEAVE)
    _, followed = restore(tmp_path / "third", "kb", target, maps=[f"{source}=s3://{moved}/"])
    assert followed == [f"s3://{moved}"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(CatalogError, match="does not fit its secret") as error:
        restore(tmp_path / "fourth", "kb", target)
    assert f"--map {source}={source}" in error.value.hint
    assert restore(tmp_path / "fourth", "kb", target, maps=[f"{source}={source}"])[1] == [source]


def test_editors_may_add_what_lies_in_a_bucket_of_app_folders_and_admins_any(
    filled: str, cfg: Config, embedder: Embedder
) -> None:
    index = opened(cfg, embedder)
    app = cfg.app.model_copy(update={"folders": [f"s3://{filled}/docs/"]})
    allowing = cfg.model_copy(update={"app": app})
    for refused in (f"s3://{filled}", f"s3://{filled}/docs2", "s3://no-such-bucket/docs"):
        with pytest.raises(AccessError, match="may not be followed"):
            add_folder(allowing, index, refused, anywhere=False)
    assert add_folder(allowing, index, f"s3://{filled}/docs/it", anywhere=False) == f"s3://{filled}/docs/it"
    assert add_folder(cfg, index, f"s3://{filled}/docs2", anywhere=True) == f"s3://{filled}/docs2"
    assert run(cfg, "kb", embedder=embedder).added == 2


def test_a_rebuild_reads_a_bucket_anew_and_downloads_nothing_again(
    filled: str, cfg: Config, embedder: Embedder
) -> None:
    run(cfg, "kb", [f"s3://{filled}/docs"], embedder=embedder)
    stages = set[str]()
    report = run(cfg, "kb", rebuild=True, embedder=embedder, progress=lambda stage, *_: stages.add(stage))
    assert (report.added, "fetch" in stages) == (3, False)


def test_a_lost_or_damaged_mirror_is_downloaded_again_and_changes_nothing(
    filled: str, cfg: Config, embedder: Embedder
) -> None:
    source = f"s3://{filled}/docs"
    run(cfg, "kb", [source], embedder=embedder)
    folder = mirror(Path(cfg.app.data) / "kb", source)
    (folder / "objects/leave.md").write_text("cut")
    (folder / "objects/stray.md").write_text("nobody put this there")
    with (folder / "known.jsonl").open("a") as log:
        log.write('["it/vpn.md", {}]\n[]\nnot json\n')
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 0, 3)
    shutil.rmtree(folder)
    assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 0, 0, 3)


def test_without_the_package_the_line_that_installs_it_is_told(
    filled: str, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ReadError, match="s3fs, which is not installed") as error:
        run(cfg, "kb", [f"s3://{filled}/docs"], embedder=embedder)
    assert "pip install 'ragstone[s3]'" in error.value.hint


def test_the_commands_take_an_address_where_they_take_a_folder(server: S3, filled: str, tmp_path: Path) -> None:
    source = f"s3://{filled}/docs"
    cli = Cli(tmp_path / "data")
    assert [row["folder"] for row in cli.json("index", f"{source}/", "--kb", "kb", "--plan")["added"]] == [source] * 3
    assert cli.json("index", f"{source}/", "--kb", "kb")["added"] == 3
    assert [row.on + row.detail for row in entries(cli.data) if row.what == "folder.add"] == [f"kb{source}"]
    listed = cli.json("files", "--kb", "kb")
    assert (listed["folders"], listed["failed"]) == ([source], [])
    server.put(filled, "docs/new.md", "# Parking\n\nThe garage opens at 06:30.")
    assert cli.json("index", "--kb", "kb")["added"] == 1
    assert f"4 documents of {source} left 'kb'" in cli("remove", f"{source}/", "--kb", "kb").output
    assert not mirror(cli.data / "kb", source).exists()
    assert "belong in the environment" in cli.error("index", "s3://key:hidden@papers", "--kb", "kb").hint


def test_app_folders_may_name_a_bucket_in_a_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[app]\nfolders = ["s3://papers/2026", "docs"]\n')
    folders = load(tmp_path / "config.toml", environ={}).config.app.folders
    assert folders == ["s3://papers/2026", str(tmp_path / "docs")]


def test_documents_of_a_bucket_are_read_again_one_by_one(
    server: S3, filled: str, cfg: Config, embedder: Embedder
) -> None:
    bases = Bases(cfg)
    source = add_folder(cfg, bases.make("kb"), f"s3://{filled}/docs", anywhere=True)
    assert bases.update("kb").added == 3
    assert read_again(bases, "kb", [(source, "leave.md")]).changed == 1
    server.put(filled, "docs/new.md", "新的。")
    assert bases.update("kb").added == 1


def test_a_bucket_is_a_source_of_a_knowledge_base_in_a_database(
    filled: str, server: S3, cfg: Config, embedder: Embedder
) -> None:
    with tempfile.TemporaryDirectory() as folder, pg.running(Path(folder)) as cluster:
        app = cfg.app.model_copy(update={"database": cluster.database("ragstone")})
        cfg = cfg.model_copy(update={"app": app})
        assert run(cfg, "kb", [f"s3://{filled}/docs"], embedder=embedder).added == 3
        server.move(filled, "docs/leave.md", "docs/away.md")
        assert counts(run(cfg, "kb", embedder=embedder)) == (0, 0, 1, 0, 2)
