"""Training runs as they are listed, and a run as a job of the app: a small program in the place of `ragstone`."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from app.commands.shell import in_front
from app.running.jobs import Job, Jobs
from app.training import runs as recipe
from app.training.adapt import Request, command_line
from core.config import Config, load
from core.errors import ConfigError
from llm.trainers import Settings

# Writes what it was told, a step of a loss curve and its number; then waits, ends or fails, as it is named.
PROGRAM = """#!{python}
import json, os, pathlib, subprocess, sys, time
print("told:", " ".join(sys.argv[1:]), flush=True)
partial = pathlib.Path(os.environ["RAGSTONE_DATA"], "models", sys.argv[4] + ".partial")
partial.mkdir(parents=True)
(partial / "loss.jsonl").write_text(json.dumps({{"step": 7, "loss": 1.5}}) + "\\n")
if sys.argv[4] == "bad":
    sys.exit("error: no such data set")
if sys.argv[4] == "slow":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (partial / "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(600)
"""


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    program = tmp_path / "bin" / "ragstone"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr("app.training.runs.sys.executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr("app.training.runs._POLL_S", 0.05)
    return load(flags={"app.data": str(tmp_path / "data")}, environ={}).config


def write_run(data: Path, folder: str, rows: list[dict[str, float]]) -> None:
    (data / "models" / folder).mkdir(parents=True)
    (data / "models" / folder / "loss.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def ended(jobs: Jobs, job: Job, condition: Callable[[Job], bool] = lambda job: job.state != "running") -> Job:
    end = time.monotonic() + 30
    while not condition(now := jobs.get(job.id) or job) and time.monotonic() < end:
        time.sleep(0.05)
    return now


def arguments(name: str) -> list[str]:
    return ["finetune", "model", "--name", name]


def test_runs_are_listed_with_their_state_and_last_losses(tmp_path: Path) -> None:
    assert recipe.runs(tmp_path) == []
    rows = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5, "dev_loss": 2.75}, {"step": 3, "loss": 2.0}]
    write_run(tmp_path, "old", rows)
    os.utime(tmp_path / "models/old/loss.jsonl", (1, 1))
    write_run(tmp_path, "halted.partial", rows[:1])
    write_run(tmp_path, "now.partial", [])
    (tmp_path / "models" / "no-training").mkdir()
    os.utime(tmp_path / "models/halted.partial/loss.jsonl", (2, 2))
    with filelock.FileLock(tmp_path / "models" / "now.lock"):
        found = recipe.runs(tmp_path)
    assert [(r.name, r.state, r.steps, r.loss, r.dev_loss) for r in found] == [
        ("now", "running", 0, None, None),
        ("halted", "stopped", 1, 3.0, None),
        ("old", "done", 3, 2.0, 2.75),
    ]
    assert recipe.curves(tmp_path, "old") == {"training": [(1, 3.0), (2, 2.5), (3, 2.0)], "dev set": [(2, 2.75)]}
    assert recipe.curves(tmp_path, "halted") == {"training": [(1, 3.0)]}
    assert recipe.curves(tmp_path, "no-training") == {}
    with pytest.raises(ConfigError):
        recipe.curves(tmp_path, "../old")


def test_a_damaged_loss_curve_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_run(tmp_path, "torn", [{"step": 1, "loss": 3.0}])
    with (tmp_path / "models/torn/loss.jsonl").open("a") as handle:
        handle.write('{"step": 2, "lo')
    assert recipe.runs(tmp_path)[0].steps == 1


def test_a_run_is_the_command_with_its_output_in_a_log(cfg: Config) -> None:
    jobs, data = Jobs(), Path(cfg.app.data)
    job = ended(jobs, recipe.begin(jobs, cfg, "good", [*arguments("good"), "--data", "a b"], "ann"))
    assert (job.state, job.result, job.owner) == ("done", "good", "ann")
    assert recipe.log_tail(data, "good") == "told: finetune model --name good --data a b"
    assert recipe.runs(data)[0].steps == 7


def test_a_run_that_fails_says_why(cfg: Config) -> None:
    jobs = Jobs()
    job = ended(jobs, recipe.begin(jobs, cfg, "bad", arguments("bad"), ""))
    assert job.state == "failed"
    assert "error: no such data set" in job.error


def test_a_cancelled_run_ends_with_all_that_it_started(cfg: Config) -> None:
    jobs = Jobs()
    job = recipe.begin(jobs, cfg, "slow", arguments("slow"), "")
    assert recipe.begin(jobs, cfg, "slow", arguments("slow"), "").id == job.id
    pids = Path(cfg.app.data, "models/slow.partial/pids")
    assert ended(jobs, job, lambda job: job.done == 7 and pids.exists() and pids.read_text().count(" ") == 1).done == 7
    with pytest.raises(ConfigError, match="'finetune slow' is under way"):
        recipe.begin(jobs, cfg, "other", arguments("other"), "")
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"
    for pid in pids.read_text().split():
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_name_that_cannot_be_a_models_is_refused(cfg: Config) -> None:
    with pytest.raises(ConfigError, match="cannot name a model"):
        recipe.begin(Jobs(), cfg, "../x", arguments("../x"), "")


@pytest.mark.parametrize("text", ["--set=app.log_level=marker", "--config=/tmp/marker.toml", "--set", "-x", "--data"])
def test_what_is_typed_into_the_form_is_no_flag(text: str) -> None:
    words = command_line(Request("name", text, text, Settings()))[1:]
    assert f"--base={text}" in words
    assert f"--data={text}" in words
    assert in_front(words) == words  # no setting and no configuration is taken from it
