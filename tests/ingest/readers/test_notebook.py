"""Notebooks: headings of the text cells, code and printed output, no pictures."""

import json
from typing import Any

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.notebook import read_notebook

CFG = IngestConfig()


def read(*cells: dict[str, Any], **rest: Any) -> Document:
    return read_notebook(json.dumps({"cells": cells, **rest}).encode(), CFG)


def markdown(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": list(lines)}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": outputs}


def test_headings_reach_over_the_cells_below_them_and_comments_are_none() -> None:
    document = read(markdown("# Leave\n", "text"), code("# a comment\nx = '```'"), markdown("## Days"), code("y"))
    assert [s.headings for s in document.sections] == [("Leave",), ("Leave", "Days")]
    assert "# a comment\nx = '```'" in document.text
    assert document.title == "Leave"


def test_what_cells_printed_is_kept_pictures_and_colours_are_not() -> None:
    document = read(
        code(
            "f()",
            {"output_type": "stream", "text": ["one\n", "two\n"]},
            {
                "output_type": "execute_result",
                "data": {"text/plain": "Table(3)", "text/html": "<b>", "image/png": "iVBO"},
            },
            {"output_type": "error", "ename": "ValueError", "evalue": "\x1b[31mno\x1b[0m days", "traceback": ["long"]},
        ),
        markdown("![chart](data:image/png;base64,iVBO)"),
    )
    assert "one\ntwo\nTable(3)\nValueError: no days" in document.text
    assert "chart" in document.text
    assert all(word not in document.text for word in ("iVBO", "<b>", "long", "["))


def test_long_output_is_cut() -> None:
    assert len(read(code("f()", {"output_type": "stream", "text": "word " * 10_000})).text) < 5000


def test_notebooks_of_format_3_have_sheets_and_headings_as_cells() -> None:
    cells = [{"cell_type": "heading", "level": 2, "source": "Days"}, {"cell_type": "code", "input": "x = 1"}]
    document = read_notebook(json.dumps({"worksheets": [{"cells": cells}]}).encode(), CFG)
    assert document.sections[0].headings == ("Days",)
    assert "x = 1" in document.text


def test_what_is_no_notebook_is_refused() -> None:
    with pytest.raises(ReadError, match="damaged notebook"):
        read_notebook(b'{"cells": [', CFG)
    with pytest.raises(ReadError, match="not a notebook"):
        read_notebook(b"[]", CFG)
