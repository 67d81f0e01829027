"""What the browser's Markdown makes of an answer: no link, image or element that is not ours, in a real Chatbot."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page

from app.ui.render import LATEX, safe_markdown

pytestmark = pytest.mark.browser

ADDRESSES = [
    "http://evil.example/?q=1", "//evil.example", "www.evil.example", "a@evil.example", "ftp://evil.example",
    "javascript:window.pwned=1", "HTTPS://evil.example", "&#104;ttp://evil.example", "mailto:a@evil.example",
    "#elsewhere", "/gradio_api/info", "data:text/html,x",
]  # fmt: skip
OPENERS = [
    "[x](", "![x](", "[x]: ", "[x][x]", "[x]", "![x]", "<", "</", "<a href='", "<img src=", "[1](", "[1]: ", "[^1]: ",
    "[x](<", "[ ![y](", "\\[", "\\(", "<!--", "<svg><a xlink:href='", "<b ", "<pre>", "<code>", "[1]", "[2]",
]  # fmt: skip
AROUND = [
    ")", "]", ">", "'>", " 'title')", "`", "``", "```", "````", "~~~", "\\", "\\`", "$$", "$", "\\)", "\\]", "|",
    "| a | b |\n|---|---|\n|", "\n", "\n\n", "    ", "\t", "- ", "1. ", "> ", "# ", "* ", "**", "*", "_", "~~", "---",
    "===", "x", " ", "&lt;", "&#96;", "```mermaid\n", "```html\n", "</code>", "</pre>", "x_1", "-->", "  \n", "\u200b",
    "\u202e", "病假", "<br>", "\r", "\f", "&", ":", "!", "(", "@",
]  # fmt: skip
KNOWN = [  # what a parser of its own once took for code or a formula, and the browser did not
    "\\`http://evil.example\\`", "`a\n\nhttp://evil.example `", "```a`b\n\nhttp://evil.example\n```",
    "*a ``b* http://evil.example ``", "| a |\n|---|\n| `a|b http://evil.example` |",
    "- ```\n  x\n```\ny\n```\nhttp://evil.example\n```", "`$$` http://evil.example `$$`",
    "```mermaid\ngraph TD; A-->B; click A href 'http://evil.example'\n```",
    "~~~\n```\n~~~\nhttp://evil.example\n```\n~~~", "![1](http://evil.example)", "x$$[1]$$http://evil.example",
    "$$\\href{//evil.example}{x}$$", "\\(\\href{http://evil.example}{x} \\url{http://evil.example}\\)",
]  # fmt: skip


def hostile(count: int) -> Iterator[str]:
    """Texts that mix addresses with all that means something in Markdown, the same in every run."""
    drawn = random.Random(7)
    for _ in range(count):
        words = drawn.choices(ADDRESSES + OPENERS + AROUND * 2, k=drawn.randint(2, 14))
        yield "".join(words)


@contextmanager
def chatbot(browser: Browser, texts: Sequence[str]) -> Iterator[Page]:
    """A page with a Chatbot that shows some answers, and reaches for nothing else."""
    shown: list[Any] = [{"role": "assistant", "content": safe_markdown(text) or "…"} for text in texts]
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Chatbot(shown, sanitize_html=True, latex_delimiters=LATEX, group_consecutive_messages=False, elem_id="chat")
    blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    page = browser.new_page()
    try:
        page.route("**", lambda route: route.continue_() if "//127.0.0.1" in route.request.url else route.abort())
        page.goto(str(blocks.local_url))
        page.wait_for_function("n => document.querySelectorAll('#chat [data-testid=bot]').length >= n", arg=len(shown))
        page.wait_for_timeout(1500)
        yield page
    finally:
        page.close()
        blocks.close()


def test_no_text_makes_a_link_an_image_or_an_element_that_is_not_ours(browser: Browser) -> None:
    texts = [*KNOWN, *hostile(700)]
    with chatbot(browser, texts) as page:
        found = page.evaluate(
            """() => [...document.querySelectorAll('#chat [data-testid=bot]')].map(message =>
                [...message.querySelectorAll('a, img, image, script, iframe, object, embed, form, link, style, base, '
                    + 'video, audio, area, [src], [href], [srcset], [action], [onerror], [onload], [id]')]
                .filter(e => !e.closest('button'))
                .map(e => [e.tagName.toLowerCase(), e.getAttribute('href') || '', e.outerHTML.slice(0, 200)]))"""
        )
        assert page.evaluate("window.pwned") is None
    assert len(found) == len(texts)
    for text, elements in zip(texts, found, strict=True):
        ours = [e for e in elements if e[0] == "a" and e[1] in ("#source-1", "#source-2")]
        assert elements == ours, (text, safe_markdown(text), elements)


def test_emphasis_is_shown_where_chinese_has_no_spaces(browser: Browser) -> None:
    texts = [
        "**注意：**须经批准",
        "假期为**五天（带薪）**的",
        "应当**“提前三十天”**通知",
        "见*《员工手册》*第三条",
        "用**`days`**的值",
    ]
    with chatbot(browser, texts) as page:
        found = page.evaluate(
            """() => [...document.querySelectorAll('#chat [data-testid=bot]')].map(message =>
                [...message.querySelectorAll('strong, em')].map(e => e.textContent))"""
        )
    said = [[text.replace("\u2060", "") for text in of_one] for of_one in found]
    assert said == [["注意："], ["五天（带薪）"], ["“提前三十天”"], ["《员工手册》"], ["days"]]
