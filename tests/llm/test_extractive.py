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


def test_of_the_rows_of_a_sheet_the_one_that_was_asked_for_is_quoted_first_and_alone() -> None:
    rows = [f"部门: 客服部 | 岗位: {shift} | 人数: {count}" for shift, count in (("夜班", 6), ("早班", 9), ("中班", 7))]
    answer = extract("客服部有多少人上中班？", [source(1, "\n".join(["部门 | 岗位 | 人数", *rows]))], {})
    assert answer.split("\n\n")[0] == f"{rows[2]} [1]"


POLICY = source(
    1,
    "第二条 年休假天数如下表。法定天数多于本表的，按法定天数执行。\n\n| 工龄 | 杭州 |\n| --- | --- |\n"
    "| 不满 3 年 | 12 天 |\n| 满 3 年 | 15 天 |\n\n第三条 当年未休的年休假，最多 5 天转入下一年。\n",
)


def test_a_sentence_that_announces_a_table_takes_it_along() -> None:
    answer = extract("年休假天数是多少？", [POLICY], {})
    assert answer.startswith("第二条 年休假天数如下表。")
    assert "| 不满 3 年 | 12 天 |\n| 满 3 年 | 15 天 [1] |" in answer
    english = source(
        1, "The rates are as follows:\n\n| City | Rate |\n| --- | --- |\n| Delft | 90 |\n\nNothing else.\n"
    )
    assert "| Delft | 90 [1] |" in extract("What are the rates?", [english], {})


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("职工可以请假的情形有下列几种：\n（一）生病；\n（二）结婚；\n（三）搬家。\n\n其他。", "哪些情形可以请假？"),
        ("可以请假的情形有下列几种：（一）生病；（二）结婚；（三）搬家。\n\n其他另行规定。", "哪些情形可以请假？"),
        ("To get a badge:\n\n1. Fill in it.\n2. Bring a photo. It is kept.\n3. Sign.\n\nNo more.", "how get a badge"),
        ("Bring along for a badge:\n- a photo\n- a passport\n- a pen\n\nNothing more.", "What to bring for a badge?"),
    ],
)  # fmt: skip
def test_a_list_is_quoted_whole_with_what_leads_into_it(text: str, question: str) -> None:
    answer = extract(question, [source(1, text)], {})
    whole = "".join(text.rpartition("\n\n")[0].split())
    assert whole in "".join(answer.split())


def test_a_long_list_gives_the_item_that_answers_and_what_leads_into_it() -> None:
    items = "\n".join(
        f"{n}. 第{n}种情形是员工在工作地点{n}以外的地方停留超过规定的时间而没有报告；" for n in range(1, 20)
    )
    answer = extract("工作地点17的情形", [source(1, f"下列情形应当报告：\n{items}\n")], {"17": 9.0})
    assert answer.startswith("下列情形应当报告：\n17. ")
    assert "\n3. " not in answer


def test_a_short_article_is_quoted_whole_and_alone() -> None:
    law = (
        "第五条 请假由上级批准。请假一至两天的，提前三个工作日；三至五天的，提前七个工作日；五天以上的，提前十五天。\n"
        "第六条 员工离职的，应当归还工牌。\n"
    )
    answer = extract("请假五天以上要提前多久？", [source(1, law)], {})
    assert answer.startswith(
        "第五条 请假由上级批准。请假一至两天的，提前三个工作日；三至五天的，提前七个工作日；五天以上的，"
    )
    assert "第六条" not in answer


def test_no_sentence_is_quoted_twice() -> None:
    text = (
        "Badges are made at the desk. The desk opens at nine. Badges cost ten euros at the desk. The desk is upstairs."
    )
    again = source(2, "Badges are made at the desk. Something else about lamps stands here.")
    answer = extract("badges desk", [source(1, text), again], {})
    for sentence in ("Badges are made at the desk.", "The desk opens at nine.", "Badges cost ten euros at the desk."):
        assert answer.count(sentence) == 1


def test_a_line_that_was_wrapped_is_one_sentence() -> None:
    text = "第十五条 因客户现场抢修来不及申请出差的，应在返回后 2\n个工作日内补办手续。\n"
    assert "返回后 2个工作日内补办手续。" in extract("抢修来不及申请怎么办", [source(1, text)], {})


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the mill built?", "The mill was built by the river in 1871."),
        ("How many people work at the mill?", "At the mill work forty people."),
        ("磨坊是什么时候建成的？", "磨坊于1871年建成。"),
        ("磨坊有多少人？", "磨坊里有四十人。"),
    ],
)
def test_of_sentences_that_say_as_much_the_one_with_the_kind_of_thing_asked_for_is_first(
    question: str, answer: str
) -> None:
    text = (
        "The mill was built by the river of stone.\n\nPeople at the mill work hard.\n\nLamps are lit.\n\n"
        "The mill was built by the river in 1871.\n\nLamps are out.\n\nAt the mill work forty people.\n\nA bell.\n\n"
        "磨坊建成得很好。\n\n磨坊里有人。\n\n天亮了。\n\n磨坊于1871年建成。\n\n天黑了。\n\n磨坊里有四十人。\n"
    )
    assert extract(question, [source(1, text)], {}).startswith(answer)


def test_however_long_the_sources_are_as_much_is_compared_by_meaning() -> None:
    asked: list[int] = []

    def likeness(texts: Sequence[str]) -> list[float]:
        asked.append(sum(map(len, texts)))
        return [0.1] * len(texts)

    for count in (10, 100, 1000):
        text = "\n\n".join(f"Sentence {n} speaks about the leave of people in the company." for n in range(count))
        extract("How much leave do people have?", [source(1, text)], {}, likeness)
        extract("How much leave do people have?", [source(1, text.replace(". ", " ") * 3)], {}, likeness)
    assert max(asked) < 1200
    assert len(asked) == 6


def test_what_the_title_says_counts_less_than_what_only_the_sentence_says() -> None:
    passage = source(
        1, "The old town hall is a town hall of brick.\n\nIts tower was finished in 1412.\n\nThe town hall burnt."
    )
    passage = replace(passage, hit=replace(passage.hit, title="Old town hall"))
    assert extract("When was the tower of the old town hall finished?", [passage], {}).startswith(
        "Its tower was finished"
    )
