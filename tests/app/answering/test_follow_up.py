import asyncio
import json
from pathlib import Path

import pytest

from app.answering.backend import EXTRACTIVE
from app.answering.find import find
from app.answering.follow_up import stands_alone
from app.answering.plan import Plan
from core.config import Config
from core.types import Turn
from retrieval.embed import Embedder
from tests.retrieval.corpus import build

DIALOGUES = [json.loads(line) for line in Path(__file__).with_name("dialogues.jsonl").read_text("utf-8").splitlines()]


def test_of_sixty_dialogues_hardly_any_is_taken_for_the_other_kind() -> None:
    assert len(DIALOGUES) == 60
    assert 28 <= sum(row["alone"] for row in DIALOGUES) <= 32
    wrong = [row["then"] for row in DIALOGUES if stands_alone(row["then"]) != row["alone"]]
    assert len(wrong) <= 3, wrong


@pytest.mark.parametrize(
    "question",
    ["病假怎么请？", "那打印机缺纸怎么办？", "应该找谁报修空调？", "其他城市的住宿标准是多少？",
     "访客 Wi-Fi 密码是多少？",
     "Is there a canteen in the building?", "Which tools are allowed in the laboratory?",
     "When a badge is lost, who is told about it?"],
)  # fmt: skip
def test_a_question_that_says_what_it_is_about_stands_alone(question: str) -> None:
    assert stands_alone(question)


@pytest.mark.parametrize(
    "question",
    ["那上海呢？", "需要多久？", "它怎么用？", "为什么？", "这要谁批？", "And after that?", "Why?", "",
     "How much is it?", "What about children?", "Who approves this?", "？", "怎么办？", "How do I get one?"],
)  # fmt: skip
def test_a_question_that_points_back_or_says_nothing_does_not(question: str) -> None:
    assert not stands_alone(question)


def test_another_topic_is_searched_without_the_one_before(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)

    def searched(question: str) -> list[str]:
        history = [Turn("user", "Annual leave in days?"), Turn("assistant", "25 days [1].")]
        _, result = asyncio.run(find(index, question, Plan(cfg, EXTRACTIVE), history))
        return [query.text for query in result.trace.queries if query.origin in ("question", "rewritten")]

    assert searched("VPN port?") == ["VPN port?"]
    assert searched("And when is it paid?") == ["Annual leave in days? And when is it paid?", "And when is it paid?"]
