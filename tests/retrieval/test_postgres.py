"""What is PostgreSQL's own among the promises of a home."""

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CatalogError
from core.glob import matcher
from core.text import tokens
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.postgres.catalog import PgCatalog
from retrieval.postgres.generations import parts
from retrieval.postgres.limits import condition
from retrieval.postgres.server import Server
from retrieval.postgres.server import server as server_of
from retrieval.postgres.writes import quoted, stored
from tests.retrieval.homes import Postgres, document, held, ids_of, put, vector
from tests.retrieval.pg import Cluster


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Server:
    return server_of(cluster.database("patterns"))


@pytest.fixture
def index(cluster: Cluster) -> Iterator[Index]:
    index = Postgres(cluster.database(uuid.uuid4().hex), exact_below=50).make("kb")
    yield index
    index.close()


def _indexes(index: Index) -> list[str]:
    """The approximate indexes of vectors that there are."""
    assert isinstance(index.catalog, PgCatalog)
    with index.catalog.server.borrowed() as db:
        sql = "SELECT indexname FROM pg_indexes WHERE schemaname = 'ragstone' AND indexdef LIKE '%hnsw%'"
        return [name for (name,) in db.execute(sql).fetchall()]


def test_what_postgresql_cannot_hold_is_kept_as_something_as_long(index: Index) -> None:
    text = "before\x00after 𠮷" + "z" * 5000
    put(index, document("a.md", {1: text}))
    (hit,) = index.catalog.chunks_of(index.catalog.documents()[0].id)
    assert (hit.text, len(hit.text)) == (text.replace("\x00", "\ufffd"), len(text))
    long = max(tokens(text), key=len)
    assert [i for i, _ in index.store.lexical({long: 1.0}, 5)] == [hit.chunk_id]
    assert (stored("a"), quoted("a'b\\")) == ("a", "'a''b\\\\'")


def test_a_word_counts_as_often_as_it_stands_there(index: Index) -> None:
    put(index, document("a.md", {1: "delta " * 300}), document("b.md", {2: "delta " * 290 + "zeta " * 10}))
    (a,), (b,) = ids_of(index)["a.md"], ids_of(index)["b.md"]
    scores = dict(index.store.lexical({"delta": 1.0}, 5))
    assert scores[a] > scores[b] > 0


def test_common_words_are_put_off_without_another_result(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        f"common {'often ' * (n % 3)}{'seldom' if n % 20 == 0 else ''} {'once' if n == 7 else ''}" for n in range(100)
    ]
    put(index, *(document(f"{n}.md", {n: text}) for n, text in enumerate(words)))
    asked = [
        {token: 1.0 for word in own for token in tokens(word)}
        for own in (["common", "once"], ["often", "seldom"], ["common", "often", "once"])
    ]
    limits = (None, Filter(paths=("1*",)))
    ways = []
    for first, joined in ((1000, 8), (4, 8), (1, 8), (0.01, 8), (0.01, 1), (1, 0)):
        monkeypatch.setattr("retrieval.postgres.search._FIRST", first)
        monkeypatch.setattr("retrieval.postgres.search._JOINED", joined)
        ways.append([index.store.lexical(terms, k, where) for terms in asked for k in (1, 4, 1000) for where in limits])
    assert all(way == ways[0] for way in ways)
    assert all(ways[0][::2])


@given(st.lists(st.text("ab*?/.é", max_size=6), min_size=1, max_size=3), st.text("abA/.é", max_size=6))
def test_a_filter_of_paths_says_what_it_says_elsewhere(server: Server, globs: list[str], path: str) -> None:
    for where in (Filter(paths=tuple(globs)), Filter(types=tuple(globs))):
        sql, values = condition(where)
        asked = f'SELECT {sql or "TRUE"} FROM (SELECT %s::text COLLATE "C" AS path) d'
        with server.borrowed() as db:
            found = db.execute(asked.encode(), [*values, path]).fetchall()[0][0]
        suffixes = tuple("." + glob.lower().lstrip(".") for glob in globs)
        assert found == (matcher(globs)(path) if where.paths else path.lower().endswith(suffixes))


def test_the_approximate_index_is_made_once_there_are_enough_and_used(index: Index) -> None:
    put(index, *(document(f"{n}.md", {n: f"text {n}"}) for n in range(40)))
    assert _indexes(index) == []
    put(index, *(document(f"{n}.md", {n: f"text {n}"}) for n in range(40, 400)))
    assert len(_indexes(index)) == 1
    assert index.store.recall() >= 0.9
    assert len(index.store.dense(vector(1), 300)) == 300
    with index.writing():
        index.store.rebuild()
    assert len(_indexes(index)) == 1
    assert index.verify() == []


def _tampered(index: Index, *statements: str) -> None:
    assert isinstance(index.catalog, PgCatalog)
    with index.catalog.server.borrowed() as db:
        for statement in statements:
            db.execute(parts(statement, index.catalog.base).encode())


@pytest.mark.parametrize(
    ("said", "statement", "again"),
    [
        ("not found by their words", "DELETE FROM ragstone.words WHERE length > 0", 0),
        ("not found by their words", "UPDATE ragstone.words SET terms = '''delta'':1,2'", 0),
        ("not found by their words", "UPDATE ragstone.words SET length = length + 1", 0),
        ("words are counted wrongly", "UPDATE ragstone.lexemes SET chunks = chunks + 1 WHERE term = 'delta'", 0),
        ("words are counted wrongly", "DELETE FROM ragstone.lexemes WHERE term = 'delta'", 0),
        ("words belong to no chunk", "UPDATE ragstone.words SET id = id + 1000", 0),
        ("lost their embedding", "DELETE FROM ragstone.vectors", 2),
        ("vectors have another length", "UPDATE ragstone.vectors SET vector = '[1,2,3]'", 2),
        ("vectors belong to no chunk", "UPDATE ragstone.chunks SET key = NULL", 0),
        ("do not match their offsets", "UPDATE ragstone.chunks SET text = 'delta'", 2),
        ("do not have all their chunks", "DELETE FROM ragstone.chunks WHERE text LIKE '%beta'", 1),
        ("chunks belong to no document", "UPDATE ragstone.documents SET id = DEFAULT WHERE path = 'a.md'", 1),
        ("number of chunks that is kept", "UPDATE ragstone.meta SET value = '9' WHERE key = 'length'", 0),
    ],
)
def test_what_is_wrong_is_told_and_mended(index: Index, said: str, statement: str, again: int) -> None:
    put(index, document("a.md", {1: "delta alpha"}), document("b.md", {2: "delta beta"}))
    assert index.verify() == []
    _tampered(index, statement)
    found = index.verify(repair=True)
    assert any(said in problem for problem in found), found
    assert index.catalog.to_be_read_again() == again
    left = index.verify()
    assert not left or again, left  # what is lost comes back when its file is read again
    if not again:
        assert index.store.frequencies(["delta"]) == (2, {"delta": 2})
        assert len(index.store.lexical({"delta": 1.0}, 5)) == 2


def test_an_old_state_that_somebody_holds_on_to_is_not_said_to_be_erased(
    index: Index, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(index, document("a.md", {1: "delta alpha"}))
    assert isinstance(index.catalog, PgCatalog)
    monkeypatch.setattr("retrieval.postgres.check._WAIT_S", 0.1)
    with index.catalog.server.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM ragstone.meta")
        with index.writing() as catalog:
            with catalog.transaction() as write:
                write.remove(catalog.documents()[0].id)
            with pytest.raises(CatalogError, match="old state cannot be erased"):
                catalog.vacuum()
        other.execute("COMMIT")
    with index.writing() as catalog:
        catalog.vacuum()


def test_the_approximate_index_fills_k_within_a_filter_that_lets_many_through(index: Index) -> None:
    put(index, *(document(f"{n}.{'md' if n % 3 else 'txt'}", {n: f"text {n}"}) for n in range(600)))
    seeds = {ids[0]: int(path.split(".")[0]) for path, ids in ids_of(index).items()}
    inside = [i for i, seed in seeds.items() if seed % 3]
    found = 0
    for question in range(5000, 5010):
        near = index.store.dense(vector(question), 20, Filter(types=("md",)))
        assert len(near) == 20
        assert {i for i, _ in near} <= set(inside)
        best = sorted(inside, key=lambda i: -float(held(seeds[i]) @ vector(question)))[:20]
        found += len({i for i, _ in near} & set(best))
    assert found >= 180  # of 200
