"""Fine-tune a causal language model with trl, peft and accelerate: on conversations, preferences, ratings, plain text,
or by rewards for what it answers.

`train` works in a folder: it reads job.json, train.jsonl and dev.jsonl there and leaves the model, loss.jsonl and
outcome.json. So it runs in this process, in one of its own (`python -m llm.finetune FOLDER`) or in several below
`accelerate launch`. What an earlier call left in the folder is gone on with.
"""

import json
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import DatasetError, ModelError, RagstoneError
from core.files import write_whole
from llm.checkpoints import disk_failures, last_whole, restore_encoder, watcher
from llm.examples import Row, read_examples, read_passages, read_preferences, read_ratings
from llm.methods import ASKING, PAIRS, Method, Shape, Stage, check, virtual_tokens
from llm.stages import Reward, dataset, make_trainer
from llm.tokens import Tokenized, as_questions, carry_tokenizer, load_tokenizer, tokenize, windows
from llm.trainers import Settings, check_packing, check_settings, count_steps, load_model, pack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[str, int, int], None]  # (stage, done, total)

JOB, TRAIN, DEV = "job.json", "train.jsonl", "dev.jsonl"
BEFORE, OUTCOME, FAILURE = "before.json", "outcome.json", "failure.json"
SPOKEN = "ragstone: "  # what a line of progress of a child begins with
_MEASURED = 200  # training rows on which the loss before and after is taken
_ANSWERED = 32  # where the model answers them
_WINDOW = 1024  # tokens of plain text in a row, where --max-length does not say
INITIAL = "initial"  # what LoRA began with, where that was taken out of the base
_NO_DEV = "there is no dev set: nothing says when to stop, and the last weights are kept"
_LIBRARIES = ("accelerate", "datasets", "peft", "trl", "tensorboard")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: rows, the longest in tokens, rows left out, steps, rows or packs a step takes."""

    train: int
    dev: int
    longest: int
    left_out: list[str]
    steps: int
    sequences: int
    notes: tuple[str, ...]


def check_libraries(method: Method) -> None:
    """Raise `ModelError` where the packages that training needs are not installed."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advice on faster kernels, also where it is not used
    for name in (*_LIBRARIES, *(["bitsandbytes"] if method in ("qlora", "lora-int8") else [])):
        if find_spec(name) is None:
            raise ModelError(f"training needs the package {name!r}", 'install it: pip install "ragstone[train]"')


def write_job(folder: Path, base: Path, settings: Settings) -> None:
    """Tell `train` what to do; the rows are written beside it as train.jsonl and dev.jsonl."""
    write_whole(folder / JOB, json.dumps({"base": str(base), "settings": asdict(settings)}, indent=1))


def read_job(folder: Path) -> tuple[Path, Settings]:
    """The base model and the settings of a run."""
    job = json.loads((folder / JOB).read_text("utf-8"))
    told = job["settings"]
    return Path(job["base"]), Settings(**(told | {"shape": Shape(**told["shape"])}))


def plan(folder: Path, processes: int = 1) -> Plan:
    """What `train` would do in this folder in so many processes, without loading the weights. Raises as it does."""
    base, settings = read_job(folder)
    rows, dev = _rows(folder, base, settings, load_tokenizer(base))
    sequences = len(pack(rows, settings)) if settings.packing else len(rows.rows)
    steps = count_steps(settings, sequences, processes)
    longest = max(rows.lengths + dev.lengths)
    return Plan(len(rows.rows), len(dev.rows), longest, rows.left_out + dev.left_out, steps, sequences, rows.notes)


def reader(stage: Stage) -> Callable[[Path], Sequence[Row]]:
    """What reads the rows of a stage."""
    if stage in PAIRS:
        return read_preferences
    return {"kto": read_ratings, "pretrain": read_passages}.get(stage, read_examples)


def train(folder: Path, progress: Progress, rewards: Sequence[Reward] = ()) -> dict[str, Any]:
    """Train, measure the loss before and after, save; returns what outcome.json says. `rewards` are those of GRPO.

    Raises `DatasetError` for rows that do not fit, `ModelError` for the base model, its chat template, a loss that is
    no number, memory and disk.
    """
    base, settings = read_job(folder)
    check_libraries(settings.method)
    tokenizer = load_tokenizer(base)
    rows, dev = _rows(folder, base, settings, tokenizer)
    with _quiet(), _memory_failures():
        model = load_model(base, settings)
        with disk_failures(folder):
            trainer = make_trainer(folder, settings, model, tokenizer, rows, dev, rewards)
            _begin(trainer, folder, settings)
            if settings.packing:
                check_packing(trainer, rows)
            return _run(trainer, folder, base, settings, rows, dev, progress)


def _rows(
    folder: Path, base: Path, settings: Settings, tokenizer: "PreTrainedTokenizerBase"
) -> tuple[Tokenized, Tokenized]:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    check(settings.method, settings.shape, config)
    check_settings(settings)
    most = min(config.max_position_embeddings, tokenizer.model_max_length)
    most = min(settings.max_length or most, most) - virtual_tokens(settings.method, settings.shape)
    read, refuse = reader(settings.stage), settings.too_long == "refuse"
    parts: list[Tokenized] = []
    for name in (TRAIN, DEV):
        written: Any = read(folder / name) if (folder / name).exists() else []
        match settings.stage:
            case "pretrain":
                parts.append(windows(tokenizer, written, most if settings.max_length else min(most, _WINDOW)))
            case "grpo" | "distill":
                parts.append(as_questions(tokenizer, written, most, settings.answer_tokens, refuse=refuse))
            case _:
                parts.append(tokenize(tokenizer, written, most, refuse=refuse))
    if not parts[0].rows:
        left = len(parts[0].left_out)
        raise DatasetError(
            f"there is no row to train on ({left} are longer than {most} tokens)" if left else "no row to train on",
            "shorten the rows or take a model with a longer context" if left else "approve rows of the data set first",
        )
    return parts[0], parts[1]


# --- the run ---------------------------------------------------------------------------------------------------------


def _begin(trainer: Any, folder: Path, settings: Settings) -> None:
    """Keep what LoRA begins with, where that is taken out of the base; a run that is gone on with has it already."""
    if settings.shape.init == "default" or last_whole(folder) or not trainer.is_world_process_zero():
        return
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(folder / INITIAL))


def _run(
    trainer: Any, folder: Path, base: Path, settings: Settings, rows: Tokenized, dev: Tokenized,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    from transformers import EarlyStoppingCallback

    def measure() -> None:
        # Not before `train`: a model that was prepared to be evaluated alone is not prepared for several processes.
        found = _losses(trainer, rows, dev, settings)
        if trainer.is_world_process_zero():
            write_whole(folder / BEFORE, json.dumps(found))

    trainer.add_callback(watcher(folder, trainer, progress, measure, events=settings.report == "tensorboard"))
    if dev.rows:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    with _known_state(settings):
        trainer.train(resume_from_checkpoint=last_whole(folder))
    trainer.remove_callback(EarlyStoppingCallback)
    state = trainer.state
    best = Path(state.best_model_checkpoint) if state.best_model_checkpoint else None
    if best and settings.method == "ptuning":
        restore_encoder(trainer.model, best)
    metrics = {
        "before": json.loads((folder / BEFORE).read_text("utf-8")),
        "after": _losses(trainer, rows, dev, settings),
    }
    _save(trainer, folder, base, settings)
    outcome = {
        "steps": state.global_step, "best_step": int(best.name.partition("-")[2]) if best else state.global_step,
        "planned_steps": state.max_steps, "metrics": metrics,
        "rows": {"train": len(rows.rows), "dev": len(dev.rows), "left_out": rows.left_out + dev.left_out},
        "notes": [*rows.notes, *([] if dev.rows else [_NO_DEV])],
        "device": str(trainer.accelerator.device), "bf16": trainer.args.bf16,
        "processes": trainer.accelerator.num_processes,
    }  # fmt: skip
    if trainer.is_world_process_zero():
        write_whole(folder / OUTCOME, json.dumps(outcome))
    return outcome


@contextmanager
def _known_state(settings: Settings) -> Iterator[None]:
    """Let torch read back the state of an optimizer whose projections are objects; else it reads tensors alone."""
    import torch

    if settings.optimizer == "galore":
        from galore_torch.galore_projector import GaLoreProjector as Projector  # pyright: ignore[reportMissingImports]
    elif settings.optimizer == "apollo":
        from apollo_torch.random_projector import GradientProjector as Projector  # pyright: ignore[reportMissingImports]
    else:
        yield
        return
    with torch.serialization.safe_globals([Projector]):
        yield


def _losses(trainer: Any, rows: Tokenized, dev: Tokenized, settings: Settings) -> dict[str, float]:
    """Mean loss of a batch on the training rows (up to 200) and on the dev set, and what else says how good it is.

    Of rows with labels the perplexity; of preferences the share in which the better answer is the likelier one; of
    ratings by how much good answers became likelier than bad ones; of GRPO, instead of a loss, the mean rewards.
    """
    found: dict[str, float] = {}
    most = _ANSWERED if settings.stage in ASKING else _MEASURED
    for name, part in (("train", rows.rows[:most]), ("dev", dev.rows)):
        if not part:
            continue
        told = trainer.evaluate(dataset(part, settings), metric_key_prefix=name)
        if settings.stage == "grpo":
            named = {
                key.split("/")[1]: key for key in told if key.startswith("eval_rewards/") and key.endswith("/mean")
            }
            found[f"{name}_reward"] = told["eval_reward"]
            found |= {f"{name}_{reward}": told[key] for reward, key in named.items()}
            continue
        found[f"{name}_loss"] = told[f"{name}_loss"]
        if "input_ids" in part[0]:
            found[f"{name}_perplexity"] = math.exp(min(told[f"{name}_loss"], 700))
        for key, means in (("eval_rewards/accuracies", "accuracy"), ("eval_rewards/margins", "margin")):
            if key in told and (means == "accuracy") == (settings.stage != "kto"):
                found[f"{name}_{means}"] = told[key]
    return found


def _save(trainer: Any, folder: Path, base: Path, settings: Settings) -> None:
    """The adapter or the whole model, with the tokenizer and the template of the base, byte for byte."""
    saved = folder / "saved"
    trainer.save_model(str(saved))
    if not trainer.is_world_process_zero():
        return
    if settings.method == "full":
        _in_the_base_dtype(base, saved)
    if settings.shape.init != "default":  # [A | A0] and [B | -B0]: what was taken out of the base is put back
        adapted = trainer.accelerator.unwrap_model(trainer.model)
        adapted.save_pretrained(str(saved), path_initial_model_for_weight_conversion=str(folder / INITIAL))
        shutil.rmtree(folder / INITIAL)
    for file in saved.iterdir():
        if file.name == "config.json" or file.name.startswith("adapter_") or ".safetensors" in file.name:
            file.replace(folder / file.name)
    shutil.rmtree(saved)
    carry_tokenizer(base, folder)


def _in_the_base_dtype(base: Path, saved: Path) -> None:
    """Give full weights the type that those of the base have, file by file; they were trained in float32."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False).dtype or torch.float32
    for file in saved.glob("*.safetensors"):
        save_file({name: weights.to(dtype) for name, weights in load_file(file).items()}, file, {"format": "pt"})
    config = json.loads((saved / "config.json").read_text("utf-8"))
    write_whole(saved / "config.json", json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}, indent=2))


@contextmanager
def _memory_failures() -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            "the accelerator's memory is too small for this run",
            "lower --batch (and raise --accumulate), lower --max-length, or take --method qlora; --dry-run estimates",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' bars and advice; warnings that matter here are errors of our own."""
    import warnings

    from datasets import disable_progress_bars, enable_progress_bars
    from datasets.utils.logging import set_verbosity_error
    from transformers.utils import logging as transformers_logging

    set_verbosity_error()
    disable_progress_bars()
    trl = logging.getLogger("trl")
    told = trl.level
    trl.setLevel(logging.ERROR)  # what it says of a collator that is not its own
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
        enable_progress_bars()
        trl.setLevel(told)


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{SPOKEN}{json.dumps([stage, done, total])}", flush=True)  # noqa: T201


def main(folder: Path, rewards: Sequence[Reward] = ()) -> int:
    """Train as a process of its own; what went wrong is told in failure.json."""
    try:
        train(folder, _tell, rewards)
    except RagstoneError as error:
        told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        write_whole(folder / FAILURE, json.dumps(told))
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
