"""An answer that ran into the limit of its length is gone on with, and its marks are checked over the whole."""

import asyncio
from pathlib import Path

import pytest

from app.answering.answer import Done, Text, answer
from app.answering.continuing import go_on, whole_words
from app.answering.plan import planned
from core.config import Config, load
from core.errors import ModelError
from core.types import Answer
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.stub_model import Reply, Stub

QUESTION = "Up to what turbidity does the LT-300 measure?"


@pytest.fixture
def cfg(stub: Stub) -> Config:
    return load(flags={"llm.base_url": stub.base_url, "retrieval.variants": 0}, environ={}).config


@pytest.fixture
def index(handbook: Path, cfg: Config) -> Index:
    return Index.open(handbook, "handbook", Embedder(cfg.retrieval))


async def gone_on(cut: Answer, index: Index, cfg: Config) -> tuple[Answer, str]:
    text = whole_words(cut.text)
    async for event in go_on(cut, await planned(cfg, index.home)):
        if isinstance(event, Text):
            text += event.delta
        elif isinstance(event, Done):
            return event.answer, text
    raise AssertionError("no answer")


async def asked(index: Index, cfg: Config) -> Answer:
    async for event in answer(index, QUESTION, await planned(cfg, index.home)):
        if isinstance(event, Done):
            return event.answer
    raise AssertionError("no answer")


def continued(
    stub: Stub, index: Index, cfg: Config, first: str, *more: str, finish: str = "stop"
) -> tuple[Answer, str]:
    stub.reply = Reply((first,), finish="length")
    cut = asyncio.run(asked(index, cfg))
    assert cut.finish == "length"
    stub.reply = Reply(more, finish=finish)
    return asyncio.run(gone_on(cut, index, cfg))


def test_it_goes_on_from_the_word_that_was_cut(stub: Stub, index: Index, cfg: Config) -> None:
    done, shown = continued(stub, index, cfg, "It measures [1] up to 10", "1000 N", "TU [2], says [99].")
    assert done.text == shown == "It measures [1] up to 1000 NTU [2], says."
    assert [citation.n for citation in done.citations] == [1, 2]
    assert any("[99]" in note for note in done.notes)
    assert not any("max_tokens" in note for note in done.notes)
    assert done.finish == "stop"
    first, second = stub.calls
    assert second.body["messages"][: len(first.body["messages"])] == first.body["messages"]
    assert second.body["messages"][-2] == {"role": "assistant", "content": "It measures [1] up to "}
    assert second.body["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    ("first", "more", "whole"),
    [
        ("浊度可测至", ("一千 NTU [1]。",), "浊度可测至一千 NTU [1]。"),
        ("Clean the pane, then dry", ("Clean the pane, ", "then dry it [1]."), "Clean the pane, then dry it [1]."),
        ("Clean it. [1]", ("Dry it. [1]",), "Clean it. [1] Dry it. [1]"),
        ("1. Clean it [1].", ("2. Dry it [1].",), "1. Clean it [1].\n2. Dry it [1]."),
        ("So says the manual [", ("[1].",), "So says the manual [1]."),
    ],
    ids=["chinese", "repeated", "sentence", "list", "mark"],
)  # fmt: skip
def test_what_comes_is_joined_without_repeating(
    stub: Stub, index: Index, cfg: Config, first: str, more: tuple[str, ...], whole: str
) -> None:
    done, shown = continued(stub, index, cfg, first, *more)
    assert done.text == shown == whole


def test_thoughts_before_it_are_no_part_of_it(stub: Stub, index: Index, cfg: Config) -> None:
    done, _ = continued(stub, index, cfg, "It measures [1] up", "<think>up to [2]</think>", "up to 40 NTU [1].")
    assert done.text == "It measures [1] up to 40 NTU [1]."
    assert done.thoughts == "up to [2]"


def test_it_may_be_cut_again(stub: Stub, index: Index, cfg: Config) -> None:
    done, _ = continued(stub, index, cfg, "It measures [1] up", "up to", finish="length")
    assert done.finish == "length"
    assert any("max_tokens" in note for note in done.notes)


def test_without_a_model_by_now_that_is_said(stub: Stub, index: Index, cfg: Config) -> None:
    stub.reply = Reply(("It measures",), finish="length")
    cut = asyncio.run(asked(index, cfg))
    bare = load(flags={"llm.backend": "extractive"}, environ={}).config
    with pytest.raises(ModelError, match="no model is there"):
        asyncio.run(gone_on(cut, index, bare))
