"""What people choose for single files: done at once, kept by every later run, and carried wherever the rest goes."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.api import KnowledgeBase
from app.keeping.choosing import found, leave_out, pages_of, read_by_ocr, take_in
from app.keeping.index import run
from app.running.bases import Bases
from app.running.library import file_row
from app.upkeep.backup import backup
from app.upkeep.migrate import migrate
from app.upkeep.restore import restore
from core.config import Config
from core.errors import CatalogError, ReadError
from core.types import Choice
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.ingest.readers.test_ocr import drawn
from tests.ingest.readers.test_pdf import saved, scan

Write = Callable[[str, str], Path]
GARBLED = "zgt vvq pxx " * 16  # what an earlier OCR made of a page


@pytest.fixture
def docs(write: Write) -> Path:
    write("secret.md", "# Salaries\n\nThe director earns 9,000 a month.")
    write("odd.xyz", "nobody reads this")
    write("draft.tmp", "nor this")
    return write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent


def paths(base: KnowledgeBase, state: str = "all") -> list[str]:
    return [row.path for row in base.files(state)]  # type: ignore[arg-type]


def found_by(base: KnowledgeBase, question: str) -> set[str]:
    return {hit.path for hit in base.search(question).hits}


def test_a_file_that_is_left_out_answers_no_more_until_it_is_taken_in_again(
    cfg: Config, docs: Path, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        assert base.sync(docs).added == 2
        assert base.leave_out("secret.md").deleted == 1
        assert paths(base) == ["leave.md"]
        assert found_by(base, "What does the director earn?") == {"leave.md"}
        for report in (base.sync(), base.sync(rebuild=True), base.sync()):
            assert (report.failed, paths(base)) == ([], ["leave.md"])
        told = {row.path: row.left_out for row in base.files("left_out")}
        assert {path: file and file.error for path, file in told.items()} == {
            "secret.md": "left out: somebody chose so",
            "odd.xyz": "no reader for '.xyz'",
            "draft.tmp": "left out by ingest.exclude",
        }
        assert all(file and file.hint for file in told.values())
        (docs / "secret.md").write_text("# Salaries\n\nThe director earns 9,500 a month.")
        assert base.sync().empty
        with pytest.raises(CatalogError, match=r"'odd\.xyz' was not left out by choice") as error:
            base.take_in("odd.xyz")
        assert "no reader for '.xyz'" in error.value.hint
        assert base.take_in(f"{docs}/secret.md").added == 1
        assert "secret.md" in found_by(base, "What does the director earn?")
        assert "secret.md" not in paths(base, "left_out")
        with pytest.raises(CatalogError, match=r"knows no file 'none\.md'"):
            base.leave_out("none.md")
        assert base.index.verify() == []


def test_a_file_that_failed_and_one_that_is_the_only_one_of_ten_can_be_left_out(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    docs = write("0.md", "Number 0.").parent
    for n in range(1, 11):
        write(f"{n}.md", f"Number {n}.")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.7 no")
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        assert paths(base, "failed") == ["bad.pdf"]
        base.leave_out("bad.pdf", *(f"{n}.md" for n in range(11)))
        assert (paths(base), paths(base, "failed"), len(base.files("left_out"))) == ([], [], 12)
        base.take_in("bad.pdf", "3.md")
        assert (paths(base), paths(base, "failed")) == (["3.md", "bad.pdf"], ["bad.pdf"])


def test_what_a_run_of_some_paths_leaves_out_changes_nothing_of_the_others(
    cfg: Config, docs: Path, embedder: Embedder
) -> None:
    bases = Bases(cfg)
    run(cfg, "kb", [docs], embedder=embedder)
    index = bases.make("kb")
    before = [file.path for file in index.catalog.left_out(str(docs))]
    leave_out(index, [(str(docs), "leave.md")], cfg.ingest)
    assert [file.path for file in index.catalog.left_out(str(docs))] == sorted([*before, "leave.md"])
    row = file_row(index, str(docs), "leave.md")
    assert row.left_out
    assert (row.card, row.failure) == (None, None)
    assert found(index, "leave.md") == (str(docs), "leave.md")
    take_in(index, [(str(docs), "leave.md")], cfg.ingest)
    assert [file.path for file in index.catalog.left_out(str(docs))] == before


def test_choices_go_into_a_backup_and_from_one_home_into_another_and_back(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, tmp_path: Path
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        base.leave_out("secret.md")
        backup(base.index, tmp_path / "files.tar")
        left = base.index.catalog.left_out(str(docs))
    restore(Path(cfg.app.data), "copy", tmp_path / "files.tar")
    with KnowledgeBase("copy", cfg, embedder) as base:
        assert base.index.catalog.choices(str(docs)) == {"secret.md": Choice(left_out=True)}
        base.sync()
        assert paths(base) == ["leave.md"]
    migrate(cfg, shared.app.database, ["kb"], lambda *_: None)
    with KnowledgeBase("kb", shared, embedder) as base:
        assert base.index.catalog.left_out(str(docs)) == left
        base.sync()
        base.sync(rebuild=True)
        assert paths(base) == ["leave.md"]
        backup(base.index, tmp_path / "database.tar")
        base.take_in("secret.md")
    migrate(shared, "files", ["kb"], lambda *_: None, replace=True)
    with KnowledgeBase("kb", cfg, embedder) as base:
        assert base.index.catalog.choices(str(docs)) == {}
        assert paths(base) == ["leave.md", "secret.md"]
    restore(Path(cfg.app.data), "other", tmp_path / "database.tar")
    with KnowledgeBase("other", cfg, embedder) as base:
        assert base.index.catalog.choices(str(docs)) == {"secret.md": Choice(left_out=True)}


@pytest.mark.slow
def test_a_page_that_is_chosen_is_read_by_ocr_in_the_place_of_its_own_text_and_stays_so(
    cfg: Config, tmp_path: Path, embedder: Embedder
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdf = scan("Background", "")
    recognised = scan("Travel expenses are paid within ten days", "")
    layer = f"BT 3 Tr /F1 8 Tf 5 5 Td ({GARBLED}) Tj ET"  # text that is not drawn
    recognised.pages[0].contents_add(recognised.make_stream(layer.encode()))
    pdf.pages.extend(recognised.pages)
    (docs / "trip.pdf").write_bytes(saved(pdf))
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        before = said(base.index)
        assert "vvq" in before
        assert "paid within ten days" not in before
        assert base.read_by_ocr("trip.pdf", [2]).changed == 1
        assert "paid within ten days" in said(base.index)
        assert "vvq" not in said(base.index)
        base.sync(rebuild=True)
        assert "paid within ten days" in said(base.index)
        (docs / "trip.pdf").rename(docs / "moved.pdf")
        assert base.sync().moved == 1
        assert base.index.catalog.choices(str(docs)) == {"moved.pdf": Choice(ocr_pages=(2,))}
        (row,) = base.files()
        assert row.card
        assert 2 in row.card.ocr_pages
        base.read_by_ocr("moved.pdf", [])
        assert said(base.index) == before
        with pytest.raises(CatalogError, match="has the pages 1 to 2"):
            base.read_by_ocr("moved.pdf", [3])


def said(index: Index) -> str:
    return "\n".join(hit.text for each in index.catalog.documents() for hit in index.catalog.chunks_of(each.id))


def test_pages_are_chosen_of_a_pdf_where_ocr_can_be_had(cfg: Config, docs: Path, embedder: Embedder) -> None:
    drawn("unused").save(docs / "picture.png")
    off = cfg.ingest.model_copy(update={"ocr": "off"})
    run(cfg.model_copy(update={"ingest": off}), "kb", [docs], embedder=embedder)
    index = Bases(cfg).make("kb")
    with pytest.raises(ReadError, match="OCR is off"):
        read_by_ocr(index, (str(docs), "leave.md"), [1], off)
    with pytest.raises(CatalogError, match="has no pages"):
        read_by_ocr(index, (str(docs), "leave.md"), [1], cfg.ingest)
    with pytest.raises(CatalogError, match="is not read"):
        read_by_ocr(index, (str(docs), "picture.png"), [1], cfg.ingest)
    assert index.catalog.choices(str(docs)) == {}


@pytest.mark.parametrize(
    ("text", "pages"), [("3", [3]), ("3, 5-7", [3, 5, 6, 7]), ("2、4–5，9", [2, 4, 5, 9]), ("", []), ("7-5", [])]
)
def test_pages_are_written_as_people_write_them(text: str, pages: list[int]) -> None:
    assert pages_of(text) == pages


@pytest.mark.parametrize("text", ["x", "1-", "-3", "1-2-3", "1.5", "1-999999999"])
def test_what_are_no_pages_is_told(text: str) -> None:
    with pytest.raises(ReadError):
        pages_of(text)


def test_what_was_chosen_in_a_catalog_of_the_form_before_stays_in_a_rebuild_that_comes_first(
    cfg: Config, docs: Path, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        base.leave_out("secret.md")
        file = base.index.home / "g0001" / "catalog.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(
            """CREATE TABLE older AS SELECT folder_id, path, left_out, ocr_pages FROM choices; DROP TABLE choices;
            CREATE TABLE choices(folder_id INTEGER NOT NULL REFERENCES folders, path TEXT NOT NULL, left_out INTEGER NOT
            NULL, ocr_pages TEXT NOT NULL, PRIMARY KEY(folder_id, path)); INSERT INTO choices SELECT * FROM older;
            DROP TABLE older; PRAGMA user_version = 5"""
        )
    run(cfg, "kb", rebuild=True)
    with KnowledgeBase("kb", cfg, embedder) as base:
        assert paths(base) == ["leave.md"]
        assert base.index.catalog.choices(str(docs)) == {"secret.md": Choice(left_out=True)}
