"""The command line: `ragstone`. Arguments in, one recipe called, a report out; errors in two lines and an exit code.

Exit codes: app/commands/shell.py.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.answering.prepared import prepared
from app.commands.adapter import adapting
from app.commands.assess import assess
from app.commands.choose import choose
from app.commands.curate import dataset
from app.commands.finetune import finetune
from app.commands.manage import manage
from app.commands.models import models, proofs
from app.commands.prompts import prompting
from app.commands.pull import fetching
from app.commands.shell import NAME, Anywhere, completes, shells, show_version
from app.commands.terminal import AsJson, Kb, Steps, base_of, check_there, err, out, print_json, show_error
from app.commands.users import audit, usage, user
from app.commands.watch import watching
from app.commands.worker import working
from app.http.mcp import stdio
from app.messages.texts import version_notes
from core import log, plugins
from core.config import Settings, load
from core.errors import ConfigError, RagstoneError
from core.files import PRIVATE
from core.places import DEFAULTS
from core.types import Answer, Hit, SearchMode, Source, Turn

if TYPE_CHECKING:
    from app.api import KnowledgeBase
    from retrieval.filters import Filter
    from retrieval.index import Index
    from retrieval.search import Result

app = typer.Typer(
    name=NAME,
    cls=Anywhere,
    help="Chat with folders of private documents, Chinese and English, with citations. Nothing leaves the machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(manage)
app.add_typer(choose)
app.add_typer(watching)
app.add_typer(working)
app.add_typer(fetching)
app.add_typer(adapting)
app.add_typer(assess)
app.add_typer(finetune, name="finetune")
app.add_typer(dataset, name="dataset")
app.add_typer(models, name="models")
app.add_typer(proofs)
app.add_typer(prompting, name="prompts")
app.add_typer(stdio)
app.add_typer(shells)
app.add_typer(user, name="user")
app.command()(audit)
app.command()(usage)

_EXPLAINED = 30  # candidates that --explain shows

Paths = Annotated[list[str] | None, typer.Option("--path", help="Only files that match this glob, e.g. 'it/**'.")]
Kinds = Annotated[list[str] | None, typer.Option("--type", help="Only files of this type, e.g. pdf.")]
Languages = Annotated[list[str] | None, typer.Option("--language", help="Only passages in this language: zh, en.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only documents that carry this tag.")]
Since = Annotated[str, typer.Option("--since", help="Only documents of this day, month or year or later.")]
Until = Annotated[str, typer.Option("--until", help="Only documents of this day, month or year or earlier.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the folders of the knowledge base as they change.")]


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration file; before or after the command.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value; may be repeated, before or after the command."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    flags = {}
    for item in set_ or []:
        name, sign, value = item.partition("=")
        if not sign or "." not in name:
            raise ConfigError(f"--set {item!r} is not section.key=value", "e.g. --set retrieval.k=5")
        flags[name.strip()] = value.strip()
    settings = load(config, flags)
    log.setup(settings.config.app.log_level)
    ctx.obj = prepared(settings)


@app.command()
def search(
    ctx: typer.Context,
    query: str,
    kb: Kb = None,
    k: Annotated[int | None, typer.Option("--k", min=1, max=1000, help="How many passages.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="dense, lexical or hybrid.")] = None,
    path: Paths = None,
    kind: Kinds = None,
    language: Languages = None,
    tag: Tags = None,
    since: Since = "",
    until: Until = "",
    explain: Annotated[bool, typer.Option("--explain", help="Show where each candidate ranked and was lost.")] = False,
    sentence: Annotated[str, typer.Option("--sentence", help="Say at which stage this sentence was lost.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the passages that a question finds, with the rank each retriever gave them."""
    from retrieval.explain import fate

    mode_ = _mode(mode or ctx.obj.config.retrieval.mode)
    where = _filter(path, kind, language, tag, since, until)
    with base_of(ctx.obj, kb) as base:
        index_, started = base.index, time.monotonic()
        result = base.search(query, k=k, mode=mode_, where=where)
        seconds = round(time.monotonic() - started, 3)
        told = fate(index_, result.trace, sentence) if sentence else []
        if as_json:
            rows = {"hits": [_hit_row(hit) for hit in result.hits], "mode": mode_, "seconds": seconds}
            print_json(rows | ({"trace": asdict(result.trace), "sentence": told} if explain or sentence else {}))
            return
        _show_hits(result.hits)
        if explain:
            _show_trace(index_, result)
    for line in told:
        out.print(escape(line), highlight=False)


@app.command()
def ask(
    ctx: typer.Context,
    question: str,
    kb: Kb = None,
    path: Paths = None,
    kind: Kinds = None,
    language: Languages = None,
    tag: Tags = None,
    since: Since = "",
    until: Until = "",
    steps: Steps = None,
    as_json: AsJson = False,
) -> None:
    """Answer one question from a knowledge base, with citations."""
    where = _filter(path, kind, language, tag, since, until)
    with base_of(ctx.obj, kb) as base:
        answer = asyncio.run(_answer(base, question, (), quiet=as_json, where=where, steps=steps))
    if as_json:
        print_json(
            {
                "answer": answer.text, "answered": answer.answered, "citations": [asdict(c) for c in answer.citations],
                "backend": answer.backend, "model": answer.model, "seconds": round(answer.seconds, 3),
                "notes": list(answer.notes), "query": answer.query, "trace": asdict(answer.trace),
            }
        )  # fmt: skip
    else:
        _show_citations(answer)


@app.command()
def chat(ctx: typer.Context, kb: Kb = None, steps: Steps = None) -> None:
    """Ask questions one after another; follow-ups use what was said. An empty line or Ctrl-D ends."""
    history: list[Turn] = []
    with base_of(ctx.obj, kb) as base:
        err.print(f"knowledge base {base.name!r}: {base.index.counts().documents} documents")
        while True:
            try:
                question = out.input("[bold]> [/bold]").strip()
            except EOFError:
                break
            if not question:
                break
            try:
                answer = asyncio.run(_answer(base, question, history, quiet=False, steps=steps))
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
    """Open the chat UI and the HTTP API; a model configured as llm.vllm_model is started in the background."""
    _serve(ctx.obj, port, kb, with_ui=True, watch=watch)


@app.command()
def serve(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: app.port.")] = None,
    kb: Kb = None,
    watch: Watch = False,
) -> None:
    """Serve the HTTP API; a model configured as llm.vllm_model is started first and ended with the app."""
    _serve(ctx.obj, port, kb, with_ui=False, watch=watch)


@app.command()
def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check what the configuration needs: data folder, embedder, model endpoint, vLLM."""
    from app.upkeep.doctor import examine

    checks = examine(ctx.obj.config)
    if as_json:
        print_json({"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            out.print(
                f"{'[green]✓[/green]' if check.ok else '[red]✗[/red]'} {escape(check.name)}: {escape(check.detail)}"
            )
            if check.hint:
                out.print(f"  → {escape(check.hint)}", highlight=False)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def config(
    ctx: typer.Context,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Print a config.toml of all settings instead, explained, by default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting and where its value came from, and the plug-ins that are installed."""
    if defaults:
        typer.echo(DEFAULTS.read_text("utf-8"), nl=False)
        return
    settings: Settings = ctx.obj
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin in settings.rows()})
        return
    for name, value, origin in settings.rows():
        out.print(f"{escape(name)} = {escape(json.dumps(value, ensure_ascii=False))}  [dim]({escape(origin)})[/dim]",
                  highlight=False, soft_wrap=True)  # fmt: skip
    for each in plugins.installed():
        out.print(f"{escape(str(each))}  [dim](ragstone.{each.kind})[/dim]", highlight=False, soft_wrap=True)


def _serve(settings: Settings, port: int | None, kb: str | None, *, with_ui: bool, watch: bool) -> None:
    from app.serving import run

    if kb:
        check_there(settings, [kb])
    chosen = settings.config.app.port if port is None else port
    run(settings, kb or settings.config.app.kb, chosen, with_ui=with_ui, watch=watch)


async def _answer(
    base: "KnowledgeBase", question: str, history: Sequence[Turn], *, quiet: bool, where: "Filter | None" = None,
    steps: int | None = None,
) -> Answer:  # fmt: skip
    from app.api import Done, Found, Step, Text

    done: Answer | None = None
    found: tuple[Source, ...] = ()
    try:
        async for event in base.astream(question, where=where, history=history, steps=steps):
            if isinstance(event, Found):
                found = event.sources
            elif isinstance(event, Step) and event.name == "search" and event.text and not quiet:
                err.print(f"searching: {event.text}", markup=False, highlight=False)
            elif isinstance(event, Text) and not quiet:
                text = "\n\n" if event.anew else escape(event.delta)  # what is printed stays
                out.print(text, end="", highlight=False, soft_wrap=True)
            elif isinstance(event, Done):
                done = event.answer
    except RagstoneError:
        _show_sources(found)
        raise
    assert done is not None  # the stream ends with Done or raises
    return done


def _filter(
    paths: list[str] | None, kinds: list[str] | None, languages: list[str] | None, tags: list[str] | None, since: str,
    until: str,
) -> "Filter | None":  # fmt: skip
    from retrieval.filters import Filter

    where = Filter(tuple(paths or ()), tuple(kinds or ()), tuple(languages or ()), tuple(tags or ()), since, until)
    return None if where.empty else where


def _show_hits(hits: Sequence[Hit]) -> None:
    from prompts.context import shortened

    for hit in hits:
        place = f" p.{hit.page}" if hit.page else ""
        ranks = f"dense {hit.dense_rank or '-'}, lexical {hit.lexical_rank or '-'}"
        if hit.rerank_score is not None:
            ranks += f", rerank {hit.rerank_score:.3f}"
        out.print(f"[bold]{hit.rank}. {escape(hit.path)}{place}[/bold]  {hit.score:.4f} ({ranks})", highlight=False)
        for note in version_notes(hit, "en"):
            out.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)
        out.print(escape(shortened(hit.text.strip(), 400)) + "\n", highlight=False)
    if not hits:
        out.print("nothing found")


def _show_trace(index_: "Index", result: "Result") -> None:
    """The wordings that were searched, then every candidate: rank and score by each retriever, and its fate."""
    from retrieval.explain import matched

    trace = result.trace
    for number, query in enumerate(trace.queries, start=1):
        out.print(f"query {number} ({query.origin}, weight {query.weight:g}): {escape(query.text)}", highlight=False)
    table = Table(box=None)
    for name in ("rank", "chunk", "fused", "rerank", "places (retriever, query: rank, score)", "lost by"):
        table.add_column(name, overflow="fold")
    for row in trace.candidates[:_EXPLAINED]:
        places = ", ".join(f"{p.retriever} {p.query + 1}: #{p.rank} {p.score:.3f}" for p in row.places)
        rerank = "" if row.rerank is None else f"{row.rerank:.3f}"
        cells = (row.rank or "", f"{row.path} #{row.ordinal}", f"{row.fused:.3f}", rerank, places, row.dropped)
        table.add_row(*(escape(str(cell)) for cell in cells))
    out.print(table)
    for hit in result.hits:
        terms = " ".join(matched(index_, trace.queries[0], hit.text)[:20])
        out.print(f"{hit.rank}. terms: {escape(terms) or '-'}", highlight=False)
    out.print("; ".join(f"{name} {ms:g} ms" for name, ms in trace.stages), highlight=False)
    for note in trace.notes:
        err.print(f"note: {escape(note)}", highlight=False)


def _show_sources(sources: Sequence[Source]) -> None:
    from prompts.context import shortened

    for source in sources:
        said = f"[{source.n}] {source.hit.url or source.hit.path}\n{shortened(source.text, 300)}\n"
        err.print(said, markup=False, highlight=False)


def _show_citations(answer: Answer) -> None:
    out.print("\n")
    for c in answer.citations:
        place = f", p. {c.page}" if c.page else ""
        out.print(f"\\[{c.n}] [bold]{escape(c.source)}[/bold]{place}: {escape(c.quote)}", highlight=False)
    for note in (*answer.notes, *answer.trace.notes):
        err.print(f"note: {escape(note)}", highlight=False)


def _hit_row(hit: Hit) -> dict[str, Any]:
    keys = (
        "rank score path folder page start end text dense_rank lexical_rank rerank_score title headings language stale "
        "older newer".split()
    )
    return {key: getattr(hit, key) for key in keys}


def _mode(text: str) -> SearchMode:
    if text == "dense" or text == "lexical" or text == "hybrid":
        return text
    raise ConfigError(f"--mode {text!r} is unknown", "use dense, lexical or hybrid")


def main() -> None:
    """Run the command line."""
    os.umask(PRIVATE)  # what is written holds documents, questions and keys
    completes(os.environ)
    try:
        app()
    except RagstoneError as error:
        if "--json" in sys.argv:
            print_json({"error": error.message, "hint": error.hint})
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
