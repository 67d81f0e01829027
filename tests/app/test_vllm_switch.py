"""Another model is promoted while people chat: real vLLM, streams through the whole switch, and none breaks off."""

import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from core.config import LlmConfig
from llm import registry
from tests.app.app_process import running
from tests.fixtures_vllm import free_port
from tests.llm.test_serve import wait_for
from tests.tiny_lm import REPLIES, build

if TYPE_CHECKING:
    import openai

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

_ENDLESS = "Is the list of turbidity values endless?"
_TOKENS, _AT_ONCE, _SWITCH_S = 600, 3, 900


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer: who wrote it, from when to when, its text, and why it ended."""

    model: str
    began: float
    ended: float
    text: str
    finish: str


def hear(client: "openai.OpenAI") -> Heard:
    began, text, model, finish = time.monotonic(), "", "", ""
    stream = client.chat.completions.create(
        model="handbook", messages=[{"role": "user", "content": _ENDLESS}], stream=True
    )
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
        model = ((chunk.model_extra or {}).get("ragstone") or {}).get("model", model)
    return Heard(model, began, time.monotonic(), text, finish)


def test_no_chat_is_dropped_while_another_model_takes_over(vllm_cfg: LlmConfig, handbook: Path, tmp_path: Path) -> None:
    import openai

    data = tmp_path / "data"
    shutil.copytree(handbook, data)
    for name in ("one", "two"):
        folder = build(data / "models" / name, REPLIES)
        (folder / "run.json").write_text(json.dumps({"kind": "fetched"}))
    registry.promote(data, "one")
    keys = ("vllm_build", "vllm_env", "vllm_cpu_kv_gb", "vllm_start_timeout_s")
    env = {f"RAGSTONE_LLM__{key.upper()}": str(getattr(vllm_cfg, key)) for key in keys}
    env |= {"RAGSTONE_LLM__VLLM_PORT": str(free_port()), "RAGSTONE_LLM__MAX_TOKENS": str(_TOKENS)}
    env |= {"RAGSTONE_APP__ANSWERS_PER_MINUTE": "0", "RAGSTONE_RETRIEVAL__VARIANTS": "0"}
    with running("serve", data, tmp_path / "app.log", env, start_s=vllm_cfg.vllm_start_timeout_s) as app:
        client = openai.OpenAI(base_url=f"{app.url}/v1", api_key="any", max_retries=0, timeout=300)
        assert "vLLM loads 'one'" in app.log.read_text()
        heard: list[Heard] = []
        failed: list[Exception] = []
        enough = threading.Event()

        def chat() -> None:
            try:
                while not enough.is_set():
                    heard.append(hear(client))
            except Exception as error:
                failed.append(error)

        people = [threading.Thread(target=chat) for _ in range(_AT_ONCE)]
        for person in people:
            person.start()
        registry.promote(data, "two")

        def has_gone() -> bool:
            family = psutil.Process(app.process.pid).children(recursive=True)
            served = {word for process in family for word in _words(process) if word.startswith(f"{data}/models/")}
            return served == {f"{data}/models/two"}

        assert wait_for(lambda: bool(failed) or any(each.model == "two" for each in heard), _SWITCH_S), (
            app.log.read_text()
        )
        assert wait_for(lambda: bool(failed) or has_gone(), _SWITCH_S), app.log.read_text()
        enough.set()
        for person in people:
            person.join(_SWITCH_S)
        assert failed == []
    assert {each.finish for each in heard} == {"length"}
    assert {each.text.startswith("And the handbook goes on") for each in heard} == {True}
    assert max(map(len, (each.text for each in heard))) == min(map(len, (each.text for each in heard)))
    assert {each.model for each in heard} == {"one", "two"}
    took_over = min(each.began for each in heard if each.model == "two")
    assert any(each.ended > took_over for each in heard if each.model == "one")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
