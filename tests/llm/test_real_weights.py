"""vLLM on pretrained weights: settings, adapters and contexts where a tiny model would show no difference."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.config import LlmConfig
from llm import adapters
from llm.chat import stream, whole
from llm.endpoint import Endpoint, probe
from llm.serve import Server
from tests.fixtures_vllm import free_port, say
from tests.needs import needs

needs("peft")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

CONTEXT = 2048
# What a maker may put beside the weights, and a request that leaves something out is answered by.
MAKERS = {"repetition_penalty": 1.6, "top_k": 1, "min_p": 0.9, "presence_penalty": 1.5}
QUESTION = "Write one sentence about rain."
LONG = "The office is open from nine to five. " * 60 + "When is the office open?"


@pytest.fixture(scope="module")
def base(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(smollm, tmp_path_factory.mktemp("real") / "smollm")
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | MAKERS))
    return folder


@pytest.fixture(scope="module")
def cfg(base: Path, vllm_cfg: LlmConfig) -> LlmConfig:
    """In float32: in bfloat16 a prompt of which a part is in the cache is not answered as one that is new."""
    keys = {"vllm_model": str(base), "vllm_port": free_port(), "vllm_lora_rank": 8, "vllm_max_model_len": CONTEXT}
    keys |= {"vllm_args": [*vllm_cfg.vllm_args, "--dtype", "float32"]}
    return vllm_cfg.model_copy(update=keys | {"max_tokens": 24, "temperature": 0.0})


@pytest.fixture(scope="module")
def server(cfg: LlmConfig, base: Path) -> Iterator[Server]:
    with Server.start(cfg, base.parent / "vllm.log", say) as server:
        yield server


def said(endpoint: Endpoint, cfg: LlmConfig, question: str) -> str:
    from langchain_core.messages import HumanMessage

    return asyncio.run(whole(stream(endpoint, cfg, [HumanMessage(question)])))


def asked(server: Server, model: str, **fields: Any) -> str:
    """The answer to a request of these fields, nothing else said."""
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24} | fields
    reply = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=120, trust_env=False)
    return reply.json()["choices"][0]["message"]["content"]


def test_what_the_settings_say_is_what_is_drawn_by_not_what_the_maker_put_beside_the_weights(
    server: Server, cfg: LlmConfig
) -> None:
    endpoint = Endpoint(server.base_url, server.model_name, "")
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    plain = asked(server, server.model_name, temperature=0.0, **neutral)
    assert asked(server, server.model_name, temperature=0.0) != plain  # what is left out is the maker's
    assert said(endpoint, cfg, QUESTION) == plain
    drawn = {"temperature": 1.5, "top_p": 1.0, "seed": 5}
    likeliest = asked(server, server.model_name, temperature=1.5, seed=5, top_p=1.0)  # of one word alone: the maker's
    free = said(endpoint, cfg.model_copy(update=drawn), QUESTION)
    assert free not in (plain, likeliest)
    assert free == asked(server, server.model_name, **drawn, **neutral)
    assert said(endpoint, cfg.model_copy(update=drawn | {"top_k": 1}), QUESTION) == plain


def adapter(base: Path, folder: Path, seed: int) -> None:
    """A LoRA adapter that changes what the model says; weights drawn by a seed."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16, local_files_only=True)
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    tuned.save_pretrained(str(folder))


def test_an_adapter_trained_anew_under_its_name_answers_by_its_new_weights(
    server: Server, cfg: LlmConfig, base: Path, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    for number in (1, 2):
        adapter(base, tmp_path / str(number), number)
    base_model = Endpoint(server.base_url, server.model_name, "")
    told = cfg.model_copy(update={"adapter": "handbook"})
    answers = []
    for number in (1, 2, 1):
        shutil.rmtree(root / "handbook", ignore_errors=True)
        shutil.copytree(tmp_path / str(number), root / "handbook")
        tuned = adapters.adapted(base_model, root, tmp_path, told)
        assert adapters.loaded(server.base_url).keys() == {tuned.model}  # the weights before are unloaded
        answers.append(said(tuned, told, LONG))
    one, two, again = answers
    assert one == again != two
    # what each says with nothing kept of a prompt
    shutil.copytree(tmp_path / "2", root / "fresh")
    fresh = adapters.adapted(base_model, root, tmp_path, cfg.model_copy(update={"adapter": "fresh"}))
    assert said(fresh, told, LONG) == two
    tokens = asyncio.run(probe(server.base_url, cfg.model_copy(update={"model": fresh.model}))).context
    assert tokens == CONTEXT  # its parent's
    for name in ("handbook", "fresh"):
        adapters.unload([server.base_url], name)
    assert adapters.loaded(server.base_url) == {}
    assert said(replace(base_model), cfg, LONG) != two
