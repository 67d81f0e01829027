import asyncio
from pathlib import Path

import pytest

from app.answering.backend import EXTRACTIVE, resolve
from app.answering.promotions import chosen
from app.measuring.scores import Gold
from app.prompting.chains import Shown, clusters, show
from app.prompting.compare import Asked, compare
from core.config import Config
from core.errors import ConfigError, EvalError
from prompts.load import Prompt, load
from prompts.marks import spans
from prompts.resting import resting
from retrieval.index import Index
from tests.app.allowances import THINGS, cfg, fact, index, stub
from tests.app.prompt_lab import FACT, SOURCE, asked_for, library, with_library
from tests.app.stub_model import Call, Stub

__all__ = ["cfg", "index", "stub"]  # fixtures
WRONG = frozenset(THINGS[:4])  # what the model gets wrong


@pytest.fixture
def told(cfg: Config, stub: Stub, index: Index, tmp_path: Path) -> Config:
    stub.reset()
    (index.home / "prompt.json").unlink(missing_ok=True)
    return with_library(cfg, library(tmp_path / "library"), stub, "answer-reasoned")


def question(thing: str) -> Asked:
    n = THINGS.index(thing)
    return Asked(thing, f"How much is the {thing} allowance?", Gold(fact(n), (fact(n),)), f"{thing}.md")


def thinks(call: Call) -> str:
    """Reasons in two steps where it is told to, and cites; of some things it says what is wrong."""
    last = str(call.body["messages"][-1]["content"])
    system = str(call.body["messages"][0]["content"])
    for n, body in SOURCE.findall(system + last):
        for match in FACT.finditer(body):
            if match[1] != asked_for(call):
                continue
            if match[1] in WRONG:
                return f"<reasoning>\nSource [{n}] is about it.\n</reasoning>\nNobody knows, sorry [{n}]."
            return f"<reasoning>\nSource [{n}] names the sum.\nIt is asked for.\n</reasoning>\n{match[0][:-1]} [{n}]."
    return "NO_ANSWER"


def made(index: Index, told: Config, things: list[str], count: int = 3) -> Shown:
    asked = [question(thing) for thing in things]
    choice = chosen(Path(told.prompts.library), "answer-reasoned,steps=3,samples=2")
    return show(index, asked, choice, told, asyncio.run(resolve(told.llm)), count)


def demos(prompt: Prompt) -> list[tuple[str, dict[int, str], str]]:
    """Question, sources by number and reply of each demonstration."""
    return [
        (demo.values["question"], {int(n): text for n, text in SOURCE.findall(demo.values["sources"])}, demo.answer)
        for demo in prompt.demos["en"]
    ]


def test_a_prompt_is_shown_reasoning_that_ended_rightly_with_the_sources_it_names(
    index: Index, told: Config, stub: Stub
) -> None:
    stub.thinks = thinks
    shown = made(index, told, list(THINGS[:12]))
    prompt = load(Path(told.prompts.library), "answer-reasoned-shown")
    assert prompt == shown.prompt
    assert resting(prompt) == index.identity
    assert (prompt.parent, len(prompt.demos["en"])) == ("answer-reasoned/v001", len(shown.chosen))
    assert {question for question, _, _ in demos(prompt)} == set(shown.chosen)
    assert 1 <= len(shown.chosen) <= 3
    for asked, sources, reply in demos(prompt):
        thing = asked.split()[-2]
        assert thing not in WRONG
        assert reply.startswith("<reasoning>\nSource [")
        cited = {n for _, _, numbers in spans(reply, sources) for n in numbers}
        assert all(fact(THINGS.index(thing)) in sources[n] for n in cited)
        assert sorted(sources) == list(range(1, len(sources) + 1))
        assert len(sources) == len(cited) + 1  # and one that says nothing about it


def test_an_answer_that_is_wrong_is_passed_over_and_where_all_are_nothing_is_saved(
    index: Index, told: Config, stub: Stub
) -> None:
    stub.thinks = thinks
    some = made(index, told, [*sorted(WRONG)[:3], "heating"], count=1)
    assert some.chosen == ("How much is the heating allowance?",)
    assert some.passed <= 3
    saved = Path(told.prompts.library) / "answer-reasoned-shown"
    with pytest.raises(EvalError, match="is right, cited and short enough"):
        made(index, told, sorted(WRONG))
    assert len([*saved.iterdir()]) == 1


def test_what_a_prompt_demonstrates_is_not_scored(index: Index, told: Config, stub: Stub) -> None:
    stub.thinks = thinks
    things = list(THINGS[4:10])
    shown = made(index, told, things)
    library = Path(told.prompts.library)
    choices = [chosen(library, "answer-reasoned"), chosen(library, shown.prompt.label)]
    backend = asyncio.run(resolve(told.llm))
    result = compare(index, [question(thing) for thing in things], choices, told, backend)
    assert result["demonstrated"] == len(shown.chosen)
    assert {row["question"] for row in result["rows"]}.isdisjoint(shown.chosen)
    only = [question(text.split()[-2]) for text in shown.chosen]
    with pytest.raises(EvalError, match="demonstrated by a prompt"):
        compare(index, only, choices, told, backend)


def test_the_clusters_hold_each_question_once_and_alike_ones_together(index: Index) -> None:
    alike = [Asked(str(n), text, None) for n, text in enumerate((
        "How many days of leave?", "How many days of leave are there?", "How many days of holiday leave?",
        "Which pump runs at 50 Hz?", "Which pump runs at 60 Hz?",
    ))]  # fmt: skip
    found = clusters(index, alike, 2)
    assert sorted({each.id for each in part} for part in found) == sorted([{"0", "1", "2"}, {"3", "4"}])
    assert sorted(each.id for part in clusters(index, alike, 9) for each in part) == ["0", "1", "2", "3", "4"]


def test_without_a_model_there_is_nothing_to_show(index: Index, told: Config) -> None:
    with pytest.raises(ConfigError, match="none answers"):
        show(index, [question("hotel")], chosen(Path(told.prompts.library), "answer"), told, EXTRACTIVE, 2)
