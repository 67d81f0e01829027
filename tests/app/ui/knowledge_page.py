"""What a reader does on the Knowledge tab, for its tests."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

PARTS = {
    "sources": "Sources|来源",
    "files": "Files|文件",
    "search": "Search test|检索测试",
    "golden": "Golden set|黄金问题",
}


def enter_tab(page: Page) -> None:
    page.locator("#tabs").get_by_role("tab", name=re.compile("^(Knowledge|知识库)$")).first.click()
    expect(page.locator("#knowledge-summary")).to_contain_text(re.compile(r"\d"))


def told(page: Page, text: str) -> None:
    """See a message on top of the page, and close it."""
    expect(page.locator("[data-testid=toast-body]", has_text=text).first).to_be_visible()
    page.evaluate("document.querySelectorAll('[data-testid=toast-close]').forEach(close => close.click())")
    expect(page.locator("[data-testid=toast-body]")).to_have_count(0)


def unfold(page: Page, name: str) -> None:
    """Open an accordion that is closed, and let the page draw it: Gradio sets its fields once more as it draws them."""
    head = page.locator(f"#{name} > button").first
    if "open" not in (head.get_attribute("class") or ""):
        head.click()
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def part(page: Page, name: str) -> None:
    page.locator("#knowledge-parts").get_by_role("tab", name=re.compile(PARTS[name])).first.click()


def write(page: Page, name: str, text: str) -> None:
    page.locator(f"#{name}").locator("textarea, input").first.fill(text)


def make(page: Page, name: str) -> None:
    """Make a knowledge base and choose it."""
    part(page, "sources")
    unfold(page, "knowledge-new")
    write(page, "knowledge-name", name)
    page.click("#knowledge-make")
    expect(page.locator("#knowledge-kb input")).to_have_value(name)
    expect(page.locator("#knowledge-summary")).to_contain_text("0 documents")


def choose(page: Page, name: str) -> None:
    """Choose a knowledge base that is there."""
    if page.input_value("#knowledge-kb input") == name:
        return
    page.click("#knowledge-kb input")
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator("#knowledge-kb input")).to_have_value(name)


def ended(page: Page, button: str = "") -> str:
    """What the job that is running, or that a button starts, came to."""
    old = page.locator("#knowledge-job .rs-job[data-state]")
    before = old.get_attribute("data-job") if button and old.count() else ""
    if button:
        page.click(button)
    page.wait_for_selector(f"#knowledge-job .rs-job[data-state]:not([data-job='{before}'])", timeout=60_000)
    return page.inner_text("#knowledge-job")


def upload(page: Page, *files: Path) -> str:
    """Upload files into the chosen knowledge base; the report."""
    part(page, "sources")
    page.set_input_files("#knowledge-upload input[type=file]", [str(file) for file in files])
    for file in files:
        expect(page.locator("#knowledge-upload")).to_contain_text(file.stem[:6])
    return ended(page, "#knowledge-upload-button")


def pick(page: Page, listed: str, text: str) -> None:
    page.locator(f"#{listed} .rs-row", has_text=text).first.click()
