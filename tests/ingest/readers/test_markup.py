"""Web pages and XML."""

from pathlib import Path

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.markup import read_html, read_xml


def html(body: str, head: str = "") -> Document:
    return read_html(f"<html><head>{head}</head><body>{body}</body></html>".encode(), IngestConfig())


def xml(text: str) -> Document:
    return read_xml(text.encode(), IngestConfig())


def test_headings_make_the_path_and_open_their_section() -> None:
    document = html("before<h1>A</h1><p>one</p><h2>B</h2><p>two</p><h1>C</h1><p>three</p>")
    parts = [(s.headings, document.text[s.start : s.end]) for s in document.sections]
    assert parts == [((), "before"), (("A",), "A\n\none"), (("A", "B"), "B\n\ntwo"), (("C",), "C\n\nthree")]


def test_navigation_scripts_and_what_is_hidden_are_left_out() -> None:
    document = html(
        "<nav>Menu</nav><script>var x</script><style>p{}</style><p>Kept</p> tail<footer>Imprint</footer>"
        "<div role='navigation'>More menu</div><p style='color:red; display: none'>Invisible</p>after"
    )
    assert document.text.split() == ["Kept", "tail", "after"]


def test_a_body_that_a_script_would_show_is_read() -> None:
    assert read_html(b"<body style='display:none'><p>Shown later</p></body>", IngestConfig()).text == "Shown later"


def test_a_table_becomes_a_line_a_row() -> None:
    document = html(
        "<table><tr><th>Region</th><th>Sales</th></tr><tr><td>North</td><td><p>100</p><p>net</p></td></tr>"
        "<tr><td>South</td><td></td></tr></table>"
    )
    assert document.text == "| Region | Sales |\n| --- | --- |\n| North | 100 net |\n| South |  |"


def test_a_cell_over_rows_is_repeated_and_empty_columns_are_dropped() -> None:
    document = html(
        "<table><tr><td rowspan=2>2024</td><td></td><td>Q1</td><td>5</td></tr>"
        "<tr><td></td><td>Q2</td><td>6</td></tr></table>"
    )
    assert document.text == "| 2024 | Q1 | 5 |\n| --- | --- | --- |\n| 2024 | Q2 | 6 |"


def test_a_layout_table_is_read_as_blocks() -> None:
    document = html("<table><tr><td><h1>A</h1><p>one</p></td><td><ul><li>x<li>y</ul></td></tr></table>")
    assert document.text == "A\n\none\n\n- x\n- y"


def test_lists_keep_bullets_and_numbers() -> None:
    document = html("<ol><li>first</li><li><p>second</p><ul><li>inner</li></ul></li><li>third</li></ol>")
    assert [line for line in document.text.split("\n") if line] == ["1. first", "2. second", "- inner", "3. third"]


def test_code_keeps_its_lines_and_inline_tags_do_not_split_words() -> None:
    document = html("<p>H<sub>2</sub>O is<br>wet</p><pre>a = 1\n  b = 2</pre>")
    assert document.text == "H2O is\nwet\n\na = 1\n  b = 2"


def test_a_source_line_break_within_chinese_is_no_space() -> None:
    assert html("<p>员工每年享有\n   五天年假</p>").text == "员工每年享有五天年假"


def test_the_main_element_wins_over_what_surrounds_it() -> None:
    main = "<p>" + "The policy says so. " * 20 + "</p>"
    assert "Sidebar" not in html(f"<div>Sidebar</div><main><h1>T</h1>{main}</main><div>Sidebar</div>").text


def test_a_main_element_that_holds_next_to_nothing_does_not_hide_the_page() -> None:
    assert "Long text" in html("<main>x</main><div>" + "Long text of the page. " * 10 + "</div>").text


def test_a_tiny_page_is_kept() -> None:
    assert html("Yes.").text == "Yes."


@pytest.mark.parametrize(
    ("head", "body", "title"),
    [
        ("<title>Site - Page</title>", "<h1>Page</h1>x", "Page"),
        ("<title>Site - Page</title>", "<h1>A</h1>x<h1>B</h1>y", "Site - Page"),
        ("<title>Untitled</title>", "<p>x</p>", ""),
    ],
)
def test_the_title_is_the_only_first_heading_else_the_title_element(head: str, body: str, title: str) -> None:
    assert html(body, head).title == title


def test_xhtml_with_self_closed_scripts_keeps_its_body() -> None:
    head = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><script src="x"/></head>'
    source = f"{head}<body>Text</body></html>"
    assert read_html(source.encode(), IngestConfig()).text == "Text"
    assert xml(source).text == "Text"


def test_elements_nested_thousands_deep_are_an_error_not_a_loss() -> None:
    with pytest.raises(ReadError, match="nested"):
        html("<b>x" * 5000)


def test_hostile_spans_do_not_blow_up_a_table() -> None:
    document = html("<table>" + "<tr><td rowspan=99999 colspan=99999>x</td><td>y</td></tr>" * 300 + "</table>")
    assert "y" in document.text
    assert len(document.text) < 1_000_000


def test_xml_leaves_carry_their_name_and_running_text_does_not() -> None:
    document = xml("<c><name>Trinidad</name><capital>Port of Spain</capital><p>An <b>island</b> state.</p></c>")
    assert document.text == "name: Trinidad\ncapital: Port of Spain\nAn island state."


def test_xml_in_its_declared_encoding_is_read() -> None:
    data = '<?xml version="1.0" encoding="Big5"?><a><b>繁體中文</b></a>'.encode("big5")
    assert read_xml(data, IngestConfig()).text == "b: 繁體中文"


def test_entities_of_the_file_are_never_expanded() -> None:
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    document = xml(f'<!DOCTYPE r [<!ENTITY e0 "lol">{levels}]><r><a>kept</a><b>&e9;</b></r>')
    assert document.text == "a: kept"


def test_an_external_entity_reads_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    document = xml(f'<!DOCTYPE r [<!ENTITY x SYSTEM "{secret.as_uri()}">]><r><a>kept</a><b>&x;</b></r>')
    assert document.text == "a: kept"


def test_what_is_no_xml_at_all_is_an_error() -> None:
    with pytest.raises(ReadError, match="damaged XML"):
        xml("just words")


@pytest.mark.parametrize(
    ("head", "tags", "day"),
    [
        ('<meta name="Keywords" content="HR, 年假；leave">', ("HR", "年假", "leave"), ""),
        ('<meta property="article:tag" content="a, b"><meta property="article:tag" content="c">', ("a, b", "c"), ""),
        ('<meta property="article:published_time" content="2024-03-15T10:00:00Z">', (), "2024-03-15"),
        ('<meta name="date" content="2023"><meta property="article:modified_time" content="2024-05">', (), "2024-05"),
        ('<meta http-equiv="Last-Modified" content="Fri, 15 Mar 2024 10:00:00 GMT">', (), "2024-03-15"),
        ('<meta name="date" content="soon"><meta charset="utf-8"><meta name="date">', (), ""),
    ],
)
def test_tags_and_date_come_from_the_meta_elements(head: str, tags: tuple[str, ...], day: str) -> None:
    document = html("<p>text</p>", head)
    assert (document.tags, document.date) == (tags, day)


def test_shadow_roots_and_written_out_frames_are_part_of_their_page() -> None:
    page = """<body><h1>Shop</h1>
      <x-card><template shadowrootmode="open"><style>p { display: none }</style>
      <p>Delivery takes nine days.</p></template>
      </x-card><template><p>Not shown by itself.</p></template>
      <iframe srcdoc="&lt;style&gt;h1 { display: none }&lt;/style&gt;&lt;p&gt;The price is 45 EUR.&lt;/p&gt;"></iframe>
      <iframe srcdoc="&lt;p&gt;Nobody sees it.&lt;/p&gt;" hidden></iframe><p>Thank you.</p></body>"""
    document = read_html(page.encode(), IngestConfig())
    assert document.text.split("\n\n") == ["Shop", "Delivery takes nine days.", "The price is 45 EUR.", "Thank you."]


def test_a_cell_may_cover_all_rows_that_are_left_and_sums_stated_first_come_last() -> None:
    rows = "<tr><th>Site<th>Units<tfoot><tr><td>Sum<td>3<tbody><tr><td rowspan=0>Lyon<td>1<tr><td>2"
    assert html(f"<table><thead>{rows}</table>").text.split("\n") == [
        "| Site | Units |", "| --- | --- |", "| Lyon | 1 |", "| Lyon | 2 |", "| Sum | 3 |",
    ]  # fmt: skip


def test_a_table_by_roles_is_one() -> None:
    row = "<div role=row><span role={0}>{1}</span><span role={0}>{2}</span></div>"
    rows = row.format("columnheader", "Plan", "Fee") + row.format("gridcell", "Basic", "12")
    grid = f"<div role=grid><div role=rowgroup>{rows}</div></div>"
    assert html(grid).text.split("\n") == ["| Plan | Fee |", "| --- | --- |", "| Basic | 12 |"]
    wrapped = "<div role=table><div role=row><div><p role=cell>in a wrapper</p></div></div></div>"
    assert html(wrapped).text == "in a wrapper"


def test_the_foot_of_an_article_is_read() -> None:
    assert html("<article><p>Text.</p><footer>Valid from May</footer></article>").text == "Text.\n\nValid from May"
