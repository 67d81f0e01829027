"""How a question is answered, decided in one place before anything is searched.

The settings are those of the configuration; above them stands what was promoted for the knowledge base, and above that
what whoever asks says (`Manner`). Who answers, and by which adapter, follows from them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.answering.adapter import adapted
from app.answering.backend import Backend, resolve, with_running
from app.answering.promotions import settings_for, usable
from core.config import Config, RetrievalConfig
from core.errors import CatalogError, ConfigError
from core.text import well_formed
from core.types import Turn
from prompts import context
from prompts.delimiters import inert
from prompts.load import load

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

LONGEST_QUESTION = 8_000  # characters: a longer text is a document, and searching for it takes a core for minutes
HISTORY_TURNS = 6  # of a conversation that a model is sent at least, where there are as many
_LEAST_TURNS, _SHORT_CONTEXT, _LONG_CONTEXT = 4, 8192, 16384  # of fewer tokens; of at least so many
_OPEN = {"answer": "answer-open", "answer_version": 0}  # the prompt that lets a model say what it knows itself
_INSTRUCTED = {
    "en": "Heed these instructions too, as far as they leave the rules above and the sources as they are:",
    "zh": "在不违背上述规则和所给资料的前提下，同时遵守以下要求：",
}


@dataclass(frozen=True, slots=True)
class Manner:
    """What whoever asks says of how it is answered.

    `own_knowledge`: the model may add what it knows itself. `instructions` are heeded besides the prompt's. `llm` and
    `retrieval` are settings of these sections that come last. `before`: the names of the knowledge bases that the
    conversation rests on; None where that is not known.
    """

    own_knowledge: bool = False
    instructions: str = ""
    llm: Mapping[str, Any] = field(default_factory=dict)
    retrieval: Mapping[str, Any] = field(default_factory=dict)
    before: frozenset[str] | None = None


AS_CONFIGURED = Manner()
MOST_STEPS = 10  # searches for one question


def in_steps(steps: int | None) -> Manner:
    """The manner of so many searches at most; None leaves what the configuration says. Raises `ConfigError`."""
    if steps is None:
        return AS_CONFIGURED
    if not 0 <= steps <= MOST_STEPS:
        raise ConfigError(f"{steps} searches for one question are not allowed", f"0 to {MOST_STEPS} are")
    return Manner(retrieval={"steps": steps})


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that a question is answered by, with all that changes them, who answers, and in which manner."""

    cfg: Config
    backend: Backend
    manner: Manner = AS_CONFIGURED


async def planned(cfg: Config, home: Path, manner: Manner = AS_CONFIGURED, backend: Backend | None = None) -> Plan:
    """The plan for a question to the knowledge base in `home`; a `backend` that is given answers, with its adapter.

    Raises `ConfigError`, `PromptError` and `ModelError` where what was promoted or assigned cannot be used.
    """
    cfg = await asyncio.to_thread(lambda: settings_for(with_running(cfg), home))
    sections = {"llm": manner.llm, "retrieval": manner.retrieval, "prompts": _OPEN if manner.own_knowledge else {}}
    cfg = cfg.model_copy(
        update={name: getattr(cfg, name).model_copy(update=dict(told)) for name, told in sections.items() if told}
    )
    if manner.own_knowledge:
        cfg = await asyncio.to_thread(usable, cfg, home)
    return Plan(cfg, await adapted(backend or await resolve(cfg.llm), cfg, home), manner)


def checked(question: str) -> str:
    """The question as it can be searched for. Raises `CatalogError` for one that is longer than any question."""
    if len(question) > LONGEST_QUESTION:
        raise CatalogError(
            f"the question has {len(question)} characters, and {LONGEST_QUESTION} are the most that are searched for",
            "ask something shorter, or index the text as a document",
        )
    return well_formed(question)


def recent(history: Sequence[Turn], backend: Backend) -> Sequence[Turn]:
    """What of a conversation a model is sent: its last six to eleven turns.

    Four to nine where its context is short, six to seventeen where it is long. The oldest ones go six, or twelve, at a
    time: a window that moved with each question would begin otherwise each time, and a server would compute all anew.
    """
    context = (backend.endpoint.context if backend.endpoint else None) or _SHORT_CONTEXT
    beyond = max(len(history) - (_LEAST_TURNS if context < _SHORT_CONTEXT else HISTORY_TURNS), 0)
    step = 2 * HISTORY_TURNS if context >= _LONG_CONTEXT else HISTORY_TURNS
    return history[beyond - beyond % step :]


def request(
    cfg: Config, question: str, sources: str, history: Sequence[Turn] = (), instructions: str = ""
) -> "list[BaseMessage]":
    """The messages that a model is sent for a question; `sources` as `context.render` writes them.

    `instructions` stand behind the prompt's own, which they do not change.
    """
    prompt = load(Path(cfg.prompts.library), cfg.prompts.answer, cfg.prompts.answer_version)
    tongue = context.reply_language(question)
    values, late = {"sources": sources, "question": question}, cfg.prompts.sources == "question"
    messages = prompt.render(tongue, values, history, late=late)
    if instructions:
        messages[0].content = f"{messages[0].text.rstrip()}\n\n{_INSTRUCTED[tongue]}\n{inert(instructions)}"
    return messages


def fitted(
    cfg: Config, backend: Backend, question: str, history: Sequence[Turn], instructions: str = ""
) -> RetrievalConfig:
    """The settings with room for no more passages than the model's context has beside the rest and the answer."""
    if backend.endpoint is None or not backend.endpoint.context:
        return cfg.retrieval
    asked = request(cfg, question, "", history, instructions)
    rest = sum(context.estimate_tokens(message.text) for message in asked)
    left = backend.endpoint.context - min(cfg.llm.max_tokens, backend.endpoint.context // 2) - rest
    return cfg.retrieval.model_copy(update={"context_tokens": max(min(cfg.retrieval.context_tokens, left), 1)})
