"""Files are marked in the list and tagged together; one file's tags, date and text are put right on its card."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.app_process import Visit, index, running, visiting
from tests.app.ui.knowledge_page import ended, enter_tab, part, pick, told, write
from tests.app.ui.test_looks import troubles, with_axe

pytestmark = pytest.mark.browser


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(30):
        (docs / f"file{n:02}.md").write_text(f"# File {n}\n\nAnnual lcave number {n} is taken.", "utf-8")
    (docs / "<b>&\"'.md").write_text("# Odd\n\nA name with signs.", "utf-8")
    return docs


def box(page: Page, name: str) -> None:
    page.get_by_role("checkbox", name=name, exact=True).check()


def test_marked_files_are_tagged_left_out_and_taken_in_together(browser: Browser, docs: Path, tmp_path: Path) -> None:
    index(docs, "handbook", tmp_path / "data", {})
    with running("ui", tmp_path / "data", tmp_path / "ui.log", {}) as app, visiting(browser, app.url) as seen:
        page = seen.page
        enter_tab(page)
        part(page, "files")
        expect(page.locator("#knowledge-marked")).to_be_hidden()
        box(page, "Mark file01.md")
        box(page, "Mark <b>&\"'.md")
        expect(page.locator("#knowledge-marked-count")).to_contain_text("2 files are marked.")
        page.click("#knowledge-later")
        expect(page.locator("#knowledge-files")).to_contain_text("file29.md")
        box(page, "Mark all that are shown")
        expect(page.locator("#knowledge-marked-count")).to_contain_text("8 files are marked.")
        write(page, "knowledge-marked-tags", "Travel, 差旅")
        assert "8 given tags or a date" in ended(page, "#knowledge-marked-add")
        pick(page, "knowledge-files", "file29.md")
        expect(page.locator("#knowledge-card")).to_contain_text("travel, 差旅")
        write(page, "knowledge-marked-tags", "travel")
        assert "8 given tags or a date" in ended(page, "#knowledge-marked-remove")
        expect(page.locator("#knowledge-card")).not_to_contain_text("travel")
        with_axe(seen)
        assert troubles(seen) == []
        page.screenshot(path=tmp_path / "marked.png", full_page=True)
        page.click("#knowledge-mark-none")
        expect(page.locator("#knowledge-marked")).to_be_hidden()
        write(page, "knowledge-search-name", "file0")
        expect(page.locator("#knowledge-files")).to_contain_text("1 – 10 of 10")
        page.click("#knowledge-mark-all")
        expect(page.locator("#knowledge-marked-count")).to_contain_text("10 files are marked.")
        assert "10 deleted" in ended(page, "#knowledge-marked-leave")
        assert "10 added" in ended(page, "#knowledge-marked-take")
        seen.check()


def corrected(seen: Visit, tmp_path: Path) -> None:
    page = seen.page
    enter_tab(page)
    part(page, "files")
    pick(page, "knowledge-files", "file03.md")
    expect(page.locator("#knowledge-name-own")).to_be_hidden()
    write(page, "knowledge-tags", "假期, leave")
    write(page, "knowledge-date", "2025-02-30")
    page.click("#knowledge-name-save")
    told(page, "2025-02-30")
    write(page, "knowledge-date", "2025-02")
    ended(page, "#knowledge-name-save")
    expect(page.locator("#knowledge-card")).to_contain_text("2025-02")
    page.click("#knowledge-correct")
    field = page.locator("#knowledge-correct-text textarea")
    expect(field).to_have_value(re.compile("lcave"))
    field.fill(field.input_value().replace("lcave", "leave <script>"))
    ended(page, "#knowledge-correct-save")
    expect(page.locator("#knowledge-corrections")).to_contain_text("leave <script>")
    pick(page, "knowledge-files", "file03.md")
    expect(page.locator("#knowledge-file-passage mark")).to_contain_text("leave <script>")
    expect(page.locator("#knowledge-file-passage .rs-note")).to_be_visible()
    with_axe(seen)
    assert troubles(seen) == []
    page.screenshot(path=tmp_path / "corrected.png", full_page=True)
    page.click("#knowledge-corrections [data-value]")
    expect(page.locator("#knowledge-corrections")).not_to_contain_text("script")
    ended(page, "#knowledge-name-own")
    expect(page.locator("#knowledge-card")).not_to_contain_text("2025-02")
    seen.check()


@pytest.mark.parametrize(("language", "width"), [("zh-CN", 390), ("en-US", 1280)])
def test_a_file_gets_tags_and_a_date_and_its_text_is_corrected_and_taken_back(
    browser: Browser, docs: Path, tmp_path: Path, language: str, width: int
) -> None:
    index(docs, "handbook", tmp_path / "data", {})
    with (
        running("ui", tmp_path / "data", tmp_path / "ui.log", {}) as app,
        visiting(browser, app.url, language, width) as seen,
    ):
        corrected(seen, tmp_path)
        assert "lcave number 3" in (docs / "file03.md").read_text("utf-8")
