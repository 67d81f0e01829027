from app.messages.errors_zh import says
from app.messages.texts import timed


def test_the_stages_of_a_search_are_named_in_the_language_of_the_page() -> None:
    stages = [("fuse", 1.5), ("first word", 3.0), ("new", 1.0)]
    assert timed(stages[::2], "en") == "fuse 1.5 ms · new 1 ms"
    assert timed(stages, "zh") == "融合 1.5 ms · 首字 3 ms · new 1 ms"
    assert timed([("handbook: choose", 2.0)], "zh") == "handbook: 挑选 2 ms"


def test_what_became_of_a_sentence_is_told_in_chinese() -> None:
    line = "hr/leave.md #3: found at rank 2; lexical rank 1 (query 1), dense rank 4 (query 1)"
    assert says(line, "zh") == "hr/leave.md #3：排在第 2 位；lexical rank 1 (query 1), dense rank 4 (query 1)"
