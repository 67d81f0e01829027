"""The commands that train the model that answers: finetune model, finetune search."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.terminal import AsJson, err, out, print_json, progress_bars
from llm.methods import METHODS, Init, Method, Stage
from llm.trainers import Optimizer, Report

chat_model = typer.Typer()

_WHAT, _COURSE, _ROWS, _ADAPTER, _STAGE, _MACHINE = (
    "What is trained", "Course", "Rows", "Shape of the adapter", "Of a stage", "Machine",
)  # fmt: skip
_METHOD = f"What is trained: {', '.join(METHODS)}, or the name of a plug-in."
Epochs = Annotated[float, typer.Option("--epochs", min=0.01, max=1000)]
MaxSteps = Annotated[int, typer.Option("--max-steps", min=0, help="0: as many as the epochs need.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)]


@chat_model.command()
def model(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", help="Of the model, data/models/NAME.", rich_help_panel=_WHAT)],
    source: Annotated[
        str,
        typer.Option(
            "--data", help="A data set's name, its folder, a JSONL file; of pretrain a KB.", rich_help_panel=_WHAT
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            "--base", help="Folder or name of the base model; default: llm.vllm_model.", rich_help_panel=_WHAT
        ),
    ] = "",
    method: Annotated[Method, typer.Option("--method", help=_METHOD, rich_help_panel=_WHAT)] = "lora",
    stage: Annotated[Stage, typer.Option("--stage", help="What it learns from.", rich_help_panel=_WHAT)] = "sft",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this name that was stopped.", rich_help_panel=_WHAT)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, train nothing.", rich_help_panel=_WHAT)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.", rich_help_panel=_WHAT)] = False,
    lr: Annotated[
        float,
        typer.Option("--lr", min=0.0, max=10.0, help="Learning rate; 0: of method and stage.", rich_help_panel=_COURSE),
    ] = 0.0,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, max=1000, rich_help_panel=_COURSE)] = 3.0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=4096, help="Rows of a batch on a device.", rich_help_panel=_COURSE)
    ] = 8,
    accumulate: Annotated[
        int, typer.Option("--accumulate", min=1, help="Batches of a step.", rich_help_panel=_COURSE)
    ] = 1,
    max_steps: Annotated[
        int, typer.Option("--max-steps", min=0, help="0: as many as the epochs need.", rich_help_panel=_COURSE)
    ] = 0,
    warmup: Annotated[
        float, typer.Option("--warmup", min=0.0, max=1.0, help="Share of the steps.", rich_help_panel=_COURSE)
    ] = 0.05,
    patience: Annotated[
        int, typer.Option("--patience", min=1, help="Looks at the dev set without gain.", rich_help_panel=_COURSE)
    ] = 3,
    optimizer: Annotated[
        Optimizer,
        typer.Option("--optimizer", help="galore, apollo: of full, each by its package.", rich_help_panel=_COURSE),
    ] = "adamw",
    neftune: Annotated[
        float,
        typer.Option(
            "--neftune",
            min=0.0,
            max=100.0,
            help="Noise on the embeddings, of sft; 5 is usual.",
            rich_help_panel=_COURSE,
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, rich_help_panel=_COURSE)] = 0,
    report: Annotated[
        Report,
        typer.Option(
            "--report", help="Where the curve goes beside loss.jsonl; wandb is not local.", rich_help_panel=_COURSE
        ),
    ] = "tensorboard",
    dev: Annotated[
        float,
        typer.Option(
            "--dev", min=0.0, max=0.9, help="Share set aside where there is no dev set.", rich_help_panel=_ROWS
        ),
    ] = 0.1,
    max_length: Annotated[
        int,
        typer.Option(
            "--max-length", min=0, help="Tokens of a row; 0: the context, 1024 of pretrain.", rich_help_panel=_ROWS
        ),
    ] = 0,
    too_long: Annotated[
        Literal["leave-out", "refuse"],
        typer.Option("--too-long", help="What becomes of rows that are longer.", rich_help_panel=_ROWS),
    ] = "leave-out",
    packing: Annotated[
        bool, typer.Option("--packing", help="Several rows in one sequence, apart.", rich_help_panel=_ROWS)
    ] = False,
    rank: Annotated[
        int, typer.Option("--rank", min=1, max=1024, help="Of LoRA's family.", rich_help_panel=_ADAPTER)
    ] = 16,
    alpha: Annotated[int, typer.Option("--alpha", min=1, help="Of LoRA's family.", rich_help_panel=_ADAPTER)] = 32,
    dropout: Annotated[
        float, typer.Option("--dropout", min=0.0, max=0.9, help="Of LoRA's family.", rich_help_panel=_ADAPTER)
    ] = 0.0,
    rslora: Annotated[
        bool, typer.Option("--rslora", help="Alpha over the root of the rank.", rich_help_panel=_ADAPTER)
    ] = False,
    init: Annotated[
        Init, typer.Option("--init", help="What lora (of loftq: qlora) begins with.", rich_help_panel=_ADAPTER)
    ] = "default",
    virtual_tokens: Annotated[
        int,
        typer.Option(
            "--virtual-tokens",
            min=1,
            max=1024,
            help="Of prefix, prompt, ptuning, llama-adapter.",
            rich_help_panel=_ADAPTER,
        ),
    ] = 20,
    adapted_layers: Annotated[
        int,
        typer.Option(
            "--adapted-layers", min=0, help="Of llama-adapter; 0: all but the first two.", rich_help_panel=_ADAPTER
        ),
    ] = 0,
    beta: Annotated[
        float | None,
        typer.Option(
            "--beta",
            min=0.0,
            max=10.0,
            help="Of all but sft and pretrain; default: of the stage.",
            rich_help_panel=_STAGE,
        ),
    ] = None,
    gamma: Annotated[
        float, typer.Option("--gamma", min=0.0, max=10.0, help="Margin of simpo.", rich_help_panel=_STAGE)
    ] = 1.0,
    answers: Annotated[
        int, typer.Option("--answers", min=2, max=64, help="Of grpo, to a question.", rich_help_panel=_STAGE)
    ] = 4,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", min=1, help="Of grpo and distill, the most.", rich_help_panel=_STAGE)
    ] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.01, max=5.0, help="Of these answers.", rich_help_panel=_STAGE)
    ] = 1.0,
    teacher: Annotated[
        str, typer.Option("--teacher", help="Of distill: folder or name of a model.", rich_help_panel=_STAGE)
    ] = "",
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute/--no-recompute", help="Activations twice, which takes less memory.", rich_help_panel=_MACHINE
        ),
    ] = True,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option("--precision", rich_help_panel=_MACHINE)
    ] = "auto",
    device: Annotated[Literal["auto", "cpu"], typer.Option("--device", rich_help_panel=_MACHINE)] = "auto",
    accelerate: Annotated[
        Path | None,
        typer.Option(
            "--accelerate-config",
            help="Train by accelerate launch: several GPUs, ZeRO, FSDP.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
) -> None:
    """Fine-tune the model that answers, on approved examples (see `ragstone dataset`)."""
    from app.training import adapt
    from llm.methods import Shape, default_beta, default_rate
    from llm.trainers import Settings as Tuning

    tuning = Tuning(
        method, stage, Shape(rank, alpha, dropout, virtual_tokens, adapted_layers, rslora, init), epochs, batch,
        accumulate, lr or default_rate(method, stage), max_steps, warmup, patience, seed, max_length, too_long, packing,
        recompute, precision, device, default_beta(stage) if beta is None else beta, gamma, neftune, optimizer, report,
        answers, answer_tokens, temperature, adapt.teacher(ctx.obj.config, teacher),
    )  # fmt: skip
    request = adapt.Request(name, base, source, tuning, dev, accelerate)
    config = ctx.obj.config
    if dry_run:
        told = adapt.dry_run(config, request)
        print_json(told) if as_json else _show_plan(told)
        return
    with progress_bars() as progress:
        done = adapt.run(config, request, resume=resume, progress=progress)
    print_json(done) if as_json else _show_model(done)


@chat_model.command()
def search(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", help="Of the search, data/searches/NAME.")],
    source: Annotated[str, typer.Option("--data", help="As of `ragstone finetune model`.")],
    base: Annotated[str, typer.Option("--base", help="Folder or name of the base model.")] = "",
    method: Annotated[Method, typer.Option("--method", help=_METHOD)] = "lora",
    stage: Annotated[Stage, typer.Option("--stage", help="What it learns from.")] = "sft",
    trials: Annotated[int, typer.Option("--trials", min=2, max=10_000, help="In all, earlier ones included.")] = 20,
    epochs: Epochs = 3.0, max_steps: MaxSteps = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, max=4096, help="Rows of a batch.")] = 8,
    dev: Annotated[float, typer.Option("--dev", min=0.0, max=0.9, help="Share to judge by, without a dev set.")] = 0.1,
    seed: Seed = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Search learning rate, warm-up and LoRA's shape on the dev set; a search that was stopped goes on."""
    from app.training import adapt
    from app.training.search import run
    from llm.methods import default_beta, default_rate
    from llm.trainers import Settings as Tuning

    tuning = Tuning(
        method, stage, epochs=epochs, batch_size=batch, max_steps=max_steps, seed=seed, beta=default_beta(stage),
        learning_rate=default_rate(method, stage),
    )  # fmt: skip
    with progress_bars() as progress:
        report = run(ctx.obj.config, adapt.Request(name, base, source, tuning, dev), trials, progress)
    if as_json:
        print_json(report)
        return
    states = Counter(trial["state"] for trial in report["trials"])
    given = report["given"]
    out.print(
        f"{report['metric']}: {report['best']:.4f}" + (f", as given {given:.4f}" if given is not None else ""),
        highlight=False,
    )
    out.print(", ".join(f"{count} {state}" for state, count in states.items()), highlight=False)
    out.print(report["command"], markup=False, highlight=False)


def _show_plan(told: dict[str, Any]) -> None:
    plan, counted = told["plan"], told["parameters"]
    lines = [
        f"{told['method']} ({told['stage']}) of {told['base']}",
        f"rows: {plan['train']} to train on, {plan['dev']} to look at, {len(plan['left_out'])} too long and left out; "
        f"the longest has {plan['longest']} tokens",
        f"steps: {plan['steps']}, by {told['processes']} process(es)",
        f"parameters: {counted['trained']:,} of {counted['base']:,} are trained ({counted['share']:.3%})",
        "memory: " + ", ".join(f"{part} {count / 1e9:.3g} GB" for part, count in told["memory"].items()),
        *_served(told["serving"]), *(f"note: {note}" for note in (*told["not_reckoned"], *plan["notes"])),
        told["command"], *([told["launch"]] if told["launch"] else []),
    ]  # fmt: skip
    for line in lines:
        out.print(line, markup=False, highlight=False)


def _show_model(report: dict[str, Any]) -> None:
    if report["skipped"]:
        out.print(f"{escape(report['model'])} is there already: the same inputs and settings; nothing was done")
    table = Table(box=None)
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    before, after = report["metrics"]["before"], report["metrics"]["after"]
    for name in before:
        table.add_row(name, f"{before[name]:.4f}", f"{after[name]:.4f}")
    out.print(table)
    training = report["training"]
    if left := training["rows"]["left_out"]:
        err.print(f"note: {len(left)} rows were longer than the context and left out, e.g. {escape(left[0])}")
    for note in training["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)
    out.print(f"{report['model']} (the weights of step {training['best_step']} of {training['steps']})", markup=False)
    for line in _served(report["serving"]):
        out.print(line, markup=False, highlight=False)


def _served(how: dict[str, Any]) -> list[str]:
    ways = [way for way, can in (("as an adapter", how["as_adapter"]), ("as whole weights", how["merged"])) if can]
    return [f"vLLM serves it {' or '.join(ways) if ways else 'not'}" + (f": {how['reason']}" if how["reason"] else "")]
