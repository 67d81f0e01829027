"""Why a search found what it found: the trace in words, and the stage at which a sentence was lost."""

from collections.abc import Sequence

from core.text import fold, tokens
from core.types import Candidate, Query, Trace
from retrieval.index import Index

_NEAR = 50  # chunks that may hold a sentence, by its words


def matched(index: Index, query: Query, text: str) -> list[str]:
    """The terms of a wording that a passage holds, the heaviest first."""
    held = {*tokens(text), *index.store.dictionary.names(text)}
    weights = index.terms(query.text)
    idf = index.idf([term for term in weights if term in held])
    return sorted(idf, key=lambda term: -idf[term] * weights[term])


def fate(index: Index, trace: Trace, sentence: str) -> list[str]:
    """What became of each chunk that holds a sentence, or half of one that was cut: where it ranked, or was lost."""
    holders = _holding(index, sentence)
    if not holders:
        return ["no chunk holds this sentence: it is not in the index (is its file listed by `ragstone files`?)"]
    rows = {row.chunk_id: row for row in trace.candidates}
    return [_told(index, chunk_id, rows.get(chunk_id)) for chunk_id in holders]


def _told(index: Index, chunk_id: int, row: Candidate | None) -> str:
    if row is None:
        spot = index.catalog.spots([chunk_id])[chunk_id]
        where, how = (
            f"{spot.path} #{spot.ordinal}",
            "no retriever ranked it among its candidates, or a filter leaves it out",
        )
    else:
        where = f"{row.path} #{row.ordinal}"
        how = f"found at rank {row.rank}" if row.rank else f"lost by: {row.dropped}"
        how += "; " + ", ".join(f"{p.retriever} rank {p.rank} (query {p.query + 1})" for p in row.places)
    return f"{where}: {how}"


def _holding(index: Index, sentence: str) -> Sequence[int]:
    """Chunks whose text, folded and without white space, contains the sentence or either half of it."""
    wanted = _bare(sentence)
    halves = (wanted[: len(wanted) // 2], wanted[len(wanted) // 2 :])
    near = index.store.lexical(dict.fromkeys(tokens(sentence), 1.0), _NEAR)
    texts = {chunk_id: _bare(hit.text) for chunk_id, hit in index.hits([i for i, _ in near]).items()}
    whole = [i for i, text in texts.items() if wanted and wanted in text]
    return whole or [i for i, text in texts.items() if len(wanted) > 20 and any(half in text for half in halves)]


def _bare(text: str) -> str:
    return "".join(fold(text).split())
