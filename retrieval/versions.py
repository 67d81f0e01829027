"""Several versions of one document: the newest answers, and says that the others exist."""

import re
from collections.abc import Sequence
from dataclasses import replace

from core.types import Hit
from retrieval.minhash import SIMILAR, similarity
from retrieval.reading import Version
from retrieval.store import Catalog

_HOUR_NS = 3_600_000_000_000  # files that were written together, by a checkout or a copy, differ by less
_AS_WELL = 0.87  # of a score: what another length of the passage may make of it
# A year, a number with dots, one behind "v", "version", "edition" or "第", before "版".
_NAMED = re.compile(
    r"(?<![\d.])((?:19|20)\d\d)(?!\d|\.\d)|(?<![\d.])(\d{1,4}(?:\.\d{1,4}){1,3})(?![\d.]\d)"
    r"|(?:\bv|\bversion |\bedition |第)(\d{1,4})(?![\d.]\d)",
    re.IGNORECASE | re.ASCII,
)
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_NUMBER = re.compile(r"[0-9]+")


def newer(one: Version, other: Version) -> bool:
    """Whether `one` is the newer of two near-identical documents.

    Paths that differ in numbers only (`v1.2/a.md`, `handbook-2025.docx`) are compared by these, others by the time of
    their last change. Where neither tells, neither is newer.
    """
    if one.path != other.path and _NUMBER.sub("#", one.path) == _NUMBER.sub("#", other.path):
        return _numbers(one.path) > _numbers(other.path)
    return one.mtime_ns > other.mtime_ns + _HOUR_NS


def _numbers(path: str) -> list[tuple[int, str]]:
    """The numbers in a path, in a form that is ordered as they are, however long they are."""
    return [(len(number), number) for number in (found.lstrip("0") for found in _NUMBER.findall(path))]


def named_versions(question: str) -> frozenset[str]:
    """The years and version numbers that a question names.

    >>> sorted(named_versions("Compare the 2023 rules with v1.10, 第3版"))
    ['1.10', '2023', '3']
    """
    return frozenset(next(filter(None, match.groups())) for match in _NAMED.finditer(question))


def prefer_newest(catalog: Catalog, hits: Sequence[Hit], named: frozenset[str] = frozenset()) -> list[Hit]:
    """The hits, best first, with those of a document behind the newest version of it, where that says as much.

    The newest version's best hit takes the place of the best of all versions, and these follow it; what else was found
    keeps its place among them. A hit that fits the question better than the newer version does stays: invoices of one
    form are near-identical too, and the question names one. Where it names versions (`named`) and the paths or titles
    of some say so, those stay and the others are behind all. Each hit names its older and newer versions.
    """
    versions = {own.document_id: _similar(own, others) for own, others in catalog.near({h.document_id for h in hits})}
    best: dict[int, Hit] = {}
    for hit in hits:
        if hit.document_id in versions:  # else: deleted since it was found
            best.setdefault(hit.document_id, hit)
    kept: dict[int, Hit] = {}
    behind: list[Hit] = []
    for hit in (hit for hit in hits if hit.document_id in best):
        own, *others = versions[hit.document_id]
        asked = {v.document_id for v in (own, *others) if _is_named(v, best.get(v.document_id), named)}
        if 0 < len(asked) <= len(others):
            if own.document_id in asked:  # beside others that are named too
                kept.setdefault(hit.chunk_id, _named(hit, own, *(v for v in others if v.document_id not in asked)))
            else:
                behind.append(_named(hit, own, *others))
            continue
        later = [v for v in others if newer(v, own) and v.document_id in best and _stands_for(best[v.document_id], hit)]
        newest = next((v for v in later if not any(newer(other, v) for other in later)), None)
        shown = best[newest.document_id] if newest else hit
        kept.setdefault(shown.chunk_id, _named(shown, *versions[shown.document_id]))
        kept.setdefault(hit.chunk_id, _named(hit, own, *others))
    return [*kept.values(), *behind]


def _is_named(version: Version, hit: Hit | None, named: frozenset[str]) -> bool:
    return not named.isdisjoint(_DOTTED.findall(f"{version.path}\n{hit.title if hit else ''}"))


def _stands_for(new: Hit, old: Hit) -> bool:
    """Whether the hit of a newer version fits the question about as well as that of an older one."""
    if old.lexical_score is not None:
        return (new.lexical_score or 0.0) >= _AS_WELL * old.lexical_score
    return (new.dense_score or 0.0) >= _AS_WELL * (old.dense_score or 0.0)


def without_superseded(hits: Sequence[Hit]) -> list[Hit]:
    """The hits without those that a newer version among them, which stands before them, stands for."""
    best: dict[str, Hit] = {}
    kept = []
    for hit in hits:
        if not any(path in best and _stands_for(best[path], hit) for path in hit.newer):
            kept.append(hit)
        best.setdefault(hit.path, hit)
    return kept


def _similar(own: Version, others: Sequence[Version]) -> list[Version]:
    """A document and those of the others that say nearly the same."""
    return [own, *(other for other in others if similarity(own.sketch, other.sketch) >= SIMILAR)]


def _named(hit: Hit, own: Version, *others: Version) -> Hit:
    if not others:
        return hit
    older = sorted(other.path for other in others if newer(own, other))
    later = sorted(other.path for other in others if newer(other, own))
    return replace(hit, older=tuple(older), newer=tuple(later))
