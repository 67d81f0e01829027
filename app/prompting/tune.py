"""Recipe: look for a prompt that answers a knowledge base's questions better, and prove it on others.

The questions are split by document: the search (Optuna, TPE: Bergstra et al. 2011) sees the dev side only; the best of
it meets the present prompt on the test side, in pairs. Nothing goes live by itself.

data/<kb>/prompt-studies/<id>/  settings.json  study.sqlite  report.json  report.md
                                library/: the prompts as they were, and what the study wrote
"""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from app.answering.backend import Backend
from app.answering.promotions import VARIABLES, Choice, check_answers, plain, present, settings_for
from app.keeping.index import Progress, quiet
from app.measuring.scores import means, objective, paired
from app.prompting.chains import SHOWN
from app.prompting.compare import Asked, check_model, check_objective, side_by_side, unseen
from app.prompting.demos import pool_of
from app.prompting.report import read_report, verdict, write_report
from app.prompting.study import TUNED, Request, Sides, Study
from core.config import Config
from core.errors import ConfigError, EvalError, PromptError
from core.text import digest
from prompts.load import Prompt, load, parent_of, versions
from prompts.resting import check_for, open_to
from prompts.versions import names, same_words, save
from retrieval.index import Index

if TYPE_CHECKING:
    import optuna

STUDIES = "prompt-studies"
FEWEST = 4  # questions of a side
_TEST_SHARE = 0.5


def sides(asked: Sequence[Asked], seed: int, demos: bool) -> Sides:
    """About half of the questions, by whole documents, are for the test; without a document each is by itself.

    Raises `EvalError` where a side would have too few.
    """
    groups: dict[str, list[Asked]] = {}
    for each in asked:
        groups.setdefault(each.file or f"\0{each.id}", []).append(each)
    test: list[Asked] = []
    rest: list[Asked] = []
    for key in sorted(groups, key=lambda key: digest(f"{seed}\0{key}")):
        (test if len(test) < _TEST_SHARE * len(asked) else rest).extend(groups[key])
    pool = pool_of(rest) if demos else []
    dev = [each for each in rest if each not in pool]
    if min(len(dev), len(test)) < FEWEST:
        raise EvalError(
            f"{len(asked)} questions on {len(groups)} documents leave {len(dev)} to search on and {len(test)} to test",
            f"at least {FEWEST} are needed on each side: approve more golden questions, on more documents",
        )
    return Sides(tuple(pool), tuple(dev), tuple(test))


def tune(
    index: Index, asked: Sequence[Asked], request: Request, cfg: Config, backend: Backend, progress: Progress = quiet
) -> dict[str, Any]:
    """Run a study, or go on with it where it was stopped; returns its report.

    Raises `ConfigError` without a model, `EvalError` for too few questions, `ModelError` where the model fails: what
    was done until then is kept.
    """
    check_model(backend)
    check_objective(request.objective)
    now, base = present(cfg, index.home), settings_for(cfg, index.home)
    library = Path(cfg.prompts.library)
    candidates = [
        check_for(each, index.identity, index.name) for each in _candidates(library, request, now, index.identity)
    ]
    split = sides(unseen(asked, candidates), request.seed, request.demos > 0)
    settings = _settings(request, base, backend, now, candidates, split)
    folder = index.home / STUDIES / str(settings["id"])
    with _alone(folder):
        study = Study(index, base, backend, request, split, now, folder, progress)
        study.begin(library, settings, candidates)
        trials = study.search()
        return _report(study, cfg, trials)


def _candidates(library: Path, request: Request, now: Choice, base: str) -> list[Prompt]:
    """The prompts to choose among, the present one first; of those that nobody named none that may quote others'."""
    fits = open_to(base)
    found = [load(library, now.name, now.version)]
    for text in request.prompts:
        name, _, version = text.partition("/v")
        if version and not version.isdecimal():
            raise PromptError(f"{text!r} names no prompt", "e.g. answer or answer/v002")
        found.append(check_answers(load(library, name, int(version or 0), None if version else fits)))
    if not request.prompts:
        found += filter(fits, (load(library, now.name, number) for number in versions(library, now.name)))
        for name in names(library):
            if not name.endswith((TUNED, SHOWN)) and name != now.name:
                newest = (load(library, name, number) for number in reversed(versions(library, name)))
                found += list(filter(fits, newest))[:1]
    return list({prompt.label: prompt for prompt in found if set(prompt.variables) == VARIABLES}.values())


def _settings(
    request: Request, base: Config, backend: Backend, now: Choice, candidates: Sequence[Prompt], split: Sides
) -> dict[str, Any]:
    """What decides a study, and the id that it has by that: the same command finds the same study again."""
    told = asdict(request)
    del told["trials"]
    decides: dict[str, Any] = {
        "request": told, "model": backend.model, "present": now.model_dump(exclude_none=True),
        "candidates": {prompt.label: prompt.id for prompt in candidates},
        "sides": {side: [each.id for each in getattr(split, side)] for side in ("pool", "dev", "test")},
        "llm": base.llm.model_dump(include={"temperature", "top_p", "top_k", "repetition_penalty", "max_tokens"}),
        "retrieval": base.retrieval.model_dump(exclude={"rerank_key", "embed_url"}),
    }  # fmt: skip
    asked = [(each.question, each.gold and asdict(each.gold)) for each in (*split.pool, *split.dev, *split.test)]
    return {"id": digest(json.dumps([decides, asked], sort_keys=True)).hex()[:12]} | decides


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "study.lock", timeout=0):
            yield
    except filelock.Timeout:
        raise ConfigError(f"study {folder.name!r} is being run by another process", "wait for it to end") from None
    except OSError as error:
        raise EvalError(
            f"{str(folder)!r} cannot be written: {error.strerror}", "check free space and permissions"
        ) from error


def studies(home: Path) -> list[dict[str, Any]]:
    """The studies of a knowledge base, the newest first: what each was asked, and its report where it has one."""
    found = sorted((home / STUDIES).glob("*/settings.json"), key=lambda file: -file.stat().st_mtime)
    try:
        return [json.loads(file.read_text("utf-8")) | {"report": read_report(file.parent)} for file in found]
    except ValueError as error:
        raise EvalError(
            f"a settings.json in {str(home / STUDIES)!r} is damaged: {error}", "remove its folder"
        ) from None


# --- the proof -------------------------------------------------------------------------------------------------------


def _report(study: Study, cfg: Config, trials: "Sequence[optuna.trial.FrozenTrial]") -> dict[str, Any]:
    """The best of the search beside the present prompt on the test side; written down once per best."""
    best = Choice.model_validate(trials[0].user_attrs["choice"])
    before = read_report(study.folder)
    if before and before["trials_done"] == len(trials):
        return before
    study.tell("test", 0, 1)
    pair = (study.present, best) if best != study.present else (study.present,)
    found = [study.answers(study.split.test, choice) for choice in pair]
    values = [[objective(o.row, study.request.objective) for o in outcomes] for outcomes in found]
    difference = paired(values[0], values[-1])
    told = [
        {"label": choice.label, "means": means([o.row for o in rows]), "objective": round(sum(own) / len(own), 4)}
        for choice, rows, own in zip(pair, found, values, strict=True)
    ]
    outcome = verdict(difference)
    notes = list(study.notes)
    if best == study.present:
        notes.append("nothing that was tried is better than the present prompt on the dev side")
    report = {
        "id": study.folder.name, "kb": study.index.name, "model": study.backend.model,
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "objective": list(study.request.objective), "verdict": outcome, "difference": difference,
        "present": told[0], "best": told[-1], "notes": notes, "trials_done": len(trials),
        **_promotion(study, cfg, best, outcome == "gain"),
        "sizes": {side: len(getattr(study.split, side)) for side in ("pool", "dev", "test")},
        "trials": [
            {"value": round(t.value or 0.0, 4), "params": t.params, "means": t.user_attrs.get("means", {}),
             "label": Choice.model_validate(t.user_attrs["choice"]).label}
            for t in trials
        ],
        "rows": [
            side_by_side(each, [rows[n] for rows in found], [own[n] for own in values])
            for n, each in enumerate(study.split.test)
        ],
    }  # fmt: skip
    write_report(study.folder, report)
    return report


def _promotion(study: Study, cfg: Config, best: Choice, gain: bool) -> dict[str, Any]:
    """What to promote, and the command; a prompt that the study wrote is saved in the library for it."""
    if not gain:
        return {"choice": None, "command": ""}
    kept = _kept(study, Path(cfg.prompts.library), load(study.library, best.name, best.version))
    configured = cfg.llm.model_dump() | cfg.retrieval.model_dump()
    settings = {key: value for key, value in best.settings().items() if value != configured[key]}
    flags = [f"--{key.replace('_', '-')} {plain(value)}" for key, value in settings.items()]
    command = " ".join(["ragstone prompts promote", kept.label, "--kb", shlex.quote(study.index.name), *flags])
    return {"choice": {"name": kept.name, "version": kept.version} | settings, "command": command}


def _kept(study: Study, library: Path, prompt: Prompt) -> Prompt:
    """A prompt as the library has it, saved there if it has not; parents that the study wrote are passed over."""
    own = replace(prompt, rests_on=study.mark)  # one of a study that an earlier version of the app began says nothing
    known = (load(library, prompt.name, number) for number in versions(library, prompt.name))
    if same := next((other for other in known if same_words(other, prompt) or same_words(other, own)), None):
        return same
    parent = own
    while parent.name.endswith(TUNED) and (above := parent_of(parent)):
        parent = load(study.library, *above)
    return save(library, replace(own, parent=parent.label))
