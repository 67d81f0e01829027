"""The folder of a data set, data/datasets/<name>/: written whole or not at all, with run.json and a data card.

train.jsonl, dev.jsonl, test.jsonl       conversations (llm/examples.py)
preferences-train.jsonl, -dev, -test     pairs of answers, where there are votes
ratings-train.jsonl, -dev, -test         answers that were found good or bad, where there are votes
questions.jsonl                          the questions of the test files, in the form of a golden set
review.md                                where every row waits for a person
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from app.measuring.golden import GoldenQuestion
from app.training.review import SHEET, sheet
from app.training.shown import question
from core.errors import DatasetError
from core.files import name_folder_whole, write_whole
from core.text import language
from llm.examples import SIDES, Example, Preference, Rating, examples_file, preferences_file, ratings_file, write_rows
from prompts.context import estimate_tokens
from retrieval.metrics import percentile

_NAME = re.compile(r"[\w-][\w.-]{0,63}")
_LISTED = 50  # files of a side that the card names


@dataclass(slots=True)
class Rows:
    """What is written, by side; and what was left out, by reason."""

    examples: dict[str, list[Example]] = field(default_factory=lambda: {side: [] for side in SIDES})
    preferences: dict[str, list[Preference]] = field(default_factory=lambda: {side: [] for side in SIDES})
    ratings: dict[str, list[Rating]] = field(default_factory=lambda: {side: [] for side in SIDES})
    questions: list[GoldenQuestion] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    dev_files: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def dataset_home(data: Path, name: str) -> Path:
    """The folder of a data set. Raises `DatasetError` for a name that cannot be one's."""
    if not _NAME.fullmatch(name) or name.endswith((".", ".partial", ".lock")):
        raise DatasetError(f"{name!r} cannot name a data set", "use letters, digits, '-', '_' and '.', at most 64")
    return data.resolve() / "datasets" / name


def finished(home: Path, key: str) -> dict[str, Any] | None:
    """What run.json says where the data set is there already. Raises `DatasetError` where another one is."""
    if not home.exists():
        return None
    try:
        record = json.loads((home / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        record = {}
    if record.get("key") != key:
        raise DatasetError(
            f"{str(home)!r} holds a data set of other inputs or settings",
            "choose another --name, or remove that folder",
        )
    return record | {"skipped": True}


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the place of the one run of this name. Raises `DatasetError` where it is taken."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(home.with_name(f"{home.name}.lock"), timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise DatasetError(f"{home.name!r} is being made by another process", "choose another --name") from None
    except OSError as error:
        raise _refused(home, error) from error
    try:
        yield
    finally:
        lock.release()


def write_dataset(home: Path, record: dict[str, Any], rows: Rows, *, drafts: bool) -> dict[str, Any]:
    """Write the folder aside and give it its name; returns what run.json says.

    `drafts` waits for a person to approve each row. Raises `DatasetError` where no row is left, or the disk refuses.
    """
    if not (rows.examples["train"] or rows.preferences["train"] or rows.ratings["train"]):
        why = "; ".join(f"{count} left out: {reason}" for reason, count in (+rows.left).items())
        raise DatasetError(f"no example is left to train on ({why or 'none left out'})", "see docs/datasets.md")
    if drafts:
        draft = {"status": "draft"}
        rows.examples = {s: [e.model_copy(update=draft) for e in found] for s, found in rows.examples.items()}
        rows.preferences = {s: [p.model_copy(update=draft) for p in found] for s, found in rows.preferences.items()}
        rows.ratings = {s: [r.model_copy(update=draft) for r in found] for s, found in rows.ratings.items()}
    record = record | _described(rows)
    partial = home.with_name(f"{home.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for side in SIDES:
            write_rows(partial / examples_file(side), rows.examples[side])
            if rows.preferences[side]:
                write_rows(partial / preferences_file(side), rows.preferences[side])
            if rows.ratings[side]:
                write_rows(partial / ratings_file(side), rows.ratings[side])
        if rows.questions:
            write_whole(partial / "questions.jsonl", "".join(f"{q.line()}\n" for q in rows.questions))
        if drafts:
            write_whole(partial / SHEET, sheet(home.name, rows.examples, rows.preferences, rows.ratings))
        write_whole(partial / "README.md", _card(record))
        write_whole(partial / "run.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        name_folder_whole(partial, home)
    except OSError as error:
        raise _refused(home, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record | {"skipped": False}


def _refused(home: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{str(home.parent)!r} cannot be written: {error.strerror}", "check free space and permissions, then run again"
    )


def _described(rows: Rows) -> dict[str, Any]:
    """Counts, languages, lengths and files of what is written."""
    lengths = [float(sum(estimate_tokens(m.content) for m in e.messages)) for s in SIDES for e in rows.examples[s]]
    return {
        "counts": {side: len(rows.examples[side]) for side in SIDES},
        "preferences": {side: len(rows.preferences[side]) for side in SIDES},
        "ratings": {side: len(rows.ratings[side]) for side in SIDES},
        "questions": len(rows.questions),
        "kinds": {side: _counted(example.kind for example in rows.examples[side]) for side in SIDES},
        "origins": {side: _counted(example.origin for example in rows.examples[side]) for side in SIDES},
        "languages": _counted(language(question(e.prompt)) for side in SIDES for e in rows.examples[side]),
        "tokens": {name: round(percentile(lengths, p)) for name, p in (("median", 0.5), ("p95", 0.95), ("most", 1.0))},
        "files": {side: sorted({e.file for e in rows.examples[side]} - {""}) for side in SIDES},
        "held_out": rows.held_out, "dev_files": rows.dev_files, "left_out": dict(sorted((+rows.left).items())),
        "notes": rows.notes,
    }  # fmt: skip


def _counted(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _card(record: dict[str, Any]) -> str:
    """README.md: what a person should know before training on it."""
    made = f"from knowledge base `{record['kb']}`" if "kb" in record else f"from `{next(iter(record['inputs']))}`"
    lines = [
        f"# Data set {record['name']}", "",
        f"Made by `ragstone dataset` {record['versions']['ragstone']} {made}, seed {record['seed']}.", "",
        "| side | conversations | kinds | origins | preferences | ratings |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for side in SIDES:
        kinds, origins = _told(record["kinds"][side]), _told(record["origins"][side])
        pairs, rated = record["preferences"][side], record["ratings"][side]
        lines.append(f"| {side} | {record['counts'][side]} | {kinds} | {origins} | {pairs} | {rated} |")
    tokens = record["tokens"]
    lines += [
        "", f"- Languages of the questions: {_told(record['languages'])}",
        f"- Tokens of a conversation, estimated: median {tokens['median']}, 95% below {tokens['p95']}, most "
        f"{tokens['most']}",
    ]  # fmt: skip
    if prompt := record.get("prompt"):
        lines += [
            f"- Prompt: `{prompt['name']}` v{prompt['version']:03d}, id `{prompt['id']}`",
            f"- Answers: {'quoted from the documents' if record['answers'] == 'extractive' else record['answers']}",
        ]
    lines += [f"- Left out: {count}, {reason}" for reason, count in record["left_out"].items()]
    lines += [f"- Note: {note}" for note in record["notes"]]
    lines += ["", "## Settings", "", *(f"- {key}: {value}" for key, value in record["settings"].items())]
    for side in SIDES:
        files = record["files"][side]
        lines += ["", f"## Files of {side}: {len(files)}", ""] if files else []
        lines += [f"- {file}" for file in files[:_LISTED]]
        lines += [f"- and {len(files) - _LISTED} more, see run.json"] if len(files) > _LISTED else []
    lines += ["", "## Licence", "", "To be stated by you: the passages are those of your documents.", ""]
    return "\n".join(lines)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"
