"""What could not be read is said at once, those together for which the same is to be done, with the way to do it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.keeping.folders import add_folder
from app.running.bases import Bases
from app.ui.knowledge_troubles import troubles
from core.config import Config
from tests.app.app_process import index, running, visiting
from tests.app.ui.test_accessibility import open_tab

Write = Callable[[str, str], Path]


@pytest.fixture
def bases(cfg: Config, write: Write) -> Bases:
    """A knowledge base with two damaged files, one that is too large, and one that is fine."""
    bases = Bases(cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"max_file_mb": 1})}))
    docs = write("good.md", "# Good\n\nText.").parent
    for name in ("a.pdf", "<b>.pdf"):
        (docs / name).write_bytes(b"%PDF-1.7 no")
    (docs / "large.txt").write_text("word " * 300_000, "utf-8")
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    assert len(bases.update("kb").failed) == 3
    return bases


def test_failures_are_grouped_by_what_to_do_and_lead_there(bases: Bases) -> None:
    shown = troubles(bases.get("kb"), "en", admin=True)
    assert "3 files could not be read:" in shown
    pdfs, large = re.findall("<li>(.*?)</li>", shown)
    assert "&lt;b&gt;.pdf, a.pdf" in pdfs
    assert "<b>.pdf" not in shown.replace("&lt;b&gt;.pdf", "")
    assert "large.txt" in large
    assert "the limit is 1 MB" in large
    assert 'data-go="settings" data-setting="ingest.max_file_mb"' in large
    assert 'data-value="failed"' in shown


def test_who_may_not_change_settings_is_not_led_to_them_and_chinese_is_chinese(bases: Bases) -> None:
    shown = troubles(bases.get("kb"), "zh", admin=False)
    assert "有 3 个文件无法读取" in shown
    assert "data-go" not in shown
    assert "文件太大" in shown
    assert "could not" not in shown


def test_where_all_is_well_nothing_is_said(cfg: Config, write: Write) -> None:
    bases = Bases(cfg)
    add_folder(cfg, bases.make("kb"), write("good.md", "# Good\n\nText.").parent, anywhere=True)
    bases.update("kb")
    assert troubles(bases.get("kb"), "en", admin=True) == ""


@pytest.mark.browser
def test_on_the_page_it_leads_to_the_files_and_to_the_setting(browser: Browser, tmp_path: Path) -> None:
    docs, env = tmp_path / "docs", {"RAGSTONE_INGEST__MAX_FILE_MB": "1"}
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nText.", "utf-8")
    (docs / "a.pdf").write_bytes(b"%PDF-1.7 no")
    (docs / "large.txt").write_text("word " * 300_000, "utf-8")
    assert len(index(docs, "handbook", tmp_path / "data", env)["failed"]) == 2
    with (
        running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app,
        visiting(browser, app.url, "en-US", 390) as seen,
    ):
        open_tab(seen, "knowledge", "en")
        summary = seen.page.locator("#knowledge-summary")
        expect(summary).to_contain_text("2 files could not be read:")
        assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        summary.get_by_role("button", name="Show them").first.click()
        files = seen.page.locator("#knowledge-files")
        expect(files).to_be_visible()
        expect(files).to_contain_text("a.pdf")
        expect(files).not_to_contain_text("good.md")
        summary.get_by_role("button", name="Change ingest.max_file_mb").click()
        expect(seen.page.locator("#settings-name input")).to_have_value("ingest.max_file_mb")
        expect(seen.page.locator("#settings-told")).to_contain_text("Default: 100")
