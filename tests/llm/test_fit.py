"""What serving takes: figures worked by hand, counted in a real model, and told by vLLM itself."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from core.config import LlmConfig, load
from core.errors import ModelError
from llm.fit import Device, Need, device, need, no_kernel, quantized_as, token_bytes, weight_bytes
from llm.serve import Server
from tests.llm.test_serve import real

LLAMA_8B = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 8192, "dtype": "bfloat16",
}  # fmt: skip
H100 = Device("H100", 80 << 30, 80 << 30, 9.0)
CPU = Device("memory of this machine", 16 << 30, 8 << 30)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAMA_8B, 2 * 32 * 8 * 128 * 2),  # 128 KiB, as is published
        (LLAMA_8B | {"num_key_value_heads": None}, 2 * 32 * 32 * 128 * 2),  # every head its own keys: four times that
        (LLAMA_8B | {"head_dim": 64}, 2 * 32 * 8 * 64 * 2),
        (LLAMA_8B | {"layer_types": ["full_attention"] * 8 + ["linear_attention"] * 24}, 2 * 8 * 8 * 128 * 2),
        ({"num_hidden_layers": 60, "num_attention_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 69120),
        ({"n_layer": 12}, 0),
    ],
)
def test_a_token_of_the_cache(config: dict[str, Any], expected: int) -> None:
    assert token_bytes(config, 2) == expected


def settings(folder: Path, **keys: object) -> LlmConfig:
    flags = {f"llm.{key}": value for key, value in ({"vllm_model": str(folder)} | keys).items()}
    return load(flags=flags, environ={}).config.llm


def write(folder: Path, config: dict[str, Any], tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """A model of zeros."""
    header, at = {}, 0
    for name, (kind, shape) in tensors.items():
        size = {"F32": 4, "BF16": 2, "I8": 1}[kind]
        for side in shape:
            size *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(at))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_are_counted_in_their_own_formats(tmp_path: Path) -> None:
    write(tmp_path, LLAMA_8B, {"a": ("F32", [10, 3]), "b": ("BF16", [7]), "c": ("I8", [5, 5]), "d": ("F32", [])})
    assert weight_bytes(tmp_path) == 120 + 14 + 25 + 4


def test_the_weights_of_a_real_model_are_its_parameters(tiny_lm: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(tiny_lm), dtype="auto")
    assert weight_bytes(tiny_lm) == sum(weights.numel() * 2 for weights in model.parameters())


def test_a_cut_or_lying_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, LLAMA_8B, {"a": ("F32", [10, 3])}) / "model.safetensors"
    whole = file.read_bytes()
    for wrong in (
        whole[:-1],
        whole[:4],
        b"",
        b"\xff" * 64,
        whole.replace(b"[10, 3]", b"[99, 3]"),
        whole[:8] + b"[" * 99,
    ):
        file.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"model\.safetensors' is damaged"):
            weight_bytes(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json' cannot be read"):
        need(settings(tmp_path), "gpu")


def test_what_a_model_takes_and_how_many_tokens_are_left(tmp_path: Path) -> None:
    write(tmp_path, LLAMA_8B, {"a": ("BF16", [1000, 1000])})
    found = need(settings(tmp_path), "gpu")
    assert found == Need(2_000_000, 0, 131072, 1 << 30, 8192)
    assert found.least == 2_000_000 + (1 << 30) + (1 << 30)  # 8192 tokens of 128 KiB are a GiB
    assert found.tokens(found.least) == 8192
    assert found.tokens(1000) == 0


def test_settings_that_change_what_is_taken(tmp_path: Path) -> None:
    write(tmp_path, LLAMA_8B, {"a": ("BF16", [1000, 1000])})
    assert need(settings(tmp_path, vllm_max_model_len=100), "gpu").context == 100
    assert need(settings(tmp_path, vllm_args=["--kv-cache-dtype", "fp8"]), "gpu").per_token == 65536
    assert need(settings(tmp_path, vllm_args=["--kv-cache-dtype=fp8_e4m3"]), "gpu").per_token == 65536
    split = need(settings(tmp_path, vllm_args=["--tensor-parallel-size", "2"]), "gpu")
    assert (split.weights, split.per_token) == (1_000_000, 65536)
    # q, o: 4096 x 4096; k, v: 4096 x 1024; three of 4096 x 14336; rank 16, 16 bits, 32 layers
    sides = 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)
    assert need(settings(tmp_path, vllm_lora_rank=16), "gpu").adapters == sides * 16 * 2 * 32


def test_the_text_part_of_a_model_that_sees_counts(tmp_path: Path) -> None:
    write(tmp_path, {"model_type": "some_vl", "text_config": LLAMA_8B}, {"a": ("BF16", [1])})
    assert need(settings(tmp_path), "gpu").per_token == 131072


INT4 = {"num_bits": 4, "type": "int"}
INT8 = {"num_bits": 8, "type": "int"}
FLOAT8 = {"num_bits": 8, "type": "float"}


@pytest.mark.parametrize(
    ("weights", "inputs", "form"),
    [
        (INT4, None, "w4a16"),
        (INT8, INT8, "w8a8"),
        (FLOAT8, FLOAT8, "fp8"),
        ({"num_bits": 4, "type": "float", "scale_dtype": "torch.float8_e4m3fn"}, None, "nvfp4"),
        ({"num_bits": 4, "type": "float", "scale_dtype": "torch.uint8"}, None, "mxfp4"),
    ],
)
def test_a_quantized_format_is_read_from_its_config(weights: object, inputs: object, form: str) -> None:
    groups = {"group_0": {"weights": weights, "input_activations": inputs}}
    assert (
        quantized_as({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}) == form
    )


def test_other_makers_formats_keep_their_names() -> None:
    assert quantized_as({"quantization_config": {"quant_method": "AWQ", "bits": 4}}) == "awq"
    assert quantized_as(LLAMA_8B) == ""


def test_a_format_without_a_kernel_is_refused_with_another() -> None:
    assert no_kernel("w4a16", H100) == no_kernel("fp8", H100) == no_kernel("", H100) == no_kernel("w8a8", CPU) == ""
    assert no_kernel("nvfp4", H100) == no_kernel("mxfp4", H100) == ""  # their weights alone, in 16 bit arithmetic
    turing = Device("T4", 1, 1, 7.5)
    assert no_kernel("mxfp4", turing) == "mxfp4 needs CUDA capability 8, T4 has 7.5; w4a16 is"
    assert no_kernel("bitsandbytes", CPU) == "vLLM's CPU build has no kernel for bitsandbytes"
    assert "needs CUDA capability 7.5" in no_kernel("w8a8", Device("V100", 1, 1, 7.0))


def test_the_memory_of_this_machine_and_of_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = device("cpu")
    assert 0 < here.free < here.total
    command = tmp_path / "nvidia-smi"
    command.write_text(
        '#!/bin/sh\necho "NVIDIA A10, 23028, 500, 8.6"\necho "NVIDIA H200, with a comma, 143771, 143000, 9.0"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device("gpu") == Device("NVIDIA H200, with a comma", 143771 << 20, 143000 << 20, 9.0)
    command.write_text("#!/no/such/shell\n")
    with pytest.raises(ModelError, match="nvidia-smi does not tell"):
        device("gpu")


@real
def test_vllm_makes_as_many_tokens_of_the_cache_as_was_reckoned(vllm_server: Server, vllm_cfg: LlmConfig) -> None:
    told = re.search(r"KV cache size: ([\d,]+) tokens", vllm_server.log_path.read_text())
    assert told
    reckoned = (vllm_cfg.vllm_cpu_kv_gb << 30) // need(vllm_cfg, "cpu").per_token
    assert int(told[1].replace(",", "")) == pytest.approx(reckoned, rel=0.01)
