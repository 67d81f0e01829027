"""What was asked and what came is there after a reload in the middle of an answer, and after the app was killed."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.app.app_process import App, Visiting, running, visiting
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.browser

QUESTION = "Up to what turbidity does the LT-300 measure?"


def test_a_reload_in_the_middle_of_an_answer_shows_what_came(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply([f"word{i} " for i in range(5000)], delay_s=0.05)
    seen = visit(ui)
    seen.ask(QUESTION)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word9 ")
    seen.reload()
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_text(QUESTION)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("(stopped)")
    assert stub.answers()[0].left.wait(20)
    seen.reload()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word9 ")
    stub.reply = Reply(("Another answer [1].",))
    seen.ask("How is it calibrated?")
    expect(seen.page.locator("#chat [data-testid=bot]").last).to_contain_text("Another answer")
    assert stub.answers()[-1].body["messages"][1]["content"] == QUESTION  # what was stopped is part of it


def test_an_app_that_was_killed_in_the_middle_of_an_answer_shows_what_came_when_it_is_back(
    handbook: Path, model_server: Stub, stub: Stub, browser: Browser, tmp_path: Path
) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url}
    stub.reply = Reply([f"word{i} " for i in range(5000)], delay_s=0.05)
    with running("ui", tmp_path / "data", tmp_path / "first.log", env) as app, visiting(browser, app.url) as seen:
        seen.cut.update(("AbortError", "Connection errored out", "ERR_", "Failed to fetch", "network error"))
        seen.ask(QUESTION)
        expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word60 ")  # more than is not yet kept
        chat = seen.page.locator(".rs-chats").get_attribute("data-chat")
        app.process.kill()
        app.process.wait()
    again = running("ui", tmp_path / "data", tmp_path / "second.log", env)
    with again as app, visiting(browser, f"{app.url}/?chat={chat}") as seen:
        expect(seen.page.locator("#chat [data-testid=user]")).to_have_text(QUESTION)
        expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word5 ")
        expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("(stopped)")


def test_what_is_typed_while_the_box_is_emptied_of_a_question_stays_and_can_be_sent(
    ui: App, stub: Stub, visit: Visiting
) -> None:
    stub.reply = Reply(("An answer [1].",))
    seen = visit(ui)
    box, asked, typed = seen.page.locator("#question textarea"), [QUESTION, "How is it calibrated?"], "And what does"
    for text in asked:
        box.fill(text)
        box.press("Enter")
    box.fill(typed)
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_text(asked)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text(["An answer", "An answer"])
    seen.finished()
    expect(box).to_have_value(typed)
    box.press("Enter")
    expect(seen.page.locator("#chat [data-testid=user]")).to_have_text([*asked, typed])
    seen.finished()
    expect(box).to_have_value("")
