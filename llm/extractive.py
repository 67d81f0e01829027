"""Answers without a model: what of the found passages says most about the question, quoted with [n].

The best units by their words, and those of the best passages, are compared with the question by meaning too: as many as
a fixed number of tokens allows, so that an answer takes no longer where passages are long.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import zip_longest

from core.text import fold, keywords, numbered, openings, query_terms, sentences, tokens
from core.types import Source
from llm.quotes import Quote, marked, span, whole
from llm.units import Unit, units, width
from llm.wanted import Kind, about, holds, wanted

_MOST = 4  # quotes
_LEAST = 0.6  # of the best score: what is below is not quoted
_ENOUGH = 400  # characters, in the width of Chinese, after which no further quote is begun
_EMBEDDED = 300  # tokens, by estimate, of the units that are compared by meaning: a quarter of a second on one core
_BEFORE = 0.5  # of a word that stands in a sentence before the one that asks
_LEFT = 12  # tokens that are too few for another
_READ = 400  # characters of a unit that are compared
_FIRSTS, _SOURCES, _TABLES = 2, 4, 3  # that many units of each of the first sources are among them, and tables
# What a unit is worth: its words and its terms, what stands around it, the kind of thing that is asked for, whether it
# is of the chunk that was found, how far its source is behind the first, how near it is; see dev/LOG.md.
_OWN, _AROUND, _KIND, _HIT, _BEHIND, _MEANING = 0.5, 0.25, 0.1, 0.1, 0.3, 0.8
_KNOWN = 0.4  # of a word that the title or heading says as well
_NEAR = 0.06  # above unrelated texts, from which on the nearest unit has all that meaning gives

Likeness = Callable[[Sequence[str]], Sequence[float]]


@dataclass(eq=False, slots=True)
class _Place:
    """A unit of a source, and what it is worth; `behind` is how far its source is behind the first, 0 to 1."""

    source: Source
    unit: Unit
    behind: float
    score: float = 0.0
    fits: bool = False  # by a word, or by meaning


def extract(
    question: str, sources: Sequence[Source], idf: Mapping[str, float], likeness: Likeness | None = None
) -> str:
    """Up to four quotes, the best first, each with its [n]; what belongs together is quoted together.

    A unit counts by the share of the question's terms, weighted by rarity (`idf`), that it holds, and less by those of
    what it stands under and behind; by whether it holds the kind of thing that is asked for; and the less the lower its
    source stands. An article that the question names by its number comes first. `likeness` says how far above the
    cosine of unrelated texts those of some texts to the question are; it is asked once, for a bounded number of tokens.
    """
    top = max((source.hit.score for source in sources), default=0.0)
    behind = {source.n: 1 - source.hit.score / top if top > 0 else 0.0 for source in sources}
    places = [_Place(source, unit, behind[source.n]) for source in sources for unit in _units(source)]
    _score_words(question, places, idf)
    if likeness:
        _add_meaning(places, likeness)
    quotes = _best(places)
    if not quotes:  # found by meaning alone: no word in common
        return f"{sources[0].hit.text.strip()} [{sources[0].n}]" if sources else ""
    return "\n\n".join(map(marked, quotes))


def _units(source: Source) -> list[Unit]:
    return units(source.text, frozenset({source.hit.title, *source.hit.headings}))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is looked for: keywords and all search tokens with their weights, kinds of things, named articles."""

    words: Mapping[str, float]
    terms: Mapping[str, float]
    kinds: Sequence[Kind]
    named: Set[str]


def _score_words(question: str, places: Sequence[_Place], idf: Mapping[str, float]) -> None:
    stripped = about(question)
    words = {term: idf.get(term, 1.0) for term in keywords(stripped)}
    terms = query_terms(stripped)
    asked = _Question(
        _stressed(stripped, words), _stressed(stripped, terms), wanted(question), set(numbered(question))
    )  # fmt: skip
    before: _Place | None = None
    said = _Held("")
    heads: dict[tuple[int, str], _Held] = {}
    for place in places:
        source, unit = place.source, place.unit
        above = _above(unit)
        key = (source.n, above)
        if key not in heads:
            heads[key] = _Held(f"{source.hit.title}\n{above}")
        follows = before is not None and before.source is source and before.unit.heading == unit.heading
        own, behind = _Held(unit.text), said if follows else _Held("")
        _score(place, own, heads[key], behind, asked)
        before, said = place, own


def _stressed(question: str, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights, less where a term stands only in a sentence before the last one, which asks."""
    asking = _Held(sentences(question)[-1] if question else "")
    return {term: weight if asking.holds(term) else _BEFORE * weight for term, weight in weights.items()}


def _above(unit: Unit) -> str:
    """What a unit stands under: a heading, what leads into its list or table, the header of the table."""
    if unit.group.kind not in ("list", "table"):
        return unit.heading
    lead = unit.group.lead.text if unit.group.lead else ""
    return "\n".join([unit.heading, lead, *([unit.group.units[0].text] if unit.kind == "row" else [])])


class _Held:
    """The search tokens of a text, and the text as they were read from it."""

    __slots__ = ("folded", "tokens")

    def __init__(self, text: str) -> None:
        self.tokens = set(tokens(text))
        self.folded = fold(text)

    def holds(self, term: str) -> bool:
        """Whether it is there; a lone character also within a word."""
        return term in self.tokens or (len(term) == 1 and term in self.folded)

    def share(self, terms: Mapping[str, float], known: "_Held") -> float:
        """The share of some terms, by weight, that stand here; what is known anyway counts less."""
        there = (w * (_KNOWN if known.holds(term) else 1.0) for term, w in terms.items() if self.holds(term))
        return sum(there) / (sum(terms.values()) or 1.0)


def _score(place: _Place, own: _Held, head: _Held, behind: _Held, asked: _Question) -> None:
    words, terms = own.share(asked.words, head), own.share(asked.terms, head)
    missing = (w for term, w in asked.words.items() if not own.holds(term) and (head.holds(term) or behind.holds(term)))
    around = sum(missing) / (sum(asked.words.values()) or 1.0)
    unit, source = place.unit, place.source
    kind = sum(holds(unit.text, kind) for kind in asked.kinds) / len(asked.kinds) if asked.kinds else 0.0
    named = bool(asked.named) and not asked.named.isdisjoint(openings(unit.text))
    place.fits = words > 0 or named
    place.score = _OWN * words + _OWN * terms + _AROUND * around + _KIND * kind + named
    place.score += _HIT * (unit.text in source.hit.text) - _BEHIND * place.behind


def _add_meaning(places: Sequence[_Place], likeness: Likeness) -> None:
    """Let meaning count for the best so far, as many as a fixed number of tokens allows.

    Of a table that is quoted whole, one row stands for all.
    """
    left = _EMBEDDED
    some: dict[object, str] = {}
    for place in _in_turn(places):
        text = _read(place)
        cost = 6 + width(text) * 7 // 10
        if _one(place) not in some and cost <= left:
            left -= cost
            some[_one(place)] = text
        elif left < _LEFT:
            break
    above = dict(zip(some, likeness(list(some.values())), strict=True)) if some else {}
    nearest = max([_NEAR, *above.values()])
    for place in places:
        near = max(above.get(_one(place), 0.0), 0.0)
        place.score += _MEANING * near / nearest
        place.fits = place.fits or near > 0


def _in_turn(places: Sequence[_Place]) -> Iterator[_Place]:
    """In turn the best of all, the best of each of the first sources, and the small tables there.

    A source where words say little may answer, and so may a table, which says things in few words.
    """
    ranked = sorted(places, key=lambda place: -place.score)
    sources: dict[int, list[_Place]] = {}
    for place in ranked:
        sources.setdefault(place.source.n, []).append(place)
    first = [sources[n] for n in sorted(sources)[:_SOURCES]]
    others = [own[rank] for rank in range(_FIRSTS) for own in first if rank < len(own)]
    rows = {
        _one(row): row for own in first for row in reversed(own) if row.unit.kind == "row" and whole(row.unit.group)
    }
    spread = [place for pair in zip_longest(others, list(rows.values())[:_TABLES]) for place in pair if place]
    for pair in zip_longest(ranked, spread):
        yield from (place for place in pair if place)


def _one(place: _Place) -> object:
    """What is compared as one: a unit, or a table that is quoted whole."""
    group = place.unit.group
    return group if group.kind == "table" and whole(group) else place.unit


def _read(place: _Place) -> str:
    """The beginning of a unit as it is compared: what is no sentence needs what it stands under."""
    unit = place.unit
    own = unit.text if unit.kind in ("sentence", "title") else f"{_above(unit)}\n{unit.text}".strip()
    return own[:_READ]


def _best(places: Sequence[_Place]) -> list[Quote]:
    """The best units with what belongs to them, as long as they are not much worse than the first; nothing twice."""
    quotes: list[Quote] = []
    there: dict[int, list[Unit]] = {}
    for place in places:
        there.setdefault(place.source.n, []).append(place.unit)
    said: list[set[str]] = []
    shown: set[Unit] = set()
    count = 0
    ranked = sorted((place for place in places if place.fits), key=lambda place: -place.score)
    for place in ranked:
        long = sum(unit.length for unit in shown) > _ENOUGH
        if count == _MOST or place.score <= 0 or place.score < _LEAST * ranked[0].score or (count and long):
            break
        if place.unit in shown or _said(place.unit, said):
            continue
        together = [u for u in span(place.unit, there[place.source.n]) if u not in shown and not _said(u, said)]
        count += 1
        shown.update(together)
        said += [set(tokens(unit.text)) for unit in together]
        quote = Quote(place.source, sorted(together, key=lambda unit: unit.place))
        met = [other for other in quotes if other.takes(quote)]
        for other in met:
            quote.add(other)
        at = min((quotes.index(other) for other in met), default=len(quotes))
        quotes = [other for other in quotes if other not in met]
        quotes.insert(at, quote)
    return quotes


def _said(unit: Unit, said: Sequence[Set[str]]) -> bool:
    """Whether a unit says hardly anything that was not said."""
    own = set(tokens(unit.text))
    return any(len(own & other) >= 0.7 * len(own) for other in said)
