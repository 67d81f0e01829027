"""Numbers and dates are one token however they are written."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.numerals import arabic, numbers
from core.text import fold, keywords, marks, tokens
from ingest.readers.numerals import numeral

DATES = st.dates(date(1000, 1, 1), date(9999, 12, 31))


def in_digits(text: str) -> set[str]:
    return {token for _, token in numbers(fold(text))}


@given(st.integers(11, 9_999), st.sampled_from(["chineseCounting", "chineseLegalSimplified"]))
def test_a_number_in_characters_is_found_in_digits(number: int, form: str) -> None:
    written = numeral(number, form)
    assert arabic(written) == str(number)
    if number > 99 or form == "chineseCounting":
        assert str(number) in in_digits(f"共计{written}元整")


@given(DATES)
def test_a_date_is_the_same_in_every_form(day: date) -> None:
    digits = "〇一二三四五六七八九"
    year = "".join(digits[int(c)] for c in f"{day.year}")
    month, of_month = numeral(day.month, "chineseCounting"), numeral(day.day, "chineseCounting")
    forms = [
        f"{day.year}年{day.month}月{day.day}日",
        f"{year}年{month}月{of_month}日",
        f"{day.year} 年 {day.month:02} 月 {day.day:02} 号",
        f"{day.year}-{day.month}-{day.day}",
        f"{day.year}/{day.month:02}/{day.day:02}",
        f"{day:%d %B} {day.year}",
        f"{day:%B} {day.day}, {day.year}",
        f"{day:%b}. {day.day}th {day.year}",
    ]
    for form in forms:
        assert {day.isoformat(), day.isoformat()[:7]} <= set(tokens(f"于 {form} 签订")), form


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("二○二六年", {"2026"}),
        ("二O二六年", {"2026"}),
        ("二0二六年", {"2026"}),
        ("贰佰伍拾万元", {"250"}),
        ("一万二千人", {"12000"}),
        ("十二点五倍", {"12.5"}),
        ("三點五倍", {"3.5"}),
        ("廿五日", {"25"}),
        ("September 2026", {"2026-09"}),
        ("收拾参加者的陆地，千万十分，七八个，一一", set()),
        ("三点五十分", {"50"}),
        ("10.2026.1.5, 2026-13-01, tel. 2026-11-2955, dismay 2026", set()),
    ],
)
def test_what_a_text_says_in_numbers(text: str, found: set[str]) -> None:
    assert in_digits(text) == found


def test_what_was_matched_is_marked_as_it_is_written() -> None:
    text = "本合同于二〇二六年三月五日生效，共一百二十天。"
    (start, end), *_ = marks(text, ["2026-03-05"])
    assert text[start:end] == "二〇二六年三月五日"
    assert [text[a:b] for a, b in marks(text, keywords("120天"))] == ["一百二十天"]
