"""The command line: `ragstone`. Arguments in, one recipe called, a report out; errors in two lines and an exit code.

Exit codes: 0 done, 1 done but some files failed or checks did not pass, 2 an error, 130 interrupted.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from core import log
from core.config import Settings, load
from core.errors import ConfigError, RagstoneError
from core.types import Answer, Hit, SearchMode, Source, Turn

app = typer.Typer(
    help="Chat with folders of private documents, Chinese and English, with citations. Nothing leaves the machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

Kb = Annotated[str | None, typer.Option("--kb", help="Knowledge base; default: app.kb of the configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")] = None,
) -> None:
    flags = {}
    for item in set_ or []:
        name, sign, value = item.partition("=")
        if not sign or "." not in name:
            raise ConfigError(f"--set {item!r} is not section.key=value", "e.g. --set retrieval.k=5")
        flags[name.strip()] = value.strip()
    ctx.obj = load(config, flags)
    log.setup(ctx.obj.config.app.log_level)


@app.command()
def index(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of documents.")],
    kb: Kb = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then follow changes until interrupted.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read and embed all folders anew beside the old index, then swap.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a knowledge base up to date with a folder: added, changed, moved and deleted files."""
    from app import index as recipe

    settings: Settings = ctx.obj
    name = kb or settings.config.app.kb
    if plan:
        _show_plan(recipe.plan_only(settings.config, name, folder), as_json)
        return
    with _progress() as progress:
        report = recipe.run(settings.config, name, folder, rebuild=rebuild, progress=progress)
    _show_report(report, name, as_json)
    if watch:
        err.print(f"watching {escape(str(folder))} (Ctrl-C ends)")
        for later in recipe.follow(settings.config, name, folder):
            _show_report(later, name, as_json=False, to=err)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def search(
    ctx: typer.Context,
    query: str,
    kb: Kb = None,
    k: Annotated[int | None, typer.Option("--k", min=1, max=1000, help="How many passages.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="dense, lexical or hybrid.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the passages that a question finds, with the rank each retriever gave them."""
    import time

    from retrieval.search import search as find

    chosen = _mode(mode or ctx.obj.config.retrieval.mode)
    with _open(ctx.obj, kb) as index_:
        started = time.monotonic()
        hits = find(index_, [query], ctx.obj.config.retrieval, k=k, mode=chosen)
        seconds = round(time.monotonic() - started, 3)
    if as_json:
        _print_json({"hits": [_hit_row(hit) for hit in hits], "mode": chosen, "seconds": seconds})
        return
    for hit in hits:
        place = f" p.{hit.page}" if hit.page else ""
        ranks = f"dense {hit.dense_rank or '-'}, lexical {hit.lexical_rank or '-'}"
        out.print(f"[bold]{hit.rank}. {escape(hit.path)}{place}[/bold]  {hit.score:.4f} ({ranks})", highlight=False)
        out.print(escape(hit.text[:400].strip()) + "\n", highlight=False)
    if not hits:
        out.print("nothing found")


@app.command()
def ask(ctx: typer.Context, question: str, kb: Kb = None, as_json: AsJson = False) -> None:
    """Answer one question from a knowledge base, with citations."""
    with _open(ctx.obj, kb) as index_:
        answer = asyncio.run(_answer(index_, question, ctx.obj, (), quiet=as_json))
    if as_json:
        _print_json(
            {
                "answer": answer.text, "answered": answer.answered, "citations": [asdict(c) for c in answer.citations],
                "backend": answer.backend, "model": answer.model, "seconds": round(answer.seconds, 3),
                "notes": list(answer.notes),
            }
        )  # fmt: skip
    else:
        _show_citations(answer)


@app.command()
def chat(ctx: typer.Context, kb: Kb = None) -> None:
    """Ask questions one after another; follow-ups use what was said. An empty line or Ctrl-D ends."""
    history: list[Turn] = []
    with _open(ctx.obj, kb) as index_:
        err.print(f"knowledge base {index_.name!r}: {index_.counts().documents} documents")
        while True:
            try:
                question = out.input("[bold]> [/bold]").strip()
            except EOFError:
                break
            if not question:
                break
            try:
                answer = asyncio.run(_answer(index_, question, ctx.obj, history, quiet=False))
            except RagstoneError as error:
                _show_error(error)
                continue
            _show_citations(answer)
            history += [Turn("user", question), Turn("assistant", answer.text)]


@app.command()
def ui(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: app.port.")] = None,
    kb: Kb = None,
) -> None:
    """Open the chat UI and the HTTP API; a model configured under [llm] vllm_model is started in the background."""
    _serve(ctx.obj, port, kb, with_ui=True)


@app.command()
def serve(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: app.port.")] = None,
    kb: Kb = None,
) -> None:
    """Serve the HTTP API; a model configured under [llm] vllm_model is started first and ended with the app."""
    _serve(ctx.obj, port, kb, with_ui=False)


@app.command("eval")
def evaluate(ctx: typer.Context, folder: Path, as_json: AsJson = False) -> None:
    """Measure retrieval on a folder in BEIR form (corpus.jsonl, queries.jsonl, qrels.tsv)."""
    from app.evaluate import evaluate as run
    from retrieval.embed import Embedder

    with _progress() as progress:
        result = run(folder, ctx.obj.config, Embedder(ctx.obj.config.retrieval), progress=progress)
    if as_json:
        _print_json(result)
        return
    modes: dict[str, dict[str, float]] = result["modes"]
    table = Table(title=f"{folder.name}: {result['documents']} documents, {result['chunks']} chunks")
    table.add_column("mode")
    for name in next(iter(modes.values())):
        table.add_column(name, justify="right")
    for mode, row in modes.items():
        table.add_row(mode, *(f"{value:g}" for value in row.values()))
    out.print(table)


@app.command()
def verify(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """Check a knowledge base: catalog, offsets, both search indexes."""
    with _open(ctx.obj, kb) as index_:
        problems = index_.verify()
        counts = asdict(index_.counts())
    if as_json:
        _print_json({"ok": not problems, "problems": problems} | counts)
    else:
        for problem in problems:
            out.print(f"[red]✗[/red] {escape(problem)}")
        out.print(f"{counts['documents']} documents, {counts['chunks']} chunks, {counts['dense']} with a vector")
        out.print("[green]all is well[/green]" if not problems else f"[red]{len(problems)} problems[/red]")
    if problems:
        raise typer.Exit(1)


@app.command()
def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check what the configuration needs: data folder, embedder, model endpoint, vLLM."""
    from app.doctor import examine

    checks = examine(ctx.obj.config)
    if as_json:
        _print_json({"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            out.print(f"{'[green]✓[/green]' if check.ok else '[red]✗[/red]'} {check.name}: {escape(check.detail)}")
            if check.hint:
                out.print(f"  → {escape(check.hint)}", highlight=False)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def config(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print every setting and where its value came from."""
    settings: Settings = ctx.obj
    if as_json:
        _print_json({name: {"value": value, "origin": origin} for name, value, origin in settings.rows()})
        return
    for name, value, origin in settings.rows():
        out.print(f"{escape(name)} = {escape(json.dumps(value, ensure_ascii=False))}  [dim]({escape(origin)})[/dim]",
                  highlight=False, soft_wrap=True)  # fmt: skip


def _serve(settings: Settings, port: int | None, kb: str | None, *, with_ui: bool) -> None:
    from app.server import run

    run(settings, kb or settings.config.app.kb, settings.config.app.port if port is None else port, with_ui=with_ui)


@contextlib.contextmanager
def _open(settings: Settings, kb: str | None) -> Iterator[Any]:
    from retrieval.embed import Embedder
    from retrieval.index import Index

    config_ = settings.config
    index_ = Index.open(Path(config_.app.data), kb or config_.app.kb, Embedder(config_.retrieval))
    try:
        yield index_
    finally:
        index_.close()


async def _answer(index_: Any, question: str, settings: Settings, history: Sequence[Turn], *, quiet: bool) -> Answer:
    from app.answer import Done, Found, Text, answer

    done: Answer | None = None
    found: tuple[Source, ...] = ()
    try:
        async for event in answer(index_, question, settings.config, history):
            if isinstance(event, Found):
                found = event.sources
            elif isinstance(event, Text) and not quiet:
                out.print(escape(event.delta), end="", highlight=False, soft_wrap=True)
            elif isinstance(event, Done):
                done = event.answer
    except RagstoneError:
        _show_sources(found)
        raise
    assert done is not None  # the stream ends with Done or raises
    return done


def _show_sources(sources: Sequence[Source]) -> None:
    for source in sources:
        err.print(f"[{source.n}] {source.hit.path}\n{source.text[:300]}\n", markup=False, highlight=False)


def _show_citations(answer: Answer) -> None:
    out.print("\n")
    for c in answer.citations:
        place = f", p. {c.page}" if c.page else ""
        out.print(f"\\[{c.n}] [bold]{escape(c.path)}[/bold]{place}: {escape(c.quote)}", highlight=False)
    for note in answer.notes:
        err.print(f"note: {escape(note)}", highlight=False)


def _show_plan(plan: Any, as_json: bool) -> None:
    rows = {
        "added": [e.path for e in plan.added], "changed": [e.path for _, e in plan.changed],
        "moved": [[old.path, new.path] for old, new in plan.moved], "deleted": [f.path for f in plan.deleted],
        "failed": [asdict(f) for f in plan.failed],
    }  # fmt: skip
    if as_json:
        _print_json(rows | {"unchanged": plan.unchanged})
        return
    for what, items in rows.items():
        for item in items:
            text = " -> ".join(item) if isinstance(item, list) else item["path"] if isinstance(item, dict) else item
            out.print(f"{what:8} {escape(text)}", highlight=False)
    out.print(", ".join(f"{len(items)} {what}" for what, items in rows.items()) + f", {plan.unchanged} unchanged")


def _show_report(report: Any, kb: str, as_json: bool, to: Console = out) -> None:
    if as_json:
        _print_json(report.as_json())
    for failure in report.failed:
        err.print(f"[red]✗[/red] {escape(repr(failure.path))}: {escape(failure.error)}", highlight=False)
        if failure.hint:
            err.print(f"  → {escape(failure.hint)}", highlight=False)
    for note in report.notes:
        err.print(f"note: {escape(note)}", highlight=False)
    if not as_json:
        to.print(
            f"{report.added} added, {report.changed} changed, {report.moved} moved, {report.deleted} deleted, "
            f"{report.unchanged} unchanged, {len(report.failed)} failed, {len(report.skipped)} skipped; "
            f"{report.embedded} embedded, {report.chunks} chunks in {kb!r}, {report.seconds:.1f} s",
            highlight=False,
        )  # fmt: skip


def _show_error(error: RagstoneError) -> None:
    err.print(f"[red]error:[/red] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"  → {escape(error.hint)}", highlight=False, soft_wrap=True)


def _hit_row(hit: Hit) -> dict[str, Any]:
    keys = "rank score path page start end text dense_rank lexical_rank title headings language".split()
    return {key: getattr(hit, key) for key in keys}


def _mode(text: str) -> SearchMode:
    if text == "dense" or text == "lexical" or text == "hybrid":
        return text
    raise ConfigError(f"--mode {text!r} is unknown", "use dense, lexical or hybrid")


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """A progress listener that draws a bar per stage on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


def main() -> None:
    """Run the command line."""
    try:
        app()
    except RagstoneError as error:
        _show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; everything committed so far is kept")
        sys.exit(130)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        err.print(f"[red]error:[/red] {escape(str(error.strerror or error))}{escape(where)}", highlight=False)
        err.print("  → check free space and permissions, then run the same command again")
        sys.exit(2)
