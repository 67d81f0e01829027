from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ConfigError, ModelError
from llm.memory import Memory, Size, memory, not_reckoned
from llm.methods import (
    METHODS,
    STAGES,
    Method,
    Shape,
    can_pack,
    can_recompute,
    check,
    default_beta,
    default_rate,
    serving,
    virtual_tokens,
)
from llm.trainers import Settings, check_settings

QWEN = SimpleNamespace(model_type="qwen3", hidden_size=64, num_hidden_layers=2, num_attention_heads=1, head_dim=64)


def test_only_what_has_the_form_of_lora_is_served_as_an_adapter_and_no_virtual_token_is_served_at_all() -> None:
    as_adapter = {method for method in METHODS if serving(method).as_adapter}
    merged = {method for method in METHODS if serving(method).merged}
    assert as_adapter == {"lora", "qlora", "lora-int8"}
    assert merged == {"lora", "qlora", "lora-int8", "dora", "ia3", "full"}
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
    assert {method for method, places in taken.items() if places == 7} == {"prefix", "prompt", "ptuning", "ptuning-v2"}
    apart = {"lora", "qlora", "lora-int8", "dora", "ia3", "full"}
    assert {method for method in METHODS if can_pack(method, "sft")} == apart
    assert {stage for stage in STAGES if can_pack("lora", stage)} == {"sft", "pretrain"}
    assert {method for method in METHODS if not can_recompute(method)} == {"prefix", "ptuning-v2"}


def test_each_stage_has_its_rate_and_its_beta() -> None:
    assert default_rate("lora", "sft") == default_rate("lora", "pretrain") == 2e-4
    assert default_rate("lora", "dpo") == default_rate("lora", "kto") == pytest.approx(2e-5)
    assert default_rate("full", "orpo") == pytest.approx(8e-6)
    own = {stage: default_beta(stage) for stage in STAGES if default_beta(stage) != 0.1}
    assert own == {"simpo": 2.0, "grpo": 0.0, "distill": 1.0}


def test_what_lora_begins_with_is_refused_for_other_methods() -> None:
    check("lora", Shape(init="pissa", rslora=True), QWEN)
    check("qlora", Shape(init="loftq"), QWEN)
    refused: list[tuple[Method, Shape, str]] = [
        ("qlora", Shape(init="pissa"), "take --method lora"),
        ("dora", Shape(init="olora"), "take --method lora"),
        ("lora", Shape(init="loftq"), "take --method qlora"),
        ("ia3", Shape(rslora=True), "take --method lora"),
    ]
    for method, shape, hint in refused:
        with pytest.raises(ConfigError) as error:
            check(method, shape, QWEN)
        assert hint in error.value.hint
    assert Shape(rank=8, init="pissa").saved_rank == 16
    assert not serving("lora", Shape(rank=300, init="pissa").saved_rank).as_adapter


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(stage="dpo", neftune=5.0), "noise for sft"),
        (Settings(optimizer="apollo"), "is for whole matrices"),
        (Settings(stage="kto", batch_size=1), "--batch 2"),
        (Settings(stage="grpo", answers=1), "--answers 2"),
        (Settings("ptuning-v2", "grpo"), "cannot be trained by grpo"),
        (Settings("qlora", shape=Shape(init="loftq"), device="cpu"), "on a GPU"),
        (Settings(stage="distill"), "--teacher and --stage distill go together"),
        (Settings(stage="distill", teacher="t", beta=2.0), "between 0 and 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_what_to_do(settings: Settings, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_settings(settings)
    assert said in f"{error.value.message} {error.value.hint}"


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.trainers.find_spec", lambda name: None)
    for settings, package in (
        (Settings("full", optimizer="galore"), "galore-torch"),
        (Settings("full", optimizer="apollo"), "apollo-torch"),
        (Settings(report="wandb"), "wandb"),
    ):
        with pytest.raises(ModelError) as error:
            check_settings(settings)
        assert error.value.hint == f"install it: pip install {package}"
    check_settings(Settings("full", "simpo", optimizer="adafactor", report="none"))


def test_memory_is_as_worked_by_hand() -> None:
    config = SimpleNamespace(hidden_size=64, num_hidden_layers=2, vocab_size=100)
    counted, full = Size(base=1000, linear=800, trainable=50), Size(1000, 800, 1000)

    def of(size: Size, *, wide: bool = False, **told: Any) -> Memory:
        return memory(size, config, Settings(**{"batch_size": 2, "recompute": False} | told), length=10, wide=wide)

    lora = of(counted)
    assert lora == Memory(weights=2200, gradients=200, optimizer=400, activations=34 * 10 * 2 * 64 * 2)
    assert lora.total == 2200 + 200 + 400 + 87040
    assert of(counted, recompute=True).activations == 10 * 2 * 64 * (2 * 2 + 34)
    # 800 weights of 4.127 bits: 412.7 bytes; the other 200 in bfloat16
    assert of(counted, method="qlora") == Memory(413 + 400 + 200, 200, 400, 87040)
    assert of(counted, method="lora-int8") == Memory(800 + 400 + 200, 200, 400, 87040)
    assert of(full, method="full") == Memory(4000, 4000, 8000, 87040)
    assert of(full, method="full", optimizer="adamw8bit").optimizer == 2000
    assert of(full, method="full", stage="dpo", wide=True) == Memory(8000, 4000, 8000, 4 * 87040)
    assert of(full, method="full", stage="kto").weights == 8000
    simpo = of(full, method="full", stage="simpo")
    assert simpo == Memory(4000, 4000, 8000, 2 * 87040 + 10 * 4 * 100 * 8)
    assert of(counted, stage="grpo", answers=4).activations == 4 * 87040


def test_what_of_the_memory_is_not_known_is_said() -> None:
    assert not_reckoned(Settings()) == []
    (apollo,) = not_reckoned(Settings("full", optimizer="apollo"))
    assert "apollo is of low rank" in apollo
    assert any("cache" in note for note in not_reckoned(Settings(stage="grpo")))
