"""What the commands share: the two streams, progress bars, one JSON object, errors in two lines."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.shell import bases
from app.running.audit import at_terminal, record
from core.config import Settings
from core.errors import CatalogError, RagstoneError

if TYPE_CHECKING:
    from app.api import KnowledgeBase
    from retrieval.index import Index

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

_SAID = {"save": "saving", "wait": "waiting for another who writes"}  # stages that are no words to be read alone
_EVERY_S = 10.0  # between two lines of progress

Kb = Annotated[
    str | None,
    typer.Option("--kb", help="Knowledge base; default: app.kb of the configuration.", autocompletion=bases),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", min=0, max=10, help="Let the model search up to so often; default: retrieval.steps."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]


def show_error(error: RagstoneError) -> None:
    """Two lines: what is wrong, and what to do."""
    err.print(f"[red]error:[/red] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"  → {escape(error.hint)}", highlight=False, soft_wrap=True)


def noted(settings: Settings, what: str, on: str = "", detail: str = "") -> None:
    """Write what was just done into the audit log, as done at this terminal."""
    record(Path(settings.config.app.data), at_terminal(), what, on, detail)


def typed() -> bool:
    """Whether somebody can be asked: what is read is typed at a terminal."""
    return sys.stdin.isatty()


def print_json(value: object) -> None:
    """One JSON object, the only thing on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def progress_bars() -> Iterator[Any]:
    """A progress listener that draws a bar per stage on stderr; where that is a file or a pipe, a line now and then."""
    if not err.is_terminal:
        yield Lines(lambda line: err.print(line, markup=False, highlight=False))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_SAID.get(stage, stage), total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


class Lines:
    """Progress as lines: what is done of how much, and how long the rest will take; one every ten seconds at most.

    A run that is shorter says nothing. `clock` gives seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._last = clock()
        self._began: dict[str, float] = {}  # when each stage did
        self._said = ""  # the stage of the last line

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hear of progress."""
        now = self._clock()
        began = self._began.setdefault(stage, now)
        ends = done == total > 0 and self._said == stage
        if now - self._last < _EVERY_S and not ends:
            return
        self._last, self._said = now, "" if ends else stage
        stage = _SAID.get(stage, stage)
        line = f"{stage}: {done} of {total}" if total else f"{stage}: {done}" if done else stage
        if 0 < done < total and now > began:
            line += f", about {_span((now - began) * (total - done) / done)} left"
        self._write(line)


def _span(seconds: float) -> str:
    """A time as people say it, in its largest unit."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def check_there(settings: Settings, kbs: Sequence[str]) -> None:
    """Raise `CatalogError` for the first knowledge base that is not there."""
    from retrieval.index import Index

    there = Index.names(Path(settings.config.app.data), settings.config.app.database)
    for kb in kbs:
        if kb not in there:
            raise CatalogError(
                f"there is no knowledge base {kb!r} (there: {', '.join(there) or 'none'})",
                f"make it with `ragstone index FOLDER --kb {kb}`, or leave --kb out",
            )


def base_of(settings: Settings, kb: str | None) -> "KnowledgeBase":
    """A knowledge base by its name, or that of `app.kb`."""
    from app.api import KnowledgeBase

    return KnowledgeBase(kb or settings.config.app.kb, settings.config)


@contextlib.contextmanager
def opened(settings: Settings, kb: str | None) -> Iterator["Index"]:
    """The index of a knowledge base, closed at the end."""
    with base_of(settings, kb) as base:
        yield base.index
