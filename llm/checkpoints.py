"""The checkpoints of a training: which are whole, what a full disk does to them, and the loss curve beside them."""

import errno
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.files import write_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback

CHECKPOINTS, LOSSES, EVENTS = "checkpoints", "loss.jsonl", "tensorboard"
_WHOLE = "whole"  # a file in each checkpoint that was written to its end
_ENCODER = "prompt_encoder.safetensors"
_KEPT = ("step", "epoch", "loss", "grad_norm", "learning_rate")
_RENAMED = {
    "eval_loss": "dev_loss", "rewards/accuracies": "accuracy", "rewards/margins": "margin",
    "eval_rewards/accuracies": "dev_accuracy", "eval_rewards/margins": "dev_margin", "reward": "reward",
    "eval_reward": "dev_reward",
}  # fmt: skip
# What torch and safetensors, which write with their own code, say of a disk that takes no more.
_FULL = re.compile(r"No space left|os error 28|Disk quota|PytorchStreamWriter|inline_container|iostream error")


def last_whole(folder: Path) -> str | None:
    """The last checkpoint that was written to its end; those that were not are removed."""
    checkpoints = folder / CHECKPOINTS
    for checkpoint in checkpoints.glob("checkpoint-*"):
        if not (checkpoint / _WHOLE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)  # several processes may be at it
    steps = sorted(int(file.parent.name.partition("-")[2]) for file in checkpoints.glob(f"checkpoint-*/{_WHOLE}"))
    return str(checkpoints / f"checkpoint-{steps[-1]}") if steps else None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def curve(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The rows of the loss curve in a trainer's history; times and what counts anew after a resume are left out."""
    rows = []
    for row in history:
        if "loss" in row or "eval_loss" in row:
            kept = {name: row[name] for name in _KEPT if name in row}
            rows.append(kept | {told: row[name] for name, told in _RENAMED.items() if name in row})
    return rows


def watcher(
    folder: Path, trainer: Any, progress: Callable[[str, int, int], None], at_first: Callable[[], None], *, events: bool
) -> "TrainerCallback":
    """Tells how far it is, writes loss.jsonl (with `events` TensorBoard's too), marks checkpoints that are whole.

    Of several processes, the first one does. `at_first` is called by all, before the first step of all.
    """
    from torch.utils.tensorboard import SummaryWriter
    from transformers import TrainerCallback

    first = trainer.is_world_process_zero()

    class Watcher(TrainerCallback):
        writer: SummaryWriter | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step:
                restore_encoder(trainer.model, Path(args.output_dir) / f"checkpoint-{state.global_step}")
            else:
                at_first()
            if first and events:
                self.writer = SummaryWriter(str(folder / EVENTS), purge_step=state.global_step + 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if first:
                progress("train", state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if first and curve(state.log_history[-1:]):
                _write_curve(folder / LOSSES, self.writer, curve(state.log_history))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if first:
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                _save_encoder(trainer.model, checkpoint)
                (checkpoint / _WHOLE).touch()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.writer:
                self.writer.close()
            self.writer = None

    return Watcher()


def _write_curve(file: Path, writer: "SummaryWriter | None", rows: list[dict[str, float]]) -> None:
    write_whole(file, "".join(json.dumps(row) + "\n" for row in rows))
    for name, value in rows[-1].items() if writer else ():
        if writer and name != "step":
            writer.add_scalar(name, value, int(rows[-1]["step"]))


def _save_encoder(model: Any, checkpoint: Path) -> None:
    """Keep P-tuning's encoder: PEFT saves the prompt that it makes, which is enough to answer and not to go on."""
    from safetensors.torch import save_file

    if weights := _encoder(model):
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, checkpoint / _ENCODER)


def restore_encoder(model: Any, checkpoint: Path) -> None:
    """Bring back what P-tuning's encoder was at a checkpoint; nothing for other methods."""
    from safetensors.torch import load_file

    if weights := _encoder(model):
        for name, value in load_file(checkpoint / _ENCODER).items():
            weights[name].data.copy_(value)


def _encoder(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.named_parameters() if ".mlp_head." in name or _embedding(name)}


def _embedding(name: str) -> bool:
    return name.startswith("prompt_encoder.") and name.endswith(".embedding.weight")


@contextmanager
def disk_failures(folder: Path) -> Iterator[None]:
    """Errors of the disk, as a `ModelError` in words."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full or _FULL.search(str(error)):
            raise ModelError(
                f"the disk became full while {str(folder)!r} was written; the checkpoint before is whole",
                "free some space, or set RAGSTONE_DATA to another disk; then run it again with --resume",
            ) from error
        if isinstance(error, OSError) and error.errno:
            raise ModelError(
                f"{str(folder)!r} cannot be written: {error.strerror}", "check its permissions, then --resume"
            ) from error
        raise
