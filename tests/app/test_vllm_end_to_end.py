"""Everything at once: one `ragstone ui` starts vLLM's CPU build on a tiny model; API and browser stream its answers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from core.config import LlmConfig
from tests.app.app_process import App, chromium, health, running, stop, visiting
from tests.fixtures_vllm import free_port
from tests.needs import later
from tests.tiny_lm import REPLIES

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam
else:
    openai = later("openai")

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

QUESTION = "Up to what turbidity does the LT-300 measure?"
ENDLESS = "Is the list of turbidity values endless?"
ANSWER = REPLIES[-1].text
MOST_TOKENS = 12000  # of the endless reply
_LENGTH = "[...document.querySelectorAll('#chat [data-testid=bot]')].at(-1).innerText.trim().length"


@pytest.fixture(scope="module")
def ui(vllm_cfg: LlmConfig, handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI and API over the handbook, once vLLM, which it started, answers too."""
    folder = tmp_path_factory.mktemp("vllm-ui")
    shutil.copytree(handbook, folder / "data")
    keys = ("vllm_model", "vllm_build", "vllm_env", "vllm_cpu_kv_gb", "vllm_start_timeout_s")
    env = {f"RAGSTONE_LLM__{key.upper()}": str(getattr(vllm_cfg, key)) for key in keys}
    env["RAGSTONE_LLM__VLLM_PORT"] = str(free_port())  # another test's vLLM may be at that of `vllm_cfg`
    with running("ui", folder / "data", folder / "ui.log", env | {"RAGSTONE_LLM__MAX_TOKENS": str(MOST_TOKENS)}) as app:
        end = time.monotonic() + vllm_cfg.vllm_start_timeout_s
        while f"vLLM serves {vllm_cfg.vllm_model.rpartition('/')[2]!r}" not in app.log.read_text(errors="replace"):
            assert time.monotonic() < end, app.log.read_text(errors="replace")
            assert health(app.url) == 200, app.log.read_text(errors="replace")
            time.sleep(0.5)
        yield app


@pytest.fixture
def client(ui: App) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{ui.url}/v1", api_key="any", max_retries=0, timeout=120)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return met


def test_an_answer_is_streamed_through_the_api_with_its_citations(client: openai.OpenAI) -> None:
    deltas, more = [], {}
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
    for chunk in client.chat.completions.create(model="handbook", messages=messages, stream=True):
        deltas.append(chunk.choices[0].delta.content or "")
        more |= chunk.model_extra or {}
    assert "".join(deltas).strip() == ANSWER
    assert (more["ragstone"]["backend"], more["ragstone"]["model"]) == ("vllm", "tiny-lm")
    assert more["ragstone"]["citations"][0]["path"] == "products/lt-300-manual.pdf"


def test_words_come_before_the_answer_has_ended(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": ENDLESS}]
    with client.chat.completions.create(model="handbook", messages=messages, stream=True) as chunks:
        pieces = list(islice((chunk for chunk in chunks if chunk.choices[0].delta.content), 3))
    assert len(pieces) == 3
    assert all(piece.choices[0].finish_reason is None for piece in pieces)


def test_a_refusal_of_the_model_is_said_in_the_language_of_the_question(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model="handbook", messages=[{"role": "user", "content": "Who feeds the unicorn?"}]
    )
    assert done.choices[0].message.content == "The documents do not cover this question."
    assert (done.model_extra or {})["ragstone"]["answered"] is False


@pytest.mark.browser
def test_an_answer_is_streamed_and_stopped_in_the_browser(ui: App) -> None:
    with chromium() as browser, visiting(browser, ui.url) as seen:
        expect(seen.page.locator("#status")).to_contain_text("tiny-lm (vllm)", timeout=30_000)
        seen.ask(QUESTION)
        assert seen.finished() == ANSWER
        expect(seen.page.locator(".rs-cited")).to_contain_text("products/lt-300-manual.pdf")
        seen.ask(ENDLESS)
        last = seen.page.locator("#chat [data-testid=bot]").last
        expect(last).to_contain_text("goes on", timeout=60_000)
        at_first = len(seen.answer())
        seen.until(f"{_LENGTH} > {at_first}")
        expect(seen.page.locator("#question .stop-button")).to_be_visible()  # so it is still being written
        seen.page.locator("#question .stop-button").dispatch_event("click")
        # A browser that has two cores with vLLM has frames to catch up with.
        assert not seen.finished(180).endswith("…")  # which would show that it came to the most tokens


def test_vllm_ends_with_the_app(ui: App, vllm_cfg: LlmConfig) -> None:
    family = psutil.Process(ui.process.pid).children(recursive=True)
    assert any(vllm_cfg.vllm_model in process.cmdline() for process in family)
    stop(ui)
    gone = [p for p in family if not wait_for(lambda p=p: not p.is_running() or p.status() == psutil.STATUS_ZOMBIE)]
    assert gone == []
