"""Votes on answers, data/<kb>/votes.jsonl: one row a vote, appended, never changed; and what can be learnt from them.

An up-vote or a correction is an example; a correction beside the answer it corrects is a preference, and so are an
answer that was liked and one that was disliked after the same prompt.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.answering.answer import NO_ANSWER, NOT_COVERED
from app.answering.plan import request
from app.training.shown import passages, question, words
from core.config import Config
from core.errors import DatasetError
from core.files import write_whole
from core.types import Turn
from llm.examples import Example, Message, Preference, Rating
from prompts.context import keep_known
from prompts.delimiters import in_line
from retrieval.home import check_name

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

FILE = "votes.jsonl"
_LOCK_WAIT_S = 10.0
_SOURCE = re.compile(r'<source n="(\d+)" path="([^"\n]*)"')  # as prompts.context.render writes it
_BODY = re.compile(r'^<source n="(\d+)" path=[^\n]*>\n(.*?)\n</source>$', re.DOTALL | re.MULTILINE)
ROLES: dict[str, Literal["system", "user", "assistant"]] = {"system": "system", "human": "user", "ai": "assistant"}
_Text = Annotated[str, StringConstraints(pattern=r"\S")]


class Vote(BaseModel):
    """What a person said of an answer.

    `prompt` are the messages as the model was sent them, `answer` as it was shown, `correction` what should have been
    said, `file` the source file it is about ("" where there is none), `time` in ISO 8601,
    `variant` of an A/B comparison.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[\w.:-]{1,64}$")]
    time: str
    question: _Text
    prompt: Annotated[tuple[Message, ...], Field(min_length=1)]
    answer: _Text
    vote: Literal["up", "down"]
    correction: _Text | None = None
    reason: str | None = None
    file: str = ""
    model: str = ""
    variant: Literal["", "A", "B"] = ""


def votes_file(data: Path, kb: str) -> Path:
    """Where the votes of a knowledge base are. Raises `CatalogError` for a name that cannot be one's."""
    return data / check_name(kb) / FILE


def add_vote(file: Path, vote: Vote) -> None:
    """Append a vote and have the disk keep it; a line that a crash tore off before is ended first.

    Raises `DatasetError` where the disk refuses, or another process holds the file for ten seconds.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.with_name("votes.lock"), timeout=_LOCK_WAIT_S), file.open("a+b") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(size - 1, 0))
            torn = size and handle.read(1) != b"\n"
            handle.write((b"\n" if torn else b"") + vote.model_dump_json().encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    except filelock.Timeout:
        raise DatasetError(f"{str(file)!r} is being written by another process", "try again") from None
    except OSError as error:
        raise DatasetError(
            f"{str(file)!r} cannot be written: {error.strerror}", "check free space and permissions"
        ) from error


def forget(file: Path, documents: Collection[str] | None, erased: Collection[str] = ()) -> list[str]:
    """Drop the votes whose prompts quote a file that is not among `documents` (None: any may be quoted), and those of
    the ids `erased`; returns the ids of all of them.
    """
    there = None if documents is None else {in_line(path) for path in documents}

    def is_gone(vote: Vote) -> bool:
        quoted = {in_line(path) for path in quoted_files(vote.prompt)}
        return vote.id in erased or (there is not None and not quoted <= there)

    gone = [vote for vote in read_votes(file) if is_gone(vote)]
    if gone:
        with filelock.FileLock(file.with_name("votes.lock"), timeout=_LOCK_WAIT_S):
            lines = (vote.model_dump_json() + "\n" for vote in read_votes(file) if vote not in gone)
            write_whole(file, "".join(lines))
    return [vote.id for vote in gone]


def read_votes(file: Path) -> list[Vote]:
    """The votes in the order of their ids' first rows; none where there is no file. Of one id the last row counts.

    A line that a crash tore off is no vote.
    Raises `DatasetError` naming the line that is whole and no vote.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"{str(file)!r} cannot be read: {error.strerror}", "check its permissions") from None
    votes: dict[str, Vote] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            vote = Vote.model_validate_json(line)
            votes[vote.id] = vote
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid" and (number == len(lines) or "EOF while parsing" in first["msg"]):
                continue
            where = ".".join(map(str, first["loc"]))
            raise DatasetError(f"{file}:{number}: {where}: {first['msg']}", "mend or delete that line") from None
    return list(votes.values())


def learnt(votes: Iterable[Vote]) -> tuple[list[Example], list[Preference], Counter[str]]:
    """The examples and preferences that votes give, and how many votes give none, by reason."""
    examples: list[Example] = []
    preferences: list[Preference] = []
    left = Counter[str]()
    ordered = sorted(votes, key=lambda vote: (_said(vote.prompt), vote.time, vote.id))
    for _, same in groupby(ordered, key=lambda vote: _said(vote.prompt)):
        group = list(same)
        liked = {_model_words(v.answer): v for v in group if v.vote == "up" and not v.correction}
        disliked = {_model_words(v.answer): v for v in group if v.vote == "down" and not v.correction}
        disputed = liked.keys() & disliked.keys()
        left["liked by one, disliked by another"] += sum(_model_words(v.answer) in disputed for v in group)
        liked = {text: v for text, v in liked.items() if text not in disputed}
        disliked = {text: v for text, v in disliked.items() if text not in disputed}
        corrected = {_corrected(v): v for v in group if v.correction}
        examples += [_example(vote, text) for text, vote in {**liked, **corrected}.items()]
        preferences += [
            _preference(v, text, _model_words(v.answer), f"{v.id}-corrected") for text, v in corrected.items()
        ]
        preferences += [
            _preference(no, good, bad, f"{yes.id}-{no.id}")
            for (good, yes), (bad, no) in product(liked.items(), disliked.items())
        ]
        if not liked:
            left["disliked, without a correction or another answer that was liked"] += len(disliked)
    return examples, [p for p in preferences if p.chosen[0].content != p.rejected[0].content], +left


def rated(votes: Iterable[Vote]) -> list[Rating]:
    """Each answer that people agree about, once after the same prompt: liked or corrected to, disliked or corrected."""
    found: dict[tuple[tuple[tuple[str, str], ...], str], set[bool]] = {}
    by: dict[tuple[tuple[tuple[str, str], ...], str], Vote] = {}
    for vote in sorted(votes, key=lambda vote: (vote.time, vote.id)):
        said = [(_model_words(vote.answer), vote.vote == "up" and not vote.correction)]
        said += [(_corrected(vote), True)] if vote.correction else []
        for text, label in said:
            found.setdefault((_said(vote.prompt), text), set()).add(label)
            by[_said(vote.prompt), text] = vote
    return [
        Rating(
            id=f"{by[key].id}-{'good' if label else 'bad'}", prompt=by[key].prompt, completion=(_assistant(key[1]),),
            label=label, file=by[key].file, origin="vote",
        )
        for key, labels in found.items() if len(labels) == 1 for label in labels
    ]  # fmt: skip


def as_served(cfg: Config, prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    """A prompt that was sent, as it would be sent today: the same sources and turns in the present answer prompt."""
    sources = passages(prompt)
    shown = any(words(message) != message.content.strip() for message in prompt[1:-1])  # in demonstrations
    if not sources or shown or prompt[0].role != "system" or prompt[-1].role != "user":
        return prompt
    history = [Turn(m.role, m.content) for m in prompt[1:-1] if m.role != "system"]
    return sent(request(cfg, question(prompt), sources, history))


def sent(messages: "Sequence[BaseMessage]") -> tuple[Message, ...]:
    """Messages as the model's server is sent them."""
    return tuple(Message(role=ROLES[m.type], content=str(m.content)) for m in messages)


def quoted_files(messages: Sequence[Message]) -> frozenset[str]:
    """The files whose passages stand in a prompt, their paths as `context.render` writes them."""
    return frozenset(path for message in messages for _, path in _SOURCE.findall(message.content))


def _said(prompt: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message.role, message.content) for message in prompt)


def _model_words(answer: str) -> str:
    """An answer as the model gives it: what a reader is told where nothing was found is no model's text."""
    return NO_ANSWER if answer.strip() in NOT_COVERED.values() else answer.strip()


def _corrected(vote: Vote) -> str:
    """A correction whose marks point to passages that the prompt has."""
    shown = (
        vote.prompt[0],
        vote.prompt[-1],
    )  # passages stand with the rules or the question
    known = {int(n): body for message in shown for n, body in _BODY.findall(message.content)}
    return _model_words(keep_known(vote.correction or "", known))


def _example(vote: Vote, answer: str) -> Example:
    kind = "refusal" if answer == NO_ANSWER else "answer"
    messages = (*vote.prompt, _assistant(answer))
    return Example(id=vote.id, messages=messages, file=vote.file, kind=kind, origin="vote")


def _preference(vote: Vote, chosen: str, rejected: str, identity: str) -> Preference:
    pair = ((_assistant(chosen),), (_assistant(rejected),))
    return Preference(id=identity, prompt=vote.prompt, chosen=pair[0], rejected=pair[1], file=vote.file, origin="vote")


def _assistant(text: str) -> Message:
    return Message(role="assistant", content=text)
