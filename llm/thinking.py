"""What a reasoning model thinks, told apart from what it answers, in the forms in which servers leave it in the text.

DeepSeek-R1, QwQ and Qwen3 write <think>, and where the chat template has begun it for them, its end alone; Magistral
[THINK], Kimi ◁think▷, others <thought>; gpt-oss channels (https://cookbook.openai.com/articles/openai-harmony).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.text import unfinished

_NAMES = ("think", "thinking", "thought", "reasoning")
_PAIRS = {f"<{name}>": f"</{name}>" for name in _NAMES} | {
    "[THINK]": "[/THINK]", "◁think▷": "◁/think▷", "<seed:think>": "</seed:think>",
    "<|channel|>analysis<|message|>": "<|end|>", "<|channel|>commentary<|message|>": "<|end|>",
}  # fmt: skip
_BETWEEN = frozenset({"<|start|>assistant", "<|channel|>final<|message|>", "<|end|>", "<|return|>"})
_TAGS = sorted({*_PAIRS, *_PAIRS.values(), *_BETWEEN}, key=len, reverse=True)
_TAG = re.compile(f"(?<!`)(?:{'|'.join(map(re.escape, _TAGS))})")
_THINKS_FIRST = re.compile(r"\br1\b|qwq|thinking|reasoner", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what a model thinks, which is no part of its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Anew:
    """All text so far was not the answer, which begins with what comes next."""


def thinks_first(model: str) -> bool:
    """Whether a model of this name begins each reply with its thoughts, so that their end alone may be marked."""
    return bool(_THINKS_FIRST.search(model))


class Splitter:
    """Tells thoughts from the answer, piece by piece; a tag between backticks is text.

    `first`: the reply begins with thoughts whose beginning is not marked, so that all is held back until they end; a
    reply that ends before they do was an answer. Without it a lone end makes thoughts of all text before it.
    """

    def __init__(self, first: bool = False) -> None:
        self.ended_alone = False  # thoughts ended that had no beginning
        self._first, self._held, self._said = first, "", ""
        self._end, self._after = "", False  # of the thoughts that are being read; whether some ended just now
        self._begun = ""  # how these began, where text stands before them, which they are part of if they do not end

    def read(self, text: str) -> Iterator[str | Thought | Anew]:
        """What is certain once `text` has come."""
        self._held += text
        while self._held:
            before = self._held
            yield from self._thoughts() if self._end else self._answer()
            if self._held == before:
                return

    def plain(self) -> Iterator[str | Thought | Anew]:
        """The server marks thoughts by itself: what was held back for them is the answer."""
        self._first = False
        return self.read("")

    def rest(self) -> Iterator[str | Thought | Anew]:
        """What was held back, at the end."""
        if self._end and not self._begun:
            yield Thought(self._held)
        elif left := self._text(self._begun + self._held):
            yield left
        self._held = ""

    def _thoughts(self) -> Iterator[Thought]:
        thought, ended, rest = self._held.partition(self._end)
        if ended:
            self._held, self._end, self._begun, self._after = rest, "", "", True
            yield Thought(thought)
        elif not self._begun:
            at = unfinished(self._held, [self._end])
            self._held = self._held[at:]
            if thought := thought[:at]:
                yield Thought(thought)

    def _answer(self) -> Iterator[str | Thought | Anew]:
        tag = _TAG.search(self._held)
        if self._first:
            if tag is None:
                return
            self._first = False
            if tag[0] not in _PAIRS and tag[0] not in _BETWEEN:
                self.ended_alone = True
                yield Thought(self._held[: tag.start()])
                self._held = self._held[tag.end() :]
                return
        at = tag.start() if tag else unfinished(self._held, _TAGS)
        quoted = tag is not None and at == 0 and self._said.endswith("`")
        end = tag.end() if tag else at
        shown = self._text(self._held[: end if quoted else at])
        self._held = self._held[end:]
        if shown:
            yield shown
        if tag is None or quoted:
            return
        if tag[0] in _PAIRS:
            self._end = _PAIRS[tag[0]]
            self._begun = tag[0] if self._said.strip() else ""
        elif tag[0] not in _BETWEEN:
            self.ended_alone = True
            if self._said:
                yield Anew()
                yield Thought(self._said)
                self._said = ""

    def _text(self, text: str) -> str:
        """A piece of the answer; where it begins, and goes on after thoughts, there are no empty lines."""
        if not self._said or (self._after and self._said[-1].isspace()):
            text = text.lstrip()
        self._after = self._after and not text
        self._said += text
        return text
