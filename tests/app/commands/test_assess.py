import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.commands.assess import assess
from core.config import Settings, load
from core.errors import EvalError


class Commands:
    """The commands over a knowledge base of its own, in this process."""

    def __init__(self, data: Path) -> None:
        self.file = data / "handbook" / "golden.jsonl"
        flags = {"app.data": str(data), "app.kb": "handbook", "llm.backend": "extractive"}
        self.settings: Settings = load(flags=flags, environ={})

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(assess, arguments, obj=self.settings)

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)


@pytest.fixture
def commands(handbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.delenv("RAGSTONE_RETRIEVAL__EMBEDDER")  # other settings are read with the environment, these without
    shutil.copytree(handbook, tmp_path / "data")
    return Commands(tmp_path / "data")


@pytest.mark.slow
def test_from_draft_to_figures_and_back(commands: Commands, tmp_path: Path) -> None:
    assert isinstance(commands.run("eval").exception, EvalError)  # nothing is approved yet
    drafts = commands.json("golden", "draft", "--count", "12")["questions"]
    ids = [row["id"] for row in drafts]
    assert len(ids) == 12
    assert commands.run("golden", "approve", *ids[:10]).exit_code == 0
    assert commands.run("golden", "reject", ids[11]).exit_code == 0
    statuses = [row["status"] for row in commands.json("golden", "list")["questions"]]
    assert statuses == ["approved"] * 10 + ["draft", "rejected"]

    lines = commands.file.read_text("utf-8").splitlines()
    again = commands.json("golden", "draft", "--count", "12")["questions"]
    assert len(again) == 12
    assert not {row["question"] for row in again} & {row["question"] for row in drafts}
    assert commands.file.read_text("utf-8").splitlines()[:12] == lines

    plot = tmp_path / "plot.svg"
    result = commands.json("eval", "--plot", str(plot))
    assert (result["questions"], result["out_of_date"]) == (10, [])
    assert result["modes"]["hybrid"]["recall@10"] >= 0.8
    assert "10 questions" in plot.read_text("utf-8")

    other = commands.json("eval", "--against", "retrieval.mode=lexical")
    moved = {row["question"] for row in (*other["worse"], *other["better"])}
    assert moved <= {row["question"] for row in drafts[:10]}
    assert other["difference"]["ndcg@10"]["low"] <= other["difference"]["ndcg@10"]["high"]
    shown = commands.run("eval", "--against", "retrieval.mode=lexical")
    assert f"{len(other['worse'])} questions worse with retrieval.mode=lexical" in shown.stdout


def test_a_question_of_a_person_is_measured_until_it_is_out_of_date(commands: Commands) -> None:
    sentence = "A medical certificate is needed from the third day of absence."
    options = ("--question", "When do I need a doctor's note?", "--file", "people/leave-policy.md")
    added = commands.run("golden", "add", *options, "--evidence", sentence)
    assert (added.exit_code, sentence in added.stdout) == (0, True)
    assert commands.json("eval")["questions"] == 1
    text = commands.file.read_text("utf-8").replace("third day", "fifth day")
    commands.file.write_text(text, "utf-8")
    result = commands.json("eval")
    assert (result["questions"], len(result["out_of_date"])) == (0, 1)
    assert "fifth day" in result["out_of_date"][0]["reason"]
    assert "out of date" in commands.run("eval").stderr
    assert commands.run("golden", "prune").exit_code == 0
    assert commands.file.read_text("utf-8") == ""
