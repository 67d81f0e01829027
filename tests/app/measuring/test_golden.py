import json
from pathlib import Path

import pytest

from app.measuring import golden
from app.measuring.golden import GoldenQuestion, locate, made
from app.upkeep.backup import backup
from app.upkeep.purge import purge
from app.upkeep.restore import restore
from core.config import Config
from core.errors import EvalError
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.retrieval.corpus import build
from tests.retrieval.sql import select

LEAVE = "Annual leave is 25 days. Sick leave needs a certificate after three days."


def row(**changes: object) -> str:
    plain = {"id": "a", "question": "How long?", "evidence": ["25 days"], "file": "leave.md", "status": "draft"}
    return json.dumps(plain | changes, ensure_ascii=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "golden.jsonl"


def test_a_question_is_read_back_as_it_was_added(file: Path) -> None:
    question = made(
        "年假有几天？", ["年假每年\u2028二十五天。"], "zh/nianjia.md", "faq", folder="/docs", page=3, answer="25"
    )
    assert (question.language, question.status) == ("zh", "draft")
    assert golden.append(file, [question]) == [question]
    assert golden.read(file) == [question]
    assert golden.append(file, [question]) == []  # its id is there
    assert file.read_text("utf-8").count("\n") == 1


def test_a_golden_set_that_is_not_there_is_empty(file: Path) -> None:
    assert golden.read(file) == []


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{not json", "Invalid JSON"),
        ("[]", "object"),
        (row(evidence=[]), "evidence"),
        (row(evidence=[" "]), "evidence.0"),
        (row(evidence="25 days"), "evidence"),
        (row(status="aproved"), "'approved'"),
        (row(page=0), "page"),
        (row(anwser="x"), "anwser"),
        (row(id="first"), "id 'first' is that of line 1 too"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(file: Path, line: str, part: str) -> None:
    file.write_text(f"{row(id='first')}\n\n{line}\n", "utf-8")
    with pytest.raises(EvalError, match=r"golden\.jsonl:3: ") as caught:
        golden.read(file)
    assert part in caught.value.message


def test_a_file_that_is_not_utf8_is_an_error(file: Path) -> None:
    file.write_bytes("年假".encode("gbk"))
    with pytest.raises(EvalError, match="not UTF-8"):
        golden.read(file)


def test_lines_that_are_not_touched_stay_to_the_byte(file: Path) -> None:
    mine = '{"question" : "Ça va?",   "id":"a", "evidence":["\\u00e9t\\u00e9"],"file":"x.md","status":"draft"}'
    file.write_text(f"\ufeff{mine}\n\n{row(id='b')}\n{row(id='c')}", "utf-8")
    golden.set_status(file, ["b"], "approved")
    lines = file.read_text("utf-8").split("\n")
    assert (lines[0], lines[1], lines[3], lines[4]) == (mine, "", row(id="c"), "")
    assert json.loads(lines[2])["status"] == "approved"
    golden.forget(file, ["b"])
    assert file.read_text("utf-8").split("\n") == [mine, "", row(id="c"), ""]


def test_an_unknown_id_changes_nothing(file: Path) -> None:
    file.write_text(row(), "utf-8")
    for change in (lambda: golden.set_status(file, ["a", "zz"], "approved"), lambda: golden.forget(file, ["zz"])):
        with pytest.raises(EvalError, match="no question zz"):
            change()
    assert file.read_text("utf-8") == row()


def test_a_write_that_fails_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(row(), "utf-8")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EvalError, match="No space left"):
        golden.set_status(file, ["a"], "approved")
    assert file.read_text("utf-8") == row()
    assert [p.name for p in file.parent.glob("*.writing")] == []


def test_a_link_to_a_golden_set_stays_a_link(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text(row(), "utf-8")
    file.symlink_to(kept)
    golden.set_status(file, ["a"], "rejected")
    assert file.is_symlink()
    assert golden.read(kept)[0].status == "rejected"


def passages(index: Index, question: GoldenQuestion) -> list[str]:
    """The texts of the chunks that hold the first evidence sentence."""
    (located,), _ = locate(index, [question])
    return sorted(hit.text for hit in index.hits(list(located.homes[0])).values())


def test_evidence_is_found_whatever_its_white_space_width_and_script(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder, {"a.md": "Sick leave needs\na  certificate.", "b.md": "病假超过 3 天\n需要证明。"})
    assert passages(index, made("?", ["sick LEAVE needs a certificate."], "a.md", "person")) == [
        "Sick leave needs\na  certificate."
    ]
    assert passages(index, made("?", ["病假超過３天需要證明"], "b.md", "person")) == ["病假超过 3 天\n需要证明。"]


def test_the_chunk_with_the_larger_part_holds_evidence_that_a_boundary_cuts(cfg: Config, embedder: Embedder) -> None:
    cut = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 16, "chunk_overlap": 0})})
    first = "The travel department refunds railway tickets within thirty calendar days."
    second = "Hotel bills likewise, whenever the receipt is an original paper one."
    index = build(cut, embedder, {"a.md": f"{first} {second}"})
    assert index.counts().chunks == 2
    assert passages(index, made("?", [f"{first} Hotel"], "a.md", "person")) == [first]
    assert passages(index, made("?", [f"days. {second}"], "a.md", "person")) == [second]


def test_a_copy_in_another_file_counts_where_it_is_long_enough(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder, {"leave.md": LEAVE, "copy.md": f"Copied: {LEAVE}", "other.md": "It took 25 days."})
    documents = select(index.catalog, "SELECT id, path FROM documents")
    hits = {path: index.catalog.around(i, 0, 9)[0] for i, path in documents}
    (long,), _ = locate(index, [made("?", ["Annual leave is 25 days.", "after three days"], "leave.md", "person")])
    (short,), _ = locate(index, [made("?", ["25 days"], "leave.md", "person")])
    assert long.held_by(hits["leave.md"]) == {0, 1}
    assert long.held_by(hits["copy.md"]) == {0}  # "after three days" is too short to count elsewhere
    assert short.held_by(hits["leave.md"]) == {0}
    assert short.held_by(hits["other.md"]) == frozenset()


def test_what_is_out_of_date_is_named_with_its_reason(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder, {"leave.md": LEAVE})
    asked = [made("now?", ["25 days"], "leave.md", "person"), made("gone?", ["25 days"], "old.md", "person"),
             made("changed?", ["25 days", "30 days"], "leave.md", "person"),
             made("elsewhere?", ["25 days"], "leave.md", "person", folder="/other")]  # fmt: skip
    found, gone = locate(index, asked)
    assert [located.question.question for located in found] == ["now?"]
    assert [(row.question, row.reason) for row in gone] == [
        ("gone?", "the file is not in the knowledge base"),
        ("changed?", "the file no longer says '30 days'"),
        ("elsewhere?", "the file is not in the knowledge base"),
    ]


def test_a_person_adds_what_the_document_says_and_nothing_else(cfg: Config, embedder: Embedder, file: Path) -> None:
    index = build(cfg, embedder, {"hr/leave.md": LEAVE})
    added = golden.add(index, file, "How many days?", ["Annual leave is 25 days."], "hr/leave.md")
    assert (added.status, added.source, golden.read(file)) == ("approved", "person", [added])
    for question, evidence, document, part in (
        ("How many?", "30 days", "hr/leave.md", "no longer says"),
        ("How many?", "25 days", "leave.md", "not in the knowledge base"),
        (" ", "25 days", "hr/leave.md", "cannot be asked"),
        ("How \udce9 many?", "25 days", "hr/leave.md", "cannot be asked"),
        ("How many days?", "25 days", "hr/leave.md", "already"),
    ):
        with pytest.raises(EvalError, match=part):
            golden.add(index, file, question, [evidence], document)
    with pytest.raises(EvalError) as caught:
        golden.add(index, file, "How many?", ["25 days"], "hr/leaves.md")
    assert "did you mean hr/leave.md" in caught.value.hint
    assert golden.read(file) == [added]


def test_a_backup_keeps_what_people_wrote_and_purge_forgets_what_quotes_a_deleted_document(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    data = Path(cfg.app.data)
    index = build(cfg, embedder)
    file = golden.golden_file(data, "kb")
    stays = golden.add(index, file, "How long is the leave?", ["Annual leave is 25 days."], "leave.md")
    golden.add(index, file, "Which port?", ["Connect to vpn.lanting.example on port 8443."], "vpn.md")
    (data / "kb" / "dictionary.txt").write_text("PTO = annual leave\n", "utf-8")

    backup(index, tmp_path / "kb.tar")
    restore(data, "copy", tmp_path / "kb.tar")
    assert (data / "copy" / "dictionary.txt").read_text("utf-8") == "PTO = annual leave\n"
    assert len(golden.read(golden.golden_file(data, "copy"))) == 2

    (document,) = [i for i, path in select(index.catalog, "SELECT id, path FROM documents") if path == "vpn.md"]
    with index.writing() as catalog, catalog.transaction() as write:
        write.remove(document)
    index.close()
    receipt = purge(data, "kb", embedder)
    assert golden.read(file) == [stays]
    assert any(name.startswith("golden.jsonl: ") for name in receipt.removed)
    assert not any(b"vpn.lanting" in path.read_bytes() for path in (data / "kb").rglob("*") if path.is_file())
