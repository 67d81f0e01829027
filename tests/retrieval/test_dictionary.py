import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Config
from core.errors import ConfigError
from retrieval.dictionary import FILE, Dictionary, load
from retrieval.embed import Embedder
from retrieval.search import search
from tests.retrieval.corpus import build


def test_a_name_is_found_as_a_whole_and_only_as_a_whole_word() -> None:
    dictionary = Dictionary([["兰亭科技"], ["Data Lake"]])
    assert dictionary.names("我们在蘭亭科技工作") == ["=兰亭科技"]
    assert dictionary.names("the data\n  lake, DATA LAKE and data lakes") == ["=data_lake", "=data_lake"]


def test_the_longest_entry_wins_and_synonyms_share_a_token() -> None:
    dictionary = Dictionary([["年假", "annual leave"], ["带薪年假"]])
    assert dictionary.names("带薪年假、年假、Annual  Leave") == ["=带薪年假", "=年假", "=年假"]


def expected(groups: list[list[str]], text: str) -> list[str]:
    """The same by one regular expression of all entries, which takes as long as there are entries at every place."""
    names: dict[str, str] = {}
    for group in groups:
        for word in group:
            names.setdefault(" ".join(word.split()), "=" + " ".join(group[0].split()).replace(" ", "_"))
    parts = []
    for word in sorted(names, key=len, reverse=True):
        body = r"\s+".join(map(re.escape, word.split(" ")))
        before = r"(?<![a-z0-9_])" if re.match(r"[a-z0-9_]", word) else ""
        parts.append(before + body + (r"(?![a-z0-9_])" if re.search(r"[a-z0-9_]$", word) else ""))
    return [names[" ".join(found[0].split())] for found in re.finditer("|".join(parts), text)]


@settings(max_examples=400)
@given(
    st.lists(
        st.lists(st.text("ab年.- ", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=3), min_size=1
    ),
    st.text("ab年.- \n", max_size=20),
)
def test_entries_are_found_as_by_one_expression_of_them_all(groups: list[list[str]], text: str) -> None:
    assert Dictionary(groups).names(text) == expected(groups, text)


def test_many_entries_cost_no_more_than_few() -> None:
    dictionary = Dictionary([[f"年假{n}"] for n in range(100_000)])
    assert dictionary.names("年假" * 20_000 + "7") == ["=年假7"]  # each entry was tried at each place: 10**9 steps
    assert Dictionary([["\u3164"], ["年假"]]).names("ab 年假") == ["=年假"]


def test_a_file_of_names_synonyms_and_comments_is_read(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text("\ufeff# ours\n兰亭科技  # a company\n\nPTO = 年假\n", encoding="utf-8")
    assert load(file).names("兰亭科技 PTO") == ["=兰亭科技", "=pto"]
    assert load(tmp_path / "none.txt").names("anything") == []


@pytest.mark.parametrize(("line", "message"), [("a =", "empty word"), ("= b", ":1:")])
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / FILE).write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / FILE)


def test_a_synonym_in_another_language_finds_the_document_as_soon_as_it_is_written(
    cfg: Config, embedder: Embedder
) -> None:
    index = build(cfg, embedder)
    assert [hit.path for hit in search(index, ["PTO"], cfg.retrieval, mode="lexical")] == []
    (index.home / FILE).write_text("PTO = annual leave = 年假\n", encoding="utf-8")
    found = search(index, ["PTO"], cfg.retrieval, mode="lexical")
    assert {hit.path for hit in found} == {"leave.md", "nianjia.md"}
    (index.home / FILE).unlink()
    assert search(index, ["PTO"], cfg.retrieval, mode="lexical") == []
