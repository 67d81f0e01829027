from types import SimpleNamespace

import pytest

from core.errors import ConfigError
from llm.memory import Memory, Size, memory
from llm.methods import METHODS, Shape, can_pack, can_recompute, check, default_rate, serving, virtual_tokens

QWEN = SimpleNamespace(model_type="qwen3", hidden_size=64, num_hidden_layers=2, num_attention_heads=1, head_dim=64)


def test_only_what_has_the_form_of_lora_is_served_as_an_adapter_and_no_virtual_token_is_served_at_all() -> None:
    as_adapter = {method for method in METHODS if serving(method).as_adapter}
    merged = {method for method in METHODS if serving(method).merged}
    assert as_adapter == {"lora", "qlora"}
    assert merged == {"lora", "qlora", "dora", "ia3", "full"}
    assert all(serving(method).reason for method in METHODS if method not in as_adapter)
    assert "use_dora" in serving("dora").reason
    assert "no weight can take in" in serving("prompt").reason


def test_a_rank_that_vllm_does_not_load_is_named() -> None:
    assert serving("lora", 512).as_adapter
    found = serving("lora", 513)
    assert (found.as_adapter, found.merged) == (False, True)
    assert "up to rank 512" in found.reason


def test_llama_adapter_is_refused_on_other_architectures_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="this model is 'qwen3'"):
        check("llama-adapter", Shape(), QWEN)
    llama = SimpleNamespace(model_type="llama", hidden_size=64, num_attention_heads=2, head_dim=64)
    with pytest.raises(ConfigError, match="128 is not 64"):
        check("llama-adapter", Shape(), llama)
    check("llama-adapter", Shape(), SimpleNamespace(model_type="mistral", hidden_size=64, num_attention_heads=2))


def test_an_architecture_that_ia3_does_not_know_is_refused() -> None:
    check("ia3", Shape(), QWEN)
    with pytest.raises(ConfigError, match="'new'"):
        check("ia3", Shape(), SimpleNamespace(model_type="new"))


def test_virtual_tokens_take_places_of_the_context_and_forbid_packing() -> None:
    taken = {method: virtual_tokens(method, Shape(virtual_tokens=7)) for method in METHODS}
    assert {method for method, places in taken.items() if places == 7} == {"prefix", "prompt", "ptuning"}
    assert {method for method in METHODS if can_pack(method, "sft")} == {"lora", "qlora", "dora", "ia3", "full"}
    assert not any(can_pack(method, "dpo") for method in METHODS)
    assert {method for method in METHODS if not can_recompute(method)} == {"prefix"}


def test_preferences_are_learnt_at_a_tenth_of_the_rate() -> None:
    assert default_rate("lora", "sft") == 2e-4
    assert default_rate("lora", "dpo") == pytest.approx(2e-5)


def test_memory_is_as_worked_by_hand() -> None:
    config = SimpleNamespace(hidden_size=64, num_hidden_layers=2)
    counted = Size(base=1000, linear=800, trainable=50)
    rest = {"batch": 2, "length": 10}
    lora = memory(counted, config, "lora", "sft", **rest, wide=False, recompute=False)
    assert lora == Memory(weights=2200, gradients=200, optimizer=400, activations=34 * 10 * 2 * 64 * 2)
    assert lora.total == 2200 + 200 + 400 + 87040
    again = memory(counted, config, "lora", "sft", **rest, wide=False, recompute=True)
    assert again.activations == 10 * 2 * 64 * (2 * 2 + 34)
    # 800 weights of 4.127 bits: 412.7 bytes; the other 200 in bfloat16
    qlora = memory(counted, config, "qlora", "sft", **rest, wide=False, recompute=False)
    assert qlora == Memory(413 + 400 + 200, 200, 400, 87040)
    full = Size(1000, 800, 1000)
    whole = memory(full, config, "full", "sft", **rest, wide=False, recompute=False)
    assert whole == Memory(4000, 4000, 8000, 87040)
    pairs = memory(full, config, "full", "dpo", **rest, wide=True, recompute=False)
    assert pairs == Memory(8000, 4000, 8000, 4 * 87040)
