"""The numbers of lists on web pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from ingest.read import read_bytes


def read(page: str) -> list[str]:
    return read_bytes("x.html", page.encode(), IngestConfig()).text.split("\n")


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ("", ["1. ", "2. ", "3. "]), ("start=5", ["5. ", "6. ", "7. "]), ("type=a", ["a. ", "b. ", "c. "]),
        ("type=I start=4", ["IV. ", "V. ", "VI. "]), ("reversed", ["3. ", "2. ", "1. "]),
        ("reversed start=9", ["9. ", "8. ", "7. "]), ("start=-1", ["-1. ", "0. ", "1. "]),
        ("style='list-style-type: lower-roman'", ["i. ", "ii. ", "iii. "]),
        ("style='list-style:cjk-ideographic inside'", ["一、", "二、", "三、"]),
        ("style='list-style:none'", ["", "", ""]), ("start=x type=q", ["1. ", "2. ", "3. "]),
    ],
)  # fmt: skip
def test_items_have_the_numbers_that_a_browser_shows(attributes: str, labels: list[str]) -> None:
    page = f"<h1>T</h1><ol {attributes}><li>word<li>word<li>word</ol>"
    assert read(page)[2:] == [f"{label}word" for label in labels]


def test_an_item_may_state_its_own_number_and_lists_count_for_themselves() -> None:
    page = "<p>T<ol><li>a<ol type=a><li>b</ol><li value=7>c<li>d</ol><ul><li>e</ul>"
    assert [line for line in read(page)[1:] if line] == ["1. a", "a. b", "7. c", "8. d", "- e"]


@given(st.integers(1, 9999), st.integers(1, 5))
def test_the_numbers_go_on_from_any_start(start: int, count: int) -> None:
    page = f"<p>T<ol start={start}>{'<li>word' * count}</ol>"
    assert [line for line in read(page)[1:] if line] == [f"{start + i}. word" for i in range(count)]
