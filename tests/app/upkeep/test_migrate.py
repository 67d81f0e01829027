"""Knowledge bases are carried from files into PostgreSQL and back; nothing is lost where that is cut short."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api import KnowledgeBase
from app.keeping.index import run
from app.upkeep.backup import backup
from app.upkeep.migrate import migrate
from app.upkeep.restore import restore
from core.config import Config
from core.errors import CatalogError, ConfigError
from retrieval import carry
from retrieval.carry import whole
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.conftest import ROOT

Write = Callable[[str, str], Path]


@pytest.fixture
def docs(write: Write) -> Path:
    """Documents with tags, dates, Chinese, a U+0000, one that is stale and one that cannot be read."""
    for n in range(40):
        write(f"many/{n:02d}.md", f"# Number {n}\n\nThe hotel of town {n} has {n + 2} rooms.\n\nBreakfast at {n % 12}.")
    write("zh/年假.md", "---\ntags: [休假]\ndate: 2024-05-01\n---\n# 年假\n\n年假每年二十五天。")
    write("odd.md", "---\ntags: [network]\n---\n# VPN\n\nPort 8443.\x00 Error E-4102 is an expired token.")
    write("empty.txt", "")
    return write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent


def digests(index: Index) -> dict[tuple[str, str], str]:
    """Of each document all that is kept of it, as one digest."""
    catalog: carry.Carried = index.catalog  # type: ignore[assignment]
    return {(each.folder, each.path): whole(catalog, each.id).digest for each in catalog.documents()}


def found(cfg: Config, embedder: Embedder) -> list[list[tuple[str, int, str]]]:
    with KnowledgeBase("kb", cfg, embedder) as base:
        asked = ("How many days of annual leave?", "年假", "E-4102", "breakfast in town 7")
        return [[(hit.path, hit.start, hit.text) for hit in base.search(question).hits] for question in asked]


def indexed(cfg: Config, docs: Path, embedder: Embedder, write: Write) -> dict[tuple[str, str], str]:
    """The documents in files; one of them was read before and cannot be any more."""
    run(cfg, "kb", [docs], embedder=embedder)
    write("many/03.md", "")
    run(cfg, "kb", embedder=embedder)
    with KnowledgeBase("kb", cfg, embedder) as base:
        assert [error.path for error in base.index.catalog.failures()] == ["empty.txt", "many/03.md"]
        return digests(base.index)


def test_all_is_carried_there_and_back_and_what_was_stays(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, write: Write
) -> None:
    before = indexed(cfg, docs, embedder, write)
    stages: list[str] = []
    (moved,) = migrate(cfg, shared.app.database, [], lambda stage, done, total: stages.append(stage))
    assert (moved.kb, moved.documents) == ("kb", len(before) == 43 and 43)
    assert set(stages) == {"carry", "compare"}
    with KnowledgeBase("kb", shared, embedder) as base, KnowledgeBase("kb", cfg, embedder) as old:
        assert digests(base.index) == before == digests(old.index)
        assert base.index.verify() == []
        assert base.index.counts() == old.index.counts()
        assert base.index.catalog.languages() == old.index.catalog.languages()
        assert base.index.catalog.failures() == old.index.catalog.failures()
        assert (
            [card for card in base.index.catalog.cards() if card.stale]
            == [card for card in old.index.catalog.cards() if card.stale]
            != []
        )
    there = found(shared, embedder)
    assert there == found(cfg, embedder)
    report = run(shared, "kb", embedder=embedder)  # what was carried counts as read
    assert (report.added, report.changed, report.unchanged, report.embedded) == (0, 0, 42, 0)
    write("later.md", "# Later\n\nParental leave is 90 days.")
    run(shared, "kb", embedder=embedder)
    with pytest.raises(CatalogError, match="there is a knowledge base 'kb' there already"):
        migrate(shared, "files", [], lambda *_: None)
    migrate(shared, "files", [], lambda *_: None, replace=True)
    with KnowledgeBase("kb", shared, embedder) as base, KnowledgeBase("kb", cfg, embedder) as back:
        assert digests(back.index) == digests(base.index)
        assert len(digests(back.index)) == len(before) + 1
        assert back.index.verify() == []
    assert Index.roll_back(Path(cfg.app.data), "kb") == ("g0001", "g0002")
    with KnowledgeBase("kb", cfg, embedder) as old:
        assert digests(old.index) == before


MOVES = """
import os, sys
from core.config import load
from app.upkeep import migrate
from retrieval import carry
left = [int(sys.argv[2])]
put = carry._put
def dies(*given):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    put(*given)
carry._put, carry._TOGETHER = dies, 4
migrate.migrate(load().config, sys.argv[1], [], lambda *_: None)
"""


def killed(cfg: Config, to: str, after: int) -> int:
    """Carry in another process, which is killed before so many transactions; its exit code."""
    own = {
        "RAGSTONE_DATA": cfg.app.data, "RAGSTONE_APP__DATABASE": cfg.app.database,
        "RAGSTONE_RETRIEVAL__EMBEDDER": cfg.retrieval.embedder,
    }  # fmt: skip
    command = [sys.executable, "-c", MOVES, to, str(after)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | own, timeout=300, check=False).returncode


def test_nothing_is_lost_where_it_is_killed_and_it_goes_on(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = indexed(cfg, docs, embedder, write)
    for after in (1, 4, 3):
        assert killed(cfg, shared.app.database, after) == -signal.SIGKILL
        assert Index.names(Path(cfg.app.data), shared.app.database) == []  # none answers by half
    (docs / "leave.md").unlink()  # what changes meanwhile is not carried as it was
    write("odd.md", "# VPN\n\nAnother port.")
    run(cfg, "kb", embedder=embedder)
    put: list[int] = []
    original = carry._put
    monkeypatch.setattr(carry, "_put", lambda s, d, t: (put.append(len(d)), original(s, d, t)))
    migrate(cfg, shared.app.database, [], lambda *_: None)
    assert 0 < sum(put) < len(before)  # what was there was not carried again
    with KnowledgeBase("kb", shared, embedder) as base, KnowledgeBase("kb", cfg, embedder) as old:
        assert digests(base.index) == digests(old.index) != before
        assert base.index.verify() == []
    back = shared.model_copy(update={"app": shared.app.model_copy(update={"data": cfg.app.data + "-other"})})
    assert killed(back, "files", 3) == -signal.SIGKILL
    assert Index.names(Path(back.app.data)) == []
    migrate(back, "files", ["kb"], lambda *_: None)
    moved = back.model_copy(update={"app": back.app.model_copy(update={"database": ""})})
    with KnowledgeBase("kb", shared, embedder) as base, KnowledgeBase("kb", moved, embedder) as other:
        assert digests(base.index) == digests(other.index)
        assert other.index.verify() == []


def test_a_difference_is_found(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cfg, "kb", [docs], embedder=embedder)
    original = carry._put

    def loses(target: carry.Carried, documents: list[carry.Whole], there: dict[tuple[str, str], int]) -> None:
        original(target, [each for each in documents if each.document["path"] != "leave.md"], there)

    monkeypatch.setattr(carry, "_put", loses)
    with pytest.raises(CatalogError, match=r"1 documents differ, such as \['leave.md'\]"):
        migrate(cfg, shared.app.database, [], lambda *_: None)
    assert Index.names(Path(cfg.app.data), shared.app.database) == []


def test_what_cannot_be_meant_is_refused(cfg: Config, shared: Config, docs: Path, embedder: Embedder) -> None:
    for given, to in ((cfg, "files"), (cfg, ""), (shared, shared.app.database)):
        with pytest.raises(ConfigError, match="nothing to migrate"):
            migrate(given, to, [], lambda *_: None)
    run(cfg, "kb", [docs], embedder=embedder)
    with pytest.raises(CatalogError, match="no knowledge base 'none'"):
        migrate(cfg, shared.app.database, ["none"], lambda *_: None)
    (Path(cfg.app.data) / "kb" / "dictionary.txt").write_text("leave = 休假\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dictionary\.txt"):
        migrate(shared, "", [], lambda *_: None)


def test_the_command_carries_and_says_what_to_set(cfg: Config, shared: Config, docs: Path, embedder: Embedder) -> None:
    run(cfg, "kb", [docs], embedder=embedder)
    own = {"RAGSTONE_DATA": cfg.app.data, "RAGSTONE_RETRIEVAL__EMBEDDER": cfg.retrieval.embedder}
    command = [sys.executable, "-c", "from app.cli import main; main()", "migrate", "--to", shared.app.database]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | own, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "'kb': 43 documents" in done.stdout
    assert "set app.database" in done.stdout


def test_a_backup_of_one_home_is_restored_into_the_other(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    data, before = Path(cfg.app.data), indexed(cfg, docs, embedder, write)
    with KnowledgeBase("kb", cfg, embedder) as base:
        backup(base.index, tmp_path / "files.tar")
    _, followed = restore(data, "kb", tmp_path / "files.tar", cfg=shared)
    assert followed == [str(docs)]
    with KnowledgeBase("kb", shared, embedder) as base:
        assert digests(base.index) == before
        assert base.index.verify() == []
        manifest = backup(base.index, tmp_path / "database.tar")
    assert "catalog.sqlite" in manifest["files"]
    with pytest.raises(CatalogError, match="there is a knowledge base 'kb' already"):
        restore(data, "kb", tmp_path / "database.tar", cfg=shared)
    run(shared, "kb", [write("../more/new.md", "# New\n\nMore.").parent.resolve()], embedder=embedder)
    restore(data, "kb", tmp_path / "database.tar", cfg=shared, replace=True)
    with KnowledgeBase("kb", shared, embedder) as base:
        assert digests(base.index) == before
        Index.roll_back(data, "kb", shared.app.database)
        assert len(digests(base.index)) == len(before) + 1
    restore(data, "copy", tmp_path / "database.tar")
    with KnowledgeBase("copy", cfg, embedder) as base:
        assert digests(base.index) == before
        assert base.index.verify() == []


def test_a_damaged_backup_leaves_the_database_as_it_was(
    cfg: Config, shared: Config, docs: Path, embedder: Embedder, tmp_path: Path
) -> None:
    run(cfg, "kb", [docs], embedder=embedder)
    with KnowledgeBase("kb", cfg, embedder) as base:
        backup(base.index, tmp_path / "kb.tar")
    whole_file = (tmp_path / "kb.tar").read_bytes()
    (tmp_path / "kb.tar").write_bytes(whole_file.replace(b"Annual leave is 25 days", b"Annual leave is 99 days"))
    with pytest.raises(CatalogError, match="checksums do not match"):
        restore(Path(cfg.app.data), "other", tmp_path / "kb.tar", cfg=shared)
    assert Index.names(Path(cfg.app.data), shared.app.database) == []
