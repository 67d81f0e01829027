"""What holds of the tokenizer whatever a text is: it raises nothing, and takes time in proportion to the text."""

import os
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import text

_NUMERALS = "0123456789零〇一二三四五六七八九十百千万两٣५๔𝟗９²½Ⅻ"
# What texts are made of: any character, surrogates and unassigned ones too, and what the tokenizer treats by itself.
_CHARACTERS = st.characters(exclude_categories=())
_PIECES = st.one_of(
    st.text(_CHARACTERS, max_size=8),
    st.text(st.characters(categories=["Nd", "Nl", "No"]), min_size=1, max_size=4),
    st.text(st.characters(categories=["Mn", "Mc", "Me"]), min_size=1, max_size=4),
    st.text(st.sampled_from(_NUMERALS), min_size=1, max_size=6),
    st.sampled_from(["第", "条", "章", "section ", "article 1.", "\x00", "\ud800", "\udfff", "\ufffe", "ﾞ", "\u0345",
                     "’s", ".", ",", "1,", "_", "-\n", "\n", " ", "ﷺ", "İ", "ß", "e\u0301", "年假", "a@b.c", "c++"]),
)  # fmt: skip
_REPEATED = st.tuples(_PIECES, st.sampled_from([1, 1, 1, 2, 31, 200])).map(lambda piece: piece[0] * piece[1])
# At most one piece is very long: what takes long in long texts is measured by `test_long_texts_end`.
_LONG_ONE = st.tuples(_PIECES, st.sampled_from([0, 0, 1, 1, 5_000])).map(lambda piece: piece[0] * piece[1])
_HOSTILE = st.tuples(st.lists(_REPEATED, max_size=3), _LONG_ONE, st.lists(_REPEATED, max_size=3)).map(
    lambda parts: "".join([*parts[0], parts[1], *parts[2]])
)


@settings(max_examples=200, deadline=None)
@given(_HOSTILE)
@example("第" + "9" * 5_000 + "条")
@example("第" + "九" * 5_000 + "条\n第" + "九千" * 5_000 + "条")
@example("section " + "1." * 5_000 + "1")
@example("\ud800")
def test_no_text_raises_and_every_token_is_short_and_can_be_stored(sample: str) -> None:
    found = [*text.tokens(sample), *text.openings(sample), *text.numbered(sample), *text.query_terms(sample)]
    assert all(0 < len(token) <= 100 and not any(c.isspace() for c in token) for token in found)
    " ".join(found).encode("utf-8")
    text.held(sample, text.keywords(sample))
    text.heading_line(sample, [sample])
    text.digest(sample)
    assert text.language(sample)
    assert "".join(text.sentences(sample)) == sample
    assert all(0 <= start < end <= len(sample) for start, end in text.marks(sample, found))


@settings(deadline=None)
@given(
    st.text(st.sampled_from("0123456789"), min_size=1, max_size=9_000),
    st.sampled_from("0〇零"),
    st.integers(0, 9_000),
)
def test_an_article_number_of_any_length_is_one_token(digits: str, zero: str, zeros: int) -> None:
    written = zero * zeros + digits
    (token,) = text.tokens(f"第{written}条")
    chinese = written.translate(str.maketrans("0123456789", "〇一二三四五六七八九"))
    assert text.tokens(f"第{chinese}条") == [token]
    assert (digits.lstrip("0") or "0").startswith(token[1:-1])


@given(st.integers(1, 99_999_999))
def test_small_article_numbers_are_what_they_count(number: int) -> None:
    assert text.tokens(f"第{number}条") == [f"第{number}条"]


def test_a_number_with_many_groups_is_cut_like_every_token() -> None:
    assert text.tokens("1" + ",234" * 30_000) == [("1" + "234" * 30_000)[:80]]


# Each took minutes to centuries where the work grew faster than the text.
_LONG = {
    "marks out of order": r"'\u0301' * 200_000 + '\u0323' * 200_000",
    "marks out of order, letters and signs by turns": r"'\u0345\uff9e' * 200_000",
    "lines without a word": r"'-\n' * 300_000",
    "an article number without an end": "'第' + '九千' * 300_000",
    "a section number without an end": "'section 1' + '.1' * 300_000 + 'a'",
    "brackets after a full stop": "('.' + ')' * 300_000) * 2",
    "parts of one identifier": "'a.' * 200_000",
}


@pytest.mark.parametrize("sample", _LONG.values(), ids=_LONG.keys())
def test_long_texts_end(sample: str) -> None:
    script = (
        f"from core import text; s = {sample}; t = text.tokens(s); text.openings(s); text.query_terms(s);"
        "text.sentences(s); text.marks(s, t[:3])"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=os.environ)
