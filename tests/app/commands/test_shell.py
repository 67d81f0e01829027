import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.commands.shell import in_front
from core.errors import ConfigError
from tests.app.app_process import command
from tests.conftest import ROOT


def ragstone(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "retrieval.k=3", "config", "--json"),
        ("config", "--set", "retrieval.k=3", "--json"),
        ("config", "--json", "--set=retrieval.k=3"),
        ("--set", "retrieval.k=9", "config", "--json", "--set", "retrieval.k=3"),
    ],
)
def test_a_setting_holds_before_and_after_a_command(arguments: tuple[str, ...]) -> None:
    assert '"retrieval.k": {"value": 3, "origin": "flag"}' in ragstone(*arguments)


def test_a_setting_holds_after_a_command_of_a_group_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    data = f"app.data={tmp_path}"
    assert "no questions" in ragstone("golden", "list", "--kb", "none", "--set", data)
    done = CliRunner().invoke(app, ["golden", "list", "--set", "k=3"])
    assert isinstance(done.exception, ConfigError)


def test_the_file_of_settings_may_be_named_after_a_command(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[retrieval]\nk = 5\n", encoding="utf-8")
    assert f'"retrieval.k": {{"value": 5, "origin": "{file}"}}' in ragstone("config", "--json", "--config", str(file))


def test_what_stands_after_two_dashes_is_no_option() -> None:
    assert in_front(["ask", "--set", "a.b=1", "--", "--set", "x"]) == ["--set", "a.b=1", "ask", "--", "--set", "x"]
    assert in_front(["ask", "--setting", "x", "--set"]) == ["--set", "ask", "--setting", "x"]


def test_the_version_is_told_without_a_command() -> None:
    assert ragstone("--version").split()[0] == "ragstone"
    assert ragstone("--version").split()[1][0].isdigit()


def test_the_help_of_index_has_the_exit_codes() -> None:
    said = " ".join(ragstone("index", "--help").split())
    assert "Exit codes: 0: done." in said
    assert "130: interrupted" in said


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef ragstone"), ("fish", "complete")]
)
def test_a_shell_is_told_how_to_complete(shell: str, sign: str) -> None:
    script = ragstone("completion", shell)
    assert sign in script
    assert "_RAGSTONE_COMPLETE" in script


@pytest.mark.slow
def test_bash_completes_commands_options_and_knowledge_bases(tmp_path: Path) -> None:
    for name in ("handbook", "handmade", "work"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "CURRENT").write_text("g0001\n", encoding="utf-8")
    script = f'eval "$({command("completion", "bash")[0]} completion bash)"'
    ask = "COMP_WORDS=({}); COMP_CWORD={}; _ragstone_completion ragstone; echo ${{COMPREPLY[@]}}"

    def completed(line: str) -> list[str]:
        words = line.split(" ")
        env = os.environ | {
            "RAGSTONE_DATA": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        quoted = " ".join(f"'{word}'" for word in words)
        shell = ["bash", "-c", f"{script}; {ask.format(quoted, len(words) - 1)}"]
        return subprocess.run(shell, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert completed("ragstone roll") == ["rollback"]
    assert completed("ragstone index --re") == ["--rebuild"]
    assert completed("ragstone ask --kb hand") == ["handbook", "handmade"]
