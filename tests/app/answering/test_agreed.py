import asyncio
from collections.abc import Sequence

import pytest

from app.answering.agreed import agreed, settings_of
from app.answering.answer import Done, Event, Found, Text, answer
from app.answering.plan import planned
from core.config import Config, LlmConfig
from core.errors import ModelError
from core.types import Answer
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.stub_model import Reply, Stub
from tests.retrieval.corpus import build

QUESTION = "How many days of annual leave?"


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


def drawing(cfg: Config, stub: Stub, samples: int, **llm: object) -> Config:
    more = {"backend": "openai", "base_url": stub.base_url, "samples": samples, **llm}
    return cfg.model_copy(
        update={
            "llm": cfg.llm.model_copy(update=more),
            "retrieval": cfg.retrieval.model_copy(update={"variants": 0}),
        }
    )


def events(index: Index, cfg: Config) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in answer(index, QUESTION, await planned(cfg, index.home))]

    return asyncio.run(collect())


def said(found: list[Event]) -> Answer:
    assert isinstance(found[-1], Done)
    return found[-1].answer


def saying(stub: Stub, replies: Sequence[str]) -> None:
    left = iter(replies)
    stub.thinks = lambda _: next(left)


def test_the_answer_that_most_agree_with_is_shown_alone_and_the_others_are_thoughts(
    index: Index, cfg: Config, stub: Stub
) -> None:
    saying(stub, ["It is 20 days [1].", "There are 25 days of leave [1].", "25 days of leave [1].", "NO_ANSWER",
                  "There are 25 days of leave [2]."])  # fmt: skip
    stream = events(index, drawing(cfg, stub, 5))
    final = said(stream)
    assert final.text == "There are 25 days of leave [1]."
    assert "".join(event.delta for event in stream if isinstance(event, Text)) == final.text
    assert "5 answers drawn" in final.thoughts
    assert "It is 20 days" in final.thoughts
    assert "NO_ANSWER" in final.thoughts
    assert [citation.n for citation in final.citations] == [1]
    assert len(stub.calls) == 5


def test_where_most_refuse_it_is_refused(index: Index, cfg: Config, stub: Stub) -> None:
    saying(stub, ["NO_ANSWER", "It is 20 days [1].", "NO_ANSWER."])
    final = said(events(index, drawing(cfg, stub, 3)))
    assert (final.answered, final.citations) == (False, ())
    assert "do not cover" in final.text


def test_samples_are_drawn_warm_enough_and_each_with_a_seed_of_its_own(index: Index, cfg: Config, stub: Stub) -> None:
    events(index, drawing(cfg, stub, 3, temperature=0.0, seed=7))
    assert {call.body["temperature"] for call in stub.calls} == {0.5}
    assert sorted(call.body["seed"] for call in stub.calls) == [7, 8, 9]
    stub.reset()
    events(index, drawing(cfg, stub, 2, temperature=0.9))
    assert {(call.body["temperature"], call.body.get("seed")) for call in stub.calls} == {(0.9, None)}


def test_one_answer_is_written_as_ever_at_its_own_temperature(index: Index, cfg: Config, stub: Stub) -> None:
    final = said(events(index, drawing(cfg, stub, 1, temperature=0.0)))
    assert [call.body["temperature"] for call in stub.calls] == [0.0]
    assert final.thoughts == ""


def test_reasoning_is_no_answer_and_its_marks_are_no_citations(index: Index, cfg: Config, stub: Stub) -> None:
    reasoned = cfg.prompts.model_copy(update={"answer": "answer-reasoned", "answer_version": 1})
    saying(stub, ["<reasoning>1. [2] says 30, so 30 - 5.</reasoning>\n25 days [1].",
                  "<reasoning>[1] says so.</reasoning>25 days [1]."])  # fmt: skip
    for samples in (1, 1):
        final = said(events(index, drawing(cfg, stub, samples).model_copy(update={"prompts": reasoned})))
        assert final.text == "25 days [1]."
        assert [citation.n for citation in final.citations] == [1]
        assert "says" in final.thoughts
    assert "<reasoning>" in stub.calls[0].text


def test_samples_with_reasoning_agree_by_their_answers(index: Index, cfg: Config, stub: Stub) -> None:
    saying(stub, ["<reasoning>long and quite alike</reasoning>20 days [2].", "<reasoning>x</reasoning>25 days [1].",
                  "<reasoning>long and quite alike</reasoning>25 days [1]."])  # fmt: skip
    assert said(events(index, drawing(cfg, stub, 3))).text == "25 days [1]."


@pytest.mark.parametrize("failure", ["error", "cut"])
def test_a_server_that_fails_ends_as_ever_with_the_passages_shown(
    index: Index, cfg: Config, stub: Stub, failure: str
) -> None:
    stub.reply = Reply(failure="error" if failure == "error" else "cut")
    seen: list[Event] = []

    async def collect() -> None:
        async for event in answer(index, QUESTION, await planned(drawing(cfg, stub, 3), index.home)):
            seen.append(event)

    with pytest.raises(ModelError):
        asyncio.run(collect())
    assert [event.sources != () for event in seen if isinstance(event, Found)] == [True]
    assert not any(isinstance(event, Text) for event in seen)


def test_whoever_leaves_ends_all_samples(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(failure="stall")

    async def leave() -> None:
        async def read() -> None:
            async for _ in answer(index, QUESTION, await planned(drawing(cfg, stub, 3), index.home)):
                pass

        reading = asyncio.create_task(read())
        while len(stub.calls) < 3:
            await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(leave())
    assert all(call.left.wait(60) for call in stub.calls)


def test_without_a_model_there_is_one_answer(index: Index, cfg: Config) -> None:
    llm = cfg.llm.model_copy(update={"samples": 5})
    assert said(events(index, cfg.model_copy(update={"llm": llm}))).backend == "extractive"


@pytest.mark.parametrize(
    ("texts", "best"),
    [
        (["a b c", "a b d", "x y z"], 0),
        (["x y z", "a b c", "a b c"], 1),
        (["", "", "a"], 0),
        (["a", "", "a"], 0),
        (["Step [9].\nAnswer: ten days", "Answer: ten days", "Step one is long. Step two too."], 0),
        (["only"], 0),
        (["", ""], 0),
        (["十二天", "二十五天", "二十五天。"], 1),
    ],
    ids=["like", "alike", "refusals", "answers", "steps", "one", "all refuse", "chinese"],
)
def test_what_most_agree_with(texts: list[str], best: int) -> None:
    chosen, agreement = agreed(texts, [])
    assert chosen == best
    assert 0.0 <= agreement <= 1.0


def test_the_largest_seed_has_a_next_one() -> None:
    assert settings_of(LlmConfig(seed=2**63 - 1), 1).seed == 0
