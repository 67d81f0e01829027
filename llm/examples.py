"""What a model is trained on: conversations, and preferences between two answers; as JSONL, one object a line.

Conversations are in OpenAI's chat format with fields of our own beside `messages`, preferences in the conversational
form of TRL (`prompt`, `chosen`, `rejected`). Other tools read both as they are.
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


def examples_file(side: str) -> str:
    """The name of the file with a side's conversations, in the folder of a data set."""
    return f"{side}.jsonl"


def preferences_file(side: str) -> str:
    """The name of the file with a side's preferences; it is there where there are any."""
    return f"preferences-{side}.jsonl"


def read_examples(file: Path) -> list[Example]:
    """The conversations of a file. Raises `DatasetError` naming file, line and what is wrong there."""
    return _read(file, Example)


def read_preferences(file: Path) -> list[Preference]:
    """The preferences of a file. Raises `DatasetError` naming file, line and what is wrong there."""
    return _read(file, Preference)


def write_rows(file: Path, rows: Iterable[Example | Preference]) -> None:
    """Write conversations or preferences, whole or not at all. Raises `OSError`."""
    write_whole(file, "".join(row.model_dump_json() + "\n" for row in rows))


_Form = TypeVar("_Form", Example, Preference)


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
