"""The command `ragstone watch`: folders are followed for as long as a service runs."""

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from app.commands.shell import bases
from app.commands.terminal import check_there, err
from core.config import Settings
from core.errors import RagstoneError

if TYPE_CHECKING:
    from app.keeping.index import Report
    from app.running.bases import Bases

watching = typer.Typer()

_LOOK_S = 5.0  # between two looks for knowledge bases that are new
_END_S = 10.0  # that a thread has to end in; what it did not commit by then, the next run does


@watching.command()
def watch(
    ctx: typer.Context,
    kb: Annotated[
        list[str] | None,
        typer.Option("--kb", help="Follow this one only; may be repeated.", autocompletion=bases),
    ] = None,
) -> None:
    """Keep knowledge bases in step with their folders until ended: all there are, also those that are made later.

    Meant for services: a line for whatever was done or failed; what fails is tried again; SIGTERM ends it with 0.
    """
    from app.running.bases import Bases

    settings: Settings = ctx.obj
    check_there(settings, kb or [])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keep_all(Bases(settings.config), kb or [], stop)


def keep_all(held: "Bases", only: list[str], stop: threading.Event) -> None:
    """Follow each knowledge base in a thread of its own until `stop` is set."""
    threads: dict[str, threading.Thread] = {}
    while not stop.is_set():
        for name in [name for name in only or held.names() if name not in threads]:
            threads[name] = threading.Thread(target=_keep, args=(held, name, stop), daemon=True, name=f"watch {name}")
            threads[name].start()
        if not threads:
            err.print("there is no knowledge base yet: the first is followed once it is made")
            while not stop.wait(_LOOK_S) and not held.names():
                pass
        elif stop.wait(_LOOK_S):
            break
    for thread in threads.values():
        thread.join(_END_S)


def _keep(held: "Bases", name: str, stop: threading.Event) -> None:
    from app.keeping.watch import keep_following

    try:
        folders = held.get(name).catalog.folders()
        err.print(f"{escape(name)}: watching {escape(', '.join(filter(None, folders))) or 'no folder yet'}")
    except RagstoneError:  # it is told and tried again below
        pass
    tell = teller(name, lambda: held.get(name).catalog.folders())
    keep_following(lambda: held.get(name), lambda: held.cfg, tell, stop)


def teller(kb: str, folders: "Callable[[], list[str]]") -> "Callable[[Report | Exception], None]":
    """Tells of reports and errors, a line each, and of each file that could not be read."""
    from app.commands.index_report import show_report
    from app.keeping.index import Report

    def tell(what: Report | Exception) -> None:
        if isinstance(what, Report):
            show_report(what, kb, folders(), to=err)
        else:
            err.print(
                f"[red]error:[/red] {escape(kb)}: {escape(str(what) or type(what).__name__)}; it is tried again",
                highlight=False,
            )

    return tell
