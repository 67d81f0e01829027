"""What the commands share: the two streams, progress bars, one JSON object, errors in two lines."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.running.audit import at_terminal, record
from core.config import Settings
from core.errors import RagstoneError

if TYPE_CHECKING:
    from retrieval.index import Index

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Kb = Annotated[str | None, typer.Option("--kb", help="Knowledge base; default: app.kb of the configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]


def show_error(error: RagstoneError) -> None:
    """Two lines: what is wrong, and what to do."""
    err.print(f"[red]error:[/red] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"  → {escape(error.hint)}", highlight=False, soft_wrap=True)


def noted(settings: Settings, what: str, on: str = "", detail: str = "") -> None:
    """Write what was just done into the audit log, as done at this terminal."""
    record(Path(settings.config.app.data), at_terminal(), what, on, detail)


def print_json(value: object) -> None:
    """One JSON object, the only thing on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def progress_bars() -> Iterator[Any]:
    """A progress listener that draws a bar per stage on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


@contextlib.contextmanager
def opened(settings: Settings, kb: str | None) -> Iterator["Index"]:
    """A knowledge base, closed at the end."""
    from retrieval.embed import Embedder
    from retrieval.index import Index

    config_ = settings.config
    index_ = Index.open(Path(config_.app.data), kb or config_.app.kb, Embedder(config_.retrieval))
    try:
        yield index_
    finally:
        index_.close()
