"""A fork of the preloaded process is what the command line would have been."""

import os
from pathlib import Path

import pytest

from tests.app.app_process import ROOT, command, environment
from tests.app.preloaded import forks

pytestmark = pytest.mark.slow


def test_a_fork_has_arguments_environment_output_and_exit_code_of_its_own(tmp_path: Path) -> None:
    env = environment(tmp_path / "data", {"RAGSTONE_RETRIEVAL__K": "3"})
    assert forks().fits(env)
    first = forks().start(command("config"), env, ROOT, tmp_path / "first.log")
    second = forks().start(command("no-such-command"), env, ROOT, tmp_path / "second.log")
    assert (first.wait(60), second.wait(60)) == (0, 2)
    shown = (tmp_path / "first.log").read_text("utf-8")
    assert str(tmp_path / "data") in shown.replace("\n", "")
    assert "RAGSTONE_RETRIEVAL__K" in shown
    assert "no-such-command" in (tmp_path / "second.log").read_text("utf-8")


def test_what_imports_may_read_is_that_of_the_process_or_there_is_no_fork(tmp_path: Path) -> None:
    assert not forks().fits(environment(tmp_path, {"HOME": str(tmp_path)}))
    assert not forks().fits({name: value for name, value in os.environ.items() if name != "PATH"})
