"""The commands by which somebody chooses for single files: leave-out, take-in, ocr, tag, unlock, corrections."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from app.commands.index_report import show_report
from app.commands.shell import EXIT_CODES
from app.commands.terminal import AsJson, Kb, noted, opened, out, print_json, progress_bars
from core.errors import ConfigError

if TYPE_CHECKING:
    from app.keeping.index import Progress, Report
    from core.config import IngestConfig
    from retrieval.index import Index

choose = typer.Typer()
Paths = Annotated[list[str], typer.Argument(help="Files, as `ragstone files` names them.")]


@choose.command("leave-out", epilog=EXIT_CODES)
def leave_out(ctx: typer.Context, paths: Paths, kb: Kb = None, as_json: AsJson = False) -> None:
    """Leave single files out of a knowledge base, also of every later run, until `take-in`."""
    from app.keeping import choosing

    _choose(ctx, kb, "file.leave_out", paths, as_json, choosing.leave_out)


@choose.command("take-in", epilog=EXIT_CODES)
def take_in(ctx: typer.Context, paths: Paths, kb: Kb = None, as_json: AsJson = False) -> None:
    """Read files that `leave-out` left out."""
    from app.keeping import choosing

    _choose(ctx, kb, "file.take_in", paths, as_json, choosing.take_in)


@choose.command(epilog=EXIT_CODES)
def ocr(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="A PDF, as `ragstone files` names it.")],
    pages: Annotated[str, typer.Argument(help='Its pages, like "3,5-7"; none: all as they are.')] = "",
    kb: Kb = None,
    as_json: AsJson = False,
) -> None:
    """Read pages of a PDF by OCR instead of by the text that they hold, also in every later run."""
    from app.keeping import choosing

    wanted = choosing.pages_of(pages)
    _choose(
        ctx, kb, "file.ocr", [path], as_json,
        lambda index, files, cfg, progress: choosing.read_by_ocr(index, files[0], wanted, cfg, progress),
    )  # fmt: skip


@choose.command(epilog=EXIT_CODES)
def tag(
    ctx: typer.Context,
    paths: Paths,
    add: Annotated[str, typer.Option("--add", help='Tags that they are given: "travel, 2025".')] = "",
    remove: Annotated[str, typer.Option("--remove", help="Tags that are taken away.")] = "",
    date: Annotated[str | None, typer.Option("--date", help="A day, month or year; empty: none.")] = None,
    own: Annotated[bool, typer.Option("--own", help="The tags and the date that the files give themselves.")] = False,
    kb: Kb = None,
    as_json: AsJson = False,
) -> None:
    """Give files tags and a date, by which a search can be limited; kept when they are read again."""
    from app.keeping import naming

    if own == bool(add or remove or date is not None):
        raise ConfigError("`ragstone tag` was not told what to do", "give --add, --remove or --date, or else --own")
    more, less = naming.tags_of(add), naming.tags_of(remove)
    day = None if date is None else naming.date_of(date)

    def work(index: "Index", files: list[tuple[str, str]], cfg: "IngestConfig", progress: "Progress") -> "Report":
        if own:
            return naming.name(index, files, None, None, cfg, progress)
        return naming.tag(index, files, more, less, cfg, progress, day=day)

    _choose(ctx, kb, "file.tag", paths, as_json, work)


@choose.command(epilog=EXIT_CODES)
def unlock(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="An encrypted file, as `ragstone files` names it.")],
    kb: Kb = None,
    as_json: AsJson = False,
) -> None:
    """Read a file by its password, which is asked for and not kept; `ingest.passwords` has those that are."""
    from app.keeping import unlocking

    password = typer.prompt("Password", hide_input=True, err=True)
    _choose(
        ctx, kb, "file.unlock", [path], as_json,
        lambda index, files, cfg, progress: unlocking.unlock(index, files[0], password, cfg, progress),
    )  # fmt: skip


@choose.command(epilog=EXIT_CODES)
def corrections(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="A file, as `ragstone files` names it.")],
    take_back: Annotated[str, typer.Option("--take-back", help='The number of one, or "all".')] = "",
    kb: Kb = None,
    as_json: AsJson = False,
) -> None:
    """List what was corrected of a file on the page, or go back to what is read of it."""
    from app.keeping import choosing, correcting

    if take_back:
        if take_back != "all" and not take_back.isdecimal():
            raise ConfigError(f"{take_back!r} is no number of a correction", 'give its number, or "all"')
        number = None if take_back == "all" else int(take_back)
        _choose(
            ctx, kb, "file.take_back", [path], as_json,
            lambda index, files, cfg, progress: correcting.take_back(index, files[0], number, cfg, progress),
        )  # fmt: skip
        return
    with opened(ctx.obj, kb) as index:
        found = correcting.corrections_of(index, choosing.found(index, path))
    if as_json:
        print_json({"corrections": [{"was": each.was, "now": each.now} for each in found]})
        return
    for number, each in enumerate(found, start=1):
        out.print(f"{number}. {escape(each.was.strip())}\n   → {escape(each.now.strip())}", highlight=False)
    out.print(f"{len(found)} corrections", highlight=False)


def _choose(
    ctx: typer.Context,
    kb: str | None,
    deed: str,
    paths: list[str],
    as_json: bool,
    work: "Callable[[Index, list[tuple[str, str]], IngestConfig, Progress], Report]",
) -> None:
    from app.keeping.choosing import found

    with opened(ctx.obj, kb) as index, progress_bars() as progress:
        files = [found(index, path) for path in paths]
        report = work(index, files, ctx.obj.config.ingest, progress)
        folders = index.catalog.folders()
        for folder, path in files:
            noted(ctx.obj, deed, index.name, f"{folder}/{path}")
    if as_json:
        print_json(report.as_json())
    show_report(report, index.name, folders, silent=as_json)
    if not as_json:
        out.print(f"{len(files)} file{'s' * (len(files) > 1)} chosen in {escape(repr(index.name))}", highlight=False)
    if report.fresh:
        raise typer.Exit(1)
