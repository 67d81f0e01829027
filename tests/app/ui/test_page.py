"""The UI as its reader meets it: `ragstone ui` in a real headless browser, a stub where the model would be.

Every visit ends with the check that no request left 127.0.0.1 and that the browser blocked and missed nothing.
"""

import json
import re
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from app.training.votes import read_votes
from tests.app.app_process import RETRY, App, Visit, Visiting, visiting
from tests.app.stub_model import MODEL, Reply, Stub

pytestmark = pytest.mark.browser

QUESTION = "Up to what turbidity does the LT-300 measure?"


def cards(seen: Visit) -> dict[str, str]:
    """The text of each passage of the evidence panel, by its id."""
    found = seen.page.locator(".rs-card").all()
    return {card.get_attribute("id") or "": card.inner_text() for card in found}


def test_without_a_model_the_documents_are_quoted_with_their_evidence(bare: App, visit: Visiting) -> None:
    seen = visit(bare)
    expect(seen.page.locator("#status")).to_contain_text("No model is configured")
    missing = seen.page.locator("#chat-missing")
    expect(missing).to_contain_text("Still missing: a model that writes the answers.")
    expect(missing.get_by_role("button", name="Set it up")).to_be_visible()
    seen.ask(QUESTION)
    answer = seen.finished()
    assert "LT-300" in answer
    assert "No model is configured" not in answer
    seen.page.wait_for_selector(".rs-cited", timeout=30_000)
    cited = seen.page.locator(".rs-cited").first
    expect(cited).to_have_attribute("open", "")
    expect(cited).to_contain_text("products/lt-300-manual.pdf")
    expect(cited).to_contain_text("p. 1")
    assert "turbidity" in " ".join(cited.locator("mark").all_inner_texts()).lower()
    number = re.search(r"\[(\d+)\]", answer)
    assert number
    seen.page.locator(f"#chat a[href$='-{number[1]}']").first.click()
    expect(seen.page.locator(f"#source-{number[1]}")).to_be_in_viewport()


def test_the_interface_speaks_chinese_to_a_chinese_browser(bare: App, visit: Visiting) -> None:
    seen = visit(bare, "zh-CN")
    expect(seen.page.locator("#status")).to_contain_text("尚未配置模型")
    for text in ("新对话", "知识库", "允许模型补充自己的知识"):
        expect(seen.page.get_by_text(text, exact=True).first).to_be_visible()
    expect(seen.page.locator("#question textarea")).to_have_attribute("placeholder", "向您的文档提问……")
    seen.ask("一线城市出差，住宿费每晚最高报销多少？")
    assert re.search(r"\d", seen.finished())
    expect(seen.page.locator(".rs-query")).to_contain_text("检索内容")
    expect(seen.page.locator(".rs-cited").first).to_contain_text("已引用")
    assert "住宿" in "".join(seen.page.locator(".rs-cited mark").all_inner_texts())


def test_the_interface_speaks_english_to_an_english_browser_and_fits_a_phone(bare: App, visit: Visiting) -> None:
    seen = visit(bare, "en-US", 400)
    expect(seen.page.get_by_text("Knowledge bases", exact=True).first).to_be_attached()
    expect(seen.page.locator("#question textarea")).to_have_attribute("placeholder", "Ask your documents…")
    seen.ask(QUESTION)
    assert "LT-300" in seen.finished()
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert seen.page.evaluate(wider) <= 0
    expect(seen.page.locator("#question")).to_be_in_viewport(ratio=1)
    expect(seen.page.locator("#evidence")).to_be_hidden()  # until it is asked for: test_looks.py


def test_a_question_that_the_documents_do_not_cover_is_told_so(bare: App, visit: Visiting) -> None:
    seen = visit(bare)
    seen.ask("Who composed the opera Carmen?")
    assert "do not cover this question" in seen.finished()


def test_an_answer_is_seen_growing_and_names_its_model(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply([f"word{i} " for i in range(60)] + ["[1]."], delay_s=0.05)
    seen = visit(ui)
    expect(seen.page.locator("#status")).to_contain_text(MODEL)
    seen.ask(QUESTION)
    lengths = set()
    for _ in range(600):
        text = seen.answer()
        if "word0" in text:
            lengths.add(len(text))
        if "word59" in text:
            break
        seen.page.wait_for_timeout(100)
    assert len(lengths) >= 3, lengths
    assert seen.finished().endswith("word58 word59 [1].")
    assert cards(seen)["source-1"].startswith("[1] products/lt-300-manual.pdf")


def test_stop_ends_the_answer_and_the_request_at_the_model(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply([f"word{i} " for i in range(5000)], delay_s=0.05)
    seen = visit(ui)
    seen.ask(QUESTION)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word3", timeout=60_000)
    seen.page.locator("#question .stop-button").dispatch_event("click")
    assert stub.answers()[0].left.wait(15)
    stopped = seen.finished()
    assert stopped.startswith("word0 word1")
    stub.reply = Reply(("Another answer [1].",))
    seen.ask("And how is it calibrated?")
    expect(seen.page.locator("#chat [data-testid=bot]").last).to_contain_text("Another answer", timeout=30_000)


def said(seen: Visit) -> list[str]:
    """Who speaks in the conversation, in order, by the first word of each message."""
    return [text.split()[0] for text in seen.page.locator("#chat [data-testid=user], #chat [data-testid=bot]")
            .all_inner_texts()]  # fmt: skip


def test_a_question_that_is_asked_while_another_is_answered_waits_for_its_turn(
    ui: App, stub: Stub, visit: Visiting
) -> None:
    stub.reply = Reply([f"word{i} " for i in range(60)], delay_s=0.1)
    seen = visit(ui)
    seen.ask("First, up to what turbidity does it measure?")
    answers, box = seen.page.locator("#chat [data-testid=bot]"), seen.page.locator("#question textarea")
    expect(answers).to_contain_text("word3")
    stub.reply = Reply(("Another answer [1].",))
    seen.ask("Second, how is the LT-300 calibrated?")
    expect(box).to_have_value("")
    seen.ask("Third, what does the LT-300 weigh?")
    seen.page.fill("#question textarea", "a draft")
    stub.answers()[0].hurry.set()
    expect(answers.nth(0)).to_contain_text("word59")
    expect(answers.nth(2)).to_contain_text("Another answer")
    seen.finished()
    assert said(seen) == ["First,", "word0", "Second,", "Another", "Third,", "Another"]
    expect(box).to_have_value("a draft")
    seen.reload(f"{ui.url}/?chat={seen.page.locator('.rs-chats').get_attribute('data-chat')}")
    expect(answers.nth(2)).to_contain_text("Another answer")
    assert said(seen) == ["First,", "word0", "Second,", "Another", "Third,", "Another"]


def test_stop_ends_what_waits_too_and_the_next_question_is_taken_at_once(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply([f"word{i} " for i in range(5000)], delay_s=0.05)
    seen = visit(ui)
    seen.ask("First, up to what turbidity does it measure?")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word3")
    seen.ask("Second, how is the LT-300 calibrated?")
    stub.reply = Reply(("Another answer [1].",))
    seen.page.locator("#question .stop-button").dispatch_event("click")
    seen.ask("Third, what does the LT-300 weigh?")
    expect(seen.page.locator("#chat [data-testid=bot]").last).to_contain_text("Another answer")
    seen.finished()
    assert said(seen) == ["First,", "word0", "Second,", "…", "Third,", "Another"]


def test_leaving_the_page_ends_the_request_at_the_model(ui: App, stub: Stub, browser: Browser) -> None:
    stub.reply = Reply([f"word{i} " for i in range(5000)], delay_s=0.05)
    with visiting(browser, ui.url) as seen:
        seen.ask(QUESTION)
        expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("word3", timeout=60_000)
    assert stub.answers()[0].left.wait(20)


def test_retry_asks_again_and_an_edited_question_is_asked_instead(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("First answer [1].",))
    seen = visit(ui)
    seen.ask(QUESTION)
    assert seen.finished() == "First answer [1]."
    stub.reply = Reply(("Second answer [1].",))
    seen.page.click(RETRY)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Second answer [1].", timeout=30_000)
    assert seen.finished().startswith("Second answer [1].")
    assert [call.question for call in stub.answers()] == [QUESTION] * 2
    assert len(stub.answers()[1].body["messages"]) == 2  # the answer before it is no history

    stub.reply = Reply(("Third answer [1].",))
    seen.page.click("#chat [aria-label=Edit]")
    seen.page.fill("#chat textarea", "How is the VPN reached?")
    seen.page.click("#chat [aria-label=Submit]")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Third answer [1].", timeout=30_000)
    expect(seen.page.locator(".rs-query")).to_contain_text("How is the VPN reached?")
    assert seen.page.locator("#chat [data-testid=user]").all_inner_texts() == ["How is the VPN reached?"]
    assert "it/vpn-and-accounts.md" in " ".join(cards(seen).values())

    ways = seen.page.locator("#chat a[href^='#turn-']")
    expect(ways).to_have_count(2)  # of the question, which has two versions; its answer has one
    ways.first.click()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Second answer [1].", timeout=30_000)
    assert seen.page.locator("#chat [data-testid=user]").all_inner_texts() == [QUESTION]
    seen.page.locator("#chat a[href^='#turn-']").nth(2).click()  # of the answer
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("First answer [1].", timeout=30_000)
    assert len(stub.answers()) == 3


def test_a_question_that_is_asked_while_the_page_still_loads_stays(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("Forty-one NTU [1].",))
    seen = visit(ui)
    with urllib.request.urlopen(f"{ui.url}/config") as response:
        config = json.load(response)
    (status,) = (part["id"] for part in config["components"] if part["props"].get("elem_id") == "status")
    (opens,) = (
        event["id"]
        for event in config["dependencies"]
        if status in event["outputs"] and [name for _, name in event["targets"]] == ["load"]
    )
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route) if json.loads(route.request.post_data or "{}")["fn_index"] == opens else route.continue_()

    seen.page.route("**/queue/join*", hold)
    seen.reload()  # the line below the question comes by its timer
    assert len(held) == 1
    seen.ask(QUESTION)
    assert seen.finished() == "Forty-one NTU [1]."
    expect(seen.page.locator("#kb")).not_to_contain_text("handbook")
    held[0].continue_()
    expect(seen.page.locator("#kb")).to_contain_text("handbook")
    assert seen.answer() == "Forty-one NTU [1]."


def test_conversations_are_kept_found_renamed_exported_and_deleted(
    ui: App, stub: Stub, visit: Visiting, tmp_path: Path
) -> None:
    stub.reply = Reply(("Forty-two NTU [1].",))
    seen = visit(ui)
    seen.ask(QUESTION)
    assert seen.finished() == "Forty-two NTU [1]."
    seen.page.wait_for_url("**/?chat=*", timeout=30_000)
    row = seen.page.locator("#chat-list li[aria-current]")
    expect(row).to_contain_text(QUESTION[:20])
    seen.reload()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Forty-two NTU [1].", timeout=60_000)
    expect(seen.page.locator("#source-1")).to_contain_text("lt-300-manual.pdf")

    answer = lambda dialog: dialog.accept("Sensors" if dialog.type == "prompt" else "")  # noqa: E731
    seen.page.on("dialog", answer)
    row.hover()
    row.locator("[data-act=rename]").click()
    expect(row).to_contain_text("Sensors")
    row.locator("[data-act=pin]").click()
    expect(row.locator("[data-act=unpin]")).to_have_text("★")
    with seen.page.expect_download() as download:
        row.locator("a[download]").click()
    download.value.save_as(tmp_path / "chat.md")
    exported = (tmp_path / "chat.md").read_text("utf-8")
    assert exported.startswith("# Sensors\n")
    assert f"> {QUESTION}\n\nForty-two NTU [1].\n\n- [1] products/lt-300-manual.pdf, p. 1: " in exported

    row.locator("[data-act=unpin]").click()
    seen.page.remove_listener("dialog", answer)
    seen.page.on("dialog", lambda dialog: dialog.accept("Plant & lab / Sensors" if dialog.type == "prompt" else ""))
    row.locator("[data-act=rename]").click()
    expect(seen.page.locator("#chat-list details summary")).to_have_text("Plant & lab")
    expect(seen.page.locator("#chat-list details li")).to_contain_text("Sensors")
    seen.page.click("#chat-new")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_have_count(0)
    seen.page.fill("#chat-search textarea, #chat-search input", "forty-two")
    expect(seen.page.locator("#chat-list li")).to_have_count(1)
    seen.page.fill("#chat-search textarea, #chat-search input", "no such word")
    expect(seen.page.locator("#chat-list li")).to_have_count(0)
    seen.page.fill("#chat-search textarea, #chat-search input", "Sensors")
    seen.page.locator("#chat-list [data-act=open]").click()
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("Forty-two NTU [1].")
    seen.page.locator("#chat-list [data-act=delete]").click()
    expect(seen.page.locator("#chat-list li")).to_have_count(0)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_have_count(0)


def test_statements_are_marked_as_supported_or_not_and_the_prompt_is_shown(
    ui: App, stub: Stub, visit: Visiting
) -> None:
    stub.reply = Reply(("It measures turbidity by infrared light [1]. It is made of cheese and moonlight [1].",))
    seen = visit(ui)
    seen.ask(QUESTION)
    seen.finished()
    expect(seen.page.locator("#chat .rs-supported")).to_have_count(1)
    expect(seen.page.locator("#chat .rs-unsupported")).to_have_count(1)
    seen.page.click(".rs-prompt summary")
    asked = seen.page.locator(".rs-prompt pre").last
    expect(asked).to_contain_text('<source n="1" path="products/lt-300-manual.pdf"')
    expect(asked).to_contain_text(QUESTION)
    assert re.search(r"find [\d.]+ ms · pack [\d.]+ ms", seen.page.inner_text(".rs-stages"))
    seen.page.locator("#source-1 .rs-view summary").click()  # the page of the PDF, drawn by this app
    seen.until("document.querySelector('#source-1 img')?.naturalWidth > 300")


def test_votes_with_their_reasons_are_kept_with_the_knowledge_base(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("Forty-three NTU [1].",))
    seen = visit(ui)
    seen.ask(QUESTION)
    seen.finished()
    seen.page.click("#chat [aria-label=Dislike]")
    expect(seen.page.locator("#doing")).to_contain_text("Thank you", timeout=30_000)
    (vote,) = [v for v in read_votes(ui.data / "handbook" / "votes.jsonl") if v.answer == "Forty-three NTU [1]."]
    assert (vote.question, vote.vote, vote.file, vote.model) == (QUESTION, "down", "products/lt-300-manual.pdf", MODEL)
    assert [message.role for message in vote.prompt] == ["system", "user"]


def test_a_hash_sign_offers_files_and_limits_the_question_to_one(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("By VPN [1].",))
    seen = visit(ui)
    seen.page.fill("#question textarea", "")
    seen.page.type("#question textarea", "#vpn")
    expect(seen.page.locator("#rs-offers li")).to_have_text(["handbook/it/vpn-and-accounts.md"])
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#question textarea")).to_have_value("#handbook/it/vpn-and-accounts.md ")
    seen.page.type("#question textarea", "How is the VPN reached?")
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("By VPN", timeout=30_000)
    seen.finished()
    assert {text.split()[1] for text in cards(seen).values()} == {"it/vpn-and-accounts.md"}
    assert stub.answers()[0].question == "How is the VPN reached?"


def test_the_keys_of_an_input_method_are_its_own(bare: App, visit: Visiting) -> None:
    seen = visit(bare)
    seen.page.fill("#question textarea", "")
    seen.page.type("#question textarea", "#vpn")
    expect(seen.page.locator("#rs-offers li")).to_have_count(1)
    method = seen.page.context.new_cdp_session(seen.page)
    method.send("Input.imeSetComposition", {"text": "lianjie", "selectionStart": 7, "selectionEnd": 7})
    seen.page.evaluate(
        """() => document.querySelector('#question textarea').dispatchEvent(
            new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"""
    )
    expect(seen.page.locator("#question textarea")).to_have_value("#vpnlianjie")
    expect(seen.page.locator("#rs-offers li")).to_have_count(1)  # not asked anew for what is not yet written
    method.send("Input.insertText", {"text": "连接"})
    expect(seen.page.locator("#question textarea")).to_have_value("#vpn连接")
    expect(seen.page.locator("#rs-offers li")).to_have_count(0)


def test_what_the_model_knows_itself_is_set_apart(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("By infrared light [1].\n\nNot from the documents:\nNewton liked light.",))
    seen = visit(ui)
    seen.page.check("#chat-mode input")
    seen.ask(QUESTION)
    seen.finished()
    expect(seen.page.locator("#chat blockquote")).to_contain_text("Not from your documents")
    expect(seen.page.locator("#chat blockquote")).to_contain_text("Newton liked light.")
    assert "may add what you know yourself" in stub.answers()[0].text


def test_language_and_theme_are_switched_on_the_page(bare: App, visit: Visiting) -> None:
    seen = visit(bare)
    seen.page.click("[data-page=theme]")
    assert seen.page.evaluate("document.body.classList.contains('dark')")
    seen.page.click("[data-page=language]")
    expect(seen.page.locator("#question textarea")).to_have_attribute("placeholder", "向您的文档提问……", timeout=60_000)
    expect(seen.page.locator("#status")).to_contain_text("尚未配置模型", timeout=60_000)
    seen.until("document.body.classList.contains('dark')")
    seen.page.click("[data-page=language]")
    expect(seen.page.locator("#status")).to_contain_text("No model is configured", timeout=60_000)
    seen.reload()


def test_a_follow_up_is_understood_from_what_was_said(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(("It is `x[1]` < 1000 NTU [1].",))
    stub.rewritten = "Up to what turbidity does the LT-520 measure?"
    seen = visit(ui)
    seen.ask(QUESTION)
    assert seen.finished() == "It is x[1] < 1000 NTU [1]."
    stub.reply = Reply(("No turbidity [1].",))
    seen.ask("And the LT-520?")
    expect(seen.page.locator("#chat [data-testid=bot]").last).to_have_text("No turbidity [1].", timeout=30_000)
    expect(seen.page.locator(".rs-query")).to_contain_text(stub.rewritten)
    _, rewrite, answer = stub.calls
    assert rewrite.rewrites
    assert QUESTION in rewrite.text
    said = [(m["role"], m["content"]) for m in answer.body["messages"][1:-1]]
    assert said == [("user", QUESTION), ("assistant", "It is `x[1]` < 1000 NTU [1].")]
    assert answer.question == "And the LT-520?"


def test_a_model_that_fails_is_explained_and_the_passages_are_shown(ui: App, stub: Stub, visit: Visiting) -> None:
    stub.reply = Reply(failure="overflow")
    seen = visit(ui)
    seen.ask(QUESTION)
    answer = seen.finished()
    assert "maximum context length is 512 tokens" in answer
    assert "retrieval.context_tokens" in answer
    assert cards(seen)["source-1"].startswith("[1] products/lt-300-manual.pdf")

    stub.reply = Reply(("Half an ", "answer "), failure="cut")
    seen.page.click(RETRY)
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("broke off in the middle", timeout=30_000)
    assert "Half an answer" in seen.answer()
