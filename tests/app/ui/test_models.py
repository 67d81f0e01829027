"""The tabs Models and Settings in a real browser; a small program stands in vLLM's place."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.ui import models, settings
from tests.app.app_process import App, Visiting, running, visiting
from tests.fixtures_vllm import free_port
from tests.llm.conftest import make_stand_in

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror='window.pwned=1'>"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def ui(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI over a copy of the handbook, with models, adapters and trainings, and a program that serves."""
    folder = tmp_path_factory.mktemp("models")
    data = folder / "data"
    shutil.copytree(handbook, data)
    base = folder / "base-lm"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    _write_models(data / "models", base)
    keys = {
        "VLLM_ENV": make_stand_in(folder / "stand-in"), "VLLM_BUILD": "cpu", "VLLM_MODEL": base,
        "VLLM_PORT": free_port(), "VLLM_LORA_RANK": 8, "API_KEY": "not-to-be-seen",
    }  # fmt: skip
    env = {f"RAGSTONE_LLM__{key}": str(value) for key, value in keys.items()}
    with running("ui", data, folder / "ui.log", env) as app:
        yield app


def _write_models(folder: Path, base: Path) -> None:
    def write(name: str, record: dict[str, object], **files: object) -> None:
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps(record))
        for file, told in files.items():
            (folder / name / file.replace("_json", ".json")).write_text(json.dumps(told))

    check = {"found": 0.5, "sign": "≥", "limit": 0.8, "passed": False}
    report = {"passed": False, "causes": [f"dtype {EVIL}"], "checks": {"greedy": check}, "finished": "2026-01-01"}
    write("proven", {"kind": "full", "metrics": {"loss": {"after": 1.25}, "rows": 4200}, "finished": "2026-01-02"})
    (folder / "proven" / "config.json").write_text("{}")
    write("drifted", {"kind": "merged"}, parity_json=report | {"against": "base"})
    adapter = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": str(base)}
    write("polite", {"kind": "adapter"}, adapter_config_json=adapter)
    write("wide", {"kind": "adapter"}, adapter_config_json=adapter | {"r": 64})
    for name in ("polite", "wide"):
        (folder / name / "adapter_model.safetensors").write_bytes(b"")
    rows = [{"step": n, "loss": 3.0 / n, "dev_loss": 3.5 / n} for n in range(1, 6)]
    (folder / "polite" / "loss.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "halted.partial").mkdir()
    (folder / "halted.partial" / "loss.jsonl").write_text(json.dumps({"step": 2, "loss": 2.5}) + "\n")


@pytest.fixture
def visit(browser: Browser, ui: App) -> Iterator[Visiting]:
    """Open the UI; arguments as for `visiting`."""
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(visiting(browser, ui.url, *args))


def open_part(page: Page, part: str = "") -> None:
    """Go to the Models tab, and to a part of it by its id."""
    open_tab(page, "模型" if page.get_by_text("知识库").count() else "Models")
    if part:
        open_tab(page, part, "#models-parts")


def open_tab(page: Page, name: str, tabs: str = "#tabs") -> None:
    """Go to a tab of the page; those that a narrow page has no room for are in a menu."""
    tab = page.locator(tabs).get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(f"{tabs} .overflow-menu > button").first.click()
    tab.or_(page.locator(f"{tabs} .overflow-menu").get_by_role("button", name=name, exact=True)).first.click()


def choose(page: Page, box: str, option: str) -> None:
    page.click(f"#{box} input")
    page.get_by_role("option", name=option, exact=True).click()


def test_both_tongues_say_the_same_things() -> None:
    for tab in (models, settings):
        assert tab.TEXTS["en"].keys() == tab.TEXTS["zh"].keys()
        for key, text in tab.TEXTS["en"].items():
            assert text.count("{}") == tab.TEXTS["zh"][key].count("{}"), key


def test_the_model_server_is_seen_stopped_and_started(visit: Visiting) -> None:
    page = visit().page
    open_part(page)
    status = page.locator("#models-status")
    expect(status).to_contain_text("vLLM serves base-lm", timeout=60_000)
    expect(status).to_contain_text("running")
    page.get_by_role("button", name="Log").click()
    expect(page.locator("#models-log")).to_contain_text("Starting to load model tiny")
    expect(page.locator("#models-start")).to_be_disabled()
    page.click("#models-stop")
    expect(status).to_contain_text("The app runs no model server.", timeout=30_000)
    expect(status).to_contain_text("It would serve")
    page.click("#models-start")
    expect(page.locator("#models-stop")).to_be_enabled(timeout=30_000)
    expect(status).to_contain_text("vLLM serves base-lm", timeout=60_000)


def test_adapters_are_listed_with_what_speaks_against_them_and_assigned(visit: Visiting, ui: App) -> None:
    page = visit().page
    open_part(page, "Adapters")
    shown = page.locator("#models-adapters")
    expect(shown.locator("tr", has_text="wide")).to_contain_text("rank 64, above llm.vllm_lora_rank = 8")
    expect(shown.locator("tr", has_text="polite")).to_contain_text("✅")
    choose(page, "models-adapter", "polite")
    page.click("#models-assign")
    expect(shown.locator("tr", has_text="polite")).to_contain_text("handbook")
    assert json.loads((ui.data / "handbook/adapter.json").read_text()) == {"adapter": "polite"}
    choose(page, "models-adapter", "(base model)")
    page.click("#models-assign")
    expect(shown.locator("tr", has_text="polite")).not_to_contain_text("handbook")
    choose(page, "models-adapter", "wide")
    page.click("#models-assign")
    expect(page.locator(".toast-body")).to_contain_text("rank 64, above llm.vllm_lora_rank = 8")


def test_models_are_listed_promoted_against_a_failed_proof_only_by_force_and_rolled_back(visit: Visiting) -> None:
    page = visit().page
    open_part(page, "Registry")
    shown, report = page.locator("#models-registry"), page.locator("#models-report")
    expect(shown.locator("tr", has_text="proven")).to_contain_text("loss after 1.25, rows 4,200")
    choose(page, "models-model", "drifted")
    expect(report).to_contain_text("not passed")
    expect(report).to_contain_text("0.5000")
    expect(report).to_contain_text(EVIL)  # shown as it is written
    assert page.evaluate("window.pwned") is None
    page.click("#models-promote")
    expect(page.locator(".toast-body")).to_contain_text("parity")
    page.locator(".toast-body button").first.click()
    page.check("#models-force input")
    page.click("#models-promote")
    expect(shown).to_contain_text("says otherwise")
    expect(shown.locator("tr", has_text="drifted")).to_contain_text("✅")
    page.click("#models-rollback")
    expect(shown).to_contain_text("No model is promoted.")


def test_trainings_are_drawn_and_one_is_begun_and_seen_again(visit: Visiting, ui: App) -> None:
    page = visit().page
    open_part(page, "Training")
    runs = page.locator("#models-runs")
    expect(runs.locator("tr", has_text="halted")).to_contain_text("stopped")
    expect(runs.locator("tr", has_text="polite")).to_contain_text("0.6000")
    choose(page, "models-run", "polite")
    picture = page.locator("#models-curve img")
    expect(picture).to_have_attribute("alt", "polite: loss by step")
    assert picture.evaluate("img => img.complete && img.naturalWidth > 0")
    page.click("#models-preview")
    expect(page.locator(".toast-body")).to_contain_text("a name, a data set and a base model are needed")
    page.locator(".toast-body button").first.click()
    page.fill("#models-train-name input, #models-train-name textarea", "new one")
    page.fill("#models-train-data input", "no-such-set")
    page.press("#models-train-data input", "Enter")
    page.fill("#models-epochs input", "2")
    page.click("#models-preview")
    command = page.locator("#models-command textarea")
    expect(command).to_have_value(re.compile("^ragstone finetune model --name 'new one' --base .* --epochs 2"))
    page.click("#models-train")
    expect(page.locator(".toast-body")).to_contain_text("cannot name a model")
    page.locator(".toast-body button").first.click()
    page.fill("#models-train-name input, #models-train-name textarea", "mine")
    page.click("#models-train")
    job = page.locator("#models-job")
    expect(job).to_contain_text("mine")
    expect(job).to_contain_text("failed", timeout=60_000)
    expect(job).to_contain_text("'no-such-set' is no JSONL file and no data set")
    again = visit().page
    open_part(again, "Training")
    expect(again.locator("#models-job")).to_contain_text("'no-such-set' is no JSONL file and no data set")
    assert not (ui.data / "models/mine").exists()


def test_the_checks_of_doctor_are_run(visit: Visiting) -> None:
    page = visit("zh-CN").page
    open_part(page, "检查")
    page.click("#models-run-checks")
    expect(page.locator("#models-checks")).to_contain_text("knowledge base 'handbook'", timeout=60_000)


def test_the_settings_are_shown_with_origin_and_meaning_filtered_and_without_secrets(visit: Visiting) -> None:
    page = visit().page
    open_tab(page, "Settings")
    rows = page.locator("#settings-rows")
    expect(rows.locator("tr", has_text="llm.api_key")).to_contain_text("***")
    assert "not-to-be-seen" not in page.content()
    row = rows.locator("tr", has_text="llm.vllm_port")
    expect(row).to_contain_text("RAGSTONE_LLM__VLLM_PORT")
    expect(row).to_contain_text("Address and port vLLM listens on.")
    expect(rows).to_contain_text("takes effect with the next start")
    page.fill("#settings-filter input, #settings-filter textarea", "nucleus")
    expect(rows.locator("tbody tr")).to_have_count(1)
    expect(rows.locator("tbody tr")).to_contain_text("llm.top_p")
    page.fill("#settings-filter input, #settings-filter textarea", "")
    page.check("#settings-only input")
    expect(rows.locator("tr", has_text="llm.top_p")).to_have_count(0)
    expect(rows.locator("tr", has_text="llm.vllm_port")).to_have_count(1)


def test_both_tabs_speak_chinese_and_fit_a_phone(visit: Visiting) -> None:
    page = visit("zh-CN", 400).page
    open_part(page)
    expect(page.locator("#models-status")).to_contain_text("地址")
    assert page.evaluate(WIDER) <= 0
    for part in ("适配器", "模型库", "训练", "检查"):
        open_part(page, part)
        assert page.evaluate(WIDER) <= 0, part
    open_tab(page, "设置")
    expect(page.locator("#settings-rows")).to_contain_text("核采样")
    expect(page.locator("#settings-rows")).to_contain_text("下次启动后才生效")
    assert page.evaluate(WIDER) <= 0
