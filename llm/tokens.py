"""Conversations as token ids, in the model's own chat template, with the tokens marked that are to be learnt.

The prompt is tokenised as it is in serving, so what is trained is what is asked for there. Nothing is cut: a row that
is longer than the context is left out or refused.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import DatasetError, ModelError
from llm.examples import Example, Message, Passage, Preference, Rating, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNTRAINED = -100  # a label that no loss is computed for
# What says how text becomes ids and how an answer is drawn; not what the weights are.
_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.tiktoken", "spiece.model",
    "chat_template.*", "generation_config.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows as trl takes them: {"input_ids", "labels"}, {"prompt_ids", "chosen_ids", "rejected_ids"} or {"prompt_ids",
    "completion_ids", "label"}; of GRPO, which asks by itself, {"prompt"} as messages, with "gold" and "kind".

    `lengths` are those of the longest sequence of each row, `left_out` the ids of rows that were too long, `notes` what
    a person should know.
    """

    rows: list[dict[str, Any]]
    lengths: list[int]
    left_out: list[str]
    notes: tuple[str, ...] = ()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder. Raises `ModelError` where there is none, or none that knows a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"the tokenizer of {str(folder)!r} cannot be loaded: {reason}", "give the whole folder of the model"
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"{str(folder)!r} has no chat template: nothing says how a question is put to this model",
            "take the instruction-tuned variant of the model, or put its chat_template.jinja into the folder",
        )
    return tokenizer


def template_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of the chat template, in hex."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def carry_tokenizer(base: Path, folder: Path) -> None:
    """Copy a model's tokenizer, chat template and generation settings byte for byte over those of another folder."""
    for pattern in _TOKENIZER_FILES:
        for file in folder.glob(pattern):
            file.unlink()
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Example | Preference | Rating], most: int, *, refuse: bool
) -> Tokenized:
    """Rows as ids, only the last answer of each to be learnt.

    `most` is the longest sequence in tokens; a longer one is left out, or with `refuse` a `DatasetError`. Raises
    `ModelError` for a template that cannot be trained on.
    """
    done: list[dict[str, Any]] = []
    lengths, left_out, unended = [], [], False
    for row in rows:
        answers = _answers(row)
        prompt, *completions = _split(tokenizer, row.id, row.prompt, answers)
        length = len(prompt) + max(map(len, completions))
        if _too_long(row, length, most, refuse):
            left_out.append(row.id)
            continue
        unended |= not any(tokens[-1] in _ends(tokenizer) for tokens in completions)
        lengths.append(length)
        if isinstance(row, Example):
            labels = [UNTRAINED] * len(prompt) + completions[0]
            done.append({"input_ids": prompt + completions[0], "labels": labels})
        elif isinstance(row, Rating):
            done.append({"prompt_ids": prompt, "completion_ids": completions[0], "label": row.label})
        else:
            done.append({"prompt_ids": prompt, "chosen_ids": completions[0], "rejected_ids": completions[1]})
    notes = (_UNENDED.format(tokenizer.eos_token),) if unended else ()
    return Tokenized(done, lengths, left_out, notes)


def as_questions(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Example], most: int, room: int, *, refuse: bool
) -> Tokenized:
    """Conversations as questions that the model answers while it is trained, with `room` tokens for each answer.

    Raises as `tokenize` does.
    """
    done: list[dict[str, Any]] = []
    lengths, left_out = [], []
    for row in rows:
        length = len(_ids(tokenizer, _rendered(tokenizer, row.id, row.prompt, ask=True))) + room
        if _too_long(row, length, most, refuse):
            left_out.append(row.id)
            continue
        lengths.append(length)
        asked = [message.model_dump() for message in row.prompt]
        done.append({"prompt": asked, "gold": row.answer, "kind": row.kind})
    return Tokenized(done, lengths, left_out)


def windows(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Passage], most: int) -> Tokenized:
    """Plain text as ids, all of them to be learnt, a text that is longer than `most` in several rows."""
    end = tokenizer.eos_token_id
    done: list[dict[str, Any]] = []
    for row in rows:
        ids = _ids(tokenizer, row.text) + ([end] if isinstance(end, int) else [])
        count = -(-len(ids) // most)
        bounds = [len(ids) * n // count for n in range(count + 1)]  # alike in length, so that no token is left alone
        done += [{"input_ids": ids[a:b], "labels": ids[a:b]} for a, b in pairwise(bounds) if b - a > 1]
    return Tokenized(done, [len(row["input_ids"]) for row in done], [])


def _answers(row: Example | Preference | Rating) -> Sequence[Sequence[Message]]:
    if isinstance(row, Example):
        return (row.messages[-1:],)
    return (row.completion,) if isinstance(row, Rating) else (row.chosen, row.rejected)


def _too_long(row: Row, length: int, most: int, refuse: bool) -> bool:
    if length > most and refuse:
        raise DatasetError(
            f"row {row.id!r} has {length} tokens, and the model's context here is {most}",
            "shorten it, raise --max-length where the model allows it, or leave --too-long at leave-out",
        )
    return length > most


_UNENDED = "the chat template ends an answer in another token than the tokenizer's end {!r}: served, it may not stop"


def _split(
    tokenizer: "PreTrainedTokenizerBase", row: str, prompt: Sequence[Message], answers: Sequence[Sequence[Message]]
) -> list[list[int]]:
    """The ids of the prompt as it is asked, then of each answer with the token that ends it."""
    asked = _rendered(tokenizer, row, prompt, ask=True)
    head = _ids(tokenizer, asked)
    parts = [head]
    for answer in answers:
        whole = _rendered(tokenizer, row, [*prompt, *answer], ask=False)
        if not whole.startswith(asked):
            raise ModelError(
                f"the chat template renders row {row!r} otherwise with its answer than without: what would be trained "
                "is not what is asked in serving",
                "take another model, or mend its chat template: with the answer, it must begin as without it",
            )
        ids = _ids(tokenizer, whole)
        # Where tokens merge across the border, serving still ends its prompt there: so does training.
        tail = ids[len(head) :] if ids[: len(head)] == head else _ids(tokenizer, whole[len(asked) :])
        last = max((place for place, token in enumerate(tail) if token in _ends(tokenizer)), default=len(tail) - 1)
        parts.append(tail[: last + 1])
    return parts


def _rendered(tokenizer: "PreTrainedTokenizerBase", row: str, messages: Sequence[Message], *, ask: bool) -> str:
    from jinja2 import TemplateError

    turns: list[dict[str, Any]] = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
    except (TemplateError, TypeError, ValueError) as error:
        raise ModelError(
            f"the chat template cannot render row {row!r} ({', '.join(turn['role'] for turn in turns)}): {error}",
            "bring the row into the form that the template allows, or take another model",
        ) from error


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _ends(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    end = tokenizer.eos_token_id
    return {end} if isinstance(end, int) else set()
