"""The Prompt lab in a real browser, over a small knowledge base, a library of its own and a stub as its model."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.measuring import golden
from core.config import load
from prompts.load import Prompt
from prompts.load import load as load_prompt
from prompts.versions import pack, save, versions
from retrieval.embed import Embedder
from tests.app.allowances import THINGS, document, fact
from tests.app.app_process import App, Visit, running, visiting
from tests.app.prompt_lab import library, reader, told_to_cite
from tests.app.stub_model import Stub, serving
from tests.retrieval.corpus import build

pytestmark = pytest.mark.browser
WAIT = 30_000
EVIL = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with serving() as stub:
        stub.thinks = reader(told_to_cite)
        yield stub


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("lab") / "library")


@pytest.fixture(scope="module")
def ui(stub: Stub, prompts: Path, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI over eight allowances with a golden question on each, answered by the poor prompt."""
    data = tmp_path_factory.mktemp("lab-data")
    cfg = load(flags={"app.data": str(data), "retrieval.precision": "float32"}, environ={}).config
    build(cfg, embedder, {f"{THINGS[n]}.md": document(n) for n in range(8)}, "handbook").close()
    asked = [
        golden.made(
            f"How much is the {THINGS[n]} allowance?", [fact(n)], f"{THINGS[n]}.md", "person", status="approved"
        )
        for n in range(8)
    ]
    golden.append(golden.golden_file(data, "handbook"), asked)
    env = {
        "RAGSTONE_LLM__BASE_URL": stub.base_url, "RAGSTONE_PROMPTS__LIBRARY": str(prompts),
        "RAGSTONE_PROMPTS__ANSWER": "poor", "RAGSTONE_LLM__TIMEOUT_S": "20",
    }  # fmt: skip
    with running("ui", data, tmp_path_factory.mktemp("log") / "ui.log", env) as app:
        yield app


@pytest.fixture
def visit(browser: Browser, ui: App) -> Iterator[Visit]:
    with visiting(browser, ui.url) as seen:
        opened(seen.page)
        yield seen


def opened(page: Page) -> None:
    page.get_by_role("tab", name=re.compile("Prompt lab|提示词实验室")).click()
    expect(page.locator("#lab-now")).to_be_visible(timeout=WAIT)


def part(page: Page, name: str) -> None:
    page.locator("#lab-parts").get_by_role("tab", name=name).click()


def choose(page: Page, box: str, text: str) -> None:
    page.fill(f"#{box} input", text)
    page.locator(f"#{box} [role=option]", has_text=text).first.click()


def test_a_version_is_edited_checked_while_typing_saved_and_chosen(visit: Visit, prompts: Path, ui: App) -> None:
    page = visit.page
    expect(page.locator("#lab-system-en textarea")).to_have_value(re.compile("Say something"), timeout=WAIT)
    page.locator("#lab-system-en textarea").fill("Put the number of the source behind all. {soures}")
    expect(page.locator("#lab-problem")).to_contain_text("soures", timeout=WAIT)
    page.locator("#lab-save").click()
    expect(page.get_by_text("`variables` declares").last).to_be_visible(timeout=WAIT)
    page.locator(".toast-close").first.click()
    assert versions(prompts, "poor") == [1]
    page.locator("#lab-system-en textarea").fill("Put the number of the source behind all. {sources}")
    expect(page.locator("#lab-problem pre")).to_have_count(0, timeout=WAIT)
    page.fill("#lab-notes input, #lab-notes textarea", "Asks for numbers")
    page.locator("#lab-save").click()
    expect(page.locator("#lab-said")).to_contain_text("Saved as poor/v002", timeout=WAIT)
    expect(page.locator("#lab-about")).to_contain_text("Made of: poor/v001", timeout=WAIT)
    new = load_prompt(prompts, "poor", 2)
    assert (new.parent, new.notes) == ("poor/v001", "Asks for numbers")
    page.locator("#lab-differs button").first.click()
    expect(page.locator("#lab-diff del").first).to_contain_text("Say something about this.", timeout=WAIT)
    expect(page.locator("#lab-diff ins").first).to_contain_text("Put the number")
    page.fill("#lab-settings input, #lab-settings textarea", "temperature=0.5")
    page.locator("#lab-promote").click()
    expect(page.locator("#lab-now")).to_contain_text("poor/v002 temperature=0.5", timeout=WAIT)
    assert json.loads((ui.data / "handbook" / "prompt.json").read_text("utf-8"))["history"][0]["choice"]["version"] == 2
    page.locator("#lab-rollback").click()
    expect(page.locator("#lab-now")).to_contain_text("as configured", timeout=WAIT)


def test_variants_are_compared_and_the_result_outlives_the_page(
    visit: Visit, browser: Browser, ui: App, stub: Stub
) -> None:
    page = visit.page
    part(page, "Compare")
    for label in ("poor/v001", "answer/v001"):
        choose(page, "lab-variants", label)
    page.keyboard.press("Escape")
    page.locator("#lab-run").click()
    result = page.locator("#lab-compared .rs-job[data-state=done]")
    expect(result).to_contain_text("8 better, 0 worse, 0 equal", timeout=WAIT)
    expect(result).to_contain_text("+0.500 [+0.500, +0.500]")
    expect(result.locator("details").first).to_contain_text("[1]")
    with visiting(browser, ui.url) as later:
        opened(later.page)
        part(later.page, "Compare")
        expect(later.page.locator("#lab-compared")).to_contain_text("8 better", timeout=WAIT)
        part(later.page, "Versions")
        choose(later.page, "lab-version", "answer/v001")
        expect(later.page.locator("#lab-about")).to_contain_text("1.000", timeout=WAIT)


def test_one_question_is_asked_and_a_running_comparison_is_cancelled(visit: Visit, stub: Stub) -> None:
    page = visit.page
    part(page, "Compare")
    choose(page, "lab-variants", "answer/v001")
    page.keyboard.press("Escape")
    page.fill("#lab-question textarea", "How much is the laptop allowance?")
    page.locator("#lab-run").click()
    expect(page.locator("#lab-compared")).to_contain_text("The laptop allowance is 102 euros", timeout=WAIT)
    page.fill("#lab-question textarea", "")
    refusal = page.locator("[data-testid=toast-body]", has_text="Choose two or more variants").first
    for _ in range(10):  # while what it began before is on its way, the button takes no press
        page.locator("#lab-run").click()
        page.wait_for_timeout(1_000)
        if refusal.is_visible():
            break
    expect(refusal).to_be_visible()


def test_a_study_runs_is_looked_at_again_and_its_winner_promoted(visit: Visit, browser: Browser, ui: App) -> None:
    page = visit.page
    part(page, "Tune")
    page.fill("#lab-trials input", "8")
    page.fill("#lab-most-demos input", "0")
    page.locator("#lab-start").click()
    expect(page.locator("#lab-studied .rs-verdict[data-verdict=gain]")).to_be_visible(timeout=60_000)
    with visiting(browser, ui.url) as later:
        opened(later.page)
        part(later.page, "Tune")
        expect(later.page.locator("#lab-report .rs-verdict")).to_contain_text("Gain", timeout=WAIT)
        later.page.locator("#lab-promote-best").click()
        expect(later.page.locator("#lab-now")).not_to_contain_text("as configured", timeout=WAIT)
        later.page.locator("#lab-rollback").click()
        expect(later.page.locator("#lab-now")).to_contain_text("as configured", timeout=WAIT)


def test_prompts_of_others_are_taken_over_and_are_inert(visit: Visit, prompts: Path, tmp_path: Path) -> None:
    page = visit.page
    evil = Prompt(
        "evil", 1, "", ("sources", "question"), {"en": (f"{EVIL} {{sources}}", "{question}")}, parent=EVIL, notes=EVIL
    )
    file = tmp_path / "pack.toml"
    file.write_text(pack([evil, replace(evil, version=2, parts={"en": (f"New {EVIL} {{sources}}", "{question}")})]))
    part(page, "Import and export")
    page.set_input_files("#lab-file input[type=file]", str(file))
    page.locator("#lab-import").click()
    expect(page.locator("#lab-taken")).to_contain_text("2 new, 0 here already: evil/v001, evil/v002", timeout=WAIT)
    choose(page, "lab-chosen", "evil/v002")
    page.keyboard.press("Escape")
    page.locator("#lab-export").click()
    with page.expect_download() as download:
        page.locator("#lab-pack a[download], #lab-pack .download a, #lab-pack a").first.click(timeout=WAIT)
    assert "evil" in Path(download.value.path()).read_text("utf-8")
    assert page.request.get(f"{page.url.split('?')[0]}prompts.toml?label=evil/v999").status == 404
    part(page, "Versions")
    choose(page, "lab-version", "evil/v002")
    expect(page.locator("#lab-about")).to_contain_text("onerror", timeout=WAIT)
    page.locator("#lab-differs button").first.click()
    choose(page, "lab-other", "evil/v001")
    expect(page.locator("#lab-diff")).to_contain_text("onerror", timeout=WAIT)
    assert page.evaluate("window.pwned") is None
    assert page.locator("#tab-lab img, #lab-diff script").count() == 0


def test_the_lab_speaks_chinese_and_fits_a_phone(browser: Browser, ui: App, prompts: Path) -> None:
    save(prompts, replace(load_prompt(prompts, "answer"), notes="长" * 300))
    with visiting(browser, ui.url, "zh-CN", 400) as seen:
        page = seen.page
        if not page.get_by_role("tab", name="提示词实验室").is_visible():
            page.locator("#tabs .overflow-menu > button").first.click()
        page.get_by_role("tab", name="提示词实验室").or_(page.get_by_role("button", name="提示词实验室")).first.click()
        expect(page.locator("#lab-now")).to_contain_text("按配置", timeout=WAIT)
        expect(page.locator("#lab-system-zh")).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
