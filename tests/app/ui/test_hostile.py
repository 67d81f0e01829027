"""What documents, models and people write is inert on the page: in a real headless browser, a stub as the model.

Every visit ends with the check that no request left 127.0.0.1 and that the browser blocked and missed nothing.
"""

import re
import socket
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.app.app_process import App, Visiting, index, visiting
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.browser

QUESTION = "Up to what turbidity does the LT-300 measure?"
EVIL = (
    "Turbidity <script>window.pwned=1</script> <img src=x onerror='window.pwned=1'> "
    "<img src='http://evil.example/a.png'> ![](http://evil.example/x.png) ![pic][p] [click](javascript:window.pwned=1) "
    "[more](http://evil.example/?q=secret) http://evil.example/bare <iframe src='http://evil.example'></iframe> "
    "<style>@import url(http://evil.example/s.css)</style> <svg onload='window.pwned=1'> [1].\n\n"
    "[p]: http://evil.example/p.png\n\n- [q]: http://evil.example\n\n[q]"
)


def test_nothing_that_a_document_or_a_model_writes_runs_or_leaves(
    ui: App, stub: Stub, visit: Visiting, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile <img src=x onerror=window.pwned=1>.md"
    hostile.write_text(f"# Turbidity <img src=x onerror='window.pwned=1'>\n\n{EVIL}\n")
    stub.reply = Reply([EVIL[i : i + 25] for i in range(0, len(EVIL), 25)], delay_s=0.02)
    seen = visit(ui)
    index(hostile.parent, "hostile", ui.data)
    seen.reload()
    seen.ask("#hostile What is turbidity?")
    answer = seen.finished()
    assert "<script>window.pwned=1</script>" in answer  # shown as it was written
    expect(seen.page.locator("#evidence")).to_contain_text("<script>window.pwned=1</script>")
    seen.page.wait_for_timeout(500)
    assert seen.page.evaluate("window.pwned") is None
    inside = "#chat [data-testid=bot], #evidence"
    assert seen.page.locator(inside).locator("script, img, iframe, style, svg[onload]").count() == 0
    links = seen.page.locator(inside).locator("a").all()
    assert {re.sub(r"\d+", "N", link.get_attribute("href") or "") for link in links} <= {
        "#source-N-N", "answers/N.md", "answers/N.docx", "answers/N.html",
    }  # fmt: skip


def test_a_megabyte_in_one_line_is_shown_and_the_page_goes_on(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(["x" * 1_000_000, " ends here [1]."])
    seen = visit(ui)
    seen.ask(QUESTION)
    assert seen.finished().startswith("xxx")
    shown = seen.page.locator("#chat [data-testid=bot]")
    expect(shown).to_contain_text("ends here")
    assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    stub.reply = Reply()
    seen.ask("And then?")
    assert "The answer stands here" in seen.finished()


def test_formulas_are_set_and_what_is_hostile_in_one_is_inert(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(
        [
            "Energy is \\[E = mc^2\\] at $v_0$; it costs $5, not $6 [1].\n\n",
            r"$$\href{javascript:window.pwned=1}{x} \includegraphics{http://evil.example/x.png} <img src=x>$$",
            "\n\n" + r"\(\rule{9999em}{9999em}\) $$\kern{9999em} x$$ $$\frac{broken$$",
        ]
    )
    seen = visit(ui)
    seen.ask(QUESTION)
    assert "it costs $5, not $6" in seen.finished()
    shown = seen.page.locator("#chat [data-testid=bot]")
    expect(shown.locator(".katex-display .katex-html").first).to_have_text("E=mc2")
    expect(shown.locator(".katex .msupsub").nth(1)).to_have_text("0\u200b")
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.locator("#chat .message-buttons button[aria-label*=copy i]").last.click()
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert "Energy is" in copied
    assert "$$E = mc^2$$" in copied
    assert "at $v_0$; it costs" in copied
    assert shown.locator("[href^=javascript], img, script").count() == 0
    assert seen.page.evaluate("window.pwned") is None
    box = shown.bounding_box()
    assert box
    assert box["height"] < 2_000
    assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_picture_in_a_question_is_not_fetched(ui: App, stub: Stub, browser: Browser) -> None:
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen()
        elsewhere.settimeout(0.1)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        with visiting(browser, ui.url) as seen:
            seen.ask(f"What is this? ![]({address}/x.png) <img src={address}/y.png>")
            seen.finished()
            expect(seen.page.locator("#chat [data-testid=user]")).to_contain_text("![]")  # shown as it was written
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_the_page_may_load_nothing_from_elsewhere_and_files_of_the_data_folder_are_not_served(ui: App) -> None:
    response = httpx.get(ui.url)
    policy = response.headers["content-security-policy"]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'self'"
    assert re.fullmatch(r"'self' 'nonce-[\w-]{22}'", rules["script-src"])  # no text is run, in line or by eval
    assert policy != httpx.get(ui.url).headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    secret = next((ui.data / "handbook").rglob("*.db"), ui.data / "handbook")
    for path in (secret, ui.data.parent / "ui.log"):
        assert httpx.get(f"{ui.url}/gradio_api/file={path}").status_code in (403, 404)
