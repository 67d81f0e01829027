"""How a collection is, on the Knowledge tab: for editors, in both languages, with nothing of documents as HTML."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from app.answering import unanswered
from app.measuring.overview import Alike, Edition, Missing, Nearest, Old, Overview, Share, Unread
from app.running.accounts import Accounts
from app.ui.knowledge_overview import TEXTS, described
from tests.app.app_process import running, visiting
from tests.app.ui.knowledge_page import unfold
from tests.app.ui.test_accessibility import open_tab
from tests.app.ui.test_looks import troubles, with_axe

BAD = "<img src=x onerror=alert(1)>\"'&"
HAN = re.compile(r"[\u4e00-\u9fff]")


def hostile(**other: Any) -> Overview:
    """A report in which each text that documents, files or people wrote is HTML."""
    nearest = Nearest(BAD, (BAD, BAD), 3, 1, False)
    fields: dict[str, Any] = {
        "kb": BAD, "documents": 9, "chunks": 30, "languages": (Share(BAD, 9, 30, 4), Share("zh", 1, 2, 0)),
        "formats": (Share(BAD, 9, 30, 4),), "failed": 8, "unread": (Unread(8, (BAD,) * 5, BAD, BAD),), "left_out": 1,
        "compared": 5, "alike": (Alike(9, (Edition(BAD, BAD, 1.0, 1e9, False), Edition(BAD, BAD, 0.83, 9e99, True))),),
        "duplicates": 9, "superseded": 1, "months": 24, "old": (Old(BAD, BAD, float("nan")),), "old_files": 7,
        "kept": True, "wordings": 7,
        "missing": (Missing(7, 1e9, (BAD, BAD), ("aa", "bb", "cc"), nearest), Missing(1, 1e9, ("x",), ("dd",), None)),
    }  # fmt: skip
    return Overview(**(fields | other))


@pytest.mark.parametrize("said", ["en", "zh"])
def test_nothing_that_others_wrote_is_html(said: Any) -> None:
    shown = described(hostile(), said)
    assert "<img" not in shown
    assert BAD not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 15
    assert not re.search(r"aria-label=\"[^\"]*[<>]", shown)
    assert 'data-value="aa,bb,cc"' in shown
    assert 'data-value="all"' in shown
    assert "83%" in shown


def test_each_language_says_all_of_it() -> None:
    english, chinese = described(hostile(), "en"), described(hostile(), "zh")
    assert not HAN.search(english)
    assert english.count("<li>") == chinese.count("<li>")
    words = re.sub(r"<[^>]*>|&[^;]*;|img src=x onerror=alert\(1\)", " ", chinese)
    assert set(re.findall(r"[A-Za-z]{2,}", words)) <= {"app", "keep", "unanswered"}
    assert TEXTS["en"].keys() == TEXTS["zh"].keys()


def test_where_none_are_kept_it_says_how_they_would_be_and_offers_nothing_to_forget() -> None:
    shown = described(hostile(kept=False, wordings=0, missing=()), "en")
    assert "app.keep_unanswered" in shown
    assert "data-value" not in shown
    assert "None yet." in described(hostile(wordings=0, missing=()), "en")


@pytest.mark.browser
@pytest.mark.parametrize(("language", "width"), [("zh-CN", 390), ("en-US", 1280)])
def test_on_the_page_it_is_filled_when_opened_and_questions_are_forgotten(
    browser: Browser, handbook: Path, tmp_path: Path, language: str, width: int
) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    home, said = tmp_path / "data" / "handbook", "zh" if language == "zh-CN" else "en"
    for question in (f"Who repairs the {BAD}?", "公司有健身房吗？"):
        unanswered.keep([home], question)
    env = {"RAGSTONE_APP__KEEP_UNANSWERED": "true", "RAGSTONE_LLM__BACKEND": "extractive"}
    with (
        running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app,
        visiting(browser, app.url, language, width) as seen,
    ):
        open_tab(seen, "knowledge", said)
        shown = seen.page.locator("#knowledge-overview")
        expect(shown).to_have_count(0)
        unfold(seen.page, "knowledge-overview-part")
        expect(shown).to_contain_text("公司有健身房吗？")
        expect(shown).to_contain_text(f"Who repairs the {BAD}?")
        assert shown.locator("img").count() == 0
        assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        with_axe(seen)
        assert troubles(seen) == []
        seen.page.screenshot(path=tmp_path / "overview.png", full_page=True)
        shown.get_by_role("button", name=re.compile("健身房")).click()
        expect(shown).not_to_contain_text("健身房")
        assert len(unanswered.read(home)) == 1
        unanswered.keep([home], "Where is the gym?")
        seen.page.click("#knowledge-refresh")
        expect(shown).to_contain_text("Where is the gym?")
        shown.get_by_role("button", name=TEXTS[said]["o_forget_all"]).click()
        expect(shown).to_contain_text(TEXTS[said]["o_none"])
        assert unanswered.read(home) == []
        seen.check()


@pytest.mark.browser
def test_a_reader_sees_no_such_part(browser: Browser, handbook: Path, tmp_path: Path) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    accounts = Accounts(tmp_path / "data")
    for name in ("reader", "editor"):
        accounts.add(name, name, None, "correct horse battery")  # type: ignore[arg-type]
    env = {"RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive"}
    with running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app:
        for name in ("reader", "editor"):
            context = browser.new_context(locale="en-US")
            page = context.new_page()
            page.goto(app.url)
            page.fill("[name=name]", name)
            page.fill("[name=password]", "correct horse battery")
            page.press("[name=password]", "Enter")
            page.get_by_role("tab", name="Knowledge", exact=True).click()
            expect(page.get_by_role("tab", name="Golden set")).to_be_visible()
            expect(page.locator("#knowledge-overview-part")).to_have_count(int(name == "editor"))
            context.close()
