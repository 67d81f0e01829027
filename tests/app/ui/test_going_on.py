"""An answer that was cut says so on the page, and is gone on with by a press."""

import sqlite3
import uuid
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import expect

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


def test_questions_that_are_asked_at_once_stand_in_one_conversation(ui: App, stub: Stub) -> None:
    stub.reply = Reply(("An answer [1].",))
    asked = ["First, up to what turbidity does it measure?", "Second, how is the LT-300 calibrated?"]
    with httpx.Client(base_url=ui.url, timeout=60) as client:
        config = client.get("/config").json()
        box = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "question")
        event = next(one["id"] for one in config["dependencies"] if [box, "submit"] in one["targets"])
        page = uuid.uuid4().hex
        for question in asked:  # before the page has heard which conversation the first one began
            body = {"fn_index": event, "event_data": None, "session_hash": page, "data": [question, None, [], False]}
            assert client.post("/gradio_api/queue/join", json=body).status_code == 200
        ended = 0
        with client.stream("GET", f"/gradio_api/queue/data?session_hash={page}") as stream:
            for line in stream.iter_lines():
                ended += line.startswith("data: ") and "process_completed" in line
                if ended == len(asked):
                    break
    with closing(sqlite3.connect(ui.data / "chats.sqlite")) as db:
        (chat,) = db.execute("SELECT chat FROM messages WHERE text = ?", asked[:1]).fetchone()
        said = db.execute("SELECT text FROM messages WHERE chat = ? ORDER BY id", [chat]).fetchall()
    assert [text for (text,) in said if text in asked] == asked
    assert len(said) == 4
