"""Answers without a model: the sentences of the found passages that say most about the question, quoted with [n]."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.text import fold, keywords, sentences, tokens
from core.types import Source

_MOST = 3  # quotes
_SHORT = 60  # search tokens: a quote below this takes the next sentence along
_HEADING = re.compile(r"#{1,6}\s+(.*)")
_RULE = re.compile(r"[\s|:\-=_*]*")


@dataclass(frozen=True, slots=True)
class _Quote:
    score: float
    source: int
    place: int
    text: str
    held: frozenset[str]


def extract(question: str, sources: Sequence[Source], idf: Mapping[str, float]) -> str:
    """Up to three quotes, in the order of their sources, each with its [n].

    A sentence scores the rarity (`idf`, by keyword) of the question's keywords it holds, half of what its heading and
    the sentence before it hold, and less the longer it is and the lower its source stands.
    """
    wanted = {term: idf.get(term, 1.0) for term in keywords(question)}
    found = [quote for source in sources for quote in _quotes(source, wanted)]
    found.sort(key=lambda quote: (-quote.score, quote.source, quote.place))
    chosen: list[_Quote] = []
    for quote in found:
        if quote.score <= 0 or len(chosen) == _MOST or (chosen and quote.score < 0.6 * chosen[0].score):
            break
        if all(len(quote.held & other.held) < 0.7 * len(quote.held) for other in chosen):
            chosen.append(quote)
    if not chosen and sources:  # found by meaning alone: no word in common
        chosen = [_Quote(0.0, sources[0].n, 0, sources[0].hit.text.strip(), frozenset())]
    chosen.sort(key=lambda quote: (quote.source, quote.place))
    return "\n\n".join(f"{quote.text} [{quote.source}]" for quote in chosen)


def _quotes(source: Source, wanted: Mapping[str, float]) -> Iterator[_Quote]:
    units = list(_units(source.text))
    for place, (heading, sentence) in enumerate(units):
        before = units[place - 1][1] if place and units[place - 1][0] == heading else ""
        own, around = _weight(sentence, wanted), _weight(f"{heading}\n{before}", wanted)
        if not own:
            continue
        held = tokens(sentence)
        text = sentence
        complete = len(held) >= _SHORT or sentence.startswith("|")  # a table row says all it says
        if not complete and place + 1 < len(units) and units[place + 1][0] == heading:
            text = f"{sentence}{_gap(sentence)}{units[place + 1][1]}"
        score = (own + 0.5 * max(around - own, 0)) / (len(held) + 20) ** 0.25 / (source.n + 2) ** 0.4
        yield _Quote(score, source.n, place, text, frozenset(tokens(text)))


def _weight(text: str, wanted: Mapping[str, float]) -> float:
    held, folded = set(tokens(text)), fold(text)
    return sum(weight for term, weight in wanted.items() if term in held or (len(term) == 1 and term in folded))


def _units(text: str) -> Iterator[tuple[str, str]]:
    """(heading, sentence) in order; a table row or list item is a sentence, a heading or a rule is none."""
    heading = ""
    for line in _lines(text):
        if match := _HEADING.fullmatch(line):
            heading = match[1]
        elif not _RULE.fullmatch(line):
            yield heading, line


def _lines(text: str) -> Iterable[str]:
    return (piece.strip() for piece in sentences(text) if piece.strip())


def _gap(sentence: str) -> str:
    """What stands between two sentences: nothing in Chinese, a new line in lists."""
    if sentence.startswith(("- ", "* ")):
        return "\n"
    return "" if sentence[-1] in "。！？；" else " "
