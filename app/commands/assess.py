"""The commands that measure: eval, and golden with what keeps a golden set."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.overview import viewing
from app.commands.terminal import AsJson, Kb, base_of, err, opened, out, print_json, progress_bars
from core.config import Settings
from core.errors import EvalError

if TYPE_CHECKING:
    from app.measuring.golden import GoldenQuestion

assess = typer.Typer()
golden = typer.Typer(help="Keep the golden set of a knowledge base: questions with the sentences that answer them.")
assess.add_typer(golden, name="golden")
tune = typer.Typer(help="Calibrate a knowledge base on questions.")
assess.add_typer(tune, name="tune")
assess.add_typer(viewing)

Ids = Annotated[list[str], typer.Argument(help="Ids of questions, as `golden list` shows them.")]
_SHOWN = 20  # questions that moved, in a terminal


@assess.command("eval")
def evaluate(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A folder in BEIR form; default: the knowledge base's golden set.")
    ] = None,
    kb: Kb = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", help="section.key=value to compare with; may be repeated.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the figures into a .svg file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure retrieval on a golden set or an evaluation folder; or compare it with other settings."""
    from app.measuring.compare import varied
    from app.measuring.plot import check_plot, write_plot

    if plot:
        check_plot(plot)
    other, changed = varied(ctx.obj, against) if against else (None, {})
    with progress_bars() as progress, base_of(ctx.obj, kb) as base:
        result = base.evaluate(folder, against=other, progress=progress)
    name = folder.resolve().name if folder else base.name
    result |= {"name": name, "against": changed}
    if plot:
        rows = result["modes"] if other is None else {"before": result["before"], "after": result["after"]}
        label = {"before": "present settings", "after": ", ".join(f"{key}={value}" for key, value in changed.items())}
        write_plot(
            plot, name, f"{result['questions']} questions; lines: 95% bootstrap intervals",
            {label.get(key, key): (row, result["intervals"][key]) for key, row in rows.items()},
        )  # fmt: skip
    if as_json:
        print_json(result)
        return
    (_show_comparison if other else _show_modes)(result)
    _show_left_out(result)


@tune.command("retrieval")
def tune_retrieval(
    ctx: typer.Context,
    kb: Kb = None,
    unanswerable: Annotated[
        Path | None, typer.Option("--unanswerable", help="Questions that the documents do not answer, one a line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find, on the golden set, how much meaning and words count in each language, and what is not covered."""
    from app.measuring.tune import WEIGHTS

    lines = _questions(unanswerable) if unanswerable else []
    with base_of(ctx.obj, kb) as base, progress_bars() as progress:
        found = base.tune(lines, progress=progress)
    if as_json:
        print_json(asdict(found) | {"weights": WEIGHTS})
        return
    for curve in found.curves:
        best = max(curve.ndcg)
        out.print(
            f"{curve.language}: share of meaning {curve.chosen:g} on {curve.questions} questions; nDCG@10 "
            f"{curve.ndcg[WEIGHTS.index(curve.chosen)]:.3f}, words alone {curve.ndcg[0]:.3f}, meaning alone "
            f"{curve.ndcg[-1]:.3f}, best {best:.3f}",
            highlight=False,
        )
    if row := found.coverage:
        out.print(
            f"not covered below a relevance of {row.threshold:g}: {row.refusals:.0%} of the unanswerable questions "
            f"refused, and {row.false_refusals:.0%} of those that have an answer",
            highlight=False,
        )
    out.print("it is used from now on, wherever the configuration says auto")


def _questions(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise EvalError(
            f"{str(file)!r} cannot be read: {error}", "give a UTF-8 text file, one question a line"
        ) from None
    return [line for line in lines if line]


@golden.command("draft")
def draft_(
    ctx: typer.Context,
    kb: Kb = None,
    count: Annotated[int, typer.Option("--count", min=1, max=2000, help="How many new questions.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another choice.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draft questions from the documents, by the configured model or without one; a person approves them."""
    from app.answering.backend import resolve
    from app.measuring.draft import draft
    from app.measuring.golden import append

    settings: Settings = ctx.obj
    backend = asyncio.run(resolve(settings.config.llm))
    with opened(settings, kb) as index, progress_bars() as progress:
        known = _golden(settings, kb)
        made = asyncio.run(draft(index, settings.config, count, known, backend, seed=seed, progress=progress))
        added = append(_file(settings, kb), made.questions)
    notes = [*backend.notes, *made.notes]
    if as_json:
        rows = [question.model_dump() for question in added]
        print_json({"questions": rows, "bad_replies": made.bad_replies, "backend": backend.name, "notes": notes})
        return
    for note in notes:
        err.print(f"note: {escape(note)}", highlight=False)
    for question in added:
        _show_question(question)
    bad = f"; {made.bad_replies} replies of the model were left out" if made.bad_replies else ""
    out.print(f"{len(added)} drafts in {escape(str(_file(settings, kb)))}{bad}", highlight=False)
    out.print("read them there, or `ragstone golden approve ID...`", highlight=False)


@golden.command("list")
def list_(
    ctx: typer.Context,
    kb: Kb = None,
    status: Annotated[str | None, typer.Option("--status", help="draft, approved or rejected only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the questions of the golden set."""
    rows = [q for q in _golden(ctx.obj, kb) if status in (None, q.status)]
    if as_json:
        print_json({"questions": [question.model_dump() for question in rows]})
        return
    for question in rows:
        _show_question(question)
    counts = Counter(question.status for question in rows)
    out.print(", ".join(f"{n} {name}" for name, n in counts.items()) or "no questions")


@golden.command()
def approve(ctx: typer.Context, ids: Ids, kb: Kb = None) -> None:
    """Let questions count in `ragstone eval`."""
    from app.measuring.golden import set_status

    set_status(_file(ctx.obj, kb), ids, "approved")
    out.print(f"{len(set(ids))} approved")


@golden.command()
def reject(ctx: typer.Context, ids: Ids, kb: Kb = None) -> None:
    """Keep questions out; they are not drafted again."""
    from app.measuring.golden import set_status

    set_status(_file(ctx.obj, kb), ids, "rejected")
    out.print(f"{len(set(ids))} rejected")


@golden.command()
def add(
    ctx: typer.Context,
    question: Annotated[str, typer.Option("--question", help="As a user would ask it.")],
    file: Annotated[str, typer.Option("--file", help="The document, as `ragstone files` lists it.")],
    evidence: Annotated[list[str], typer.Option("--evidence", help="A sentence of it that answers; may be repeated.")],
    kb: Kb = None,
) -> None:
    """Add a question of your own, approved."""
    from app.measuring.golden import add as add_question

    with opened(ctx.obj, kb) as index:
        _show_question(add_question(index, _file(ctx.obj, kb), question, evidence, file))


@golden.command()
def prune(ctx: typer.Context, kb: Kb = None) -> None:
    """Erase the questions whose file or evidence the knowledge base no longer has, with the text they quote."""
    from app.measuring.golden import forget, locate

    with opened(ctx.obj, kb) as index:
        _, gone = locate(index, _golden(ctx.obj, kb))
    forget(_file(ctx.obj, kb), [row.id for row in gone])
    _show_out_of_date([asdict(row) for row in gone])
    out.print(f"{len(gone)} questions erased")


def _golden(settings: Settings, kb: str | None) -> "list[GoldenQuestion]":
    from app.measuring.golden import read

    return read(_file(settings, kb))


def _file(settings: Settings, kb: str | None) -> Path:
    from app.measuring.golden import golden_file

    return golden_file(Path(settings.config.app.data), kb or settings.config.app.kb)


def _show_question(question: "GoldenQuestion") -> None:
    place = f" p.{question.page}" if question.page else ""
    kind = f"{question.status}, {question.source}"
    where = f"[dim]{escape(question.file)}{place}[/dim]"
    out.print(f"[bold]{escape(question.id)}[/bold] ({kind}) {escape(question.question)}  {where}", highlight=False)
    for sentence in question.evidence:
        out.print(f"    {escape(sentence)}", highlight=False)


def _show_modes(result: Mapping[str, Any]) -> None:
    table = Table(title=_title(result), box=None)
    table.add_column("mode")
    for name in next(iter(result["modes"].values())):
        table.add_column(name, justify="right")
    for mode, row in result["modes"].items():
        table.add_row(mode, *(f"{value:g}" for value in row.values()))
    out.print(table)


def _show_comparison(result: Mapping[str, Any]) -> None:
    table = Table(title=_title(result), box=None)
    for name in ("", "now", "against", "change", "95% interval", "better", "worse", "equal"):
        table.add_column(name, justify="right" if name else "left")
    for name, row in result["difference"].items():
        table.add_row(
            name, f"{result['before'][name]:.3f}", f"{result['after'][name]:.3f}", f"{row['mean']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}", *(str(row[key]) for key in ("better", "worse", "equal")),
        )  # fmt: skip
    for name in ("p50_ms", "p95_ms"):
        table.add_row(name, f"{result['before'][name]:g}", f"{result['after'][name]:g}")
    out.print(table)
    changed = ", ".join(f"{key}={value}" for key, value in result["against"].items())
    for which in ("worse", "better"):
        rows = result[which]
        out.print(f"{len(rows)} questions {which} with {escape(changed)}", highlight=False)
        for row in rows[:_SHOWN]:
            ranks = f"{row['rank_before'] or '-'} -> {row['rank_after'] or '-'}"
            out.print(f"  {ranks:>8}  {escape(row['question'])}  [dim]{escape(row['document'])}[/dim]", highlight=False)
        if len(rows) > _SHOWN:
            out.print(f"  and {len(rows) - _SHOWN} more: --json has all")


def _title(result: Mapping[str, Any]) -> str:
    numbers = f"{result['questions']} questions, {result['documents']} documents, {result['chunks']} chunks"
    return escape(f"{result['name']}: {numbers}")


def _show_left_out(result: Mapping[str, Any]) -> None:
    if result["skipped"]:
        left_out = ", ".join(f"{count} {reason}" for reason, count in result["skipped"].items())
        err.print(f"note: questions left out: {left_out}", highlight=False)
    _show_out_of_date(result["out_of_date"])


def _show_out_of_date(rows: Sequence[Mapping[str, str]]) -> None:
    for row in rows:
        about = f"{escape(row['id'])}, {escape(row['file'])}: {escape(row['reason'])}"
        err.print(f"[red]out of date:[/red] {escape(row['question'])} ({about})", highlight=False)
