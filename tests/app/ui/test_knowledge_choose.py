"""On a file's card: it is left out and taken in again, and pages of it are read by OCR, beside the page itself."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.app_process import index, running, visiting
from tests.app.ui.knowledge_page import ended, enter_tab, part, pick
from tests.app.ui.test_looks import troubles, with_axe
from tests.ingest.readers.test_pdf import build, saved
from tests.ingest.test_unlock import encrypted_pdf

pytestmark = pytest.mark.browser


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nText.", "utf-8")
    (docs / "odd.xyz").write_text("nobody reads this", "utf-8")
    (docs / "trip.pdf").write_bytes(saved(build([["First page"], ["Travel expenses are paid"]])))
    return docs


def filtered(page: Page, state: str) -> None:
    page.locator("#knowledge-state label", has_text=state).click()


def test_a_file_is_left_out_and_taken_in_and_its_page_is_read_by_ocr(
    browser: Browser, docs: Path, tmp_path: Path
) -> None:
    index(docs, "handbook", tmp_path / "data", {})
    with (
        running("ui", tmp_path / "data", tmp_path / "ui.log", {}) as app,
        visiting(browser, app.url, "en-US", 390) as seen,
    ):
        page = seen.page
        enter_tab(page)
        expect(page.locator("#knowledge-summary")).to_contain_text("Left out, files and folders: 1.")
        part(page, "files")
        pick(page, "knowledge-files", "good.md")
        expect(page.locator("#knowledge-leave-out")).to_be_visible()
        expect(page.locator("#knowledge-ocr-pages")).to_be_hidden()
        assert "1 deleted" in ended(page, "#knowledge-leave-out")
        expect(page.locator("#knowledge-card")).to_contain_text("left out: somebody chose so")
        filtered(page, "left out")
        expect(page.locator("#knowledge-files .rs-row")).to_have_text(["good.md", "odd.xyz"])
        expect(page.locator("#knowledge-files")).to_contain_text("no reader for '.xyz'")
        pick(page, "knowledge-files", "odd.xyz")
        expect(page.locator("#knowledge-card")).to_contain_text("save it as PDF")
        expect(page.locator("#knowledge-take-in")).to_be_hidden()
        pick(page, "knowledge-files", "good.md")
        assert "1 added" in ended(page, "#knowledge-take-in")
        filtered(page, "all")
        pick(page, "knowledge-files", "trip.pdf")
        expect(page.locator("#knowledge-file-passage img.rs-leaf")).to_be_visible()
        expect(page.locator("#knowledge-ocr-pages input, #knowledge-ocr-pages textarea").first).to_have_value("1")
        page.click("#knowledge-file-next-page")
        expect(page.locator("#knowledge-ocr-pages input, #knowledge-ocr-pages textarea").first).to_have_value("2")
        expect(page.locator("#knowledge-no-ocr")).to_be_hidden()
        assert "1 changed" in ended(page, "#knowledge-ocr")
        expect(page.locator("#knowledge-card")).to_contain_text("pages to be read by OCR")
        assert "1 changed" in ended(page, "#knowledge-no-ocr")
        expect(page.locator("#knowledge-card")).not_to_contain_text("to be read by OCR")
        seen.check()


def test_a_file_is_read_by_the_password_that_is_typed_on_its_card(browser: Browser, docs: Path, tmp_path: Path) -> None:
    (docs / "pay.pdf").write_bytes(encrypted_pdf("s3cret"))
    index(docs, "handbook", tmp_path / "data", {})
    config = tmp_path / "config.toml"
    config.write_text("[llm]\nbackend = 'extractive'\n", "utf-8")
    env = {"RAGSTONE_CONFIG": str(config)}
    with (
        running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app,
        visiting(browser, app.url, "zh-CN", 390) as seen,
    ):
        page = seen.page
        enter_tab(page)
        expect(page.locator("#knowledge-summary")).to_contain_text("请在页面上此文件的卡片中")
        part(page, "files")
        pick(page, "knowledge-files", "good.md")
        expect(page.locator("#knowledge-password")).to_be_hidden()
        pick(page, "knowledge-files", "pay.pdf")
        field = page.locator("#knowledge-password input")
        expect(field).to_have_attribute("type", "password")
        field.fill("wrong")
        assert "密码打不开" in ended(page, "#knowledge-unlock")
        expect(field).to_have_value("")
        with_axe(seen)
        assert troubles(seen) == []
        field.fill("s3cret")
        page.locator("#knowledge-password-keep input").check()
        assert "1 新增" in ended(page, "#knowledge-unlock")
        expect(field).to_be_hidden()
        pick(page, "knowledge-files", "pay.pdf")
        expect(page.locator("#knowledge-file-passage img.rs-leaf")).to_be_visible()
        assert "s3cret" not in page.content()
        seen.check()
    assert "s3cret" in (tmp_path / "ragstone-secrets.toml").read_text("utf-8")
    assert "s3cret" not in (tmp_path / "data" / "audit.jsonl").read_text("utf-8") + (tmp_path / "ui.log").read_text()
