import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.answering.answer import answer
from app.answering.plan import planned
from app.api import Done, Filter, Found, KnowledgeBase, Text, Turn
from core.config import Config
from core.errors import CatalogError, ConfigError, EvalError
from retrieval.embed import Embedder
from tests.app.stub_model import Stub
from tests.conftest import ROOT
from tests.retrieval.corpus import DOCUMENTS, build

Write = Callable[[str, str], Path]
QUESTION = "How many days of annual leave?"


@pytest.fixture
def base(cfg: Config, embedder: Embedder) -> KnowledgeBase:
    build(cfg, embedder, DOCUMENTS).close()
    return KnowledgeBase("kb", cfg, embedder)


def test_the_first_sync_makes_it_and_later_ones_read_what_changed(
    cfg: Config, embedder: Embedder, write: Write
) -> None:
    folder = write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent
    stages: list[str] = []
    with KnowledgeBase("new", cfg, embedder) as base:
        with pytest.raises(CatalogError, match="no knowledge base 'new'"):
            base.search(QUESTION)
        assert base.sync(folder, progress=lambda stage, done, total: stages.append(stage)).added == 1
        assert "index" in stages
        assert "25 days" in base.search(QUESTION).hits[0].text
        write("leave.md", "# Leave\n\nAnnual leave is 30 days.")
        assert base.sync().changed == 1
        assert "30 days" in base.ask(QUESTION).text
        assert base.sync(rebuild=True).added == 1
        assert "30 days" in base.search(QUESTION).hits[0].text  # of the generation that answers now
    assert "30 days" in base.search(QUESTION).hits[0].text  # what was closed is opened again
    base.close()


def test_progress_that_raises_ends_a_sync_and_the_next_goes_on(cfg: Config, embedder: Embedder, write: Write) -> None:
    folder = write("0.md", "# Number 0\n\nSomething.").parent
    for n in (1, 2):
        write(f"{n}.md", f"# Number {n}\n\nSomething.")

    def enough(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    base = KnowledgeBase("new", cfg, embedder)
    with pytest.raises(KeyboardInterrupt):
        base.sync(folder, progress=enough)
    assert base.sync(folder).chunks == 3


def test_a_question_is_limited_and_follows_a_conversation(base: KnowledgeBase) -> None:
    assert [hit.path for hit in base.search(QUESTION, where=Filter(paths=("leave.md",))).hits] == ["leave.md"]
    assert len(base.search(QUESTION, k=1).hits) == 1
    assert base.search(QUESTION, mode="lexical").hits[0].dense_rank is None
    history = [Turn("user", QUESTION), Turn("assistant", "25.")]
    assert QUESTION in base.search("And then?", history=history).trace.queries[0].text


def test_an_answer_comes_whole_or_piece_by_piece_and_is_the_same(base: KnowledgeBase) -> None:
    whole = base.ask(QUESTION)
    events = list(base.stream(QUESTION))
    kinds = [type(event) for event in events]
    assert kinds.index(Found) < kinds.index(Text) < kinds.index(Done) == len(kinds) - 1
    last = events[-1]
    assert isinstance(last, Done)
    assert (last.answer.text, last.answer.citations) == (whole.text, whole.citations)
    assert whole.citations

    async def both() -> tuple[str, list[int]]:
        async with base:
            found, answered = await asyncio.gather(base.asearch(QUESTION), base.aask(QUESTION))
            return answered.text, [hit.chunk_id for hit in found.hits]

    assert asyncio.run(both()) == (whole.text, [hit.chunk_id for hit in base.search(QUESTION).hits])


def test_within_a_running_loop_it_works_too(base: KnowledgeBase) -> None:
    async def cell() -> tuple[str, str]:
        *_, last = base.stream(QUESTION)
        assert isinstance(last, Done)
        return base.ask(QUESTION).text, last.answer.text

    one, two = asyncio.run(cell())
    assert one == two != ""


def test_a_question_is_searched_in_as_many_steps_as_are_asked_for(base: KnowledgeBase, cfg: Config, stub: Stub) -> None:
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})
    asked = KnowledgeBase("kb", cfg.model_copy(update={"llm": llm}), base.embedder)
    replies = iter(["SEARCH: annual leave", "NOTE [1]: so many days\nENOUGH", "25 days [1]."])
    stub.thinks = lambda _: next(replies)
    answer = asked.ask(QUESTION, steps=2)
    assert (answer.text, [query.text for query in answer.trace.queries]) == ("25 days [1].", [QUESTION, "annual leave"])
    with pytest.raises(ConfigError, match="searches for one question"):
        asked.ask(QUESTION, steps=99)


def test_leaving_a_stream_ends_the_request_to_the_model(base: KnowledgeBase, cfg: Config, stub: Stub) -> None:
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})
    asked = KnowledgeBase("kb", cfg.model_copy(update={"llm": llm}), base.embedder)
    stream = asked.stream(QUESTION)
    assert any(isinstance(event, Text) for event in stream)
    stream.close()  # type: ignore[attr-defined]
    assert list(stream) == []
    assert stub.calls


def test_what_is_promoted_for_a_knowledge_base_holds_for_a_search_as_for_an_answer(base: KnowledgeBase) -> None:
    from app.answering.promotions import Choice, promote

    library = Path(base.config.prompts.library)
    promote(library, base.index.home, Choice(name="answer", version=1, k=2))
    assert len(base.search(QUESTION).hits) == 2
    assert len([row for row in base.ask(QUESTION).trace.candidates if row.rank]) == 2
    assert len(base.search(QUESTION, k=3).hits) == 3


def test_an_evaluation_needs_questions_and_compares(base: KnowledgeBase, cfg: Config, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="no approved question"):
        base.evaluate()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "title": "Leave", "text": "Annual leave is 25 days."}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "annual leave"}\n')
    (tmp_path / "qrels.tsv").write_text("1\ta\t1\n")
    assert base.evaluate(tmp_path)["modes"]["hybrid"]["ndcg@10"] == 1.0
    other = cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update={"mode": "lexical"})})
    assert base.evaluate(tmp_path, against=other)["difference"]["ndcg@10"]["mean"] == 0.0


def test_keys_stay_out_of_what_is_printed_and_a_wrong_setting_is_told(cfg: Config) -> None:
    llm = cfg.llm.model_copy(update={"api_key": "sk-very-secret"})
    assert repr(KnowledgeBase("kb", cfg.model_copy(update={"llm": llm}))) == "KnowledgeBase('kb')"
    with pytest.raises(ConfigError, match=r"unknown key retrieval\.topk"):
        KnowledgeBase.open("kb", settings={"app.data": cfg.app.data, "retrieval.topk": 3})


@pytest.mark.slow
def test_the_examples_of_the_docs_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text("utf-8"), re.DOTALL)
    assert len(examples) >= 7
    said = run_examples(examples, tmp_path)
    for part in ("21 read, 0 could not be read", "people/", "scan: 0", "passages", "[1]", "extractive True"):
        assert part in said, part
    assert "has no approved question" in said


def run_examples(examples: list[str], data: Path) -> str:
    """What the examples print, one after the other, in one process, as a reader would run them."""
    env = os.environ | {"RAGSTONE_DATA": str(data), "RAGSTONE_LLM__BACKEND": "extractive"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stream_is_what_the_recipe_gives(base: KnowledgeBase) -> None:
    async def direct() -> list[str]:
        return [
            type(event).__name__
            async for event in answer(base.index, QUESTION, await planned(base.config, base.index.home))
        ]

    assert asyncio.run(direct()) == [type(event).__name__ for event in base.stream(QUESTION)]
