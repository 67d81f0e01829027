"""The command line: `ragstone`. Arguments in, one recipe called, a report out; errors in two lines and an exit code.

Exit codes: 0 done, 1 done but some files failed or checks did not pass, 2 an error, 130 interrupted.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.manage import manage
from app.terminal import AsJson, Kb, err, opened, out, print_json, progress_bars, show_error
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
app.add_typer(manage)

Watch = Annotated[bool, typer.Option("--watch", help="Follow the folders of the knowledge base as they change.")]


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
    with opened(ctx.obj, kb) as index_:
        started = time.monotonic()
        hits = find(index_, [query], ctx.obj.config.retrieval, k=k, mode=chosen)
        seconds = round(time.monotonic() - started, 3)
    if as_json:
        print_json({"hits": [_hit_row(hit) for hit in hits], "mode": chosen, "seconds": seconds})
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
    with opened(ctx.obj, kb) as index_:
        answer = asyncio.run(_answer(index_, question, ctx.obj, (), quiet=as_json))
    if as_json:
        print_json(
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
    with opened(ctx.obj, kb) as index_:
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
                show_error(error)
                continue
            _show_citations(answer)
            history += [Turn("user", question), Turn("assistant", answer.text)]


@app.command()
def ui(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: app.port.")] = None,
    kb: Kb = None,
    watch: Watch = False,
) -> None:
    """Open the chat UI and the HTTP API; a model configured under [llm] vllm_model is started in the background."""
    _serve(ctx.obj, port, kb, with_ui=True, watch=watch)


@app.command()
def serve(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: app.port.")] = None,
    kb: Kb = None,
    watch: Watch = False,
) -> None:
    """Serve the HTTP API; a model configured under [llm] vllm_model is started first and ended with the app."""
    _serve(ctx.obj, port, kb, with_ui=False, watch=watch)


@app.command("eval")
def evaluate(ctx: typer.Context, folder: Path, as_json: AsJson = False) -> None:
    """Measure retrieval on a folder in BEIR form (corpus.jsonl, queries.jsonl, qrels.tsv)."""
    from app.evaluate import evaluate as run
    from retrieval.embed import Embedder

    with progress_bars() as progress:
        result = run(folder, ctx.obj.config, Embedder(ctx.obj.config.retrieval), progress=progress)
    if as_json:
        print_json(result)
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
def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check what the configuration needs: data folder, embedder, model endpoint, vLLM."""
    from app.doctor import examine

    checks = examine(ctx.obj.config)
    if as_json:
        print_json({"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]})
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
        print_json({name: {"value": value, "origin": origin} for name, value, origin in settings.rows()})
        return
    for name, value, origin in settings.rows():
        out.print(f"{escape(name)} = {escape(json.dumps(value, ensure_ascii=False))}  [dim]({escape(origin)})[/dim]",
                  highlight=False, soft_wrap=True)  # fmt: skip


def _serve(settings: Settings, port: int | None, kb: str | None, *, with_ui: bool, watch: bool) -> None:
    from app.server import run

    chosen = settings.config.app.port if port is None else port
    run(settings, kb or settings.config.app.kb, chosen, with_ui=with_ui, watch=watch)


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


def _hit_row(hit: Hit) -> dict[str, Any]:
    keys = (
        "rank score path page start end text dense_rank lexical_rank title headings language stale older newer".split()
    )
    return {key: getattr(hit, key) for key in keys}


def _mode(text: str) -> SearchMode:
    if text == "dense" or text == "lexical" or text == "hybrid":
        return text
    raise ConfigError(f"--mode {text!r} is unknown", "use dense, lexical or hybrid")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except RagstoneError as error:
        show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; everything committed so far is kept")
        sys.exit(130)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        err.print(f"[red]error:[/red] {escape(str(error.strerror or error))}{escape(where)}", highlight=False)
        err.print("  → check free space and permissions, then run the same command again")
        sys.exit(2)
