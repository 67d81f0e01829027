"""The prompt that a knowledge base is answered by: data/<kb>/prompt.json, all promotions that stand, oldest first."""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.config import Config
from core.errors import ConfigError, PromptError
from core.files import write_whole
from prompts.load import Prompt, load
from prompts.resting import check_for, resting
from retrieval.index import Index

FILE = "prompt.json"
VARIABLES = frozenset({"sources", "question"})  # of a prompt that answers
_LOCK_WAIT_S = 10.0
_SAMPLING = ("temperature", "top_p", "samples")
_RETRIEVAL = ("k", "context_tokens", "steps")
_MODEL = "model"
_SETTINGS = (*_SAMPLING, *_RETRIEVAL, _MODEL)
_ROLES = (
    "answer",
    "rewrite",
    "variants",
    "judge",
    "search_plan",
    "search_next",
)  # prompts that the configuration names
_LABEL = re.compile(r"([a-z][a-z0-9_-]*)(?:/v(\d{1,9}))?")


class Choice(BaseModel):
    """A prompt version to answer by, and the settings that go with it; None leaves what the configuration says.

    `model`: another that the same server serves, to compare with; it cannot be promoted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    version: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    k: Annotated[int, Field(ge=1, le=1000)] | None = None
    context_tokens: Annotated[int, Field(ge=64, le=1_000_000)] | None = None
    steps: Annotated[int, Field(ge=0, le=10)] | None = None
    samples: Annotated[int, Field(ge=1, le=20)] | None = None
    model: Annotated[str, Field(min_length=1)] | None = None

    @property
    def label(self) -> str:
        """The version and the settings, short: "answer/v002 temperature=0.0 k=4"."""
        return " ".join([f"{self.name}/v{self.version:03d}", *(f"{k}={plain(v)}" for k, v in self.settings().items())])

    def settings(self) -> dict[str, Any]:
        """The settings that are given."""
        return self.model_dump(exclude_none=True, exclude={"name", "version"})


def chosen(library: Path, text: str, among: Callable[[Prompt], bool] | None = None) -> Choice:
    """A choice as it is written on a command line: "answer", "answer/v002" or "answer/v002,temperature=0,k=4".

    Without a version it is the newest. There are only versions that are `among` those that count. Raises `PromptError`.
    """
    named, *settings = (part.strip() for part in text.split(","))
    match = _LABEL.fullmatch(named)
    pairs = [item.partition("=") for item in settings]
    told = {key.strip(): value.strip() if key.strip() == _MODEL else _number(value) for key, _, value in pairs}
    if not match or None in told.values():
        raise PromptError(f"{text!r} names no prompt", "e.g. answer, answer/v002 or answer/v002,temperature=0,k=4")
    prompt = load(library, match[1], int(match[2] or 0), among)
    try:
        return Choice.model_validate({"name": prompt.name, "version": prompt.version} | told)
    except ValidationError as error:
        first = error.errors()[0]
        raise PromptError(
            f"{text!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}", f"settings: {', '.join(_SETTINGS)}"
        ) from None


def plain(value: float | str) -> str:
    """A setting as it can be read again: 0.25, 3000, and 0 for 0.0."""
    return value if isinstance(value, str) else str(value).removesuffix(".0")


def _number(text: str) -> int | float | None:
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError:
        return None


class Promotion(BaseModel):
    """That a knowledge base is answered so, since when; `id` is the hash of the prompt's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choice: Choice
    id: str
    when: str
    by: str = ""


def applied(cfg: Config, choice: Choice) -> Config:
    """The configuration that answers by a choice, whatever was promoted."""
    told = choice.settings()
    prompts = {"answer": choice.name, "answer_version": choice.version, "promoted": False}
    changes = {
        "prompts": cfg.prompts.model_copy(update=prompts),
        "llm": cfg.llm.model_copy(update={key: told[key] for key in _SAMPLING if key in told}),
        "retrieval": cfg.retrieval.model_copy(update={key: told[key] for key in _RETRIEVAL if key in told}),
    }
    return cfg.model_copy(update=changes)


def settings_for(cfg: Config, home: Path) -> Config:
    """The configuration that the knowledge base in `home` is answered by: with what was promoted for it.

    A second time changes nothing. Raises `ConfigError` for a damaged file, `PromptError` where the promoted version is
    gone or was edited, or quotes documents of another knowledge base.
    """
    if not cfg.prompts.promoted or (standing := promoted(home)) is None:
        return usable(cfg, home)
    prompt = load(Path(cfg.prompts.library), standing.choice.name, standing.choice.version)
    if prompt.id != standing.id:
        raise PromptError(
            f"prompt {prompt.label} was edited since it was promoted for {home.name!r}",
            f"restore its file, or `ragstone prompts promote {prompt.label} --kb {home.name}` again",
        )
    return usable(applied(cfg, standing.choice), home)


def usable(cfg: Config, home: Path) -> Config:
    """The configuration with prompts that do not quote documents of another knowledge base than that in `home`.

    The newest version is the newest of those. Raises `PromptError` where the version that is to answer is none of them.
    """
    known: list[str] = []

    def fits(prompt: Prompt) -> bool:
        rests_on = resting(prompt)
        if rests_on and not known:
            known.append(Index.identity_in(home.parent, home.name, cfg.app.database))
        return not rests_on or rests_on == known[0]

    found: dict[str, int] = {}
    for role in _ROLES:
        name, version = getattr(cfg.prompts, role), getattr(cfg.prompts, f"{role}_version")
        try:
            if not version:
                found[f"{role}_version"] = load(Path(cfg.prompts.library), name, 0, fits).version
                continue
            prompt = load(Path(cfg.prompts.library), name, version)
        except PromptError:  # told by whoever uses it, if anybody does
            continue
        if not fits(prompt):
            check_for(prompt, known[0], home.name)
    return cfg.model_copy(update={"prompts": cfg.prompts.model_copy(update=found)}) if found else cfg


def present(cfg: Config, home: Path) -> Choice:
    """The prompt version that answers now, promoted or configured, without its settings unless they were promoted."""
    standing = promoted(home) if cfg.prompts.promoted else None
    if standing:
        return standing.choice
    prompts = usable(cfg, home).prompts
    prompt = load(Path(prompts.library), prompts.answer, prompts.answer_version)
    return Choice(name=prompt.name, version=prompt.version)


def promoted(home: Path) -> Promotion | None:
    """What was promoted for a knowledge base and stands; None where the configuration decides."""
    history = promotions(home)
    return history[-1] if history else None


def promotions(home: Path) -> list[Promotion]:
    """All promotions that stand, oldest first. Raises `ConfigError` where their file is damaged."""
    file = home / FILE
    try:
        return [Promotion.model_validate(row) for row in json.loads(file.read_text("utf-8"))["history"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "not a history of promotions" if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"{str(file)!r} cannot be used: {reason}", "remove it, then promote a prompt anew") from None


def check_answers(prompt: Prompt) -> Prompt:
    """The prompt, if questions can be answered by it. Raises `PromptError`."""
    if set(prompt.variables) != VARIABLES:
        raise PromptError(
            f"prompt {prompt.label} takes {', '.join(sorted(prompt.variables)) or 'nothing'}: it writes no answers",
            "a prompt that answers takes question and sources",
        )
    return prompt


def promote(library: Path, home: Path, choice: Choice, by: str = "", *, base: str = "") -> Promotion:
    """Answer a knowledge base by a choice, from its next question on; `base` is its id.

    Raises `PromptError` for a version that is not there, writes no answers or quotes documents of another knowledge
    base, `ConfigError` where there is no such knowledge base or it cannot be written.
    """
    if choice.model:
        raise PromptError(f"a prompt is promoted, not a model, and {choice.label!r} names one", "set llm.model instead")
    prompt = check_for(check_answers(load(library, choice.name, choice.version)), base, home.name)
    new = Promotion(choice=choice, id=prompt.id, when=time.strftime("%Y-%m-%d %H:%M:%S"), by=by)
    with _writing(home):
        history = promotions(home)
        if not history or (history[-1].choice, history[-1].id) != (choice, prompt.id):
            _write(home, [*history, new])
    return new


def roll_back(home: Path) -> Promotion | None:
    """Undo the last promotion; the one that stands now, None where the configuration decides again.

    Raises `ConfigError` where there is nothing to undo.
    """
    with _writing(home):
        history = promotions(home)
        if not history:
            raise ConfigError(f"no prompt was promoted for {home.name!r}: nothing to roll back", "see `prompts list`")
        _write(home, history[:-1])
    return history[-2] if len(history) > 1 else None


def drop(home: Path, labels: Collection[str]) -> None:
    """Take back all promotions of versions that are gone."""
    with _writing(home):
        history = promotions(home)
        kept = [row for row in history if f"{row.choice.name}/v{row.choice.version:03d}" not in labels]
        if kept != history:
            _write(home, kept)


def _write(home: Path, history: list[Promotion]) -> None:
    rows = [row.model_dump(exclude_none=True) for row in history]
    write_whole(home / FILE, json.dumps({"history": rows}, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    if not home.is_dir():
        raise ConfigError(f"there is no knowledge base {home.name!r}", "`ragstone list` shows them")
    try:
        with filelock.FileLock(home / f"{FILE}.lock", timeout=_LOCK_WAIT_S):
            yield
    except filelock.Timeout:
        raise ConfigError(f"{str(home / FILE)!r} is being written by another process", "try again") from None
    except OSError as error:
        raise ConfigError(
            f"{str(home / FILE)!r} cannot be written: {error.strerror}", "check free space and permissions"
        ) from error
