"""The report on a collection, over real indexes in both languages."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.answering import unanswered
from app.keeping.index import run
from app.measuring.overview import COMPARED, Overview, alike, overview
from core.config import Config, load
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.minhash import sketch
from retrieval.plugged import embedder_of
from retrieval.reading import Sketched, Version
from retrieval.transaction import DAMAGED

Write = Callable[[str, str], Path]

DAY = 86_400
LEAVE = "# Leave\n\n" + " ".join(f"Rule {n}: annual leave of kind {n} is {n + 20} days a year." for n in range(40))
NIANJIA = "# 年假\n\n" + "".join(f"第{n}条：第{n}类年假每年为{n + 20}天，须提前申请。" for n in range(40))


def aged(file: Path, days: float) -> Path:
    then = time.time() - days * DAY
    os.utime(file, (then, then))
    return file


def looked(cfg: Config, embedder: Embedder, docs: Path) -> Overview:
    run(cfg, "kb", [docs], embedder=embedder)
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    try:
        return overview(index, cfg)
    finally:
        index.close()


def test_it_says_what_is_there_what_failed_what_is_twice_and_what_is_old(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    aged(write("hr/leave-2023.md", LEAVE), 900)
    aged(write("hr/leave-2024.md", LEAVE.replace("kind 7", "kind seven")), 2)
    write("zh/年假.md", NIANJIA)
    write("zh/年假 副本.MD", NIANJIA)
    write("pump.txt", "The pump of hall two runs at night.")
    docs = write("empty.md", "").parent
    for name in ("a.pdf", "b.pdf"):
        (docs / name).write_bytes(b"%PDF-1.7 no")
    found = looked(cfg, embedder, docs)
    assert (found.kb, found.documents) == ("kb", 5)
    assert {row.name: row.files for row in found.languages} == {"en": 3, "zh": 2}
    assert {row.name: row.files for row in found.formats} == {"md": 4, "txt": 1}
    assert sum(row.chunks for row in found.formats) == sum(row.chunks for row in found.languages) == found.chunks
    assert found.failed == 3
    assert [(row.count, row.paths) for row in found.unread] == [(2, ("a.pdf", "b.pdf")), (1, ("empty.md",))]
    english, chinese = found.alike
    assert [(file.path, file.older) for file in english.files] == [
        ("hr/leave-2024.md", False), ("hr/leave-2023.md", True),
    ]  # fmt: skip
    assert 0.8 <= english.files[1].likeness < 1.0
    assert {file.path for file in chinese.files} == {"zh/年假.md", "zh/年假 副本.MD"}
    assert chinese.files[1].likeness == 1.0
    assert (found.duplicates, found.superseded, found.compared) == (4, 1, 5)
    assert [row.path for row in found.old] == ["hr/leave-2023.md"]
    assert (found.old_files, found.months) == (1, 24)
    assert (found.kept, found.wordings, found.missing) == (False, 0, ())


def test_how_old_is_old_may_be_said(cfg: Config, embedder: Embedder, write: Write) -> None:
    aged(write("new.md", "# New\n\nText of a month ago."), 40)
    docs = aged(write("old.md", "# Old\n\nText of a year ago."), 400).parent
    run(cfg, "kb", [docs], embedder=embedder)
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    by_months = {months: [row.path for row in overview(index, cfg, months).old] for months in (1, 12, 24)}
    assert by_months == {1: ["old.md", "new.md"], 12: ["old.md"], 24: []}
    later = time.time() + 365 * DAY
    assert overview(index, cfg, 12, later).old_files == 2
    index.close()


def test_an_empty_knowledge_base_has_a_report(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    found = looked(cfg, embedder, tmp_path / "docs")
    assert (found.documents, found.languages, found.alike, found.old, found.missing) == (0, (), (), (), ())
    assert found.as_json()["kb"] == "kb"


def sketched(n: int, text: str, known: str = "") -> Sketched:
    return Sketched("/docs", known or str(n), Version(n, f"{n}.md", 10**18, sketch(text)))


def test_of_a_thousand_files_of_one_form_each_is_compared_with_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(one: bytes, other: bytes) -> float:
        from retrieval.minhash import similarity

        compared.append(1)
        return similarity(one, other)

    monkeypatch.setattr("app.measuring.overview.similarity", counting)
    documents = [sketched(n, f"{LEAVE} Invoice {n}.") for n in range(1000)]
    (group,) = alike(documents)
    assert len(group) == 1000
    assert len(compared) < 80 * 1000
    assert COMPARED < 10_000


def test_files_that_say_different_things_are_apart_and_short_ones_only_the_same_by_their_bytes() -> None:
    documents = [sketched(1, LEAVE), sketched(2, NIANJIA), sketched(3, "short", "x"), sketched(4, "short", "x"),
                 sketched(5, "", DAMAGED), sketched(6, "", DAMAGED)]  # fmt: skip
    assert [[row.path for row in group] for group in alike(documents)] == [["4.md", "3.md"]]


def test_questions_of_one_kind_are_together_in_both_languages_and_lead_to_what_is_nearest(
    handbook: Path, tmp_path: Path
) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    flags = {"app.data": str(tmp_path / "data"), "app.keep_unanswered": "true", "llm.backend": "extractive"}
    cfg = load(flags=flags, environ={}).config
    index = Index.open(tmp_path / "data", "handbook", embedder_of(cfg.retrieval))
    asked = {
        "How much is the lunch allowance?": 2, "What is the allowance for lunch?": 1,
        "公司有健身房吗？": 3, "公司有没有健身房": 1, "Who repairs the coffee machine?": 1,
    }  # fmt: skip
    for question, times in asked.items():
        for _ in range(times):
            unanswered.keep([index.home], question)
    found = overview(index, cfg)
    index.close()
    assert found.kept
    assert found.wordings == len(asked)
    assert [(row.asked, set(row.questions)) for row in found.missing] == [
        (4, {"公司有健身房吗？", "公司有没有健身房"}),
        (3, {"How much is the lunch allowance?", "What is the allowance for lunch?"}),
        (1, {"Who repairs the coffee machine?"}),
    ]
    for row in found.missing:
        assert len(row.ids) == len(row.questions)
        assert row.nearest is not None
        assert row.nearest.path
        assert not row.nearest.read_since


def test_what_the_embedder_cannot_read_stays_alone_and_a_file_that_came_since_is_told(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    docs = write("pump.md", "# Pump\n\nThe pump of hall two runs at night.").parent
    run(cfg, "kb", [docs], embedder=embedder)
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    for question in ("红烧肉怎么做", "红烧肉如何做", "Which pump runs at noon?"):
        unanswered.keep([index.home], question)
    before = {row.questions: row for row in overview(index, cfg).missing}
    assert len(before) == 3
    nearest = before[("Which pump runs at noon?",)].nearest
    assert nearest is not None
    assert (nearest.path, nearest.headings, nearest.read_since) == ("pump.md", ("Pump",), False)
    index.close()
    write("pump.md", "# Pump\n\nThe pump of hall two runs at night, that of hall three at noon.")
    run(cfg, "kb", [docs], embedder=embedder)
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    (after,) = [row.nearest for row in overview(index, cfg).missing if row.questions == ("Which pump runs at noon?",)]
    assert after is not None
    assert after.read_since
    index.close()
