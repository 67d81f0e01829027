"""What version 0.1 wrote is opened, answers, and is kept up to date: cut anew once, embedded where that differs."""

import shutil
from pathlib import Path

import pytest

from app.keeping.index import run
from app.keeping.plan import forecast
from app.upkeep.backup import backup
from app.upkeep.purge import purge
from app.upkeep.restore import restore
from core.config import Config, load
from retrieval import check
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.migrations import copies
from retrieval.search import search
from tests import data_of_0_1


@pytest.fixture
def old(tmp_path: Path) -> Config:
    data = data_of_0_1.unpack(tmp_path / "data")
    return load(flags={"app.data": str(data), "llm.backend": "extractive"}, environ={}).config


def found(index: Index, cfg: Config, question: str) -> str:
    return search(index, [question], cfg.retrieval)[0].path


def followed(cfg: Config, tmp_path: Path) -> None:
    """The knowledge base finds its documents where they lie by now."""
    folder = tmp_path / "documents"
    shutil.copytree(data_of_0_1.DOCUMENTS, folder)
    catalog = Catalog(Path(cfg.app.data) / "handbook" / "g0001" / "catalog.sqlite")
    catalog.rename_folders({data_of_0_1.FOLDER: str(folder)})
    catalog.close()


def test_both_knowledge_bases_answer_and_are_sound(old: Config) -> None:
    embedder = Embedder(old.retrieval)
    for kb, question, path in (
        ("handbook", "How long is parental leave?", "hr/leave.md"),
        ("handbook", "年假有几天", "年假.md"),
        ("private", "When are salaries paid?", "salary.txt"),
    ):
        index = Index.open(Path(old.app.data), kb, embedder)
        assert found(index, old, question) == path
        assert index.verify() == []
        assert [failure.path for failure in index.catalog.failures()] == (["broken.pdf"] if kb == "handbook" else [])
        index.close()


def test_a_run_cuts_anew_once_and_embeds_what_that_changed(old: Config, tmp_path: Path) -> None:
    followed(old, tmp_path)
    planned = forecast(old, "handbook", embedder=Embedder(old.retrieval))
    assert [len(plan.changed) for plan in planned.plans.values()] == [3]
    report = run(old, "handbook")
    assert (report.added, report.changed, report.deleted, report.unchanged) == (0, 3, 0, 0)
    again = run(old, "handbook")
    assert (again.changed, again.unchanged) == (0, 3)


def test_a_knowledge_base_that_is_to_be_cut_anew_answers_until_it_is(old: Config, tmp_path: Path) -> None:
    followed(old, tmp_path)
    index = Index.open(Path(old.app.data), "handbook", Embedder(old.retrieval))
    with index.writing() as catalog, catalog.transaction() as write:
        write.read_all_again("sections-sentences-9 200+20")
    assert found(index, old, "How long is parental leave?") == "hr/leave.md"
    assert index.verify() == []


def test_a_run_that_ended_while_it_cut_anew_is_gone_on_with(
    old: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed(old, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("app.keeping.index._read_and_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(old, "handbook")
    assert run(old, "handbook").changed == 3


def test_caches_of_another_form_are_built_anew(old: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.vectors._FORM", 2)
    monkeypatch.setattr("retrieval.lexical.TOKENIZER", "another")
    followed(old, tmp_path)
    run(old, "handbook")
    index = Index.open(Path(old.app.data), "handbook", Embedder(old.retrieval))
    assert found(index, old, "How long is parental leave?") == "hr/leave.md"
    assert index.verify() == []
    assert b'"form": 2' in (index.folder / "vectors.faiss").read_bytes()


def test_where_current_is_lost_too_the_repair_finds_it(old: Config) -> None:
    home = Path(old.app.data) / "handbook"
    (home / "CURRENT").unlink()
    assert "g0001 answers again" in check.find_current(home)
    assert Index.open(home.parent, "handbook", Embedder(old.retrieval)).verify() == []


def test_a_purge_takes_the_copy_too(old: Config) -> None:
    data = Path(old.app.data)
    Index.open(data, "handbook", Embedder(old.retrieval)).close()
    (copy,) = copies(data / "handbook" / "g0001")
    assert f"g0001/{copy.name}" in purge(data, "handbook", Embedder(old.retrieval)).removed
    assert copies(data / "handbook" / "g0001") == []


def test_a_backup_after_the_migration_is_restored(old: Config, tmp_path: Path) -> None:
    index = Index.open(Path(old.app.data), "handbook", Embedder(old.retrieval))
    backup(index, tmp_path / "kb.tar")
    restore(tmp_path / "other", "handbook", tmp_path / "kb.tar", maps=[f"/srv/documents={data_of_0_1.DOCUMENTS}"])
    assert Index.open(tmp_path / "other", "handbook", Embedder(old.retrieval)).verify() == []
