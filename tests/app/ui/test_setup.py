"""From an empty installation to a cited answer by a model, in the page alone; and another embedder, and back."""

import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from retrieval import bundled
from tests.app import tiny_embedder
from tests.app.app_process import App, Visit, running, visiting
from tests.app.stub_model import MODEL, Reply, Stub
from tests.app.ui.test_accessibility import open_tab
from tests.app.ui.test_looks import PHONE, WIDER, troubles, with_axe
from tests.llm import hub

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("RAGSTONE_SHOTS")  # a folder, where somebody wants to look at the pages
WORDS = {
    "en": {
        "step": "Step", "there": "3 files", "cost": "About", "kept": "Nothing is kept so far", "added": "3 added",
        "tried": "answers after", "used": "writes the answers from now on", "missing": "Still missing: documents and",
        "way": "Set it up", "chat": "Go to the chat", "tab": "Set up", "question": "How many days of leave are there?",
        "answer": "Ten days of leave [1].",
    },
    "zh": {
        "step": "第", "there": "3 个文件", "cost": "约", "kept": "目前没有保存任何内容", "added": "3 新增",
        "tried": "秒后应答", "used": "撰写回答", "missing": "还缺：文档、", "way": "现在设置", "chat": "前往对话",
        "tab": "开始使用", "question": "年假有几天？", "answer": "年假十天 [1]。",
    },
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of somebody who has a folder of documents."""
    docs = tmp_path / "home" / "documents"
    docs.mkdir(parents=True)
    (docs / "leave.md").write_text("# Leave\n\nThere are ten days of annual leave. Ask three days ahead.", "utf-8")
    (docs / "休假.md").write_text("# 休假\n\n年假每年十天，须提前三天申请。", "utf-8")
    (docs / "travel.txt").write_text("Trains are booked by the office.", "utf-8")
    (docs / "locked.xyz").write_text("?", "utf-8")
    return tmp_path / "home"


@contextmanager
def installed(data: Path, file: Path, env: dict[str, str]) -> Iterator[App]:
    """The UI with a config.toml of its own; the unpacked embedder is that of this machine."""
    own = {"RAGSTONE_CONFIG": str(file), "RAGSTONE_CACHE": str(bundled.place().parent)}
    with running("ui", data, file.with_name("ui.log"), own | env, kb="") as app:
        yield app


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(400)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def sound(seen: Visit, part: str = "#tab-setup") -> None:
    """Nothing is wider than the page, and axe finds nothing serious on the tab, or on all of the page."""
    assert seen.page.evaluate(WIDER) <= 0
    assert troubles(seen, part) == []
    seen.page.evaluate("document.body.classList.remove('dark')")


@pytest.mark.parametrize(("locale", "said", "width"), [("en-US", "en", 1280), ("zh-CN", "zh", PHONE)], ids=["en", "zh"])
def test_from_the_open_page_to_a_cited_answer_by_a_model_of_ones_own(
    browser: Browser, home: Path, tmp_path: Path, stub: Stub, locale: str, said: str, width: int
) -> None:
    words, file = WORDS[said], tmp_path / "config.toml"
    file.write_text(f'# mine\n[llm]\nports = ["{stub.base_url.rsplit(":")[-1].partition("/")[0]}"]\n', "utf-8")
    stub.reply = Reply((words["answer"],))
    with (
        installed(tmp_path / "data", file, {"HOME": str(home)}) as app,
        visiting(browser, app.url, locale, width) as seen,
    ):
        page = seen.page
        page.emulate_media(reduced_motion="reduce")
        with_axe(seen)
        expect(page.locator("#tab-setup")).to_be_visible()
        folder, model = page.locator("#setup-step-folder"), page.locator("#setup-step-model")
        expect(page.locator("#setup-step-embedder")).to_contain_text("✓")
        expect(folder).not_to_contain_text("✓")
        expect(page.locator("#setup-servers")).to_contain_text(MODEL)
        shot(page, f"first-visit-{said}-1")
        sound(seen, "")

        page.locator("#setup-places").get_by_role("button", name=str(home)).click()
        page.locator("#setup-places").get_by_role("button", name="documents").click()
        expect(page.locator("#setup-path :is(input, textarea)")).to_have_value(str(home / "documents"))
        page.click("#setup-look")
        plan = page.locator("#setup-plan")
        for part in ("there", "cost", "kept"):
            expect(plan).to_contain_text(words[part])
        expect(plan).to_contain_text("locked.xyz")
        assert not (tmp_path / "data" / "default").exists()
        shot(page, f"first-visit-{said}-2")
        sound(seen)
        page.click("#setup-read")
        expect(plan).to_contain_text(words["added"])
        expect(folder.locator("button").first).to_contain_text("✓")

        page.locator("#setup-servers").get_by_role("button", name=MODEL).click()
        expect(page.locator("#setup-url :is(input, textarea)")).to_have_value(stub.base_url)
        page.click("#setup-test")
        expect(page.locator("#setup-tried")).to_contain_text(words["tried"])
        page.click("#setup-use-server")
        expect(page.locator("#setup-tried")).to_contain_text(words["used"])
        expect(model.locator("button").first).to_contain_text(MODEL)
        shot(page, f"first-visit-{said}-3")
        sound(seen)
        written = tomllib.loads(file.read_text("utf-8"))
        assert written["llm"]["base_url"] == stub.base_url
        assert file.read_text("utf-8").startswith("# mine\n")

        page.get_by_role("button", name=words["chat"]).click()
        expect(page.locator("#question textarea")).to_be_visible()
        seen.until("!document.querySelector('.rs-missing')")
        expect(page.locator("#kb")).to_contain_text("default")
        seen.reload()
        expect(page.locator("#question textarea")).to_be_visible()  # it is led to setting up no more
        seen.ask(words["question"])
        seen.finished()
        expect(page.locator("#source-1")).to_be_attached()
        assert seen.answer().startswith(words["answer"].partition(" [")[0])
        shot(page, f"first-visit-{said}-4")


def test_left_for_later_the_chat_says_what_is_missing_and_the_way_there_stays(
    browser: Browser, home: Path, tmp_path: Path
) -> None:
    words, file = WORDS["en"], tmp_path / "config.toml"
    file.write_text("[llm]\nports = []\n", "utf-8")
    with installed(tmp_path / "data", file, {"HOME": str(home)}) as app, visiting(browser, app.url) as seen:
        page = seen.page
        page.get_by_role("button", name=words["chat"]).click()
        line = page.locator("#chat-missing")
        expect(line).to_contain_text(words["missing"])
        shot(page, "missing-en")
        seen.reload()
        expect(line).to_contain_text(words["missing"])
        line.get_by_role("button", name=words["way"]).click()
        expect(page.locator("#setup-path")).to_be_visible()
        expect(page.locator("#setup-servers")).to_contain_text("No port of this machine is asked")
        page.get_by_role("tab", name="Settings", exact=True).first.click()
        page.get_by_role("button", name="Set up in three steps").click()
        expect(page.locator("#setup-path")).to_be_visible()
        page.fill("#setup-url :is(input, textarea)", "http://127.0.0.1:9/v1")
        page.click("#setup-test")
        expect(page.locator("#setup-tried")).to_contain_text("no model server answers at http://127.0.0.1:9/v1")
        expect(page.locator("#setup-tried .rs-problem")).to_be_visible()
        shot(page, "tried-en")
        page.locator("#setup-own > button").click()
        page.fill("#setup-folder :is(input, textarea)", str(home))
        page.click("#setup-check")
        expect(page.locator("#setup-checked")).to_contain_text("✗ model files")
        expect(page.locator("#setup-checked table")).to_be_visible()
        page.click("#setup-serve")
        expect(page.locator("#setup-checked")).to_contain_text("✗ model files")
        assert "vllm_model" not in file.read_text("utf-8")
        shot(page, "own-model-en")


def test_another_embedder_is_tried_embeds_anew_and_leads_back(browser: Browser, handbook: Path, tmp_path: Path) -> None:
    shutil.copytree(handbook, tmp_path / "data")
    file = tmp_path / "config.toml"
    file.write_text("[llm]\nports = []\n", "utf-8")
    with installed(tmp_path / "data", file, {}) as app, visiting(browser, app.url, "zh-CN", PHONE) as seen:
        page = seen.page
        page.emulate_media(reduced_motion="reduce")
        with_axe(seen)
        to_setup(seen, "zh")
        opened(page, "embedder")
        page.locator("#setup-embedders").get_by_role("button", name="all-MiniLM-L6-v2").click()
        page.click("#setup-examine")
        found = page.locator("#setup-examined")
        for part in ("每秒", "英文", "handbook", "重新嵌入"):
            expect(found).to_contain_text(part)
        shot(page, "embedder-zh-1")
        sound(seen, "")
        page.get_by_role("button", name="重新嵌入并使用它").click()
        expect(found).to_contain_text("今后由 all-MiniLM-L6-v2 嵌入")
        expect(page.locator("#setup-step-embedder > button")).to_contain_text("all-MiniLM-L6-v2")
        assert tomllib.loads(file.read_text("utf-8"))["retrieval"]["embedder"] == "english"
        expect(page.locator("#setup-embedders")).to_contain_text("可以回退 multilingual-e5-small：handbook")
        shot(page, "embedder-zh-2")
        sound(seen)
        page.click("#setup-back")
        expect(found).to_contain_text("恢复由 multilingual-e5-small 嵌入")
        expect(page.locator("#setup-step-embedder > button")).to_contain_text("multilingual-e5-small")
        expect(page.locator("#setup-back")).to_be_hidden()
        seen.reload()
        seen.ask("出差住宿标准是多少？")
        seen.finished()
        expect(page.locator("#source-1")).to_be_attached()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.StandIn]:
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    tiny_embedder.build(folder)
    with hub.serving(folder) as standing:
        yield standing


def test_an_embedder_is_downloaded_and_used(browser: Browser, tmp_path: Path, held: hub.StandIn) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[llm]\nports = []\n", "utf-8")
    with (
        installed(tmp_path / "data", file, {"HF_ENDPOINT": held.address}) as app,
        visiting(browser, app.url) as seen,
    ):
        page = seen.page
        opened(page, "embedder")
        page.fill("#setup-embedder :is(input, textarea)", hub.REPO)
        expect(page.locator("#setup-examine")).to_be_hidden()
        page.click("#setup-fetch")
        expect(page.locator("#setup-examined")).to_contain_text("It lies in")
        page.locator("#setup-embedders").get_by_role("button", name="tiny").click()
        page.click("#setup-examine")
        expect(page.locator("#setup-examined")).to_contain_text("neither English nor Chinese")
        page.click("#setup-use")
        expect(page.locator("#setup-examined")).to_contain_text("embeds from now on")
        chosen = tomllib.loads(file.read_text("utf-8"))["retrieval"]["embedder"]
        assert chosen == str((tmp_path / "data" / "models" / "tiny").resolve())


def opened(page: Page, step: str) -> None:
    """Open a step that is ticked."""
    head = page.locator(f"#setup-step-{step} > button")
    expect(head).to_contain_text("✓")
    head.click()


def to_setup(seen: Visit, said: str) -> None:
    """Open the tab, which stands in a menu on a narrow page."""
    open_tab(seen, "setup", said)  # type: ignore[arg-type]
