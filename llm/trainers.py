"""The base model and the trl trainer of a fine-tuning, and the settings that both are made by."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import ModelError
from llm.checkpoints import CHECKPOINTS
from llm.methods import Method, Shape, Stage, can_pack, can_recompute, peft_config
from llm.tokens import UNTRAINED, Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOGGED = 200  # rows of the loss curve
_SAVED = 10  # checkpoints, and looks at the dev set, of a run
_PACK = 1024  # tokens of a packed sequence, at least
_MASKED = 32768  # tokens of a packed batch whose attention mask is built whole: 1 GB


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. `max_steps` 0: as many as the epochs need. `patience`: looks at the dev set without gain.

    `batch_size` rows a device and step, times `accumulation`. `max_length` in tokens, 0: the model's context.
    `recompute`: activations are computed twice instead of kept. `beta` of DPO.
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
    """The base model: float32 below full fine-tuning, since bfloat16 loses small updates; 4 bits below QLoRA.

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


def make_trainer(
    folder: Path, settings: Settings, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
    rows: Tokenized, dev: Tokenized,
) -> Any:  # fmt: skip
    """A trl trainer of rows that are ids already. Raises `ModelError`."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class Guarded:
        """A step whose loss is no number ends the run before the weights are changed or saved."""

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
            step = self.state.global_step + 1  # pyright: ignore[reportAttributeAccessIssue]
            if not bool(torch.isfinite(loss)):
                raise diverged(f"the loss became {loss.item()} in step {step}")
            return loss

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if not all(bool(torch.isfinite(w).all()) for w in model.parameters() if w.requires_grad):
                raise diverged("the weights became NaN or infinite")
            super()._save_checkpoint(model, trial)  # pyright: ignore[reportAttributeAccessIssue]

        def create_model_card(self, **_: Any) -> None:
            """None: what is trained on stays out of the model's folder."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # ids and labels, packed if they are to be

    class Sft(Guarded, SFTTrainer):  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    class Dpo(Guarded, DPOTrainer):  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    packed = pack(rows, settings) if settings.packing else Dataset.from_list(rows.rows)
    held = Dataset.from_list(dev.rows) if dev.rows else None
    arguments = _arguments(folder, settings, len(packed), dev=bool(held))
    adapter = peft_config(settings.method, settings.shape, model.config)
    if settings.stage == "sft":
        args = SFTConfig(**arguments, packing=settings.packing, eval_packing=False, max_length=None)
        trainer: Any = Sft(
            model, args, train_dataset=packed, eval_dataset=held, processing_class=tokenizer, peft_config=adapter
        )
    else:
        args = DPOConfig(**arguments, beta=settings.beta, max_length=None)
        trainer = Dpo(
            model, args=args, train_dataset=packed, eval_dataset=held, processing_class=tokenizer, peft_config=adapter
        )
    trainer.remove_callback(PrinterCallback)
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):  # these want one type; bfloat16 loses updates
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    if settings.method == "llama-adapter":  # it kept the forward of the time before trl put its head on
        trainer.model.base_model.forward = trainer.model.base_model.model.forward
    return trainer


def count_steps(settings: Settings, sequences: int, processes: int) -> int:
    """Steps of a run in which each process takes a batch at a time of so many rows or packs."""
    batches = math.ceil(sequences / settings.batch_size / processes)
    return settings.max_steps or math.ceil(settings.epochs * math.ceil(batches / settings.accumulation))


def _arguments(folder: Path, settings: Settings, sequences: int, *, dev: bool) -> dict[str, Any]:
    """What both trainers are told."""
    total = count_steps(settings, sequences, int(os.environ.get("WORLD_SIZE", 1)))
    logged = max(total // _LOGGED, 1)
    often = max(total // _SAVED // logged, 1) * logged  # so that a resumed run logs means of the same steps
    return {
        "output_dir": str(folder / CHECKPOINTS), "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1, "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size, "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate, "warmup_steps": math.ceil(settings.warmup * total),
        "seed": settings.seed, "use_cpu": not on_gpu(settings), "bf16": in_bf16(settings), "fp16": False,
        "gradient_checkpointing": settings.recompute and can_recompute(settings.method),
        "logging_steps": logged, "logging_nan_inf_filter": False, "save_steps": often, "save_total_limit": 2,
        "eval_strategy": "steps" if dev else "no", "eval_steps": often, "load_best_model_at_end": dev,
        "metric_for_best_model": "eval_loss" if dev else None, "greater_is_better": False if dev else None,
        "restore_callback_states_from_checkpoint": True, "report_to": "none", "disable_tqdm": True,
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
