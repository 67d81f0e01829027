"""Stages beside SFT and DPO, what LoRA begins with, and other optimizers: a few steps each on a model that is wrong."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import DatasetError, ModelError
from llm import finetune
from llm.finetune import plan, train, write_job
from llm.methods import Init, Stage
from llm.tokens import load_tokenizer
from llm.trainers import Optimizer, Settings, Shape
from tests import learning_lm
from tests.learning_lm import QUESTIONS, RIGHT, WRONG
from tests.needs import needs

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.slow

needs("trl", "peft")

Settled = Callable[..., Path]
PREFERRED = ("orpo", "simpo")


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
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learning_lm.build(tmp_path_factory.mktemp("base"))


@pytest.fixture
def settled(base: Path, tmp_path: Path) -> Settled:
    """A folder in which a run is settled on; keywords are settings."""

    def make(rows: str, name: str = "run", **keys: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.jsonl").write_text(rows)
        told = {"max_steps": 4, "batch_size": 6, "learning_rate": 1e-2, "recompute": False}
        write_job(folder, base, Settings(**told | keys))
        return folder

    return make


def quiet(stage: str, done: int, total: int) -> None:
    pass


def stop_at_two(stage: str, done: int, total: int) -> None:
    if done == 2:
        raise Stopped


def mean_logps(base: Path, answers: tuple[str, ...]) -> "torch.Tensor":
    """Of each answer, the mean log probability of its tokens after its question, by one plain pass."""
    import torch
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), load_tokenizer(base)
    found = []
    for question, answer in zip(QUESTIONS, answers, strict=True):
        asked = [{"role": "user", "content": question}]
        text = str(tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))
        prompt, said = (tokenizer(part)["input_ids"] for part in (text, f"{answer}<|im_end|>"))
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None]).mean())
    return torch.stack(found)


def ratings() -> str:
    """Each of the pairs' answers by itself, as lines of a training file."""
    lines = []
    for pair in map(json.loads, learning_lm.preferences().splitlines()):
        for side in ("chosen", "rejected"):
            row = {
                "id": f"{pair['id']}-{side}",
                "prompt": pair["prompt"],
                "completion": pair[side],
                "file": pair["file"],
            }
            lines.append(json.dumps(row | {"label": side == "chosen"}, ensure_ascii=False) + "\n")
    return "".join(lines)


# --- stages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", PREFERRED)
def test_a_loss_of_pairs_is_that_of_its_paper_and_falls(settled: Settled, base: Path, stage: Stage) -> None:
    import torch

    beta = 2.0 if stage == "simpo" else 0.1
    done = train(settled(learning_lm.preferences(), stage=stage, beta=beta, gamma=1.0), quiet)["metrics"]
    good, bad = mean_logps(base, RIGHT), mean_logps(base, WRONG)
    if stage == "simpo":  # Meng et al. 2024, equation 6
        loss = -torch.nn.functional.logsigmoid(beta * (good - bad) - 1.0).mean()
    else:  # Hong et al. 2024, equations 6 and 7: the loss of the answer given its prompt, and of the odds ratio
        odds = (good - bad) - (torch.log1p(-good.exp()) - torch.log1p(-bad.exp()))
        loss = -good.mean() - beta * torch.nn.functional.logsigmoid(odds).mean()
    assert done["before"]["train_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert done["after"]["train_loss"] < done["before"]["train_loss"]
    assert set(done["before"]) == {"train_loss", "train_accuracy"}


def test_ratings_make_good_answers_likelier_than_bad_ones(settled: Settled) -> None:
    done = train(settled(ratings(), stage="kto"), quiet)["metrics"]
    assert done["before"] == {"train_loss": pytest.approx(0.5), "train_margin": pytest.approx(0.0, abs=1e-6)}
    assert done["after"]["train_margin"] > 0
    assert done["after"]["train_loss"] < 0.5


def test_pairs_are_two_ratings_each(tmp_path: Path) -> None:
    from llm.examples import read_ratings

    (tmp_path / "pairs.jsonl").write_text(learning_lm.preferences())
    (tmp_path / "ratings.jsonl").write_text(ratings())
    assert read_ratings(tmp_path / "pairs.jsonl") == read_ratings(tmp_path / "ratings.jsonl")
    (tmp_path / "none.jsonl").write_text('{"id": "1", "label": true}\n')
    with pytest.raises(DatasetError, match=r"none\.jsonl:1: prompt"):
        read_ratings(tmp_path / "none.jsonl")


def test_documents_are_learnt_in_windows_that_lose_no_token(settled: Settled, base: Path) -> None:
    texts = [f"In the {place} sand is yellow and coal is black. " * 8 for place in ("north", "south", "east")]
    rows = "".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    folder = settled(rows, stage="pretrain", max_length=64, packing=True, max_steps=3)
    told = finetune._rows(folder, base, finetune.read_job(folder)[1], tokenizer := load_tokenizer(base))[0]
    assert max(told.lengths) <= 64
    learnt = [token for row in told.rows for token in row["labels"]]
    assert tokenizer.decode(learnt) == "".join(f"{text}<|im_end|>" for text in texts)
    assert plan(folder).sequences <= len(told.rows)
    done = train(folder, quiet)["metrics"]
    assert done["after"]["train_perplexity"] < 0.5 * done["before"]["train_perplexity"]


def lengths(completions: list[Any], **_: Any) -> list[float | None]:
    return [float(len(said[-1]["content"])) for said in completions]


def starts_as_gold(completions: list[Any], gold: list[str], **_: Any) -> list[float | None]:
    return [float(said[-1]["content"][:6] == right[:6]) for said, right in zip(completions, gold, strict=True)]


def test_grpo_is_measured_by_its_rewards_and_goes_on_after_a_kill(settled: Settled) -> None:
    told = {"stage": "grpo", "answers": 2, "answer_tokens": 8, "batch_size": 3, "max_steps": 3}
    rewards = (starts_as_gold, lengths)
    folder = settled(learning_lm.rows(), **told)
    with pytest.raises(Stopped):
        train(folder, stop_at_two, rewards)
    done = train(folder, quiet, rewards)
    for when in ("before", "after"):
        found = done["metrics"][when]
        assert set(found) == {"train_reward", "train_starts_as_gold", "train_lengths"}
        assert found["train_reward"] == pytest.approx(found["train_starts_as_gold"] + found["train_lengths"], rel=1e-4)
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["reward"] > 0 for row in rows)


def test_grpo_refuses_rows_that_fill_no_step(settled: Settled) -> None:
    with pytest.raises(ModelError, match="takes 7 questions") as error:
        train(settled(learning_lm.rows(), stage="grpo", batch_size=7, answers=2), quiet, (lengths,))
    assert "lower --batch" in error.value.hint


# --- what LoRA begins with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_was_taken_out_of_the_base_is_put_back_beside_the_adapter(
    settled: Settled, base: Path, init: Init
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    shape = Shape(rank=4, alpha=8, init=init, rslora=init == "olora")
    whole, stopped = (settled(learning_lm.rows(), name, shape=shape) for name in ("whole", "stopped"))
    done = train(whole, quiet)["metrics"]
    with pytest.raises(Stopped):
        train(stopped, stop_at_two)
    assert train(stopped, quiet)["metrics"] == done
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (whole, stopped)]
    assert weights[0] == weights[1]
    assert not (whole / "initial").exists()
    told = json.loads((whole / "adapter_config.json").read_text())
    assert (told["r"], told["init_lora_weights"]) == (shape.saved_rank, True)
    assert done["before"]["train_loss"] == pytest.approx(-float(weighted(base, None)), rel=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(plain, str(whole)).eval()
    assert done["after"]["train_loss"] == pytest.approx(-float(weighted(base, model)), rel=1e-3)


def weighted(base: Path, model: Any) -> "torch.Tensor":
    """The mean log probability of all tokens of all right answers."""
    import torch
    from transformers import AutoModelForCausalLM

    model, tokenizer = model or AutoModelForCausalLM.from_pretrained(base).eval(), load_tokenizer(base)
    found = []
    for question, answer in zip(QUESTIONS, RIGHT, strict=True):
        asked = [{"role": "user", "content": question}]
        text = str(tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))
        prompt, said = (tokenizer(part)["input_ids"] for part in (text, f"{answer}<|im_end|>"))
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0])
    return torch.cat(found).mean()


# --- how it is learnt ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw8bit", "adafactor", "galore", "apollo"])
def test_a_run_of_every_optimizer_learns_and_goes_on_after_a_kill(settled: Settled, optimizer: Optimizer) -> None:
    if optimizer in ("galore", "apollo"):
        pytest.importorskip(f"{optimizer}_torch")
    told = {"method": "full", "optimizer": optimizer, "learning_rate": 1e-3, "max_steps": 3}
    folder = settled(learning_lm.rows(), **told)
    with pytest.raises(Stopped):
        train(folder, stop_at_two)
    done = train(folder, quiet)["metrics"]
    assert done["after"]["train_loss"] < done["before"]["train_loss"]


def test_noise_on_the_embeddings_changes_what_is_learnt_and_not_what_is_measured(settled: Settled) -> None:
    quietly, noisy = (
        train(settled(learning_lm.rows(), f"{noise}", neftune=noise, report="none"), quiet)["metrics"]
        for noise in (0.0, 5.0)
    )
    assert noisy["before"] == quietly["before"]
    assert noisy["after"] != quietly["after"]


def test_a_run_without_a_report_keeps_its_curve_and_writes_no_events(settled: Settled) -> None:
    folder = settled(learning_lm.rows(), report="none", max_steps=2)
    train(folder, quiet)
    assert len((folder / "loss.jsonl").read_text().splitlines()) == 2
    assert not (folder / "tensorboard").exists()
    assert not math.isnan(json.loads((folder / "outcome.json").read_text())["metrics"]["after"]["train_loss"])
