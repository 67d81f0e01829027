"""The report of a prompt study: what won on the dev side, and what it gains on the test side; JSON and Markdown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import EvalError
from core.files import write_whole

REPORT = "report.json"
_SHOWN_TRIALS = 20
_SHOWN_QUESTIONS = 20


def verdict(difference: Mapping[str, float]) -> str:
    """Whether it is a "gain" or a "loss", the interval all on one side of 0, or "no gain"."""
    return "gain" if difference["low"] > 0 else "loss" if difference["high"] < 0 else "no gain"


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a study; None where it has none yet. Raises `EvalError` for a damaged one."""
    try:
        report = json.loads((folder / REPORT).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EvalError(f"{str(folder / REPORT)!r} cannot be used: {error}", "remove it, and tune again") from None
    return report


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write both forms, each whole or not at all."""
    write_whole(folder / REPORT, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    write_whole(folder / "report.md", markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
    """The report to read."""
    gain, sizes = report["difference"], report["sizes"]
    lines = [
        f"# Prompt study {report['id']}: {report['verdict']}",
        "",
        f"Knowledge base {_cell(report['kb'])}, model {_cell(report['model'])}, {report['when']}.",
        f"Objective: mean of {', '.join(report['objective'])}. {report['trials_done']} trials on {sizes['dev']} "
        f"questions, {sizes['pool']} more for demonstrations.",
        f"Test: {sizes['test']} questions on documents that the search never saw.",
        "",
        f"**{gain['mean']:+.3f}** on the test side, 95% paired bootstrap interval [{gain['low']:+.3f}, "
        f"{gain['high']:+.3f}]: {gain['wins']} better, {gain['losses']} worse, {gain['ties']} equal.",
        "",
        "| test side | present | best |",
        "|---|---|---|",
        f"| prompt | {_cell(report['present']['label'])} | {_cell(report['best']['label'])} |",
        f"| objective | {report['present']['objective']:.3f} | {report['best']['objective']:.3f} |",
    ]
    present, best = report["present"]["means"], report["best"]["means"]
    lines += [f"| {name} | {present.get(name, '')} | {best.get(name, '')} |" for name in present]
    lines += ["", *(f"- {_cell(note)}" for note in report["notes"])]
    if report["command"]:
        lines += ["", "To answer the knowledge base so (nothing has changed yet):", "", f"    {report['command']}"]
    lines += ["", "## Trials, the best first", "", "| dev | prompt and settings | demonstrations |", "|---|---|---|"]
    for trial in report["trials"][:_SHOWN_TRIALS]:
        lines.append(f"| {trial['value']:.3f} | {_cell(trial['label'])} | {trial['params'].get('demos', 0)} |")
    lines += ["", "## Test questions that moved", "", "| question | present | best |", "|---|---|---|"]
    moved = [
        r
        for r in report["rows"]
        if len(r["answers"]) > 1 and r["answers"][0]["objective"] != r["answers"][1]["objective"]
    ]
    for row in moved[:_SHOWN_QUESTIONS]:
        told = [f"{a['objective']:.2f}: {_cell(a['text'][:200])}" for a in row["answers"]]
        lines.append(f"| {_cell(row['question'])} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())
