"""What a model is trained on: conversations, preferences between two answers, ratings of one, and plain text; as
JSONL, one object a line.

Conversations are in OpenAI's chat format with fields of our own beside `messages`, preferences and ratings in the
conversational forms of TRL (`prompt`, `chosen`, `rejected`; `prompt`, `completion`, `label`). Other tools read them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import DatasetError
from core.files import write_whole

SIDES = ("train", "dev", "test")
Status = Literal["draft", "approved", "rejected"]
_Text = Annotated[str, StringConstraints(pattern=r"\S")]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(_Row):
    """One turn. Empty content is refused: a model that is trained on it learns to say nothing."""

    role: Literal["system", "user", "assistant"]
    content: _Text


class Example(_Row):
    """A conversation that ends in the answer to learn.

    `file` is the source file by which sets are split ("" where there is none), `kind` what the example teaches
    ("answer", "refusal", "chat"), `origin` where it is from ("golden", "drafted", "vote", "import:alpaca", ...).
    """

    id: str
    messages: Annotated[tuple[Message, ...], Field(min_length=2)]
    file: str = ""
    kind: str = "answer"
    origin: str = ""
    status: Status = "approved"

    @model_validator(mode="after")
    def _ends_in_an_answer(self) -> Self:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's: it is what is learnt")
        return self

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All but the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """What is to be learnt."""
        return self.messages[-1].content


class Preference(_Row):
    """Two answers to the same prompt, of which `chosen` is the better."""

    id: str
    prompt: Annotated[tuple[Message, ...], Field(min_length=1)]
    chosen: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1)]
    rejected: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1)]
    file: str = ""
    origin: str = ""
    status: Status = "approved"


class Rating(_Row):
    """An answer that was found good (`label`) or bad."""

    id: str
    prompt: Annotated[tuple[Message, ...], Field(min_length=1)]
    completion: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1)]
    label: bool
    file: str = ""
    origin: str = ""
    status: Status = "approved"


class Passage(_Row):
    """Text that is learnt as it stands."""

    id: str
    text: _Text
    file: str = ""
    origin: str = ""
    status: Status = "approved"


Row = Example | Preference | Rating | Passage


def examples_file(side: str) -> str:
    """The name of the file with a side's conversations, in the folder of a data set."""
    return f"{side}.jsonl"


def preferences_file(side: str) -> str:
    """The name of the file with a side's preferences; it is there where there are any."""
    return f"preferences-{side}.jsonl"


def ratings_file(side: str) -> str:
    """The name of the file with a side's ratings; it is there where there are any."""
    return f"ratings-{side}.jsonl"


def read_examples(file: Path) -> list[Example]:
    """The conversations of a file. Raises `DatasetError` naming file, line and what is wrong there."""
    return _read(file, Example)


def read_preferences(file: Path) -> list[Preference]:
    """The preferences of a file. Raises `DatasetError` naming file, line and what is wrong there."""
    return _read(file, Preference)


def read_ratings(file: Path) -> list[Rating]:
    """The ratings of a file; two of each preference where it holds these. Raises `DatasetError` as the others do."""
    try:
        return _read(file, Rating)
    except DatasetError as error:
        try:
            pairs = _read(file, Preference)
        except DatasetError:
            raise error from None
    return [
        Rating(id=f"{pair.id}-{name}", prompt=pair.prompt, completion=said, label=label, file=pair.file,
               origin=pair.origin, status=pair.status)
        for pair in pairs for name, said, label in (("chosen", pair.chosen, True), ("rejected", pair.rejected, False))
    ]  # fmt: skip


def read_passages(file: Path) -> list[Passage]:
    """The texts of a file. Raises `DatasetError` naming file, line and what is wrong there."""
    return _read(file, Passage)


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write rows, whole or not at all. Raises `OSError`."""
    write_whole(file, "".join(row.model_dump_json() + "\n" for row in rows))


_Form = TypeVar("_Form", Example, Preference, Rating, Passage)


def _read(file: Path, form: type[_Form]) -> list[_Form]:
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        hint = "give a JSONL file, as `ragstone dataset` writes it"
        raise DatasetError(f"{str(file)!r} cannot be read: {reason}", hint) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(form.model_validate(json.loads(line)))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise DatasetError(f"{file}:{number}: {where}: {first['msg']}", "mend or delete that line") from None
            except ValueError as error:
                raise DatasetError(f"{file}:{number}: not JSON: {error}", "mend or delete that line") from None
    return rows
