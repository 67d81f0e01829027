"""Tables as lines of Markdown: every value stays under the name of its column."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.readers.grid import Cell, markdown_table, plain_table

WORDS = st.text("abxyz0189年月", min_size=1, max_size=6)


def test_names_in_two_rows_are_joined() -> None:
    rows = [
        [Cell("Region", down=2), Cell("Revenue", across=2)], [Cell("Domestic"), Cell("Export")],
        [Cell("North"), Cell("2000"), Cell("7200")],
    ]  # fmt: skip
    expected = ["| Region | Revenue Domestic | Revenue Export |", "| --- | --- | --- |", "| North | 2000 | 7200 |"]
    assert markdown_table(rows) == expected
    rows[0][0], rows[1] = Cell(""), [Cell("Region"), *rows[1]]
    assert markdown_table(rows) == expected


def test_rows_that_are_marked_as_names_are_joined() -> None:
    rows = [[Cell("Year", name=True), Cell("Sales", name=True)], [Cell("", name=True), Cell("EUR", name=True)]]
    assert markdown_table([*rows, [Cell("2024"), Cell("7")]])[0] == "| Year | Sales EUR |"


def test_a_merged_cell_stands_for_all_that_it_covers() -> None:
    rows = [
        [Cell("部门"), Cell("岗位"), Cell("人数")], [Cell("客服部", down=2), Cell("早班"), Cell("9")],
        [Cell("中班"), Cell("7")], [Cell("全部", across=2), Cell("16")],
    ]  # fmt: skip
    assert markdown_table(rows)[2:] == ["| 客服部 | 早班 | 9 |", "| 客服部 | 中班 | 7 |", "| 全部 | 全部 | 16 |"]


def test_a_title_over_the_whole_table_stands_above_it_and_one_within_it_stands_once() -> None:
    rows = [[Cell("Tariffs", across=2)], [Cell("Zone"), Cell("Fare")], [Cell("City", across=2)], [Cell("A"), Cell("3")]]
    assert markdown_table(rows) == ["Tariffs", "| Zone | Fare |", "| --- | --- |", "| City |  |", "| A | 3 |"]


def test_bars_are_escaped_and_what_is_empty_throughout_is_left_out() -> None:
    assert plain_table([["a|b", "", "c"], ["", "", ""], ["1", "", "2"]]) == [
        "| a\\|b | c |", "| --- | --- |", "| 1 | 2 |",
    ]  # fmt: skip
    assert plain_table([["", ""]]) == plain_table([]) == []


def test_hostile_spans_grow_a_table_by_a_bounded_factor() -> None:
    rows = [[Cell("x" * 1000, across=10**6, down=10**6), Cell("y")] for _ in range(50)]
    lines = markdown_table(rows)
    assert sum(map(len, lines)) < 30 * 50 * 1001 + 50 * 300 * 4


@given(st.integers(1, 4), st.integers(2, 4), st.data())
def test_a_table_reads_back_cell_by_cell(height: int, width: int, data: st.DataObject) -> None:
    values = [[data.draw(WORDS) for _ in range(width)] for _ in range(height)]
    lines = plain_table(values)
    assert [[cell.strip() for cell in line[1:-1].split("|")] for line in (lines[0], *lines[2:])] == values


@given(st.lists(st.lists(st.builds(Cell, WORDS, st.integers(1, 5), st.integers(1, 5)), max_size=5), max_size=6))
def test_no_text_of_any_table_is_lost(rows: list[list[Cell]]) -> None:
    lines = "\n".join(markdown_table(rows))
    assert all(cell.text in lines for row in rows for cell in row)


def test_names_under_merged_ones_are_joined_though_the_first_reaches_not_down() -> None:
    head = [Cell("City"), Cell("2024", 2), Cell("2025", 2)]
    rows = [[Cell(text) for text in row] for row in (["", *["Plan", "Actual"] * 2], ["Ulm", *"1234"])]
    assert markdown_table([head, *rows])[::2] == [
        "| City | 2024 Plan | 2024 Actual | 2025 Plan | 2025 Actual |", "| Ulm | 1 | 2 | 3 | 4 |",
    ]  # fmt: skip
    values = [[Cell(""), *map(Cell, "1234")], [Cell("Ulm"), *map(Cell, "5678")]]
    assert markdown_table([head, *values])[0] == "| City | 2024 | 2024 | 2025 | 2025 |"
