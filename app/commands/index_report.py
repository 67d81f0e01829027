"""What the commands that keep knowledge bases print: documents, failures, what was done or would be done."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.commands.terminal import err, out, print_json
from app.keeping.folders import shower
from app.messages.texts import TEXTS
from core.types import Card, FileError

if TYPE_CHECKING:
    from app.keeping.index import Report
    from app.keeping.plan import Forecast

_FEW = 10  # skipped files that are named one by one
_UNBOUNDED = 10_000  # columns of a table that is read by another program
_WORDS = ("file", "language", "encoding", "notes")  # columns of words; in the others are numbers


def show_documents(cards: Sequence[Card], folders: Sequence[str]) -> None:
    """A table of report cards; columns in which nothing stands are left out."""
    shown = shower(folders)
    rows: list[dict[str, Any]] = []
    for card in cards:
        notes = [*card.notes, *([f"stale: {card.stale}"] if card.stale else [])]
        if card.empty_pages:
            notes.append(f"no text on pages {', '.join(map(str, card.empty_pages))}")
        rows.append(
            {
                "file": shown(card.folder, card.path), "language": card.language, "pages": card.pages,
                "chunks": card.chunks, "characters": card.characters, "tables": card.tables,
                "OCR pages": len(card.ocr_pages), "encoding": card.encoding, "notes": "; ".join(notes),
            }
        )  # fmt: skip
    table = Table(box=None)
    columns = [name for name in (rows[0] if rows else ()) if any(row[name] for row in rows)]
    for name in columns:
        least = min(max(len(str(row[name])) for row in rows), out.width // 2) if name == "file" else None
        justify = "left" if name in _WORDS else "right"
        table.add_column(name, overflow="fold", min_width=least, no_wrap=name not in ("file", "notes"), justify=justify)
    for row in rows:
        table.add_row(*(escape(str(row[name] or "")) for name in columns))
    (out if out.is_terminal else Console(file=out.file, width=_UNBOUNDED)).print(table)


def show_failures(failures: Iterable[FileError], folders: Sequence[str], to: Console = err) -> None:
    """What could not be read, why, and what to do."""
    shown = shower(folders)
    for failure in failures:
        about = "" if failure.path == failure.folder else f"{shown(failure.folder, failure.path)!r}: "
        to.print(f"[red]✗[/red] {escape(about + failure.error)}", highlight=False)
        if failure.hint:
            to.print(f"  → {escape(failure.hint)}", highlight=False)


def show_report(report: "Report", kb: str, folders: Sequence[str], to: Console = out, *, silent: bool = False) -> None:
    """What a run did, with what failed and, where these are few, what was skipped."""
    show_failures(report.fresh, folders)
    if known := len(report.failed) - len(report.fresh):
        files = "1 file" if known == 1 else f"{known} files"
        err.print(f"note: {files} could not be read before, either: `ragstone files --kb {escape(kb)}` says why")
    shown = shower(folders)
    for skipped in report.skipped if len(report.skipped) <= _FEW else ():
        err.print(
            f"skipped {escape(repr(shown(skipped.folder, skipped.path)))}: {escape(skipped.error)}", highlight=False
        )
    for note in report.notes:
        err.print(f"note: {escape(note)}", highlight=False)
    if not silent:
        to.print(
            f"{report.added} added, {report.changed} changed, {report.moved} moved, {report.deleted} deleted, "
            f"{f'{report.named} given tags or a date, ' if report.named else ''}"
            f"{report.unchanged} unchanged, {len(report.failed)} failed, {len(report.skipped)} skipped; "
            f"{report.embedded} embedded, {report.chunks} chunks in {kb!r}, {report.seconds:.1f} s",
            highlight=False,
        )  # fmt: skip


def show_forecast(result: "Forecast", as_json: bool) -> None:
    """What a run would do, file by file, and what it would cost."""
    plans = result.plans.items()
    rows: dict[str, list[dict[str, Any]]] = {
        "added": [{"folder": f, "path": e.path} for f, p in plans for e in p.added],
        "changed": [{"folder": f, "path": e.path} for f, p in plans for _, e in p.changed],
        "moved": [{"folder": f, "path": new.path, "from": old.path} for f, p in plans for old, new in p.moved],
        "deleted": [{"folder": f, "path": e.path} for f, p in plans for e in p.deleted],
        "failed": [asdict(error) for _, p in plans for error in p.failed],
    }
    unchanged = sum(p.unchanged for _, p in plans)
    if as_json:
        cost = {
            "chunks": result.chunks, "embed": result.embed, "seconds": round(result.seconds, 1), "exact": result.exact,
        }  # fmt: skip
        print_json(
            rows | {"unchanged": unchanged} | cost | ({"switch": asdict(result.switch)} if result.switch else {})
        )
        return
    shown = shower(list(result.plans))
    for what, items in rows.items():
        for item in items:
            folder = item["folder"]
            text = folder if item["path"] == folder else shown(folder, item["path"])
            text = f"{shown(folder, item['from'])} -> {text}" if "from" in item else text
            text = f"{text}: {item['error']}" if "error" in item else text
            out.print(f"{what:8} {escape(text)}", highlight=False)
    about = "" if result.exact else "about "
    out.print(", ".join(f"{len(items)} {what}" for what, items in rows.items()) + f", {unchanged} unchanged")
    out.print(f"{about}{result.chunks} chunks, {about}{result.embed} to embed, about {result.seconds:.0f} s here")
    if switch := result.switch:
        gain = ", ".join(f"{count} in {TEXTS['en'].get(f'lang_{code}', code)}" for code, count in switch.read.items())
        found = f"passages that are found by words only would be found by meaning too: {gain}; " if gain else ""
        out.print(
            f"made with {switch.old}; today's default is {switch.new}: {found}`--rebuild` embeds {switch.chunks} "
            f"chunks anew, about {switch.seconds:.0f} s here, while the old ones answer",
            highlight=False,
        )
