import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.answering.backend import EXTRACTIVE, Backend
from app.answering.find import find
from app.answering.plan import LONGEST_QUESTION, Plan
from app.keeping.index import chunker, sync
from core.config import Config
from core.errors import CatalogError
from core.types import Turn
from llm.endpoint import Endpoint
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import Result
from tests.app.stub_model import MODEL, Reply, Stub
from tests.retrieval.corpus import build


@pytest.fixture
def cfg(cfg: Config) -> Config:
    return settings(cfg, variant_seconds=60.0)  # a busy machine must not cost the variants


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


def found(
    index: Index, question: str, cfg: Config, stub: Stub | None = None, history: Sequence[Turn] = (),
    where: Filter | None = None,
) -> tuple[str, Result]:  # fmt: skip
    backend = Backend("openai", MODEL, Endpoint(stub.base_url, MODEL, "")) if stub else EXTRACTIVE
    return asyncio.run(find(index, question, Plan(cfg, backend), history, where))


def settings(cfg: Config, **changes: object) -> Config:
    return cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update=changes)})


def test_wordings_of_the_model_find_what_the_question_does_not_name(index: Index, cfg: Config, stub: Stub) -> None:
    stub.variants = Reply(('{"queries": ["年假 二十五天", "paid holiday"]}',))
    _, alone = found(index, "How long may I be away?", settings(cfg, variants=0), stub)
    assert "nianjia.md" not in [hit.path for hit in alone.hits]
    _, result = found(index, "How long may I be away?", cfg, stub)
    assert "nianjia.md" in [hit.path for hit in result.hits]
    said = [(query.text, query.origin) for query in result.trace.queries]
    assert said == [
        ("How long may I be away?", "question"), ("年假 二十五天", "variant"), ("paid holiday", "variant"),
    ]  # fmt: skip
    assert result.trace.notes == ()


def test_the_model_is_told_the_languages_of_the_documents_and_the_form_of_its_reply(
    index: Index, cfg: Config, stub: Stub
) -> None:
    found(index, "annual leave", cfg, stub)
    (call,) = stub.varied
    assert "Chinese" in call.text
    assert "English" in call.text
    assert call.body["response_format"]["json_schema"]["schema"]["required"] == ["queries"]


def test_no_more_wordings_than_wanted_are_searched(index: Index, cfg: Config, stub: Stub) -> None:
    stub.variants = Reply(('{"queries": ["a b", "c d", "e f", "g h", "a b", 7, ""]}',))
    _, result = found(index, "annual leave", settings(cfg, variants=2), stub)
    assert [query.text for query in result.trace.queries] == ["annual leave", "a b", "c d"]


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        (Reply(("I would rather not.",)), "JSON was asked for"),
        (Reply(('{"questions": []}',)), "no usable variants"),
        (Reply(failure="error"), "no variants"),
        (Reply(failure="stall"), "longer than 0.3 s"),
    ],
    ids=["prose", "other keys", "server error", "late"],
)
def test_a_model_that_fails_or_is_late_with_wordings_costs_nothing_but_them(
    index: Index, cfg: Config, stub: Stub, reply: Reply, note: str
) -> None:
    stub.variants = reply
    _, alone = found(index, "annual leave", settings(cfg, variants=0), stub)
    _, result = found(
        index, "annual leave", settings(cfg, variant_seconds=0.3 if reply.failure == "stall" else 60.0), stub
    )
    assert [hit.path for hit in result.hits[:2]] == [hit.path for hit in alone.hits[:2]]
    assert any(note in said for said in result.trace.notes)


def test_a_fenced_reply_is_read(index: Index, cfg: Config, stub: Stub) -> None:
    stub.variants = Reply(('```json\n{"queries": ["sick note"]}\n```',))
    _, result = found(index, "annual leave", cfg, stub)
    assert [query.text for query in result.trace.queries] == ["annual leave", "sick note"]


def test_without_a_model_a_question_in_two_steps_is_asked_again_with_the_names_that_were_found(
    cfg: Config, embedder: Embedder
) -> None:
    fillers = {
        f"note{i}.md": f"Minutes of meeting number {i}: budget, parking and lunch were discussed." for i in range(20)
    }
    documents = {
        "bridge.md": "The Lanting bridge was designed by Wilhelmina Quastenberg in 1931.",
        "life.md": "Wilhelmina Quastenberg was born in Osterholz and painted birds.",
        "other.md": "The architect of the town hall was born in Bremen.",
    }
    index = build(cfg, embedder, documents | fillers, kb="steps")
    question = "Where was the designer of the Lanting bridge born?"
    assert [hit.path for hit in found(index, question, settings(cfg, variants=0))[1].hits[:2]] != [
        "bridge.md",
        "life.md",
    ]
    _, result = found(index, question, cfg)
    assert [hit.path for hit in result.hits[:2]] == ["bridge.md", "life.md"]
    assert {query.origin for query in result.trace.queries} == {"question", "feedback"}

    _, result = found(index, "Where was the designer of the bridge born?", cfg)  # names nothing that a step begins at
    assert {query.origin for query in result.trace.queries} == {"question"}


@pytest.mark.parametrize(
    ("before", "question", "path"),
    [("How many days of annual leave do I get?", "And how do I get one for sick leave?", "leave.md"),
     ("年假有几天？", "那病假呢？", "nianjia.md")],
)  # fmt: skip
def test_a_follow_up_is_searched_with_what_it_refers_to(
    index: Index, cfg: Config, before: str, question: str, path: str
) -> None:
    query, result = found(index, question, cfg, history=[Turn("user", before), Turn("assistant", "25.")])
    assert query == f"{before} {question}"
    assert result.hits[0].path == path
    assert [(q.text, q.origin) for q in result.trace.queries[:2]] == [(query, "rewritten"), (question, "question")]


def test_a_filter_holds_for_every_wording(index: Index, cfg: Config, stub: Stub) -> None:
    stub.variants = Reply(('{"queries": ["年假 二十五天"]}',))
    _, result = found(index, "annual leave", cfg, stub, where=Filter(paths=("leave.md", "travel.md")))
    assert {hit.path for hit in result.hits} <= {"leave.md", "travel.md"}


def test_of_several_knowledge_bases_the_newest_version_is_read(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    facts = " ".join(f"Rule {i}: request {i * 37 % 101} goes to desk {i * 7 % 13} before noon." for i in range(40))
    for year, leave in ((2023, "Annual leave is 20 days"), (2025, "Annual leave is 25 days")):
        (tmp_path / "rules" / str(year)).mkdir(parents=True)
        (tmp_path / "rules" / str(year) / "policy.md").write_text(f"# Policy\n\n{facts}\n\n{leave}.")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "travel.md").write_text("# Travel\n\nAnnual leave is no journey.")
    rules, more = (
        Index.open_or_create(tmp_path / "data", name, embedder, chunker(cfg.ingest)) for name in ("rules", "more")
    )
    for index in (rules, more):
        sync(index, tmp_path / index.name, cfg.ingest)
    _, result = asyncio.run(find(rules, "How much annual leave?", Plan(cfg, EXTRACTIVE), also=[(more, None)]))
    assert {hit.path for hit in result.hits} == {"2025/policy.md", "travel.md"}


def test_a_text_that_is_no_question_is_refused_before_it_is_searched(index: Index, cfg: Config) -> None:
    with pytest.raises(CatalogError, match="8001 characters"):
        found(index, "a" * (LONGEST_QUESTION + 1), cfg)
