"""Whether an answer says what its sources say: each statement against the passages it cites."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.text import heading_line, language, query_tokens, sentences, tokens
from core.types import Source

_MARKS = re.compile(r"((?:\s*\[\d{1,3}\])+)")
_LEADS = re.compile(r"[:：]\s*$|^\s*(?:#|```|\|)")  # to a list; a heading, code, a table
_HELD = 0.5  # share of a statement's search tokens that its passages must hold


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence `text[start:end]` of an answer, the sources it cites, and whether these hold what it says."""

    start: int
    end: int
    cites: tuple[int, ...]
    supported: bool


def statements(text: str, question: str, sources: Sequence[Source]) -> list[Statement]:
    """The sentences of an answer that state something.

    A sentence cites the marks behind it, or the next ones of its line. It is supported where they hold its numbers and
    half of its search tokens, words of the question counting as held; between two languages only numbers can be
    compared. A sentence that cites nothing is not supported.
    """
    bodies = {s.n: f"{heading_line(s.hit.title, s.hit.headings)}\n{s.text}" for s in sources}
    found: list[Statement] = []
    start = 0
    for line in text.splitlines(keepends=True):
        pieces = _MARKS.split(line)
        at = start
        for piece, marks in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
            cites = tuple(dict.fromkeys(int(n) for n in re.findall(r"\d+", marks)))
            said = "\n".join(bodies[n] for n in cites if n in bodies)
            for sentence in sentences(piece):
                if query_tokens(sentence) and not _LEADS.search(sentence):
                    held = bool(said) and _holds(said, question, sentence)
                    found.append(Statement(at, at + len(sentence.rstrip()), cites, held))
                at += len(sentence)
            at += len(marks)
        start += len(line)
    return found


def _holds(said: str, question: str, sentence: str) -> bool:
    wanted, held = query_tokens(sentence), set(tokens(f"{said}\n{question}"))
    if any(token not in held and any(map(str.isdigit, token)) for token in wanted):
        return False
    return language(sentence) != language(said) or sum(t in held for t in wanted) >= _HELD * len(wanted)
