"""The page of reckoning says what its arithmetic gives of what was measured last."""

import json

from bench import reckon
from tests.conftest import ROOT


def test_the_table_of_the_page_is_that_of_the_figures() -> None:
    results = json.loads((ROOT / "bench" / "results.json").read_text("utf-8"))
    said = reckon.table(results)
    assert said in (ROOT / "docs" / "scale.md").read_text("utf-8"), f"docs/scale.md and docs/zh/scale.md need\n{said}"


def test_what_is_reckoned_grows_as_the_chunks_do() -> None:
    results = json.loads((ROOT / "bench" / "results.json").read_text("utf-8"))
    for name, *figures in reckon.rows(results):
        small, large = (float(figure.strip("$").split()[0].replace(",", "")) for figure in figures)
        assert 95 < large / small < 105, name


def test_the_factors_are_those_of_a_worked_example() -> None:
    assert reckon.CHUNK_FLOP == 10_616_832_000.0  # 2 * 21,233,664 weights * 250 tokens
    assert [reckon.figure(value) for value in (0.0449, 1.66, 12.4, 1124.0, 0.999)] == [
        "0.045",
        "1.7",
        "12",
        "1,100",
        "1",
    ]
