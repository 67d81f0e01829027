"""Every chunk of a table names its columns."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import IngestConfig
from core.types import Document, Section
from ingest.columns import name_columns
from ingest.split import split
from tests.ingest.test_split import words

NAMES = "| Item | Reserve fund (EUR) | Remarks |\n| --- | --- | --- |\n"


def chunks_of(text: str, size: int = 60) -> list[str]:
    cfg = IngestConfig(chunk_tokens=size, chunk_overlap=10)
    document = name_columns(Document(text, "", (Section(0, len(text)),)), cfg, words)
    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in split(document, cfg, words))
    return [chunk.text for chunk in split(document, cfg, words)]


def rows(count: int, remark: str = "to be paid in May") -> str:
    return "".join(f"| House {i} | {i * 37} | {remark} |\n" for i in range(count))


def test_every_chunk_of_a_long_table_names_its_columns() -> None:
    found = chunks_of(f"Funds of the houses.\n\n{NAMES}{rows(60)}\nThat is all of it.", 140)
    tables = [chunk for chunk in found if "House" in chunk]
    assert len(tables) > 5
    assert all("Reserve fund (EUR)" in chunk for chunk in tables)
    assert all(re.sub(r"\A[^|]*", "", chunk).startswith("| Item") for chunk in tables)
    assert sum(chunk.count(f"| House {i} |") for i in range(60) for chunk in found) == 60


def test_rows_that_are_too_long_for_their_names_are_written_with_them() -> None:
    long = "a remark of many words " * 10
    found = chunks_of(NAMES + rows(4, long))
    assert all(f"Item: House {i} | Reserve fund (EUR): {i * 37}" in "\n".join(found) for i in range(4))


def test_a_short_table_is_left_as_it_is() -> None:
    (only,) = chunks_of(f"Funds:\n\n{NAMES}| A | 1 | x |\n", 200)
    assert only == f"Funds:\n\n{NAMES}| A | 1 | x |"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["A line of text.\n", NAMES + rows(30), "\n", "| a | b |\n", "更多的文字。\n"]), max_size=6
    )
)
def test_sections_go_on_to_cover_the_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    starts = [sum(map(len, pieces[:i])) for i in range(len(pieces) + 1)]
    sections = tuple(Section(a, b, (str(a),)) for a, b in pairwise(starts))
    document = name_columns(Document(text, "", sections), IngestConfig(chunk_tokens=60), words)
    cells = "".join(document.text[s.start : s.end] for s in document.sections)
    assert cells == document.text
    for before, after in zip(sections, document.sections, strict=True):
        assert text[before.start : before.end].strip()[:5] == document.text[after.start : after.end].strip()[:5]
