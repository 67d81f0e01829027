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
    source = "# A\n\n[![badge](x.svg)](y)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert read(source).text == source
    assert read(source.replace("\n", "\r\n")).text == source


def test_unclosed_html_headings_take_no_time_worth_noting() -> None:
    assert read("<h1>" * 20_000).title == ""  # quadratic search would run for minutes here


def stated(front: str, fence: str = "---") -> tuple[tuple[str, ...], str]:
    document = read(f"{fence}\n{front}\n{fence}\n# A\n\ntext\n")
    assert document.text.strip() == "# A\n\ntext"
    return document.tags, document.date


@pytest.mark.parametrize(
    ("front", "tags"),
    [
        ("tags: [Network, 网络]", ("Network", "网络")),
        ("tags:\n- a b\n-  'c, d'\ntitle: x", ("a b", "c, d")),
        ("tags: [\n  a,\n  b\n]", ("a", "b")),
        ("tags: 人事", ("人事",)),
        ("tags: 人事，财务、IT", ("人事", "财务", "IT")),
        ("Tags: one two", ("one", "two")),
        ("tags: annual leave, HR", ("annual leave", "HR")),
        ("keywords: annual leave", ("annual leave",)),
        ("categories: [B]\nkeywords: [b, C]\ntags: A", ("A", "b", "C")),
        ("tags: [no, 1.10, 2024-02-30, {a: b}, [c]]", ("no", "1.10", "2024-02-30")),
        ("title: A: no YAML\ntags: [x]", ("x",)),
        ("params:\n  tags: [x]", ()),
    ],
)
def test_tags_come_from_the_fields_of_front_matter(front: str, tags: tuple[str, ...]) -> None:
    assert stated(front)[0] == tags


@pytest.mark.parametrize(
    ("front", "day"),
    [
        ("date: 2024-03-15", "2024-03-15"),
        ("date: 2025-07", "2025-07"),
        ("date: 2024-03-15 23:30:00 -0800", "2024-03-15"),
        ("date: 2024-03-15\nlastmod: 2025-01-02T10:00:00Z", "2025-01-02"),
        ("date: 2024-03-15\nupdated: soon", "2024-03-15"),
        ("date: 2024-02-30", ""),
        ("draft: true", ""),
    ],
)
def test_the_date_is_that_of_the_version(front: str, day: str) -> None:
    assert stated(front)[1] == day


def test_toml_front_matter_is_read_too() -> None:
    assert stated('tags = ["a, b", "c"]\ndate = 2024-03-15T10:00:00Z', "+++") == (("a, b", "c"), "2024-03-15")
    assert stated("tags = [\ndate = 2024-03-15", "+++") == ((), "")


_BOMB = "\n".join(f" - &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(40))


@pytest.mark.parametrize(
    "value", [f"\n{_BOMB}", "[" * 5000, "{a: " * 2000, "!!python/object/apply:os.getcwd []", '"\\UFFFFFFFF"', "*x"]
)
def test_hostile_fields_are_left_out_and_the_others_stay(value: str) -> None:
    assert stated(f"tags: {value}\ndate: 2024") == ((), "2024")
    assert stated(f"date: {value}\ntags: [x]") == (("x",), "")


def test_front_matter_beyond_all_measure_is_not_parsed() -> None:
    assert stated(f"note: {'x' * 20_000}\ntags: [x]") == ((), "")


def test_comments_are_not_part_of_the_text_but_code_that_writes_one_is() -> None:
    source = """# Leave

Twenty<!-- not thirty --> days. Write `<!-- so -->` or

```html
<!-- so -->
```
<!--
for the next version
-->
Ask `early.

An arrow <!-- that is never closed."""
    document = read_markdown(source.encode(), IngestConfig())
    assert document.text == source.replace("<!-- not thirty -->", "").replace("<!--\nfor the next version\n-->", "")
    assert document.notes == ("26 characters that nobody sees were left out: they are not displayed",)
