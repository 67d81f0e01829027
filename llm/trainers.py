"""The settings of a fine-tuning, the base model that they load, and what every trainer is told by them."""

import math
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import ConfigError, ModelError
from llm.checkpoints import CHECKPOINTS
from llm.methods import ASKING, Method, Shape, Stage, can_pack, can_recompute, virtual_tokens
from llm.tokens import UNTRAINED, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Optimizer = Literal["adamw", "adamw8bit", "adafactor", "galore", "apollo"]
Report = Literal["tensorboard", "wandb", "none"]

# transformers' names, and the package that each needs beside it
_OPTIMIZERS: dict[Optimizer, tuple[str, str]] = {
    "adamw": ("adamw_torch_fused", ""), "adamw8bit": ("adamw_bnb_8bit", "bitsandbytes"), "adafactor": ("adafactor", ""),
    "galore": ("galore_adamw", "galore_torch"), "apollo": ("apollo_adamw", "apollo_torch"),
}  # fmt: skip
_PROJECTED = ("galore", "apollo")  # their state is of low rank, for matrices of full fine-tuning
_LOGGED = 200  # rows of the loss curve
_SAVED = 10  # checkpoints, and looks at the dev set, of a run
_PACK = 1024  # tokens of a packed sequence, at least
_MASKED = 32768  # tokens of a packed batch whose attention mask is built whole: 1 GB


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. `max_steps` 0: as many as the epochs need. `patience`: looks at the dev set without gain.

    `batch_size` rows a device and step, times `accumulation`. `max_length` in tokens, 0: the model's context.
    `recompute`: activations are computed twice instead of kept. `beta` of DPO, ORPO, SimPO, KTO, GRPO and
    distillation, `gamma` the margin that SimPO aims at. `neftune`: noise on the embeddings (Jain et al. 2023), 0 for
    none. Of GRPO and distillation: answers to a question, of GRPO so many, drawn at `temperature`, of at most
    `answer_tokens`. `teacher`: the folder of the model that distillation learns from.
    """

    method: Method = "lora"
    stage: Stage = "sft"
    shape: Shape = field(default_factory=Shape)
    epochs: float = 3.0
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 2e-4
    max_steps: int = 0
    warmup: float = 0.05
    patience: int = 3
    seed: int = 0
    max_length: int = 0
    too_long: Literal["leave-out", "refuse"] = "leave-out"
    packing: bool = False
    recompute: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu"] = "auto"
    beta: float = 0.1
    gamma: float = 1.0
    neftune: float = 0.0
    optimizer: Optimizer = "adamw"
    report: Report = "tensorboard"
    answers: int = 4
    answer_tokens: int = 256
    temperature: float = 1.0
    teacher: str = ""

    @property
    def sequences(self) -> int:
        """Sequences of a batch on a device: rows, or the answers to them."""
        return self.batch_size * (self.answers if self.stage == "grpo" else 1)


def check_settings(settings: Settings) -> None:
    """Raise `ConfigError` for settings that do not go together, `ModelError` for a package that one of them needs."""
    method, stage = settings.method, settings.stage
    if settings.neftune and stage != "sft":
        raise ConfigError(f"--neftune is noise for sft, and the stage is {stage}", "leave it out")
    if settings.optimizer in _PROJECTED and method != "full":
        raise ConfigError(
            f"--optimizer {settings.optimizer} is for whole matrices, and {method} trains few weights",
            "take --method full, or leave it out",
        )
    if settings.shape.init == "loftq" and not on_gpu(settings):
        raise ConfigError("peft computes what LoftQ begins with on a GPU, and none trains here", "leave --init out")
    if stage == "kto" and settings.batch_size < 2:
        raise ConfigError("KTO compares the answers of a batch with each other's questions", "take --batch 2 or more")
    if stage == "grpo" and settings.answers < 2:
        raise ConfigError("GRPO compares several answers to a question", "take --answers 2 or more")
    if stage in ASKING and (method == "llama-adapter" or virtual_tokens(method, settings.shape)):
        raise ConfigError(f"{method} cannot be trained by {stage}, which answers as it trains", "take --method lora")
    if (stage == "distill") != bool(settings.teacher):
        raise ConfigError("--teacher and --stage distill go together", "give both, or neither")
    if stage == "distill" and settings.beta > 1:
        raise ConfigError(
            f"--beta of distill is between 0 and 1, not {settings.beta}", "see docs/methods/distillation.md"
        )
    needed = [_OPTIMIZERS[settings.optimizer][1], "wandb" if settings.report == "wandb" else ""]
    for package in filter(None, needed):
        if find_spec(package) is None:
            raise ModelError(
                f"{settings.optimizer if package != 'wandb' else '--report wandb'} needs the package {package!r}",
                f"install it: pip install {package.replace('_', '-')}",
            )


def on_gpu(settings: Settings) -> bool:
    """Whether a GPU trains."""
    import torch

    return settings.device == "auto" and torch.cuda.is_available()


def _flash(settings: Settings) -> bool:
    from transformers.utils.import_utils import is_flash_attn_2_available

    return on_gpu(settings) and is_flash_attn_2_available()


def in_bf16(settings: Settings) -> bool:
    """Whether the kernels work in bfloat16 on the device that is trained on."""
    import torch

    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    return on_gpu(settings) and torch.cuda.is_bf16_supported()


def load_model(base: Path, settings: Settings) -> "PreTrainedModel":
    """The base model: float32 below full fine-tuning, since bfloat16 loses small updates; 4 bits below QLoRA,
    8 below LoRA over LLM.int8().

    Raises `ModelError` where it cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = torch.bfloat16 if in_bf16(settings) else torch.float32
    quantized = None
    if settings.method == "qlora":
        quantized = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
        )
    elif settings.method == "lora-int8":  # Dettmers et al. 2022: outlying columns are computed in 16 bits
        quantized = BitsAndBytesConfig(load_in_8bit=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=torch.float32 if settings.method == "full" else compute, quantization_config=quantized,
            attn_implementation="flash_attention_2" if settings.packing and _flash(settings) else None,
            local_files_only=True, trust_remote_code=False, use_safetensors=True,
        )  # fmt: skip
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{str(base)!r} cannot be loaded as a causal language model: {str(error).splitlines()[0]}",
            "give --base the folder of a model in transformers' form, with safetensors",
        ) from error
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # else each look at the dev set rounds the 4-bit scales anew
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no attribute of Module's own
    return model


def count_steps(settings: Settings, sequences: int, processes: int) -> int:
    """Steps of a run in which each process takes a batch at a time of so many rows or packs."""
    if settings.stage in ASKING:  # a step takes whole batches alone
        whole = sequences // (settings.batch_size * settings.accumulation * processes)
        return settings.max_steps or math.ceil(settings.epochs * whole)
    batches = math.ceil(sequences / settings.batch_size / processes)
    return settings.max_steps or math.ceil(settings.epochs * math.ceil(batches / settings.accumulation))


def arguments(folder: Path, settings: Settings, sequences: int, *, dev: bool) -> dict[str, Any]:
    """What all trainers are told."""
    total = count_steps(settings, sequences, int(os.environ.get("WORLD_SIZE", 1)))
    logged = max(total // _LOGGED, 1)
    judged = "eval_reward" if settings.stage == "grpo" else "eval_loss"
    often = max(total // _SAVED // logged, 1) * logged  # so that a resumed run logs means of the same steps
    return {
        "output_dir": str(folder / CHECKPOINTS), "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1, "per_device_train_batch_size": settings.sequences,
        "per_device_eval_batch_size": settings.batch_size, "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate, "warmup_steps": math.ceil(settings.warmup * total),
        "seed": settings.seed, "use_cpu": not on_gpu(settings), "bf16": in_bf16(settings), "fp16": False,
        "gradient_checkpointing": settings.recompute and can_recompute(settings.method),
        "logging_steps": logged, "logging_nan_inf_filter": False, "save_steps": often, "save_total_limit": 2,
        "eval_strategy": "steps" if dev else "no", "eval_steps": often, "load_best_model_at_end": dev,
        "metric_for_best_model": judged if dev else None,
        "greater_is_better": judged != "eval_loss" if dev else None, "optim": _OPTIMIZERS[settings.optimizer][0],
        "report_to": "wandb" if settings.report == "wandb" else "none",
        "optim_target_modules": [r".*(attn|attention|mlp).*"] if settings.optimizer in _PROJECTED else None,
        "restore_callback_states_from_checkpoint": True, "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip


def pack(rows: Tokenized, settings: Settings) -> Any:
    """Whole rows put together up to the longest row's length, at least 1024 tokens (best fit; Ding et al. 2024).

    Raises `ModelError` where the method cannot be trained so, or attention would need a mask that is too large.
    """
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    if not can_pack(settings.method, settings.stage):
        raise ModelError(
            f"{settings.method} with {settings.stage} cannot be trained on packed rows: what it adds stands in front "
            "of one row, and preferences are rows in pairs",
            "leave --packing out",
        )
    most = max(max(rows.lengths), settings.max_length or _PACK)
    if most * settings.batch_size > _MASKED and not _flash(settings):
        raise ModelError(
            f"{settings.batch_size} packs of {most} tokens need an attention mask of "
            f"{(most * settings.batch_size) ** 2 / 1e9:.0f} GB, since flash attention is not installed",
            "lower --batch, install flash-attn, or leave --packing out",
        )
    return pack_dataset(Dataset.from_list(rows.rows), most, "bfd")


def check_packing(trainer: Any, rows: Tokenized) -> None:
    """Raise `ModelError` where a row's loss is another one behind a second row: its attention crosses the border."""
    import torch

    first, second = (rows.rows[place] for place in (0, -1))
    model, device = trainer.model, trainer.accelerator.device
    losses = []
    was = model.training
    model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for parts in ([second], [first, second]):
            ids = torch.tensor([[token for row in parts for token in row["input_ids"]]], device=device)
            places = torch.tensor([[n for row in parts for n in range(len(row["input_ids"]))]], device=device)
            logits = model(input_ids=ids, position_ids=places, use_cache=False).logits[0].float()
            labels = torch.tensor(second["labels"], device=device)
            start = logits.shape[0] - len(labels)
            losses.append(torch.nn.functional.cross_entropy(logits[start:-1], labels[1:], ignore_index=UNTRAINED))
    model.train(was)
    alone, behind = (float(loss) for loss in losses)
    if abs(alone - behind) > (0.05 if trainer.args.bf16 else 1e-3) * max(alone, 1.0):
        raise ModelError(
            f"packed rows see each other in this model on this machine: a row's loss is {alone:.4f} alone and "
            f"{behind:.4f} behind another one",
            "leave --packing out",
        )


def diverged(what: str) -> ModelError:
    """What is raised where training came to a number that is none."""
    return ModelError(
        f"{what}: the run is stopped, and its last good checkpoint is kept",
        "look at the rows and at loss.jsonl, lower --lr, and start anew",
    )
