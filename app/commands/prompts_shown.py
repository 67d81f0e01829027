"""What the commands on prompts show: versions, comparisons, studies, and what is to be noted of a version."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from app.commands.terminal import err, out, print_json
from core.config import Config
from core.errors import CatalogError
from prompts.load import Prompt
from prompts.resting import resting

_SHOWN = 20  # questions, in a terminal


def version_row(prompt: Prompt, scored: Mapping[str, Any], now: str) -> dict[str, Any]:
    """A version as a row of the list: what it scored, and whether it is `now` the one that answers."""
    own = {label: kept for label, kept in scored.items() if label.partition(" ")[0] == prompt.label}
    return {
        "prompt": prompt.label, "parent": prompt.parent, "notes": prompt.notes, "id": prompt.id, "scores": own,
        "answers": prompt.label == now,
    }  # fmt: skip


def bases_by_id(cfg: Config) -> dict[str, str]:
    """The knowledge bases by their ids; none that cannot be opened."""
    from retrieval.index import Index

    data, found = Path(cfg.app.data), {}
    for name in Index.names(data, cfg.app.database):
        with suppress(CatalogError):
            found[Index.identity_in(data, name, cfg.app.database)] = name
    return found


def quoted_base(prompt: Prompt, bases: Mapping[str, str]) -> str:
    """Of which knowledge base a version quotes documents: its name, "" for none, "?" where it is not told or gone."""
    rests_on = resting(prompt)
    return rests_on if rests_on == "" else bases.get(rests_on or "-", "?")


def note_unsaid(saved: Prompt) -> None:
    """Say where nobody knows whence demonstrations are."""
    if resting(saved) is None:
        err.print(
            f"note: {saved.label} has demonstrations and does not say of which knowledge base: on the page only admins "
            'who see all of them see it; `rests_on = ""` in its file says that it quotes no documents', markup=False,
        )  # fmt: skip


def note_newest(cfg: Config, saved: Prompt) -> None:
    """Say where the configuration takes the newest version, which this is."""
    for role in ("answer", "rewrite", "variants", "judge"):
        if (getattr(cfg.prompts, role), getattr(cfg.prompts, f"{role}_version")) == (saved.name, 0):
            err.print(f"note: prompts.{role}_version is 0, the newest: {saved.label} is used from now on", markup=False)


def show_standing(cfg: Config, kb: str, label: str, as_json: bool) -> None:
    """Say by which version a knowledge base is answered."""
    if as_json:
        print_json({"kb": kb, "prompt": label, "in_effect": cfg.prompts.promoted})
        return
    out.print(f"knowledge base {kb!r} is answered by {label}", markup=False, highlight=False)
    if not cfg.prompts.promoted:
        err.print("note: prompts.promoted is false, so the configuration decides and not this", markup=False)


def show_compared(result: Mapping[str, Any]) -> None:
    """Show what each variant scored and answered."""
    table = Table(box=None)
    variants = result["variants"]
    for column in ("", *(v["label"] for v in variants)):
        table.add_column(escape(column), justify="right" if column else "left", overflow="fold")
    if result["rows"][0]["wanted"]:
        table.add_row("objective", *(f"{v['objective']:.3f}" for v in variants))
    for name in dict.fromkeys(name for v in variants for name in v["means"]):
        table.add_row(name, *(f"{v['means'].get(name, 0):g}" for v in variants))
    out.print(table)
    for variant in variants[1:]:
        row = variant["against"]
        if result["rows"][0]["wanted"]:
            out.print(
                f"{escape(variant['label'])}: {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], "
                f"{row['wins']} better, {row['losses']} worse, {row['ties']} equal", highlight=False,
            )  # fmt: skip
    for row in result["rows"][:_SHOWN]:
        out.print(f"\n[bold]{escape(row['question'])}[/bold]", highlight=False)
        for variant, answer in zip(variants, row["answers"], strict=True):
            out.print(f"  {escape(variant['label'])}: {escape(answer['text'])}", highlight=False)


def show_study(report: Mapping[str, Any]) -> None:
    """Show what a study came to."""
    gain = report["difference"]
    for note in report["notes"]:
        err.print(f"note: {escape(note)}", highlight=False)
    out.print(
        f"{report['verdict']}: {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] on "
        f"{report['sizes']['test']} test questions; {gain['wins']} better, {gain['losses']} worse",
        highlight=False,
    )
    out.print(f"  present: {escape(report['present']['label'])}: {report['present']['objective']:.3f}", highlight=False)
    out.print(f"  best:    {escape(report['best']['label'])}: {report['best']['objective']:.3f}", highlight=False)
    if report["command"]:
        out.print("nothing has changed yet; to answer by it:", highlight=False)
        out.print(f"  {report['command']}", markup=False, highlight=False)
