"""Search in PostgreSQL: a `Store` (retrieval/store.py) that has no cache, so that a search sees what is committed."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CatalogError, ConfigError
from core.types import F32
from retrieval import dictionary
from retrieval.allowed import Allowed
from retrieval.dictionary import Dictionary
from retrieval.postgres.catalog import PgCatalog, written
from retrieval.postgres.generations import PARTED
from retrieval.postgres.limits import condition
from retrieval.postgres.server import TABLES
from retrieval.postgres.writes import TOLD, quoted, stored
from retrieval.store import Limit

_K1, _B = 1.2, 0.75  # of BM25, as tantivy has them
_MAX_TERMS = 256  # of a question; more only costs time
_FIRST = 1.5  # times as many chunks as are wanted hold the words that are looked at first, the rarest
_MORE = 8  # times as many, where these were too few
_JOINED = 8  # the most common words are looked for together
_LEAST_RECALL = 0.95
_WIDER = 2  # times as many as are wanted come out of the approximate index, to be ranked by the exact cosine
_QUESTIONS = 50
_COUNT_EVERY = 0.1  # share of the chunks that may be new before the server counts them again
_FINE = 4096.0  # what half precision loses of a question's vector is asked for by a second one, so many times as long
# ts_rank of one lexeme with n positions is a tenth of the sum of 1 / i^2 up to n, by what that is for all (here each
# number is in the middle between two of them), so that the bucket of it is n.
_SUMS = list(accumulate(1 / n**2 for n in range(1, TOLD + 1)))
_BUCKETS = [0.1 * (_SUMS[n] + (_SUMS[n - 1] if n else 0.0)) / 2 / 1.64493406685 for n in range(TOLD)]
_HELD = f"width_bucket(ts_rank(s.terms, %s::tsquery)::float8, '{{{','.join(map(repr, _BUCKETS))}}}')::float8"
_OFTEN = f"(SELECT greatest(u.positions[{TOLD}], t{{0}}) FROM unnest(terms) u WHERE u.lexeme = %s)"


class PgStore:
    """What a knowledge base in PostgreSQL is searched by. Safe to use from many threads."""

    def __init__(self, catalog: PgCatalog, home: Path, exact_below: int) -> None:
        self.catalog = catalog
        self.home = home
        self.exact_below = exact_below

    on_server = True

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
        wider = math.ceil(_WIDER * k)
        looked_at = f"SET LOCAL hnsw.ef_search = {min(max(wider, 100), 1000):d}"
        with self._snapshot(looked_at, "SET LOCAL hnsw.iterative_scan = relaxed_order"):  # the exact cosine orders
            kept = self._kept("dimension", "chunks", "blind_chunks")
            dimension = kept.get("dimension", 0)
            if k <= 0 or not dimension:
                return []
            if vector.shape != (dimension,):
                raise CatalogError(
                    f"the question's vector has the shape {vector.shape}, the index holds {dimension} numbers each",
                    "set retrieval.embedder to what the knowledge base was made with",
                )
            limit, values = self._limit(where)
            held = (
                f"FROM ragstone.vectors_{self.catalog.base:d} s{' WHERE ' * bool(limit)}{limit.removeprefix(' AND ')}"
            )
            coarse = vector.astype(np.float16)
            asked = [written(coarse), written((vector - coarse.astype(np.float32)) * _FINE)]
            cosine = f"-(s.vector <#> %s::halfvec) - (s.vector <#> %s::halfvec) / {_FINE}"
            dense = kept["chunks"] - kept["blind_chunks"]
            if dense >= self.exact_below and self._at_most(where, dense) >= self.exact_below:
                near = f"(s.vector::halfvec({dimension:d})) <#> %s::halfvec({dimension:d})"
                some = f"SELECT s.id, s.vector {held} ORDER BY {near} LIMIT {wider:d}"
                sql = f"SELECT s.id, {cosine} AS score FROM ({some}) s ORDER BY score DESC, s.id LIMIT {k:d}"
                found = self._rows(sql, [*asked, *values, asked[0]])
                if len(found) >= min(k, dense):
                    return found
            some = f"SELECT s.id, s.vector {held} ORDER BY s.vector <#> %s::halfvec, s.id LIMIT {wider:d}"
            sql = f"SELECT s.id, {cosine} AS score FROM ({some}) s ORDER BY score DESC, s.id LIMIT {k:d}"
            return self._rows(sql, [*asked, *values, asked[0]])

    def lexical(self, terms: Mapping[str, float], k: int, where: Limit = None) -> list[tuple[int, float]]:
        """(chunk id, BM25 score) of the k best chunks within a limit that hold a term; best first, all above 0.

        sum of weight * ln(1 + (N - df + 0.5) / (df + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean)):
        Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with Lucene's idf.

        Common words are looked for only where they can still change which chunks are best: a word adds at most its
        weight * idf * (k1 + 1), so that a chunk without rarer ones must hold as many as reach the last of the best that
        these find (as Turtle and Flood, "Query Evaluation: Strategies and Optimizations", 1995).
        """
        if k <= 0 or not terms:
            return []
        with self._snapshot():
            kept, frequencies = self._numbers(list(islice(terms, _MAX_TERMS)))
            weights: dict[str, float] = {}
            for term, df in frequencies.items():
                if df:
                    idf = math.log(1 + (kept["chunks"] - df + 0.5) / (df + 0.5))
                    weights[stored(term)] = weights.get(stored(term), 0.0) + terms[term] * idf
            order = sorted(weights, key=lambda term: (-weights[term], term))
            most = {term: weight * (_K1 + 1) for term, weight in weights.items()}
            mean = max(kept["length"] / max(kept["chunks"], 1), 1e-9)
            score = partial(self._scored, weights, mean, k, self._limit(where))
            counts = {stored(term): df for term, df in frequencies.items()}
            enough = _FIRST * k * max(kept["chunks"], 1) / max(self._at_most(where, kept["chunks"]), 1)
            while (first := _so_many(order, counts, enough)) < len(order):
                found = score(order[:first])
                least = found[-1][1] * (1 - 1e-9) if len(found) == k else 0.0
                if sum(most[term] for term in order[first:]) < least:
                    return found
                if least:
                    more = max(first, len(order) - _JOINED)
                    others = score(order[first:more], _together(order[more:], most, least), order[:first])
                    return sorted([*found, *others], key=lambda row: (-row[1], row[0]))[:k]
                enough *= _MORE
            return score(order)

    def _scored(
        self, weights: Mapping[str, float], mean: float, k: int, limit: tuple[str, list[object]],
        any_of: Sequence[str], or_all_of: Sequence[Sequence[str]] = (), none_of: Sequence[str] = (),
    ) -> list[tuple[int, float]]:  # fmt: skip
        """The k best chunks that hold one of some lexemes, or all of one of some lists of them, by the weights of all.

        `mean` is the length of a chunk, `limit` a condition on chunks; those that hold one of `none_of` are left out.
        """
        if not any_of and not or_all_of:
            return []
        queries = [quoted(term) for term in any_of]
        queries += ["(" + " & ".join(map(quoted, every)) + ")" for every in or_all_of]
        every, among, values = range(len(weights)), limit[0], limit[1]
        if none_of:
            among, values = f" AND NOT s.terms @@ %s::tsquery{among}", [" | ".join(map(quoted, none_of)), *values]
        held = ", ".join(f"{_HELD} AS t{n}" for n in every)
        summed = " + ".join(f"%s::float8 * t{n} / (t{n} + damped)" for n in every)
        told = ", ".join(f"CASE t{n} WHEN {TOLD} THEN {_OFTEN.format(n)} ELSE t{n} END AS t{n}" for n in every)
        sql = f"""WITH held AS NOT MATERIALIZED (SELECT s.id, s.often, s.terms, {held},
                {_K1} * ({1 - _B} + {_B} * s.length / %s::float8) AS damped
                FROM ragstone.words_{self.catalog.base:d} s WHERE s.terms @@ %s::tsquery{among} OFFSET 0)
            SELECT id, CASE WHEN NOT often THEN {summed} ELSE
                (SELECT {summed} FROM (SELECT {told} OFFSET 0) told) END AS score
            FROM held ORDER BY score DESC, id LIMIT {k:d}"""
        factors = [weight * (_K1 + 1) for weight in weights.values()]
        asked = [*map(quoted, weights), mean, " | ".join(queries), *values, *factors, *factors, *weights]
        return self._rows(sql, asked)

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many chunks there are, and how many of them hold each term; of this knowledge base alone."""
        kept, found = self._numbers(list(terms))
        return kept["chunks"], found

    def _numbers(self, terms: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
        """The counts of chunks and of their words, and how many of them hold each term; asked for at once."""
        sql = """SELECT TRUE, key, value::bigint FROM ragstone.meta WHERE base = %s AND key IN ('chunks', 'length')
                 UNION ALL SELECT FALSE, term, chunks FROM ragstone.lexemes WHERE base = %s AND term = ANY(%s)"""
        base, own = self.catalog.base, {term: stored(term) for term in terms}
        rows = self._rows(sql, [base, base, list(own.values())])
        counted = {term: int(count) for kept, term, count in rows if not kept}
        return {key: int(value) for kept, key, value in rows if kept}, {
            term: counted.get(each, 0) for term, each in own.items()
        }

    def _kept(self, *keys: str) -> dict[str, int]:
        """Numbers of the manifest."""
        sql = "SELECT key, value::bigint FROM ragstone.meta WHERE base = %s AND key = ANY(%s)"
        return dict(self._rows(sql, [self.catalog.base, list(keys)]))

    def _at_most(self, where: Limit, every: int) -> int:
        """How many of the chunks a limit lets through at most, by what documents say of themselves."""
        if where is None or isinstance(where, Allowed):
            return every if where is None else len(where)
        within, values = condition(where)
        if not within:
            return every
        sql = f"SELECT coalesce(sum(d.chunks), 0) FROM ragstone.documents d WHERE d.base = %s AND {within}"
        return self._rows(sql, [self.catalog.base, *values])[0][0]

    def _limit(self, where: Limit) -> tuple[str, list[object]]:
        """A limit as a condition on `s`, and what is bound in it."""
        if where is None:
            return "", []
        if isinstance(where, Allowed):
            return " AND s.id = ANY(%s)", [where.ids.tolist()]
        within, values = condition(where)
        parts = ""
        if within:
            parts = f""" AND s.document_id IN (SELECT d.id FROM ragstone.documents d
                WHERE d.base = {self.catalog.base:d} AND {within})"""
        if where.languages:
            parts += " AND s.language = ANY(%s)"
            values = [*values, list(where.languages)]
        return parts, values

    @contextmanager
    def _snapshot(self, *settings: str) -> Iterator[None]:
        """What is asked inside belongs together."""
        with self.catalog.server.borrowed() as db:
            if db.info.transaction_status != db.info.transaction_status.IDLE:
                yield  # of whom the transaction is decides
                return
            begun = "; ".join(("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", *settings))
            db.execute(begun.encode())
            try:
                yield
            finally:
                db.execute("COMMIT")

    def _rows(self, sql: str, values: Sequence[object]) -> list[Any]:
        with self.catalog.server.borrowed() as db:
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
        """Make the approximate index of vectors where there are enough of them; anew where it is there, if `whole`.

        Where much is new, the server counts what it plans by; what came into the index of words is put in its place.
        """
        base = self.catalog.base
        kept = self._kept("dimension", "chunks", "blind_chunks", "counted")
        dimension, counted = kept.get("dimension", 0), kept.get("counted", 0)
        name = f"nearest_{base:d}"
        with self.catalog.server.borrowed() as db:
            if whole:
                db.execute(f"DROP INDEX IF EXISTS ragstone.{name}".encode())
            if dimension and kept["chunks"] - kept["blind_chunks"] >= self.exact_below:
                there = db.execute("SELECT to_regclass(%s)", [f"ragstone.{name}"]).fetchall()
                if there == [(None,)]:
                    room = min(max(64, kept["chunks"] * (2 * dimension + 512) >> 19), 2048)  # else it takes many times
                    db.execute(f"SET maintenance_work_mem = '{room:d}MB'".encode())
                    column = f"(vector::halfvec({dimension:d}))"
                    sql = f"CREATE INDEX {name} ON ragstone.vectors_{base:d} USING hnsw (({column}) halfvec_ip_ops)"
                    db.execute(sql.encode())
                    db.execute(f"ALTER INDEX ragstone.{name} ALTER 1 SET STATISTICS 0".encode())
                    db.execute("RESET maintenance_work_mem")
            if whole or abs(kept["chunks"] - counted) > _COUNT_EVERY * max(counted, 1):
                for table in (f"{table}_{base:d}" if table in PARTED else table for table in TABLES):
                    db.execute(f"VACUUM (ANALYZE, SKIP_LOCKED) ragstone.{table}".encode())
                self.catalog.set_meta("counted", str(kept["chunks"]))

    def rebuild(self) -> None:
        """Make the approximate index of vectors anew. Only the holder of the writer lock may call this."""
        self.save(whole=True)


def _so_many(order: Sequence[str], counts: Mapping[str, int], enough: float) -> int:
    """How many of the first words so many chunks hold, each counted by itself."""
    found = 0
    for n, term in enumerate(order, start=1):
        found += counts[term]
        if found >= enough:
            return n
    return len(order)


def _together(terms: Sequence[str], most: Mapping[str, float], least: float) -> list[list[str]]:
    """The smallest lists of words whose largest scores together reach the least that counts."""
    found: list[list[str]] = []

    def add(start: int, chosen: list[str], reached: float) -> None:
        for n in range(start, len(terms)):
            every, score = [*chosen, terms[n]], reached + most[terms[n]]
            if score >= least:
                found.append(every)
            else:
                add(n + 1, every, score)

    add(0, [], 0.0)
    return found
