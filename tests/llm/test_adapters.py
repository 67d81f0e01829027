"""Which adapters may be loaded, and that a running vLLM answers with the one that it was told to."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from core.config import LlmConfig, load
from core.errors import ConfigError, ModelError, RagstoneError
from llm import adapters, registry
from llm.chat import stream, whole
from llm.endpoint import Endpoint
from llm.serve import Server
from llm.supervise import Replica, Status
from tests.llm.test_serve import real

GONE = ["http://127.0.0.1:9/v1"]  # vLLM is not asked about what is refused before


@pytest.fixture
def cfg(model: Path) -> LlmConfig:
    return load(flags={"llm.vllm_model": str(model), "llm.vllm_lora_rank": 16}, environ={}).config.llm


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def write(root: Path, model: Path) -> Callable[..., Path]:
    """An adapter's folder; arguments are keys of its adapter_config.json."""

    def make(name: str = "handbook", **keys: object) -> Path:
        folder = root / name
        folder.mkdir(parents=True)
        told = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": str(model), "bias": "none"} | keys
        (folder / "adapter_config.json").write_text(json.dumps(told))
        (folder / "adapter_model.safetensors").write_bytes(b"")
        return folder

    return make


def refused(root: Path, cfg: LlmConfig, name: str = "handbook") -> RagstoneError:
    with pytest.raises(RagstoneError) as caught:
        adapters.load(GONE, root, name, cfg)
    assert "does not answer" not in str(caught.value)
    return caught.value


def test_an_adapter_of_the_served_base_may_be_loaded(write: Callable[..., Path], root: Path, cfg: LlmConfig) -> None:
    assert adapters.check(root, write().name, cfg) == root / "handbook"
    with pytest.raises(ModelError, match="does not answer"):
        adapters.load(GONE, root, "handbook", cfg)


@pytest.mark.parametrize("name", ["../handbook", "/etc", "a/b", "", ".", "..", "a\nb", "x" * 65, "none-such"])
def test_a_name_that_leaves_the_folder_is_refused(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, name: str
) -> None:
    write()
    error = refused(root, cfg, name)
    assert isinstance(error, ConfigError)
    assert "adapter" in error.message


def test_a_link_that_leads_out_of_the_folder_is_refused(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, tmp_path: Path
) -> None:
    outside = write().rename(tmp_path / "outside")
    (root / "handbook").symlink_to(outside)
    assert "there is no adapter 'handbook'" in refused(root, cfg).message


def test_without_a_rank_no_adapter_is_loaded(write: Callable[..., Path], root: Path, cfg: LlmConfig) -> None:
    write()
    assert "llm.vllm_lora_rank is 0" in refused(root, cfg.model_copy(update={"vllm_lora_rank": 0})).message


def test_the_name_of_the_base_is_taken(write: Callable[..., Path], root: Path, cfg: LlmConfig) -> None:
    write("tiny-model")
    assert "is the name that the base model is served by" in refused(root, cfg, "tiny-model").message


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"r": 64}, "rank 64, above llm.vllm_lora_rank = 16"),
        ({"rank_pattern": {"q_proj": 32}}, "rank 32, above"),
        ({"r": None}, "states no rank"),
        ({"r": "8"}, "states no rank"),
        ({"peft_type": "PREFIX_TUNING"}, "'PREFIX_TUNING'; vLLM loads LoRA only"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "whole layers"),
        ({"bias": "all"}, "biases"),
        (
            {"base_model_name_or_path": "/models/another"},
            "belongs to another base: it was trained on '/models/another'",
        ),
        ({"base_model_name_or_path": None}, "another base"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_with_the_reason(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, keys: dict[str, Any], words: str
) -> None:
    write(**keys)
    error = refused(root, cfg)
    assert words in error.message
    assert error.hint


def test_the_base_is_known_by_its_weights_not_by_its_name(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, model: Path
) -> None:
    folder = write(base_model_name_or_path="/elsewhere/renamed")
    record = {"kind": "adapter", "base": {"name": "/elsewhere/renamed", "identity": registry.weights_hash(model)}}
    (folder / registry.RECORD).write_text(json.dumps(record))
    assert adapters.check(root, "handbook", cfg) == folder
    (model / "model.safetensors").write_bytes(b"other weights of the same name")
    assert "belongs to another base" in refused(root, cfg).message


def test_an_adapter_fits_the_quantized_weights_of_its_base(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, model: Path
) -> None:
    folder = write()
    (folder / registry.RECORD).write_text(json.dumps({"kind": "adapter", "base": {"identity": "of-the-base"}}))
    assert "another base" in refused(root, cfg).message
    (model / registry.RECORD).write_text(json.dumps({"kind": "quantized", "source": {"identity": "of-the-base"}}))
    assert adapters.check(root, "handbook", cfg) == folder
    (model / registry.RECORD).write_text(json.dumps({"kind": "quantized", "source": {"identity": "of-another"}}))
    assert "another base" in refused(root, cfg).message


@pytest.mark.parametrize("text", ["", "{", "[]", "x" * (2 << 20)])
def test_a_damaged_adapter_is_named(write: Callable[..., Path], root: Path, cfg: LlmConfig, text: str) -> None:
    (write() / "adapter_config.json").write_text(text)
    assert "adapter_config.json' cannot be read" in refused(root, cfg).message


def test_weights_in_a_pickle_are_not_loaded(write: Callable[..., Path], root: Path, cfg: LlmConfig) -> None:
    folder = write()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "pickle" in refused(root, cfg).message
    (folder / "adapter_config.json").unlink()
    assert "is no adapter" in refused(root, cfg).message


def test_a_knowledge_base_keeps_its_adapter_in_its_folder(
    write: Callable[..., Path], root: Path, cfg: LlmConfig, tmp_path: Path
) -> None:
    write()
    assert adapters.assigned(tmp_path) == ""
    adapters.assign(tmp_path, root, "handbook", cfg)
    assert adapters.assigned(tmp_path) == "handbook"
    with pytest.raises(ConfigError):
        adapters.assign(tmp_path, root, "../x", cfg)
    assert adapters.assigned(tmp_path) == "handbook"
    adapters.assign(tmp_path, root, "", cfg)
    assert adapters.assigned(tmp_path) == ""
    for wrong in ("{", '{"adapter": "../x"}', '{"adapter": 1}', "[]"):
        (tmp_path / adapters.ASSIGNED).write_text(wrong)
        with pytest.raises(ConfigError, match="names no adapter"):
            adapters.assigned(tmp_path)


# vLLM itself


def random_adapter(base: Path, folder: Path, seed: int) -> None:
    """A LoRA adapter that makes the model say anything: large random weights where the base writes nothing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16)
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=8, target_modules=["down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.normal_(std=1000.0 if "lora_B" in name else 0.06)
    tuned.save_pretrained(str(folder))


def greedy(base: Path, adapter: Path, question: str, count: int) -> str:
    """What transformers and peft say."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(adapter))
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = tuned.generate(**ids, max_new_tokens=count, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def say(endpoint: Endpoint, cfg: LlmConfig, **sampling: float) -> str:
    told = cfg.model_copy(update={"temperature": 0.0, "max_tokens": 4} | sampling)
    return asyncio.run(whole(stream(endpoint, told, [HumanMessage("How many days?")])))


@real
def test_adapters_are_loaded_swapped_and_unloaded_in_a_running_vllm(
    vllm_server: Server, vllm_cfg: LlmConfig, tiny_lm: Path, root: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        random_adapter(tiny_lm, root / name, seed)
    urls = (vllm_server.base_url,)
    base = Endpoint(urls[0], vllm_server.model_name, "")
    assert adapters.adapted(base, root, tmp_path, vllm_cfg) == base
    adapters.assign(tmp_path, root, "one", vllm_cfg)
    one = adapters.adapted(base, root, tmp_path, vllm_cfg)
    assert adapters.loaded(urls[0]) == {one.model: str(root / "one")}
    assert adapters.name_of(one.model) == "one"
    assert adapters.adapted(base, root, tmp_path, vllm_cfg) == one  # once more: nothing to do
    expected = {name: greedy(tiny_lm, root / name, "How many days?", 4) for name in ("one", "two")}
    assert say(one, vllm_cfg) == expected["one"] != expected["two"]
    assert "The handbook".startswith(say(base, vllm_cfg)[:4])

    # the same seed gives the same draws, another seed others; without randomness no seed is needed
    drawn = {"temperature": 2.0, "top_p": 1.0, "max_tokens": 30}
    assert (
        say(one, vllm_cfg, seed=1, **drawn)
        == say(one, vllm_cfg, seed=1, **drawn)
        != say(one, vllm_cfg, seed=2, **drawn)
    )
    assert say(one, vllm_cfg, seed=1, top_k=1, **drawn) == say(one, vllm_cfg, max_tokens=30)

    here = Replica(urls[0], "running", vllm_server.pid, time.time() - 60, 0, (), str(vllm_server.log_path))
    gone = replace(here, base_url=GONE[0])
    rows = adapters.report(Status("tiny-lm", (here, gone), 1))["replicas"]
    assert [row["adapters"] for row in rows] == [["one"], []]
    assert 60 <= rows[0]["up_s"] < 70
    assert "one" in "".join(rows[0]["log_tail"])  # vLLM logs that it was loaded

    adapters.swap(urls, root, "one", "two", vllm_cfg)
    [loaded] = adapters.loaded(urls[0])
    assert adapters.name_of(loaded) == "two"
    two = Endpoint(urls[0], loaded, "")
    assert say(two, vllm_cfg) == expected["two"]
    with pytest.raises(ModelError, match="does not serve model 'one@"):
        say(one, vllm_cfg)
    adapters.unload(urls, "two")
    assert adapters.loaded(urls[0]) == {}
