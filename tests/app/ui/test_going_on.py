"""An answer that was cut says so on the page, and is gone on with by a press."""

import pytest
from playwright.sync_api import Route, expect

from tests.app.app_process import App, Visiting
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.browser

QUESTION = "Up to what turbidity does the LT-300 measure?"


def test_an_answer_that_was_cut_is_gone_on_with_in_its_place(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("It measures [1] up to 10",), finish="length")
    seen = visit(ui)
    seen.ask(QUESTION)
    answer, more = seen.page.locator("#chat [data-testid=bot]"), seen.page.locator("#chat a[href^='#more-']")
    expect(answer).to_contain_text("llm.max_tokens")
    expect(more).to_have_text("Continue the answer")
    stub.reply = Reply(["1000 NTU [2] "] + [f"word{i} " for i in range(40)], delay_s=0.05, finish="length")
    more.click()
    expect(answer).to_contain_text("It measures [1] up to 1000 NTU [2] word0 word1")
    expect(answer).to_contain_text("word39")
    expect(more).to_have_count(1)  # cut again
    stub.reply = Reply(("word39 and the end [1].",))
    more.click()
    expect(answer).to_contain_text("word39 and the end [1].")
    expect(more).to_have_count(0)
    expect(answer).not_to_contain_text("llm.max_tokens")
    expect(answer).to_have_count(1)
    seen.reload(f"{ui.url}/?chat={seen.page.locator('.rs-chats').get_attribute('data-chat')}")
    expect(answer).to_contain_text("up to 1000 NTU [2] word0")
    expect(answer).to_contain_text("and the end [1].")


def test_what_came_until_it_was_stopped_stays_and_can_be_gone_on_with(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("It measures [1] up to 10",), finish="length")
    seen = visit(ui)
    seen.ask(QUESTION)
    answer, more = seen.page.locator("#chat [data-testid=bot]"), seen.page.locator("#chat a[href^='#more-']")
    expect(more).to_have_count(1)
    stub.reply = Reply(["1000 "] + [f"word{i} " for i in range(5000)], delay_s=0.05)
    more.click()
    expect(answer).to_contain_text("up to 1000 word0 word1")
    seen.page.locator("#question .stop-button").dispatch_event("click")
    expect(more).to_have_count(1)
    expect(answer).to_contain_text("It measures [1] up to 1000 word0")
    assert stub.answers()[1].left.wait(20)


def test_questions_that_are_asked_at_once_stand_in_one_conversation(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("An answer [1].",))
    seen = visit(ui)
    held: list[Route] = []  # what the page asks: sent when both are asked, one after the other
    seen.page.route("**/queue/join*", lambda route: held.append(route))
    for question in ("First, up to what turbidity does it measure?", "Second, how is the LT-300 calibrated?"):
        with seen.page.expect_request(lambda request, asked=question: asked in (request.post_data or "")):
            seen.page.fill("#question textarea", question)
            seen.page.press("#question textarea", "Enter")
    seen.page.unroute("**/queue/join*")
    for route in held:
        with seen.page.expect_response("**/queue/join*"):
            route.continue_()
    said = seen.page.locator("#chat [data-testid=user], #chat [data-testid=bot]")
    expect(said).to_have_count(4)
    expect(said.nth(3)).to_contain_text("An answer [1].")
    assert [text.split()[0] for text in said.all_inner_texts()] == ["First,", "An", "Second,", "An"]
    titles = seen.page.locator("#chat-list [data-act=open]").all_inner_texts()
    assert [title for title in titles if title.startswith("Second,")] == []
