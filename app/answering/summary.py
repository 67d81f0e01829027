"""Recipe: a question for the summary of a document that it names -> its opening and its most central passages.

A model is given them as the sources of its answer; without one its opening, its headings and the sentences nearest to
its centre are quoted. What asks about a part of a document is a question like any other.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from app.messages.texts import Tongue
from core.text import fold, tokens
from core.types import Hit, Source
from llm.units import Unit, units, width
from prompts import context
from retrieval.central import Whole, whole
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.store import Catalog

_MOST = 400  # characters of a question that may ask for a summary
_PASSAGES = 12  # at most, beside the opening
_SENTENCES, _COMPARED = 5, 60  # that are quoted, and that are compared with the centre
_LEAST, _LONGEST = 8, 160  # characters of a sentence that says something alone, in the width of Chinese
_OPENING = 2  # sentences
_HEADINGS = 12
_ALIKE = 0.6  # of the words of a sentence, from which on it says what another has said

_ASKS = re.compile(
    r"\b(?:summari[sz]e|summary|sum up|overview|outline|gist|tl;?dr|(?:main|key) (?:points?|ideas?|content)|about)\b"
    "|总结|概括|概述|摘要|概要|归纳|大意|综述|主要内容|讲了?些?什么|说了?些?什么"
)
_REST = re.compile(  # what such a question says besides
    r"\b(?:the|this|that|an?|of|in|for|me|us|please|can|could|would|you|give|write|make|show|short|brief|briefly|quick|"
    r"concise|file|document|doc|page|text|whole|entire|content|contents|what|whats|is|s|it|its|does|say|up|to|from|with|"
    r"using|at|most|about|no|more|than|\d+|one|two|three|five|few|some|sentences?|words?|points?|bullets?|lines?|"
    r"paragraphs?|english|chinese|and|headings?)\b"
    "|请问?|帮忙?|给?我们?|一下|一份|一个|这[份个篇]?|那[份个篇]?|文件|文档|文章|全文|整[份个篇]|内容|主要|关于|里面?|中|做|写|用|以"
    "|简[要单短]地?|大概|[一二三四五六七八九十几两\\d]+[句点条段]话?|字|以内|左右|不超过|中文|英文|的|了|吧|吗|呢|把|对|将|进行|是|下|在"
)
_WORD = re.compile(r"\w")
_BULLET = re.compile(r"^[-*+•·●▪◦‣–][ \t]+")
_SAYS = {
    "en": ("The document in its own words:", "Headings:", "What is most central in it:"),
    "zh": ("以下为文档原文：", "标题：", "最能概括全文的句子："),
}


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A document whose summary is asked for."""

    index: Index
    document: Whole


def named_document(question: str, places: Sequence[tuple[Index, Filter | None]]) -> Named | None:
    """The document whose summary a question asks for; None for any other question.

    It is named by its path, its file name with or without the ending, or its title; or it is the one that is searched.
    """
    text = fold(question[: _MOST + 1])
    if len(text) > _MOST or not _ASKS.search(text):
        return None
    for index, where in places:
        documents = _documents(index.catalog, index.catalog.generation)
        found = _alone(documents, where) if where else _called(text, documents)
        if found is None:
            continue
        document_id, name = found
        if _WORD.search(_REST.sub("", _ASKS.sub("", text.replace(name, " ")))):
            continue
        document = whole(index, document_id)
        if document.hits:
            return Named(index, document)
    return None


Names = tuple[tuple[int, str, tuple[str, ...]], ...]  # id, path, what it is called, folded


@lru_cache(maxsize=8)
def _documents(catalog: Catalog, generation: int) -> Names:
    documents = sorted(catalog.documents(), key=lambda document: document.path)
    return tuple((each.id, each.path, _names(each.path, each.title)) for each in documents)


def _names(path: str, title: str) -> tuple[str, ...]:
    file = path.rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    return tuple(dict.fromkeys(folded for name in (path, file, stem, title) if len(folded := fold(name).strip()) > 1))


def _alone(documents: Names, where: Filter) -> tuple[int, str] | None:
    """The one document that is searched, where a filter names just that."""
    if where != Filter(paths=where.paths) or len(where.paths) != 1:
        return None
    return next(((id_, "\0") for id_, path, _ in documents if path == where.paths[0]), None)


def _called(text: str, documents: Names) -> tuple[int, str] | None:
    """The document whose name stands in a text, the longest name first; of several of one name the first by path."""
    best: tuple[int, str] | None = None
    for id_, _, names in documents:
        for name in names:
            if len(name) > len(best[1] if best else "") and _stands(name, text):
                best = id_, name
    return best


def _stands(name: str, text: str) -> bool:
    """Whether a name stands in a text, and is no part of a longer word."""
    at = text.find(name)
    while at >= 0:
        around = text[at - 1 : at] + name[:1], name[-1:] + text[at + len(name) : at + len(name) + 1]
        if not any(len(pair) == 2 and pair.isascii() and pair.isalnum() for pair in around):
            return True
        at = text.find(name, at + 1)
    return False


def passages(named: Named, budget_tokens: int) -> tuple[Source, ...]:
    """The opening and the most central passages of a document, in its order, as many as the budget has room for.

    Of each heading first the most central one.
    """
    hits, near = named.document.hits, named.document.nearness
    ranked = sorted(range(1, len(hits)), key=lambda n: -near[n])
    seen: dict[tuple[str, ...], int] = {}
    order = {n: seen.setdefault(hits[n].headings, n) != n for n in ranked}
    chosen, left = [0], budget_tokens - context.estimate_tokens(hits[0].text) - context.FRAME_TOKENS
    for n in sorted(ranked, key=lambda n: order[n])[:_PASSAGES]:
        cost = context.estimate_tokens(hits[n].text) + context.FRAME_TOKENS
        if cost <= left:
            chosen.append(n)
            left -= cost
    found = (replace(hits[n], kb=named.index.name, rank=rank) for rank, n in enumerate(sorted(chosen), start=1))
    return context.pack(((hit, hit.text) for hit in found), budget_tokens)


def quoted(named: Named, sources: Sequence[Source], tongue: Tongue) -> str:
    """A summary in the document's own words: its opening, its headings, the sentences nearest to its centre."""
    said, headed, central = _SAYS[tongue]
    opening = _sentences(sources[0])[:_OPENING] or units(sources[0].text)[:_OPENING]
    first = " ".join(unit.text for unit in opening) or context.shortened(sources[0].text.strip(), _LONGEST)
    parts = [said, _quote(first, sources[0])]
    if headings := _headings(named.document.hits):
        parts.append(f"{headed}\n" + "\n".join(f"- {heading}" for heading in headings))
    if sentences := _nearest(named, sources, [unit.text for unit in opening]):
        parts += [central, *(_quote(text, source) for text, source in sentences)]
    return "\n\n".join(parts)


def _quote(text: str, source: Source) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines()) + f" [{source.n}]"


def _headings(hits: Sequence[Hit]) -> list[str]:
    """The headings in order, without the title."""
    found: dict[str, str] = {}
    for hit in hits:
        under = [unit.heading for unit in units(hit.text, frozenset({hit.title, *hit.headings}))]
        for heading in (*hit.headings, *under):
            if heading.strip() and fold(heading).strip() != fold(hit.title).strip():
                found.setdefault(fold(heading).strip(), " ".join(heading.split()))
    return list(found.values())[:_HEADINGS]


def _sentences(source: Source) -> list[Unit]:
    names = frozenset({source.hit.title, *source.hit.headings})
    return [unit for unit in units(source.text, names) if unit.kind in ("sentence", "item")]


def _nearest(named: Named, sources: Sequence[Source], said: Sequence[str]) -> list[tuple[str, Source]]:
    """The sentences nearest to the centre, in order, none that says what was said."""
    there = [(_BULLET.sub("", unit.text, count=1), source) for source in sources for unit in _sentences(source)]
    there = [pair for pair in there if _LEAST <= width(pair[0]) <= _LONGEST]
    there = [there[n * len(there) // _COMPARED] for n in range(_COMPARED)] if len(there) > _COMPARED else there
    known = [set(tokens(text)) for text in said]
    chosen: list[int] = []
    for n in sorted(range(len(there)), key=_by_nearness(named, [text for text, _ in there])):
        words = set(tokens(there[n][0]))
        if words and len(chosen) < _SENTENCES and all(len(words & other) < _ALIKE * len(words) for other in known):
            chosen.append(n)
            known.append(words)
    return [there[n] for n in sorted(chosen)]


def _by_nearness(named: Named, texts: Sequence[str]) -> Callable[[int], float]:
    """The order of texts by their nearness to the centre; as they stand where the embedder cannot read them."""
    embedder, centre = named.index.embedder, named.document.centre
    if centre is None or not texts:
        return float
    readable = np.array([reading.readable for reading in embedder.read(texts)])
    cosines = np.where(readable, embedder.embed_passages(texts) @ centre, -1.0)
    return lambda n: -float(cosines[n])
