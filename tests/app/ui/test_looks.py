"""What everyone can use: axe finds nothing on any tab, nothing is wider than the page, and the keyboard reaches it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, expect

from app.ui.page import TABS
from tests.app.app_process import App, Visit, Visiting, visiting
from tests.app.ui.test_accessibility import open_tab

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
# A rule says itself how grave its findings are: the others are left out beforehand, which saves a third of the time.
RUN = """async ([part, alone]) => {
  const grave = found => ['serious', 'critical'].includes(found.impact);
  const rules = axe._audit.rules.filter(rule => grave(rule) && rule.enabled
    && !rule.tags.some(tag => axe._audit.tagExclude.includes(tag))).map(rule => rule.id);
  const told = await axe.run(part || document, {resultTypes: ['violations'], runOnly: alone ? [alone] : rules});
  return told.violations.filter(grave)
    .map(found => [found.id, ...found.nodes.map(node => node.html.slice(0, 120) + ' ' + node.failureSummary)]);
}"""
CONTRAST = "color-contrast"  # what differs in the dark
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PHONE = 390
ASKED = {"en": "Up to what turbidity does the LT-300 measure?", "zh": "出差住宿标准是多少？"}
IN_PLACE = """() => ['.rs-head', '#question', '#tabs > .tab-wrapper'].every(part => {
  const {top, bottom, height} = document.querySelector(part).getBoundingClientRect();
  return height > 0 && top >= 0 && bottom <= innerHeight;
}) && document.documentElement.scrollHeight <= innerHeight"""


@pytest.fixture
def visit(browser: Browser, bare: App) -> Iterator[Visiting]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(visiting(browser, bare.url, *args))


def asked(seen: Visit, said: str = "en") -> None:
    seen.ask(ASKED[said])
    seen.finished()


def with_axe(seen: Visit) -> None:
    """Let axe look at the page."""
    seen.page.evaluate(AXE)


def troubles(seen: Visit, part: str = "") -> list[Any]:
    """What axe calls serious or critical, in light and in dark, on the page or in a part of it.

    It is evaluated from outside, as the page's own policy allows it nobody.
    """
    found = []
    for dark, rule in ((False, ""), (True, CONTRAST)):
        seen.page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        seen.until("document.getAnimations().every(one => one.playState !== 'running')")  # colours change bit by bit
        found += [(dark, trouble) for trouble in seen.page.evaluate(RUN, [part, rule])]
    return found


# By day each language and each width.
@pytest.mark.parametrize(
    ("locale", "said", "width"),
    [
        ("en-US", "en", 1280),
        ("zh-CN", "zh", PHONE),
        pytest.param("en-US", "en", PHONE, marks=pytest.mark.nightly),
        pytest.param("zh-CN", "zh", 1280, marks=pytest.mark.nightly),
    ],
)
def test_axe_finds_nothing_serious_on_any_tab(visit: Visiting, locale: str, said: Any, width: int) -> None:
    seen = visit(locale, width)
    seen.page.emulate_media(reduced_motion="reduce")  # else colours are looked at on their way
    asked(seen, said)
    with_axe(seen)
    found = {}
    for tab in TABS:
        open_tab(seen, tab.NAME, said)
        parts = seen.page.locator(f"#tab-{tab.NAME} .tab-container:not(.visually-hidden) [role=tab]").all()
        for n, part in enumerate([one for one in parts if one.is_visible() and width > PHONE] or [None]):
            if part:
                part.click()
            found[tab.NAME, part and part.inner_text()] = troubles(seen, f"#tab-{tab.NAME}" if n else "")
            assert seen.page.evaluate(WIDER) <= 0, tab.NAME
    assert {where: trouble for where, trouble in found.items() if trouble} == {}


def test_head_and_question_stay_in_place_however_long_the_conversation(visit: Visiting) -> None:
    seen = visit("en-US")
    for _ in range(2):
        asked(seen)
        assert seen.page.evaluate(IN_PLACE)
    seen.page.evaluate("document.querySelector('#chat .bubble-wrap').scrollTo(0, 0)")
    assert seen.page.evaluate(IN_PLACE)
    open_tab(seen, "settings", "en")
    seen.page.mouse.wheel(0, 3000)
    seen.until("scrollY > 500")
    expect(seen.page.locator(".rs-head")).to_be_in_viewport(ratio=1)
    expect(seen.page.locator("#tabs > .tab-wrapper")).to_be_in_viewport(ratio=1)


def test_on_a_phone_the_passages_are_a_sheet_that_a_citation_opens(visit: Visiting) -> None:
    seen = visit("en-US", PHONE)
    sheet, cited = seen.page.locator("#chat-evidence"), seen.page.locator("#chat a[href^='#source-']").first
    expect(seen.page.locator("#chat-passages")).to_be_hidden()  # there are none yet
    asked(seen)
    expect(sheet).to_be_hidden()
    cited.click()
    expect(seen.page.get_by_role("dialog", name="Passages")).to_be_visible()
    expect(seen.page.locator("#source-1 > summary")).to_be_focused()
    expect(seen.page.locator("#source-1 > summary")).to_be_in_viewport(ratio=1)
    for _ in range(12):  # what lies below is not reached
        seen.page.keyboard.press("Tab")
        assert not seen.page.evaluate("Boolean(document.activeElement.closest('#chat-main, #head, #chat-side'))")
    seen.page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(seen.page.locator("#question textarea")).to_be_editable()
    seen.page.click("#chat-passages")
    expect(sheet).to_be_visible()
    seen.page.click("#chat-evidence [data-page=close]")
    expect(sheet).to_be_hidden()
    expect(seen.page.locator("#chat-passages")).to_be_focused()


def test_on_a_phone_the_chats_are_a_drawer_that_goes_as_one_is_opened(visit: Visiting) -> None:
    seen = visit("en-US", PHONE)
    asked(seen)
    seen.page.click("[data-page=chats]")
    expect(seen.page.get_by_role("dialog", name="Chats")).to_be_visible()
    seen.page.click("#chat-new")
    expect(seen.page.locator("#chat-side")).to_be_hidden()
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_count(0)
    seen.page.click("[data-page=chats]")
    seen.page.mouse.click(PHONE - 5, 400)  # beside it
    expect(seen.page.locator("#chat-side")).to_be_hidden()


def test_keys_are_listed_and_do_what_they_say(visit: Visiting) -> None:
    seen = visit("en-US")
    expect(seen.page.locator(".rs-head")).to_be_visible()
    seen.page.keyboard.press("Alt+Slash")
    listed = seen.page.get_by_role("dialog", name="Keys")
    expect(listed).to_contain_text("Stop the answer")
    seen.page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    seen.page.click("[data-page=keys]")
    expect(listed).to_be_visible()
    listed.get_by_role("button", name="Close").click()
    expect(listed).to_be_hidden()
    asked(seen)
    seen.page.press("#question textarea", "ArrowUp")
    edited = seen.page.locator("#chat .user-row textarea")
    expect(edited).to_have_value(ASKED["en"])
    seen.page.focus("#question textarea")
    seen.page.keyboard.press("Alt+KeyN")
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_count(0)
    expect(seen.page.locator("#question textarea")).to_be_focused()


def test_an_empty_conversation_suggests_what_its_documents_have_headings_for(visit: Visiting) -> None:
    seen = visit("zh-CN")
    offered = seen.page.locator("#chat").get_by_role("button").filter(has_text="是怎么说的？")
    expect(offered).to_have_count(4)
    question = offered.first.inner_text().strip()
    offered.first.click()
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_text(question)
    seen.finished()
    title = question[1 : question.index("》")]
    expect(seen.page.locator("#source-1")).to_contain_text(title)
    expect(seen.page.locator("#source-1 mark.rs-quoted").first).to_be_visible()
    expect(seen.page.locator("#source-1 .rs-scores")).to_contain_text("得分明细")
