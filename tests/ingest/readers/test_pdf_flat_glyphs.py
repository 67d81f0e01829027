"""Flat Chinese characters are no marks of notes, and what browsers raise is."""

import numpy as np
import pytest

from ingest.readers.pdf_words import _are_raised, _written
from ingest.readers.raised import may_be_raised


@pytest.mark.parametrize("text", ["一", "二", "乙", "“", "”", "—", "-", "·", "、", "ー"])
def test_what_is_flat_or_high_by_itself_is_not_raised(text: str) -> None:
    assert not may_be_raised(text)
    assert _written(f"押{text}付", [False, True, False], "") == f"押{text}付"


@pytest.mark.parametrize(("text", "written"), [("6", "10^6"), ("*", "10*"), ("-6", "10^-6")])
def test_exponents_and_marks_are(text: str, written: str) -> None:
    assert may_be_raised(text)
    assert _written(f"10{text}", [False, False, *[True] * len(text)], "") == written
    assert _written("28注1", [False, False, True, True], "") == "28 [注1]"


def test_a_word_that_begins_raised_belongs_to_the_one_that_it_touches() -> None:
    assert _written("6个", [True, False], "约10") == "^6个"
    assert _written("6个", [True, False], "") == " [6]个"


def test_five_sixths_of_the_size_are_small_where_they_stand_clearly_higher() -> None:
    line = np.array([[0.0, 715.4, 10.0, 726.4]])
    assert _are_raised(np.array([[0.0, 720.1, 5.0, 729.2]]), line).all()  # as <sup> of a browser
    assert not _are_raised(np.array([[0.0, 717.0, 5.0, 726.1]]), line).any()  # small capitals in their line
