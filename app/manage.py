"""The commands that keep knowledge bases: index, files, remove, verify, backup, restore, rollback, purge."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.terminal import AsJson, Kb, err, opened, out, print_json, progress_bars
from core.config import Settings
from core.errors import CatalogError

if TYPE_CHECKING:
    from app.index import Report
    from app.plan import Forecast

manage = typer.Typer()


@manage.command()
def index(
    ctx: typer.Context,
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of documents; default: all it has.")] = None,
    kb: Kb = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done, and what it would cost.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then follow changes until interrupted.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read and embed all folders anew beside the old index, then swap.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a knowledge base up to date with folders: added, changed, moved and deleted files."""
    from app import index as recipe

    settings: Settings = ctx.obj
    name = kb or settings.config.app.kb
    if plan:
        from app.plan import forecast

        with progress_bars() as progress:
            result = forecast(settings.config, name, folders or [], rebuild=rebuild, progress=progress)
        _show_forecast(result, as_json)
        return
    started = time.time()
    with progress_bars() as progress:
        report = recipe.run(settings.config, name, folders or [], rebuild=rebuild, progress=progress)
    if as_json:
        with opened(settings, name) as index_:
            print_json(report.as_json() | {"files": [asdict(card) for card in index_.catalog.cards(started)]})
    _show_report(report, name, silent=as_json)
    if watch:
        _watch(settings, name)
    if report.failed:
        raise typer.Exit(1)


@manage.command()
def files(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """List the documents of a knowledge base with their report cards, and the files that could not be read."""
    with opened(ctx.obj, kb) as index_:
        cards, failures = list(index_.catalog.cards()), index_.catalog.failures()
        folders = index_.catalog.folders()
    if as_json:
        print_json({"folders": folders, "files": [asdict(c) for c in cards], "failed": [asdict(f) for f in failures]})
        return
    table = Table(box=None)
    for column in ("file", "language", "pages", "chunks", "characters", "tables", "OCR pages", "encoding", "notes"):
        table.add_column(column, overflow="fold")
    for card in cards:
        notes = [*card.notes, *([f"stale: {card.stale}"] if card.stale else [])]
        if card.empty_pages:
            notes.append(f"no text on pages {', '.join(map(str, card.empty_pages))}")
        numbers = (card.pages or "", card.chunks, card.characters, card.tables or "", len(card.ocr_pages) or "")
        row = (card.path, card.language, *map(str, numbers), card.encoding or "", "; ".join(notes))
        table.add_row(*map(escape, row))
    out.print(table)
    for failure in failures:
        out.print(f"[red]✗[/red] {escape(repr(failure.path))}: {escape(failure.error)}", highlight=False)
    out.print(f"{len(cards)} documents, {len(failures)} files that could not be read, from {', '.join(folders)}")


@manage.command()
def remove(ctx: typer.Context, folder: Path, kb: Kb = None) -> None:
    """Take a folder and its documents out of a knowledge base; the files themselves stay where they are."""
    with opened(ctx.obj, kb) as index_:
        path = str(folder.resolve())
        known = index_.catalog.folders()
        if path not in known:
            raise CatalogError(
                f"{path!r} is no folder of {index_.name!r}", f"its folders: {', '.join(known) or 'none'}"
            )
        with index_.writing() as catalog, catalog.transaction() as write:
            count = write.remove_folder(catalog.folder_id(path))
        with index_.writing() as catalog:
            catalog.drop_unused_embeddings()
        out.print(f"{count} documents of {escape(path)} left {escape(repr(index_.name))}; purge erases their text")


@manage.command()
def verify(
    ctx: typer.Context,
    kb: Kb = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a knowledge base: catalog, offsets, both search indexes."""
    with opened(ctx.obj, kb) as index_:
        problems = index_.verify(repair=repair)
        left = index_.verify() if repair else problems
        counts = asdict(index_.counts())
    if as_json:
        print_json({"ok": not left, "problems": problems, "left": left} | counts)
    else:
        for problem in problems:
            out.print(f"[red]✗[/red] {escape(problem)}")
        out.print(f"{counts['documents']} documents, {counts['chunks']} chunks, {counts['dense']} with a vector")
        if repair and problems:
            out.print("mended; run `ragstone index` so that damaged documents are read again")
        out.print("[green]all is well[/green]" if not left else f"[red]{len(left)} problems[/red]")
    if left:
        raise typer.Exit(1)


@manage.command()
def rollback(ctx: typer.Context, kb: Kb = None) -> None:
    """Let the generation before the last --rebuild answer again; needs app.keep_generations."""
    from retrieval.home import check_name
    from retrieval.home import rollback as back

    settings: Settings = ctx.obj
    name = kb or settings.config.app.kb
    generation = back(Path(settings.config.app.data) / check_name(name))
    out.print(f"{escape(repr(name))} answers from generation {generation} again")


@manage.command()
def backup(ctx: typer.Context, target: Path, kb: Kb = None, as_json: AsJson = False) -> None:
    """Write a knowledge base to one file, with checksums, also while it is being written."""
    from app.upkeep import backup as write

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
) -> None:
    """Make a knowledge base from a backup, after its checksums were compared."""
    from app.upkeep import restore as read

    settings: Settings = ctx.obj
    name = kb or settings.config.app.kb
    manifest = read(Path(settings.config.app.data), name, source, replace=replace)
    out.print(f"{escape(repr(name))} is as {escape(repr(manifest['kb']))} was on {manifest['made']}")


@manage.command()
def purge(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """Erase the text of removed documents from every file of a knowledge base, and print a receipt."""
    from app.upkeep import purge as erase
    from retrieval.embed import Embedder

    config = ctx.obj.config
    receipt = erase(Path(config.app.data), kb or config.app.kb, Embedder(config.retrieval))
    if as_json:
        print_json(receipt.as_json())
        return
    out.print(
        f"purged {escape(repr(receipt.kb))} on {receipt.when}: {receipt.documents} documents, {receipt.chunks} chunks"
    )
    out.print(
        f"{receipt.embeddings_dropped} unused embeddings dropped; removed: {', '.join(receipt.removed) or 'nothing'}"
    )
    for row in receipt.files:
        out.print(
            f"{row.bytes_before:>12,} -> {row.bytes_after:>12,}  {row.sha256[:16]}  {escape(row.file)}", highlight=False
        )


def _watch(settings: Settings, kb: str) -> None:
    from app.watch import follow

    with opened(settings, kb) as index_:
        err.print(f"watching {escape(', '.join(index_.catalog.folders()))} (Ctrl-C ends)")
        for later in follow(index_, settings.config.ingest):
            _show_report(later, kb, to=err)


def _show_forecast(result: "Forecast", as_json: bool) -> None:
    plans = list(result.plans.values())
    rows: dict[str, list[Any]] = {
        "added": [e.path for p in plans for e in p.added], "changed": [e.path for p in plans for _, e in p.changed],
        "moved": [[old.path, new.path] for p in plans for old, new in p.moved],
        "deleted": [f.path for p in plans for f in p.deleted], "failed": [asdict(f) for p in plans for f in p.failed],
    }  # fmt: skip
    unchanged = sum(p.unchanged for p in plans)
    if as_json:
        cost = {
            "chunks": result.chunks,
            "embed": result.embed,
            "seconds": round(result.seconds, 1),
            "exact": result.exact,
        }
        print_json(rows | {"unchanged": unchanged} | cost)
        return
    for what, items in rows.items():
        for item in items:
            text = " -> ".join(item) if isinstance(item, list) else item["path"] if isinstance(item, dict) else item
            out.print(f"{what:8} {escape(text)}", highlight=False)
    about = "" if result.exact else "about "
    out.print(", ".join(f"{len(items)} {what}" for what, items in rows.items()) + f", {unchanged} unchanged")
    out.print(f"{about}{result.chunks} chunks, {about}{result.embed} to embed, about {result.seconds:.0f} s here")


def _show_report(report: "Report", kb: str, to: Console = out, *, silent: bool = False) -> None:
    for failure in report.failed:
        err.print(f"[red]✗[/red] {escape(repr(failure.path))}: {escape(failure.error)}", highlight=False)
        if failure.hint:
            err.print(f"  → {escape(failure.hint)}", highlight=False)
    for note in report.notes:
        err.print(f"note: {escape(note)}", highlight=False)
    if not silent:
        to.print(
            f"{report.added} added, {report.changed} changed, {report.moved} moved, {report.deleted} deleted, "
            f"{report.unchanged} unchanged, {len(report.failed)} failed, {len(report.skipped)} skipped; "
            f"{report.embedded} embedded, {report.chunks} chunks in {kb!r}, {report.seconds:.1f} s",
            highlight=False,
        )  # fmt: skip
