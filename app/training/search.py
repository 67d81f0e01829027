"""Recipe: the settings of a training, searched by Optuna (TPE: Bergstra et al. 2011), bad runs ended early.

A trial trains on the data set and is judged by the dev set; at each look it is compared with what earlier trials had at
that step, and ended where it is worse than half of them (median pruning: Golovin et al. 2017). The study lies in
data/searches/<name>/, and a search that was stopped goes on there.
"""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.keeping.index import Progress, quiet
from app.training import adapt
from app.training.rewards import REWARDS
from core.config import Config
from core.errors import ConfigError, DatasetError, ModelError
from core.files import write_whole
from llm import finetune, registry
from llm.checkpoints import LOSSES
from llm.examples import Row
from llm.methods import LOW_RANK
from llm.trainers import Settings

if TYPE_CHECKING:
    import optuna

_RANDOM = 4  # trials before the sampler learns from them, and before any is ended early
_MOST_FAILURES = 3  # where no trial could be finished


def run(cfg: Config, request: adapt.Request, trials: int, progress: Progress = quiet) -> dict[str, Any]:
    """Search until `trials` were made, those of an earlier call included; returns the best settings and their command.

    Raises `DatasetError` where there is no dev set to judge by, `ConfigError` for another search of this name, and what
    training raises where no trial can be finished.
    """
    if request.accelerate:
        raise ConfigError("a search trains in one process", "leave --accelerate-config out")
    base, record, parts = adapt.settled(cfg, request)
    train, dev = adapt.sides(request, parts)
    if not dev:
        raise DatasetError("there is no dev set to judge settings by", "give --dev a share, or a data set that has one")
    folder = Path(cfg.app.data).resolve() / "searches" / request.name
    with registry.alone(folder):
        if folder.exists() and registry.state(folder)["key"] != record["key"]:
            raise ConfigError(f"{str(folder)!r} holds a search of other inputs or settings", "choose another --name")
        registry.begin(folder, record["key"], resume=True)
        study = _opened(folder, request.settings)
        while (done := len(_made(study))) < trials:
            progress("trials", done, trials)
            _try(study, folder, request, (base, train, dev), progress)
        report = _report(study, request)
        write_whole(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return report | {"folder": str(folder)}


def _metric(settings: Settings) -> str:
    return "dev_reward" if settings.stage == "grpo" else "dev_loss"


def _opened(folder: Path, settings: Settings) -> "optuna.Study":
    import optuna
    from optuna.trial import TrialState
    from sqlalchemy import URL

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = URL.create("sqlite", database=str(folder / "study.sqlite")).render_as_string()
    direction = "maximize" if settings.stage == "grpo" else "minimize"
    study = optuna.create_study(storage=url, study_name="training", direction=direction, load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # of a search that was killed
        study.tell(trial.number, state=TrialState.FAIL)
    # A sampler that began with the same seed again would repeat what it drew first.
    seed = settings.seed + 1000 * len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_RANDOM)
    if not study.trials:
        study.enqueue_trial(_given(settings))
    return study


def _made(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """The trials that came to an end; not those of a search that was killed."""
    from optuna.trial import TrialState

    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ended if trial.state != TrialState.FAIL or "error" in trial.user_attrs]


def _given(settings: Settings) -> dict[str, Any]:
    """The settings that a search begins with, as a trial draws them."""
    told: dict[str, Any] = {"learning_rate": settings.learning_rate, "warmup": settings.warmup}
    if settings.method in LOW_RANK:
        told |= {"rank": settings.shape.rank, "dropout": settings.shape.dropout, "rslora": settings.shape.rslora}
    return told


def _drawn(trial: "optuna.Trial | optuna.trial.FrozenTrial", settings: Settings) -> Settings:
    """The settings of a trial: around the learning rate that was given, and of LoRA's family its shape."""
    rate, shape = settings.learning_rate, settings.shape
    learning_rate = trial.suggest_float("learning_rate", rate / 10, rate * 10, log=True)
    warmup = trial.suggest_categorical("warmup", sorted({0.0, 0.05, 0.1, settings.warmup}))
    if settings.method in LOW_RANK:
        rank = trial.suggest_categorical("rank", sorted({8, 16, 32, 64, shape.rank}))
        dropout = trial.suggest_categorical("dropout", sorted({0.0, 0.05, 0.1, shape.dropout}))
        rslora = trial.suggest_categorical("rslora", [False, True])
        alpha = max(round(shape.alpha * rank / shape.rank), 1)  # alpha goes with the rank, as it was given
        shape = replace(shape, rank=rank, alpha=alpha, dropout=dropout, rslora=rslora)
    return replace(settings, learning_rate=learning_rate, warmup=warmup, shape=shape, report="none")


def _try(
    study: "optuna.Study", folder: Path, request: adapt.Request, given: tuple[Path, Sequence[Row], Sequence[Row]],
    progress: Progress,
) -> None:  # fmt: skip
    """One trial; one that comes to no number counts as a bad one."""
    import optuna
    from optuna.trial import TrialState

    trial = study.ask()
    settings, metric = _drawn(trial, request.settings), _metric(request.settings)
    at = folder / f"trial-{trial.number}"
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    seen = 0

    def watch(_stage: str, step: int, total: int) -> None:
        nonlocal seen
        progress(f"trial {trial.number + 1}", step, total)
        for row in _looks(at, metric)[seen:]:
            seen += 1
            trial.report(row[metric], int(row["step"]))
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        base, train, dev = given
        adapt.prepare(at, base, replace(request, settings=settings), [*train], [*dev])
        outcome = finetune.train(at, watch, REWARDS)
        trial.set_user_attr("steps", outcome["best_step"])
        study.tell(trial, outcome["metrics"]["after"][metric])
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except ModelError as error:
        trial.set_user_attr("error", error.message)
        study.tell(trial, state=TrialState.FAIL)
        if len(_made(study)) >= _MOST_FAILURES and not study.get_trials(states=(TrialState.COMPLETE,)):
            raise
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    finally:
        shutil.rmtree(at, ignore_errors=True)


def _looks(at: Path, metric: str) -> list[dict[str, float]]:
    """The looks at the dev set so far."""
    if not (at / LOSSES).is_file():
        return []
    rows = [json.loads(line) for line in (at / LOSSES).read_text("utf-8").splitlines()]
    return [row for row in rows if metric in row]


def _report(study: "optuna.Study", request: adapt.Request) -> dict[str, Any]:
    """The best settings, the command that trains by them, and all trials."""
    best = _drawn(study.best_trial, request.settings)
    tuned = replace(request, settings=replace(best, report=request.settings.report))
    trials = [
        {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value, **trial.params,
         "error": trial.user_attrs.get("error", "")}
        for trial in _made(study)
    ]  # fmt: skip
    return {
        "metric": _metric(request.settings), "best": study.best_value, "given": trials[0]["value"],
        "settings": asdict(tuned.settings), "command": shlex.join(adapt.command_line(tuned)), "trials": trials,
    }  # fmt: skip
