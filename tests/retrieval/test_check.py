"""Which generation answers, and how that is found out where it is lost."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.keeping.index import run
from core.config import Config
from core.errors import CatalogError
from retrieval.check import find_current, sound
from retrieval.embed import Embedder
from retrieval.home import current, generations, rollback
from retrieval.index import Index
from tests.retrieval.sql import select

Write = Callable[[str, str], Path]


@pytest.fixture
def home(cfg: Config, write: Write) -> Path:
    """A knowledge base of two generations, of one document and of two; the second answers."""
    docs = write("a.txt", "第一篇。").parent
    kept = cfg.model_copy(update={"app": cfg.app.model_copy(update={"keep_generations": 1})})
    run(kept, "kb", [docs])
    write("b.txt", "第二篇。")
    run(kept, "kb", rebuild=True)
    return Path(cfg.app.data) / "kb"


def lose(home: Path, how: str) -> None:
    if how == "gone":
        (home / "CURRENT").unlink()
    else:
        (home / "CURRENT").write_text({"empty": "", "elsewhere": "g0009\n"}[how], encoding="utf-8")


@pytest.mark.parametrize("how", ["gone", "empty", "elsewhere"])
def test_a_lost_generation_is_not_taken_for_no_knowledge_base_and_is_found_again(
    home: Path, how: str, cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    lose(home, how)
    catalog = (home / "g0001" / "catalog.sqlite").read_bytes()
    for attempt in (
        lambda: run(cfg, "kb", [tmp_path / "docs"]),
        lambda: run(cfg, "kb"),
        lambda: Index.open(home.parent, "kb", embedder),
    ):
        with pytest.raises(CatalogError, match="CURRENT") as error:
            attempt()
        assert "`ragstone verify --repair --kb kb`" in error.value.hint
    assert (home / "g0001" / "catalog.sqlite").read_bytes() == catalog
    assert "g0002 answers again, with 2 documents" in find_current(home)
    assert Index.open(home.parent, "kb", embedder).counts().documents == 2
    assert find_current(home) == ""


def test_a_damaged_generation_is_passed_over(home: Path, embedder: Embedder) -> None:
    lose(home, "gone")
    damage(home / "g0002" / "catalog.sqlite")
    assert "g0001 answers again, with 1 documents" in find_current(home)
    damage(home / "g0001" / "catalog.sqlite")
    lose(home, "gone")
    with pytest.raises(CatalogError, match="none of them is whole") as error:
        find_current(home)
    assert error.value.hint


def test_where_no_generation_is_left_a_backup_is_what_helps(home: Path) -> None:
    shutil.rmtree(home / "g0001")
    shutil.rmtree(home / "g0002")
    with pytest.raises(CatalogError) as error:
        find_current(home)
    assert error.value.hint == "restore a backup"


def test_a_first_run_that_was_cut_short_is_no_loss(cfg: Config, write: Write) -> None:
    docs = write("a.txt", "第一篇。").parent
    home = Path(cfg.app.data) / "kb"
    (home / "g0001").mkdir(parents=True)
    sqlite3.connect(home / "g0001" / "catalog.sqlite").close()
    assert run(cfg, "kb", [docs]).added == 1
    assert current(home) == "g0001"


@pytest.mark.parametrize("how", ["header", "inside", "gone"])
def test_a_rebuild_of_given_folders_replaces_what_cannot_be_read(
    home: Path, how: str, cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    catalog = home / "g0002" / "catalog.sqlite"
    (home / "files").mkdir()
    (home / "files" / "upload.txt").write_text("上传的。", encoding="utf-8")
    lose(home, "gone") if how == "gone" else damage(catalog, whole=how == "inside")
    with pytest.raises(CatalogError):
        run(cfg, "kb", rebuild=True)
    assert catalog.exists()
    run(cfg, "kb", [tmp_path / "docs"], rebuild=True)
    index = Index.open(home.parent, "kb", embedder)
    assert sorted(card.path for card in index.catalog.cards()) == ["a.txt", "b.txt", "upload.txt"]
    assert index.verify() == []
    if how == "gone":
        assert generations(home) == ["g0001", "g0002"]
    else:  # what was damaged is nothing to return to
        with pytest.raises(CatalogError, match="generation g0002 of knowledge base 'kb' is damaged"):
            rollback(home, sound)
        assert current(home) == "g0003"


def damage(file: Path, *, whole: bool = False) -> None:
    """Overwrite the header, or all but the header."""
    raw = file.read_bytes()
    file.write_bytes(raw[:100] + b"\x55" * (len(raw) - 100) if whole else b"damaged!" * 13 + raw[104:])


def test_counts_that_are_wrong_are_found_and_mended_and_without_them_chunks_are_counted(
    home: Path, embedder: Embedder
) -> None:
    with closing(Index.open(home.parent, "kb", embedder)) as index:
        there = index.counts()
        assert there == index.files.counted()
        assert there.chunks == 2
        index.catalog.set_meta("chunks", "7")
        assert "the number of chunks that is kept is wrong" in index.verify()
        index.verify(repair=True)
        assert index.verify() == []
        assert index.counts() == there
        select(index.catalog, "DELETE FROM meta WHERE key = 'chunks'")
        assert index.counts() == there
