"""Conversations in other tools' files -> `Example`s: Alpaca, ShareGPT and OpenAI chat, as JSONL or as one JSON array.

Alpaca: `instruction`, `input`, `output` (Taori et al. 2023), with LLaMA-Factory's `system` and `history`. ShareGPT:
`conversations` of {"from", "value"}. OpenAI: `messages` of {"role", "content"}, as its fine-tuning API takes them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from core.errors import DatasetError
from core.text import digest
from llm.examples import Example, Message

Format = Literal["alpaca", "sharegpt", "openai"]
Turns = list[tuple[str, str]]  # (role, content)

_KEY: dict[Format, str] = {"openai": "messages", "sharegpt": "conversations", "alpaca": "instruction"}
_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
_LARGEST = 1 << 30  # bytes of a file
_MEND = "mend or delete that row; nothing was imported"


@dataclass(frozen=True, slots=True)
class Imported:
    """The conversations of a file; `empty` names the rows that were left out as something in them is empty."""

    format: Format
    examples: tuple[Example, ...]
    empty: tuple[str, ...]


def read_chats(file: Path, format: Format | None = None) -> Imported:
    """Read a file of conversations; system prompts and earlier turns are kept.

    Without a format the keys of the first row tell it. Raises `DatasetError` naming the row for what is malformed, has
    tools or roles out of order, and where no row is left.
    """
    found = format
    examples: list[Example] = []
    empty: list[str] = []
    for where, row in _rows(file):
        if not isinstance(row, dict):
            raise DatasetError(f"{where}: a row is an object, not {row!r:.80}", _MEND)
        found = found or _format_of(where, row)
        turns = _READERS[found](where, row)
        _check_order(where, turns)
        if all(content.strip() for _, content in turns):
            examples.append(_example(where, turns, found))
        else:
            empty.append(where.removeprefix(f"{file}: "))
    if found is None or not examples:
        what = f"all {len(empty)} rows have an empty message or answer" if empty else "it holds no row"
        raise DatasetError(f"{str(file)!r} gives nothing to train on: {what}", "give a file with conversations")
    return Imported(found, tuple(examples), tuple(empty))


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Each row with where it stands."""
    try:
        if file.stat().st_size > _LARGEST:
            raise DatasetError(f"{str(file)!r} is larger than {_LARGEST >> 30} GiB", "cut it into several files")
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DatasetError(f"{str(file)!r} cannot be read: {reason}", "give a JSON or JSONL file in UTF-8") from None
    if text.lstrip().startswith("["):
        for number, row in enumerate(_parsed(str(file), text), start=1):
            yield f"{file}: row {number}", row
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{file}: line {number}", _parsed(f"{file}: line {number}", line)


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DatasetError(f"{where}: nested too deeply", _MEND) from None
    except ValueError as error:
        raise DatasetError(f"{where}: not JSON: {error}", "give one JSON array, or one object a line") from None


def _format_of(where: str, row: Mapping[str, Any]) -> Format:
    for format, key in _KEY.items():
        if key in row:
            return format
    keys = ", ".join(map(repr, list(row)[:8]))
    raise DatasetError(
        f"{where}: none of the known formats has the keys {keys or '(none)'}",
        f"a row holds one of {', '.join(map(repr, _KEY.values()))}; or name the format with --format",
    )


def _example(where: str, turns: Turns, format: Format) -> Example:
    try:
        messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in turns)
    except ValidationError as error:  # half a surrogate pair is no text
        raise DatasetError(f"{where}: {error.errors()[0]['msg']}", _MEND) from None
    identity = digest(json.dumps(turns, ensure_ascii=False)).hex()[:10]
    return Example(id=identity, messages=messages, kind="chat", origin=f"import:{format}")


def _check_order(where: str, turns: Turns) -> None:
    """Raise `DatasetError` unless the turns are: at most one of the system's, then user and assistant in turn."""
    roles = [role for role, _ in turns]
    said = roles[1:] if roles[:1] == ["system"] else roles
    if not said or said != ["user", "assistant"] * (len(said) // 2):
        order = ", ".join(roles[:8]) or "no message"
        raise DatasetError(
            f"{where}: roles in the order {order}; expected: system or not, then user and assistant in turn, the "
            "assistant last",
            _MEND,
        )


# --- the formats -----------------------------------------------------------------------------------------------------


def _alpaca(where: str, row: Mapping[str, Any]) -> Turns:
    instruction, context = _text(where, row, "instruction"), _text(where, row, "input", optional=True)
    turns: Turns = []
    if system := _text(where, row, "system", optional=True):
        turns.append(("system", system))
    for pair in _list(where, row, "history", optional=True):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(said, str) for said in pair):
            raise DatasetError(f"{where}: 'history' holds pairs of question and answer, not {pair!r:.80}", _MEND)
        turns += [("user", pair[0]), ("assistant", pair[1])]
    asked = "\n\n".join(part for part in (instruction, context) if part.strip())
    return [*turns, ("user", asked), ("assistant", _text(where, row, "output"))]


def _sharegpt(where: str, row: Mapping[str, Any]) -> Turns:
    turns = _messages(where, row, "conversations", "from", "value")
    system = _text(where, row, "system", optional=True)
    return [("system", system), *turns] if system else turns


def _openai(where: str, row: Mapping[str, Any]) -> Turns:
    return _messages(where, row, "messages", "role", "content")


_READERS: dict[Format, Callable[[str, Mapping[str, Any]], Turns]] = {
    "alpaca": _alpaca, "sharegpt": _sharegpt, "openai": _openai,
}  # fmt: skip
assert set(_READERS) == set(get_args(Format))


def _messages(where: str, row: Mapping[str, Any], key: str, role_key: str, text_key: str) -> Turns:
    if used := [name for name in ("tools", "functions") if row.get(name)]:
        raise DatasetError(f"{where}: {used[0]!r}: conversations with tools cannot be imported", _MEND)
    turns: Turns = []
    for number, message in enumerate(_list(where, row, key), start=1):
        place = f"{where}, message {number}"
        if not isinstance(message, dict):
            raise DatasetError(f"{place}: expected an object, not {message!r:.80}", _MEND)
        if used := [name for name in ("tool_calls", "function_call") if message.get(name)]:
            raise DatasetError(f"{place}: {used[0]!r}: conversations with tools cannot be imported", _MEND)
        role = _text(place, message, role_key)
        if role not in _ROLES:
            raise DatasetError(f"{place}: unknown role {role!r:.80} (known: {', '.join(_ROLES)})", _MEND)
        turns.append((_ROLES[role], _text(place, message, text_key)))
    return turns


def _text(where: str, row: Mapping[str, Any], key: str, *, optional: bool = False) -> str:
    if key not in row and not optional:
        raise DatasetError(f"{where}: {key!r} is missing", _MEND)
    value = row.get(key)
    if value is None:  # as some tools write what is empty
        return ""
    if not isinstance(value, str):
        raise DatasetError(f"{where}: {key!r} is text, not {value!r:.80}", _MEND)
    return value


def _list(where: str, row: Mapping[str, Any], key: str, *, optional: bool = False) -> list[Any]:
    value = row.get(key)
    if isinstance(value, list):
        return value
    if optional and value is None:
        return []
    raise DatasetError(f"{where}: {key!r} is a list, not {value!r:.80}", _MEND)
