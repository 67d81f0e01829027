"""An answer as a file: what it says and rests on, in Markdown, in Word and on a page, named after its question."""

from io import BytesIO

import pytest
from docx import Document

from app.answering.exported import Written, as_markdown, as_page, as_word
from core.types import Citation

ANSWER = Written(
    "出差每晚最多多少钱？ <b>A/B</b>",
    "Up to **120** euros [1].\n\n| City | Euros |\n|---|---|\n| Rome | 120 |\n\n- one\n- two\n\n1. three\n\n"
    "<script>alert(1)</script>\n\n![x](http://far.example/x.png) [y](javascript:alert(1))\n\n```\ncode <i>\n```",
    (Citation(1, "travel/rules.md", 3, "A night is paid up to 120 euros."),),
    "2026-11-30",
    "qwen",
)


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("出差每晚最多多少钱？", "出差每晚最多多少钱？"),
        ('a/b\\c:d*e?f"g<h>i|j', "a b c d e f g h i j"),
        ("../../etc/passwd", "etc passwd"),
        ("x" * 200, "x" * 80),
        ("\n \t...", "answer"),
        ("evil\u202efdp.exe", "evil fdp.exe"),
    ],
)
def test_a_file_is_named_after_its_question(question: str, name: str) -> None:
    assert Written(question, "", (), "").name == name


def test_markdown_has_question_answer_and_sources() -> None:
    text = as_markdown(ANSWER, "zh")
    assert text.startswith("> 出差每晚最多多少钱？ ")
    assert "Up to **120** euros [1]." in text
    assert not any(f"\n{alive}" in text or f" {alive}" in text for alive in ("<script", "![x](", "<b>"))
    assert "## 来源\n\n- [1] travel/rules.md, 第 3 页: A night is paid up to 120 euros." in text
    assert "qwen" in text


def test_the_page_runs_and_fetches_nothing_whatever_an_answer_says() -> None:
    page = as_page(ANSWER, "en")
    assert "<title>出差每晚最多多少钱？ b A B b</title>" in page
    assert "<td>Rome</td>" in page
    assert "<strong>120</strong>" in page
    for wrong in ("<script", "<img", "<a ", "<b>A", "<i>"):
        assert wrong not in page


def test_word_has_headings_lists_tables_and_what_xml_cannot_hold_is_left_out() -> None:
    document = Document(BytesIO(as_word(ANSWER, "en")))
    texts = [(paragraph.style.name, paragraph.text) for paragraph in document.paragraphs if paragraph.style]
    assert ("Heading 1", ANSWER.question) in texts
    assert ("Normal", "Up to 120 euros [1].") in texts
    assert [text for style, text in texts if style == "List Bullet"] == ["one", "two"]
    assert ("Normal", "[1] travel/rules.md, p. 3: A night is paid up to 120 euros.") in texts
    assert [[cell.text for cell in row.cells] for row in document.tables[0].rows] == [
        ["City", "Euros"],
        ["Rome", "120"],
    ]
    bold = [run.text for paragraph in document.paragraphs for run in paragraph.runs if run.bold]
    assert "120" in bold
    hostile = Written("a\x00b\ud800", "x\x0by\ufffe", (), "")
    assert "xy" in [paragraph.text for paragraph in Document(BytesIO(as_word(hostile, "en"))).paragraphs]
