"""Passages and question of a prompt are told apart, wherever the passages stand."""

from pathlib import Path
from typing import Literal

import pytest

from app.answering.plan import request
from app.training.shown import passages, question, words
from app.training.votes import as_served, sent
from core.config import Config, load
from core.types import Turn
from llm.examples import Message
from tests.conftest import ROOT

PASSAGES = (
    '<source n="1" path="a.md" heading="A">\nOne.\n</source>\n<source n="2" path="b.md" heading="">\nTwo.\n</source>'
)
ASKED = "How many days?\nIn Rotterdam."
HISTORY = (Turn("user", "Hello"), Turn("assistant", "Hi [1]."))


def configured(data: Path, where: str, prompt: str = "answer") -> Config:
    flags = {"app.data": str(data), "prompts.sources": where, "prompts.answer": prompt}
    return load(flags=flags | {"prompts.library": str(ROOT / "prompts/library")}, environ={}).config


@pytest.mark.parametrize("where", ["question", "rules"])
def test_both_are_found_wherever_the_passages_stand(tmp_path: Path, where: Literal["question", "rules"]) -> None:
    prompt = sent(request(configured(tmp_path, where), ASKED, PASSAGES, HISTORY))
    assert (passages(prompt), question(prompt)) == (PASSAGES, ASKED)
    assert [words(message) for message in prompt[1:-1]] == ["Hello", "Hi [1]."]


def test_a_prompt_without_passages_has_none() -> None:
    assert passages([Message(role="user", content=ASKED)]) == ""


def test_a_vote_on_a_prompt_of_the_other_layout_is_learnt_as_it_is_served_today(tmp_path: Path) -> None:
    late, early = configured(tmp_path, "question"), configured(tmp_path, "rules")
    before, today = (sent(request(cfg, ASKED, PASSAGES, HISTORY)) for cfg in (early, late))
    assert as_served(late, before) == today
    assert as_served(late, today) == today
    assert as_served(early, today) == before


def test_a_prompt_with_demonstrations_stays_as_it_is(tmp_path: Path) -> None:
    shown = sent(request(configured(tmp_path, "question", "answer-few-shot"), ASKED, PASSAGES))
    assert as_served(configured(tmp_path, "question"), shown) == shown
