"""The commands that make, import and review data sets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from app.commands.terminal import AsJson, Kb, err, out, print_json, progress_bars
from core.config import Settings
from core.errors import ConfigError

if TYPE_CHECKING:
    from llm.chat_formats import Format
    from llm.examples import Example, Preference, Rating

dataset = typer.Typer(no_args_is_help=True, help="Make, import and review the data sets that models are trained on.")

Name = Annotated[str | None, typer.Option("--name", help="Of the data set, data/datasets/NAME.")]
Dev = Annotated[float, typer.Option("--dev", min=0.0, max=0.5, help="Share that decides when training stops.")]
Review = Annotated[bool, typer.Option("--review", help="Leave every row a draft until a person approves it.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)]


@dataset.command()
def make(
    ctx: typer.Context, kb: Kb = None, name: Name = None,
    drafted: Annotated[
        int, typer.Option("--drafted", min=0, max=100_000, help="Questions drafted beside the approved golden set.")
    ] = 0,
    without_gold: Annotated[
        float, typer.Option("--without-gold", min=0.0, max=1.0, help="Share whose answer is left out: to be refused.")
    ] = 0.2,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=0.9, help="Share of the files to test on; 0: none.")
    ] = 0.2,
    dev: Dev = 0.1,
    unanswerable: Annotated[
        Path | None, typer.Option("--unanswerable", help="Questions that the documents do not answer, one a line.")
    ] = None,
    review: Review = False, seed: Seed = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a data set of a knowledge base: its golden set, drafted questions, and the votes on answers."""
    from app.training.dataset import Request, run

    settings: Settings = ctx.obj
    chosen = kb or settings.config.app.kb
    request = Request(
        chosen, name or chosen, drafted, without_gold, held_out, dev, unanswerable, review=review, seed=seed
    )
    with progress_bars() as progress:
        report = run(settings.config, request, progress)
    _show(settings, report, as_json)


@dataset.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A JSONL file, or one JSON array.")],
    format: Annotated[str, typer.Option("--format", help="auto, alpaca, sharegpt or openai.")] = "auto",
    name: Name = None,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=0.9, help="Share of the conversations to test on.")
    ] = 0.1,
    dev: Dev = 0.1, review: Review = False, seed: Seed = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a data set of another tool's conversations."""
    from app.training.dataset import import_chats

    settings: Settings = ctx.obj
    report = import_chats(
        settings.config, file, _format(format), name or file.stem, held_out=held_out, dev=dev, review=review, seed=seed
    )
    _show(settings, report, as_json)


@dataset.command()
def distil(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A data set's name, its folder, or a JSONL file.")],
    teacher: Annotated[
        str, typer.Option("--teacher", help="An OpenAI-compatible server's address, or a model's folder or name.")
    ],
    name: Annotated[str, typer.Option("--name", help="Of the new data set, data/datasets/NAME.")],
    model: Annotated[str, typer.Option("--model", help="Which of the server's models; default: the first.")] = "",
    review: Review = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let a larger model answer the questions of a data set, and keep what our own checks hold for."""
    from app.training.distil import Request, run

    settings: Settings = ctx.obj
    with progress_bars() as progress:
        report = run(settings.config, Request(source, name, teacher, model, review), progress, err.print)
    if not as_json:
        told = ", ".join(f"{score} {value:.3f}" for score, value in report["teacher"].items())
        out.print(f"the teacher's answers: {told}", markup=False, highlight=False)
    _show(settings, report, as_json)


@dataset.command()
def review(
    ctx: typer.Context,
    name: str,
    approve: Annotated[list[str] | None, typer.Option("--approve", help="Id of a row; may be repeated.")] = None,
    reject: Annotated[list[str] | None, typer.Option("--reject", help="Id of a row; may be repeated.")] = None,
    approve_rest: Annotated[bool, typer.Option("--approve-rest", help="Approve every draft that is left.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over what review.md of a data set says, approve and reject rows, and show the drafts that are left."""
    from app.training.dataset_folder import alone, dataset_home
    from app.training.review import review as judge

    settings: Settings = ctx.obj
    home = dataset_home(Path(settings.config.app.data), name)
    with alone(home):
        rows = judge(home, approve or (), reject or (), rest="approved" if approve_rest else None)
    statuses = Counter(row.status for row in rows)
    if as_json:
        print_json({"statuses": statuses, "drafts": [row.id for row in rows if row.status == "draft"]})
        return
    _show_drafts(rows)
    out.print(", ".join(f"{count} {status}" for status, count in statuses.items()) or "no rows")
    if statuses["draft"] and (home / "review.md").exists():
        out.print(f"edit {escape(str(home / 'review.md'))}, then run this again", highlight=False)


def _format(text: str) -> "Format | None":
    if text == "alpaca" or text == "sharegpt" or text == "openai":
        return text
    if text != "auto":
        raise ConfigError(f"--format {text!r} is unknown", "use auto, alpaca, sharegpt or openai")
    return None


def _show_drafts(rows: "Sequence[Example | Preference | Rating]") -> None:
    for row in rows:
        if row.status == "draft":
            out.print(f"[bold]{escape(row.id)}[/bold] {escape(row.prompt[-1].content)}", highlight=False)


def _show(settings: Settings, report: dict[str, Any], as_json: bool) -> None:
    home = Path(settings.config.app.data).resolve() / "datasets" / report["name"]
    if as_json:
        print_json(report | {"folder": str(home)})
        return
    for note in report["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)
    for reason, count in report["left_out"].items():
        err.print(f"left out: {count}, {escape(reason)}", highlight=False)
    if report["skipped"]:
        out.print(f"{escape(str(home))} is there already: the same inputs and settings; nothing was done")
    for side, count in report["counts"].items():
        kinds = ", ".join(f"{n} {kind}" for kind, n in report["kinds"][side].items())
        pairs = f", {report['preferences'][side]} preferences" if report["preferences"][side] else ""
        pairs += f", {rated} ratings" if (rated := report.get("ratings", {}).get(side)) else ""
        out.print(f"{side}: {count} conversations ({kinds or '-'}){pairs}", highlight=False)
    out.print(f"in {escape(str(home))}: README.md says what is in it", highlight=False)
    if report["settings"]["review"]:
        out.print(f"next: edit review.md there, then `ragstone dataset review {escape(report['name'])}`")
