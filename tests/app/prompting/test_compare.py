import asyncio
import json
from pathlib import Path

import pytest

from app.answering import unanswered
from app.answering.answer import Done, answer
from app.answering.backend import EXTRACTIVE, resolve
from app.answering.plan import planned
from app.answering.promotions import chosen, promote
from app.measuring.scores import Gold
from app.prompting.compare import Asked, answers, compare, golden_questions, read_questions, remember, scores_of
from core.config import Config
from core.errors import ConfigError, EvalError, ModelError, PromptError
from retrieval.index import Index
from tests.app.allowances import THINGS, cfg, fact, index, stub
from tests.app.prompt_lab import asked_for, library, reader, told_to_cite, with_library
from tests.app.stub_model import MODEL, Call, Stub

__all__ = ["cfg", "index", "stub"]  # fixtures


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("prompts") / "library")


@pytest.fixture
def told(cfg: Config, lib: Path, stub: Stub, index: Index) -> Config:
    stub.reset()
    (index.home / "prompt.json").unlink(missing_ok=True)
    return with_library(cfg, lib, stub)


def question(n: int) -> Asked:
    return Asked(THINGS[n], f"How much is the {THINGS[n]} allowance?", Gold(fact(n), (fact(n),)), f"{THINGS[n]}.md")


def test_prompts_are_set_side_by_side_with_wins_losses_and_an_interval(
    index: Index, told: Config, lib: Path, stub: Stub
) -> None:
    stub.thinks = reader(told_to_cite)
    asked = [question(n) for n in range(4)] + [Asked("none", "How much is the yacht allowance?", Gold())]
    choices = [chosen(lib, "poor"), chosen(lib, "answer,temperature=0")]
    result = compare(index, asked, choices, told, asyncio.run(resolve(told.llm)))
    poor, good = result["variants"]
    # Said word for word, so token F1 is 1; numbers stand in the second only; both refuse what nothing answers.
    assert (poor["objective"], good["objective"]) == (round((4 * 0.5 + 1) / 5, 4), 1.0)
    assert {key: good["against"][key] for key in ("mean", "wins", "losses", "ties")} == {
        "mean": 0.4, "wins": 4, "losses": 0, "ties": 1
    }  # fmt: skip
    assert good["against"]["low"] <= 0.4 <= good["against"]["high"]
    assert (good["means"]["refused_rightly"], good["means"]["refused_wrongly"]) == (1, 0)
    assert result["rows"][0]["answers"][0]["objective"] == 0.5
    one, two = told.llm.temperature, 0.0
    # A question each that does not count, four by each, and the last by both in the other order: so times compare.
    assert [call.body["temperature"] for call in stub.calls] == [one, two, *4 * [one], *4 * [two], two, one]
    assert stub.varied == []  # the same passages for both


def test_two_models_of_a_server_are_set_side_by_side_and_graded_by_the_one_that_is_configured(
    index: Index, told: Config, lib: Path, stub: Stub
) -> None:
    stub.rows = [{"id": name, "object": "model"} for name in (MODEL, "other")]

    def thinks(call: Call) -> str:
        if "reference" in call.text.lower():
            return '{"reason": "", "score": 5}'
        return reader(told_to_cite)(call) if call.body["model"] == "other" else "There is none."

    stub.thinks = thinks
    choices = [chosen(lib, "answer"), chosen(lib, "answer,model=other")]
    backend = asyncio.run(resolve(told.llm))
    result = compare(index, [question(0)], choices, told, backend, judged=True)
    assert [variant["label"] for variant in result["variants"]] == [choices[0].label, f"{choices[0].label} model=other"]
    first, second = result["rows"][0]["answers"]
    assert (first["text"], second["scores"]["token_f1"]) == ("There is none.", 1.0)
    graded = [call.body["model"] for call in stub.calls if "reference" in call.text.lower()]
    assert set(graded) == {MODEL}
    with pytest.raises(ModelError, match="does not serve model 'absent'"):
        compare(index, [question(0)], [chosen(lib, "answer,model=absent")], told, backend)


def test_what_is_asked_to_measure_is_no_question_of_a_person(index: Index, told: Config, lib: Path, stub: Stub) -> None:
    stub.thinks = reader(told_to_cite)
    on = told.model_copy(update={"app": told.app.model_copy(update={"keep_unanswered": True})})
    asked = [Asked("none", "How much is the yacht allowance?", Gold())]
    result = compare(index, asked, [chosen(lib, "answer")], on, asyncio.run(resolve(on.llm)))
    assert result["rows"][0]["answers"][0]["refused"]
    assert unanswered.read(index.home) == []


def test_a_search_in_steps_is_set_beside_the_ordinary_one_with_what_it_cost(
    index: Index, told: Config, lib: Path, stub: Stub
) -> None:
    one_source = reader(told_to_cite)

    def thinks(call: Call) -> str:
        if "Reply with exactly one line" in call.text:
            return f"SEARCH: {THINGS[0]} allowance"
        if "Searched so far:" in call.text:
            return "NOTE [1]: how much it is\nENOUGH"
        return one_source(call)

    stub.thinks = thinks
    result = compare(
        index,
        [question(0)],
        [chosen(lib, "answer"), chosen(lib, "answer,steps=2")],
        told,
        asyncio.run(resolve(told.llm)),
    )
    once, steps = (variant["means"] for variant in result["variants"])
    assert result["variants"][1]["label"] == "answer/v001 steps=2"
    assert (once["calls"], steps["calls"]) == (1, 3)
    assert [answer["calls"] for answer in result["rows"][0]["answers"]] == [1, 3]
    assert (once["token_f1"], steps["token_f1"]) == (1.0, 1.0)
    answered = [call for call in stub.answers() if "<source" in call.text and "Searched so far" not in call.text]
    assert [call.text.count("<source ") for call in answered[-2:]] == [5, 1]  # the passage that was noted alone
    assert steps["written"] > once["written"] > 0
    assert once["sent"] > 0


def test_several_samples_are_set_beside_one_answer_with_what_they_cost(
    index: Index, told: Config, lib: Path, stub: Stub
) -> None:
    stub.thinks = reader(told_to_cite)
    choices = [chosen(lib, "answer"), chosen(lib, "answer,samples=3")]
    result = compare(index, [question(0)], choices, told, asyncio.run(resolve(told.llm)))
    one, three = (variant["means"] for variant in result["variants"])
    assert (one["calls"], three["calls"]) == (1, 3)
    assert three["sent"] == 3 * one["sent"]
    assert three["written"] == 3 * one["written"]
    assert three["token_f1"] == 1.0


def test_what_is_promoted_answers_the_chat_but_not_a_comparison(
    index: Index, told: Config, lib: Path, stub: Stub
) -> None:
    stub.thinks = reader(told_to_cite)
    promote(lib, index.home, chosen(lib, "answer"))
    backend = asyncio.run(resolve(told.llm))

    async def ask() -> str:
        plan = await planned(told, index.home)
        events = [event async for event in answer(index, question(0).question, plan)]
        assert isinstance(events[-1], Done)
        return events[-1].answer.text

    assert "[" in asyncio.run(ask())
    assert "[" not in answers(index, [question(0)], told, backend)[0].answer.text


def test_a_judge_grades_answers_and_never_those_that_nobody_can(index: Index, told: Config, stub: Stub) -> None:
    replies = iter(['{"reason": "all right", "score": 4}', "no JSON", '{"reason": "?", "score": 9}'])

    def thinks(call: Call) -> str:
        return next(replies) if "<reference>" in call.text else reader(told_to_cite)(call)

    stub.thinks = thinks
    backend = asyncio.run(resolve(told.llm))
    found = [answers(index, [question(n)], told, backend, judged=True)[0].row for n in range(3)]
    assert [row.values.get("judge") for row in found] == [0.75, None, None]
    refused = answers(
        index, [Asked("x", "How much is the yacht allowance?", Gold(fact(0)))], told, backend, judged=True
    )
    assert refused[0].row.values["judge"] == 0
    nothing = answers(index, [Asked("x", "How much is the yacht allowance?", Gold())], told, backend, judged=True)
    assert "judge" not in nothing[0].row.values


def test_without_a_model_a_comparison_says_that_one_is_needed(index: Index, told: Config, lib: Path) -> None:
    with pytest.raises(ConfigError, match="prompts are for a model") as error:
        compare(index, [question(0)], [chosen(lib, "answer")] * 2, told, EXTRACTIVE)
    assert "llm.base_url" in error.value.hint


def test_what_writes_no_answers_is_not_compared(index: Index, told: Config, lib: Path) -> None:
    with pytest.raises(PromptError, match="writes no answers"):
        compare(index, [question(0)], [chosen(lib, "rewrite")], told, asyncio.run(resolve(told.llm)))


def test_the_golden_set_is_asked_with_its_evidence(index: Index) -> None:
    asked = golden_questions(index)
    assert len(asked) == len(THINGS)
    assert asked[2].gold == Gold("", (fact(2),))
    assert (asked[2].file, asked_for.__name__) == ("laptop.md", "asked_for")


def test_questions_are_read_from_a_file(tmp_path: Path) -> None:
    rows = [
        {"question": "Q1?", "answer": "A", "evidence": ["E"], "file": "a.md"},
        {"id": "q2", "question": "Q2?", "unanswerable": True},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    one, two = read_questions(file)
    assert (one.gold, one.file, two) == (Gold("A", ("E",)), "a.md", Asked("q2", "Q2?", Gold()))


@pytest.mark.parametrize(
    "line",
    ["x", "[]", '{"question": "Q?"}', '{"question": "Q?", "answer": "A", "unanswerable": true}', '{"answer": "A"}',
     '{"question": "Q?", "answer": 3}', '{"question": "Q?", "evidence": 3}', '{"question": "Q?", "evidence": [3]}',
     '{"question": "Q?", "answer": "A", "more": 1}', ""],
)  # fmt: skip
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(line, "utf-8")
    with pytest.raises(EvalError, match=r"questions\.jsonl"):
        read_questions(file)


def test_what_was_scored_is_remembered_by_variant(tmp_path: Path) -> None:
    variant = {"label": "answer/v001", "objective": 0.5, "means": {"token_f1": 0.5}}
    remember(tmp_path, {"variants": [variant], "questions": 3, "model": "m", "when": "now"})
    remember(tmp_path, {"variants": [variant | {"objective": 0.7}], "questions": 4, "model": "m", "when": "now"})
    assert {label: row["objective"] for label, row in scores_of(tmp_path).items()} == {"answer/v001": 0.7}
