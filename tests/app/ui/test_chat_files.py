"""Files of a chat as somebody uses them: dropped onto it, asked, there after a reload, gone with it."""

import base64
from pathlib import Path

import pytest
from docx import Document
from playwright.sync_api import expect

from app.running.chat_folders import all_of
from tests.app.app_process import App, Visit, Visiting
from tests.app.stub_model import Reply, Stub

pytestmark = pytest.mark.browser

QUESTION = "How long is the notice period of the lease?"
_DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name));
  const box = document.querySelector('#question textarea');
  for (const kind of ['dragover', 'drop'])
    box.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    document = Document()
    document.add_heading("Lease", 1)
    document.add_paragraph("The notice period of the lease is eleven weeks.")
    document.save(str(tmp_path / "lease.docx"))
    return tmp_path / "lease.docx"


def drop(seen: Visit, file: Path) -> None:
    """Drop a file onto the question, once the page knows that its visitor may."""
    seen.page.wait_for_selector("#chat-attach")
    seen.page.evaluate(_DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])


def on_disk(app: App) -> list[str]:
    return sorted(file.name for file in all_of(app.data).glob("*/files/*"))


def test_a_file_that_is_dropped_is_asked_cited_kept_and_deleted_with_its_chat(
    bare: App, visit: Visiting, lease: Path, tmp_path: Path
) -> None:
    seen = visit(bare)
    drop(seen, lease)
    chip = seen.page.locator("#chat-files li")
    expect(chip).to_contain_text("lease.docx")
    expect(chip).to_contain_text("passages: 1")
    expect(seen.page.locator("#chat-list li[aria-current]")).to_contain_text("lease.docx")
    seen.ask(QUESTION)
    answer = seen.finished()
    assert "eleven weeks" in answer
    cited = seen.page.locator(".rs-cited").first
    expect(cited).to_contain_text("lease.docx")
    expect(cited.locator(".rs-text")).to_contain_text("eleven weeks")
    seen.reload()
    expect(chip).to_contain_text("passages: 1")
    expect(seen.page.locator("#chat [data-testid=bot]")).to_contain_text("eleven weeks")
    trace = seen.page.locator(".rs-trace")
    trace.locator("summary").click()
    expect(trace).to_contain_text("files of this chat/lease.docx")
    assert on_disk(bare) == ["lease.docx"]

    (tmp_path / "broken.pdf").write_text("no PDF at all")
    seen.page.set_input_files("#chat-line input[type=file]", str(tmp_path / "broken.pdf"))
    broken = chip.filter(has_text="broken.pdf")
    expect(broken).to_contain_text("could not be read")
    broken.get_by_role("button", name="Remove from this chat: broken.pdf").click()
    expect(chip).to_have_count(1)

    seen.page.click("#chat-new")
    expect(chip).to_have_count(0)
    seen.ask(QUESTION)
    assert "eleven weeks" not in seen.finished()
    seen.page.click("#chat-list [data-act=open][title^='lease.docx']")
    expect(chip).to_have_count(1)
    seen.page.on("dialog", lambda dialog: dialog.accept())
    row = seen.page.locator("#chat-list li[aria-current]")
    row.locator("[data-act=delete]").click()
    expect(chip).to_have_count(0)
    assert list(all_of(bare.data).glob("*")) == []


def test_a_model_reads_a_small_file_whole_and_alone_where_no_knowledge_base_is_chosen(
    ui: App, stub: Stub, visit: Visiting, lease: Path
) -> None:
    stub.reply = Reply(("Eleven weeks [1].",))
    seen = visit(ui)
    seen.page.set_input_files("#chat-line input[type=file]", str(lease))
    expect(seen.page.locator("#chat-files li")).to_contain_text("passages: 1")
    seen.page.locator("#kb button.token-remove, #kb .token-remove").first.click()
    expect(seen.page.locator("#kb")).not_to_contain_text("handbook")
    seen.ask("Is anything missing?")
    assert seen.finished() == "Eleven weeks [1]."
    assert "eleven weeks" in stub.answers()[-1].text
    expect(seen.page.locator("#evidence")).to_contain_text("were read whole")
    expect(seen.page.locator(".rs-card")).to_have_count(1)
    seen.reload()
    expect(seen.page.locator("#chat-files li")).to_have_count(1)
    expect(seen.page.locator("#kb")).not_to_contain_text("handbook")
    seen.page.locator("#chat [aria-label=Like]").first.click()
    expect(seen.page.locator("#doing")).to_contain_text("kept with this chat alone")
    assert list(ui.data.rglob("votes.jsonl")) == []


def test_on_a_phone_in_chinese_a_file_with_a_long_name_stays_on_the_page(
    bare: App, visit: Visiting, tmp_path: Path
) -> None:
    seen = visit(bare, "zh-CN", 400)
    long = tmp_path / f"{'租赁合同' * 12}.md"
    long.write_text("# 合同\n\n通知期为十一周。\n", "utf-8")
    drop(seen, long)
    expect(seen.page.locator("#chat-files li")).to_contain_text("1 个段落")
    expect(seen.page.locator("#chat-attach")).to_contain_text("添加文件")
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert seen.page.evaluate(wider) <= 0
    expect(seen.page.get_by_role("button", name="从本对话移除")).to_be_in_viewport()
    for part in ("#question", "#chat-attach", "#chat-scope"):
        expect(seen.page.locator(part)).to_be_in_viewport(ratio=1)
    seen.ask("通知期是多长？")
    assert "十一周" in seen.finished()
