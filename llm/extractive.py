"""Answers without a model: the sentences of the found passages that say most about the question, quoted with [n]."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from core.text import held, keywords, numbered, openings, sentences, tokens
from core.types import Source

_MOST = 3  # quotes
_SHORT = 60  # search tokens: a quote below this takes the next sentence along
_ROWS = 10  # a table of no more rows is quoted whole
_HEADING = re.compile(r"#{1,6}\s+(.*)")
_RULE = re.compile(r"[\s|:\-=_*]*")

Likeness = Callable[[Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, list item or table row; `shown` is how it is quoted: with the next sentence, or its table."""

    source: Source
    place: int
    text: str
    around: str
    shown: str


def extract(
    question: str, sources: Sequence[Source], idf: Mapping[str, float], likeness: Likeness | None = None
) -> str:
    """Up to three quotes, in the order of their sources, each with its [n].

    A sentence scores the share of the question's keywords, weighted by rarity (`idf`), that it holds, and half of what
    its heading and the sentence before it hold; and less the lower its source stands. An article that the question
    names by its number comes first. Where the question can be
    embedded, `likeness` gives the cosine of texts to it, and counts as much as the words.
    """
    wanted = {term: idf.get(term, 1.0) for term in keywords(question)}
    named = set(numbered(question))
    units = [unit for source in sources for unit in _units(source)]
    if likeness:
        alike = likeness([f"{unit.source.hit.title} {unit.around}\n{unit.text}" for unit in units])
    else:
        alike = [0.0] * len(units)
        units = [unit for unit in units if _weight(unit.text, wanted)]
    scores = {
        unit: (_words(unit, wanted) + max(cosine, 0.0) + _named(unit, named)) / (unit.source.n + 2) ** 0.2
        for unit, cosine in zip(units, alike, strict=False)
    }
    chosen = _best(scores)
    if not chosen and sources:  # found by meaning alone: no word in common
        chosen = [_Unit(sources[0], 0, "", "", sources[0].hit.text.strip())]
    return "\n\n".join(map(_marked, sorted(chosen, key=lambda unit: (unit.source.n, unit.place))))


def _best(scores: Mapping[_Unit, float]) -> list[_Unit]:
    """The best units that do not say the same, as long as they are not much worse than the first."""
    chosen: list[_Unit] = []
    for unit in sorted(scores, key=lambda unit: (-scores[unit], unit.source.n, unit.place)):
        if scores[unit] <= 0 or len(chosen) == _MOST or (chosen and scores[unit] < 0.6 * scores[chosen[0]]):
            break
        said = set(tokens(unit.shown))
        if all(len(said & set(tokens(other.shown))) < 0.7 * len(said) for other in chosen):
            chosen.append(unit)
    return chosen


def _words(unit: _Unit, wanted: Mapping[str, float]) -> float:
    own, around = _weight(unit.text, wanted), _weight(unit.around, wanted)
    return (own + 0.5 * max(around - own, 0)) / (sum(wanted.values()) or 1.0)


def _named(unit: _Unit, named: Set[str]) -> bool:
    return bool(named) and not named.isdisjoint(openings(unit.text))


def _weight(text: str, wanted: Mapping[str, float]) -> float:
    return sum(wanted[term] for term in held(text, wanted))


def _units(source: Source) -> Iterator[_Unit]:
    names = {source.hit.title, *source.hit.headings}
    rows = [(heading, text) for heading, text in _lines(source.text) if text not in names]
    for place, (heading, text) in enumerate(rows):
        before = rows[place - 1][1] if place and rows[place - 1][0] == heading else ""
        after = rows[place + 1][1] if place + 1 < len(rows) and rows[place + 1][0] == heading else ""
        shown = text
        if text.startswith("|"):
            shown = _table([row for _, row in rows], place)
        elif after and not after.startswith("|") and len(tokens(text)) < _SHORT:
            shown = f"{text}{_gap(text)}{after}"
        yield _Unit(source, place, text, f"{heading}\n{before}", shown)


def _table(rows: Sequence[str], place: int) -> str:
    """The table around a row, as Markdown: whole where it is small, else its header and that row."""
    first = last = place
    while first and rows[first - 1].startswith("|"):
        first -= 1
    while last + 1 < len(rows) and rows[last + 1].startswith("|"):
        last += 1
    header, body = rows[first], rows[first + 1 : last + 1]
    if len(body) > _ROWS:
        body = [rows[place]] if place > first else body[:1]
    return "\n".join([header, "|" + " --- |" * (header.count("|") - 1), *body])


def _marked(unit: _Unit) -> str:
    mark = f" [{unit.source.n}]"
    return f"{unit.shown[:-1].rstrip()}{mark} |" if unit.shown.startswith("|") else unit.shown + mark


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """(heading, sentence) in order; a table row or list item is a sentence, a heading or a rule is none."""
    heading = ""
    for line in (piece.strip() for piece in sentences(text) if piece.strip()):
        if match := _HEADING.fullmatch(line):
            heading = match[1]
        elif not _RULE.fullmatch(line):
            yield heading, line


def _gap(sentence: str) -> str:
    """What stands between two sentences: nothing in Chinese, a new line in lists."""
    if sentence.startswith(("- ", "* ")):
        return "\n"
    return "" if sentence[-1] in "。！？；" else " "
