"""What a training takes, reckoned before it is begun: parameters, memory."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.methods import ASKING, PAIRS, REFERRED, Method, Shape, peft_config
from llm.trainers import Optimizer, Settings

_NF4_BITS = 4.127  # a weight in NF4 with double quantization (Dettmers et al. 2023, section 3)
# Bytes of the optimizer's state for a trained weight: two moments in 32 or 8 bits; a row and a column of each matrix.
_STATE: dict[Optimizer, int] = {"adamw": 8, "adamw8bit": 2, "adafactor": 0}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device, without sharding, allocator and kernels' own."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters: of the base, of these in linear layers other than the head, and those that are trained."""

    base: int
    linear: int
    trainable: int


def size(base: Path, method: Method, shape: Shape) -> Size:
    """Counted on a model without weights, so that a large one takes no memory."""
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        head = model.get_output_embeddings()
        linear = sum(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        )
        total = sum(weights.numel() for weights in model.parameters())
        adapter = peft_config(method, shape, config)
        trained = get_peft_model(model, adapter) if adapter else model
    return Size(total, linear, sum(weights.numel() for weights in trained.parameters() if weights.requires_grad))


def not_reckoned(settings: Settings) -> list[str]:
    """What of a run's memory `memory` does not know, in words."""
    notes = []
    if settings.optimizer not in _STATE:
        notes.append(f"the state of {settings.optimizer} is of low rank, and counted as AdamW's: less is taken")
    if settings.teacher:
        notes.append("the teacher's weights are not counted")
    if settings.stage in ASKING:
        notes.append("the cache that answers are drawn with is not counted")
    return notes


def memory(counted: Size, config: Any, settings: Settings, *, length: int, wide: bool) -> Memory:
    """What training takes on one device.

    weights: base parameters x 2 bytes (bfloat16), x 4 (`wide`, float32; and full fine-tuning, whose weights stay
    float32 below the bfloat16 of its kernels), or 4.127 bits of QLoRA's linear layers, 8 of LLM.int8()'s; the adapter's
    own; with DPO, KTO or a weight on GRPO's divergence, and full fine-tuning, the reference model too. gradients:
    trained x 4 bytes. optimizer: AdamW's two moments, trained x 8 (Rajbhandari et al. 2020, ZeRO, section 3.1), x 2 in
    8 bits.
    activations: 34 s b h bytes per layer in 16 bits, without the attention matrix, which is not kept by fused
    attention; with recomputation 2 s b h per layer and one layer whole (Korthikanti et al. 2022, equations 2 and
    section 5). s tokens of the longest row, b rows (twice as many for pairs, for each answer of GRPO), h hidden size.
    The logits are computed in tiles and do not count, but for ORPO and SimPO: s b v x 8 bytes for v tokens of the
    vocabulary (they and their gradients in float32).
    """
    method, stage = settings.method, settings.stage
    full, rows = method == "full", settings.sequences * (2 if stage in PAIRS else 1)
    held = 4 if wide or full else 2
    weights = counted.base * held
    if method == "qlora":
        weights = math.ceil(counted.linear * _NF4_BITS / 8) + (counted.base - counted.linear) * held
    if method == "lora-int8":
        weights = counted.linear + (counted.base - counted.linear) * held
    weights += 0 if full else counted.trainable * 4
    weights += counted.base * held if full and (stage in REFERRED or (stage == "grpo" and settings.beta)) else 0
    layer = length * rows * config.hidden_size * (2 if wide else 1)
    layers = config.num_hidden_layers
    activations = layer * (2 * layers + 34) if settings.recompute else layer * 34 * layers
    activations += length * rows * config.vocab_size * 8 if stage in ("orpo", "simpo") else 0
    return Memory(weights, counted.trainable * 4, counted.trainable * _STATE.get(settings.optimizer, 8), activations)
