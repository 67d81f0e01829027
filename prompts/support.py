"""Whether an answer says what its sources say: each statement against the passages it cites."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from core.text import heading_line, language, query_tokens, sentences, tokens
from core.types import Source
from prompts.marks import spans

OWN = re.compile(
    r"^[ \t*_#>]*(?:not from the documents|以下不来自文档)[*_]*[ \t]*[:：][*_ \t]*", re.IGNORECASE | re.MULTILINE
)
"""The line behind which an answer says what no document does, as the prompt `answer-open` asks for it."""

_LAST = re.compile(
    r"^[\s*_#>]*(?:final answer|answer|答案|最终答案)[*_]*\s*[:：]\s*[*_]*", re.IGNORECASE | re.MULTILINE
)
_LEADS = re.compile(r"[:：]\s*$|^\s*(?:#|```|\|)")  # to a list; a heading, code, a table
_HELD = 0.5  # share of a statement's search tokens that its passages must hold


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence `text[start:end]` of an answer, the sources it cites, and whether these hold what it says.

    `supported` is None where words cannot tell: the sentence and its sources are of two languages.
    """

    start: int
    end: int
    cites: tuple[int, ...]
    supported: bool | None


def statements(text: str, question: str, sources: Sequence[Source]) -> list[Statement]:
    """The sentences of an answer that state something.

    A sentence cites the marks behind it, or the next ones of its line. It is supported where they hold its numbers and
    half of its search tokens, words of the question counting as held; between two languages only numbers are compared.
    A sentence that cites nothing is not supported.
    """
    bodies = {s.n: f"{heading_line(s.hit.title, s.hit.headings)}\n{s.text}" for s in sources}
    marked = spans(text, {s.n: s.text for s in sources})
    begins = [begin for begin, _, _ in marked]
    bare, done = "", 0
    for begin, end, _ in marked:  # so that a mark ends no sentence and begins none
        bare += text[done:begin] + " " * (end - begin)
        done = end
    bare += text[done:]
    found: list[Statement] = []
    start = 0
    for line in bare.splitlines(keepends=True):
        pieces: list[tuple[int, str, list[int]]] = []
        at = 0
        for piece in sentences(line):
            own = slice(bisect_left(begins, start + at), bisect_left(begins, start + at + len(piece)))
            pieces.append((at, piece, [n for _, _, numbers in marked[own] for n in numbers]))
            at += len(piece)
        cites: list[int] = []
        stated: list[Statement] = []
        for at, piece, marks in reversed(pieces):
            cites = marks or cites
            if query_tokens(piece) and not _LEADS.search(piece):
                said = "\n".join(bodies[n] for n in cites if n in bodies)
                held = _holds(said, question, piece) if said else False
                stated.append(
                    Statement(start + at, start + at + len(piece.rstrip()), tuple(dict.fromkeys(cites)), held)
                )
        found += reversed(stated)
        start += len(line)
    return found


def final(text: str) -> str:
    """What a reply says in the end: what follows its last line that begins with "Answer:", else all of it."""
    marks = list(_LAST.finditer(text))
    return text[marks[-1].end() :].strip() if marks else text.strip()


def _holds(said: str, question: str, sentence: str) -> bool | None:
    wanted, held = query_tokens(sentence), set(tokens(f"{said}\n{question}"))
    numbers = [token for token in wanted if any(map(str.isdigit, token))]
    if not held.issuperset(numbers):
        return False
    if language(sentence) != language(said):
        return True if numbers else None
    return sum(token in held for token in wanted) >= _HELD * len(wanted)
