import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError, ModelError
from llm import finetune
from llm.checkpoints import disk_failures
from llm.finetune import plan, train, write_job
from llm.methods import METHODS, Method, Shape
from llm.tokens import load_tokenizer
from llm.trainers import Settings, count_steps
from tests import learning_lm
from tests.conftest import ROOT
from tests.learning_lm import QUESTIONS, RIGHT, WRONG
from tests.needs import needs

pytestmark = pytest.mark.slow

needs("trl", "peft")

LEARNS: dict[Method, float] = {
    "lora": 1e-2, "qlora": 1e-2, "lora-int8": 1e-2, "dora": 1e-2, "prefix": 5e-2, "prompt": 5e-2, "ptuning": 1e-2,
    "ptuning-v2": 5e-2, "llama-adapter": 5e-2, "ia3": 5e-2, "full": 3e-3,
}  # fmt: skip
STEPS = 30

Settled = Callable[..., Path]


class Stopped(Exception):
    """In place of a kill."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each architecture that answers every question wrongly."""
    home = tmp_path_factory.mktemp("bases")
    return {"qwen3": learning_lm.build(home / "qwen3"), "llama": learning_lm.build(home / "llama", kind="llama")}


@pytest.fixture
def settled(bases: dict[str, Path], tmp_path: Path) -> Settled:
    """A folder in which a run is settled on; keywords are settings."""

    def make(name: str = "run", method: Method = "lora", *, rows: str = "", dev: str = "", **keys: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        base = bases["llama" if method == "llama-adapter" else "qwen3"]
        sft = keys.get("stage") != "dpo"
        (folder / "train.jsonl").write_text(rows or (learning_lm.rows() if sft else learning_lm.preferences()))
        if dev:
            (folder / "dev.jsonl").write_text(dev)
        told = {"max_steps": STEPS, "batch_size": 6, "learning_rate": LEARNS[method], "recompute": False} | keys
        write_job(folder, base, Settings(method, **told))
        return folder

    return make


def quiet(stage: str, done: int, total: int) -> None:
    pass


def stop_at(step: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if done >= step:
            raise Stopped

    return progress


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]


def reloaded(folder: Path) -> Any:
    """What a run left, loaded as somebody else would."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    base, settings = finetune.read_job(folder)
    if settings.method == "full":
        return AutoModelForCausalLM.from_pretrained(folder).eval()
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    told = {"quantization_config": quantized} if settings.method == "qlora" else {}
    if settings.method == "lora-int8":
        told = {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **told)
    return PeftModel.from_pretrained(model, str(folder)).eval()


def loss_of(model: Any, folder: Path, answers: tuple[str, ...] = RIGHT) -> float:
    """The mean loss of all answer tokens, by one plain forward pass for each row."""
    import torch

    tokenizer = load_tokenizer(folder)
    total, count = 0.0, 0
    for question, answer in zip(QUESTIONS, answers, strict=True):
        asked = [{"role": "user", "content": question}]
        text = str(tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))
        prompt, said = (tokenizer(part)["input_ids"] for part in (text, f"{answer}<|im_end|>"))
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + said])).logits[0]
        logits = logits[-len(said) - 1 : -1].float()  # a method with virtual tokens may put more in front
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(said), reduction="sum"))
        count += len(said)
    return total / count


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_its_loss_and_loads_as_it_was(settled: Settled, method: Method) -> None:
    folder = settled(method=method)
    done = train(folder, quiet)
    before, after = done["metrics"]["before"]["train_loss"], done["metrics"]["after"]["train_loss"]
    assert after < 0.9 * before
    assert done["metrics"]["after"]["train_perplexity"] == pytest.approx(math.exp(after))
    model = reloaded(folder)
    # Of one batch, so the mean over all tokens. bitsandbytes rounds the scales of 4-bit weights to answer on a CPU.
    assert loss_of(model, folder) == pytest.approx(after, rel=1e-3 if method == "qlora" else 1e-4)
    if method in ("lora", "qlora", "lora-int8", "dora", "full"):
        assert [learning_lm.answer(model, folder, question) for question in QUESTIONS] == list(RIGHT)
    assert json.loads((folder / "outcome.json").read_text()) == done
    names = {file.name for file in folder.iterdir()}
    assert not {"README.md", "training_args.bin", "saved"} & names
    assert (folder / "chat_template.jinja").read_text() == learning_lm.TEMPLATE
    assert [row["step"] for row in curve(folder)] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("method", ["lora", "full", "prefix", "llama-adapter"])
def test_preferences_turn_the_model_to_the_better_answer(settled: Settled, method: Method) -> None:
    folder = settled(method=method, stage="dpo", learning_rate=LEARNS[method] / 2, max_steps=15)
    done = train(folder, quiet)
    assert curve(folder)[0]["loss"] == pytest.approx(math.log(2), rel=0.1)  # as likely as the reference says
    assert done["metrics"]["after"]["train_loss"] < done["metrics"]["before"]["train_loss"]
    assert done["metrics"]["after"]["train_accuracy"] == 1.0
    model = reloaded(folder)
    base = settled("base", method=method, stage="dpo", max_steps=1, learning_rate=0.0)
    train(base, quiet)
    untrained = reloaded(base)
    margin = loss_of(model, folder, WRONG) - loss_of(model, folder, RIGHT)
    assert margin > loss_of(untrained, folder, WRONG) - loss_of(untrained, folder, RIGHT)


def test_recomputing_activations_changes_no_loss(settled: Settled) -> None:
    kept, twice = (settled(f"{flag}", recompute=flag, max_steps=5) for flag in (False, True))
    train(kept, quiet)
    train(twice, quiet)
    assert [row["loss"] for row in curve(twice)] == pytest.approx([row["loss"] for row in curve(kept)], rel=1e-5)


# --- packing ---------------------------------------------------------------------------------------------------------


def test_packed_rows_have_the_loss_of_rows_apart(settled: Settled) -> None:
    apart, packed = (settled(f"{flag}", packing=flag, max_steps=5) for flag in (False, True))
    train(apart, quiet)
    train(packed, quiet)
    assert plan(packed).sequences == 1
    assert [row["loss"] for row in curve(packed)] == pytest.approx([row["loss"] for row in curve(apart)], rel=1e-4)


def test_packing_is_refused_where_rows_would_see_each_other(settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None)
    with pytest.raises(ModelError, match="packed rows see each other"):
        train(settled(packing=True), quiet)


@pytest.mark.parametrize(("method", "stage"), [("prefix", "sft"), ("llama-adapter", "sft"), ("lora", "dpo")])
def test_packing_is_refused_where_the_method_cannot(settled: Settled, method: Method, stage: str) -> None:
    with pytest.raises(ModelError, match=f"{method} with {stage} cannot be trained on packed rows"):
        plan(settled(method=method, stage=stage, packing=True))


def test_packing_without_flash_attention_is_refused_where_its_mask_would_be_huge(settled: Settled) -> None:
    with pytest.raises(ModelError, match="need an attention mask of 1 GB"):
        plan(settled(packing=True, batch_size=33))


# --- stopped runs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_the_same_loss_curve(settled: Settled) -> None:
    whole, killed = (settled(name, shape=Shape(dropout=0.1), batch_size=2) for name in ("whole", "killed"))
    train(whole, quiet)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "llm.finetune", str(killed)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith(f'{finetune.SPOKEN}["train", 11,'):
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "outcome.json").exists()
    kept = [int(file.parent.name.partition("-")[2]) for file in killed.glob("checkpoints/*/whole")]
    assert 6 <= max(kept) <= 12
    first: list[int] = []
    train(killed, lambda _stage, done, _total: first.append(done))
    assert first[0] == max(kept) + 1
    assert curve(killed) == curve(whole)
    one, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in (whole, killed))
    assert one == other


@pytest.mark.parametrize(("method", "stage"), [("ptuning", "sft"), ("qlora", "sft"), ("full", "dpo")])
def test_a_stopped_run_goes_on_with_the_same_loss_curve(settled: Settled, method: Method, stage: str) -> None:
    dev = learning_lm.rows() if stage == "sft" else learning_lm.preferences()
    whole, stopped = (settled(name, method, stage=stage, dev=dev, batch_size=4) for name in ("whole", "stopped"))
    train(whole, quiet)
    with pytest.raises(Stopped):
        train(stopped, stop_at(16))
    half = stopped / "checkpoints" / "checkpoint-18"
    half.mkdir()
    (half / "adapter_model.safetensors").touch()  # a checkpoint that was being written
    train(stopped, quiet)
    assert curve(stopped) == curve(whole)
    file = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert (stopped / file).read_bytes() == (whole / file).read_bytes()


def test_a_run_that_was_stopped_after_its_last_step_is_only_saved(settled: Settled) -> None:
    folder = settled(max_steps=6, dev=learning_lm.rows())
    done = train(folder, quiet)
    curve_, weights = curve(folder), (folder / "adapter_model.safetensors").read_bytes()
    for name in ("outcome.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    steps: list[int] = []
    assert train(folder, lambda _stage, done, _total: steps.append(done)) == done
    assert steps == []
    assert curve(folder) == curve_
    assert (folder / "adapter_model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("method", ["lora", "ptuning"])
def test_training_ends_when_the_dev_set_gains_no_more_and_the_best_weights_are_kept(
    settled: Settled, method: Method
) -> None:
    folder = settled(method=method, dev=learning_lm.rows(answers=WRONG), patience=2)  # the contrary of what is learnt
    done = train(folder, quiet)
    looks = {row["step"]: row["dev_loss"] for row in curve(folder) if "dev_loss" in row}
    assert done["steps"] < STEPS
    assert looks[done["best_step"]] == min(looks.values())
    assert len([step for step in looks if step > done["best_step"]]) == 2
    assert done["metrics"]["after"]["dev_loss"] == pytest.approx(min(looks.values()), rel=1e-5)
    assert loss_of(reloaded(folder), folder, WRONG) == pytest.approx(min(looks.values()), rel=1e-4)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file
    from trl.trainer.sft_trainer import SFTTrainer

    plain = SFTTrainer.compute_loss

    def poisoned(self: Any, *args: Any, **keys: Any) -> Any:
        loss = plain(self, *args, **keys)
        return loss * math.nan if self.model.training and self.state.global_step == 7 else loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", poisoned)
    folder = settled()
    with pytest.raises(ModelError, match="the loss became nan in step 8") as error:
        train(folder, quiet)
    assert "lower --lr" in error.value.hint
    assert max(row["step"] for row in curve(folder)) == 7
    kept = load_file(folder / "checkpoints" / "checkpoint-6" / "adapter_model.safetensors")
    assert all(bool(weights.isfinite().all()) for weights in kept.values())
    assert not (folder / "adapter_model.safetensors").exists()


def test_a_rate_that_blows_the_weights_up_is_said_and_nothing_of_it_is_saved(settled: Settled) -> None:
    folder = settled(method="full", learning_rate=1e38)
    with pytest.raises(ModelError, match=r"the loss became|the weights became"):
        train(folder, quiet)
    assert not list(folder.glob("checkpoints/*/whole"))


@pytest.mark.parametrize("file", ["optimizer.pt", "trainer_state.json"])
def test_a_disk_that_fills_during_a_checkpoint_is_one_error_and_the_run_goes_on_from_the_one_before(
    settled: Settled, file: str
) -> None:
    whole, full = settled("whole", max_steps=12), settled("full", max_steps=12)
    train(whole, quiet)

    def fill(_stage: str, done: int, _total: int) -> None:
        if done == 7:
            broken = full / "checkpoints" / "checkpoint-8"
            broken.mkdir()
            (broken / file).symlink_to("/dev/full")  # where every write finds no space left

    with pytest.raises(ModelError, match="the disk became full") as error:
        train(full, fill)
    assert "--resume" in error.value.hint
    assert (full / "checkpoints" / "checkpoint-7" / "whole").exists()
    assert not (full / "checkpoints" / "checkpoint-8" / "whole").exists()
    train(full, quiet)
    assert curve(full) == curve(whole)


def test_what_libraries_say_of_a_full_disk_is_understood_and_nothing_else(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    with pytest.raises(ModelError, match="the disk became full"), disk_failures(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ModelError, match="cannot be written: Permission denied"), disk_failures(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with pytest.raises(RuntimeError, match="shapes"), disk_failures(tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_rows_that_do_not_fit_are_reported(settled: Settled) -> None:
    long = learning_lm.rows(("Which?",), ("It is red " * 60,)).replace('"id": "0"', '"id": "long"')
    folder = settled(rows=learning_lm.rows() + long, max_length=64, max_steps=1)
    assert plan(folder).left_out == ["long"]
    assert train(folder, quiet)["rows"] == {"train": 6, "dev": 0, "left_out": ["long"]}
    with pytest.raises(DatasetError, match="'long' has"):
        plan(settled("refused", rows=learning_lm.rows() + long, max_length=64, too_long="refuse"))
    with pytest.raises(DatasetError, match=r"no row to train on \(1 are longer than 44 tokens\)"):
        plan(settled("none", "prompt", rows=long, max_length=64))


def test_steps_are_counted_as_the_trainer_does(settled: Settled) -> None:
    folder = settled(max_steps=0, epochs=2.5, batch_size=2, accumulation=2)
    assert plan(folder).steps == 5
    assert train(folder, quiet)["planned_steps"] == 5
    assert count_steps(Settings(epochs=3, batch_size=4), sequences=100, processes=2) == 39


def test_bfloat16_is_trained_in_where_it_is_asked_for(settled: Settled) -> None:
    import torch
    from safetensors.torch import load_file

    folder = settled(precision="bfloat16", max_steps=10)
    done = train(folder, quiet)
    assert done["bf16"] is True
    assert done["metrics"]["after"]["train_loss"] < done["metrics"]["before"]["train_loss"]
    assert {w.dtype for w in load_file(folder / "adapter_model.safetensors").values()} == {torch.float32}


def test_a_model_that_is_none_is_named(settled: Settled, tmp_path: Path) -> None:
    folder = settled()
    base, settings = finetune.read_job(folder)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in base.iterdir():
        (broken / file.name).write_bytes(
            file.read_bytes()[:200] if file.suffix == ".safetensors" else file.read_bytes()
        )
    write_job(folder, broken, settings)
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        train(folder, quiet)


def test_a_process_of_its_own_tells_what_went_wrong(settled: Settled, capsys: pytest.CaptureFixture[str]) -> None:
    folder = settled(rows="\n")
    assert finetune.main(folder) == 2
    told = json.loads((folder / "failure.json").read_text())
    assert told == {
        "kind": "DatasetError",
        "message": "no row to train on",
        "hint": "approve rows of the data set first",
    }
    assert "no row to train on" in capsys.readouterr().err


def test_events_for_tensorboard_are_those_of_the_curve(settled: Settled) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = settled(max_steps=5)
    started = time.time()
    train(folder, quiet)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row["loss"] for row in curve(folder)])
    assert all(event.wall_time >= started - 1 for event in events.Scalars("loss"))
