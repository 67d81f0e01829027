from itertools import pairwise
from pathlib import Path

import pytest

from core.config import Config, RetrievalConfig
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.search import relevance, search, widen
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
    k = cfg.retrieval.rrf_k
    assert best.score == pytest.approx(1 / (k + 1))  # both weights, which sum to 1


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
    orders = (["p1.md", "p2.md", "p3.md"], ["p3.md", "p1.md", "p2.md"])
    found = []
    for number, names in enumerate(orders):
        app = cfg.app.model_copy(update={"data": str(tmp_path / str(number))})
        index = build(cfg.model_copy(update={"app": app}), embedder, dict.fromkeys(names, text))
        found.append([(h.path, h.score) for h in search(index, ["turbine hall"], cfg.retrieval)])
    assert found[0] == found[1]
    assert [path for path, _ in found[0]] == ["p1.md", "p2.md", "p3.md"]
