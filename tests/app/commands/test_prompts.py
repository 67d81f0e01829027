import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from core.config import Config
from core.errors import ConfigError, PromptError
from prompts.load import load, versions
from prompts.versions import save, to_toml
from retrieval.index import Index
from tests.app.allowances import THINGS, cfg, fact, index, stub
from tests.app.prompt_lab import library, reader, told_to_cite
from tests.app.stub_model import Call, Stub

__all__ = ["cfg", "index", "stub"]  # fixtures


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return library(tmp_path / "library")


class Ragstone:
    """The command line over the allowances, with a library of its own and the stub as its model."""

    def __init__(self, cfg: Config, lib: Path, stub: Stub) -> None:
        self.environ = {
            "RAGSTONE_DATA": cfg.app.data, "RAGSTONE_PROMPTS__LIBRARY": str(lib), "RAGSTONE_PROMPTS__ANSWER": "poor",
            "RAGSTONE_APP__KB": "kb", "RAGSTONE_LLM__BASE_URL": stub.base_url,
        }  # fmt: skip

    def __call__(self, *args: str) -> str:
        done = CliRunner().invoke(app, list(args), env=self.environ)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json"))


@pytest.fixture
def ragstone(cfg: Config, lib: Path, stub: Stub, index: Index) -> Ragstone:
    stub.reset()
    stub.thinks = reader(told_to_cite)
    (index.home / "prompt.json").unlink(missing_ok=True)
    return Ragstone(cfg, lib, stub)


def test_versions_are_made_shown_compared_by_text_and_carried_over(
    ragstone: Ragstone, lib: Path, tmp_path: Path
) -> None:
    file = tmp_path / "poor.toml"
    poor = load(lib, "poor")
    file.write_bytes(to_toml(replace(poor, parts={"en": ("Be kind. {sources}", "{question}")})))
    made = ragstone.json("prompts", "new", "poor", "--file", str(file), "--parent", "poor/v001", "--notes", "Kinder.")
    assert made["prompt"] == "poor/v002"
    assert 'parent = "poor/v001"' in ragstone("prompts", "show", "poor")
    sections = ragstone.json("prompts", "diff", "poor/v002")["sections"]
    assert "+Be kind. {sources}" in sections["en.system"]
    assert ragstone("prompts", "diff", "poor/v001", "poor/v1").strip() == "poor/v001 and poor/v001 say the same"
    ragstone("prompts", "export", "poor", "answer/v001", "--to", str(tmp_path / "pack.toml"))
    taken = ragstone.json("prompts", "import", str(tmp_path / "pack.toml"))["prompts"]
    assert [(row["prompt"], row["new"]) for row in taken] == [
        ("poor/v001", False), ("answer/v001", False), ("poor/v002", False)
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="is there already"):
        ragstone("prompts", "export", "poor", "--to", str(tmp_path / "pack.toml"))
    with pytest.raises(PromptError, match="no parent"):
        ragstone("prompts", "diff", "poor/v001")


@pytest.fixture
def asked(tmp_path: Path) -> str:
    """A file with eight questions."""
    rows = [
        {"question": f"How much is the {THINGS[n]} allowance?", "evidence": [fact(n)], "file": f"{n}.md"}
        for n in range(8)
    ]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return str(file)


def test_a_prompt_is_compared_promoted_and_rolled_back(ragstone: Ragstone, asked: str) -> None:
    result = ragstone.json("prompts", "compare", "poor", "answer,temperature=0", "--questions", asked)
    assert [v["objective"] for v in result["variants"]] == [0.5, 1.0]
    assert result["variants"][1]["against"]["wins"] == 8
    rows = {row["prompt"]: row for row in ragstone.json("prompts", "list")["prompts"]}
    assert rows["answer/v001"]["scores"]["answer/v001 temperature=0"]["objective"] == 1.0
    assert [label for label, row in rows.items() if row["answers"]] == ["poor/v001"]
    promoted = ragstone.json("prompts", "promote", "answer/v001", "--temperature", "0", "--k", "4")
    assert promoted == {"kb": "kb", "prompt": "answer/v001 temperature=0 k=4", "in_effect": True}
    assert "[1]" in ragstone("ask", "How much is the laptop allowance?")
    assert ragstone.json("prompts", "rollback")["prompt"] == "poor/v001"


def test_one_question_is_answered_side_by_side(ragstone: Ragstone) -> None:
    told = ragstone("prompts", "compare", "poor", "answer", "--question", "How much is the laptop allowance?")
    assert told.count("The laptop allowance is 102 euros") == 2
    assert "better" not in told  # nobody said what is wanted


def test_a_study_prints_the_command_that_promotes_what_won(ragstone: Ragstone, asked: str) -> None:
    of = ("--prompt", "poor", "--prompt", "answer", "--demos", "0", "--seed", "7", "--questions", asked)
    told = ragstone("tune", "prompt", "--trials", "3", *of)
    assert told.startswith("gain: +0.500 [+0.500, +0.500] on 4 test questions; 4 better, 0 worse")
    command = next(line.strip() for line in told.splitlines() if line.strip().startswith("ragstone prompts promote"))
    ragstone(*command.split()[1:])
    assert ragstone.json("prompts", "list")["present"]["name"] == "answer"


def test_without_a_model_comparing_and_tuning_say_what_is_needed(ragstone: Ragstone) -> None:
    ragstone.environ["RAGSTONE_LLM__BACKEND"] = "extractive"
    for command in (("prompts", "compare", "poor", "answer"), ("tune", "prompt")):
        with pytest.raises(ConfigError, match="prompts are for a model"):
            ragstone(*command)


def test_a_newest_version_that_the_configuration_takes_at_once_is_told(
    ragstone: Ragstone, lib: Path, tmp_path: Path
) -> None:
    ragstone.environ["RAGSTONE_PROMPTS__ANSWER_VERSION"] = "0"
    file = tmp_path / "poor.toml"
    file.write_bytes(to_toml(replace(load(lib, "poor"), parts={"en": ("Other. {sources}", "{question}")})))
    done = CliRunner().invoke(app, ["prompts", "new", "poor", "--file", str(file)], env=ragstone.environ)
    assert "poor/v002 is used from now on" in done.stderr
    save(lib, load(lib, "poor"))
    assert versions(lib, "poor") == [1, 2, 3]


def test_a_question_on_the_command_line_is_searched_in_steps_and_says_which(ragstone: Ragstone, stub: Stub) -> None:
    def thinks(call: Call) -> str:
        if "Reply with exactly one line" in call.text:
            return "SEARCH: [bold]hotel[/bold] allowance"
        return "NOTE [1]: how much\nENOUGH" if "Searched so far:" in call.text else "100 euros [1]."

    stub.thinks = thinks
    told = ragstone.json("ask", "How much is the hotel allowance?", "--steps", "2")
    assert [query["text"] for query in told["trace"]["queries"]][1:] == ["[bold]hotel[/bold] allowance"]
    assert [citation["path"] for citation in told["citations"]] == ["hotel.md"]
    done = CliRunner().invoke(app, ["ask", "How much is the hotel allowance?", "--steps", "2"], env=ragstone.environ)
    assert "searching: [bold]hotel[/bold] allowance" in done.stderr
    assert done.stdout.startswith("100 euros [1].")
    assert ragstone.json("prompts", "promote", "poor", "--steps", "2")["prompt"] == "poor/v001 steps=2"
