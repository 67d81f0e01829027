"""Every tab, in both languages, light and dark: what is operated has a name, what is read has contrast."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.messages.texts import Tongue
from app.ui.page import TABS
from tests.app.app_process import App, Visit, Visiting, running, visiting

pytestmark = pytest.mark.browser

# Visible things to operate that have no accessible name (https://www.w3.org/TR/accname-1.2/, its common cases).
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, a[href], [role=button]')]
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !e.closest('[aria-hidden=true]'))
  .filter(e => !(e.ariaLabel || e.title || e.placeholder || e.innerText?.trim() || e.labels?.length
    || e.getAttribute('aria-labelledby') || e.alt || e.closest('label')))
  .map(e => e.outerHTML.slice(0, 200))"""

# Texts below the contrast of WCAG 2.2 AA (1.4.3): 4.5, or 3 from 24 px or 18.7 px bold. Of this app's own parts.
FAINT = r"""() => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = text => (text.match(/[\d.]+/g) ?? []).map(Number);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
      if (a > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('[class*=rs-], [class*=rs-] *, #status *, #doing *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const style = getComputedStyle(e), [x, y] = [light(parse(style.color)), light(behind(e))];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${e.className} ${e.innerText.slice(0, 60)}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running("ui", handbook, tmp_path_factory.mktemp("seen") / "ui.log") as app:
        yield app


@pytest.fixture
def visit(browser: Browser, app: App) -> Iterator[Visiting]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(visiting(browser, app.url, *args))


def open_tab(seen: Visit, name: str, said: Tongue) -> None:
    """Choose a tab; on a narrow page some stand in a menu."""
    title = next(tab for tab in TABS if name == tab.NAME).TEXTS[said]["tab"]
    tab = seen.page.locator("#tabs > .tab-wrapper").get_by_role("tab", name=title, exact=True).first
    if tab.is_visible():
        tab.click()
    else:
        seen.page.locator("#tabs > .tab-wrapper .overflow-menu > button").click()
        seen.page.locator("#tabs > .tab-wrapper .overflow-dropdown button", has_text=title).click()
    expect(seen.page.locator(f"#tab-{name}")).to_be_visible()
    seen.page.wait_for_timeout(500)


@pytest.mark.parametrize(("locale", "dark"), [("en-US", False), ("zh-CN", True)])
def test_what_is_operated_has_a_name_and_what_is_read_has_contrast(visit: Visiting, locale: str, dark: bool) -> None:
    seen = visit(locale)
    if dark:
        seen.page.click("[data-page=theme]")
    seen.ask("Up to what turbidity does the LT-300 measure?")
    seen.finished()
    for tab in TABS:
        open_tab(seen, tab.NAME, "zh" if dark else "en")
        assert seen.page.evaluate(NAMELESS) == [], tab.NAME
        assert seen.page.evaluate(FAINT) == [], tab.NAME


@pytest.mark.parametrize(("locale", "said"), [("en-US", "en"), ("zh-CN", "zh")])
def test_no_tab_is_wider_than_a_phone(visit: Visiting, locale: str, said: Tongue) -> None:
    seen = visit(locale, 400)
    for tab in TABS:
        open_tab(seen, tab.NAME, said)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert seen.page.evaluate(wider) <= 0, tab.NAME


def test_the_keyboard_leads_from_the_question_on_and_reaches_everything_of_the_chat(visit: Visiting) -> None:
    seen = visit()
    seen.page.focus("#chat-new")
    reached = []
    for _ in range(25):
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate("document.activeElement.closest('[id^=chat-], #question, #kb')?.id ?? ''"))
    order = [place for n, place in enumerate(reached) if place and place not in reached[:n]]
    assert order[0] == "chat-search"
    assert order.index("question") < order.index("kb") < order.index("chat-mode")
    seen.page.keyboard.press("Alt+KeyK")
    assert seen.page.evaluate("Boolean(document.activeElement.closest('#chat-search'))")
