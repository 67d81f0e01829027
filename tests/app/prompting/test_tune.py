import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.answering.backend import EXTRACTIVE, resolve
from app.answering.promotions import chosen, present, promote
from app.measuring.scores import Gold
from app.prompting.compare import Asked, golden_questions
from app.prompting.study import Request
from app.prompting.tune import STUDIES, sides, tune
from app.running.jobs import Cancelled
from core.config import Config
from core.errors import ConfigError, EvalError, ModelError
from core.text import digest
from prompts.load import load
from prompts.resting import resting
from prompts.versions import names, save
from retrieval.index import Index
from tests.app.allowances import THINGS, cfg, index, stub
from tests.app.prompt_lab import asked_for, library, reader, told_to_cite, with_library
from tests.app.stub_model import Call, Stub

__all__ = ["cfg", "index", "stub"]  # fixtures
QUICK = Request(trials=4, prompts=("poor", "answer"), demos=0)
WORDING = "Use the sources only. Put the number of the source behind every statement, or reply NO_ANSWER {sic}."


@pytest.fixture
def poor(cfg: Config, stub: Stub, index: Index, tmp_path: Path) -> Config:
    """Answered by the poor prompt, of a library of its own."""
    stub.reset()
    (index.home / "prompt.json").unlink(missing_ok=True)
    return with_library(cfg, library(tmp_path / "library"), stub)


def run(index: Index, cfg: Config, request: Request = QUICK, most: int = 8, **how: Any) -> dict[str, Any]:
    return tune(index, golden_questions(index)[:most], request, cfg, asyncio.run(resolve(cfg.llm)), **how)


def study(index: Index, report: dict[str, Any]) -> Path:
    return index.home / STUDIES / report["id"]


def test_a_poor_prompt_is_bettered_on_documents_that_the_search_never_saw(
    index: Index, poor: Config, stub: Stub
) -> None:
    stub.thinks = reader(told_to_cite)
    report = run(index, poor)
    gain = report["difference"]
    # Both say the sentence (token F1 1); citation F1 is 0 without numbers and 1 with them: the mean rises by a half.
    assert (report["verdict"], gain["mean"], gain["low"], gain["losses"]) == ("gain", 0.5, 0.5, 0)
    assert gain["wins"] == report["sizes"]["test"] == 4
    assert report["present"]["label"].startswith("poor/v001 ")
    assert report["best"]["label"].startswith("answer/v001 ")
    assert report["command"].startswith("ragstone prompts promote answer/v001 --kb kb")
    assert present(poor, index.home).label == "poor/v001"  # nothing goes live by itself
    told = (study(index, report) / "report.md").read_text("utf-8")
    assert "**+0.500** on the test side" in told
    assert report["command"] in told
    settings = json.loads((study(index, report) / "settings.json").read_text("utf-8"))
    test = {THINGS.index(asked["question"].split()[-2]) for asked in report["rows"]}
    assert test.isdisjoint(THINGS.index(thing) for thing in seen_in(stub, report, settings))


def seen_in(stub: Stub, report: dict[str, Any], settings: dict[str, Any]) -> set[str]:
    """The things that were asked for before the test side was."""
    searched = len(stub.calls) - 2 * report["sizes"]["test"]
    assert len(settings["sides"]["dev"]) == report["sizes"]["dev"]
    return {asked_for(call) for call in stub.calls[:searched]}


def test_where_the_prompt_makes_no_difference_there_is_no_gain_and_no_command(
    index: Index, poor: Config, stub: Stub
) -> None:
    stub.thinks = reader(lambda call: True)
    report = run(index, poor, replace(QUICK, seed=4))
    assert (report["verdict"], report["command"]) == ("no gain", "")
    assert report["difference"]["mean"] == 0
    assert report["best"] == report["present"]


def test_a_difference_that_may_be_chance_is_no_gain(index: Index, poor: Config, stub: Stub) -> None:
    def even(call: Call) -> bool:
        return digest(asked_for(call))[0] % 2 == 0

    stub.thinks = reader(lambda call: even(call) == told_to_cite(call))  # either prompt is right on a half
    gain = (report := run(index, poor, replace(QUICK, seed=5), most=16))["difference"]
    assert (report["verdict"], report["command"]) == ("no gain", "")
    assert gain["low"] <= 0 <= gain["high"]


def test_a_study_that_was_stopped_goes_on_where_it_was(index: Index, poor: Config, stub: Stub) -> None:
    stub.thinks = reader(told_to_cite)

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("trials", 2):
            raise Cancelled

    request = replace(QUICK, seed=1)
    with pytest.raises(Cancelled):
        run(index, poor, request, progress=stop)
    report = run(index, poor, request)
    assert (len(report["trials"]), report["verdict"]) == (4, "gain")
    asked = len(stub.calls)
    assert run(index, poor, request) == report  # nothing is left to do
    assert len(stub.calls) == asked
    longer = run(index, poor, replace(request, trials=5))
    assert (longer["id"], longer["trials_done"]) == (report["id"], 5)


def test_a_model_that_fails_leaves_the_study_to_be_gone_on_with(index: Index, poor: Config, stub: Stub) -> None:
    def breaks(call: Call) -> str:
        if len(stub.calls) > 6:
            stub.thinks, stub.reply = None, replace(stub.reply, failure="error")
        return reader(told_to_cite)(call)

    stub.thinks = breaks
    request = replace(QUICK, seed=2)
    with pytest.raises(ModelError):
        run(index, poor, request)
    stub.reset()
    stub.thinks = reader(told_to_cite)
    assert run(index, poor, request)["trials_done"] == 4


def test_a_wording_of_the_model_is_kept_with_its_parent_only_where_it_gains(
    index: Index, poor: Config, stub: Stub
) -> None:
    asked: list[str] = []

    def thinks(call: Call) -> str:
        if "<failures>" not in call.text:
            return reader(told_to_cite)(call)
        asked.append(call.text)
        good = {"en": WORDING, "zh": WORDING, "notes": "asks for numbers"}
        return json.dumps(good) if len(asked) == 1 else '{"en": "short"}'

    stub.thinks = thinks
    request = Request(trials=5, prompts=("poor",), propose=2, demos=0)
    report = run(index, poor, request)
    assert report["verdict"] == "gain"
    assert report["command"].startswith("ragstone prompts promote poor-tuned/v001 --kb kb")
    new = load(Path(poor.prompts.library), "poor-tuned")
    assert (new.parent, new.parts["en"][1]) == ("poor/v001", "{question}")
    assert resting(new) == index.identity  # the model had read what it failed at
    assert new.notes == "Proposed by stub-model: asks for numbers"
    assert new.render("en", {"sources": "S", "question": "?"})[0].content == f"{WORDING}\n\nS"
    assert "Say something about this." in asked[0]
    assert "euros a month" in asked[0]  # what was wanted
    assert any("proposal 2 was left out" in note for note in report["notes"])
    assert present(poor, index.home).label == "poor/v001"


def test_demonstrations_come_from_questions_that_are_not_scored(index: Index, poor: Config, stub: Stub) -> None:
    def shown(call: Call) -> bool:
        return any(m["role"] == "assistant" for m in call.body["messages"])

    stub.thinks = reader(shown)
    golden = [(each, each.gold) for each in golden_questions(index)[:20]]
    asked = [replace(each, gold=Gold(gold.evidence[0], gold.evidence)) for each, gold in golden if gold]
    library = Path(poor.prompts.library)
    for name in ("poor", "answer"):
        save(library, replace(load(library, name), notes="marker-31: of another one", rests_on="0ther"))
    request = Request(trials=4, prompts=("poor",), demos=2, seed=3)
    report = tune(index, asked, request, poor, asyncio.run(resolve(poor.llm)))
    assert (report["verdict"], report["sizes"]["pool"]) == ("gain", 2)
    prompt = load(library, "poor-tuned")
    assert resting(prompt) == index.identity
    copied = [file.read_text("utf-8") for file in (study(index, report) / "library").rglob("*.toml")]
    assert not any("marker-31" in text for text in copied)
    assert len(copied) > 10
    pool = set(json.loads((study(index, report) / "settings.json").read_text("utf-8"))["sides"]["pool"])
    things = {each.question for each in asked if each.id in pool}
    for demo in prompt.demos["en"]:
        assert demo.values["question"] in things
        assert "<source n=" in demo.values["sources"]
        assert demo.answer.startswith("The ")
        assert "[" in demo.answer
    assert things.isdisjoint(row["question"] for row in report["rows"])


def test_a_promoted_prompt_is_the_present_one_and_another_study(index: Index, poor: Config, stub: Stub) -> None:
    stub.thinks = reader(told_to_cite)
    request = replace(QUICK, seed=6, trials=1)
    first = run(index, poor, request)
    promote(Path(poor.prompts.library), index.home, chosen(Path(poor.prompts.library), "answer,k=3"))
    second = run(index, poor, request)
    assert second["id"] != first["id"]
    assert second["present"]["label"].startswith("answer/v001 ")
    assert " k=3" in second["present"]["label"]
    assert second["verdict"] == "no gain"
    assert "poor-tuned" not in names(Path(poor.prompts.library))


def test_sides_share_no_document() -> None:
    asked = [Asked(f"{doc}-{n}", "?", Gold("x"), f"{doc}.md") for doc in range(9) for n in range(3)]
    split = sides(asked, 0, demos=True)
    files = [{each.file for each in side} for side in (split.test, (*split.dev, *split.pool))]
    assert files[0].isdisjoint(files[1])
    assert len(split.test) + len(split.dev) + len(split.pool) == 27
    assert sides(asked, 0, demos=True) == split
    assert sides(asked, 1, demos=True) != split


def test_too_few_questions_and_no_model_are_told(index: Index, poor: Config) -> None:
    with pytest.raises(EvalError, match="at least 4 are needed"):
        sides([Asked(str(n), "?", Gold("x")) for n in range(7)], 0, demos=False)
    with pytest.raises(ConfigError, match="prompts are for a model"):
        tune(index, golden_questions(index), QUICK, poor, EXTRACTIVE)
    with pytest.raises(ConfigError, match="no score best"):
        run(index, poor, replace(QUICK, objective=("best",)))
