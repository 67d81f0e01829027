"""What serving a model takes, reckoned from its files: weights, KV cache, adapters; and what there is to take it from.

Weights are what the safetensors headers say, which is exact for every number format. A token's keys and values take
2 x layers x KV heads x head size numbers (Ainslie et al. 2023, GQA; Kwon et al. 2023, PagedAttention, section 3).
"""

import json
import os
import struct
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.config import LlmConfig
from core.errors import ModelError
from llm.vllm_env import Build

_HEADER_BYTES = 100 << 20
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip
_CACHE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_WORKSPACE = {"gpu": 1.0, "cpu": 0.5}  # GiB: CUDA graphs, activations, the libraries' own: a guess on the safe side

# What vLLM 0.32's kernels need: the least CUDA compute capability for each format, and whether the CPU build serves it.
_KERNELS: dict[str, tuple[float, bool]] = {
    "w4a16": (7.5, True), "w8a16": (7.5, False), "w8a8": (7.5, True), "fp8": (7.5, True), "awq": (7.5, True),
    "gptq": (7.0, True), "bitsandbytes": (7.5, False), "nvfp4": (7.5, False), "mxfp4": (8.0, False),
}  # fmt: skip
_INSTEAD = {"nvfp4": "fp8 or w4a16", "mxfp4": "w4a16"}


@dataclass(frozen=True, slots=True)
class Device:
    """A card, or this machine's memory. `total` and `free` in bytes; `capability` of CUDA, 0 on the CPU."""

    name: str
    total: int
    free: int
    capability: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on one device: weights, adapters, one token of the KV cache, what the engine takes beside."""

    weights: int
    adapters: int
    per_token: int
    workspace: int
    context: int

    @property
    def least(self) -> int:
        """What serves one question of the whole context."""
        return self.weights + self.adapters + self.workspace + self.per_token * self.context

    def tokens(self, memory: int) -> int:
        """How many tokens the cache holds in so many bytes, over all questions at a time."""
        return max(0, memory - self.weights - self.adapters - self.workspace) // max(self.per_token, 1)


def device(build: Build, *, least: bool = False) -> Device:
    """The card with the most free memory (or the least) as nvidia-smi tells, or the machine's memory.

    Raises `ModelError`.
    """
    if build == "cpu":
        import psutil

        memory = psutil.virtual_memory()
        return Device("memory of this machine", memory.total, memory.available)
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        cards = [_card(line) for line in told.splitlines() if line.strip()]
        return (min if least else max)(cards, key=lambda card: card.free)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ModelError(
            f"nvidia-smi does not tell the card's memory: {error}", 'see what it says, or set llm.vllm_build = "cpu"'
        ) from None


def _card(line: str) -> Device:
    name, total, free, capability = (part.strip() for part in line.rsplit(",", 3))
    return Device(name, int(total) << 20, int(free) << 20, float(capability))


def config_of(folder: Path) -> dict[str, Any]:
    """A model's config.json; of a model that also sees or hears, the part on text. Raises `ModelError`."""
    file = folder / "config.json"
    try:
        told = json.loads(file.read_text("utf-8"))
        text = told.get("text_config")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error}", "is the model whole?") from None
    return told | text if isinstance(text, dict) else told


def weight_bytes(folder: Path) -> int:
    """Bytes of all tensors in the safetensors of a folder, by their headers. Raises `ModelError` for damaged ones."""
    return sum(_tensor_bytes(file) for file in sorted(folder.glob("*.safetensors")))


def _tensor_bytes(file: Path) -> int:
    try:
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > _HEADER_BYTES:
                raise ValueError("its header is too long")
            header = json.loads(handle.read(length))
            there = os.fstat(handle.fileno()).st_size - 8 - length
        total = 0
        for name, row in header.items():
            if name == "__metadata__":
                continue
            begin, end = row["data_offsets"]
            count = 1
            for side in row["shape"]:
                count *= side
            if count * _BITS[row["dtype"]] // 8 != end - begin:
                raise ValueError(f"{name} is not as long as its shape")
            total += end - begin
        if total > there:
            raise ValueError(f"{total - there} bytes are missing")
        return total
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{str(file)!r} is damaged: {error}", "get the model again") from None


def token_bytes(config: dict[str, Any], cache_bytes: int) -> int:
    """Bytes of one token in the KV cache; 0 where config.json does not tell (another architecture).

    With multi-head latent attention (DeepSeek-V2, section 2.1) one compressed vector is kept for each layer.
    """
    layers = config.get("num_hidden_layers")
    heads = config.get("num_attention_heads")
    if not isinstance(layers, int) or not isinstance(heads, int):
        return 0
    if rank := config.get("kv_lora_rank"):
        return layers * (rank + config.get("qk_rope_head_dim", 0)) * cache_bytes
    kinds = config.get("layer_types")
    if isinstance(kinds, list):  # layers of linear attention keep a state of one size, whatever the length
        layers = sum("linear" not in str(kind) and "mamba" not in str(kind) for kind in kinds)
    size = config.get("head_dim") or config.get("hidden_size", 0) // heads
    return 2 * layers * (config.get("num_key_value_heads") or heads) * size * cache_bytes


def need(cfg: LlmConfig, build: Build) -> Need:
    """What a folder as `llm.vllm_model` takes on each device, and an adapter of `llm.vllm_lora_rank` (vLLM keeps room
    for one in a batch). Raises `ModelError` for damaged files.
    """
    folder = Path(cfg.vllm_model).expanduser()
    config = config_of(folder)
    weights = weight_bytes(folder)
    kind = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    cache = 1 if any("fp8" in arg for arg in _after(cfg.vllm_args, "--kv-cache-dtype")) else _CACHE_BYTES.get(kind, 2)
    context = cfg.vllm_max_model_len or int(config.get("max_position_embeddings") or 0)
    told = _after(cfg.vllm_args, "--tensor-parallel-size") or _after(cfg.vllm_args, "-tp")
    devices = int(told[-1]) if told and told[-1].isdecimal() and int(told[-1]) else 1
    return Need(
        weights // devices, _adapter_bytes(config, cfg.vllm_lora_rank), token_bytes(config, cache) // devices,
        int(_WORKSPACE[build] * 2**30), context,
    )  # fmt: skip


def _after(arguments: list[str], name: str) -> list[str]:
    joined = [arg.partition("=")[2] for arg in arguments if arg.startswith(f"{name}=")]
    return joined + [value for arg, value in pairwise(arguments) if arg == name]


def _adapter_bytes(config: dict[str, Any], rank: int) -> int:
    """One adapter on all linear layers in 16 bits: rank x (in + out) for each of a layer's seven matrices."""
    layers, hidden = config.get("num_hidden_layers", 0), config.get("hidden_size", 0)
    inner, heads = config.get("intermediate_size", 0), config.get("num_attention_heads") or 1
    size = config.get("head_dim") or hidden // heads
    queries, keys = heads * size, (config.get("num_key_value_heads") or heads) * size
    sides = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + inner)
    return layers * sides * rank * 2


def quantized_as(config: dict[str, Any]) -> str:
    """The quantized format of a model by its config.json, "" for plain weights; the word of its maker if unknown."""
    told = config.get("quantization_config")
    if not isinstance(told, dict):
        return ""
    method = str(told.get("quant_method", "")).lower()
    if method != "compressed-tensors":
        return method
    groups = told.get("config_groups")
    first = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
    weights, inputs = first.get("weights") or {}, first.get("input_activations") or {}
    bits = weights.get("num_bits")
    if weights.get("type") == "float":
        return "fp8" if bits != 4 else "mxfp4" if str(weights.get("scale_dtype")).endswith("uint8") else "nvfp4"
    return f"w{bits}a{inputs.get('num_bits', 16)}"


def no_kernel(form: str, hardware: Device) -> str:
    """Why a quantized format is not served on a device, "" where it is (or is not known here)."""
    if form not in _KERNELS:
        return ""
    least, on_cpu = _KERNELS[form]
    instead = f"; {_INSTEAD[form]} is" if form in _INSTEAD else ""
    if not hardware.capability:
        return "" if on_cpu else f"vLLM's CPU build has no kernel for {form}"
    if hardware.capability < least:
        return f"{form} needs CUDA capability {least:g}, {hardware.name} has {hardware.capability:g}{instead}"
    return ""
