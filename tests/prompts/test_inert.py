import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from prompts.inert import inert, inert_line

PIECES = ["![a](http://b.example/c.png)", "[a](http://b.example)", "[a][b]", "![a]", "[b]: http://b.example\n", "<b>",
          "<http://b.example>", "<img src=x>", "<!--", "`", "``", "```\n", "~~~\n", "\\", "\n", "\n\n", "    ", "> ",
          "- ", "x [1]", "args[0]", " ", "&lt;", "(", "]", "*a*"]  # fmt: skip


def opened(text: str) -> set[str]:
    """The kinds of what a viewer of Markdown makes of a text."""
    blocks = MarkdownIt("commonmark").parse(text)
    return {inside.type for block in blocks for inside in [block, *(block.children or ())]}


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_text_becomes_a_picture_a_link_or_html(text: str) -> None:
    assert opened(inert(text)) & {"image", "link_open", "html_inline", "html_block"} == set()


@pytest.mark.parametrize(
    "text", ["25 days [1].", "| a | b |\n|---|---|\n| 1 < 2 | `x<y>` |", "```\n<b>[a](b)\n```", "a *b* `c`"]
)
def test_what_is_no_link_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


def test_a_name_is_one_line_that_shows_what_it_is() -> None:
    name = "a `b`\n# c ![d](http://e.example) <f>"
    (paragraph,) = [block for block in MarkdownIt("commonmark").parse(inert_line(name)) if block.type == "inline"]
    assert "".join(inside.content for inside in paragraph.children or ()) == "a `b` # c ![d](http://e.example) <f>"
