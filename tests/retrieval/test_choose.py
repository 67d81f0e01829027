from dataclasses import replace

import pytest

from core.config import Config, RetrievalConfig
from core.types import Hit
from retrieval.choose import choose
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.retrieval.corpus import build


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    same = "The turbine hall is closed on Mondays for inspection"
    return build(
        cfg, embedder, {"a.md": f"{same}.", "b.md": f"{same} again.", "c.md": "Visitors wear a helmet at all times."}
    )


def hits(index: Index, *names: str) -> list[Hit]:
    """The chunks of some files, scored 1.0, 0.9 and so on."""
    found = {hit.path: hit for hit in index.catalog.hits(range(1, 10)).values()}
    return [replace(found[name], score=1 - place / 10) for place, name in enumerate(names)]


def chosen(index: Index, given: list[Hit], k: int, cfg: Config, **changes: object) -> tuple[list[str], dict[int, str]]:
    settings: RetrievalConfig = cfg.retrieval.model_copy(update={"prefer_newest": False} | changes)
    kept, dropped = choose(index.catalog, given, settings, k)
    return [hit.path for hit in kept], dropped


def test_diversity_holds_back_what_repeats_a_better_hit(index: Index, cfg: Config) -> None:
    given = hits(index, "a.md", "b.md", "c.md")
    assert chosen(index, given, 2, cfg)[0] == ["a.md", "b.md"]
    kept, dropped = chosen(index, given, 2, cfg, diversity=0.5)
    assert kept == ["a.md", "c.md"]
    assert dropped == {given[1].chunk_id: "repeats a better one"}
    assert chosen(index, given, 3, cfg, diversity=0.5)[0] == ["a.md", "c.md", "b.md"]


def test_no_more_of_one_document_than_asked(index: Index, cfg: Config) -> None:
    first, second, third = hits(index, "a.md", "b.md", "c.md")
    again = replace(first, chunk_id=99, ordinal=1, score=0.95)
    kept, dropped = chosen(index, [first, again, second, third], 3, cfg, per_document=1)
    assert kept == ["a.md", "b.md", "c.md"]
    assert dropped == {99: "limit of one document"}
    assert chosen(index, [first, again, second, third], 3, cfg)[0] == ["a.md", "a.md", "b.md"]


def test_the_reranker_s_score_counts_before_the_fused_one(index: Index, cfg: Config) -> None:
    given = [
        replace(hit, rerank_score=score)
        for hit, score in zip(hits(index, "a.md", "b.md", "c.md"), (0.9, 0.8, 0.01), strict=True)
    ]
    assert chosen(index, given, 2, cfg, diversity=0.4)[0] == ["a.md", "b.md"]


def test_what_is_beyond_k_was_lost_by_its_score(index: Index, cfg: Config) -> None:
    given = hits(index, "a.md", "b.md", "c.md")
    assert chosen(index, given, 1, cfg)[1] == {given[1].chunk_id: "fused score", given[2].chunk_id: "fused score"}
