import pytest

from llm.extractive import extract
from tests.prompts.test_context import source

LEAVE = source(1, "# Leave\n\nEveryone works on Friday.\n\nAnnual leave is 25 days. Ask your manager early.\n")
TABLE = source(2, "## 分類\n\n| 類別 | 顏色 |\n| --- | --- |\n| 含汞廢液 | 黃色 |\n| 有機廢液 | 綠色 |\n")


def test_the_sentence_that_answers_is_quoted_with_its_source() -> None:
    assert (
        extract("How many days of annual leave?", [LEAVE], {}) == "Annual leave is 25 days. Ask your manager early. [1]"
    )


def test_a_table_row_is_quoted_alone_and_headings_and_rules_never() -> None:
    text = extract("含汞的废液是什么颜色？", [LEAVE, TABLE], {})
    assert "| 含汞廢液 | 黃色 | [2]" in text
    assert "---" not in text
    assert "分類" not in text


def test_rare_words_weigh_more() -> None:
    passage = source(1, "The policy covers all staff everywhere.\n\nThe zirconium cap is changed yearly.")
    text = extract("policy for the zirconium part", [passage], {"polici": 0.1, "zirconium": 5.0, "part": 0.1})
    assert text.startswith("The zirconium cap")


def test_the_same_sentence_of_two_sources_is_quoted_once() -> None:
    again = source(2, "Annual leave is 25 days. Ask your manager early.")
    assert extract("annual leave days", [LEAVE, again], {}).count("25 days") == 1


@pytest.mark.parametrize("question", ["zebra", "", "？"])
def test_a_hit_without_a_common_word_is_quoted_whole(question: str) -> None:
    passage = source(1, "Only meaning led here.")
    assert extract(question, [passage], {}) == "Only meaning led here. [1]"


def test_no_sources_give_no_text() -> None:
    assert extract("anything", [], {}) == ""
