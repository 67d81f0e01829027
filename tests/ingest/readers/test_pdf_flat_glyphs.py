"""Flat Chinese characters are no marks of notes, and what browsers raise is."""

import numpy as np
import pytest

from ingest.readers.pdf_layout import layout
from ingest.readers.pdf_tables import Table
from ingest.readers.pdf_words import Words, _are_raised, _whole_line, _written
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


def test_lines_are_as_high_as_the_highest_of_their_characters() -> None:
    word = np.array([[0.0, 708.4, 9.0, 717.4], [9, 707.6, 14, 717.6], [14, 711.7, 16, 720.0], [16, 711.7, 20, 720.0]])
    line = np.array([[0.0, 708.4, 20.0, 717.4]])  # the box of the first, that of its ink: 金10-3
    whole = _whole_line(word, line, np.array([0]), np.array([4]))
    assert whole[0].tolist() == [0.0, 707.6, 20.0, 717.6]
    assert _are_raised(word, np.repeat(whole, 4, axis=0)).tolist() == [False, False, True, True]


def test_a_ligature_is_not_raised() -> None:
    assert _written("file2", [True, True, False, False, False], "") == "file2"


def test_a_flat_first_cell_parts_no_table() -> None:
    cells = [
        (40.0, 700.0, 10.0, "期次"), (120.0, 700.0, 10.0, "金额"),
        (40.0, 684.5, 1.0, "一"), (120.0, 680.0, 10.0, "120"),
        (40.0, 656.0, 8.0, "二"), (120.0, 655.0, 10.0, "85"),
    ]  # fmt: skip
    boxes = np.array([(x, y, x + 20, y + high) for x, y, high, _ in cells])
    items = layout(Words([text for *_, text in cells], boxes), list)
    assert [item.rows for item in items if isinstance(item, Table)] == [[["期次", "金额"], ["一", "120"], ["二", "85"]]]
