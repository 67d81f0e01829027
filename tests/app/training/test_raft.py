import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.answering.answer import NO_ANSWER
from app.answering.backend import EXTRACTIVE, resolve
from app.measuring import golden
from app.training.raft import Asked, Fence, examples, supported
from core.config import Config
from core.types import Hit, Source
from llm.examples import Example
from retrieval.index import Index
from tests.app.allowances import THINGS, cfg, index, model, served, sources_of, stub, with_model
from tests.app.stub_model import Reply, Stub

__all__ = ["cfg", "index", "stub"]  # fixtures


def all_of(index: Index, cfg: Config, asked: Sequence[Asked], **how: Any) -> list[Example]:
    backend = how.pop("backend", EXTRACTIVE)
    told = {"without_gold": 0.0, "same": {}, "seed": 0, "left": Counter(), "progress": lambda *_: None} | how
    return asyncio.run(examples(index, cfg, backend, asked, Fence(index), **told))


def asked_of(index: Index, cfg: Config) -> list[Asked]:
    known = golden.read(golden.golden_file(Path(cfg.app.data), "kb"))
    return [
        Asked(f.question.id, f.question.question, "golden", f.question.file, f) for f in golden.locate(index, known)[0]
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(0, len(THINGS) - 1), k=st.integers(1, 6), budget=st.integers(64, 700), neighbours=st.integers(0, 1),
    seed=st.integers(0, 3), chinese=st.booleans(), room=st.sampled_from([None, 600, 900]),
)  # fmt: skip
def test_with_the_passages_of_serving_the_messages_are_those_of_serving_to_the_byte(
    index: Index, cfg: Config, stub: Stub, n: int, k: int, budget: int, neighbours: int, seed: int, chinese: bool,
    room: int | None,
) -> None:  # fmt: skip
    changed = {"k": k, "context_tokens": budget, "neighbours": neighbours}
    cfg = cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update=changed)})
    found = asked_of(index, cfg)[n]
    question = f"{THINGS[n]} allowance 每个月有多少补贴？" if chinese else found.text
    bare = Asked("none", question, "unanswerable")  # all that serving finds, in its order
    gold = Asked("gold", question, "golden", found.file, found.located)  # among them, at any place
    stub.reset()
    stub.reply = Reply((NO_ANSWER,))
    made = all_of(index, cfg, [bare, gold], seed=seed, backend=model(stub, room) if room else EXTRACTIVE)
    sources, messages = served(index, cfg, stub, question, room)
    assert [m.model_dump() for m in made[0].prompt] == messages
    for example in made[1:]:
        alike = [text for _, text in sources_of(example).values()] == [source.text for source in sources]
        assert alike == ([m.model_dump() for m in example.prompt] == messages)


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        ("The allowance is 999 euros a month [1].", "stop", "not supported"),
        ("The allowance is paid every month [3].", "stop", "not supported"),
        ("The allowance is paid every month.", "stop", "not supported"),
        ("The allowance is paid every month [1]. Ask the desk for the form.", "stop", "not supported"),
        ("Zebras gallop over distant savannahs at dawn [1].", "stop", "not supported"),
        ("The allowance is paid every month [1].", "length", "not supported"),
        ("NO_ANSWER", "stop", "finds no answer"),
    ],
)
def test_what_the_model_cannot_rest_on_its_passage_is_dropped_and_counted(
    cfg: Config, index: Index, stub: Stub, reply: str, finish: str, reason: str
) -> None:
    told = with_model(cfg, stub, reply, finish=finish)
    left = Counter[str]()
    assert all_of(index, told, asked_of(index, cfg)[:1], backend=asyncio.run(resolve(told.llm)), left=left) == []
    assert [reason in said for said in left] == [True]


def test_a_prompt_without_its_passage_that_the_model_answers_all_the_same_is_no_refusal(
    cfg: Config, index: Index, stub: Stub
) -> None:
    asked = asked_of(index, cfg)[:4]
    for reply, kept in (("The allowance is paid every month [1].", 0), ("It is 999 euros [1].", 4), ("NO_ANSWER", 4)):
        told = with_model(cfg, stub, reply)
        backend = asyncio.run(resolve(told.llm))
        left = Counter[str]()
        made = all_of(index, told, asked, backend=backend, without_gold=1.0, left=left)
        assert [row.answer for row in made] == [NO_ANSWER] * kept
        assert left == Counter({"the model answers it from the other passages": 4 - kept})


def source(n: int, text: str) -> Source:
    return Source(n, Hit(n, 1.0, n, "", f"{n}.md", "Travel", None, (), 0, 1, text, "en", 0, n), text)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Hotels cost 180 euros [1].", True),
        ("Hotels cost 180 euros [2].", False),  # another passage says so
        ("Hotels cost 180 euros [1][2].", True),
        ("Hotels cost 180 euros [1]. Trains are second class [2].", True),
        ("Hotels cost 180 euros [1]. Trains are second class [1].", False),
        ("酒店 180 欧元[1]。", True),  # the number is all that can be compared
        ("酒店 190 欧元[1]。", False),
    ],
)
def test_a_statement_is_supported_where_its_passage_holds_its_words_and_numbers(answer: str, expected: bool) -> None:
    sources = (source(1, "Hotels may cost 180 euros a night."), source(2, "On trains, second class is paid."))
    assert supported(answer, "What is paid?", sources) is expected
