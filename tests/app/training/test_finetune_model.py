import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from app.commands.finetune import finetune
from app.training import adapt
from app.training.adapt import Request, dry_run, run
from app.training.curve import svg
from core.config import Config, load
from core.errors import ConfigError, DatasetError, ModelError
from llm import registry
from llm.methods import METHODS, Method, Shape
from llm.trainers import Settings
from tests import learning_lm
from tests.needs import needs

pytestmark = pytest.mark.slow

needs("trl", "peft")

Ask = Callable[..., Request]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return learning_lm.build(tmp_path_factory.mktemp("base"))


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return load(flags={"app.data": str(tmp_path / "data")}, environ={}).config


@pytest.fixture
def ask(base: Path, tmp_path: Path) -> Ask:
    """A request; keywords are settings."""

    def make(name: str = "m", *, source: str = "", named: str = "", dev: float = 0.34, **keys: Any) -> Request:
        (tmp_path / "rows.jsonl").write_text(learning_lm.rows())
        told = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "recompute": False} | keys
        return Request(name, named or str(base), source or str(tmp_path / "rows.jsonl"), Settings(**told), dev)

    return make


def home(cfg: Config, name: str) -> Path:
    return Path(cfg.app.data) / "models" / name


def command(cfg: Config, *words: str) -> Result:
    settings = load(flags={"app.data": cfg.app.data}, environ={})
    return CliRunner().invoke(finetune, ["model", *words], obj=settings)


def test_a_run_leaves_the_adapter_its_record_and_its_curve_and_nothing_of_the_rows(cfg: Config, ask: Ask) -> None:
    report = run(cfg, ask())
    folder = home(cfg, "m")
    assert {file.name for file in folder.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "generation_config.json",
        "loss.jsonl", "loss.svg", "run.json", "tensorboard", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert json.loads((folder / "run.json").read_text()) | {"skipped": False} == report
    assert not folder.with_name("m.partial").exists()
    for file in folder.iterdir():
        assert file.is_dir() or b"Which colour" not in file.read_bytes()
    picture = ElementTree.fromstring((folder / "loss.svg").read_text())
    lines = [each for each in picture.iter() if each.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [4, 4]  # training and dev set


def test_the_record_says_what_went_in_and_what_came_out(cfg: Config, ask: Ask, base: Path, tmp_path: Path) -> None:
    report = run(cfg, ask(seed=3))
    assert (report["kind"], report["method"], report["stage"], report["seed"]) == ("adapter", "lora", "sft", 3)
    assert report["base"] == {"name": str(base), "identity": registry.weights_hash(base), "revision": ""}
    assert report["inputs"] == {"rows.jsonl": registry.file_hash(tmp_path / "rows.jsonl")}
    assert report["settings"]["learning_rate"] == 1e-2
    assert report["training"]["rows"] == {"train": 4, "dev": 2, "left_out": []}
    assert {"train_loss", "train_perplexity", "dev_loss", "dev_perplexity"} == report["metrics"]["before"].keys()
    assert report["metrics"]["after"]["train_loss"] < report["metrics"]["before"]["train_loss"]
    assert {"torch", "trl", "peft", "transformers"} <= report["versions"].keys()
    assert (report["device"], report["serving"]["as_adapter"]) == ("cpu", True)
    (model,) = registry.models(Path(cfg.app.data))
    assert (model.name, model.kind, model.base, model.problem) == ("m", "adapter", str(base), "")


def test_the_same_run_is_not_done_again_and_another_one_does_not_take_its_name(
    cfg: Config, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run(cfg, ask())
    monkeypatch.setattr(adapt.finetune, "train", None)
    assert run(cfg, ask()) == report | {"skipped": True}
    for other in ({"seed": 1}, {"shape": Shape(rank=4)}, {"dev": 0.2}):
        with pytest.raises(ConfigError, match="other inputs or settings"):
            run(cfg, ask(**other))


def test_a_run_that_was_stopped_goes_on_to_the_same_record(cfg: Config, ask: Ask) -> None:
    class Stopped(Exception):
        pass

    def stop(_stage: str, done: int, _total: int) -> None:
        if done == 3:
            raise Stopped

    whole = run(cfg, ask("whole"))
    with pytest.raises(Stopped):
        run(cfg, ask("stopped"), progress=stop)
    assert not home(cfg, "stopped").exists()
    with pytest.raises(ConfigError, match="begun with other inputs or settings"):
        run(cfg, ask("stopped", seed=5), resume=True)
    steps: list[int] = []
    again = run(cfg, ask("stopped"), resume=True, progress=lambda _stage, done, _total: steps.append(done))
    assert steps[0] > 1
    assert again["metrics"] == whole["metrics"]
    curves = [(home(cfg, name) / "loss.jsonl").read_text() for name in ("whole", "stopped")]
    assert curves[0] == curves[1]


def test_only_approved_rows_are_trained_on_and_files_are_on_one_side(cfg: Config, ask: Ask, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (learning_lm.rows() * 5).splitlines()]
    for number, row in enumerate(rows):
        row |= {"id": str(number), "status": "draft" if number % 5 == 0 else "approved", "file": f"{number % 4}.md"}
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = ask(source=str(tmp_path / "many.jsonl"), dev=0.3)
    train, dev = adapt.sides(request, adapt._read(cfg, request)[1])
    assert {row.id for row in [*train, *dev]} == {str(number) for number in range(30) if number % 5}
    assert not {row.file for row in train} & {row.file for row in dev}
    assert 0 < len(dev) <= 0.3 * 24
    (tmp_path / "drafts.jsonl").write_text(learning_lm.rows().replace("{", '{"status": "draft", ', 1).splitlines()[0])
    with pytest.raises(DatasetError, match="no approved row"):
        run(cfg, ask(source=str(tmp_path / "drafts.jsonl")))


def test_a_data_set_is_named_and_its_own_dev_set_is_looked_at(cfg: Config, ask: Ask) -> None:
    folder = Path(cfg.app.data) / "datasets" / "handbook"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(learning_lm.rows())
    (folder / "dev.jsonl").write_text(learning_lm.rows().splitlines()[0] + "\n")
    (folder / "preferences-train.jsonl").write_text(learning_lm.preferences())
    report = run(cfg, ask(source="handbook"))
    assert report["training"]["rows"] == {"train": 6, "dev": 1, "left_out": []}
    assert set(report["inputs"]) == {"train.jsonl", "dev.jsonl"}
    votes = run(cfg, ask("votes", source="handbook", stage="dpo", dev=0))
    assert set(votes["inputs"]) == {"preferences-train.jsonl"}
    assert votes["training"]["notes"] == [
        "there is no dev set: nothing says when to stop, and the last weights are kept"
    ]
    for name in ("absent", "../handbook"):
        with pytest.raises(DatasetError, match=re.escape(repr(name))):
            run(cfg, ask(source=name))


def test_a_whole_model_is_a_base_by_its_name_in_the_number_format_of_its_own_base(
    cfg: Config, ask: Ask, base: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (half / name).write_bytes((base / name).read_bytes())
    report = run(cfg, ask("whole", named=str(half), method="full", learning_rate=1e-3))
    assert report["kind"] == "full"
    weights = load_file(home(cfg, "whole") / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(home(cfg, "whole")).dtype == torch.bfloat16
    assert not (home(cfg, "whole") / "adapter_config.json").exists()
    further = run(cfg, ask("further", named="whole"))
    assert further["base"]["name"] == str(home(cfg, "whole").resolve())
    with pytest.raises(ConfigError, match="'further' is an adapter"):
        run(cfg, ask("more", named="further"))
    with pytest.raises(ConfigError, match="neither a model's folder"):
        run(cfg, ask("more", named="absent"))
    with pytest.raises(ConfigError, match="no base model is named"):
        run(cfg, Request("more", "", ask().source, Settings()))


def test_what_cannot_be_trained_is_said_before_anything_is_written(
    cfg: Config, ask: Ask, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="this model is 'qwen3'"):
        run(cfg, ask(method="llama-adapter"))
    with pytest.raises(ConfigError, match="cannot name a model"):
        run(cfg, ask("../m"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in base.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="has no chat template"):
        run(cfg, ask(named=str(bare)))
    (tmp_path / "empty.jsonl").write_text(learning_lm.rows(("Q?",), ("",)))
    with pytest.raises(DatasetError, match=r"messages"):
        run(cfg, ask(source=str(tmp_path / "empty.jsonl")))
    assert not (Path(cfg.app.data) / "models").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_counts_the_parameters_that_training_trains(
    cfg: Config, ask: Ask, method: Method, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from llm.finetune import write_job
    from llm.stages import make_trainer
    from llm.tokens import Tokenized, load_tokenizer
    from llm.trainers import load_model

    named = learning_lm.build(tmp_path / "llama", kind="llama", steps=0) if method == "llama-adapter" else None
    request = ask(method=method, named=str(named or ""), max_steps=0, epochs=2)
    told = dry_run(cfg, request)
    folder = tmp_path / "run"
    folder.mkdir()
    write_job(folder, Path(request.base), request.settings)
    row = {"input_ids": [1, 2], "labels": [-100, 2]}
    trainer = make_trainer(
        folder, request.settings, load_model(Path(request.base), request.settings), load_tokenizer(Path(request.base)),
        Tokenized([row], [2], []), Tokenized([], [], []),
    )  # fmt: skip
    trained = [weights for weights in trainer.model.parameters() if weights.requires_grad]
    total = sum(weights.numel() for weights in AutoModelForCausalLM.from_pretrained(request.base).parameters())
    counted = told["parameters"]
    assert counted == {
        "base": total, "trained": sum(map(torch.numel, trained)), "share": counted["trained"] / total,
    }  # fmt: skip
    assert told["memory"]["gradients"] == sum(weights.numel() * weights.element_size() for weights in trained)
    if method != "qlora":
        held = sum(weights.numel() * weights.element_size() for weights in trainer.model.parameters())
        assert told["memory"]["weights"] == held
    assert told["plan"]["steps"] == 2
    assert not (Path(cfg.app.data) / "models").exists()


def test_the_command_of_a_dry_run_is_the_run(cfg: Config, ask: Ask, base: Path) -> None:
    words = [
        "--name",
        "a b".replace(" ", "-"),
        "--base",
        str(base),
        "--data",
        ask().source,
        "--lr",
        "0.01",
        "--rank",
        "4",
    ]
    words += ["--no-recompute", "--max-steps", "2", "--dev", "0", "--batch", "3", "--seed", "7"]
    told = json.loads(command(cfg, *words, "--dry-run", "--json").stdout)
    again = json.loads(command(cfg, *told["command"].split()[3:], "--dry-run", "--json").stdout)
    assert again == told
    assert "--rank 4" in told["command"]
    assert "--patience" not in told["command"]
    shown = command(cfg, *words, "--dry-run").output
    assert "8,704 of 123,456 are trained (7.050%)" in shown  # rank 4: a quarter of rank 16's
    assert "vLLM serves it as an adapter or as whole weights" in shown


def test_the_command_shows_the_loss_before_and_after(cfg: Config, ask: Ask, base: Path) -> None:
    words = ["--name", "m", "--base", str(base), "--data", ask().source, "--max-steps", "2", "--no-recompute"]
    done = command(cfg, *words, "--method", "ia3", "--dev", "0")
    assert done.exit_code == 0, done.output
    assert re.search(r"train_loss +\d\.\d{4} +\d\.\d{4}", done.output)
    assert "vLLM serves it as whole weights: vLLM loads adapters of LoRA's form alone: merge it" in done.output
    assert "there is no dev set" in done.output
    assert "nothing was done" in command(cfg, *words, "--method", "ia3", "--dev", "0").output
    assert (
        run(cfg, Request("m2", str(base), ask().source, Settings(max_steps=1), 0))["settings"]["learning_rate"] == 2e-4
    )


def test_curves_are_drawn_to_scale_and_what_is_no_number_is_left_out() -> None:
    picture = svg("a < b", {"training": [(0, 2.0), (5, float("nan")), (10, 1.0)]})
    (line,) = [each for each in ElementTree.fromstring(picture).iter() if each.tag.endswith("polyline")]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert (x0, x1) == (64.0, 736.0)  # the left and the right end of the axis
    assert (y0, y1) == (72.0, 72 + (352 - 72) / 2)  # its top, and half way down
    assert "a &lt; b" in picture


@pytest.mark.slow
def test_several_processes_train_as_one_does(
    cfg: Config, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes by gloo: each takes half of a batch, so the losses are those of one process with the whole."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "accelerate.yaml"
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\n"
        "mixed_precision: 'no'\nmain_process_port: 0\n"
    )
    alone = run(cfg, ask("alone", batch_size=6, dev=0))
    request = ask("both", batch_size=3, dev=0)
    request = Request(request.name, request.base, request.source, request.settings, 0, file)
    steps: list[int] = []
    report = run(cfg, request, progress=lambda _stage, done, _total: steps.append(done))
    assert report["training"]["processes"] == 2
    assert steps == [1, 2, 3, 4]
    curves = [
        [json.loads(line)["loss"] for line in (home(cfg, name) / "loss.jsonl").read_text().splitlines()]
        for name in ("alone", "both")
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    after = [each["metrics"]["after"]["train_loss"] for each in (alone, report)]
    assert after[1] == pytest.approx(after[0], rel=2e-2)  # the mean of two batches of unlike lengths, and of one
    broken = Request("broken", request.base, request.source, request.settings, 0, tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="no accelerate configuration"):
        run(cfg, broken)
