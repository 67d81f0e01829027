"""The trl trainer of each stage, over rows that are ids already.

Of trl 1.16: SFT, DPO, KTO, GRPO and distillation in its trainers, ORPO and SimPO (as a loss of CPO) in
`trl.experimental`. PPO is in neither; GRPO stands in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from llm.methods import ASKING, peft_config
from llm.tokens import UNTRAINED, Tokenized, load_tokenizer
from llm.trainers import Settings, arguments, diverged, load_model, pack

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Reward = Callable[..., list[float | None]]
"""As GRPO calls it: `prompts` and `completions` as messages, and a list for each other column of the rows; a number
for each completion, None where it says nothing."""


def make_trainer(
    folder: Path, settings: Settings, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase",
    rows: Tokenized, dev: Tokenized, rewards: Sequence[Reward] = (),
) -> Any:  # fmt: skip
    """A trl trainer of rows that are ids already; messages, where the model answers. Raises `ModelError`."""
    from transformers import PrinterCallback

    packed = pack(rows, settings) if settings.packing else dataset(rows.rows, settings)
    held = dataset(dev.rows, settings) if dev.rows else None
    told = arguments(folder, settings, len(packed), dev=bool(held))
    trainer_class, args = _trainer(settings, told, tokenizer)
    more: dict[str, Any] = {}
    if settings.stage in ASKING:
        _check_batches(settings, len(packed), args.world_size)
    if settings.stage == "grpo":
        more = {"reward_funcs": list(rewards)}
    elif settings.stage == "distill":
        more = {"teacher_model": _teacher(settings, tokenizer)}
    elif settings.stage in ("orpo", "simpo"):
        more = {"data_collator": _collator(tokenizer)}
    trainer = trainer_class(
        model=model, args=args, train_dataset=packed, eval_dataset=held, processing_class=tokenizer,
        peft_config=peft_config(settings.method, settings.shape, model.config), **more,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    if settings.shape.init == "loftq":
        from peft import replace_lora_weights_loftq

        replace_lora_weights_loftq(trainer.model, str(model.config._name_or_path))
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):  # these want one type; bfloat16 loses updates
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    if settings.method == "llama-adapter" and settings.stage not in ("orpo", "simpo"):
        # it kept the forward of the time before trl put its head on
        trainer.model.base_model.forward = trainer.model.base_model.model.forward
    return trainer


def dataset(rows: list[dict[str, Any]], settings: Settings) -> "Dataset":
    """Rows as a trainer of this stage takes them, in training and to be measured on."""
    from datasets import Dataset

    found = Dataset.from_list(rows)
    if settings.stage != "kto":
        return found

    def turned(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        ids = batch["completion_ids"]
        return batch | {"KL_completion_ids": [ids[-1], *ids[:-1]]}

    # KTO takes rows in their order, each answer beside the next question of its batch (Ethayarajh et al. 2024, 4.1).
    return found.shuffle(seed=settings.seed).map(turned, batched=True, batch_size=settings.batch_size)


def _trainer(settings: Settings, told: dict[str, Any], tokenizer: "PreTrainedTokenizerBase") -> tuple[Any, Any]:
    """The class of the trainer and its arguments."""
    match settings.stage:
        case "sft" | "pretrain":
            from trl.trainer.sft_config import SFTConfig
            from trl.trainer.sft_trainer import SFTTrainer

            args = SFTConfig(
                **told, packing=settings.packing, eval_packing=False, max_length=None,
                neftune_noise_alpha=settings.neftune or None,
            )  # fmt: skip
            return _guarded(SFTTrainer), args
        case "dpo":
            from trl.trainer.dpo_config import DPOConfig
            from trl.trainer.dpo_trainer import DPOTrainer

            return _guarded(DPOTrainer), DPOConfig(**told, beta=settings.beta, max_length=None)
        case "kto":
            from trl.trainer.kto_config import KTOConfig
            from trl.trainer.kto_trainer import KTOTrainer

            return _guarded(KTOTrainer), KTOConfig(**told, beta=settings.beta, max_length=None)
        case "orpo":
            from trl.experimental.orpo import ORPOConfig

            args = ORPOConfig(
                **told, beta=settings.beta, max_length=tokenizer.model_max_length, padding_value=_filler(tokenizer)
            )
            args.remove_unused_columns = False
            return _guarded(_orpo()), args
        case "simpo":
            from trl.experimental.cpo import CPOConfig, CPOTrainer

            args = CPOConfig(
                **told, beta=settings.beta, simpo_gamma=settings.gamma, loss_type="simpo", cpo_alpha=0.0,
                max_length=tokenizer.model_max_length,
            )  # fmt: skip
            args.remove_unused_columns = False
            return _guarded(CPOTrainer), args
        case "grpo":
            from trl.trainer.grpo_config import GRPOConfig
            from trl.trainer.grpo_trainer import GRPOTrainer

            args = GRPOConfig(
                **told, beta=settings.beta, num_generations=settings.answers, num_generations_eval=1,
                max_completion_length=settings.answer_tokens, temperature=settings.temperature,
            )  # fmt: skip
            return _guarded(GRPOTrainer), args
        case "distill":
            from trl.trainer.distillation_config import DistillationConfig
            from trl.trainer.distillation_trainer import DistillationTrainer

            args = DistillationConfig(
                **told, beta=settings.beta, max_completion_length=settings.answer_tokens,
                temperature=settings.temperature,
            )  # fmt: skip
            return _guarded(DistillationTrainer), args


def _guarded(trainer: Any) -> Any:
    """A trainer that takes rows as they are, and saves nothing that is no number and nothing of its own."""
    import torch

    class Guarded(trainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            """A step whose loss is no number ends the run before the weights are changed or saved."""
            loss = super().training_step(*args, **kwargs)
            if not bool(torch.isfinite(loss)):
                raise diverged(f"the loss became {loss.item()} in step {self.state.global_step + 1}")
            return loss

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if not all(bool(torch.isfinite(w).all()) for w in model.parameters() if w.requires_grad):
                raise diverged("the weights became NaN or infinite")
            super()._save_checkpoint(model, trial)

        def create_model_card(self, **_: Any) -> None:
            """None: what is trained on stays out of the model's folder."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # ids and labels, packed if they are to be

        def tokenize_row(self, row: Any) -> Any:
            return row

    return Guarded


def _orpo() -> Any:
    from trl.experimental.orpo import ORPOTrainer

    class AnswersOnly(ORPOTrainer):
        def concatenated_forward(self, model: Any, batch: Any) -> Any:
            """As Hong et al. 2024, equation 6: the loss of the answer given its prompt. trl's is of the prompt too."""
            found = super().concatenated_forward(model, batch)
            return (*found[:4], -found[0].mean(), *found[5:])

    return AnswersOnly


def _filler(tokenizer: "PreTrainedTokenizerBase") -> Any:
    """The id that stands where no token does."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id


def _collator(tokenizer: "PreTrainedTokenizerBase") -> Callable[[list[dict[str, list[int]]]], dict[str, Any]]:
    """Pairs as ORPO and CPO take them: each answer behind its prompt, padded, labels of the answer alone."""
    import torch

    filler = _filler(tokenizer)

    def padded(lists: list[list[int]], value: Any) -> Any:
        tensors = [torch.tensor(each) for each in lists]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for side in ("chosen", "rejected"):
            whole = [row["prompt_ids"] + row[f"{side}_ids"] for row in rows]
            labels = [[UNTRAINED] * len(row["prompt_ids"]) + row[f"{side}_ids"] for row in rows]
            batch[f"{side}_input_ids"] = padded(whole, filler)
            batch[f"{side}_attention_mask"] = padded([[1] * len(ids) for ids in whole], 0)
            batch[f"{side}_labels"] = padded(labels, UNTRAINED)
        return batch

    return collate


def _teacher(settings: Settings, tokenizer: "PreTrainedTokenizerBase") -> Any:
    """The model that is learnt from. Raises `ModelError` where it cannot be loaded or has another vocabulary."""
    folder = Path(settings.teacher)
    if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise ModelError(
            f"the teacher {settings.teacher!r} has another vocabulary than the student, so tokens cannot be compared",
            "take a teacher of the student's family, or let it answer a data set: `ragstone dataset distil`",
        )
    return load_model(folder, replace(settings, method="lora", packing=False)).requires_grad_(False)


def _check_batches(settings: Settings, rows: int, processes: int) -> None:
    """Raise `ModelError` where no step would be taken: what does not fill one is left out."""
    step = settings.batch_size * settings.accumulation * processes
    if rows < step:
        raise ModelError(
            f"a step of {settings.stage} takes {step} questions ({settings.batch_size} a device), and there are {rows}",
            "lower --batch or --accumulate, or give more rows",
        )
