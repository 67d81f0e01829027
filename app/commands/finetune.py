"""The commands that train the retrievers: finetune embedder, finetune reranker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.finetune_model import chat_model
from app.commands.terminal import AsJson, Kb, err, noted, out, print_json, progress_bars
from core.config import Settings

if TYPE_CHECKING:
    from app.training.train import Kind

finetune = typer.Typer(
    no_args_is_help=True, help="Train the embedder, the reranker or the chat model on your documents."
)

finetune.add_typer(chat_model)

Name = Annotated[str | None, typer.Option("--name", help="Of the model, data/models/NAME; default: KB-embedder.")]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Questions: a JSONL file or a folder in BEIR form; default: the approved golden set."),
]
Drafted = Annotated[int, typer.Option("--drafted", min=0, help="Pairs made from the documents, without a model.")]
HeldOut = Annotated[float, typer.Option("--held-out", min=0.01, max=0.9, help="Share of the files to measure on.")]
Negatives = Annotated[int, typer.Option("--negatives", min=0, max=20, help="Hard negatives per pair.")]
Margin = Annotated[
    float, typer.Option("--margin", min=0.0, max=1.0, help="No negative scores above (1 - margin) of the positive.")
]
Rate = Annotated[float, typer.Option("--lr", min=1e-8, max=1.0, help="Learning rate.")]
Epochs = Annotated[float, typer.Option("--epochs", min=0.01, max=1000)]
Batch = Annotated[int, typer.Option("--batch", min=2, max=4096, help="Pairs of a batch; each is a negative to others.")]
MaxSteps = Annotated[int, typer.Option("--max-steps", min=0, help="0: as many as the epochs need.")]
Patience = Annotated[int, typer.Option("--patience", min=1, help="Looks at the dev split without gain until it ends.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run of this name that was stopped.")]


@finetune.command()
def embedder(
    ctx: typer.Context, kb: Kb = None, name: Name = None, source: From = None, drafted: Drafted = 0,
    held_out: HeldOut = 0.2, negatives: Negatives = 1, margin: Margin = 0.05, lr: Rate = 2e-5, epochs: Epochs = 1.0,
    batch: Batch = 32, max_steps: MaxSteps = 0, patience: Patience = 3, seed: Seed = 0, resume: Resume = False,
    promote: Annotated[bool, typer.Option("--promote", help="Rebuild the KB with it where the gain is sure.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Fine-tune retrieval.embedder, and measure dense and hybrid search on held-out files before and after."""
    _run(
        ctx.obj, "embedder", kb, name, source, "", drafted, held_out, negatives, margin, lr, epochs, batch, max_steps,
        patience, seed, resume, promote, as_json,
    )  # fmt: skip


@finetune.command()
def reranker(
    ctx: typer.Context, kb: Kb = None, name: Name = None, source: From = None,
    base: Annotated[
        str, typer.Option("--base", help="A CrossEncoder, or builtin: the built-in encoder with a new head.")
    ] = "",
    drafted: Drafted = 0, held_out: HeldOut = 0.2, negatives: Negatives = 4, margin: Margin = 0.05, lr: Rate = 2e-5,
    epochs: Epochs = 1.0, batch: Batch = 32, max_steps: MaxSteps = 0, patience: Patience = 3, seed: Seed = 0,
    resume: Resume = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Fine-tune retrieval.reranker, and measure reranking on held-out files before and after."""
    if base == "builtin":
        err.print("note: --base builtin has a new head that knows nothing yet: it needs many pairs to be of use")
    _run(
        ctx.obj, "reranker", kb, name, source, base, drafted, held_out, negatives, margin, lr, epochs, batch,
        max_steps, patience, seed, resume, False, as_json,
    )  # fmt: skip


def _run(
    settings: Settings, kind: "Kind", kb: str | None, name: str | None, source: Path | None, base: str, drafted: int,
    held_out: float, negatives: int, margin: float, lr: float, epochs: float, batch: int, max_steps: int,
    patience: int, seed: int, resume: bool, promoting: bool, as_json: bool,
) -> None:  # fmt: skip
    from app.training.train import Request, promote, run, verdict
    from retrieval.train import TrainSettings

    chosen = kb or settings.config.app.kb
    request = Request(
        kind, chosen, name or f"{source.stem if source else chosen}-{kind}",
        TrainSettings(epochs, batch, lr, max_steps, patience=patience, seed=seed), source, base, drafted, held_out,
        negatives=negatives, margin=margin,
    )  # fmt: skip
    with progress_bars() as progress:
        report = run(settings.config, request, resume=resume, progress=progress)
        promoted = promoting and promote(settings.config, chosen, report, progress)
    if promoted:
        noted(settings, f"{kind}.promote", chosen, request.name)
    if as_json:
        print_json(report | {"verdict": verdict(report), "promoted": promoted})
        return
    _show(report, verdict(report))
    _next(report, chosen, promoted)


def _show(report: dict[str, Any], line: str) -> None:
    if report["skipped"]:
        out.print(f"{escape(report['model'])} is there already: the same inputs and settings; nothing was done")
    table = Table(box=None)
    for column in ("", "before", "after", "difference", "95% interval"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in report["metrics"].items():
        for metric in ("ndcg@10", "recall@10", "recall@k"):
            change = found["difference"][metric]
            table.add_row(
                f"{name} {metric}", f"{found['before'][metric]:.4f}", f"{found['after'][metric]:.4f}",
                f"{change['mean']:+.4f}", f"[{change['low']:+.4f}, {change['high']:+.4f}]".replace("[", "\\["),
            )  # fmt: skip
    out.print(table)
    if report["split"]["drafted_questions_only"]:
        err.print("note: measured on drafted questions, which repeat the documents' words; people ask otherwise")
    out.print(escape(line), highlight=False)


def _next(report: dict[str, Any], kb: str, promoted: bool) -> None:
    """The steps that make the model answer, where it is worth it."""
    if report["gain"]["low"] <= 0:
        return
    key = f"retrieval.{report['kind']}"
    out.print("to use it:" if not promoted else f"{kb!r} answers with it; so that it stays so:", highlight=False)
    out.print(f'  1. in config.toml, [retrieval]: {report["kind"]} = "{report["model"]}"   ({key})', markup=False)
    if report["kind"] == "embedder" and not promoted:
        out.print(f"  2. ragstone index --kb {kb} --rebuild", markup=False, highlight=False)
