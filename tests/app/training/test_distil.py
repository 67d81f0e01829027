import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.commands.curate import dataset
from app.training.distil import Request, run
from core.config import Config, load
from core.errors import DatasetError, ModelError
from llm.examples import Example, Message, read_examples, write_rows
from tests.app.stub_model import Call, Stub, serving

SOURCE = '<source n="1" path="{0}.md" heading="">\nThe {0} allowance is {1} euros.\n</source>'
THINGS = {"meal": 30, "hotel": 180, "phone": 20, "book": 50}


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with serving() as running:
        yield running


def example(thing: str, kind: str = "answer") -> Example:
    asked = thing if kind == "answer" else "boat"
    said = (
        ("system", SOURCE.format(thing, THINGS[thing])), ("user", f"How much is the {asked} allowance?"),
        ("assistant", f"{THINGS[thing]} [1]." if kind == "answer" else "NO_ANSWER"),
    )  # fmt: skip
    messages = tuple(Message.model_validate({"role": role, "content": text}) for role, text in said)
    return Example(id=f"{thing}-{kind}", messages=messages, file=f"{thing}.md", kind=kind, origin="golden")


@pytest.fixture
def source(cfg: Config) -> str:
    folder = Path(cfg.app.data) / "datasets" / "asked"
    folder.mkdir(parents=True)
    write_rows(folder / "train.jsonl", [example("meal"), example("hotel"), example("meal", "refusal")])
    write_rows(folder / "dev.jsonl", [example("phone")])
    write_rows(folder / "test.jsonl", [example("book")])
    return "asked"


def teaches(call: Call) -> str:
    """A teacher that is wrong about hotels, and refuses what it should."""
    text = call.text
    if "boat" in text:
        return "NO_ANSWER"
    thing = next(thing for thing in THINGS if f"the {thing} allowance?" in text)
    return f"The {thing} allowance is {THINGS[thing] + (thing == 'hotel')} euros [1]."


def test_what_a_teacher_says_is_learnt_where_its_sources_hold_it(cfg: Config, source: str, stub: Stub) -> None:
    stub.reset()
    stub.thinks = teaches
    report = run(cfg, Request(source, "taught", stub.base_url))
    home = Path(cfg.app.data) / "datasets" / "taught"
    train = {row.id: row for row in read_examples(home / "train.jsonl")}
    assert {row.answer for row in train.values()} == {"The meal allowance is 30 euros [1].", "NO_ANSWER"}
    assert {row.origin for row in train.values()} == {"teacher:stub-model"}
    assert train["meal-answer"].prompt == example("meal").prompt
    assert [row.answer for row in read_examples(home / "dev.jsonl")] == ["The phone allowance is 20 euros [1]."]
    assert read_examples(home / "test.jsonl") == [example("book")]  # never asked: both are measured on it
    assert not any("book" in call.text for call in stub.calls)
    assert all(call.body["temperature"] == 0 for call in stub.calls)
    assert report["left_out"] == {"the teacher's answer is not supported by what it cites": 1}
    assert report["teacher"]["refusal_right"] == 1.0
    assert report["teacher"]["supported"] == pytest.approx(2 / 3, abs=1e-3)
    asked = len(stub.calls)
    assert run(cfg, Request(source, "taught", stub.base_url))["skipped"]
    assert len(stub.calls) == asked


def test_a_teacher_that_teaches_nothing_or_is_not_there_leaves_no_data_set(
    cfg: Config, source: str, stub: Stub
) -> None:
    stub.reset()
    stub.thinks = lambda call: "NO_ANSWER" if "boat" not in call.text else "A boat is 5 euros [1]."
    with pytest.raises(DatasetError, match="3 left out: the teacher refuses; 1 left out: the teacher answers"):
        run(cfg, Request(source, "taught", stub.base_url))
    with pytest.raises(ModelError):
        run(cfg, Request(source, "taught", "http://127.0.0.1:9/v1"))
    with pytest.raises(DatasetError, match="no data set"):
        run(cfg, Request("absent", "taught", stub.base_url))
    assert not (Path(cfg.app.data) / "datasets" / "taught").exists()


def test_the_command_tells_how_good_the_teacher_is(cfg: Config, source: str, stub: Stub) -> None:
    stub.reset()
    stub.thinks = teaches
    settings = load(flags={"app.data": cfg.app.data, "llm.backend": "extractive"}, environ={})
    words = ["distil", source, "--teacher", stub.base_url, "--name", "shown"]
    done = CliRunner().invoke(dataset, words, obj=settings)
    assert done.exit_code == 0, done.output
    assert "supported 0.667" in done.output
    assert "train: 2 conversations (1 answer, 1 refusal)" in done.output
    told = json.loads(CliRunner().invoke(dataset, [*words, "--json"], obj=settings).stdout)
    assert told["answers"] == stub.base_url
