"""Review of a data set: review.md, which a person edits, and the status of the rows in the JSONL files beside it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from app.training.shown import passages, question
from core.errors import DatasetError
from core.files import write_whole
from llm.examples import (
    SIDES,
    Example,
    Message,
    Preference,
    Rating,
    Status,
    examples_file,
    preferences_file,
    ratings_file,
    read_examples,
    read_preferences,
    read_ratings,
    write_rows,
)
from prompts.context import quote
from prompts.marks import spans

SHEET = "review.md"
_MARKS: dict[str, Status] = {" ": "draft", "x": "approved", "X": "approved", "-": "rejected"}
_BOX: dict[Status, str] = {"draft": " ", "approved": "x", "rejected": "-"}
_ITEM = re.compile(r"- \[(.)\] `([^`]+)`")
_SOURCE = re.compile(r'^<source n="(\d+)" path="([^"\n]*)"[^\n]*>\n(.*?)\n</source>$', re.DOTALL | re.MULTILINE)
_INDENT = "    "


_Row = TypeVar("_Row", Example, Preference, Rating)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the sheet says of a row: `answer` as it stands there, None for a preference and a rating."""

    line: int
    status: Status
    answer: str | None


def review(
    folder: Path, approve: Collection[str] = (), reject: Collection[str] = (), *, rest: Status | None = None
) -> list[Example | Preference | Rating]:
    """Take over what review.md says, then what is approved and rejected by id, and `rest` for every draft left.

    Returns all rows, and writes the sheet anew where there is one. Raises `DatasetError` for an id that is not there, a
    mark or an answer that cannot be meant; then nothing changes.
    """
    conversations = {side: folder / examples_file(side) for side in SIDES}
    pairs = {side: folder / preferences_file(side) for side in SIDES}
    rated = {side: folder / ratings_file(side) for side in SIDES}
    examples = {side: read_examples(file) for side, file in conversations.items() if file.exists()}
    preferences = {side: read_preferences(file) for side, file in pairs.items() if file.exists()}
    ratings = {side: read_ratings(file) for side, file in rated.items() if file.exists()}
    if not examples:
        raise DatasetError(f"there is no data set in {str(folder)!r}", "make it with `ragstone dataset make`")
    known = {row.id for row in chain(*examples.values(), *preferences.values(), *ratings.values())}
    if unknown := sorted({*approve, *reject} - known):
        raise DatasetError(f"{folder.name!r} has no row {', '.join(unknown)}", "see `ragstone dataset review`")
    verdicts = _read_sheet(folder / SHEET, known)

    def judged(row: _Row) -> _Row:
        return _judged(folder, row, verdicts.get(row.id), approve, reject, rest)

    examples = {side: [judged(row) for row in found] for side, found in examples.items()}
    preferences = {side: [judged(row) for row in found] for side, found in preferences.items()}
    ratings = {side: [judged(row) for row in found] for side, found in ratings.items()}
    try:
        for side, found in examples.items():
            write_rows(conversations[side], found)
        for side, found in preferences.items():
            write_rows(pairs[side], found)
        for side, found in ratings.items():
            write_rows(rated[side], found)
        if (folder / SHEET).exists():
            write_whole(folder / SHEET, sheet(folder.name, examples, preferences, ratings))
    except OSError as error:
        raise DatasetError(f"{str(folder)!r} cannot be written: {error.strerror}", "check free space") from error
    return [*chain(*examples.values(), *preferences.values(), *ratings.values())]


def sheet(
    name: str, examples: Mapping[str, Sequence[Example]], preferences: Mapping[str, Sequence[Preference]],
    ratings: Mapping[str, Sequence[Rating]],
) -> str:  # fmt: skip
    """review.md: every row with a box for the verdict, its question, what its answer rests on, and the answer."""
    lines = [
        f"# Review of {name}", "",
        "Write `x` in a box to approve, `-` to reject. Correct an answer where it stands, indented as it is.",
        f"Then run `ragstone dataset review {name}`.",
    ]  # fmt: skip
    for side, found in examples.items():
        lines += ["", f"## {side}"] if found else []
        for example in found:
            asked, answer = _one_line(question(example.prompt)), _indented(example.answer)
            lines += ["", _head(example, example.kind), f"  - Question: {asked}", *_evidence(example)]
            lines += ["  - Answer:", "", *answer]
    for side, found in preferences.items():
        lines += ["", f"## Preferences of {side}"] if found else []
        for pair in found:
            better, worse = _indented(pair.chosen[0].content), _indented(pair.rejected[0].content)
            lines += ["", _head(pair, "preference"), f"  - Question: {_one_line(question(pair.prompt))}"]
            lines += ["  - Better:", "", *better, "  - Worse:", "", *worse]
    for side, found in ratings.items():
        lines += ["", f"## Ratings of {side}"] if found else []
        for rating in found:
            lines += ["", _head(rating, "found good" if rating.label else "found bad")]
            lines += [f"  - Question: {_one_line(question(rating.prompt))}"]
            lines += ["  - Rated:", "", *_indented(rating.completion[0].content)]
    return "\n".join(lines) + "\n"


def _head(row: Example | Preference | Rating, kind: str) -> str:
    return f"- [{_BOX[row.status]}] `{row.id}` {', '.join(filter(None, (kind, row.origin, row.file)))}"


def _evidence(example: Example) -> Iterator[str]:
    """The sentence that each mark of the answer points to."""
    bodies = {int(n): (path, body) for n, path, body in _SOURCE.findall(passages(example.prompt))}
    marks = spans(example.answer, {n: body for n, (_, body) in bodies.items()})
    for n in dict.fromkeys(n for _, _, numbers in marks for n in numbers):
        path, body = bodies[n]
        yield f"  - [{n}] {path}: {_one_line(quote(example.answer, body))}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _indented(text: str) -> list[str]:
    return [f"{_INDENT}{line}" if line.strip() else "" for line in text.split("\n")]


def _read_sheet(file: Path, known: Collection[str]) -> dict[str, _Verdict]:
    """The verdicts of review.md by id; none where there is no such file."""
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{str(file)!r} cannot be read: {error}", "save it as UTF-8") from None
    found: dict[str, _Verdict] = {}
    starts = [number for number, line in enumerate(lines) if line.startswith("- [")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        match = _ITEM.match(lines[start])
        if not match or match[1] not in _MARKS or match[2] not in known:
            raise DatasetError(
                f"{file}:{start + 1}: {lines[start][:80]!r} is no row of this data set",
                "a row is `- [x] `ID``, with x to approve, - to reject or a space; its id as it was",
            )
        found[match[2]] = _Verdict(start + 1, _MARKS[match[1]], _answer(lines[start + 1 : stop]))
    return found


def _answer(lines: Sequence[str]) -> str | None:
    """The answer below an item's first line; None where it has none."""
    if "  - Answer:" not in (line.rstrip() for line in lines):
        return None
    start = next(n for n, line in enumerate(lines, start=1) if line.rstrip() == "  - Answer:")
    rest = lines[start:]
    stop = next((n for n, line in enumerate(rest) if line.startswith(("## ", "  - "))), len(rest))
    return "\n".join(line.removeprefix(_INDENT).rstrip() for line in rest[:stop]).strip()


def _judged(
    folder: Path, row: _Row, verdict: _Verdict | None, approve: Collection[str], reject: Collection[str],
    rest: Status | None,
) -> _Row:  # fmt: skip
    """The row with its new status, and with the answer as it was corrected."""
    status = verdict.status if verdict else row.status
    if status == "draft" and rest:
        status = rest
    status = "rejected" if row.id in reject else "approved" if row.id in approve else status
    row = row if status == row.status else row.model_copy(update={"status": status})
    if not isinstance(row, Example) or verdict is None or verdict.answer is None:
        return row
    if not verdict.answer:
        where = f"{folder / SHEET}:{verdict.line}"
        raise DatasetError(f"{where}: the answer of {row.id} is empty", "write one, or reject the row with `-`")
    if verdict.answer == _answer(["  - Answer:", *_indented(row.answer)]):
        return row
    corrected = Message(role="assistant", content=verdict.answer)
    return row.model_copy(update={"messages": (*row.prompt, corrected)})
