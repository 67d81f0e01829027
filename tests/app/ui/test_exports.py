"""An answer is taken along from the page: in Markdown, in Word, and as a page to print."""

import re
from io import BytesIO

import pytest
from docx import Document
from playwright.sync_api import expect

from tests.app.app_process import App, Visiting
from tests.app.ui.test_looks import troubles, with_axe

pytestmark = pytest.mark.browser


def test_an_answer_comes_as_markdown_word_and_a_page_to_print_named_after_its_question(
    ui: App, visit: Visiting
) -> None:
    seen = visit(ui, "en-US")
    seen.ask("Up to what turbidity does it measure?")
    seen.finished()
    links = seen.page.locator(".rs-exports a")
    expect(links).to_have_text(["Markdown", "Word", "Print or PDF"])
    with_axe(seen)
    assert troubles(seen, "#evidence") == []
    with seen.page.expect_download() as came:
        links.nth(1).click()
    assert came.value.suggested_filename == "Up to what turbidity does it measure.docx"
    with seen.page.expect_download() as came:
        links.nth(0).click()
    assert came.value.suggested_filename.endswith(".md")
    address = links.nth(1).get_attribute("href") or ""
    word = seen.page.request.get(f"{ui.url}/{address}")
    texts = [paragraph.text for paragraph in Document(BytesIO(word.body())).paragraphs]
    assert texts[0] == "Up to what turbidity does it measure?"
    assert any(re.match(r"\[\d\] ", text) for text in texts)
    with seen.page.expect_popup() as opened:
        links.nth(2).click()
    expect(opened.value).to_have_title("Up to what turbidity does it measure")
    for nobody in ("answers/999999.md", "answers/99999999999999999999.md", "answers/1.exe", "answers/x.md"):
        assert seen.page.request.get(f"{ui.url}/{nobody}").status in (400, 403, 404, 422)
