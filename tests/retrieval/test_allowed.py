"""A search among some chunks is the search among all, with the others left out; whichever way it is done."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import RetrievalConfig
from core.types import F32, I64, Chunk, Document, FileEntry
from retrieval import lexical
from retrieval.allowed import Allowed, Census
from retrieval.caches import Caches
from retrieval.embed import Embedder
from retrieval.filters import Filter, Filters
from retrieval.index import Index
from retrieval.reading import Manifest
from retrieval.transaction import Indexed
from tests.retrieval.sql import select

_DIMENSION = 16
_WORDS = [f"word{n}" for n in range(40)]
_LANGUAGES = ("en", "zh", "de")


class _Given(Embedder):
    identity = "given"  # type: ignore[assignment]
    dimension = _DIMENSION  # type: ignore[assignment]


def written(name: str, seed: int) -> tuple[Indexed, F32]:
    """A document of one to five chunks, each in a language of its own."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(_WORDS) + 1)
    texts = [" ".join(rng.choice(_WORDS, rng.integers(1, 30), p=weights / weights.sum())) for _ in range(seed % 5 + 1)]
    chunks = [Chunk(n, 0, len(text), text, language=_LANGUAGES[(seed + n) % 3]) for n, text in enumerate(texts)]
    rows = rng.normal(size=(len(texts), _DIMENSION))
    keys = [f"{name} {seed} {n}".encode() for n in range(len(texts))]
    document = Document(texts[0], tags=("odd",) if seed % 2 else ())
    new = Indexed(FileEntry(name, 1, 0, 0, 0), document, chunks, keys, "en")
    return new, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def put(index: Index, rows: dict[str, int]) -> None:
    """Write documents by name and seed in one transaction; seed 0 takes one out."""
    folder = index.catalog.folder_id("/docs")
    with index.files.transaction() as write:
        for name, seed in rows.items():
            if not seed:
                found = write.db.execute("SELECT id FROM documents WHERE path = ?", [name]).fetchone()
                write.remove(found[0])
                continue
            new, vectors = written(name, seed)
            pairs = zip(new.keys, (row.tobytes() for row in vectors.astype(np.float16)), strict=True)
            write.db.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", pairs)
            write.replace(folder, new)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Its word index lies on disk in several segments, and what was changed since is held in memory."""
    home: Path = tmp_path_factory.mktemp("data") / "kb"
    Index.create(home, "g0001", Manifest("given", "given", "{}", "given"))
    index = Index(home, home / "g0001", _Given(RetrievalConfig()))
    index.catalog.set_meta("dimension", str(_DIMENSION))
    store = index.store
    assert isinstance(store, Caches)
    for start in (1, 200, 400):
        put(index, {f"{'ab'[n % 2]}/{n}.{'md' if n % 3 else 'txt'}": n for n in range(start, start + 200)})
        store._lexical.catch_up(index.files)
    put(index, {"a/new.md": 1_001, "b/3.txt": 1_003, "b/5.md": 0, "a/4.md": 0})
    store._lexical.follow(index.files)
    store._loaded().catch_up(index.files)
    yield index
    index.close()


@pytest.fixture(params=["named", "among the best", "as it suits"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "as it suits":
        monkeypatch.setattr(lexical, "_NAMED", 0 if request.param == "named" else 10**9)
        monkeypatch.setattr(lexical, "_PASSED", 0 if request.param == "named" else 10**9)


def same(found: list[tuple[int, float]], every: list[tuple[int, float]], ids: I64, k: int) -> bool:
    """Whether what was found are the k best of those allowed; equals may stand in either order."""
    expected = [(i, score) for i, score in every if i in set(ids.tolist())]
    scores = dict(expected)
    return (
        len(found) == len({i for i, _ in found}) == min(k, len(expected))
        and all(scores.get(i) == pytest.approx(score, abs=1e-5) for i, score in found)
        and [score for _, score in found] == pytest.approx([score for _, score in expected[:k]], abs=1e-5)
    )


_FILTERS = st.builds(
    Filter,
    paths=st.sampled_from([(), ("a/*",), ("b/1*",), ("a/new.md",), ("?/**",), ("b/2?.md", "b/3.txt"), ("none",)]),
    types=st.sampled_from([(), ("md",), ("txt", "pdf")]),
    languages=st.sampled_from([(), ("en",), ("zh", "de"), ("fr",), _LANGUAGES]),
    tags=st.sampled_from([(), ("odd",)]),
)


@pytest.mark.usefixtures("way")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=_FILTERS, words=st.sets(st.sampled_from([*_WORDS, "never"]), max_size=5), k=st.integers(1, 60))
def test_a_filtered_search_by_words_is_the_ranking_without_the_others(
    index: Index, where: Filter, words: set[str], k: int
) -> None:
    terms = {word: 1.0 + n for n, word in enumerate(sorted(words))}
    ids = Filters().allowed(index.files, where).ids
    assert same(index.store.lexical(terms, k, where), index.store.lexical(terms, 10**6), ids, k)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=_FILTERS, seed=st.integers(0, 10**6), k=st.integers(1, 60))
def test_a_filtered_search_by_meaning_is_the_ranking_without_the_others(
    index: Index, where: Filter, seed: int, k: int
) -> None:
    vector = np.random.default_rng(seed).normal(size=_DIMENSION)
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    ids = Filters().allowed(index.files, where).ids
    assert same(index.store.dense(vector, k, where), index.store.dense(vector, 10**6), ids, k)


@pytest.mark.usefixtures("way")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.sampled_from([0.001, 0.05, 0.5, 0.99]), seed=st.integers(0, 10**6), k=st.integers(1, 60))
def test_chunks_of_any_documents_may_be_searched(index: Index, share: float, seed: int, k: int) -> None:
    every = [i for i, _, _ in select(index.catalog, "SELECT id, document_id, language FROM chunks ORDER BY id")]
    ids = np.asarray(every, np.int64)[np.random.default_rng(seed).random(len(every)) < share]
    terms = {word: 1.0 for word in _WORDS[:4]}
    assert same(index.store.lexical(terms, k, Allowed(ids)), index.store.lexical(terms, 10**6), ids, k)


def test_the_census_that_follows_says_what_a_new_one_says(tmp_path: Path) -> None:
    Index.create(tmp_path, "g0001", Manifest("given", "given", "{}", "given"))
    index = Index(tmp_path, tmp_path / "g0001", _Given(RetrievalConfig()))
    follows = Census()
    for step in range(8):
        put(index, {f"{n}.md": (n * step) % 7 and n + step for n in range(1, 20)} if step else {"1.md": 1})
        put(index, {f"{n}.md": n + 10 * step for n in range(1, 20)})
        if step == 5:  # the log of what was removed no longer reaches back to it
            index.files.forget_removed(index.catalog.generation)
        if step % 2:
            continue
        anew = Census()
        for census in (follows, anew):
            census.catch_up(index.files)
        some = [i for (i,) in select(index.catalog, "SELECT id FROM documents WHERE id % 3 = 0")]
        for languages in ((), ("zh",), ("fr",)):
            one, other = follows.allowed(some, languages), anew.allowed(some, languages)
            where = f"document_id % 3 = 0 AND language IN {languages or _LANGUAGES}".replace(",)", ")")
            (rows,) = [[i for (i,) in select(index.catalog, f"SELECT id FROM chunks WHERE {where} ORDER BY id")]]
            assert one.ids.tolist() == other.ids.tolist() == rows
            assert (one.these, one.named.tolist()) == (other.these, other.named.tolist())
    index.close()


def test_an_index_of_words_without_the_fields_of_filters_is_made_anew(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "lexical"
    made = lexical.Lexical(folder, index.store.dictionary)
    made.catch_up(index.files)
    state = folder / "ragstone.json"
    state.write_text(state.read_text("utf-8").replace(" fields-2", ""), encoding="utf-8")  # as an earlier version wrote
    again = lexical.Lexical(folder, index.store.dictionary)
    assert again.generation == 0
    again.catch_up(index.files)
    among = Filters().allowed(index.files, Filter(paths=("a/*",), languages=("zh",)))
    terms = {"word1": 1.0}
    assert again.generation == index.catalog.generation
    assert again.search(terms, 9, among) == made.search(terms, 9, among) != []
