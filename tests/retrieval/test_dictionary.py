from pathlib import Path

import pytest

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
