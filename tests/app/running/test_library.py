"""Keeping a knowledge base: its files listed, read again and deleted, a run that is stopped, golden questions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.keeping.folders import add_folder, remove_folder
from app.keeping.plan import forecast
from app.measuring.golden import add, edit, golden_file, read
from app.running.bases import Bases, State
from app.running.library import delete_upload, failed, file_row, files, first_chunk, measure_golden, read_again
from app.ui import knowledge, knowledge_files, knowledge_golden, knowledge_sources
from core.config import Config, Settings
from core.errors import AccessError, CatalogError, ConfigError, EvalError, ReadError

Write = Callable[[str, str], Path]


@pytest.fixture
def bases(cfg: Config) -> Bases:
    return Bases(cfg)


def paths(bases: Bases, state: Any = "all", name: str = "", first: int = 0, count: int = 50) -> list[str]:
    return [row.path for row in files(bases.get("kb"), state, name, first, count)[0]]


def test_the_files_are_listed_by_state_name_and_page_with_those_that_were_never_read(
    bases: Bases, write: Write
) -> None:
    docs = write("a/one.md", "# One\n\nText.").parent.parent
    for name in ("b.md", "c.md", "STALE.md"):
        write(name, f"# {name}\n\nText.")
    (docs / "never.pdf").write_bytes(b"%PDF-1.7 no")
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    assert bases.update("kb").added == 4
    (docs / "STALE.md").write_bytes(b"")
    assert {error.path for error in bases.update("kb").failed} == {"STALE.md", "never.pdf"}
    assert paths(bases) == ["STALE.md", "a/one.md", "b.md", "c.md", "never.pdf"]
    assert paths(bases, "failed") == ["STALE.md", "never.pdf"]
    assert paths(bases, "stale") == ["STALE.md"]
    assert paths(bases, "notes") == []
    assert paths(bases, name=" ONE ") == ["a/one.md"]
    assert paths(bases, name="_") == paths(bases, name="%") == []  # no patterns
    rows, total = files(bases.get("kb"), first=1, count=2)
    assert ([row.path for row in rows], total) == (["a/one.md", "b.md"], 5)
    never = file_row(bases.get("kb"), str(docs), "never.pdf")
    assert (never.document_id, never.card) == (None, None)
    assert never.failure
    assert "damaged PDF" in never.failure.error
    one = file_row(bases.get("kb"), str(docs), "a/one.md")
    assert one.card
    assert one.document_id is not None
    assert (one.card.chunks, one.card.language) == (1, "en")
    assert first_chunk(bases.get("kb"), one.document_id) is not None
    with pytest.raises(CatalogError, match="has no file"):
        file_row(bases.get("kb"), str(docs), "one.md")


def test_files_are_read_again_though_neither_they_nor_the_reader_changed(bases: Bases, write: Write) -> None:
    docs = write("good.md", "# Good\n\nText.").parent
    write("other.md", "# Other\n\nText.")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.7 no")
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    bases.update("kb")
    report = bases.update("kb")
    assert (report.changed, report.unchanged) == (0, 2)
    report = read_again(bases, "kb", [(str(docs), "good.md")])
    assert (report.added, report.changed, report.embedded, report.failed) == (0, 1, 0, [])
    assert failed(bases.get("kb")) == [(str(docs), "bad.pdf")]
    report = read_again(bases, "kb", failed(bases.get("kb")))
    assert [error.path for error in report.failed] == ["bad.pdf"]
    assert paths(bases) == ["bad.pdf", "good.md", "other.md"]


def test_a_run_that_is_stopped_keeps_what_it_committed_and_the_next_goes_on(bases: Bases, write: Write) -> None:
    class Stopped(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("index", 70):
            raise Stopped

    docs = write("00.txt", "The number 0.").parent
    for n in range(1, 80):
        write(f"{n:02}.txt", f"The number {n}.")
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    with pytest.raises(Stopped):
        bases.update("kb", stop)
    kept = bases.get("kb").counts().documents
    assert kept == 64  # a batch of files is committed whole
    assert bases.update("kb").added == 80 - kept


def test_a_folder_that_is_away_is_a_row_and_the_others_are_read(bases: Bases, write: Write, tmp_path: Path) -> None:
    docs = write("a.md", "# A\n\nText.").parent
    away = tmp_path / "away"
    away.mkdir()
    index = bases.make("kb")
    assert add_folder(bases.cfg, index, away, anywhere=True) == str(away)
    add_folder(bases.cfg, index, docs, anywhere=True)
    away.rmdir()
    report = bases.update("kb")
    assert (report.added, [error.path for error in report.failed]) == (1, [str(away)])
    with pytest.raises(ReadError):
        add_folder(bases.cfg, index, away, anywhere=True)
    with pytest.raises(ConfigError, match="lies in the data folder"):
        add_folder(bases.cfg, index, index.home, anywhere=True)
    assert remove_folder(index, str(docs)) == 1
    assert (index.counts().documents, index.catalog.folders()) == (0, [str(away)])
    with pytest.raises(CatalogError, match="is no folder of"):
        remove_folder(index, str(docs))


def test_an_upload_is_checked_before_anything_is_stored_and_only_an_upload_is_deleted(
    bases: Bases, write: Write
) -> None:
    note, odd = write("note.md", "# Note\n\nText."), write("odd.xyz", "?")
    with pytest.raises(ReadError, match="no reader"):
        bases.upload("kb", [note, odd])
    assert not bases.uploads("kb").exists()
    assert bases.upload("kb", [note]).added == 1
    with pytest.raises(CatalogError, match="has no file"):
        delete_upload(bases, "kb", "../../docs/note.md")
    assert delete_upload(bases, "kb", "note.md").deleted == 1
    assert (list(bases.uploads("kb").iterdir()), note.exists(), paths(bases)) == ([], True, [])


def test_a_plan_with_the_embedder_that_is_loaded_writes_nothing(bases: Bases, write: Write) -> None:
    docs = write("a.md", "# A\n\nText.").parent
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    found = forecast(bases.cfg, "kb", embedder=bases.embedder)
    assert [entry.path for entry in found.plans[str(docs)].added] == ["a.md"]
    assert (found.chunks, found.embed, found.exact) == (1, 1, True)
    assert bases.get("kb").counts().documents == 0


def test_a_golden_question_is_mended_where_its_document_holds_the_evidence(bases: Bases, write: Write) -> None:
    note = write("note.md", "# Opening hours\n\nThe garage opens at 06:45. The gate closes at 22:10.")
    bases.upload("kb", [note])
    index, file = bases.get("kb"), golden_file(bases.data, "kb")
    asked = add(index, file, "When does the garage open?", ["The garage opens at 06:45."], "note.md")
    mended = edit(index, file, asked.id, "When does the gate close?", ["The gate closes at 22:10."], "At 22:10.")
    assert (mended.id, mended.file, mended.status) == (asked.id, "note.md", "approved")
    assert read(file) == [mended]
    for question, evidence, known in (("Q?", ["Not there at all."], True), ("", ["x"], True), ("Q?", ["x"], False)):
        with pytest.raises(EvalError):
            edit(index, file, asked.id if known else "nobody", question, evidence, "")
    assert read(file) == [mended]
    found = measure_golden(bases, "kb")
    assert [outcome.judged.rank for outcome in found.outcomes] == [1]
    assert [question.text for question in found.testset.questions] == ["When does the gate close?"]


def test_whoever_is_no_editor_changes_nothing(cfg: Config, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio as gr

    state = State(Settings(cfg, {}, None))
    note = write("note.md", "# Note\n\nText.")
    state.bases.upload("kb", [note])

    def refuse(request: object, role: str, kb: str = "") -> None:
        assert role == "editor"
        raise AccessError("no editor", "ask an admin")

    monkeypatch.setattr(state.users, "require", refuse)
    folder, request = str(state.bases.uploads("kb")), object()
    row = f'["{folder}", "note.md"]'
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (knowledge._maker(state), ("new",)), (knowledge._applier(state), ("kb",)),
        (knowledge._canceller(state), ("kb",)),
        (knowledge_sources._planner(state), ("kb",)), (knowledge_sources._uploader(state), ([str(note)], "kb")),
        (knowledge_sources._adder(state), (str(note.parent), "kb")), (knowledge_sources._asker(state), (folder, "kb")),
        (knowledge_sources._remover(state, lambda: ()), (folder, "kb")), (knowledge_files._reader(state), ("kb", row)),
        (knowledge_files._reader_of_failed(state), ("kb",)), (knowledge_files._asker(state), ("kb", row)),
        (knowledge_files._deleter(state), ("kb", row)), (knowledge_golden._judge(state, "approved"), ("kb", "x")),
        (knowledge_golden._editor(state), ("kb", "x", "q", "e", "")),
        (knowledge_golden._adder(state), ("kb", "q", "e", "note.md")), (knowledge_golden._deleter(state), ("kb", "x")),
        (knowledge_golden._drafter(state), ("kb", 1)), (knowledge_golden._measurer(state), ("kb",)),
    ]  # fmt: skip
    for call, arguments in calls:
        with pytest.raises(gr.Error, match="no editor"):
            call(*arguments, request)
    assert state.jobs.latest() == []
    assert state.bases.names() == ["kb"]
    assert (Path(folder) / "note.md").exists()
