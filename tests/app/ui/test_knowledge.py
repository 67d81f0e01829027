"""The Knowledge tab as its reader meets it: `ragstone ui` in a real headless browser, a stub where the model would be.

Every visit ends with the check that no request left 127.0.0.1 and that the browser blocked and missed nothing.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.ui import knowledge
from retrieval.home import writer_lock
from tests.app.app_process import App, Visit, running, visiting
from tests.app.stub_model import Call, Stub
from tests.app.ui.knowledge_page import PARTS, choose, ended, enter_tab, make, part, pick, told, unfold, upload, write

pytestmark = pytest.mark.browser

QUESTION = "Up to what turbidity does the LT-300 measure?"
EVIL = "<script>window.pwned=1</script> <img src=x onerror='window.pwned=1'> {{this}} ${window.pwned=1} </button>"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def ui(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI over a copy of the handbook, with the stub as its model."""
    folder = tmp_path_factory.mktemp("knowledge")
    shutil.copytree(handbook, folder / "data")
    env = {
        "RAGSTONE_LLM__BASE_URL": model_server.base_url,
        "RAGSTONE_LLM__TIMEOUT_S": "60",
        "RAGSTONE_RETRIEVAL__VARIANTS": "0",
    }
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


@pytest.fixture(scope="module")
def _seen(ui: App, browser: Browser) -> Iterator[Visit]:
    with visiting(browser, ui.url) as seen:
        enter_tab(seen.page)
        yield seen


@pytest.fixture
def page(_seen: Visit) -> Iterator[Page]:
    """The Knowledge tab of the one page that the tests of this file share; each says what it wants to see there."""
    yield _seen.page
    _seen.check()


def test_both_languages_say_the_same_things_and_no_part_takes_the_word_of_another() -> None:
    parts = [knowledge._TEXTS, *(module.TEXTS for module in knowledge._PARTS)]
    assert all(texts["en"].keys() == texts["zh"].keys() for texts in parts)
    assert len(knowledge.TEXTS["en"]) == sum(len(texts["en"]) for texts in parts)


def test_a_folder_is_added_planned_applied_and_removed(ui: App, page: Page, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "canteen.md").write_text("# Canteen\n\nThe canteen serves noodles on Thursdays.\n")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF at all")
    make(page, "canteen")
    unfold(page, "knowledge-manage")
    write(page, "knowledge-path", str(docs / "nowhere"))
    page.click("#knowledge-add")
    told(page, "nowhere")  # the error names it
    write(page, "knowledge-path", "https://example.org/leave")
    page.click("#knowledge-add")
    told(page, "app.web_pages to true")  # off by default; the error says how to switch it on
    write(page, "knowledge-path", str(docs))
    page.click("#knowledge-add")
    expect(page.locator("#knowledge-folders")).to_contain_text(str(docs))
    plan = ended(page, "#knowledge-plan")
    assert "1 added · 0 changed · 0 moved · 0 deleted · 0 unchanged" in plan
    assert "1 passages, 1 to embed" in plan
    assert "canteen.md" in plan
    assert re.search(r"⚠️ broken\.pdf: damaged PDF", plan)
    expect(page.locator("#knowledge-summary")).to_contain_text("0 documents")  # nothing is done yet
    report = ended(page, "#knowledge-apply")
    assert "1 added · 0 changed · 0 moved · 0 deleted · 0 unchanged · 1 failed" in report
    assert "1 embedded" in report
    expect(page.locator("#knowledge-summary")).to_contain_text("1 documents")
    expect(page.locator("#knowledge-apply")).to_be_hidden()

    page.click("#knowledge-which input")
    page.get_by_role("option", name=str(docs)).click()
    page.click("#knowledge-remove")
    expect(page.locator("#knowledge-remove-ask")).to_contain_text("1 documents leave")
    page.click("#knowledge-remove-no")
    expect(page.locator("#knowledge-remove-ask")).to_be_hidden()
    page.click("#knowledge-remove")
    page.click("#knowledge-remove-yes")
    expect(page.locator("#knowledge-summary")).to_contain_text("0 documents")
    expect(page.locator("#knowledge-folders")).not_to_contain_text(str(docs))
    assert (docs / "canteen.md").exists()


def test_quick_changes_of_the_knowledge_base_come_to_an_end(page: Page) -> None:
    make(page, "quick")
    for _ in range(3):
        for name in ("handbook", "quick"):
            choose(page, name)
    expect(page.locator("#knowledge-summary")).to_contain_text("0 documents")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or "") if "queue/join" in request.url else None)
    quiet = 0
    while quiet < 10:  # half seconds without anything that has to do with a knowledge base
        asked.clear()
        page.wait_for_timeout(500)
        quiet = 0 if [text for text in asked if "quick" in text or "handbook" in text] else quiet + 1
    expect(page.locator("#knowledge-summary")).to_contain_text("0 documents")
    expect(page.locator("#knowledge-kb input")).to_have_value("quick")


def test_an_uploaded_file_is_reported_found_and_deleted(ui: App, page: Page, tmp_path: Path) -> None:
    note = tmp_path / "garage-note.md"
    note.write_text("# Garage\n\nThe garage of the Suzhou office opens at 06:45 and its code is 4711.\n")
    make(page, "uploads")
    assert "1 added" in upload(page, note)
    assert list(Path(f"{ui.data}-received").rglob("*.md")) == []  # the only copy is the knowledge base's own
    expect(page.locator("#knowledge-folders")).to_contain_text("uploaded files")
    part(page, "search")
    write(page, "knowledge-question", "When does the garage open?")
    page.click("#knowledge-ask")
    expect(page.locator("#knowledge-found .rs-row").first).to_contain_text("garage-note.md")

    part(page, "files")
    write(page, "knowledge-search-name", "")
    pick(page, "knowledge-files", "garage-note.md")
    expect(page.locator("#knowledge-file-passage mark")).to_contain_text("opens at 06:45")
    page.click("#knowledge-delete")
    expect(page.locator("#knowledge-delete-ask")).to_contain_text("garage-note.md")
    assert "1 deleted" in ended(page, "#knowledge-delete-yes")
    expect(page.locator("#knowledge-files")).to_contain_text("No such file")
    assert not (ui.data / "uploads" / "files" / "garage-note.md").exists()


def test_a_file_that_cannot_be_read_is_a_row_of_the_report_and_is_read_again_when_asked(
    ui: App, page: Page, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "broken.pdf"
    good.write_text("The canteen serves noodles on Thursdays.\n")
    bad.write_bytes(b"%PDF-1.7\nthis is no PDF at all")
    make(page, "mixed")
    report = upload(page, good, bad)
    assert "1 added" in report
    assert "1 failed" in report
    row = next(line for line in report.splitlines() if "broken.pdf" in line)
    assert "damaged PDF" in row
    part(page, "files")
    page.locator("#knowledge-state label", has_text="failed").click()
    expect(page.locator("#knowledge-files .rs-row")).to_have_text(["broken.pdf"])
    expect(page.locator("#knowledge-files")).to_contain_text("❌ damaged PDF")
    pick(page, "knowledge-files", "broken.pdf")
    expect(page.locator("#knowledge-card")).to_contain_text("not read")
    again = ended(page, "#knowledge-reread-failed")
    assert "0 added · 0 changed" in again
    assert "1 failed" in again
    page.locator("#knowledge-state label", has_text="all").click()
    expect(page.locator("#knowledge-files .rs-row")).to_have_text(["broken.pdf", "good.txt"])
    write(page, "knowledge-search-name", "GOOD")
    expect(page.locator("#knowledge-files .rs-row")).to_have_text(["good.txt"])
    pick(page, "knowledge-files", "good.txt")
    expect(page.locator("#knowledge-card")).to_contain_text("encoding")
    assert "1 changed" in ended(page, "#knowledge-reread")


def test_a_passage_is_seen_on_its_page_and_one_turns_to_the_next_by_keyboard(ui: App, page: Page) -> None:
    choose(page, "handbook")
    part(page, "files")
    write(page, "knowledge-search-name", "")
    row = page.locator("#knowledge-files .rs-row", has_text="travel-expenses.pdf")
    row.focus()
    page.keyboard.press("Enter")
    shown = page.locator("#knowledge-file-passage")
    expect(shown).to_contain_text("page 1 / 2 · passage 1 of 6")
    leaf = shown.locator("img.rs-leaf")
    expect(leaf).to_have_attribute("alt", "Page 1 of finance/travel-expenses.pdf, passage marked")
    assert leaf.evaluate("img => img.naturalWidth") == 1075  # A4 at 130 dpi
    expect(page.locator("#knowledge-file-previous")).to_be_disabled()
    page.locator("#knowledge-file-next-page").focus()
    page.keyboard.press("Enter")
    expect(shown).to_contain_text("page 2 / 2 · passage 3 of 6")
    expect(shown.locator("mark")).to_contain_text("第三章 住宿与补贴")
    page.locator("#knowledge-file-next").click()
    expect(shown).to_contain_text("passage 4 of 6")
    expect(page.locator("#knowledge-card")).to_contain_text("1,480")


def test_the_search_test_shows_where_each_candidate_stood_and_what_lost_a_sentence(ui: App, page: Page) -> None:
    choose(page, "handbook")
    part(page, "search")
    write(page, "knowledge-question", QUESTION)
    write(page, "knowledge-sentence", "Calibrate every 90 days, and after each replacement of the window.")
    unfold(page, "knowledge-settings")
    page.locator("#knowledge-k input[type=number]").fill("2")
    expect(page.locator("#knowledge-k input[type=range]")).to_have_value("2")
    page.click("#knowledge-ask")
    rows = page.locator("#knowledge-found ol.rs-rows > li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("products/lt-300-manual.pdf")
    lost = page.locator(".rs-fate li")
    expect(lost).to_contain_text("products/lt-300-manual.pdf")
    expect(lost).to_contain_text("lost by: fused score")
    first = page.locator("#knowledge-found tbody tr").first.locator("td").all_inner_texts()
    assert first[0] == "1"
    assert re.fullmatch(r"#1 · 0\.\d{3}", first[2])
    assert re.fullmatch(r"#1 · \d+\.\d{3} · .*\blt-300\b.*", first[3])
    page.locator("#knowledge-mode label", has_text="by words").click()
    write(page, "knowledge-types", "md")
    page.click("#knowledge-ask")
    expect(rows.first).to_contain_text(".md")
    cells = page.locator("#knowledge-found tbody tr td:nth-child(3)").all_inner_texts()
    assert set(cells) == {""}  # nothing by meaning
    pick(page, "knowledge-found", ".md")
    expect(page.locator("#knowledge-hit-passage mark")).to_be_visible()
    write(page, "knowledge-since", "last week")
    page.click("#knowledge-ask")
    told(page, "is no date")
    for name, text in (("knowledge-since", ""), ("knowledge-types", "")):
        write(page, name, text)
    page.locator("#knowledge-mode label", has_text="both").click()
    expect(page.locator("#knowledge-found [data-kb=handbook]")).to_be_visible()
    make(page, "another")
    part(page, "search")
    expect(page.locator("#knowledge-found [data-kb]")).to_have_count(0)  # what another knowledge base held is gone


def drafted(go: threading.Event) -> Callable[[Call], str]:
    """A model that replies, once it may, with a question of the longest line of its passage."""

    def think(call: Call) -> str:
        go.wait(60)
        line = max(re.split(r"\n|(?<=\. )", call.text.rsplit("<passage", 1)[-1].split(">", 1)[1]), key=len).strip()
        asked = f"Which rule holds for case {len(call.text)} in practice?"
        return json.dumps({"question": asked, "answer": "So.", "evidence": [line.split("</passage")[0].strip()]})

    return think


def test_a_job_goes_on_when_its_page_is_closed_and_a_page_that_is_opened_anew_finds_it(
    ui: App, stub: Stub, browser: Browser
) -> None:
    go = threading.Event()
    stub.thinks = drafted(go)
    with visiting(browser, ui.url) as seen:
        enter_tab(seen.page)
        part(seen.page, "golden")
        write(seen.page, "knowledge-count", "2")
        seen.page.click("#knowledge-draft")
        expect(seen.page.locator("#knowledge-job")).to_contain_text("Draft of questions · running")
    assert stub.asked.wait(60)
    with visiting(browser, ui.url) as seen:
        page = seen.page
        enter_tab(page)
        expect(page.locator("#knowledge-job")).to_contain_text("Draft of questions · running")
        page.click("#knowledge-plan")  # one at a time
        told(page, "is still running on this knowledge base")
        go.set()
        assert "2 questions drafted" in ended(page)
        part(page, "golden")
        expect(page.locator("#knowledge-golden .rs-row")).to_have_count(2)
        expect(page.locator("#knowledge-golden")).to_contain_text("by the model")


def test_a_job_that_is_cancelled_says_so(stub: Stub, page: Page) -> None:
    choose(page, "handbook")
    go = threading.Event()
    stub.thinks = drafted(go)
    part(page, "golden")
    page.click("#knowledge-draft")
    assert stub.asked.wait(60)
    expect(page.locator("#knowledge-job")).to_contain_text("running")
    page.click("#knowledge-cancel")
    told(page, "It ends after the file")
    expect(page.locator("#knowledge-job")).to_contain_text("ending…")
    go.set()
    expect(page.locator("#knowledge-job")).to_contain_text("cancelled: what was committed stays")
    expect(page.locator("#knowledge-cancel")).to_be_hidden()


def test_a_job_that_meets_the_lock_says_who_holds_it(ui: App, page: Page, tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text("# Note\n\nIt waits.\n")
    make(page, "locked")
    with writer_lock(ui.data / "locked"):
        assert f"being written by process {os.getpid()} on " in upload(page, note)


def test_golden_questions_are_judged_mended_added_and_measured(ui: App, page: Page) -> None:
    choose(page, "handbook")
    part(page, "golden")
    write(page, "knowledge-golden-question", "How often is the LT-300 calibrated?")
    write(page, "knowledge-golden-evidence", "Calibrate every 90 days")
    write(page, "knowledge-golden-file", "products/lt-300-manual.pdf")
    page.click("#knowledge-golden-new")
    mine = page.locator("#knowledge-golden .rs-row", has_text="How often is the LT-300")
    expect(mine).to_contain_text("by a person")
    expect(mine).to_contain_text("✓")
    mine.click()
    expect(page.locator("#knowledge-golden-passage mark")).to_contain_text("Calibrate every 90 days")
    write(page, "knowledge-golden-evidence", "Calibrate every 91 days")
    page.click("#knowledge-golden-save")
    told(page, "the file no longer says")
    write(page, "knowledge-golden-evidence", "Calibrate every 90 days, and after each replacement of the window.")
    write(page, "knowledge-golden-answer", "Every 90 days.")
    page.click("#knowledge-golden-save")
    file = ui.data / "handbook" / "golden.jsonl"
    expect(mine).to_be_visible()
    page.click("#knowledge-golden-reject")
    expect(mine).to_contain_text("✗")
    page.click("#knowledge-golden-approve")
    expect(mine).to_contain_text("✓")
    kept = next(row for row in map(json.loads, file.read_text().splitlines()) if "LT-300 calibrated" in row["question"])
    assert kept["evidence"] == ["Calibrate every 90 days, and after each replacement of the window."]
    assert (kept["answer"], kept["status"]) == ("Every 90 days.", "approved")
    measured = ended(page, "#knowledge-measure")
    assert "1 questions, hybrid search, 8 passages each" in measured
    assert re.search(r"recall@8\s+1\.000\s+1\.000 – 1\.000", measured)
    assert "How often is the LT-300 calibrated?" in measured


def test_nothing_that_a_document_or_its_name_says_runs(ui: App, page: Page, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "hostile {{this}} ${window.pwned=1} <img src=x onerror=window.pwned=1>.md").write_text(
        f"# Turbidity {EVIL}\n\nTurbidity {EVIL}\n"
    )
    make(page, "hostile")
    unfold(page, "knowledge-manage")
    write(page, "knowledge-path", str(docs))
    page.click("#knowledge-add")
    expect(page.locator("#knowledge-folders")).to_contain_text(str(docs))
    assert "hostile {{this}} ${window.pwned=1} <img" in ended(page, "#knowledge-plan")
    assert "1 added" in ended(page, "#knowledge-apply")
    part(page, "files")
    write(page, "knowledge-search-name", "")
    pick(page, "knowledge-files", "hostile")
    expect(page.locator("#knowledge-card")).to_contain_text("hostile {{this}} ${window.pwned=1} <img")
    expect(page.locator("#knowledge-file-passage mark")).to_contain_text(EVIL)
    part(page, "search")
    write(page, "knowledge-question", f"turbidity {EVIL}")
    page.click("#knowledge-ask")
    expect(page.locator("#knowledge-found .rs-row").first).to_contain_text("hostile {{this}}")
    expect(page.locator("#knowledge-found ol").last).to_contain_text(f"turbidity {EVIL}")
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    inside = "#knowledge-card, #knowledge-files, #knowledge-file-passage, #knowledge-found, #knowledge-job"
    assert page.locator(inside).locator("script, img, iframe").count() == 0


def test_on_a_phone_and_in_chinese_every_part_fits(ui: App, browser: Browser) -> None:
    with visiting(browser, ui.url, "zh-CN", 400) as seen:
        enter_tab(seen.page)
        _fits(seen.page)


def _fits(page: Page) -> None:
    expect(page.locator("#knowledge-summary")).to_contain_text("个段落")
    for name in PARTS:
        part(page, name)
        page.wait_for_timeout(100)
        assert page.evaluate(WIDER) <= 0, name
    part(page, "files")
    pick(page, "knowledge-files", "lt-300-manual.pdf")
    expect(page.locator("#knowledge-file-passage")).to_contain_text("第 1 / 3 页")
    assert page.evaluate(WIDER) <= 0
