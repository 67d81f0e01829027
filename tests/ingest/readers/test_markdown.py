"""Markdown headings, front matter, titles."""

import pytest

from core.config import IngestConfig
from core.types import Document
from ingest.readers.markdown import read_markdown


def read(text: str) -> Document:
    return read_markdown(text.encode(), IngestConfig())


def outline(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(s.headings, document.text[s.start : s.end].strip().split("\n")[0]) for s in document.sections]


def test_headings_open_sections_with_their_path() -> None:
    document = read("intro\n\n# A\n\ntext\n\n## B\nx\n### C\ny\n## D\nz\n")
    assert outline(document) == [
        ((), "intro"),
        (("A",), "# A"),
        (("A", "B"), "## B"),
        (("A", "B", "C"), "### C"),
        (("A", "D"), "## D"),
    ]


def test_setext_headings_count() -> None:
    assert outline(read("标题\n====\n\n正文\n\n小节\n----\n\n正文")) == [
        (("标题",), "标题"),
        (("标题", "小节"), "小节"),
    ]


@pytest.mark.parametrize(
    "code", ["```sh\n# not a heading\n```", "~~~\n# no\n~~~", "    # indented", "> # quoted", "- # item"]
)
def test_a_hash_in_code_a_quote_or_a_list_is_no_heading(code: str) -> None:
    assert [headings for headings, _ in outline(read(f"# A\n\n{code}\n\n## B\n"))] == [("A",), ("A", "B")]


def test_heading_names_lose_their_markup_and_anchor() -> None:
    document = read("# The **bold** [link](http://x) `code` {#anchor}\n\nx")
    assert document.sections[0].headings == ("The bold link code",)
    assert document.title == "The bold link code"


@pytest.mark.parametrize("line", ['title: "A: title"', "title: 'A: title'", "title: A: title", "Title:   A: title  "])
def test_front_matter_is_left_out_and_gives_the_title(line: str) -> None:
    document = read(f"---\n{line}\ntags: [x]\n---\n\n# Heading\n\ntext\n")
    assert document.title == "A: title"
    assert document.text.strip() == "# Heading\n\ntext"


def test_a_thematic_break_at_the_start_is_no_front_matter() -> None:
    document = read("---\n\nSome words.\n\n---\n\n# A\n")
    assert "Some words." in document.text
    assert document.title == "A"


def test_front_matter_that_is_never_closed_stays() -> None:
    assert "key: value" in read("---\nkey: value\n\ntext\n").text


def test_an_html_heading_opens_a_section() -> None:
    document = read('<h1 align="center">Project <b>X</b></h1>\n\nIt does things.\n\n## Use\n\nRun it.\n')
    assert outline(document)[1][0] == ("Project X", "Use")
    assert document.title == "Project X"


def test_the_source_is_kept_word_for_word() -> None:
    source = "# A\n\n[![badge](x.svg)](y)\n\n<!-- note -->\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert read(source).text == source
    assert read(source.replace("\n", "\r\n")).text == source


def test_unclosed_html_headings_take_no_time_worth_noting() -> None:
    assert read("<h1>" * 20_000).title == ""  # quadratic search would run for minutes here
