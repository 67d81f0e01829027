"""What was read wrongly is corrected beside the file, found as corrected, and lost only when somebody asks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.api import KnowledgeBase
from app.upkeep.purge import purge
from core.config import Config
from core.errors import CatalogError
from core.types import Hit
from retrieval.embed import Embedder

Write = Callable[[str, str], Path]


def passage(base: KnowledgeBase, question: str, path: str) -> Hit:
    return next(hit for hit in base.search(question, mode="lexical").hits if hit.path == path)


def corrected(base: KnowledgeBase, write: Write) -> Path:
    file = write("leave.md", "# Leave\n\nAnnual lcave is 2S days.\n\nIt is asked for in writing.")
    base.sync(file.parent)
    hit = passage(base, "asked in writing", "leave.md")
    assert not hit.corrected
    report = base.correct(hit.chunk_id, hit.text.replace("lcave is 2S", "leave is 25"))
    assert report.changed == 1
    return file


def test_a_passage_is_found_and_shown_as_corrected_until_the_correction_is_taken_back(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        file = corrected(base, write)
        hit = passage(base, "25", "leave.md")
        assert "Annual leave is 25 days." in hit.text
        assert hit.corrected
        assert file.read_text("utf-8").count("lcave") == 1
        (row,) = base.files("notes")
        assert row.card
        assert row.card.notes == ("corrected by hand: 1",)
        again = base.correct(hit.chunk_id, hit.text.replace("25 days", "25 working days"))
        assert again.changed == 1
        assert "25 working days" in passage(base, "working", "leave.md").text
        assert base.index.verify() == []
        base.take_back("leave.md", 2)
        assert "25 days" in passage(base, "25", "leave.md").text
        base.take_back("leave.md")
        assert "lcave" in passage(base, "annual", "leave.md").text
        with pytest.raises(CatalogError, match="has 0 corrections"):
            base.take_back("leave.md")


def test_it_stays_when_the_file_changes_moves_and_is_rebuilt_and_tells_when_it_no_longer_fits(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        file = corrected(base, write)
        file.write_text("# Leave of absence\n\nMore.\n\n" + file.read_text("utf-8"), "utf-8")
        assert base.sync().changed == 1
        assert "leave is 25" in passage(base, "25 days", "leave.md").text
        file.rename(file.with_name("moved.md"))
        base.sync()
        base.sync(rebuild=True)
        assert "leave is 25" in passage(base, "25 days", "moved.md").text
        file.with_name("moved.md").write_text("# Leave\n\nIt is 30 days.", "utf-8")
        base.sync()
        (row,) = base.files("notes")
        assert row.card
        assert row.card.notes[0].startswith("a correction no longer fits what is read: '")
        assert len(base.index.catalog.choices(str(file.parent))["moved.md"].corrections) == 1


def test_purge_forgets_corrections_of_what_is_gone_and_keeps_those_that_hold(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        file = corrected(base, write)
        other = write("secret.md", "# Pay\n\nThe dircctor earns 9,000 a month.")
        base.sync()
        hit = passage(base, "earns", "secret.md")
        base.correct(hit.chunk_id, hit.text.replace("dircctor", "director"))
        other.unlink()
        base.sync()
        assert set(base.index.catalog.choices(str(file.parent))) == {"leave.md", "secret.md"}
    receipt = purge(Path(cfg.app.data), "kb", embedder)
    assert "corrections of secret.md" in receipt.removed
    with KnowledgeBase("kb", cfg, embedder) as base:
        assert set(base.index.catalog.choices(str(file.parent))) == {"leave.md"}
        assert "leave is 25" in passage(base, "25 days", "leave.md").text
    holding = [f for f in Path(cfg.app.data).rglob("*") if f.is_file() and b"dircctor" in f.read_bytes()]
    assert holding == []


def test_what_cannot_be_corrected_is_said(cfg: Config, write: Write, embedder: Embedder) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(write("a.md", "# A\n\nOne.").parent)
        hit = passage(base, "one", "a.md")
        with pytest.raises(CatalogError, match="nothing was changed"):
            base.correct(hit.chunk_id, hit.text)
        with pytest.raises(CatalogError, match="cannot be corrected to this"):
            base.correct(hit.chunk_id, " \n")
        for number in (0, -1, 10**30):
            with pytest.raises(CatalogError, match="holds no passage"):
                base.correct(number, "x")


def test_what_no_file_could_hold_is_replaced_and_what_two_passages_share_is_corrected_in_both(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    cfg = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 64, "chunk_overlap": 40})})
    lines = [f"Line {n} says that the number of rooms in house {n} is {n * 7}.\n" for n in range(12)]
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(write("a.md", "".join(lines)).parent)
        chunks = base.index.catalog.chunks_of(base.index.catalog.documents()[0].id)
        shared = next(line for line in lines if sum(line in chunk.text for chunk in chunks) == 2)
        hit = next(chunk for chunk in chunks if shared in chunk.text)
        base.correct(hit.chunk_id, hit.text.replace(shared, shared.replace("rooms", "doors \ud800\r")))
        after = base.index.catalog.chunks_of(base.index.catalog.documents()[0].id)
        assert sum("doors ?" in chunk.text or "doors \ufffd" in chunk.text for chunk in after) >= 1
        assert not any(shared in chunk.text for chunk in after)
        assert base.index.verify() == []
