"""Raised characters: an exponent, or the mark of a note, never a digit of the number before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.readers.raised import lowered, raised


@pytest.mark.parametrize(
    ("before", "text", "line"),
    [
        ("10", "6", "10^6"), ("2", "10", "2^10"), ("10", "−6", "10^-6"), ("5 × 10", "3", "5 × 10^3"),
        ("12 m", "2", "12 m^2"), ("12 m", "²", "12 m^²"), ("3 km", "2", "3 km^2"), ("s", "-1", "s^-1"),
        ("E = mc", "2", "E = mc^2"), ("x", "n+1", "x^(n+1)"), ("(1+r)", "5", "(1+r)^5"), ("Ca", "2+", "Ca^2+"),
        ("28", "1", "28 [1]"), ("1,200", "3", "1,200 [3]"), ("5 000", "1", "5 000 [1]"), ("12.5", "a", "12.5 [a]"),
        ("Zurich", "3", "Zurich [3]"), ("a night.", "1", "a night. [1]"), ("(see above)", "2", "(see above) [2]"),
        ("二十八", "1", "二十八 [1]"), ("面积12米", "2", "面积12米^2"), ("word", "[4]", "word [4]"),
        ("known", "1,2", "known [1,2]"), ("1", "st", "1st"), ("22", "nd", "22nd"), ("Acme", "TM", "AcmeTM"),
        ("price", "*", "price*"), ("20", "o", "20°"), ("word", " ", "word "),
    ],
)  # fmt: skip
def test_a_raised_text_is_an_exponent_or_a_mark(before: str, text: str, line: str) -> None:
    assert before + raised(before, text) == line


@pytest.mark.parametrize(
    ("before", "text", "line"),
    [("H", "2", "H2"), ("CO", "2", "CO2"), ("V", "max", "Vmax"), ("x", "i", "x_i"), ("10", "2", "10_2")],
)
def test_a_lowered_text_is_an_index(before: str, text: str, line: str) -> None:
    assert before + lowered(before, text) == line


def test_a_text_that_is_known_to_be_a_mark_is_one() -> None:
    assert raised("10", "6", mark=True) == " [6]"


@given(st.integers(0, 99_999), st.integers(1, 999))
def test_a_number_never_swallows_the_digits_above_or_below_it(number: int, above: int) -> None:
    assert not raised(str(number), str(above))[0].isdigit()
    assert not lowered(str(number), str(above))[0].isdigit()
