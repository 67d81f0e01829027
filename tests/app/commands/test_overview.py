"""`ragstone overview`: the report as text and as JSON, and questions that are forgotten."""

from pathlib import Path

import pytest

from app.answering import unanswered
from app.running.audit import entries
from tests.app.commands.test_manage import Cli, Write


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "data")


@pytest.fixture
def home(cli: Cli, write: Write) -> Path:
    """A knowledge base with a file that is empty, and with questions that nothing was found for."""
    write("leave.md", "# Leave\n\nAnnual leave is 25 days.")
    write("年假.md", "# 年假\n\n年假每年二十五天。")
    write("[parking].md", "# Parking\n\nThe garage opens at 06:30.")
    cli("index", str(write("empty.md", "").parent), "--kb", "kb", code=1)
    for question in ("Where is [the gym]?", "where is [the gym]", "健身房在哪里？"):
        unanswered.keep([cli.data / "kb"], question)
    return cli.data / "kb"


def test_the_report_says_what_is_there_and_what_is_missing(cli: Cli, home: Path) -> None:
    said = cli("overview", "--kb", "kb").stdout
    assert "kb: 3 documents" in said
    assert "could not be read: 1 files" in said
    assert "empty.md" in said
    assert "where is [the gym]: 2 times" in said
    assert "健身房在哪里？: once" in said
    assert "which does not answer it" in said
    assert "app.keep_unanswered is off" in said


def test_json_has_the_whole_report(cli: Cli, home: Path) -> None:
    told = cli.json("overview", "--kb", "kb", "--months", "1")
    assert (told["documents"], told["failed"], told["months"], told["wordings"]) == (3, 1, 1, 2)
    assert {row["name"] for row in told["languages"]} == {"en", "zh"}
    assert told["missing"][0]["asked"] == 2


def test_questions_are_forgotten_and_that_is_on_record(cli: Cli, home: Path) -> None:
    assert "2 questions are forgotten" in cli("overview", "--kb", "kb", "--forget").stdout
    assert unanswered.read(home) == []
    assert cli.json("overview", "--kb", "kb", "--forget") == {"forgotten": 0}
    assert [entry.detail for entry in entries(cli.data) if entry.what == "questions.forget"] == [
        "0 questions", "2 questions",
    ]  # fmt: skip


def test_ask_on_the_command_line_keeps_what_it_found_nothing_for(cli: Cli, home: Path) -> None:
    asked = ["ask", "Who won the football cup in Brazil?", "--kb", "kb"]
    cli(*asked, RAGSTONE_LLM__BACKEND="extractive")
    assert len(unanswered.read(home)) == 2
    cli(*asked, RAGSTONE_LLM__BACKEND="extractive", RAGSTONE_APP__KEEP_UNANSWERED="true")
    assert len(unanswered.read(home)) == 3
