"""Tables of Word documents, read back cell by cell."""

from docx.document import Document as WordDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.readers.test_office import W, add, read


def table(*rows: str) -> str:
    return f"<w:tbl {W}>{''.join(rows)}</w:tbl>"


def row(*cells: str, about: str = "") -> str:
    return f"<w:tr>{f'<w:trPr>{about}</w:trPr>' if about else ''}{''.join(cells)}</w:tr>"


def cell(text: str, about: str = "") -> str:
    return f"<w:tc><w:tcPr>{about}</w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"


def lines(xml: str) -> list[str]:
    return read(lambda document: add(document, xml)).text.split("\n")


def test_cells_merged_over_rows_and_columns() -> None:
    rows = (
        row(cell("部门", '<w:vMerge w:val="restart"/>'), cell("人数", '<w:gridSpan w:val="2"/>')),
        row(cell("", "<w:vMerge/>"), cell("早班"), cell("中班")),
        row(cell("客服部"), cell("9"), cell("7")),
    )
    assert lines(table(*rows)) == ["| 部门 | 人数 早班 | 人数 中班 |", "| --- | --- | --- |", "| 客服部 | 9 | 7 |"]


def test_a_merge_ends_where_the_next_begins() -> None:
    start, on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    rows = [row(cell("k"), cell("v"))]
    rows += [row(cell(a, b), cell(str(i))) for i, (a, b) in enumerate([("A", start), ("", on), ("B", start), ("", on)])]
    assert lines(table(*rows))[2:] == ["| A | 0 |", "| A | 1 |", "| B | 2 |", "| B | 3 |"]


def test_rows_and_cells_that_were_deleted_are_left_out() -> None:
    rows = (
        row(cell("k"), cell("v")),
        row(cell("gone"), cell("1"), about="<w:del w:id='1' w:author='a'/>"),
        row(cell("a"), cell("no", "<w:cellDel w:id='2' w:author='a'/>"), cell("2")),
    )
    assert lines(table(*rows)) == ["| k | v |", "| --- | --- |", "| a | 2 |"]


def test_several_rows_that_are_repeated_on_each_page_name_the_columns() -> None:
    repeated = "<w:tblHeader/>"
    rows = (
        row(cell("Year"), cell("Sales"), about=repeated), row(cell(""), cell("EUR"), about=repeated),
        row(cell("2024"), cell("7")),
    )  # fmt: skip
    assert lines(table(*rows))[0] == "| Year | Sales EUR |"


def test_a_row_that_begins_further_right_keeps_its_columns() -> None:
    rows = (row(cell("a"), cell("b")), row(cell("2"), about='<w:gridBefore w:val="1"/>'))
    assert lines(table(*rows))[2] == "|  | 2 |"


def test_a_table_within_a_cell_names_its_columns() -> None:
    def build(document: WordDocument) -> None:
        outer = document.add_table(2, 2)
        outer.cell(0, 0).text, outer.cell(0, 1).text, outer.cell(1, 0).text = "Site", "Contacts", "Bonn"
        inner = outer.cell(1, 1).add_table(3, 2)
        for place, text in enumerate(["Name", "Room", "Ann", "4", "Bob", "5"]):
            inner.cell(place // 2, place % 2).text = text

    assert read(build).text.split("\n")[2] == "| Bonn | Name: Ann, Room: 4; Name: Bob, Room: 5 |"


def test_a_row_in_a_content_control_and_a_foot_note_of_a_table() -> None:
    inner = row(cell("a"), cell("1"))
    xml = table(row(cell("k"), cell("v")), f"<w:sdt><w:sdtContent>{inner}</w:sdtContent></w:sdt>")
    assert lines(xml)[2] == "| a | 1 |"


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.text("ab年9", min_size=1, max_size=4), min_size=3, max_size=3), min_size=2, max_size=5))
def test_a_table_reads_back(values: list[list[str]]) -> None:
    def build(document: WordDocument) -> None:
        made = document.add_table(len(values), 3)
        for i, texts in enumerate(values):
            for j, text in enumerate(texts):
                made.cell(i, j).text = text

    found = read(build).text.split("\n")
    assert [[said.strip() for said in line[1:-1].split("|")] for line in (found[0], *found[2:])] == values


def test_numbers_in_the_first_row_stay() -> None:
    assert lines(table(row(cell("1"), cell("2")), row(cell("3"), cell("4")))) == [
        "| 1 | 2 |", "| --- | --- |", "| 3 | 4 |",
    ]  # fmt: skip


def test_rows_that_say_that_they_are_not_repeated_name_no_column() -> None:
    rows = (
        row(cell("Plan"), cell("Fee"), about="<w:tblHeader/>"),
        row(cell("Basic"), cell("12"), about='<w:tblHeader w:val="0"/>'),
        row(cell("Pro"), cell("40"), about='<w:tblHeader w:val="false"/>'),
    )
    assert lines(table(*rows)) == ["| Plan | Fee |", "| --- | --- |", "| Basic | 12 |", "| Pro | 40 |"]
