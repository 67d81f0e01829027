import json
from pathlib import Path
from typing import Any

import pytest

from app.training import search
from app.training.adapt import Request
from core.config import Config, load
from core.errors import ConfigError, DatasetError, ModelError
from llm import finetune
from llm.trainers import Settings
from tests import learning_lm
from tests.needs import needs

pytestmark = pytest.mark.slow

needs("trl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return learning_lm.build(tmp_path_factory.mktemp("base"), steps=0)


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return load(flags={"app.data": str(tmp_path / "data")}, environ={}).config


@pytest.fixture
def request_(base: Path, tmp_path: Path) -> Request:
    (tmp_path / "rows.jsonl").write_text(learning_lm.rows())
    settings = Settings(max_steps=3, batch_size=4, learning_rate=1e-3, recompute=False)
    return Request("s", str(base), str(tmp_path / "rows.jsonl"), settings, 0.34)


def test_a_search_that_was_stopped_goes_on_and_names_what_trains_best(cfg: Config, request_: Request) -> None:
    class Stopped(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("trial 2", 2):
            raise Stopped

    with pytest.raises(Stopped):
        search.run(cfg, request_, 3, stop)
    begun: list[str] = []
    report = search.run(cfg, request_, 3, lambda stage, _done, _total: begun.append(stage))
    assert "trial 1" not in begun  # which was finished before
    assert [trial["state"] for trial in report["trials"]] == ["complete"] * 3
    assert report["trials"][0]["learning_rate"] == pytest.approx(1e-3)  # as it was given
    assert report["best"] == min(trial["value"] for trial in report["trials"])
    assert report["given"] == report["trials"][0]["value"]
    folder = Path(report["folder"])
    assert {file.name for file in folder.iterdir()} == {"request.json", "report.json", "study.sqlite"}
    best = next(trial for trial in report["trials"] if trial["value"] == report["best"])
    assert f"--rank {best['rank']}" in report["command"] or best["rank"] == 16
    assert report["settings"]["learning_rate"] == best["learning_rate"]
    with pytest.raises(ConfigError, match="other inputs or settings"):
        search.run(cfg, Request("s", request_.base, request_.source, Settings(max_steps=9), 0.34), 3)


def test_a_trial_worse_than_half_of_the_others_is_ended_early(
    cfg: Config, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training stands aside: only what a trial does with its looks is tried here."""
    steps: dict[int, int] = {}

    def trained(folder: Path, progress: Any, _rewards: Any) -> dict[str, Any]:
        number = int(folder.name.removeprefix("trial-"))
        for step in (1, 2, 3):
            steps[number] = step
            loss = 9.0 if number == 5 else 3.0 - step / 10
            with (folder / "loss.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "dev_loss": loss}) + "\n")
            progress("train", step, 3)
        if number == 4:
            raise ModelError("the loss became nan", "lower --lr")
        return {"metrics": {"after": {"dev_loss": 2.7}}, "best_step": 3}

    monkeypatch.setattr(finetune, "train", trained)
    report = search.run(cfg, request_, 6)
    states = [trial["state"] for trial in report["trials"]]
    assert states == ["complete"] * 4 + ["fail", "pruned"]
    assert report["trials"][4]["error"] == "the loss became nan"
    assert steps[5] == 1


def test_a_search_without_anything_to_judge_by_is_refused(cfg: Config, request_: Request) -> None:
    with pytest.raises(DatasetError, match="no dev set"):
        search.run(cfg, Request("s", request_.base, request_.source, request_.settings, 0.0), 3)
