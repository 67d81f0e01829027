"""The command `overview`: how a collection is, as a person reads it."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.terminal import AsJson, Kb, noted, opened, out, print_json
from app.measuring.overview import Alike, Missing, Overview, Share, day

viewing = typer.Typer()


@viewing.command()
def overview(
    ctx: typer.Context,
    kb: Kb = None,
    months: Annotated[
        int | None,
        typer.Option("--months", min=1, max=1200, help="A file is old after so many; default: app.stale_months."),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget the questions that nothing was found for, and show no report.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how a collection is: languages, formats, duplicates, old files, questions that nothing was found for."""
    from app.answering import unanswered
    from app.measuring.overview import overview as look

    with opened(ctx.obj, kb) as index:
        if forget:
            count = unanswered.forget(index.home)
            noted(ctx.obj, "questions.forget", index.name, f"{count} questions")
            if as_json:
                print_json({"forgotten": count})
            else:
                out.print(f"{count} questions are forgotten")
            return
        found = look(index, ctx.obj.config, months)
    if as_json:
        print_json(found.as_json())
    else:
        _show(found)


def _show(found: Overview) -> None:
    out.print(f"{escape(found.kb)}: {found.documents} documents, {found.chunks} passages")
    _show_shares("language", found.languages)
    _show_shares("format", found.formats)
    out.print(f"could not be read: {found.failed} files; left out: {found.left_out}")
    for row in found.unread:
        names = ", ".join(row.paths) + (f" and {more} more" if (more := row.count - len(row.paths)) else "")
        out.print(f"  {escape(names)}: {escape(row.error)}", highlight=False)
        if row.hint:
            out.print(f"    → {escape(row.hint)}", highlight=False)
    among = f" among the {found.compared} that came last" if found.compared < found.documents else ""
    newer = f"; of {found.superseded} a newer one is there" if found.superseded else ""
    out.print(f"near-identical: {found.duplicates} files{among}{newer}")
    for group in found.alike:
        _show_alike(group)
    out.print(f"not changed for {found.months} months: {found.old_files} files")
    for old in found.old:
        out.print(f"  {_day(old.changed)}  {escape(old.path)}", highlight=False)
    _show_missing(found)


def _show_shares(title: str, shares: tuple[Share, ...]) -> None:
    table = Table(box=None)
    for head in (title, "files", "passages", "pages"):
        table.add_column(head)
    for row in shares:
        table.add_row(escape(row.name or "-"), str(row.files), str(row.chunks), str(row.pages or "-"))
    out.print(table)


def _show_alike(group: Alike) -> None:
    first, *others = group.files
    out.print(f"  {escape(first.path)} ({_day(first.changed)})", highlight=False)
    for other in others:
        said = f"{other.likeness:.0%} the same" + (", older" if other.older else "")
        out.print(f"    {escape(other.path)} ({_day(other.changed)}): {said}", highlight=False)
    if more := group.count - len(group.files):
        out.print(f"    and {more} more")


def _show_missing(found: Overview) -> None:
    out.print(f"questions that nothing was found for: {found.wordings}")
    if not found.kept:
        out.print("  no more are kept now: app.keep_unanswered is off")
    for group in found.missing:
        _show_group(group)


def _show_group(group: Missing) -> None:
    first, *others = group.questions
    times = "once" if group.asked == 1 else f"{group.asked} times"
    out.print(f"  {escape(first)}: {times}, last on {_day(group.last)}", highlight=False)
    for other in others:
        out.print(f"    also: {escape(other)}", highlight=False)
    if more := len(group.ids) - len(group.questions):
        out.print(f"    and in {more} other wordings")
    if near := group.nearest:
        place = " › ".join([near.path, *near.headings])
        said = "which was read since" if near.read_since else "which does not answer it"
        out.print(f"    nearest: {escape(place)}, {said}", highlight=False)


def _day(seconds: float) -> str:
    return day(seconds) or "-"
