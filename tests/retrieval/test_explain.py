import pytest

from core.config import Config
from core.types import Query
from retrieval.embed import Embedder
from retrieval.explain import fate, matched
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import rank, retrieve
from tests.retrieval.corpus import build


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


def test_the_terms_that_a_passage_shares_with_a_question_stand_by_their_weight(index: Index) -> None:
    index.store.follow()
    text = "Connect to vpn.lanting.example on port 8443 within days."
    assert matched(index, Query("days until the vpn token on port 8443"), text) == ["vpn", "port", "8443", "day"]


def test_a_sentence_is_followed_to_the_stage_that_lost_it(index: Index, cfg: Config) -> None:
    settings = cfg.retrieval
    question = [Query("annual leave days")]
    trace = rank(index, retrieve(index, question, settings), settings, k=1).trace
    assert fate(index, trace, "Annual  leave is 25 days.")[0].startswith("leave.md #0: found at rank 1; dense rank 1")
    assert "travel.md #0: lost by: fused score" in fate(index, trace, "travel costs are reimbursed")[0]
    assert "no chunk holds this sentence" in fate(index, trace, "Pigs can fly over the turbine hall.")[0]
    narrow = retrieve(index, question, settings, where=Filter(paths=("travel.md",)))
    assert "filter" in fate(index, rank(index, narrow, settings).trace, "Annual leave is 25 days.")[0]
