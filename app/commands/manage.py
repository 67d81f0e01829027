"""The commands that keep knowledge bases: index, files, remove, verify, backup, restore, rollback, purge."""

import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.commands.index_report import show_documents, show_failures, show_forecast, show_report
from app.commands.shell import EXIT_CODES, bases
from app.commands.terminal import AsJson, Kb, base_of, err, noted, opened, out, print_json, progress_bars, typed
from core.config import Settings
from core.errors import CatalogError, ConfigError
from core.sources import mirrored, named
from core.types import FileError

manage = typer.Typer()


@manage.command(epilog=EXIT_CODES)
def index(
    ctx: typer.Context,
    folders: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of documents, s3://bucket/prefix, or https://host/page; default: all it has."),
    ] = None,
    kb: Kb = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done, and what it would cost.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then follow changes until interrupted.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read and embed all folders anew beside the old index, then swap.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Delete the documents of a folder in which nothing is left.")
    ] = False,
    workers: Annotated[
        str, typer.Option("--workers", help="A Dask cluster that reads and embeds: tls://HOST:PORT.")
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 also for files that could not be read before, either.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a knowledge base up to date with folders: added, changed, moved and deleted files."""
    from app.keeping.folders import known_folders
    from retrieval.home import check_name

    settings = _with_workers(ctx.obj, workers)
    name = kb or settings.config.app.kb
    if plan and watch:
        raise ConfigError("--plan only looks, --watch goes on writing", "give one of them")
    if plan:
        from app.keeping.plan import forecast

        with progress_bars() as progress:
            result = forecast(
                settings.config, name, folders or [], rebuild=rebuild, allow_empty=allow_empty, progress=progress
            )
        show_forecast(result, as_json)
        return
    started, before = time.time(), list[str]()
    with suppress(CatalogError):  # the run says so, or replaces what is damaged
        before = known_folders(Path(settings.config.app.data) / check_name(name), settings.config.app.database)
    with base_of(settings, name) as base:
        with progress_bars() as progress:
            report = base.sync(*(folders or []), rebuild=rebuild, allow_empty=allow_empty, progress=progress)
        index_ = base.index
        known = index_.catalog.folders()
        for folder in known:
            if folder not in before:
                noted(settings, "folder.add", name, folder)
        if as_json:
            print_json(report.as_json() | {"files": [asdict(card) for card in index_.catalog.cards(started)]})
    show_report(report, name, known, silent=as_json)
    if watch:
        _watch(settings, name)
    if report.failed if strict else report.fresh:
        raise typer.Exit(1)


def _with_workers(settings: Settings, workers: str) -> Settings:
    """The settings with another `ingest.workers`."""
    if not workers:
        return settings
    ingest = settings.config.ingest.model_copy(update={"workers": workers})
    return replace(settings, config=settings.config.model_copy(update={"ingest": ingest}))


@manage.command()
def files(
    ctx: typer.Context,
    kb: Kb = None,
    left_out: Annotated[bool, typer.Option("--left-out", help="Those that are left out instead, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the documents of a knowledge base with their report cards, and the files that could not be read."""
    with opened(ctx.obj, kb) as index_:
        cards, failures = list(index_.catalog.cards()), index_.catalog.failures()
        folders = index_.catalog.folders()
        left = [row.left_out for row in index_.catalog.files("left_out", "", 0, -1)[0] if row.left_out]
    failures += [
        FileError(folder, f"folder {folder!r} does not exist", "what it said last goes on answering", folder=folder)
        for folder in folders
        if folder and not mirrored(folder) and not Path(folder).is_dir()
    ]
    if as_json:
        failed = [{key: value for key, value in asdict(f).items() if key != "known"} for f in failures]
        out_of_it = [
            {"path": file.path, "error": file.error, "hint": file.hint, "folder": file.folder} for file in left
        ]
        cards_told = [asdict(card) for card in cards]
        print_json({"folders": folders, "files": cards_told, "failed": failed, "left_out": out_of_it})
        return
    if left_out:
        show_failures(left, folders, to=out)
        return
    show_documents(cards, folders)
    show_failures(failures, folders, to=out)
    whence = ", ".join(folders) or "no folder"
    out.print(f"{len(cards)} documents, {len(failures)} that could not be read, from {escape(whence)}")
    if left:
        out.print(f"{len(left)} files are left out: `ragstone files --left-out` says why, and what to do")


@manage.command()
def remove(ctx: typer.Context, folder: str, kb: Kb = None) -> None:
    """Take a folder and its documents out of a knowledge base; the files themselves stay where they are."""
    from app.keeping.folders import remove_folder

    with opened(ctx.obj, kb) as index_:
        path = named(folder)
        count = remove_folder(index_, path)
        noted(ctx.obj, "folder.remove", index_.name, path)
        out.print(f"{count} documents of {escape(path)} left {escape(repr(index_.name))}; purge erases their text")


@manage.command()
def verify(
    ctx: typer.Context,
    kb: Kb = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a knowledge base: catalog, offsets, both search indexes."""
    from app.upkeep import beside
    from retrieval import check
    from retrieval.home import check_name

    config = ctx.obj.config
    name = kb or config.app.kb
    files = repair and not config.app.database
    found = check.find_current(Path(config.app.data) / check_name(name)) if files else ""
    with opened(ctx.obj, name) as index_:
        by_hand = [f"{error.message}: {error.hint}" for error in beside.damaged(index_.home)]
        problems = list(dict.fromkeys([*filter(None, [found]), *index_.verify(repair=repair), *by_hand]))
        left = list(dict.fromkeys([*index_.verify(), *by_hand])) if repair else problems
        counts = asdict(index_.counts())
        recall = None if left else round(index_.store.recall(), 4)
        damaged = index_.catalog.to_be_read_again()
    if as_json:
        print_json({"ok": not left, "problems": problems, "left": left, "recall_at_10": recall} | counts)
    else:
        for problem in problems:
            out.print(f"[red]✗[/red] {escape(problem)}", highlight=False)
        out.print(f"{counts['documents']} documents, {counts['chunks']} chunks, {counts['dense']} with a vector")
        if recall is not None:
            out.print(f"search by meaning finds {recall:.1%} of the ten nearest that an exact search finds")
        if damaged:
            out.print(f"{damaged} damaged documents: `ragstone index --kb {escape(name)}` reads them again")
        out.print("[green]all is well[/green]" if not left else f"[red]{len(left)} problems[/red]")
        ours = [problem for problem in left if problem not in by_hand]
        if any(problem.startswith("SQLite") for problem in ours) or (ours and repair and not damaged):
            out.print(f"  → `ragstone index --kb {escape(name)} --rebuild`, or restore a backup", highlight=False)
        elif ours and not repair:
            out.print(f"  → `ragstone verify --repair --kb {escape(name)}` mends it", highlight=False)
    if left:
        raise typer.Exit(1)


@manage.command()
def rollback(ctx: typer.Context, kb: Kb = None) -> None:
    """Let the generation before the last --rebuild answer again, and remove the one that answers now."""
    from retrieval.index import Index

    settings: Settings = ctx.obj
    config, name = settings.config, kb or settings.config.app.kb
    generation, newest = Index.roll_back(Path(config.app.data), name, config.app.database)
    noted(settings, "base.rollback", name, generation)
    out.print(f"{escape(repr(name))} answers from generation {generation} again; {newest} was removed")


@manage.command()
def backup(ctx: typer.Context, target: Path, kb: Kb = None, as_json: AsJson = False) -> None:
    """Write a knowledge base to one file, with checksums, also while it is being written."""
    from app.upkeep.backup import backup as write

    with opened(ctx.obj, kb) as index_:
        manifest = write(index_, target)
    if as_json:
        print_json(manifest)
    else:
        size = sum(row["bytes"] for row in manifest["files"].values())
        out.print(f"{escape(str(target))}: {len(manifest['files'])} files, {size:,} bytes")


@manage.command()
def restore(
    ctx: typer.Context,
    source: Path,
    kb: Kb = None,
    replace: Annotated[bool, typer.Option("--replace", help="Over an existing one; rollback leads back.")] = False,
    maps: Annotated[
        list[str] | None, typer.Option("--map", metavar="OLD=NEW", help="Where a folder of the backup lies here.")
    ] = None,
) -> None:
    """Make a knowledge base from a backup, after all in it was checked; without --kb, of the name it had.

    What it follows and no knowledge base here does is asked for, or named by --map OLD=NEW.
    """
    from app.upkeep.restore import backed_up
    from app.upkeep.restore import restore as read

    settings: Settings = ctx.obj
    name = kb or backed_up(source)
    config = settings.config

    def new(folder: str) -> bool:
        return typed() and typer.confirm(f"The backup follows {folder!r}, which nothing here does. Follow it?")

    data = Path(config.app.data)
    manifest, followed = read(data, name, source, replace=replace, maps=maps or [], cfg=config, new=new)
    noted(settings, "base.restore", name, f"{source} of {manifest['made']}")
    out.print(f"{escape(repr(name))} is as {escape(repr(manifest['kb']))} was on {escape(manifest['made'])}")
    for folder in followed:
        out.print(
            f"it follows {escape(folder)}"
            + ("" if mirrored(folder) or Path(folder).is_dir() else ", which is not there")
        )


@manage.command(epilog=EXIT_CODES)
def migrate(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="A database, or `files`; default: from files into app.database.")
    ] = "",
    kbs: Annotated[
        list[str] | None, typer.Option("--kb", help="This one only; may be repeated.", autocompletion=bases)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Over existing ones; rollback leads back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry all knowledge bases into a database, or back into files, and compare; what was there stays as it is."""
    from app.upkeep.migrate import migrate as carry

    settings: Settings = ctx.obj
    with progress_bars() as progress:
        moved = carry(settings.config, to, kbs or [], progress, replace=replace)
    for row in moved:
        noted(settings, "base.migrate", row.kb, f"{row.documents} documents")
    if as_json:
        print_json({"moved": [asdict(row) for row in moved]})
        return
    for row in moved:
        said = f"{row.documents} documents, {row.chunks} chunks, each compared with what it came from"
        out.print(f"{escape(repr(row.kb))}: {said}")
    if not moved:
        out.print("there is no knowledge base to carry")
    elif to:
        where = "unset app.database" if to == "files" else "set app.database to it"
        out.print(f"  → {where}, and they answer from there", highlight=False)


@manage.command()
def purge(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """Erase the text of removed documents from every file of a knowledge base, and print a receipt."""
    from app.upkeep.purge import purge as erase
    from retrieval.plugged import embedder_of

    config = ctx.obj.config
    data, name = Path(config.app.data), kb or config.app.kb
    library = Path(config.prompts.library)
    receipt = erase(data, name, embedder_of(config.retrieval), config.app.database, library)
    noted(ctx.obj, "base.purge", receipt.kb, f"{receipt.documents} documents stay")
    if as_json:
        print_json(receipt.as_json())
        return
    out.print(
        f"purged {escape(repr(receipt.kb))} on {receipt.when}: {receipt.documents} documents, {receipt.chunks} chunks"
    )
    out.print(
        f"{receipt.embeddings_dropped} unused embeddings dropped; removed: {', '.join(receipt.removed) or 'nothing'}"
    )
    out.print(
        f"erased: {receipt.answers} answers of {receipt.conversations} conversations, parts of {receipt.traces} traces"
    )
    for row in receipt.files:
        out.print(
            f"{row.bytes_before:>12,} -> {row.bytes_after:>12,}  {row.sha256[:16]}  {escape(row.file)}", highlight=False
        )


def _watch(settings: Settings, kb: str) -> None:
    from app.commands.watch import teller
    from app.keeping.watch import keep_following

    with opened(settings, kb) as index_:
        err.print(f"watching {escape(', '.join(index_.catalog.folders()))} (Ctrl-C ends)")
        tell = teller(kb, index_.catalog.folders)
        keep_following(lambda: index_, lambda: settings.config, tell, threading.Event())
