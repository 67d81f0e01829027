"""Statements of an answer against the passages they cite."""

import pytest

from core.types import Hit, Source
from prompts.support import statements

QUESTION = "How many days of leave are there?"


def source(n: int, text: str) -> Source:
    return Source(n, Hit(n, 1.0, n, "/f", "leave.md", "", None, (), 0, len(text), text, "en", 0, 1), text)


SOURCES = [source(1, "Full-time staff have 25 days of annual leave."), source(2, "病假为每年十天，需提交诊断证明。")]


def judged(text: str) -> list[tuple[str, bool | None]]:
    return [(text[s.start : s.end], s.supported) for s in statements(text, QUESTION, SOURCES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 25 days of annual leave [1].", [("There are 25 days of annual leave [1].", True)]),
        ("There are 26 days of annual leave [1].", [("There are 26 days of annual leave [1].", False)]),
        ("Elephants enjoy swimming lakes [1].", [("Elephants enjoy swimming lakes [1].", False)]),
        ("Full-time staff have annual leave.", [("Full-time staff have annual leave.", False)]),
        ("Staff have leave. It is 25 days [1].", [("Staff have leave.", True), ("It is 25 days [1].", True)]),
        ("病假每年十天[2]。", [("病假每年十天[2]。", True)]),
        ("病假每年无限期任意延长补偿[2]。", [("病假每年无限期任意延长补偿[2]。", False)]),
        ("有25天年假 [1]。", [("有25天年假 [1]。", True)]),  # of another language: only the number can be compared
        ("猫会飞 [1]。", [("猫会飞 [1]。", None)]),
        ("# Leave\nThe answer is:\n- 25 days [1]", [("- 25 days", True)]),
        ("Annual leave [1] is 25 days.", [("Annual leave [1] is 25 days.", True)]),
        (
            "Annual leave is 25 days. [1] Cats fly. [1]",
            [("Annual leave is 25 days.", True), ("Cats fly.", False)],
        ),
        ("25 days [7].", [("25 days [7].", False)]),
    ],
)
def test_a_statement_is_supported_where_its_passages_hold_it(
    text: str, expected: list[tuple[str, bool | None]]
) -> None:
    assert judged(text) == expected


def test_positions_are_those_of_the_text() -> None:
    text = "Leave is 25 days [1][2].\n\nStaff are full-time [1]. 猫会飞[2]。"
    assert [text[s.start : s.end] for s in statements(text, QUESTION, SOURCES)] == [
        "Leave is 25 days [1][2].", "Staff are full-time [1].", "猫会飞[2]。"]  # fmt: skip
    assert statements(text, QUESTION, SOURCES)[0].cites == (1, 2)
