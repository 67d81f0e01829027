"""The rewards of GRPO: what the app's own checks say of an answer, each 0 to 1 and higher is better.

As trl calls them: messages of prompts and answers, a list for each column of the rows; None where a reward says nothing
of an answer. Run as a module it trains a folder, so that several processes below `accelerate launch` have them too.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.answering.answer import NO_ANSWER
from app.measuring.scores import plain, supported_share, token_f1
from core.types import Hit, Source
from llm import finetune
from llm.stages import Reward
from prompts.marks import pieces

Messages = Sequence[dict[str, str]]

_SOURCE = re.compile(
    r'^<source n="(\d+)" path="([^"\n]*)"[^\n]*?(?: heading="([^\n]*)")?>\n(.*?)\n</source>$', re.DOTALL | re.MULTILINE
)


def refusal_right(completions: Sequence[Messages], kind: Sequence[str], **_: Any) -> list[float | None]:
    """1 where what has no answer is refused and what has one is answered."""
    return [float(refused(_said(done)) == (each == "refusal")) for done, each in zip(completions, kind, strict=True)]


def citation_right(
    prompts: Sequence[Messages], completions: Sequence[Messages], kind: Sequence[str], **_: Any
) -> list[float | None]:
    """Share of the marks that point to a source of the prompt, 0 without any; of answers that rest on sources alone."""
    found: list[float | None] = []
    for asked, done, each in zip(prompts, completions, kind, strict=True):
        sources = sources_of(asked)
        if each != "answer" or not sources:
            found.append(None)
            continue
        marks = [p for p in pieces(_said(done), {s.n: s.text for s in sources}) if p.kind == "mark"]
        right, wrong = (sum(len(getattr(mark, name)) for mark in marks) for name in ("numbers", "unknown"))
        found.append(right / (right + wrong) if right else 0.0)
    return found


def supported(
    prompts: Sequence[Messages], completions: Sequence[Messages], kind: Sequence[str], **_: Any
) -> list[float | None]:
    """Share of the statements that the passages they cite hold (`prompts/support.py`)."""
    found: list[float | None] = []
    for asked, done, each in zip(prompts, completions, kind, strict=True):
        sources, said = sources_of(asked), _said(done)
        told = each == "answer" and bool(sources)
        held = 0.0 if refused(said) else supported_share(said, asked[-1]["content"], sources) if told else 0.0
        found.append(held if told else None)
    return found


def as_gold(completions: Sequence[Messages], gold: Sequence[str], kind: Sequence[str], **_: Any) -> list[float | None]:
    """Token F1 with the answer of the data set; nothing is said of refusals, which have one wording."""
    return [
        None if each == "refusal" else token_f1(plain(_said(done)), plain(right))
        for done, right, each in zip(completions, gold, kind, strict=True)
    ]


REWARDS: tuple[Reward, ...] = (refusal_right, citation_right, supported, as_gold)


def _said(completion: Messages) -> str:
    return completion[-1]["content"].rpartition("</think>")[2].strip()


def refused(said: str) -> bool:
    """Whether an answer is a refusal, as the chat takes it: it says so, and cites nothing."""
    return NO_ANSWER in said and not any(piece.kind == "mark" for piece in pieces(said, None))


def sources_of(prompt: Messages) -> list[Source]:
    """The passages that a prompt quotes, with what these checks read of them."""
    found = []
    for message in prompt:
        for number, path, heading, body in _SOURCE.findall(message["content"]):
            hit = Hit(0, 0.0, 0, "", path, heading, None, (), 0, len(body), body, "", 0, 0)
            found.append(Source(int(number), hit, body))
    return found


if __name__ == "__main__":
    sys.exit(finetune.main(Path(sys.argv[1]), REWARDS))
