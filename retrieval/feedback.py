"""Query variants without a model: what the best passages leave open is asked again in their own terms.

Pseudo-relevance feedback for questions that take two steps. A question whose words all stand in the best passage needs
no more; of one that names something only by a fact ("the university that the author of X attended"), the best passage
holds a part, and the names in it lead to the passage with the rest. Such a question begins at a name that few passages
know, and that is asked for: without it, other words would lead away from what was found.
"""

import re
from collections.abc import Sequence

from core.text import fold, keywords, tokens
from core.types import Hit, Query
from retrieval.index import Index

_PASSAGES = 2
_WEIGHT = 0.6  # the most that a variant counts
_NAMES = 6
_RARE = 0.004  # of the chunks, at most, hold a rare word; four may in any case
_NAME = re.compile(r"[A-Z][\w'’-]+(?: (?:(?:of|the|de|and) )?[A-Z][\w'’-]+)*|[《“「『][^》”」』]{2,30}[》”」』]")
_WORD = re.compile(r"\w+")


def feedback(index: Index, question: str, hits: Sequence[Hit]) -> list[Query]:
    """Variants from the best hits for a question, each from a passage that holds a part of it and rare names.

    None where no rare name of the question stands in any of them. A variant counts most where half of the question is
    open, and nothing where all or none of it is: then the passage answers, or has nothing to do with it.
    """
    weights = index.idf(keywords(question))
    total = sum(weights.values())
    least = index.idf_of_rare(_RARE, 4)
    asked = [name for found in _NAME.findall(question) if (name := set(keywords(found)))]
    asked = [name for name in asked if max(weights.get(term, 0.0) for term in name) >= least]
    read = [(hit, set(tokens(f"{hit.title}\n{hit.text}")), _names(hit.text, question)) for hit in hits[:_PASSAGES]]
    if not any(name <= held for name in asked for _, held, _ in read):
        return []
    rarity = index.idf({token for _, _, names in read for name in names for token in tokens(name)})
    variants = []
    for hit, held, names in read:
        lacking = sum(weight for term, weight in weights.items() if term not in held) / total
        rare = [name for name in names if max(rarity[token] for token in tokens(name)) >= least][:_NAMES]
        weight = round(4 * _WEIGHT * lacking * (1 - lacking), 4)
        if rare and weight > 0:
            variants.append(Query(" ".join([*_open_words(question, held), hit.title, *rare]), "feedback", weight))
    return variants


def _open_words(question: str, held: set[str]) -> list[str]:
    """The words of a question that a passage with these tokens does not hold."""
    if not question.isascii():
        return [term for term in keywords(question) if term not in held]
    return [word for word in _WORD.findall(question) if keywords(word) and held.isdisjoint(tokens(word))]


def _names(text: str, question: str) -> list[str]:
    """The names and titles of more than one token in a passage that the question does not know yet."""
    known = fold(question)
    found = (name.strip("《》“”「」『』") for name in dict.fromkeys(_NAME.findall(text)))
    return [name for name in found if len(tokens(name)) > 1 and fold(name) not in known]
