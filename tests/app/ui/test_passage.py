"""A passage laid out: tables and lists are, what a document plants is not, and what was quoted is marked."""

import html
import re

from hypothesis import example, given
from hypothesis import strategies as st

from app.ui.passage import laid_out, quotes_of
from core.text import keywords

# All that the renderer writes itself; whatever else stands in angle brackets came from a document.
OURS = re.compile(
    r"</?(?:p|ul|ol|li|em|strong|blockquote|table|thead|tbody|tr|th|td|div|pre|code|mark)>|<(?:hr|br) />"
    r'|<ol start="\d+">'
    r'|<p class="rs-h">|<div class="rs-(?:plain|table)"(?: tabindex="0")?>|<mark class="rs-quoted">'
    r'|<t[hd] style="text-align:(?:left|right|center)">'
)
TABLE = "# Limits\n\n| City | Night |\n|---|--:|\n| Berlin | **130** euros |\n\n1. First.\n2. Book *early* & pay.\n"


def marked(shown: str, kind: str) -> str:
    """The marked characters, one behind the other."""
    found, depth = "", 0
    for piece in re.split(r"(<[^>]*>)", shown):
        if piece.startswith("<mark"):
            depth += kind in piece if depth == 0 else 1
        elif piece == "</mark>":
            depth = max(depth - 1, 0)
        elif depth and not piece.startswith("<"):
            found += html.unescape(piece)
    return found


def test_tables_lists_and_headings_are_laid_out() -> None:
    shown = laid_out(TABLE, "travel.md", ())
    assert '<div class="rs-table" tabindex="0"><table>' in shown
    assert "<strong>130</strong> euros" in shown
    assert '<p class="rs-h">Limits</p>' in shown
    assert "<li>Book <em>early</em> &amp; pay.</li>" in shown
    assert "|" not in shown


def test_lines_of_a_pdf_stay_lines_and_other_text_is_shown_as_it_stands() -> None:
    assert "one<br />\ntwo" in laid_out("one\ntwo", "scan.PDF", ())
    assert "<br" not in laid_out("one\ntwo", "notes.md", ())
    assert laid_out("# not a heading\n    x < y", "run.py", ()) == (
        '<div class="rs-plain"># not a heading\n    x &lt; y</div>'
    )


PLANTED = st.lists(
    st.sampled_from(
        [
            "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![x](http://example.com/x.png)", "<http://a.b>",
            "http://a.example", "&#x202e;", "&lt;script&gt;", "<script>", "```html\n<b>\n```", "| a |\n|---|\n| <i> |",
            "> ", "1. ", "# ", "[r]: http://a.example", "[r]", '"', "'", ">", "<!--", "\u202e", "\x00", "\n\n", "word",
            "词语", "***",
        ]
    ),
    max_size=12,
)  # fmt: skip


@given(PLANTED, st.sampled_from(["a.md", "a.pdf", "a.txt"]), st.sampled_from([" ", "\n", ""]))
@example(['<td style="x">', "|a|\n|-|\n|b|"], "a.md", "")
def test_nothing_that_a_document_plants_becomes_an_element(parts: list[str], path: str, gap: str) -> None:
    text = gap.join(parts)
    shown = laid_out(text, path, keywords("word 词语 script"), [text])
    assert OURS.sub("", shown).count("<") == 0
    assert "\u202e" not in html.unescape(shown)


def test_the_quoted_sentence_is_marked_apart_from_words_of_the_question() -> None:
    shown = laid_out(TABLE, "travel.md", keywords("how early to book in Berlin"), ["2. Book *early* & pay."])
    assert marked(shown, "rs-quoted") == "Book early & pay."
    assert '<mark class="rs-quoted"><mark>Book</mark></mark>' in shown
    assert "<td><mark>Berlin</mark></td>" in shown


def test_a_quoted_row_of_a_table_is_marked_cell_by_cell() -> None:
    shown = laid_out(TABLE, "travel.xlsx", (), ["| Berlin | **130** euros |"])
    assert re.sub(r"\s", "", marked(shown, "rs-quoted")) == "Berlin130euros"
    assert '<td><mark class="rs-quoted">Berlin</mark></td>' in shown


def test_a_sentence_that_is_not_in_the_passage_marks_nothing() -> None:
    assert "<mark" not in laid_out(TABLE, "travel.md", (), ["Rome costs 90 euros.", "", "***"])


def test_what_an_answer_has_from_a_passage_is_its_quote_and_its_own_sentences_that_say_something() -> None:
    answer = "It is so. The nightly limit in Berlin is 130 euros [1].\n出差住宿标准为六百五十元。[2]"
    assert quotes_of(answer, "Berlin: 130") == [
        "Berlin: 130", "The nightly limit in Berlin is 130 euros.", "出差住宿标准为六百五十元。",
    ]  # fmt: skip
