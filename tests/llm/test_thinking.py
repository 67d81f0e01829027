"""What a model thinks and what it answers, however its reply is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.thinking import Anew, Splitter, Thought, thinks_first

FORMS = [
    ("<think>Source [1] says it.</think>\n\nIt is 28 days [1].", "It is 28 days [1].", "Source [1] says it."),
    ("资料[1]写的是28天。\n</think>\n\nIt is 28 days [1].", "It is 28 days [1].", "资料[1]写的是28天。\n"),
    ("Here it is.\n<think>Hm.</think>\nIt is 28 days.", "Here it is.\nIt is 28 days.", "Hm."),
    ("<thought>Hm.</thought>It is", "It is", "Hm."),
    ("[THINK]Hm.[/THINK]It is", "It is", "Hm."),
    ("◁think▷Hm.◁/think▷It is", "It is", "Hm."),
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>It is<|return|>",
        "It is", "Hm.",
    ),
    ("<think>a</think><think>b</think>It is", "It is", "ab"),
    ("<think>never ends", "", "never ends"),
    ("a <think> that stays", "a <think> that stays", ""),
    ("Write `<think>` and `</think>` around it.", "Write `<think>` and `</think>` around it.", ""),
    ("<b>It is</b> 3 < 4 [5", "<b>It is</b> 3 < 4 [5", ""),
    ("<thin", "<thin", ""),
]  # fmt: skip


def read(reply: str, cuts: list[int], *, first: bool = False) -> tuple[str, str]:
    """What is shown in the end, and what is thought."""
    splitter, shown, thought = Splitter(first), "", ""
    ends = sorted({cut % (len(reply) + 1) for cut in cuts} | {len(reply)})
    pieces = [piece for a, b in zip([0, *ends], ends, strict=False) for piece in splitter.read(reply[a:b])]
    for piece in [*pieces, *splitter.rest()]:
        if isinstance(piece, Anew):
            shown = ""
        elif isinstance(piece, Thought):
            thought += piece.text
        else:
            shown += piece
    return shown, thought


@pytest.mark.parametrize(("reply", "answer", "thoughts"), FORMS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12), first=st.booleans())
def test_thoughts_are_no_part_of_the_answer_in_any_form(
    reply: str, answer: str, thoughts: str, cuts: list[int], first: bool
) -> None:
    assert read(reply, cuts, first=first) == (answer, thoughts)


@given(st.text(st.sampled_from("ab<>/[]think|THINK`\n ")), st.lists(st.integers(0, 100), max_size=8))
def test_where_a_reply_is_cut_makes_no_difference(reply: str, cuts: list[int]) -> None:
    assert read(reply, cuts) == read(reply, [])


def test_nothing_is_shown_that_is_taken_back_where_thoughts_are_known_to_come_first() -> None:
    splitter = Splitter(first=True)
    assert list(splitter.read("I see [1]. ")) == []
    assert list(splitter.read("</think>It is")) == [Thought("I see [1]. "), "It is"]
    assert splitter.ended_alone


def test_a_server_that_tells_thoughts_apart_lets_its_answer_flow() -> None:
    splitter = Splitter(first=True)
    assert list(splitter.plain()) == []
    assert list(splitter.read("It ")) == ["It "]


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", True), ("QwQ-32B", True), ("Qwen3-4B-Thinking-2507", True),
        ("deepseek-reasoner", True), ("Qwen3-4B-Instruct-2507", False), ("llama-3.1-8b", False), ("gpt-oss-20b", False),
    ],
)  # fmt: skip
def test_models_that_think_first_are_known_by_name(model: str, first: bool) -> None:
    assert thinks_first(model) == first
