import pytest

from llm.units import units
from llm.wanted import holds, wanted


def kinds(text: str) -> list[tuple[str, str]]:
    return [(unit.kind, unit.text) for unit in units(text)]


def test_lines_that_were_wrapped_are_joined_and_short_ones_are_titles() -> None:
    text = (
        "Working hours\nCore hours are from ten in the morning until half past three\nin both offices.\nPay\nMonthly."
    )
    assert kinds(text) == [
        ("title", "Working hours"),
        ("sentence", "Core hours are from ten in the morning until half past three in both offices."),
        ("title", "Pay"),
        ("sentence", "Monthly."),
    ]
    assert [unit.heading for unit in units(text)] == ["", "Working hours", "", "Pay"]


def test_a_numbered_line_is_a_title_where_nothing_is_listed() -> None:
    assert kinds("一、电话\n先拨打 8110。\n二、疏散\n沿标志离开。\n") == [
        ("title", "一、电话"), ("sentence", "先拨打 8110。"), ("title", "二、疏散"), ("sentence", "沿标志离开。"),
    ]  # fmt: skip
    assert [kind for kind, _ in kinds("1. Ask\n2. Sign\n3. Go\n")] == ["item", "item", "item"]


def test_the_header_of_a_table_that_was_cut_stands_once() -> None:
    rows = [
        "| Item | Value |",
        "| --- | --- |",
        "| Range | 4000 |",
        "| Item | Value |",
        "| --- | --- |",
        "| Weight | 1 |",
    ]
    assert [text for _, text in kinds("\n".join(rows))] == [rows[0], rows[2], rows[5]]


def test_chapters_are_no_articles() -> None:
    found = units("第一章 年休假\n第一条 每年享有。工龄按整年计算。\n第二章 请假\n第二条 提前申请。\n")
    assert [(unit.kind, unit.article is not None) for unit in found] == [
        ("title", False), ("sentence", True), ("sentence", True), ("title", False), ("sentence", True),
    ]  # fmt: skip
    assert found[1].article is found[2].article


@pytest.mark.parametrize(
    "text", ["", "\n\n", "#", "| --- |", "（一）", "1.", "：", "a" * 100_000, "（一）" * 20_000, "- \n" * 9_000]
)
def test_whatever_a_passage_holds_is_cut(text: str) -> None:
    found = units(text)
    assert [unit.place for unit in found] == list(range(len(found)))


@pytest.mark.parametrize(
    ("question", "kind", "holding", "lacking"),
    [
        ("社会保险包括哪几种？", "list", "包括养老、医疗、失业和工伤保险。", "社会保险由国家建立。"),
        ("Which steps are needed?", "list", "Ask, sign, and go.", "Nothing is needed."),
        ("什么是年休假？", "definition", "年休假是带薪的假期。", "按工龄算。"),
        ("谁批准？", "person", "由总经理许听澜批准。", "须先批准。"),
        ("Who signs?", "person", "It is signed by Tessa Duinhof.", "It is signed."),
        ("Why was it pulled back?", "reason", "It was pulled back because of a fault.", "It was pulled back."),
        ("几点开门？", "time", "早上九点开门。", "门开着。"),
        ("Where is it kept?", "place", "It is kept in room 3.", "It is kept."),
    ],
)
def test_a_question_says_what_kind_of_thing_it_asks_for(question: str, kind: str, holding: str, lacking: str) -> None:
    assert kind in wanted(question)
    assert holds(holding, kind)  # type: ignore[arg-type]
    assert not holds(lacking, kind)  # type: ignore[arg-type]
