"""Search in PostgreSQL: a `Store` (retrieval/store.py) that has no cache, so that a search sees what is committed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import CatalogError, ConfigError
from core.types import F32
from retrieval import dictionary
from retrieval.allowed import Allowed
from retrieval.dictionary import Dictionary
from retrieval.filters import Filter, documents_within
from retrieval.postgres.catalog import PgCatalog, written
from retrieval.postgres.writes import quoted, stored
from retrieval.store import Limit

_K1, _B = 1.2, 0.75  # of BM25, as tantivy has them
_MAX_TERMS = 256  # of a question; more only costs time
_COMMON = 20_000  # chunks: a word that more of them hold is first left to what rarer words find
_LEAST_RECALL = 0.95
_WIDER = 4  # times as many as are wanted come out of the approximate index, to be ranked by the exact cosine
_QUESTIONS = 50


class PgStore:
    """What a knowledge base in PostgreSQL is searched by. Safe to use from many threads."""

    def __init__(self, catalog: PgCatalog, home: Path, exact_below: int) -> None:
        self.catalog = catalog
        self.home = home
        self.exact_below = exact_below

    @property
    def dictionary(self) -> Dictionary:
        """Nothing yet: see `follow`."""
        return Dictionary()

    def follow(self) -> None:
        """There is nothing to bring up to date. Raises `ConfigError` where there is a dictionary, which is not read."""
        if (self.home / dictionary.FILE).exists():
            raise ConfigError(
                f"{str(self.home / dictionary.FILE)!r} is not read with app.database yet", "take it away for now"
            )

    def dense(self, vector: F32, k: int, where: Limit = None) -> list[tuple[int, float]]:
        """(chunk id, cosine) of the k nearest chunks within a limit; best first, fewer only where there are fewer."""
        dimension = int(self.catalog.meta("dimension", "0"))
        if k <= 0 or not dimension:
            return []
        if vector.shape != (dimension,):
            raise CatalogError(
                f"the question's vector has the shape {vector.shape}, the index holds {dimension} numbers each",
                "set retrieval.embedder to what the knowledge base was made with",
            )
        with self.catalog.snapshot():
            limit, values = self._limit(where)
            held = f"FROM ragstone.chunks c WHERE c.base = {self.catalog.base:d} AND c.vector IS NOT NULL{limit}"
            asked, allowed = written(vector), self._rows(f"SELECT count(*) {held}", values)[0][0]
            cosine = f"-((c.vector::vector({dimension:d})) <#> %s::vector({dimension:d}))"
            if allowed >= self.exact_below:
                near = f"(c.vector::halfvec({dimension:d})) <#> %s::halfvec({dimension:d})"
                wider = f"SELECT c.id, c.vector {held} ORDER BY {near} LIMIT {_WIDER * k:d}"
                sql = f"SELECT c.id, {cosine} AS score FROM ({wider}) c ORDER BY score DESC, c.id LIMIT {k:d}"
                found = self._rows(sql, [asked, *values, asked], ef=min(max(_WIDER * k, 100), 1000))
                if len(found) >= min(k, allowed):
                    return found
            sql = f"SELECT c.id, {cosine} AS score {held} ORDER BY score DESC, c.id LIMIT {k:d}"
            return self._rows(sql, [asked, *values])

    def lexical(self, terms: Mapping[str, float], k: int, where: Limit = None) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks within a limit that hold a term; best first, all above 0.

        sum of weight * ln(1 + (N - df + 0.5) / (df + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean)):
        Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with Lucene's idf.
        What holds common words only is looked at where it can still be among the best: a word adds at most its weight
        * idf * (k1 + 1).
        """
        if k <= 0 or not terms:
            return []
        with self.catalog.snapshot():
            total, frequencies = self.frequencies(terms)
            weights: dict[str, float] = {}
            for term, weight in islice(terms.items(), _MAX_TERMS):
                if df := frequencies[term]:
                    weights[stored(term)] = weight * math.log(1 + (total - df + 0.5) / (df + 0.5))
            if not weights:
                return []
            rare = [stored(term) for term, df in frequencies.items() if 0 < df <= _COMMON and stored(term) in weights]
            limit = self._limit(where)
            if rare and len(rare) < len(weights):
                found = self._scored(weights, rare, k, limit)
                missed = sum(weight * (_K1 + 1) for term, weight in weights.items() if term not in rare)
                if len(found) == k and found[-1][1] >= missed:
                    return found
            return self._scored(weights, list(weights), k, limit)

    def _scored(
        self, weights: Mapping[str, float], any_of: Sequence[str], k: int, limit: tuple[str, list[object]]
    ) -> list[tuple[int, float]]:
        """The k best chunks that hold one of some lexemes, by the weights of all."""
        length, chunks = int(self.catalog.meta("length")), max(self.catalog.counts().chunks, 1)
        mean = max(length / chunks, 1e-9)
        among, values = limit
        sql = f"""SELECT c.id, sum(a.weight * u.positions[1] * {_K1 + 1}
                / (u.positions[1] + {_K1} * ({1 - _B} + {_B} * c.length / %s::float8))) AS score
            FROM ragstone.chunks c CROSS JOIN LATERAL unnest(c.terms) u
            JOIN unnest(%s::text[], %s::float8[]) a(term, weight) ON a.term = u.lexeme
            WHERE c.base = {self.catalog.base:d} AND c.terms @@ %s::tsquery{among}
            GROUP BY c.id ORDER BY score DESC, c.id LIMIT {k:d}"""
        query = " | ".join(map(quoted, any_of))
        return self._rows(sql, [mean, list(weights), list(weights.values()), query, *values])

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many chunks there are, and how many of them hold each term; of this knowledge base alone."""
        kept = {term: stored(term) for term in terms}
        sql = "SELECT term, chunks FROM ragstone.lexemes WHERE base = %s AND term = ANY(%s)"
        known = dict(self._rows(sql, [self.catalog.base, list(kept.values())])) if kept else {}
        return self.catalog.counts().chunks, {term: int(known.get(own, 0)) for term, own in kept.items()}

    def _limit(self, where: Limit) -> tuple[str, list[object]]:
        """A limit as a condition on `c`, and what is bound in it."""
        if where is None or (isinstance(where, Filter) and where.empty):
            return "", []
        if isinstance(where, Allowed):
            return " AND c.id = ANY(%s)", [where.ids.tolist()]
        parts = ""
        values: list[object] = []
        if where != Filter(languages=where.languages):
            parts = " AND c.document_id = ANY(%s)"
            values.append(documents_within(self.catalog, where))
        if where.languages:
            parts += " AND c.language = ANY(%s)"
            values.append(list(where.languages))
        return parts, values

    def _rows(self, sql: str, values: Sequence[object], ef: int = 0) -> list[Any]:
        with self.catalog.server.borrowed() as db:
            if ef:  # within a snapshot, whose end undoes it
                db.execute(f"SET LOCAL hnsw.ef_search = {ef:d}".encode())
                db.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            return db.execute(sql.encode(), values).fetchall()

    def recall(self) -> float:
        """Share of the ten nearest chunks that `dense` finds, against exact search, by stored vectors."""
        if self.catalog.counts().dense < self.exact_below:
            return 1.0
        questions, _ = self.catalog.sample(_QUESTIONS)
        exact = PgStore(self.catalog, self.home, 1 << 62)
        pairs = [(self.dense(row, 10), exact.dense(row, 10)) for row in questions]
        found = sum(sum(score >= best[-1][1] - 2e-5 for _, score in near) for near, best in pairs)
        return found / max(sum(len(best) for _, best in pairs), 1)

    def problems(self) -> list[str]:
        """What is wrong, in words; empty when all is well. Nothing is written."""
        recall = self.recall()
        return [] if recall >= _LEAST_RECALL else [f"approximate search finds {recall:.0%} of the nearest chunks"]

    def save(self, *, whole: bool = False) -> None:
        """Make the approximate index of vectors where there are enough of them; anew where it is there, if `whole`."""
        name, dimension = f"nearest_{self.catalog.base:d}", int(self.catalog.meta("dimension", "0"))
        with self.catalog.server.borrowed() as db:
            if whole:
                db.execute(f"DROP INDEX IF EXISTS ragstone.{name}".encode())
            if dimension and self.catalog.counts().dense >= self.exact_below:
                table, column = f"ragstone.chunks_{self.catalog.base:d}", f"(vector::halfvec({dimension:d}))"
                sql = f"CREATE INDEX IF NOT EXISTS {name} ON {table} USING hnsw (({column}) halfvec_ip_ops)"
                db.execute(sql.encode())

    def rebuild(self) -> None:
        """Make the approximate index of vectors anew. Only the holder of the writer lock may call this."""
        self.save(whole=True)
