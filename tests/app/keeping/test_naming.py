"""Tags and dates that somebody gives to files hold in every search, and stay when the files are read again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.api import KnowledgeBase
from app.keeping.naming import date_of, tags_of
from app.upkeep.backup import backup
from app.upkeep.restore import restore
from core.config import Config
from core.errors import ReadError
from retrieval.embed import Embedder
from retrieval.filters import Filter

Write = Callable[[str, str], Path]


@pytest.fixture
def docs(write: Write) -> Path:
    write("leave.md", "---\ntags: [hr]\ndate: 2020-01-01\n---\n# Leave\n\nAnnual leave is 25 days.")
    return write("travel.md", "# Travel\n\nA night on a business trip is paid up to 120 euros.").parent


def within(base: KnowledgeBase, where: Filter) -> set[str]:
    return {hit.path for hit in base.search("days euros", mode="lexical", where=where).hits}


def named(base: KnowledgeBase) -> dict[str, tuple[tuple[str, ...], str]]:
    return {row.path: (row.card.tags, row.card.date) for row in base.files() if row.card}


def test_a_search_finds_files_by_the_tags_and_the_date_that_they_were_given(
    cfg: Config, docs: Path, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        assert named(base)["leave.md"] == (("hr",), "2020-01-01")
        assert within(base, Filter(tags=("travel",))) == set()
        report = base.tag("travel.md", "leave.md", add=["Travel", "2025"])
        assert (report.named, report.changed, report.added) == (2, 0, 0)
        assert within(base, Filter(tags=("travel",))) == {"leave.md", "travel.md"}
        assert base.tag("leave.md", remove=["travel", "2025"]).named == 1
        assert named(base)["leave.md"] == (("hr",), "2020-01-01")
        base.label("travel.md", tags=["旅行"], date="2021-05")
        assert within(base, Filter(since="2021-05", until="2021-05")) == {"travel.md"}
        assert within(base, Filter(tags=("travel",))) == set()
        assert base.index.verify() == []


def test_they_stay_when_a_file_is_changed_moved_rebuilt_backed_up_and_go_when_the_file_is_to_speak_for_itself(
    cfg: Config, docs: Path, embedder: Embedder, tmp_path: Path
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(docs)
        base.label("leave.md", tags=["mine"], date="2022")
        (docs / "leave.md").write_text("---\ntags: [other]\n---\n# Leave\n\nAnnual leave is 26 days.", "utf-8")
        assert base.sync().changed == 1
        assert named(base)["leave.md"] == (("mine",), "2022")
        (docs / "leave.md").rename(docs / "moved.md")
        assert base.sync().moved == 1
        base.sync(rebuild=True)
        assert named(base)["moved.md"] == (("mine",), "2022")
        backup(base.index, tmp_path / "kb.tar")
        restore(Path(cfg.app.data), "copy", tmp_path / "kb.tar", cfg=cfg)
        with KnowledgeBase("copy", cfg, embedder) as copy:
            assert named(copy)["moved.md"] == (("mine",), "2022")
        assert base.label("moved.md").named == 1
        assert named(base)["moved.md"] == (("other",), "")


def test_what_is_no_tag_and_no_date_is_refused_with_what_to_write() -> None:
    assert tags_of("Travel,  Kosten ，差旅、2025\ntravel") == ("travel", "kosten", "差旅", "2025")
    assert tags_of(" ,") == ()
    assert [date_of(text) for text in (" 2025-02-28 ", "2025-02", "2025", "")] == ["2025-02-28", "2025-02", "2025", ""]
    for text in ("2025-02-30", "2025-13", "25", "0000", "yesterday", "2025-1-1", "２０２５"):
        with pytest.raises(ReadError, match="is no date"):
            date_of(text)
    with pytest.raises(ReadError, match="is no tag"):
        tags_of("x" * 65)
    with pytest.raises(ReadError, match="is no tag"):
        tags_of("a\u200b\u0007b")
    with pytest.raises(ReadError, match="51 tags are more than"):
        tags_of(",".join(map(str, range(51))))
