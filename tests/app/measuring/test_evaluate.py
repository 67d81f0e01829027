import json
import math
from pathlib import Path

import numpy as np
import pytest

from app.measuring import evaluate
from app.measuring.compare import compare_folder, compare_golden, contrast, moved, needs_another_index, varied
from app.measuring.evaluate import METRICS, Judged, Outcome, Question, judge_documents, judge_evidence
from app.measuring.golden import made
from core.config import Config, load
from core.errors import ConfigError, EvalError
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import search
from tests.retrieval.corpus import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"_id": "leave", "title": "Leave", "text": "Staff receive 25 days of paid vacation a year. " * 20},
            {"_id": "vpn", "title": "VPN", "text": "The port of the server is 8443."},
            {"_id": "hotel", "title": "Hotel", "text": "A night costs at most 180 euros."}]  # fmt: skip
    queries = [{"_id": "1", "text": "How much holiday do employees get?", "lang": "en", "answers": ["25"]},
               {"_id": "2", "text": "port 8443"}, {"_id": "3", "text": " "}, {"_id": "4", "text": "nobody judged it"},
               {"_id": "5", "text": "Who is the king?", "unanswerable": True}]  # fmt: skip
    for name, items in (("corpus", rows), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("1\tleave\t1\n2\tvpn\t2\n2\thotel\t0\n3\tvpn\t1\n5\tvpn\t1\n", encoding="utf-8")
    return tmp_path


def sets(*groups: set[int]) -> list[frozenset[int]]:
    return [frozenset(group) for group in groups]


def test_evidence_is_judged_as_worked_by_hand() -> None:
    judged = judge_evidence(sets(set(), {0}, {0, 1}), sets({0, 1}), 2, k=2)
    dcg = 1 / math.log2(3) + 1 / math.log2(4)  # the third passage adds one sentence
    assert judged.scores == pytest.approx((dcg / 2, 1.0, 1.0, 0.5, 0.5))
    assert judged.rank == 2


def test_the_best_order_of_evidence_is_the_greedy_one() -> None:
    ideal = sets({0}, {0, 1}, {2})  # {0, 1} first, {2} second, nothing third
    judged = judge_evidence(sets({2}), ideal, 3, k=8)
    assert judged.scores[0] == pytest.approx(1 / (2 + 1 / math.log2(3)))
    assert judge_evidence(sets({0, 1}, {2}), ideal, 3, k=8).scores == pytest.approx((1, 1, 1, 1, 1))
    assert judge_evidence(sets({0, 1, 2}), ideal, 3, k=8).scores[0] == 1.0  # better than any chunk of the file


def test_nothing_found_is_zero_and_a_late_rank_counts_where_it_should() -> None:
    assert judge_evidence(sets(), sets({0}), 1, k=8) == Judged((0.0,) * 5, None)
    late = judge_evidence(sets(*[set()] * 10, {0}), sets({0}), 1, k=8)
    assert (late.scores, late.rank) == ((0.0, 0.0, 1.0, 0.0, 0.0), 11)


def test_documents_are_judged_by_their_best_chunk() -> None:
    judged = judge_documents(["x", "x", "b", "x", "a"], {"a": 3.0, "b": 1.0, "x": 0.0}, k=2)
    dcg = 1 / math.log2(3) + 3 / math.log2(4)
    assert judged.scores == pytest.approx((dcg / (3 + 1 / math.log2(3)), 1.0, 1.0, 0.5, 0.0))
    assert judged.rank == 2


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.zeros((400, len(METRICS)))
    values[:100, 0] = 1.0  # mean 0.25, standard error sqrt(0.25 * 0.75 / 400)
    values[:, 1] = -0.125
    found = evaluate.intervals(values)
    half = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert found["ndcg@10"] == pytest.approx([0.25 - half, 0.25 + half], abs=0.005)
    assert found["recall@10"] == [-0.125, -0.125]
    assert evaluate.intervals(values) == found
    assert evaluate.intervals(values[:0])["mrr@10"] == [0.0, 0.0]


def test_questions_that_cannot_be_ranked_are_left_out_and_counted(folder: Path) -> None:
    testset = evaluate.read_testset(folder)
    assert [(q.id, q.text, q.document) for q in testset.questions] == [
        ("1", "How much holiday do employees get?", "leave"), ("2", "port 8443", "vpn"),
    ]  # fmt: skip
    assert testset.skipped == {"empty": 1, "unjudged": 1, "unanswerable": 1}


def test_an_evaluation_says_on_what_it_stands(folder: Path, cfg: Config, embedder: Embedder) -> None:
    result = evaluate.evaluate(folder, cfg, embedder)
    assert (result["questions"], result["documents"]) == (2, 3)
    assert result["modes"]["lexical"]["ndcg@10"] == 0.5
    assert result["modes"]["dense"]["ndcg@10"] == result["modes"]["hybrid"]["recall@k"] == 1.0
    assert result["intervals"]["lexical"]["mrr@10"] == [0.0, 1.0]
    json.dumps(result)


@pytest.mark.parametrize(
    ("name", "line", "part"),
    [("qrels.tsv", "1 leave 1", "qrels.tsv:6"), ("queries.jsonl", "{", "queries.jsonl:6")],
)
def test_a_malformed_line_is_named(folder: Path, name: str, line: str, part: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as handle:
        handle.write(("" if name == "qrels.tsv" else "\n") + line)
    with pytest.raises(EvalError, match=part):
        evaluate.read_testset(folder)


def other_of(cfg: Config, **changes: object) -> Config:
    return cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update=changes)})


def test_a_worse_setting_is_found_with_the_questions_it_costs(folder: Path, cfg: Config) -> None:
    result = compare_folder(folder, cfg, other_of(cfg, mode="lexical"))
    (lost,) = result["worse"]
    assert (lost["question"], lost["document"]) == ("How much holiday do employees get?", "leave")
    assert (lost["rank_before"], lost["rank_after"], result["better"]) == (1, None, [])
    row = result["difference"]["ndcg@10"]
    assert (row["mean"], row["low"], row["high"]) == (-0.5, -1.0, 0.0)
    assert (row["better"], row["worse"], row["equal"]) == (0, 1, 1)
    assert (result["before"]["ndcg@10"], result["after"]["ndcg@10"]) == (1.0, 0.5)


def test_configurations_are_timed_side_by_side_after_a_warm_up_of_each(
    folder: Path, cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    remembered: list[bool] = []

    def watched(index: Index, queries: list[str], *args: object, mode: str, **named: object) -> object:
        asked.append((queries[0], mode))
        vector, embedded = index.embedder.embed_query, []
        monkeypatch.setattr(index.embedder, "embed_query", lambda text: embedded.append(text) or vector(text))
        found = search(index, queries, *args, mode=mode, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(index.embedder, "embed_query", vector)
        remembered.append(mode != "lexical" and not embedded)
        return found

    monkeypatch.setattr(evaluate, "search", watched)
    compare_folder(folder, cfg, other_of(cfg, mode="dense"))
    one, two = "How much holiday do employees get?", "port 8443"
    assert asked == [
        ("warm up", "hybrid"), ("warm up", "dense"), (one, "hybrid"), (one, "dense"), (two, "dense"), (two, "hybrid"),
    ]  # fmt: skip
    assert not any(remembered[2:])


def test_a_folder_is_indexed_twice_where_a_setting_needs_it(folder: Path, cfg: Config) -> None:
    other = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 20})})
    stages: set[str] = set()
    indexed: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.add(stage)
        indexed.extend([done] * (stage == "index"))

    result = compare_folder(folder, cfg, other, progress)
    assert indexed == [1, 2, 3, 1, 2, 3]
    assert stages >= {"search hybrid (now)", "search hybrid (against)"}
    assert result["questions"] == 2


def test_another_setting_is_read_as_the_command_line_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGSTONE_RETRIEVAL__EMBEDDER")
    settings = load(flags={"retrieval.k": "5", "llm.api_key": "secret"}, environ={})
    other, changed = varied(settings, ["retrieval.mode = dense", "retrieval.dense_weight=1"])
    assert changed == {"retrieval.mode": "dense", "retrieval.dense_weight": 1.0}
    assert (other.retrieval.k, other.retrieval.mode, other.llm.api_key) == (5, "dense", "secret")
    assert needs_another_index(settings.config, other) == []
    assert varied(settings, ["retrieval.rerank_key=hidden"])[1] == {}


@pytest.mark.parametrize("item", ["retrieval.mode", "llm.model=x", "mode=dense", "retrieval.nope=1", "retrieval.k=0"])
def test_a_setting_that_cannot_be_compared_is_refused(item: str) -> None:
    with pytest.raises(ConfigError):
        varied(load(environ={}), [item])


def test_a_knowledge_base_is_not_compared_with_another_index(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    other = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 100})})
    with pytest.raises(ConfigError, match=r"ingest\.chunk_tokens: this knowledge base was read"):
        compare_golden(index, [], cfg, other)
    with pytest.raises(ConfigError, match=r"retrieval\.embedder"):
        compare_golden(index, [], cfg, other_of(cfg, embedder="elsewhere"))


def test_questions_that_moved_stand_by_how_far() -> None:
    def outcome(ndcg: float, k: float, rank: int | None) -> Outcome:
        return Outcome(Judged((ndcg, 1.0, 1.0, 1.0, k), rank), 1.0)

    questions = tuple(Question(str(n), f"q{n}", "d", lambda hits, k: Judged((), None)) for n in range(5))
    before = [outcome(1, 1, 1), outcome(1, 1, 1), outcome(0.5, 1, 3), outcome(0, 0, None), outcome(0.5, 1, 2)]
    after = [outcome(0.9, 1, 2), outcome(0, 0, None), outcome(0.5, 0, 3), outcome(0, 0, 40), outcome(0.5, 1, 2)]
    found = moved(evaluate.TestSet(questions, 100, {}), before, after)
    assert [row["id"] for row in found["worse"]] == ["1", "0", "2"]  # the last lost it from the first k
    assert [(row["id"], row["rank_before"], row["rank_after"]) for row in found["better"]] == [("3", None, 40)]
    difference = contrast(before, after)["difference"]["recall@k"]
    assert (difference["mean"], difference["worse"], difference["equal"]) == (-0.4, 2, 3)


def test_only_approved_questions_are_measured_and_the_rest_is_reported(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    asked = [
        made("How many days of annual leave?", ["Annual leave is 25 days."], "leave.md", "person", status="approved"),
        made("What is E-4102?", ["Error E-4102 means the token has expired."], "vpn.md", "person", status="approved"),
        made("Where is the canteen?", ["In the cellar."], "leave.md", "person", status="approved"),
        made("Which hotel?", ["Hotels up to 180 euros"], "travel.md", "person"),
        made("Nonsense?", ["Hotels up to 180 euros"], "travel.md", "person", status="rejected"),
    ]
    result = evaluate.report(index, evaluate.golden_testset(index, asked), cfg)
    assert (result["questions"], result["skipped"]) == (2, {"draft": 1, "rejected": 1})
    assert [row["question"] for row in result["out_of_date"]] == ["Where is the canteen?"]
    assert result["modes"]["hybrid"]["mrr@10"] == result["modes"]["hybrid"]["recall@k"] == 1.0
    with pytest.raises(EvalError, match=r"no approved question \(1 in all\)"):
        evaluate.golden_testset(index, asked[3:4])


def test_how_many_passages_an_answer_gets_shows_in_recall_at_k(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    both = ["Annual leave is 25 days.", "Hotels up to 180 euros a night."]
    question = made("annual leave and hotels", both[:1], "leave.md", "person", status="approved")
    late = made(
        "What is reimbursed? annual leave 25 days sick leave", both[1:], "travel.md", "person", status="approved"
    )
    result = compare_golden(index, [question, late], cfg, other_of(cfg, k=1))
    assert (result["before"]["recall@k"], result["after"]["recall@k"]) == (1.0, 0.5)
    assert result["difference"]["ndcg@10"]["equal"] == 2
    assert [row["id"] for row in result["worse"]] == [late.id]
