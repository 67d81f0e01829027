"""Turning to another conversation while an answer is written: it is drawn in its own, and goes on there."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import expect

from tests.app.app_process import App, Visit, Visiting
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.browser

FIRST, OTHER = "Up to what turbidity does the LT-300 measure?", "How is it calibrated?"


def words(start: str, count: int) -> Sequence[str]:
    return [f"{start}{n} " for n in range(count)]


def begun(seen: Visit, stub: Stub) -> None:
    """A conversation whose answer takes half a minute, unless it is hurried."""
    stub.reply = Reply(words("slow", 300), delay_s=0.1)
    seen.ask(FIRST)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("slow9 ")


def test_a_new_chat_is_not_drawn_over_by_the_answer_that_goes_on(ui: App, stub: Stub, visit: Visiting) -> None:
    seen = visit(ui)
    begun(seen, stub)
    seen.page.click("#chat-new")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_have_count(0)
    expect(seen.page.locator("#question .stop-button")).to_have_count(0)
    slow = stub.answers()[0]
    come = slow.sent
    while slow.sent < come + 15:
        seen.page.wait_for_timeout(100)
        assert seen.page.locator("#chat [data-testid=bot]").count() == 0
    stub.reply = Reply(("Quick [1].",))
    seen.ask(OTHER)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Quick")
    seen.page.wait_for_timeout(1000)
    assert "slow" not in seen.page.locator("#chat").inner_text()
    assert not slow.left.is_set()  # nobody ended it
    assert not slow.ended.is_set()
    seen.page.click(f"#chat-list [data-act=open][title^='{FIRST[:20]}']")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text(f"slow{slow.sent} ")
    slow.hurry.set()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("slow299")
    expect(seen.page.locator("#question .stop-button")).to_have_count(0)
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_text(FIRST)


def test_the_answer_of_a_conversation_that_was_left_is_kept_whole(ui: App, stub: Stub, visit: Visiting) -> None:
    seen = visit(ui)
    stub.reply = Reply(("Before [1].",))
    seen.ask(OTHER)
    seen.finished()
    seen.page.click("#chat-new")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_have_count(0)
    stub.reply = Reply(words("slow", 60), delay_s=0.1)
    seen.ask(FIRST)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("slow9 ")
    seen.page.locator(f"#chat-list [data-act=open][title^='{OTHER[:20]}']").first.click()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Before")
    slow = stub.answers()[-1]
    slow.hurry.set()
    assert slow.ended.wait(60)
    seen.page.wait_for_timeout(1000)
    assert "slow" not in seen.page.locator("#chat").inner_text()
    seen.page.locator(f"#chat-list [data-act=open][title^='{FIRST[:20]}']").first.click()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("slow59")
    assert "(stopped)" not in seen.page.locator("#chat").inner_text()


def test_stop_ends_the_answer_of_the_conversation_that_is_shown_alone(ui: App, stub: Stub, visit: Visiting) -> None:
    seen = visit(ui)
    begun(seen, stub)
    seen.page.click("#chat-new")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_have_count(0)
    stub.reply = Reply(words("other", 5000), delay_s=0.05)
    seen.ask(OTHER)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("other3 ")
    seen.page.locator("#question .stop-button").dispatch_event("click")
    first, other = stub.answers()
    assert other.left.wait(15)
    assert seen.finished().startswith("other0 other1")
    assert not first.left.is_set()
    first.hurry.set()
    seen.page.click(f"#chat-list [data-act=open][title^='{FIRST[:20]}']")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("slow299")
