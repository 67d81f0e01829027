import json
import sys
import warnings
from pathlib import Path

import pytest

from llm import launch
from llm.finetune import OUTCOME, SPOKEN

CHILD = """import json, pathlib, sys
print(sys.argv[2] + json.dumps(["train", 1, 2]), flush=True)
print("something else")
pathlib.Path(sys.argv[1]).write_text("{}")
"""


def test_what_is_heard_of_a_training_goes_on_and_the_pipe_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [sys.executable, "-c", CHILD, str(tmp_path / OUTCOME), SPOKEN]
    monkeypatch.setattr(launch, "command", lambda *_: argv)
    left_open: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: left_open.append(str(told.exc_value)))
    said: list[tuple[str, int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert launch.train_launched(tmp_path, tmp_path / "x.yaml", lambda *told: said.append(told)) == json.loads("{}")
    assert said == [("train", 1, 2)]
    assert (tmp_path / launch.LOG).read_text("utf-8") == "something else\n"
    assert left_open == []
