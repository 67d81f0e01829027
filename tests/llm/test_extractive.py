from collections.abc import Sequence
from dataclasses import replace

import pytest

from llm.extractive import extract
from tests.prompts.test_context import source

LEAVE = source(1, "# Leave\n\nEveryone works on Friday.\n\nAnnual leave is 25 days. Ask your manager early.\n")
TABLE = source(2, "## 分類\n\n| 類別 | 顏色 |\n| --- | --- |\n| 含汞廢液 | 黃色 |\n| 有機廢液 | 綠色 |\n")


def test_the_sentence_that_answers_is_quoted_with_its_source() -> None:
    assert (
        extract("How many days of annual leave?", [LEAVE], {}) == "Annual leave is 25 days. Ask your manager early. [1]"
    )


@pytest.mark.parametrize("question", ["拍卖法第十八条是怎么规定的？", "拍卖法第18条是怎么规定的？"])
def test_an_article_that_is_named_by_its_number_is_quoted_first(question: str) -> None:
    law = "拍卖法的规定：拍卖法第十八条见下文。\n\n第十七条 拍卖法规定的拍卖。\n\n第十八条 竞买人有权查验标的。\n"
    quotes = extract(question, [source(1, law)], {}).split("\n\n")
    assert any(quote.startswith("第十八条 竞买人有权查验标的。") for quote in quotes)


def test_a_small_table_is_quoted_whole_as_markdown() -> None:
    text = extract("含汞的废液是什么颜色？", [LEAVE, TABLE], {})
    assert text == "| 類別 | 顏色 |\n| --- | --- |\n| 含汞廢液 | 黃色 |\n| 有機廢液 | 綠色 [2] |"


def test_of_a_large_table_the_header_and_the_row_are_quoted() -> None:
    rows = "\n".join(f"| part{i} | {i} euros |" for i in range(40))
    large = source(1, f"| part | price |\n| --- | --- |\n{rows}\n")
    assert extract("price of part17", [large], {"part17": 9.0}).startswith(
        "| part | price |\n| --- | --- |\n| part17 | 17 euros [1] |"
    )


def test_meaning_finds_a_sentence_that_shares_no_word() -> None:
    passage = source(1, "The canteen opens at noon. Bring a tray.\n\nHolidays are granted by your manager in writing.")

    def likeness(texts: Sequence[str]) -> list[float]:
        return [0.9 if "Holidays" in text else 0.1 for text in texts]

    assert extract("time off", [passage], {}, likeness).startswith("Holidays are granted")


def test_the_title_of_a_document_is_no_sentence_of_it() -> None:
    passage = source(1, "Annual leave\n\nIt is 25 days, the annual allowance.")
    passage = replace(passage, hit=replace(passage.hit, title="Annual leave"))
    assert extract("annual leave", [passage], {}) == "It is 25 days, the annual allowance. [1]"


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
