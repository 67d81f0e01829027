import math
from collections import Counter
from pathlib import Path

import pytest

from core.config import Config
from core.text import heading_line, query_terms, tokens
from retrieval.catalog import Catalog
from retrieval.dictionary import Dictionary
from retrieval.embed import Embedder
from retrieval.lexical import Lexical
from tests.retrieval.corpus import DOCUMENTS, build, in_files


@pytest.fixture
def catalog(cfg: Config, embedder: Embedder) -> Catalog:
    return in_files(build(cfg, embedder))


def names(catalog: Catalog, found: list[tuple[int, float]]) -> list[str]:
    hits = catalog.hits([i for i, _ in found])
    return [hits[i].path for i, _ in found]


def caught_up(catalog: Catalog, folder: Path) -> Lexical:
    lexical = Lexical(folder, Dictionary())
    lexical.catch_up(catalog)
    return lexical


def test_scores_are_bm25(catalog: Catalog, tmp_path: Path) -> None:
    lexical = caught_up(catalog, tmp_path / "lexical")
    bodies = {n: tokens(f"{n}\n{heading_line(Path(n).stem, ())}\n{text}") for n, text in DOCUMENTS.items()}
    mean = sum(map(len, bodies.values())) / len(bodies)

    def bm25(body: list[str], terms: dict[str, float], k1: float = 1.2, b: float = 0.75) -> float:
        counts, score = Counter(body), 0.0
        for term, weight in terms.items():
            df = sum(term in other for other in bodies.values())
            idf = math.log(1 + (len(bodies) - df + 0.5) / (df + 0.5))
            score += weight * idf * counts[term] * (k1 + 1) / (counts[term] + k1 * (1 - b + b * len(body) / mean))
        return score

    for question in ("travel hotel days", "差旅费 住宿", "E-4102", "第12条"):
        terms = query_terms(question)
        expected = {n: s for n, body in bodies.items() if (s := bm25(body, terms)) > 0}
        found = lexical.search(terms, 10)
        assert dict(zip(names(catalog, found), [s for _, s in found], strict=True)) == pytest.approx(expected, rel=0.02)


def test_a_question_without_a_common_word_finds_nothing(catalog: Catalog, tmp_path: Path) -> None:
    assert caught_up(catalog, tmp_path / "lexical").search(query_terms("zebra 斑马"), 10) == []


@pytest.mark.parametrize("text", ['"', "a AND (", "title:x^2", "*", "[1 TO", "\\", "第", "😀", "\x00", "' OR 1=1 --"])
def test_no_user_text_is_a_syntax_error(catalog: Catalog, tmp_path: Path, text: str) -> None:
    assert isinstance(caught_up(catalog, tmp_path / "lexical").search(query_terms(text), 10), list)


def test_a_reader_sees_what_the_disk_lacks(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    catalog = in_files(build(cfg, embedder))
    lexical = caught_up(catalog, tmp_path / "lexical")
    reader = Lexical(tmp_path / "lexical", Dictionary())
    build(cfg, embedder, {"leave.md": "Nothing about holidays.", "new.md": "A zebra crossing."})
    reader.follow(catalog)
    assert names(catalog, reader.search(query_terms("zebra"), 10)) == ["new.md"]
    assert "leave.md" not in names(catalog, reader.search(query_terms("certificate sick"), 10))
    assert lexical.generation < catalog.generation


def test_a_damaged_index_is_built_again(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "lexical"
    before = caught_up(catalog, folder).search(query_terms("travel"), 10)
    for file in folder.glob("*.idx"):
        file.write_bytes(b"garbage")
    (folder / "meta.json").write_text("{", encoding="utf-8")
    reader = Lexical(folder, Dictionary())
    reader.follow(catalog)
    assert reader.search(query_terms("travel"), 10) == before
    assert caught_up(catalog, folder).search(query_terms("travel"), 10) == before


def test_a_commit_that_was_not_recorded_is_not_counted_twice(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "lexical"
    before = caught_up(catalog, folder).search(query_terms("travel days"), 10)
    state = (folder / "ragstone.json").read_text("utf-8")
    (folder / "ragstone.json").write_text(state.replace(f'"generation": {catalog.generation}', '"generation": 0')
                                          .replace('"opstamp": ', '"opstamp": 9'), encoding="utf-8")  # fmt: skip
    again = caught_up(catalog, folder)
    assert len(again) == len(DOCUMENTS)
    assert again.search(query_terms("travel days"), 10) == before


def test_a_reader_goes_on_finding_while_the_index_is_made_anew(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "lexical"
    before = caught_up(catalog, folder).search(query_terms("travel"), 10)
    reader = Lexical(folder, Dictionary())
    reader.follow(catalog)
    seen: list[object] = []

    class Watched(Dictionary):
        def names(self, text: str) -> list[str]:
            reader._disk.reload()  # as tantivy does by itself, some time after the files have changed
            seen.append(reader.search(query_terms("travel"), 10))
            return super().names(text)

    Lexical(folder, Watched()).rebuild(catalog)
    assert seen
    assert all(found == before for found in seen)
    assert reader.search(query_terms("travel"), 10) == before
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".writing"] == []


def test_an_article_is_found_where_it_begins(cfg: Config, embedder: Embedder) -> None:
    law = {
        "cites.md": "权益保护法：违反第十二条的，依照第十二条处罚。第十二条的解释另行规定。",
        "holds.md": "权益保护法\n\n第十一条 经营者应当诚实信用。\n\n第十二条 经营者不得强制交易，不得搭售。",
    } | {f"{n}.md": f"权益保护法\n\n第{n}条 其他事项。" for n in range(20, 30)}
    index = build(cfg, embedder, law, kb="law")
    for question in ("权益保护法第12条规定的是什么？", "权益保护法第十二条规定的是什么？"):
        found = index.store.lexical(index.terms(question), 3)
        assert names(in_files(index), found)[0] == "holds.md"
