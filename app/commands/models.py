"""Commands on models (list, show, merge, export, score, benchmark, votes, rollback), and promote, quantize, parity."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.answering.backend import PROMOTED
from app.commands.terminal import AsJson, Kb, err, noted, out, print_json, progress_bars
from core.config import Config
from core.errors import ConfigError
from llm import registry
from llm.gguf_export import Form
from llm.quantize import Pattern, Pruner, Scheme
from llm.registry import parity_of, size
from retrieval.index import Index

models = typer.Typer(help="The models made or fetched here: list, show, merge, roll back.", invoke_without_command=True)
proofs = typer.Typer()

Model = Annotated[str, typer.Argument(help="A model's name, see `ragstone models`, or its folder.")]
ResultName = Annotated[str, typer.Option("--name", help="Of the result, data/models/NAME.")]
Data = Annotated[str, typer.Option("--data", help="A data set's name, its folder, or a JSONL file.")]


@models.callback()
def list_models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the models, and which of them answers."""
    if ctx.invoked_subcommand:
        return
    data = Path(ctx.obj.config.app.data)
    found, answers = registry.models(data), registry.promoted(data)
    if as_json:
        print_json({"promoted": answers, "models": [asdict(m) | {"folder": str(m.folder)} for m in found]})
        return
    table = Table(box=None)
    for column in ("", "name", "kind", "size", "parity", "finished", "of"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for m in found:
        row = ("→" if m.name == answers else "", m.name, m.kind or "?", size(m.bytes), parity_of(m.folder), m.finished)
        table.add_row(*map(escape, row), escape(m.problem or Path(m.base).name))
    out.print(table if found else "no models yet: `ragstone finetune model` or `ragstone pull` brings the first")


@models.command()
def show(ctx: typer.Context, name: Model) -> None:
    """Print what is recorded of a model, run.json and the parity report, as JSON."""
    folder = registry.home(Path(ctx.obj.config.app.data), name)
    if not folder.is_dir():
        raise ConfigError(f"there is no model {name!r}", "`ragstone models` lists them")
    report = folder / registry.PARITY
    print_json(
        registry.read_record(folder)
        | {"parity": json.loads(report.read_text("utf-8")) if report.exists() else None}
        | {"weights": registry.weights_hash(folder)}
    )


@models.command()
def suits(
    ctx: typer.Context, name: Model,
    target: Annotated[
        str, typer.Option("--target", help="What is to serve it: auto (this machine), cpu, or e.g. cuda-8.9.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Say how a model can be trained, made smaller and served; a folder with its config.json is enough."""
    from app.training.quantize import find
    from llm.quantize import target_of
    from llm.suits import suited

    config: Config = ctx.obj.config
    on = target_of(config.llm, target)
    found = suited(find(Path(config.app.data), name), on)
    if as_json:
        print_json(asdict(found) | {"target": on})
        return
    rows = [*found.methods.items(), *((f"{scheme} on {on}", why) for scheme, why in found.schemes.items())]
    table = Table(box=None, show_header=False)
    for what, why in [*rows, ("LoRA adapters in vLLM", found.adapter)]:
        table.add_row(escape(what), escape(f"no: {why}" if why else "yes"))
    table.add_row("reasoning parser", found.parser or "none")
    if found.parameters:
        table.add_row("parameters", f"{found.parameters / 1e9:.3g} billion, {size(2 * found.parameters)} in 16 bits")
    if found.token_bytes:
        table.add_row("KV cache", f"{found.token_bytes / 1024:.4g} KiB a token in 16 bits")
    out.print(table)


@models.command()
def merge(
    ctx: typer.Context, name: Model,
    base: Annotated[Path | None, typer.Option("--base", help="The base's folder, where it has moved.")] = None,
    result: ResultName = "", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take an adapter into its base, as whole weights; what is merged already is left as it is."""
    from app.training.quantize import find
    from llm.merge import merge as merge_weights

    data = Path(ctx.obj.config.app.data)
    folder = merge_weights(find(data, name), base, registry.home(data, result) if result else None)
    print_json({"model": str(folder)}) if as_json else out.print(str(folder), markup=False, highlight=False)


@models.command()
def export(
    ctx: typer.Context, name: Model,
    to: Annotated[Path, typer.Option("--to", help="The file to write, e.g. model.gguf.")],
    form: Annotated[Form, typer.Option("--as", help="Of the weights: 8 bits, or 16.")] = "q8_0",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a model as a GGUF file, for llama.cpp, Ollama and LM Studio; an adapter is merged first."""
    from app.training.quantize import find, whole
    from llm.gguf_export import export as write

    config: Config = ctx.obj.config
    told = write(config.llm, whole(find(Path(config.app.data), name)), to.expanduser(), form, _say)
    if as_json:
        print_json(told)
        return
    out.print(f"{told['file']}: {size(told['bytes'])}, sha256 {told['sha256']}", markup=False, highlight=False)


@models.command()
def score(
    ctx: typer.Context, name: Model, source: Data,
    against: Annotated[str, typer.Option("--against", help="Another model; default: the one's base.")] = "",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Conversations that are asked.")] = 32,
    most: Annotated[int, typer.Option("--answer-tokens", min=1, help="Of an answer, the most.")] = 256,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Answer a data set's questions by a model and its base, and score both by the checks of the app."""
    from app.training.answers import Request, run

    with progress_bars() as progress:
        report = run(ctx.obj.config, Request(name, source, against, samples, most), progress)
    if as_json:
        print_json(report)
        return
    table = Table(box=None)
    for column in ("", escape(Path(report["against"]).name) or "before", escape(Path(report["model"]).name)):
        table.add_column(column, justify="right" if column else "left")
    for check, value in report["scores"].items():
        before = report["before"].get(check)
        table.add_row(check, "–" if before is None else f"{before:.3f}", f"{value:.3f}")
    out.print(table)
    for note in report["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)


@models.command()
def benchmark(
    ctx: typer.Context, name: Model,
    tasks: Annotated[str, typer.Option("--tasks", help="Names, comma-separated: hellaswag,mmlu,cmmlu,ceval-valid.")],
    source: Annotated[
        str, typer.Option("--data", help="A folder with the data sets as the hub has them; else they are downloaded.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Questions of each benchmark; 0: all.")] = 0,
    shots: Annotated[int | None, typer.Option("--shots", min=0, help="Solved examples; default: its own.")] = None,
    against: Annotated[str, typer.Option("--against", help="Another model; default: what it was made of.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put a model and what it was made of through public benchmarks (lm-evaluation-harness), served by vLLM."""
    from app.training.benchmark import Request, run
    from llm.harness import Exam

    exam = Exam(tuple(filter(None, (task.strip() for task in tasks.split(",")))), source, limit, shots)
    with progress_bars() as progress:
        report = run(ctx.obj.config, Request(name, exam, against), _say, progress)
    if as_json:
        print_json(report)
        return
    table = Table(box=None)
    for column in ("benchmark", escape(Path(report["against"]).name) or "before", escape(Path(report["model"]).name)):
        table.add_column(column, justify="left" if column == "benchmark" else "right")
    before = report["before"].get("scores", {})
    for task, scores in report["after"]["scores"].items():
        for metric in scores:
            if metric != "shots" and not metric.endswith("_stderr"):
                cells = (_plus_minus(each, metric) for each in (before.get(task, {}), scores))
                table.add_row(escape(f"{task}, {metric}"), *cells)
    out.print(table)


def _plus_minus(scores: Mapping[str, float], metric: str) -> str:
    """A score with its standard error."""
    if metric not in scores:
        return "–"
    error = scores.get(f"{metric}_stderr")
    return f"{scores[metric]:.3f}" + (f" ± {error:.3f}" if error is not None else "")


@models.command()
def votes(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """Count the votes on answers by model and by variant of an A/B comparison (llm.ab_percent)."""
    from app.training.variants import tallies
    from app.training.votes import read_votes, votes_file

    data, database = Path(ctx.obj.config.app.data), ctx.obj.config.app.database
    counted = tallies(
        vote for name in ([kb] if kb else Index.names(data, database)) for vote in read_votes(votes_file(data, name))
    )
    if as_json:
        print_json({"votes": [asdict(row) for row in counted]})
        return
    table = Table(box=None)
    for column in ("variant", "model", "liked", "not", "share liked, 95%"):
        table.add_column(column, justify="left" if column in ("variant", "model") else "right")
    for row in counted:
        shown = (row.variant or "-", escape(row.model or "?"), str(row.up), str(row.down))
        table.add_row(*shown, f"{row.low:.0%} to {row.high:.0%}")
    out.print(table if counted else "no votes yet")


@models.command()
def rollback(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Undo the last promotion: the model before answers again."""
    data = Path(ctx.obj.config.app.data)
    before, now = registry.promoted(data), registry.roll_back(data)
    noted(ctx.obj, "model.rollback", now)
    _changed(ctx.obj.config, before, now, as_json)


@proofs.command()
def promote(
    ctx: typer.Context, name: Model,
    force: Annotated[bool, typer.Option("--force", help="In spite of what parity says, or without it.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a model the one that answers the chat; parity must have shown that it is served as it was trained."""
    config: Config = ctx.obj.config
    from app.training.promote import promote_model

    before = promote_model(Path(config.app.data), name, force=force)
    noted(ctx.obj, "model.promote", name, "forced" if force else "")
    _changed(config, before, name, as_json)


@proofs.command()
def quantize(
    ctx: typer.Context, model: Model,
    scheme: Annotated[
        Scheme,
        typer.Option(
            "--scheme", help="w4a16: GPTQ; awq: 4 bits too; w8a8: SmoothQuant; fp8; nvfp4, mxfp4; none: --prune alone."
        ),
    ],
    source: Data,
    name: ResultName = "",
    samples: Annotated[int, typer.Option("--samples", min=1, max=100_000, help="Rows that calibrate.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)] = 0,
    target: Annotated[
        str, typer.Option("--target", help="What is to serve it: auto (this machine), cpu, or e.g. cuda-8.9.")
    ] = "auto",
    prune: Annotated[
        Pruner, typer.Option("--prune", help="Set weights to zero first: sparsegpt or wanda.", show_default=False)
    ] = "",
    sparsity: Annotated[float, typer.Option("--sparsity", help="The share of the weights that --prune takes.")] = 0.5,
    pattern: Annotated[
        Pattern, typer.Option("--pattern", help="Of what --prune takes: two of every four, or any.")
    ] = "2:4",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a model smaller, in a format that vLLM serves; an adapter is merged first."""
    from app.training.quantize import Request, run

    request = Request(model, scheme, source, name, samples, seed, target, prune, sparsity, pattern)
    with progress_bars() as progress:
        report = run(ctx.obj.config, request, progress=progress, say=_say)
    print_json(report) if as_json else _show_quantized(report)


@proofs.command()
def parity(
    ctx: typer.Context, model: Model, source: Data,
    against: Annotated[str, typer.Option("--against", help="The model to compare with; default: what it is of.")] = "",
    samples: Annotated[int, typer.Option("--samples", min=1, max=1000, help="Conversations to compare on.")] = 32,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show that what vLLM serves is what was trained; exit code 1 where it is not, with the likely cause."""
    from app.training.parity import Request, run

    with progress_bars() as progress:
        report = run(ctx.obj.config, Request(model, source, against, samples), progress=progress, say=_say)
    print_json(report) if as_json else _show_parity(report)
    if not report["passed"]:
        raise typer.Exit(1)


# --- what is shown ---------------------------------------------------------------------------------------------------


def _changed(config: Config, before: str, now: str, as_json: bool) -> None:
    """Say which model answered and which does now, and the setting through which it does."""
    setting = config.llm.vllm_model
    own = setting in ("", PROMOTED, *(str(registry.home(Path(config.app.data), n)) for n in (before, now) if n))
    if as_json:
        print_json({"before": before, "now": now, "in_effect": own})
        return
    out.print(f"promoted: {now or 'none'} (before: {before or 'none'})", markup=False, highlight=False)
    if own and now:
        out.print(
            '  llm.vllm_model is empty or "promoted": an app that runs changes to it, else the next start serves it'
        )
    if not own:
        err.print(f'note: llm.vllm_model = "{setting}" is served; empty it to serve what is promoted', markup=False)


def _show_quantized(report: dict[str, Any]) -> None:
    if report["skipped"]:
        out.print(f"{escape(report['model'])} is there already: the same inputs and settings; nothing was done")
    found = report["metrics"]
    table = Table(box=None)
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("size", size(found["bytes_before"]), size(found["bytes_after"]))
    table.add_row("perplexity", f"{found['perplexity_before']:.4f}", f"{found['perplexity_after']:.4f}")
    if "zeros" in found:
        table.add_row("zeros", "", f"{found['zeros']:.1%}")
    out.print(table)
    for note in report["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)
    out.print(f"{report['model']} ({report['scheme']} for {report['target']})", markup=False, highlight=False)


def _show_parity(report: dict[str, Any]) -> None:
    table = Table(box=None)
    for column in ("", "found", "limit"):
        table.add_column(column, justify="right" if column else "left")
    for name, check in report["checks"].items():
        mark = "[green]✓[/green]" if check["passed"] else "[red]✗[/red]"
        table.add_row(f"{mark} {name}", f"{check['found']:.4f}", f"{check['sign']} {check['limit']:g}")
    out.print(table)
    for note in report["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)
    for cause in report["causes"]:
        out.print(f"[red]drift:[/red] {escape(cause)}", highlight=False)
    out.print(f"{'passed' if report['passed'] else 'not passed'}: {report['model']} against {report['against']}",
              markup=False, highlight=False)  # fmt: skip


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False)
