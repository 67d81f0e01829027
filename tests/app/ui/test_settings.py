"""Settings are changed on the page, checked while they are typed, and in effect once the app was started anew."""

import json
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.app_process import App, running, visiting
from tests.app.ui.test_models import open_tab

pytestmark = pytest.mark.browser

expect.set_options(timeout=30_000)
_ANEW_S = 120


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("settings") / "config.toml"
    made.write_text('# ours\n[retrieval]\nk = 8  # passages\n\n[llm]\nbase_url = ""\n', "utf-8")
    return made


@pytest.fixture(scope="module")
def ui(handbook: Path, file: Path) -> Iterator[App]:
    with running("ui", handbook, file.with_name("ui.log"), {"RAGSTONE_CONFIG": str(file)}) as app:
        yield app


def typed(page: Page, text: str) -> None:
    page.locator("#settings-value :is(input, textarea)").fill(text)


def test_a_setting_is_chosen_in_the_list_checked_saved_and_used_after_a_new_start(
    browser: Browser, ui: App, file: Path
) -> None:
    with visiting(browser, ui.url) as seen:
        page = seen.page
        open_tab(page, "Settings")
        page.locator("#settings-rows").get_by_role("button", name="retrieval.k", exact=True).click()
        told = page.locator("#settings-told")
        expect(told).to_contain_text("Default: 8. Takes: a whole number ≥ 1 and ≤ 1000.")
        expect(page.locator("#settings-value :is(input, textarea)")).to_have_value("8")
        expect(page.locator("#settings-value :is(input, textarea)")).to_be_focused()
        typed(page, "none")
        expect(told).to_contain_text("❌")
        page.click("#settings-save")
        expect(page.get_by_text("retrieval.k = 'none' is not allowed").first).to_be_visible()
        typed(page, "5")
        expect(told).to_contain_text("✅")
        page.click("#settings-save")
        expect(told).to_contain_text("It takes effect with the next start")
        assert file.read_text("utf-8").startswith("# ours\n[retrieval]\nk = 5  # passages\n")
        expect(page.locator("#settings-rows")).to_contain_text("retrieval.k says 5 now")
        seen.cut.add("ERR_CONNECTION_REFUSED")  # while it is away
        page.click("#settings-anew")
        expect(told).to_contain_text("starts anew")
    ready(ui)
    with visiting(browser, ui.url) as seen:
        open_tab(seen.page, "Settings")
        name = seen.page.get_by_role("button", name="retrieval.k", exact=True)
        row = seen.page.locator("#settings-rows tr", has=name)
        expect(row.locator("td").nth(1)).to_have_text("5")
        expect(seen.page.locator("#settings-rows")).not_to_contain_text("says 5 now")


def ready(app: App) -> None:
    """Wait until the app has ended, and answers again."""
    until, was_away = time.monotonic() + _ANEW_S, False
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{app.url}/healthz", timeout=5) as answer:
                if was_away and json.load(answer)["status"] == "ok":
                    return
        except (OSError, urllib.error.URLError):
            was_away = True
        time.sleep(0.2)
    raise AssertionError(app.log.read_text("utf-8"))


def test_a_secret_is_saved_apart_and_never_shown(browser: Browser, ui: App, file: Path) -> None:
    with visiting(browser, ui.url, "zh-CN") as seen:
        page = seen.page
        open_tab(page, "设置")
        page.locator("#settings-rows").get_by_role("button", name="llm.api_key", exact=True).click()
        expect(page.locator("#settings-told")).to_contain_text("已有的值不会显示")
        typed(page, "not-to-be-seen")
        page.click("#settings-save")
        expect(page.locator("#settings-told")).to_contain_text("已保存到")
        assert "not-to-be-seen" not in page.content()
        assert "not-to-be-seen" not in file.read_text("utf-8")
        assert tomllib.loads(file.with_name("ragstone-secrets.toml").read_text("utf-8"))["llm"] == {
            "api_key": "not-to-be-seen"
        }


def test_an_address_of_another_server_takes_the_stored_key_away(browser: Browser, ui: App, file: Path) -> None:
    file.with_name("ragstone-secrets.toml").write_text('[llm]\napi_key = "not-for-others"\n', "utf-8")
    with visiting(browser, ui.url) as seen:
        page = seen.page
        open_tab(page, "Settings")
        page.locator("#settings-rows").get_by_role("button", name="llm.base_url", exact=True).click()
        told = page.locator("#settings-told")
        expect(told).to_contain_text("OpenAI-compatible")
        typed(page, "http://127.0.0.1:9/v1")
        expect(told).to_contain_text("llm.api_key is emptied with it")
        page.click("#settings-save")
        expect(told).to_contain_text("llm.api_key was emptied")
        page.click("#settings-restore")
        expect(told).not_to_contain_text("llm.api_key was emptied")
    assert "not-for-others" not in file.with_name("ragstone-secrets.toml").read_text("utf-8")


def test_what_decides_whose_code_runs_is_not_changed_on_the_page(browser: Browser, ui: App, file: Path) -> None:
    before = file.read_text("utf-8")
    with visiting(browser, ui.url) as seen:
        page = seen.page
        open_tab(page, "Settings")
        rows = page.locator("#settings-rows")
        expect(rows).to_contain_text("llm.vllm_env")
        for name in ("app.data", "app.host", "llm.chat", "llm.vllm_env", "retrieval.embedder_settings"):
            assert rows.get_by_role("button", name=name, exact=True).count() == 0
        rows.get_by_role("button", name="retrieval.embedder", exact=True).click()
        expect(page.locator("#settings-value :is(input, textarea)")).to_have_value("auto")
        typed(page, "langchain:some.module:Class")
        expect(page.locator("#settings-told")).to_contain_text("named in config.toml alone")
        page.click("#settings-save")
        expect(page.get_by_text("code of others is named in config.toml alone").first).to_be_visible()
    assert file.read_text("utf-8") == before
