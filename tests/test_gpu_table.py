"""The table that somebody with a GPU has written into the pages: its rows are replaced, and nothing else."""

import shutil
from pathlib import Path

import pytest

from bench import gpu

FOUND = {
    "weights_gb": 13.5, "start_s": 71, "room_tokens": 211_000, "reckoned_tokens": 209_500, "cache_share": 0.41,
    "chats": {"1": {"per_second": 1.234, "first_p50_ms": 31.4}, "16": {"per_second": 15.0, "first_p50_ms": 90.0}},
}  # fmt: skip


@pytest.mark.parametrize("page", gpu._DOCS, ids=lambda page: page.parent.name)
def test_the_rows_of_the_table_are_replaced_and_all_else_stays(page: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(page, tmp_path))
    before = page.read_text("utf-8").split("\n")
    gpu.write(["| old |"], copy)
    new = gpu.row("7B", FOUND)
    assert new == "| 7B | 13.5 GB | 71 s | 211,000 / 209,500 | 1.23 / 15 | 31 / 90 ms | 0.41 |"
    gpu.write([new], copy)
    after = copy.read_text("utf-8").split("\n")
    head = next(n for n, line in enumerate(after) if line.startswith("| bench.gpu |"))
    assert after[head].count("|") == new.count("|")
    assert after[head + 2] == new
    rest = [line for line in before if line not in before[head + 2 : before.index("", head)]]
    assert [*after[: head + 2], *after[head + 3 :]] == rest
