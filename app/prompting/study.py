"""A study: prompt versions, demonstrations, passages and sampling, searched by Optuna (TPE: Bergstra et al. 2011)."""

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.answering.backend import Backend
from app.answering.promotions import Choice, applied
from app.keeping.index import Progress
from app.measuring.scores import means, objective
from app.prompting.compare import OBJECTIVE, Asked, Outcome, answers, check_model
from app.prompting.demos import demonstrations
from app.prompting.propose import propose
from core.config import Config
from core.errors import ModelError
from core.files import close_to_others, copy_whole, make_folder, write_whole
from prompts.load import Prompt, load, versions
from prompts.resting import mark, open_to
from prompts.versions import names, same_words, save
from retrieval.index import Index

if TYPE_CHECKING:
    import optuna

TUNED = "-tuned"  # how the names end of what a study wrote
_DRAWS = 3  # of demonstrations
_RANDOM = 8  # trials before the sampler learns from them
_MOST_FAILURES = 3  # trials of one run


@dataclass(frozen=True, slots=True)
class Request:
    """What to look for.

    `trials` in all, those of an earlier run included. `prompts` to choose among, as names or labels (none: the present
    one, its other versions, the newest of every other that answers); `propose` further wordings by the model; at most
    `demos` demonstrations.
    """

    trials: int = 30
    seed: int = 0
    objective: tuple[str, ...] = OBJECTIVE
    prompts: tuple[str, ...] = ()
    propose: int = 0
    demos: int = 3
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """The questions of a study: `dev` is searched on, `pool` of that side gives demonstrations and is not scored."""

    pool: tuple[Asked, ...]
    dev: tuple[Asked, ...]
    test: tuple[Asked, ...]


class Study:
    """A study while it runs; `library` is its own, in which it may write."""

    def __init__(
        self, index: Index, base: Config, backend: Backend, request: Request, split: Sides, now: Choice, folder: Path,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.index, self.backend, self.request, self.split = index, backend, request, split
        self.kb_id, self.mark = index.identity, mark(index.identity, index.home.parent)
        self.folder, self.library, self.progress = folder, folder / "library", progress
        prompts = base.prompts.model_copy(update={"library": str(self.library)})
        self.base = base.model_copy(update={"prompts": prompts})
        self.present = now.model_copy(
            update={
                "temperature": base.llm.temperature, "top_p": base.llm.top_p, "k": base.retrieval.k,
                "context_tokens": base.retrieval.context_tokens,
            }
        )  # fmt: skip
        self.values: dict[str, list[Outcome]] = {}  # on the dev side, by label
        self.labels: list[str] = []
        self.notes: list[str] = []
        self.at = ("trials", 0, request.trials)  # what is told while questions are asked

    def tell(self, stage: str, done: int, total: int) -> None:
        """Say how far the study is."""
        self.at = (stage, done, total)
        self.progress(*self.at)

    # --- what is chosen among

    def begin(self, library: Path, settings: Mapping[str, Any], candidates: Sequence[Prompt]) -> None:
        """Copy the prompts and write down what is chosen among; where an earlier run did, that stands.

        What quotes documents of another knowledge base is not copied.
        """
        file = self.folder / "settings.json"
        if not file.is_file():
            shutil.rmtree(self.library, ignore_errors=True)
            for name in names(library):
                for prompt in (load(library, name, number) for number in versions(library, name)):
                    if prompt in candidates or open_to(self.kb_id)(prompt):
                        place = f"{name}/v{prompt.version:03d}.toml"
                        make_folder((self.library / place).parent)
                        copy_whole(library / place, self.library / place)
            close_to_others(self.library)  # the modes came along
            labels = [prompt.label for prompt in (*candidates, *self._proposed())]
            told = {**settings, "labels": labels, "notes": self.notes}
            write_whole(file, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        told = json.loads(file.read_text("utf-8"))
        self.labels, self.notes = told["labels"], told["notes"]

    def _proposed(self) -> list[Prompt]:
        """Wordings by the model, from what the present prompt does worst on the dev side."""
        found: list[Prompt] = []
        if not self.request.propose:
            return found
        prompt = load(self.library, self.present.name, self.present.version)
        pairs = sorted(
            zip(self.split.dev, self._on_dev(self.present), strict=True),
            key=lambda pair: objective(pair[1].row, self.request.objective),
        )
        failures = [
            (each.question, each.gold.text if each.gold and each.gold.answerable else "NO_ANSWER", o.answer.text)
            for each, o in pairs
        ]
        for n in range(self.request.propose):
            self.tell("proposals", n, self.request.propose)
            seed = self.request.seed + n
            new = asyncio.run(propose(check_model(self.backend), self.base, prompt, failures, seed))
            if isinstance(new, str):
                self.notes.append(f"proposal {n + 1} was left out: {new}")
            else:
                found.append(self._written(prompt, new))
        return list({new.label: new for new in found}.values())

    def _written(self, parent: Prompt, new: Prompt) -> Prompt:
        """A prompt of the study, saved in its library once: it may quote what the knowledge base holds."""
        name = parent.name.removesuffix(TUNED) + TUNED
        new = replace(new, rests_on=self.mark)
        known = (load(self.library, name, number) for number in versions(self.library, name))
        same = next((prompt for prompt in known if same_words(prompt, new)), None)
        return same or save(self.library, replace(new, name=name, parent=parent.label))

    # --- the search

    def search(self) -> "list[optuna.trial.FrozenTrial]":
        """Try until there are as many as asked for; those that were finished, the best first.

        Of equal ones it is that which changes fewest of the present settings.
        """
        from optuna.trial import TrialState

        study = self._opened()
        failures = 0
        while (done := len(study.get_trials(states=(TrialState.COMPLETE,)))) < self.request.trials:
            self.tell("trials", done, self.request.trials)
            trial = study.ask()
            try:
                study.tell(trial, self._tried(trial))
            except BaseException as error:
                study.tell(trial, state=TrialState.FAIL)
                failures += 1
                if not isinstance(error, ModelError) or error.retryable or failures >= _MOST_FAILURES:
                    raise
                self.notes.append(f"a trial failed: {error.message}")
        self.tell("trials", done, self.request.trials)
        now = self.present.model_dump()

        def rank(trial: "optuna.trial.FrozenTrial") -> tuple[float, int, int]:
            choice = trial.user_attrs["choice"]
            return -(trial.value or 0.0), sum(choice.get(key) != value for key, value in now.items()), trial.number

        return sorted(study.get_trials(states=(TrialState.COMPLETE,)), key=rank)

    def _opened(self) -> "optuna.Study":
        import optuna
        from optuna.trial import TrialState
        from sqlalchemy import URL

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = URL.create("sqlite", database=str(self.folder / "study.sqlite")).render_as_string()
        study = optuna.create_study(storage=url, study_name="prompt", direction="maximize", load_if_exists=True)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):  # of a run that was killed
            study.tell(trial.number, state=TrialState.FAIL)
        # A sampler that began with the same seed again would repeat what it drew first.
        seed = self.request.seed + 1000 * len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
        if not study.get_trials(states=(TrialState.COMPLETE, TrialState.WAITING)):
            label = f"{self.present.name}/v{self.present.version:03d}"
            study.enqueue_trial({"prompt": label, "demos": 0} | self.present.settings())
        return study

    def _tried(self, trial: "optuna.Trial") -> float:
        """The mean objective on the dev side of what a trial draws."""
        choice = self._drawn(trial)
        told = choice.model_dump(exclude_none=True)
        trial.set_user_attr("choice", told)
        for earlier in trial.study.get_trials(deepcopy=False):
            if earlier.value is not None and earlier.user_attrs["choice"] == told:
                return earlier.value
        rows = [outcome.row for outcome in self._on_dev(choice)]
        trial.set_user_attr("means", means(rows))
        return sum(objective(row, self.request.objective) for row in rows) / len(rows)

    def _drawn(self, trial: "optuna.Trial") -> Choice:
        """What a trial draws, around the present settings."""
        prompt = _read(self.library, trial.suggest_categorical("prompt", self.labels))
        most = min(self.request.demos, len(self.split.pool))
        if most and (count := trial.suggest_int("demos", 0, most)):
            draw = trial.suggest_categorical("draw", list(range(_DRAWS)))
            prompt = self._with_demos(prompt, count, draw)
        llm, retrieval = self.base.llm, self.base.retrieval
        k, room = retrieval.k, retrieval.context_tokens
        spaces = {
            "k": {max(k // 2, 1), k, min(2 * k, 1000)},
            "context_tokens": {max(room // 2, 64), room, min(2 * room, 10**6)},
            "temperature": {0.0, 0.3, 0.7, llm.temperature}, "top_p": {0.8, 0.95, 1.0, llm.top_p},
        }  # fmt: skip
        told = {key: trial.suggest_categorical(key, sorted(space)) for key, space in spaces.items()}
        kept = {"name": prompt.name, "version": prompt.version}
        kept |= {"steps": self.present.steps, "samples": self.present.samples}
        return Choice.model_validate(kept | told)

    def _with_demos(self, prompt: Prompt, count: int, draw: int) -> Prompt:
        """The prompt with demonstrations after its own; itself where no passage holds what they would show."""
        seed = f"{self.request.seed} {draw}"
        more = demonstrations(self.index, self.split.pool, self.base, count, seed)
        more = {language: demos for language, demos in more.items() if language in prompt.parts}
        if not more:
            return prompt
        demos = {**prompt.demos, **{k: (*prompt.demos.get(k, ()), *v) for k, v in more.items()}}
        shown = ", ".join(f"{len(rows)} {language}" for language, rows in more.items())
        notes = f"{prompt.label} with demonstrations from {self.index.name}: {shown}"
        return self._written(prompt, replace(prompt, demos=demos, notes=notes))

    def _on_dev(self, choice: Choice) -> list[Outcome]:
        if choice.label not in self.values:
            self.values[choice.label] = self.answers(self.split.dev, choice)
        return self.values[choice.label]

    def answers(self, asked: Sequence[Asked], choice: Choice) -> list[Outcome]:
        """Questions answered by a choice."""
        cfg = applied(self.base, choice)
        progress = lambda *_: self.progress(*self.at)  # noqa: E731
        return answers(self.index, asked, cfg, self.backend, judged=self.request.judged, progress=progress)


def _read(library: Path, label: str) -> Prompt:
    name, _, version = label.partition("/v")
    return load(library, name, int(version))
