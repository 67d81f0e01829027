import pytest

from app.training.rewards import as_gold, citation_right, refusal_right, supported

SOURCES = (
    '<source n="1" path="a.md" page="3" heading="Leave">\nEvery employee has 25 days of annual leave.\n</source>\n'
    '<source n="2" path="b.md" heading="">\nThe office opens at nine.\n</source>'
)
ASKED = [{"role": "system", "content": f"Rules.\n{SOURCES}"}, {"role": "user", "content": "How long is annual leave?"}]
SAID = {
    "right": "Every employee has 25 days of annual leave [1].",
    "other": "Every employee has 25 days of annual leave [2].",
    "unknown": "Every employee has 25 days of annual leave [1][7].",
    "bare": "Every employee has 25 days of annual leave.",
    "wrong": "Every employee has 30 days of annual leave [1].",
    "refused": "NO_ANSWER",
    "thought": "<think>NO_ANSWER, or [2]?</think>Every employee has 25 days of annual leave [1].",
}


def scored(kind: str = "answer") -> dict[str, dict[str, float | None]]:
    """What each reward gives each answer."""
    columns = {
        "prompts": [ASKED] * len(SAID),
        "completions": [[{"role": "assistant", "content": text}] for text in SAID.values()],
        "kind": [kind] * len(SAID), "gold": ["Employees have 25 days of annual leave [1]."] * len(SAID),
    }  # fmt: skip
    rewards = (refusal_right, citation_right, supported, as_gold)
    return {reward.__name__: dict(zip(SAID, reward(**columns), strict=True)) for reward in rewards}


def test_an_answer_is_rewarded_for_marks_that_hold_what_it_says() -> None:
    found = scored()
    assert found["citation_right"] == {
        "right": 1.0, "other": 1.0, "unknown": 0.5, "bare": 0.0, "wrong": 1.0, "refused": 0.0, "thought": 1.0,
    }  # fmt: skip
    assert found["supported"] == {
        "right": 1.0, "other": 0.0, "unknown": 1.0, "bare": 0.0, "wrong": 0.0, "refused": 0.0, "thought": 1.0,
    }  # fmt: skip
    assert found["as_gold"]["right"] == found["as_gold"]["thought"] == pytest.approx(2 * 6 / (8 + 7), abs=0.15)
    assert found["as_gold"]["refused"] == 0.0


def test_a_refusal_is_right_where_nothing_answers_and_wrong_elsewhere() -> None:
    assert [name for name, score in scored()["refusal_right"].items() if not score] == ["refused"]
    found = scored("refusal")
    assert [name for name, score in found["refusal_right"].items() if score] == ["refused"]
    for name in ("citation_right", "supported", "as_gold"):
        assert set(found[name].values()) == {None}


def test_a_conversation_without_sources_is_not_judged_by_them() -> None:
    said = [[{"role": "assistant", "content": "Hello!"}]]
    asked = [[{"role": "user", "content": "Hi"}]]
    assert citation_right(asked, said, ["chat"]) == supported(asked, said, ["chat"]) == [None]
