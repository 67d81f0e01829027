"""What every home of knowledge bases promises beside its types (retrieval/store.py)."""

import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import CatalogError
from core.text import tokens
from core.types import Choice, Correction, FileEntry, FileError
from retrieval import store
from retrieval.changes import LexicalRow
from retrieval.filters import Filter
from retrieval.index import Index
from retrieval.lexical import words_of
from retrieval.minhash import similarity
from retrieval.transaction import Indexed
from tests.retrieval.homes import DIMENSION, HOMES, Given, Home, document, elsewhere, embed, held, ids_of, put, vector
from tests.retrieval.pg import Cluster

ODD = ("gb/t5972", "c++", "a'b", "第12条", "\\", 'say "x"', "e-4102", "10.0.0.1", "naïve", "𠮷野")


@pytest.fixture(params=sorted(HOMES))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    if request.param == "sqlite":
        return HOMES["sqlite"](str(tmp_path))
    if request.param == "store":
        return HOMES["store"](os.environ["RAGSTONE_TEST_STORE"].replace("{}", str(tmp_path)))
    cluster: Cluster = request.getfixturevalue("cluster")
    return HOMES["postgresql"](cluster.database(uuid.uuid4().hex))


@pytest.fixture
def index(home: Home) -> Iterator[Index]:
    index = home.make("kb")
    yield index
    index.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for what other threads do."""
    while not holds():
        time.sleep(0.01)


def texts(count: int, words: int = 9) -> list[str]:
    """Texts whose words are common and rare as those of a language are."""
    rng = np.random.default_rng(7)
    weights = 1 / np.arange(1, 61)
    return [
        " ".join(f"w{n}" for n in rng.choice(60, rng.integers(1, words + 1), p=weights / weights.sum()))
        for _ in range(count)
    ]


def body(index: Index, path: str, text: str) -> list[str]:
    """The tokens that a chunk of a document without a title is found by."""
    return words_of(LexicalRow(0, 0, path, "", (), text, "en"), index.store.dictionary)


def test_what_is_there_has_the_types(index: Index) -> None:
    catalog: store.Catalog = index.catalog
    searched: store.Store = index.store
    assert (catalog.counts().chunks, searched.frequencies(["none"])) == (0, (0, {"none": 0}))
    assert searched.dense(vector(1), 5) == []
    assert searched.lexical({"none": 1.0}, 5) == []


def test_dense_search_is_brute_force(index: Index) -> None:
    put(index, *(document(f"{n}.md", {3 * n + i: f"text {n} {i}" for i in range(3)}) for n in range(40)))
    seeds = {i: 3 * n + at for n in range(40) for at, i in enumerate(ids_of(index)[f"{n}.md"])}
    asked, expected = vector(0), [0]
    for question in range(500, 520):
        asked = vector(question)
        scores = {i: float(held(seed) @ asked) for i, seed in seeds.items()}
        expected = sorted(scores, key=lambda i: -scores[i])
        found = index.store.dense(asked, 15)
        assert [i for i, _ in found] == expected[:15]
        assert [score for _, score in found] == pytest.approx([scores[i] for i, _ in found], abs=1e-5)
    assert [i for i, _ in index.store.dense(asked, 1000)] == expected
    assert index.store.recall() == 1.0


def test_beyond_the_exact_dense_search_finds_nearly_all_and_as_many_as_a_limit_lets_through(home: Home) -> None:
    index = HOMES[home.kind](home.place, 500).make("many")
    put(index, *(document(f"{n % 9}/{n}.md", {n: f"text {n}"}) for n in range(1500)))
    seeds = {ids[0]: int(path.split("/")[1].removesuffix(".md")) for path, ids in ids_of(index).items()}
    assert index.store.recall() >= 0.9
    few = Filter(paths=("3/*",))
    inside = [i for i, seed in seeds.items() if seed % 9 == 3]
    found, asked = 0, vector(0)
    for question in range(5000, 5020):
        asked = vector(question)
        best = sorted(inside, key=lambda i: -float(held(seeds[i]) @ asked))[:10]
        near = index.store.dense(asked, 10, few)
        assert len(near) == 10
        assert {i for i, _ in near} <= set(inside)
        found += len({i for i, _ in near} & set(best))
    assert found >= 180  # of 200
    assert len(index.store.dense(asked, 1000, few)) == len(inside)
    index.close()


def test_lexical_search_is_bm25(index: Index) -> None:
    written = {f"{n}.md": text for n, text in enumerate(texts(120))}
    for start in (0, 40, 80):
        put(index, *(document(f"{n}.md", {n: written[f"{n}.md"]}) for n in range(start, start + 40)))
    with index.writing():
        index.store.save(whole=True)
    index.store.follow()
    bodies = {ids[0]: body(index, path, written[path]) for path, ids in ids_of(index).items()}
    mean = sum(map(len, bodies.values())) / len(bodies)

    def bm25(own: list[str], terms: dict[str, float], k1: float = 1.2, b: float = 0.75) -> float:
        score = 0.0
        for term, weight in terms.items():
            df, tf = sum(term in other for other in bodies.values()), own.count(term)
            idf = math.log(1 + (len(bodies) - df + 0.5) / (df + 0.5))
            score += weight * idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(own) / mean))
        return score

    for terms in ({"w0": 1.0}, {"w0": 1.0, "w7": 1.0, "w30": 3.0}, {"w2": 1.0, "w41": 1.0, "never": 1.0}):
        expected = {i: score for i, own in bodies.items() if (score := bm25(own, terms)) > 0}
        found = dict(index.store.lexical(terms, 1000))
        assert found == pytest.approx(expected, rel=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert min(found.values()) > 0
        assert dict(index.store.lexical(terms, 1000, Filter(paths=("1*.md",)))) == pytest.approx(
            {i: expected[i] for path, (i,) in ids_of(index).items() if path.startswith("1") and i in expected}, rel=1e-5
        )


def test_odd_tokens_come_back(index: Index) -> None:
    put(index, *(document(f"{n}.txt", {n: f"The {word} is here."}) for n, word in enumerate(ODD)))
    ids = ids_of(index)
    bodies = [body(index, f"{n}.txt", f"The {word} is here.") for n, word in enumerate(ODD)]
    for word in ODD:
        for token in tokens(word):
            holders = [n for n, own in enumerate(bodies) if token in own]
            assert index.store.frequencies([token]) == (len(ODD), {token: len(holders)})
            found = {i for i, _ in index.store.lexical({token: 1.0}, 100)}
            assert found == {ids[f"{n}.txt"][0] for n in holders} != set()


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (Filter(paths=("a/*",)), lambda n: n % 3 == 0),
        (Filter(paths=("a/0.md", "b/1.txt", "none")), lambda n: n in (0, 1)),
        (Filter(types=("md",)), lambda n: n % 2 == 0),
        (Filter(languages=("zh",)), lambda n: n % 5 == 0),
        (Filter(tags=("Odd", "第三")), lambda n: n % 2 == 1),
        (Filter(since="2024", until="2024-06"), lambda n: n % 7 == 4),
        (Filter(paths=("a/*",), types=(".MD",), languages=("en",)), lambda n: n % 6 == 0 and n % 5 != 0),
        (Filter(paths=("none/**",)), lambda n: False),
    ],
)
def test_a_limit_lets_through_what_it_says_and_k_is_filled(
    index: Index, where: Filter, passes: Callable[[int], bool]
) -> None:
    put(
        index,
        *(
            document(
                f"{'abc'[n % 3]}/{n}.{'txt' if n % 2 else 'md'}",
                {n: "common 年假每年二十五天，病假需要证明。" if n % 5 == 0 else "The common word is here."},
                tags=("odd",) if n % 2 else (),
                date=f"202{n % 7}-05-01",
            )
            for n in range(70)
        ),
    )
    ids = ids_of(index)
    allowed = {ids[path][0] for path in ids if passes(int(path.split("/")[1].split(".")[0]))}
    for k in (1, 10, 1000):
        for found in (index.store.dense(vector(99), k, where), index.store.lexical({"common": 1.0}, k, where)):
            assert {i for i, _ in found} <= allowed
            assert len(found) == min(k, len(allowed))


def test_another_process_sees_nothing_before_the_commit_and_all_of_it_after(home: Home, index: Index) -> None:
    put(index, document("old.md", {1: "old word"}))
    (old,) = ids_of(index)["old.md"]
    with elsewhere(home, "kb") as other:
        assert other.tell("find", word="word") == [[old], [old], 1, 1]
        with index.writing() as catalog:
            folder, new = catalog.folder_id("/docs"), document("new.md", {2: "new word", 3: "another word"})
            embed(index, [new])
            with catalog.transaction() as write:
                write.replace(folder, new)
                assert other.tell("find", word="word") == [[old], [old], 1, 1]
            every = sorted([old, *ids_of(index)["new.md"]])
            assert other.tell("find", word="word") == [every, every, 3, 3]
            hashes = {each.path: each.hash for each in index.catalog.documents()}
            assert hashes == {"old.md": "hash of old.md", "new.md": "hash of new.md"}


def test_what_fails_within_a_transaction_leaves_nothing(index: Index) -> None:
    put(index, document("a.md", {1: "first word"}))
    before = ids_of(index), index.catalog.generation

    def fails() -> None:
        with index.writing() as catalog, catalog.transaction() as write:
            write.remove(catalog.documents()[0].id)
            write.replace(catalog.folder_id("/docs"), document("b.md", {}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    index.store.follow()
    assert (ids_of(index), index.catalog.generation) == before
    assert [i for i, _ in index.store.lexical({"first": 1.0}, 5)] == before[0]["a.md"]


def test_what_is_replaced_or_deleted_is_gone_from_both_at_once_and_the_statistics_follow(
    home: Home, index: Index
) -> None:
    put(
        index,
        document("a.md", {1: "delta alpha"}),
        document("b.md", {2: "delta beta"}),
        document("c.md", {3: "delta"}),
    )
    gone = {i for path in ("a.md", "b.md") for i in ids_of(index)[path]}
    with elsewhere(home, "kb") as other:
        assert other.tell("find", word="delta")[2:] == [3, 3]
        with index.writing() as catalog:
            new, names = document("a.md", {4: "delta gamma"}), {each.path: each.id for each in catalog.documents()}
            embed(index, [new])
            with catalog.transaction() as write:
                write.replace(catalog.folder_id("/docs"), new)
                write.remove(names["b.md"])
            index.store.follow()
            assert gone.isdisjoint(i for i, _ in index.store.dense(vector(1), 10))
            assert gone.isdisjoint(i for i, _ in index.store.lexical({"delta": 1.0, "alpha": 1.0}, 10))
            assert index.store.lexical({"beta": 1.0}, 10) == []
        left = sorted(i for ids in ids_of(index).values() for i in ids)
        assert other.tell("find", word="delta") == [left, left, 2, 2]
        assert other.tell("find", word="alpha")[3] == 0
    index.store.follow()
    assert index.store.frequencies(["delta", "alpha", "gamma"]) == (2, {"delta": 2, "alpha": 0, "gamma": 1})
    assert index.catalog.hits(sorted(gone)) == {}


def test_a_writer_that_is_killed_within_a_transaction_leaves_what_was(home: Home, index: Index) -> None:
    put(index, document("a.md", {1: "whole word"}))
    before = ids_of(index)
    with elsewhere(home, "kb") as other:
        assert other.tell("half") == "begun"
        other.kill()
        with index.writing() as catalog:
            catalog.drop_unused_embeddings()
    index.store.follow()
    assert ids_of(index) == before
    assert index.store.frequencies(["whole", "half"]) == (1, {"whole": 1, "half": 0})
    put(index, document("a.md", {9: "half word"}))
    assert index.store.frequencies(["whole", "half"]) == (1, {"whole": 0, "half": 1})
    assert index.catalog.problems() + index.store.problems() == []


def test_a_file_that_moves_keeps_its_chunks_under_its_new_path(index: Index) -> None:
    put(index, document("a.md", {1: "one word"}))
    (known,) = index.catalog.known_files("/docs")
    with index.writing() as catalog, catalog.transaction() as write:
        write.move(known.id, document("b/c.md", {}).entry)
    index.store.follow()
    ((_, ids),) = ids_of(index).items()
    assert [hit.path for hit in index.catalog.hits(ids).values()] == ["b/c.md"]
    assert [i for i, _ in index.store.lexical({"word": 1.0}, 5)] == ids
    assert [i for i, _ in index.store.dense(vector(1), 5, Filter(paths=("b/*",)))] == ids


def test_two_knowledge_bases_share_nothing(home: Home, index: Index) -> None:
    put(index, document("a.md", {1: "delta word"}), document("b.md", {2: "word"}))
    before = index.store.frequencies(["delta", "word"]), index.store.lexical({"delta": 1.0}, 9)
    other = home.make("other")
    put(other, *(document(f"{n}.md", {n: "delta"}) for n in range(10, 40)))
    index.store.follow()
    assert (index.store.frequencies(["delta", "word"]), index.store.lexical({"delta": 1.0}, 9)) == before
    assert other.store.frequencies(["delta", "word"]) == (30, {"delta": 30, "word": 0})
    assert len(index.store.dense(vector(1), 99)) == index.catalog.counts().chunks == 2
    assert len(other.store.dense(vector(1), 99)) == other.catalog.counts().chunks == 30
    other.close()


def test_a_second_writer_is_refused_and_the_lock_dies_with_its_holder(home: Home, index: Index) -> None:
    put(index, document("a.md", {1: "one"}))
    with elsewhere(home, "kb") as other:
        with index.writing():
            assert "is being written by" in other.tell("hold")
        assert other.tell("hold") == "held"
        with pytest.raises(CatalogError, match="is being written by"), index.writing():
            raise AssertionError
        other.kill()
        put(index, document("b.md", {2: "two"}))
    assert index.catalog.paths() == ["a.md", "b.md"]


def rebuilt(home: Home, *documents: Indexed) -> Index:
    """A generation beside the one that answers, with documents."""
    embedder = Given(RetrievalConfig(exact_below=home.exact_below))
    beside = Index.open_next(**home.found_by, name="kb", embedder=embedder, chunker="given")
    put(beside, *documents)
    return beside


def words(index: Index) -> list[str]:
    """Which documents are found by a word that all of them hold."""
    index.store.follow()
    found = index.catalog.hits([i for i, _ in index.store.lexical({"word": 1.0}, 100)])
    return sorted(hit.path for hit in found.values())


def test_a_generation_is_built_beside_answers_at_once_and_leads_back(home: Home, index: Index) -> None:
    put(index, document("old.md", {1: "old word"}))
    with elsewhere(home, "kb") as other:
        before = other.tell("find", word="word")
        beside = rebuilt(home, document("new.md", {2: "new word"}), document("more.md", {3: "another word"}))
        assert other.tell("find", word="word") == before == [*before[:2], 1, 1]
        assert words(index) == ["old.md"]
        assert not index.superseded
        assert (beside.superseded, beside.before is not None) == (True, True)
        beside.promote(1)
        assert index.superseded
        assert words(home.open("kb")) == ["more.md", "new.md"]
        assert other.tell("find", word="word") == before  # who has it open still reads what it is
        other.tell("again")
        assert other.tell("find", word="word")[2:] == [2, 2]
        back = Index.roll_back(**home.found_by, name="kb")
        assert back == ("g0001", "g0002")
        other.tell("again")
        assert other.tell("find", word="word") == before
        with pytest.raises(CatalogError, match="no earlier generation"):
            Index.roll_back(**home.found_by, name="kb")
    beside.close()
    assert words(home.open("kb")) == ["old.md"]
    again = rebuilt(home, document("third.md", {4: "third word"}))
    assert again.catalog.paths() == ["third.md"]  # nothing of what was led back from
    again.promote(0)
    assert words(home.open("kb")) == ["third.md"]
    with pytest.raises(CatalogError, match="no earlier generation"):
        Index.roll_back(**home.found_by, name="kb")
    again.close()


def test_readers_see_one_generation_or_the_other_while_they_change(home: Home, index: Index) -> None:
    put(index, document("a.md", {1: "word of the first"}))
    ends, seen, wrong = threading.Event(), set[str](), list[CatalogError]()

    def reads() -> None:
        now = home.open("kb")
        while not ends.is_set():
            try:
                if now.superseded:
                    now = home.open("kb")
                seen.add(" ".join(words(now)))
            except CatalogError as error:
                if not now.superseded:  # else what was read is gone by now, and that is said
                    wrong.append(error)

    readers = [threading.Thread(target=reads) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for n in range(3):
            beside = rebuilt(home, document("b.md", {n: "word of another"}), document("c.md", {9: "one more word"}))
            beside.promote(1)
            until(lambda: "b.md c.md" in seen or bool(wrong))
            Index.roll_back(**home.found_by, name="kb")
            seen.discard("a.md")
            until(lambda: "a.md" in seen or bool(wrong))
            beside.close()
    finally:
        ends.set()
        for reader in readers:
            reader.join()
    assert (wrong, seen) == ([], {"a.md", "b.md c.md"})


def test_what_was_begun_beside_is_gone_on_with_after_its_writer_was_killed(home: Home, index: Index) -> None:
    put(index, document("a.md", {1: "first word"}))
    rebuilt(home, document("a.md", {1: "first word"})).close()
    beside = rebuilt(home, document("b.md", {2: "second word"}))
    assert beside.catalog.paths() == ["a.md", "b.md"]
    assert words(home.open("kb")) == ["a.md"]
    beside.promote(1)
    assert words(home.open("kb")) == ["a.md", "b.md"]
    beside.close()


def test_what_is_purged_is_in_no_file_any_more(home: Home, index: Index) -> None:
    put(index, *(document(f"{n}.md", {n: f"word number {n}"}) for n in range(30)))
    put(index, document("secret.md", {77: "the xylophonium word", 78: "it stands at quarzberg"}, tags=("vermilionic",)))
    with index.writing():
        index.store.save(whole=True)
    told = (b"xylophonium", b"quarzberg", b"vermilionic", b"secret.md")
    beside = rebuilt(home, *(document(f"{n}.md", {n: f"word number {n}"}) for n in range(30)))
    assert all(home.holds(text) for text in told) or home.kind == "store"
    beside.promote(1)
    now = home.open("kb")
    put(now, document("secret.md", {77: "the xylophonium word"}, tags=("vermilionic",)))
    with now.writing() as catalog:
        with catalog.transaction() as write:
            write.remove(next(each.id for each in catalog.documents() if each.path == "secret.md"))
        assert now.forget_generations() == ["g0001"]
        assert catalog.vacuum() >= 1
        now.store.rebuild()
    assert sum(now.catalog.sizes().values()) > 0
    assert {text: home.holds(text) for text in told} == {text: [] for text in told}
    assert len(words(now)) == 30
    assert now.verify() == []
    now.close()
    beside.close()


def test_a_catalog_says_what_was_written(index: Index) -> None:
    put(
        index,
        document("b.md", {1: "one", 2: "two", 3: "three"}, tags=("T",), date="2024-01-02"),
        document("a.md", {4: "four"}),
    )
    catalog = index.catalog
    one, other = catalog.documents()
    assert [(each.folder, each.path, each.hash) for each in (one, other)] == [
        ("/docs", "a.md", "hash of a.md"), ("/docs", "b.md", "hash of b.md"),
    ]  # fmt: skip
    assert (catalog.document(one.id), catalog.document(10**6)) == (one, None)
    assert catalog.last_read() == max(one.indexed_at, other.indexed_at)
    first, second, third = catalog.chunks_of(other.id)
    assert [hit.text for hit in (first, second, third)] == ["one", "two", "three"]
    assert (catalog.neighbours(second).previous, catalog.neighbours(second).next) == (first.chunk_id, third.chunk_id)
    assert catalog.around(other.id, 1, 9) == [second, third]
    ids, vectors = catalog.vectors_of(other.id)
    assert dict(zip(ids.tolist(), vectors.tolist(), strict=True)) == {
        hit.chunk_id: held(seed).tolist() for hit, seed in zip((first, second, third), (1, 2, 3), strict=True)
    }
    assert vectors.shape == (3, DIMENSION)
    rows, total = catalog.files("all", ".md", 1, 1)
    assert ([row.path for row in rows], total) == (["b.md"], 2)
    assert rows[0].card == catalog.card(other.id) == list(catalog.cards())[1]
    assert catalog.counts() == (type(catalog.counts()))(2, 4, 4)
    assert catalog.missing([b"b.md 1", b"none"]) == {b"none"}
    assert catalog.problems() + index.store.problems() == []


def test_how_much_each_document_is_since_when_and_what_it_resembles_is_read_back(index: Index) -> None:
    made = [document(f"{n}.md", {n: f"text {n}", n + 9: "more"}) for n in range(4)]
    put(index, *(replace(one, entry=replace(one.entry, mtime_ns=10**18 + n)) for n, one in enumerate(made)))
    catalog = index.catalog
    assert [(row.path, row.language, row.chunks, row.pages) for row in catalog.extents()] == [
        (f"{n}.md", "en", 2, None) for n in range(4)
    ]
    rows, total = catalog.unchanged(10**18 + 3, 2)
    assert ([(row.folder, row.path, row.mtime_ns - 10**18) for row in rows], total) == (
        [("/docs", "0.md", 0), ("/docs", "1.md", 1)], 3,
    )  # fmt: skip
    assert catalog.unchanged(0, 9) == ([], 0)
    latest = catalog.sketched(2)
    assert [(row.folder, row.hash, row.version.path) for row in latest] == [
        ("/docs", f"hash of {n}.md", f"{n}.md") for n in (3, 2)
    ]
    assert [similarity(row.version.sketch, row.version.sketch) for row in latest] == [0.0, 0.0]  # too short for one


WHOLE = Choice(False, (2, 5), ("差旅", "travel"), "2025-03", (Correction("be\x00fore\n", "was", "jetzt 🦉\ud800"),))


def test_tags_and_a_date_that_were_chosen_hold_at_once_and_when_the_file_comes_anew(index: Index) -> None:
    catalog = index.catalog
    folder = catalog.folder_id("/docs")
    put(index, document("a.md", {1: "one"}), document("b.md", {2: "two"}))

    def tagged() -> dict[str, tuple[tuple[str, ...], str]]:
        return {card.path: (card.tags, card.date) for card in catalog.cards()}

    own = tagged()["b.md"]
    with catalog.transaction() as write:
        write.choose(folder, "a.md", Choice(tags=("travel",), date="2024-05"))
        write.choose(folder, "new.md", Choice(tags=(), date=""))
    assert tagged() == {"a.md": (("travel",), "2024-05"), "b.md": own}
    put(index, document("a.md", {3: "three"}), document("new.md", {4: "four"}))
    assert tagged() == {"a.md": (("travel",), "2024-05"), "b.md": own, "new.md": ((), "")}
    with catalog.transaction() as write:
        write.move(ids(index)["a.md"], FileEntry("c.md", 1, 2, 3, 4))
    assert tagged()["c.md"] == (("travel",), "2024-05")
    assert {row.path for row in catalog.files("all", "", 0, -1)[0] if row.card and "travel" in row.card.tags} == {
        "c.md"
    }
    assert catalog.problems() + index.store.problems() == []


def test_a_passage_that_was_corrected_says_so(index: Index) -> None:
    catalog = index.catalog
    folder = catalog.folder_id("/docs")
    put(index, document("a.md", {1: "one", 2: "two"}), document("b.md", {3: "one"}))
    with catalog.transaction() as write:
        write.choose(folder, "a.md", Choice(corrections=(Correction("", "on\nsame", "one\nsame"),)))
    hits = index.hits(catalog.chunk_ids()).values()
    assert [(hit.path, hit.text) for hit in hits if hit.corrected] == [("a.md", "one")]


def test_what_people_chose_for_a_file_is_kept_goes_with_it_and_is_gone_with_its_folder(index: Index) -> None:
    catalog = index.catalog
    folder = catalog.folder_id("/docs")
    put(index, document("a.pdf", {1: "one"}))
    with catalog.transaction() as write:
        write.choose(folder, "a.pdf", WHOLE)
        write.choose(folder, "b.md", Choice(left_out=True))
        write.choose(folder, "c.md", Choice(left_out=True))
        write.choose(folder, "c.md", Choice())
        write.leave_out(folder, [FileError("b.md", "why", "what to do"), FileError("x/", "excluded", "")])
    assert catalog.choices("/docs") == {"a.pdf": WHOLE, "b.md": Choice(True)}
    assert catalog.choices("/other") == {}
    assert catalog.left_out("/docs") == [
        FileError("b.md", "why", "what to do", folder="/docs"), FileError("x/", "excluded", "", folder="/docs"),
    ]  # fmt: skip
    rows, total = catalog.files("left_out", "B.", 0, 5)
    assert ([(row.path, row.left_out and row.left_out.error, row.card) for row in rows], total) == (
        [("b.md", "why", None)], 1,
    )  # fmt: skip
    assert [row.path for row in catalog.files("all", "", 0, -1)[0]] == ["a.pdf"]
    with catalog.transaction() as write:
        write.choose(folder, "new.pdf", Choice(ocr_pages=(9,)))  # of a file that was there once
        write.move(ids(index)["a.pdf"], FileEntry("new.pdf", 1, 2, 3, 4))
        write.leave_out(folder, [FileError("x/", "excluded", "")])
    assert catalog.choices("/docs") == {"new.pdf": WHOLE, "b.md": Choice(True)}
    assert [file.path for file in catalog.left_out("/docs")] == ["x/"]
    with catalog.transaction() as write:
        write.remove_folder(folder)
    assert (catalog.choices("/docs"), catalog.files("left_out", "", 0, 5)[1]) == ({}, 0)
    assert catalog.problems() + index.store.problems() == []


def ids(index: Index) -> dict[str, int]:
    """The id of each document, by its path."""
    return {each.path: each.id for each in index.catalog.documents()}
