import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.answering.backend import with_promoted
from app.commands.models import proofs
from app.training import adapt, parity
from app.training.parity import Request
from core.config import Config, LlmConfig, load
from core.errors import ConfigError, DatasetError, ModelError
from llm import registry
from llm.merge import merge
from llm.methods import Shape
from llm.trainers import Settings as Tuning
from tests import compressor, learning_lm
from tests.needs import needs

pytestmark = pytest.mark.slow  # the fixture `data` trains

needs("trl", "peft")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that answers wrongly, an adapter "m" that has learnt the answers, the two merged, and the rows."""
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    learning_lm.build(folder / "base", dtype="bfloat16", hidden=128)
    (folder / "rows.jsonl").write_text(learning_lm.rows())
    cfg = load(flags={"app.data": str(folder)}, environ={}).config
    tuning = Tuning(
        "lora", shape=Shape(rank=32, alpha=64), max_steps=40, batch_size=6, learning_rate=1e-2, recompute=False
    )
    adapt.run(cfg, adapt.Request("m", str(folder / "base"), str(folder / "rows.jsonl"), tuning, dev=0))
    merge(folder / "models" / "m")
    return folder


@pytest.fixture
def cfg(data: Path) -> Config:
    return load(flags={"app.data": str(data)}, environ={}).config


@pytest.fixture
def served(data: Path, vllm_cfg: LlmConfig) -> Config:
    """The configuration with vLLM's CPU build."""
    llm = vllm_cfg.model_copy(update={"vllm_model": "", "vllm_args": []})
    return load(flags={"app.data": str(data)}, environ={}).config.model_copy(update={"llm": llm})


@pytest.fixture
def rows(data: Path) -> str:
    return str(data / "rows.jsonl")


@pytest.fixture
def report_free(data: Path) -> Iterator[None]:
    """What a test promotes or reports is forgotten after it."""
    yield
    for file in [*(data / "models").glob("*/parity.json"), data / "models" / "promoted.json"]:
        file.unlink(missing_ok=True)


@pytest.mark.vllm
@pytest.mark.usefixtures("report_free")
def test_an_adapter_as_served_says_what_was_trained(served: Config, rows: str) -> None:
    report = parity.run(served, Request("m", rows))
    found = report["found"]
    assert report["passed"], report
    assert (found["template"], found["tokens"], found["first_choice"], found["exact"]) == (1, 1, 1, 1)
    assert 0 < found["kl"] < 0.01
    assert report["causes"] == []
    assert json.loads((Path(report["model"]) / "parity.json").read_text())["passed"] is True


@pytest.mark.vllm
@pytest.mark.usefixtures("report_free")
def test_a_wrong_template_a_damaged_weight_and_sampling_settings_are_named_and_block_promotion(
    served: Config, data: Path, rows: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(data / "models" / "m-merged", data / "models" / "broken")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "user"))
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] = torch.randn_like(weights["model.layers.1.mlp.down_proj.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"repetition_penalty": 2.0}))
    words = ["parity", "broken", "--data", rows, "--json"]
    obj = load(flags={"app.data": str(data)}, environ={})
    told = CliRunner().invoke(proofs, words, obj=type(obj)(served, obj.origins, None))
    assert told.exit_code == 1, told.output
    report = json.loads(told.stdout)
    assert [cause.split(":")[0] for cause in report["causes"]] == ["template", "damaged weights", "sampling"]
    assert "assistant" in report["causes"][0]
    assert "model.layers.1.mlp.down_proj.weight" in report["causes"][1]
    assert "repetition_penalty = 2.0" in report["causes"][2]
    assert report["found"]["kl"] > 0.1
    refused = CliRunner().invoke(proofs, ["promote", "broken"], obj=obj).exception
    assert isinstance(refused, ModelError)
    assert "damaged weights" in refused.message
    assert registry.promoted(data) == ""


@pytest.mark.vllm
@pytest.mark.compressor
@pytest.mark.usefixtures("report_free")
def test_an_adapter_is_quantized_proven_and_promoted(served: Config, data: Path, rows: str) -> None:
    llm = served.llm.model_copy(update={"compressor_env": compressor.environment()})
    obj = load(flags={"app.data": str(data)}, environ={})
    settings = type(obj)(served.model_copy(update={"llm": llm}), obj.origins, None)

    def command(*words: str) -> str:
        done = CliRunner().invoke(proofs, words, obj=settings)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.output

    shown = command("quantize", "m", "--scheme", "w8a8", "--data", rows, "--target", "cpu")
    assert "m-merged-w8a8" in shown
    assert "perplexity" in shown
    shown = command("parity", "m-merged-w8a8", "--data", rows)
    assert "passed: " in shown
    assert shown.rstrip().endswith("models/m")  # the reference is the base with its adapter
    report = json.loads((data / "models" / "m-merged-w8a8" / "parity.json").read_text())
    assert report["found"]["exact"] == report["found"]["exact_reference"] == 1
    assert report["found"]["kl"] > 0
    command("promote", "m-merged-w8a8")
    assert with_promoted(settings).config.llm.vllm_model == str(data / "models" / "m-merged-w8a8")


def test_what_a_quantized_model_is_compared_with_is_the_base_and_the_adapter_it_came_from(
    data: Path, cfg: Config
) -> None:
    folder = data / "models" / "q"
    folder.mkdir(exist_ok=True)
    source = {"name": str(data / "models" / "m-merged"), "identity": "0"}
    (folder / "run.json").write_text(json.dumps({"kind": "quantized", "source": source}))
    assert parity._trained(folder) == (data / "base", data / "models" / "m")
    assert parity._trained(data / "models" / "m") == (data / "base", data / "models" / "m")
    assert parity._trained(data / "base") == (data / "base", None)
    (folder / "run.json").write_text(json.dumps({"kind": "quantized", "source": {"name": str(data / "gone")}}))
    with pytest.raises(ConfigError, match="there no more"):
        parity._trained(folder)
    shutil.rmtree(folder)


def test_files_that_are_not_those_of_the_record_are_damaged(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data / "models" / "m-merged", tmp_path / "copy")
    record = registry.read_record(folder) | {"kind": "quantized", "weights": registry.weights_hash(folder)}
    reference = parity.Reference(data / "base", data / "models" / "m")
    assert parity._damaged(folder, record, reference, data / "base", other=False) == ()
    (folder / "model.safetensors").write_bytes(b"0" + (folder / "model.safetensors").read_bytes()[1:])
    (bad,) = parity._damaged(folder, record, reference, data / "base", other=False)
    assert "not those that run.json was written for" in bad
    record = registry.read_record(data / "models" / "m-merged")
    assert parity._damaged(data / "models" / "m-merged", record, reference, data / "base", other=False) == ()
    record["base"]["identity"] = "another"
    (bad,) = parity._damaged(data / "models" / "m-merged", record, reference, data / "base", other=False)
    assert "has changed since training" in bad


def test_an_adapter_that_vllm_cannot_load_is_refused_with_the_reason(cfg: Config, data: Path) -> None:
    record = registry.read_record(data / "models" / "m")
    told = parity.served_beside(cfg.llm, data / "models" / "m", record)
    assert told.vllm_model == str(data / "base")
    assert told.vllm_args == ["--lora-modules", f"parity={data / 'models' / 'm'}"]
    assert told.vllm_lora_rank == 32
    with pytest.raises(ConfigError, match="DoRA") as caught:
        parity.served_beside(cfg.llm, data / "models" / "m", record | {"method": "dora"})
    assert "ragstone models merge m" in caught.value.hint


def test_the_test_side_is_compared_on_before_the_others(cfg: Config, tmp_path: Path) -> None:
    lines = learning_lm.rows().splitlines(keepends=True)
    for n, side in enumerate(("train", "dev", "test")):
        (tmp_path / f"{side}.jsonl").write_text(lines[n])
    ids = [parity.conversations(cfg, str(tmp_path), 32)[0][0].id]
    for gone in ("test", "dev"):
        (tmp_path / f"{gone}.jsonl").unlink()
        ids.append(parity.conversations(cfg, str(tmp_path), 32)[0][0].id)
    assert ids == ["2", "1", "0"]
    assert "trained on" in parity.conversations(cfg, str(tmp_path), 32)[1][0]
    with pytest.raises(DatasetError, match="no approved conversation"):
        parity.conversations(cfg, "absent", 32)


def test_prompts_part_where_they_first_differ(data: Path) -> None:
    from llm.tokens import load_tokenizer

    tokenizer = load_tokenizer(data / "base")
    a, b = (tokenizer(text)["input_ids"] for text in ("Which colour is sand?", "Which colour is rust?"))
    told = parity._difference(tokenizer, a, b)
    assert "sand" in told
    assert "rust" in told
