import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import numerals, text


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(text).failed == doctest.testmod(numerals).failed == 0


@pytest.mark.parametrize(
    ("written", "asked"),
    [("em\u00adploy\u00adee", "employee"), ("人\u200b员", "人员"), ("葛\U000e0100城", "葛城"), ("a\u2060b", "ab"),
     ("naïve Café", "naive cafe"), ("Đặng Ünal", "đang unal"), ("1\u00a0000\u202f000", "1,000,000")],
)  # fmt: skip
def test_what_is_not_seen_and_accents_tell_no_words_apart(written: str, asked: str) -> None:
    assert text.tokens(written) == text.tokens(asked)


def test_what_holds_unseen_characters_is_marked_whole() -> None:
    sample = "Each em\u00adploy\u00adee has 年\u200b假."
    assert [sample[a:b] for a, b in text.marks(sample, text.tokens("employee 年假"))] == [
        "em\u00adploy\u00adee",
        "年\u200b假",
    ]


def test_traditional_chinese_is_found_by_simplified() -> None:
    assert text.tokens("差旅費報銷標準") == text.tokens("差旅费报销标准")


@pytest.mark.parametrize(
    ("written", "token"),
    [("第十二条", "第12条"), ("第12条", "第12条"), ("第一百零三条", "第103条"), ("第二十章", "第20章"),
     ("第两千条", "第2000条"), ("第〇三条", "第3条"), ("第一万零二条", "第10002条")],
)  # fmt: skip
def test_an_article_number_is_one_token_in_either_numeral(written: str, token: str) -> None:
    assert text.tokens(written) == [token]


@pytest.mark.parametrize("question", ["劳动法{}的内容", "《劳动法》{}的内容", "{}是什么"])
def test_an_article_is_the_same_question_in_either_numeral(question: str) -> None:
    assert text.tokens(question.format("第二十七条")) == text.tokens(question.format("第27条"))
    assert "第27条" in text.tokens(question.format("第二十七条"))


def test_a_numbered_article_is_marked_where_it_begins_and_not_where_it_is_spoken_of() -> None:
    law = "## 第三章 处罚\n\n第十二条 违反第八条的，处以罚款。\n**Section 4.2** Leave\nsee section 5 and Article 7\n"
    assert text.openings(law) == ["¶第3章", "¶第12条", "¶section4.2", "¶4.2"]
    assert text.numbered("第12条和 Section 4.2 说了什么？") == ["¶第12条", "¶section4.2", "¶4.2"]
    assert text.numbered("第二名是谁？ part of it") == []


@pytest.mark.parametrize("identifier", ["max_model_len", "10.0.0.1", "gb/t5972", "e-4102", "c++", "v7.5.0"])
def test_identifiers_are_kept_whole(identifier: str) -> None:
    assert identifier in text.tokens(f"设置 {identifier.upper()} 的值")


def test_words_of_one_stem_meet() -> None:
    assert set(text.tokens("reimbursements")) == set(text.tokens("reimbursement"))


def test_a_question_of_stop_words_alone_still_searches() -> None:
    assert text.query_tokens("what is this") == ["what", "is", "this"]
    assert text.query_tokens("what is the reimbursement limit") == ["reimburs", "limit"]


@pytest.mark.parametrize(
    ("sample", "code"),
    [("年假有几天？", "zh"), ("How many days", "en"), ("配置 max_model_len 与 vLLM server 参数", "zh"),
     ("これは日本語の文章です", "ja"), ("한국어 문장", "ko"), ("Привет", "ru"), ("1234 !?", "und"),
     ("The word 年假 means annual leave in Chinese handbooks", "en")],
)  # fmt: skip
def test_language_goes_by_script(sample: str, code: str) -> None:
    assert text.language(sample) == code


@given(st.text())
def test_sentences_joined_are_the_text(sample: str) -> None:
    assert "".join(text.sentences(sample)) == sample


def test_abbreviations_and_decimals_do_not_end_a_sentence() -> None:
    assert text.sentences("Use e.g. 3.5 mm. Then stop.") == ["Use e.g. 3.5 mm. ", "Then stop."]


@given(st.text(max_size=200))
def test_tokens_hold_no_white_space(sample: str) -> None:
    assert all(token and not any(c.isspace() for c in token) for token in text.tokens(sample))


def test_marks_point_at_the_matching_words() -> None:
    sample = "The Policies of 差旅報銷 apply."
    spans = text.marks(sample, text.tokens("policy 报销"))
    assert [sample[a:b] for a, b in spans] == ["Policies", "報銷"]


def test_heading_line_names_each_part_once() -> None:
    assert text.heading_line("Leave", ["Leave", "Annual"]) == "Leave > Annual"


@pytest.mark.parametrize(
    "forms",
    [
        ("PPR-9087", "PPR9087", "ppr 9087", "ＰＰＲ－９０８７", "PPR\u20119087", "PPR–9087", "ppr_9087", "ppr/9087"),
        ("ISO9001", "ISO 9001", "iso-9001"),
        ("WiFi", "wi-fi", "Wi‑Fi"),
        ("email", "e-mail", "E-Mails"),
        ("青鸟-1182-玄武", "请查青鸟－1182－玄武的位置"),
    ],
)
def test_a_code_has_one_token_however_it_is_written(forms: tuple[str, ...]) -> None:
    common = set.intersection(*(set(text.tokens(form)) for form in forms))
    assert max(map(len, common)) >= 4


def test_marks_between_digits_tell_codes_apart() -> None:
    assert not set(text.tokens("v2.1")) & set(text.tokens("v21"))
    assert set(text.tokens("A-1-2")) & set(text.tokens("A-12")) == {"a"}


def test_both_forms_of_a_particle_are_one_and_other_words_stay() -> None:
    assert text.tokens("沿著河邊走") == text.tokens("沿着河边走")
    assert text.tokens("土著居民") == text.tokens("土著居民")
    assert set(text.tokens("土著")) <= set(text.tokens("台灣的土著文化"))


@pytest.mark.parametrize(
    ("sample", "question", "marked"),
    [
        ("差旅費報銷標準", "报销", ["報銷"]), ("第十二條　年假", "第12条", ["第十二條"]),
        ("貨架ＰＰＲ－９０８７號", "ppr9087", ["ＰＰＲ－９０８７"]),
        ("沿著河邊", "沿着", ["沿著"]), ("see ppr 9087 here", "PPR9087", ["ppr", "9087"]),
        ("cafe\u0301 bar", "café", ["cafe\u0301"]),
        ("ﬁle list", "file", ["ﬁle"]), ("库位青鸟-1182-玄武。", "青鸟-1182-玄武", ["青鸟-1182-玄武"]),
    ],
)  # fmt: skip
def test_what_is_marked_is_what_was_matched(sample: str, question: str, marked: list[str]) -> None:
    assert [sample[a:b] for a, b in text.marks(sample, text.tokens(question))] == marked
