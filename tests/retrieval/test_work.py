"""What a question costs does not grow with the knowledge base: no statement that it uses goes through a whole table."""

import re
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import Config
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.search import least_relevance, relevance, search
from tests.retrieval.corpus import DOCUMENTS, build
from tests.retrieval.sql import select
from tests.retrieval.test_allowed import put, written

_WHOLE = re.compile(r"SCAN (?!CONSTANT)(?!documents USING COVERING INDEX)")  # documents are counted by an index


def ask(index: Index, cfg: Config, question: str) -> None:
    """All that a question looks up: filtered and not, languages, how far what was found speaks about it."""
    for where in (None, Filter(paths=("it/vpn.md", "hr/**"), languages=("en",), since="2001")):
        hits = search(index, [question], cfg.retrieval, where=where)
        relevance(index, question, hits)
    least_relevance(index, cfg.retrieval)
    index.languages()
    index.counts()


def test_no_question_goes_through_a_whole_table(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder, DOCUMENTS | {f"{n}.md": f"Number {n} says little." for n in range(400)})
    ask(index, cfg, "annual leave")
    statements: list[str] = []
    with index.files.connection() as db:  # that all calls of this thread use within the block
        db.set_trace_callback(statements.append)
        ask(index, cfg, "annual leave")
        build(cfg, embedder, {"new.md": "Annual leave is 30 days."}).close()
        ask(index, cfg, "annual leave")  # what is new is taken up by what is new alone
        db.set_trace_callback(None)
    asked = [sql for sql in statements if re.match(r"\s*SELECT", sql)]
    assert len(asked) > 20
    for sql in asked:
        plan = [row[3] for row in select(index.catalog, "EXPLAIN QUERY PLAN " + sql)]
        assert not any(_WHOLE.match(step) for step in plan), (sql, plan)
    index.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=1), max_size=4))
def test_the_languages_that_are_kept_are_those_of_the_chunks(
    cfg: Config, embedder: Embedder, steps: list[dict[str, int]]
) -> None:
    index = build(cfg, embedder, {}, kb="languages")
    there: dict[str, int] = {}
    for step in steps:
        gone = {name: 0 for name in there if name not in step}
        put(index, step | gone)
        there = step
        expected = Counter(chunk.language for name, seed in there.items() for chunk in written(name, seed)[0].chunks)
        assert index.catalog.languages() == index.files.counted_languages() == expected
    put(index, {name: 0 for name in there})
    assert index.catalog.languages() == {}
    index.close()


def test_a_catalog_that_keeps_no_languages_yet_counts_them_with_the_next_change(
    cfg: Config, embedder: Embedder
) -> None:
    index = build(cfg, embedder)
    before = index.catalog.languages()
    select(index.catalog, "DELETE FROM meta WHERE key = 'languages'")
    assert index.catalog.languages() == before == {"en": 3, "zh": 2}
    build(cfg, embedder, {"new.md": "A plain text."}).close()
    assert index.catalog.meta("languages")
    assert index.catalog.languages() == index.files.counted_languages() != before
    index.catalog.set_meta("languages", '{"en": 7}')
    assert index.verify(repair=True) == ["the number of chunks that is kept is wrong"]
    assert index.catalog.languages() == index.files.counted_languages()
    index.close()
