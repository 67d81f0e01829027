import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.folders import add_folder, folders_of
from app.keeping.index import run, sync
from app.keeping.plan import forecast
from app.running.bases import Bases
from core.config import Config
from core.errors import AccessError, ConfigError, ReadError
from retrieval.embed import Embedder
from retrieval.home import current
from retrieval.index import Index
from tests.retrieval.sql import select

Write = Callable[[str, str], Path]


@pytest.fixture
def many(write: Write) -> Path:
    """A folder of ten documents."""
    files = [write(f"many/{n}.txt", f"第{n}篇。") for n in range(10)]
    return files[0].parent


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def documents(cfg: Config, embedder: Embedder) -> int:
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    try:
        return index.counts().documents
    finally:
        index.close()


def test_a_folder_that_is_suddenly_empty_keeps_its_documents(cfg: Config, many: Path, embedder: Embedder) -> None:
    run(cfg, "kb", [many])
    (many / "bad.txt").touch()
    run(cfg, "kb")
    empty(many)
    for _ in range(2):
        report = run(cfg, "kb")
        assert [(row.path, row.folder) for row in report.failed] == [(str(many), str(many))]
        assert "had 10 documents and now holds none" in report.failed[0].error
        assert "`ragstone index --allow-empty --kb kb`" in report.failed[0].hint
        assert (report.deleted, documents(cfg, embedder)) == (0, 10)
    planned = forecast(cfg, "kb").plans[str(many)]
    assert (planned.deleted, [row.path for row in planned.failed]) == ([], [str(many)])
    assert len(forecast(cfg, "kb", allow_empty=True).plans[str(many)].deleted) == 10
    assert run(cfg, "kb", allow_empty=True).deleted == 10
    assert documents(cfg, embedder) == 0


def test_few_documents_may_all_go_and_of_many_all_but_one(
    cfg: Config, many: Path, write: Write, embedder: Embedder
) -> None:
    short = [write(f"few/{n}.txt", f"短{n}篇。") for n in range(9)]
    few = short[0].parent
    run(cfg, "kb", [many, few])
    empty(few)
    for file in sorted(many.iterdir())[1:]:
        file.unlink()
    report = run(cfg, "kb")
    assert (report.deleted, report.failed, documents(cfg, embedder)) == (18, [], 1)


def test_a_folder_whose_files_were_all_renamed_or_replaced_is_followed(cfg: Config, many: Path) -> None:
    run(cfg, "kb", [many])
    (many / "sub").mkdir()
    for file in sorted(many.glob("*.txt")):
        file.rename(many / "sub" / file.name)
    assert run(cfg, "kb").moved == 10
    empty(many)
    (many / "new.txt").write_text("新的。", encoding="utf-8")
    assert (lambda report: (report.added, report.deleted))(run(cfg, "kb")) == (1, 10)


def test_a_rebuild_does_not_replace_many_documents_by_none(cfg: Config, many: Path, embedder: Embedder) -> None:
    run(cfg, "kb", [many])
    empty(many)
    with pytest.raises(ReadError, match="had 10 documents and now holds none"):
        run(cfg, "kb", rebuild=True)
    assert (current(Path(cfg.app.data) / "kb"), documents(cfg, embedder)) == ("g0001", 10)
    run(cfg, "kb", rebuild=True, allow_empty=True)
    assert documents(cfg, embedder) == 0


def test_the_data_folder_is_no_folder_of_documents_but_the_uploads_are(cfg: Config, many: Path) -> None:
    run(cfg, "kb", [many])
    data = Path(cfg.app.data)
    for folder in (data, data / "kb", data / "kb" / "g0001", data / "other" / "files"):
        folder.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ConfigError, match="lies in the data folder") as error:
            folders_of(cfg, "kb", [folder], rebuild=False)
        assert "RAGSTONE_DATA" in error.value.hint
    uploads = data / "kb" / "files"
    uploads.mkdir()
    assert folders_of(cfg, "kb", [uploads], rebuild=False) == [str(uploads)]
    assert folders_of(cfg, "new", [data.parent], rebuild=False) == [str(data.parent)]


def test_of_two_folders_the_one_that_is_followed_is_to_be_removed(cfg: Config, many: Path) -> None:
    (many / "sub").mkdir()
    with pytest.raises(ConfigError, match="lies in") as error:
        folders_of(cfg, "kb", [many, many / "sub"], rebuild=False)
    assert error.value.hint == "give one of them"
    run(cfg, "kb", [many])
    with pytest.raises(ConfigError) as error:
        folders_of(cfg, "kb", [many / "sub"], rebuild=False)
    assert f"`ragstone remove {many} --kb kb`" in error.value.hint
    run(cfg, "two", [many / "sub"])
    with pytest.raises(ConfigError) as error:
        folders_of(cfg, "two", [many], rebuild=False)
    assert f"`ragstone remove {many / 'sub'} --kb two`" in error.value.hint


@pytest.mark.parametrize("at", ["many", "."])
def test_a_followed_folder_that_was_exchanged_for_a_link_is_not_followed_there(
    cfg: Config, many: Path, embedder: Embedder, tmp_path: Path, at: str
) -> None:
    run(cfg, "kb", [many])
    elsewhere = tmp_path / "elsewhere" / "many"
    elsewhere.mkdir(parents=True)
    (elsewhere / "marker.txt").write_text("a line of a file that nobody offered", encoding="utf-8")
    place = (many.parent / at).resolve()
    place.rename(tmp_path / "aside")
    place.symlink_to(elsewhere if at == "many" else elsewhere.parent)
    report = run(cfg, "kb")
    assert [(row.path, "symbolic link" in row.error) for row in report.failed] == [(str(many), True)]
    assert [row.path for row in Bases(cfg).update("kb").failed] == [str(many)]
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    with pytest.raises(ReadError, match="symbolic link"):
        sync(index, many, cfg.ingest, only=["marker.txt"])
    assert index.catalog.folders() == [str(many)]
    assert select(index.catalog, "SELECT path FROM documents WHERE path = 'marker.txt'") == []
    place.unlink()
    (tmp_path / "aside").rename(place)
    assert run(cfg, "kb").unchanged == 10


def test_who_may_not_follow_any_folder_follows_those_below_the_named_ones_as_the_disk_has_them(
    cfg: Config, tmp_path: Path
) -> None:
    shared, beside, other = (tmp_path / name for name in ("shared", "shared-not", "other"))
    for folder in (shared / "it", beside, other):
        folder.mkdir(parents=True)
    (shared / "out").symlink_to(other)
    (tmp_path / "in").symlink_to(shared / "it")
    index = Bases(cfg).make("kb")

    def add(folder: Path, *folders: Path, anywhere: bool = False) -> str:
        named = tuple(map(str, folders))
        app = cfg.app.model_copy(update={"folders": named})
        return add_folder(cfg.model_copy(update={"app": app}), index, folder, anywhere=anywhere)

    refused = [
        (shared / "it", ()), (other, (shared,)), (beside, (shared,)), (shared / "out", (shared,)),
        (shared / ".." / "other", (shared,)), (tmp_path, (shared,)), (tmp_path / "none", (shared,)),
    ]  # fmt: skip
    for folder, folders in refused:
        with pytest.raises(AccessError, match="may not be followed"):
            add(folder, *folders)
    with pytest.raises(AccessError, match="'~root' may not be followed"):  # nor what account there is
        add(Path("~root"), shared)
    for data in (index.home, Path(cfg.app.data)):  # to nobody
        for anywhere in (False, True):
            with pytest.raises(ConfigError, match="data folder"):
                add(data, Path(cfg.app.data), anywhere=anywhere)
    assert add(tmp_path / "in", shared) == str(shared / "it")
    assert add(other, anywhere=True) == str(other)
    index.close()
