import json
from pathlib import Path

import pytest

from app.training.quantize import Request, find, run
from core.config import Config, load
from core.errors import ConfigError, DatasetError
from llm import registry
from llm.fit import quantized_as
from llm.quantize import Pattern, Pruner, Scheme
from tests import compressor, learning_lm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model") / "lm"
    return learning_lm.build(folder, answers=learning_lm.RIGHT, dtype="bfloat16", hidden=128)


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return load(flags={"app.data": str(tmp_path / "data")}, environ={}).config


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A data set of which the dev side has other rows than what calibrates."""
    folder = tmp_path / "rows"
    folder.mkdir()
    lines = learning_lm.rows().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(lines[:4]))
    (folder / "dev.jsonl").write_text("".join(lines[4:]))
    return str(folder)


@pytest.mark.compressor
@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "share", "kind"), [("w4a16", 0.45, "I32"), ("awq", 0.45, "I32"), ("fp8", 0.65, "F8_E4M3")]
)
def test_a_quantized_model_is_smaller_and_as_sure_of_its_answers(
    cfg: Config, model: Path, rows: str, scheme: Scheme, share: float, kind: str
) -> None:
    from safetensors import safe_open

    llm = cfg.llm.model_copy(update={"compressor_env": compressor.environment()})
    cfg = cfg.model_copy(update={"llm": llm})
    steps: list[str] = []
    report = run(cfg, Request(str(model), scheme, rows), progress=lambda stage, *_: steps.append(stage))
    folder, found = registry.home(Path(cfg.app.data), f"lm-{scheme}"), report["metrics"]
    assert found["bytes_after"] == (folder / "model.safetensors").stat().st_size < share * found["bytes_before"]
    assert found["perplexity_before"] < 1.2  # it knows the answers by heart
    assert found["perplexity_after"] == pytest.approx(found["perplexity_before"], rel=0.05)
    with safe_open(str(folder / "model.safetensors"), framework="pt") as weights:
        named = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kind in named.values()
    assert named["lm_head.weight"] == "BF16"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (model / name).read_bytes()
    record = registry.read_record(folder)
    assert (record["kind"], record["scheme"], record["group"]) == ("quantized", scheme, 0 if scheme == "fp8" else 128)
    assert record["source"] == {"name": str(model), "identity": registry.weights_hash(model)}
    assert record["weights"] == registry.weights_hash(folder)
    assert not {"job.json", "outcome.json", "compressor.log", "request.json"} & {f.name for f in folder.iterdir()}
    assert {"loading", "quantizing", "writing", "perplexity after"} <= set(steps)
    assert run(cfg, Request(str(model), scheme, rows))["skipped"]
    with pytest.raises(ConfigError, match="other inputs or settings"):
        run(cfg, Request(str(model), "w8a8", rows, f"lm-{scheme}"))


@pytest.mark.compressor
@pytest.mark.slow
@pytest.mark.parametrize(
    ("prune", "scheme", "pattern", "sparsity"),
    [("sparsegpt", "w8a8", "2:4", 0.5), ("wanda", "w4a16", "2:4", 0.5), ("wanda", "none", "any", 0.3)],
)
def test_a_pruned_model_has_its_zeros_where_it_is_written(
    cfg: Config, model: Path, rows: str, prune: Pruner, scheme: Scheme, pattern: Pattern, sparsity: float
) -> None:
    llm = cfg.llm.model_copy(update={"compressor_env": compressor.environment()})
    cfg = cfg.model_copy(update={"llm": llm})
    asked = Request(str(model), scheme, rows, prune=prune, sparsity=sparsity, pattern=pattern)
    report = run(cfg, asked)
    assert report["metrics"]["zeros"] == pytest.approx(sparsity, abs=0.01)
    assert "vLLM computes with zeros" in report["notes"][-1]
    name = f"lm-{prune}" + ("" if scheme == "none" else f"-{scheme}")
    record = registry.read_record(registry.home(Path(cfg.app.data), name))
    assert record["pruning"] == {"prune": prune, "sparsity": sparsity, "pattern": pattern}
    assert run(cfg, asked)["skipped"]


@pytest.mark.compressor
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["nvfp4", "mxfp4"])
def test_weights_of_four_bits_in_floating_point_are_made_for_a_gpu(
    cfg: Config, model: Path, rows: str, scheme: Scheme
) -> None:
    llm = cfg.llm.model_copy(update={"compressor_env": compressor.environment()})
    cfg = cfg.model_copy(update={"llm": llm})
    report = run(cfg, Request(str(model), scheme, rows, target="cuda-10.0"))
    found, folder = report["metrics"], registry.home(Path(cfg.app.data), f"lm-{scheme}")
    assert found["bytes_after"] < 0.5 * found["bytes_before"]
    assert found["perplexity_after"] < 1.5
    assert quantized_as(json.loads((folder / "config.json").read_text())) == scheme


def test_a_model_that_is_quantized_already_is_refused(cfg: Config, model: Path, rows: str, tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    folder.mkdir()
    told = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"quantization_config": {}}))
    with pytest.raises(ConfigError, match="quantized already"):
        run(cfg, Request(str(folder), "w8a8", rows))


def test_what_cannot_be_served_is_refused_before_any_work(cfg: Config, model: Path, rows: str) -> None:
    with pytest.raises(ConfigError, match="cannot serve fp8 on cuda-7"):
        run(cfg, Request(str(model), "fp8", rows, target="cuda-7.0"))
    assert not (Path(cfg.app.data) / "models").exists()


def test_rows_that_are_absent_or_not_approved_are_refused(cfg: Config, model: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set"):
        run(cfg, Request(str(model), "w8a8", "absent"))
    file = tmp_path / "drafts.jsonl"
    drafts = [json.loads(line) | {"status": "draft"} for line in learning_lm.rows().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in drafts))
    with pytest.raises(DatasetError, match="no approved row"):
        run(cfg, Request(str(model), "w8a8", str(file)))


def test_a_model_is_found_by_its_name_and_by_its_folder(cfg: Config, model: Path) -> None:
    assert find(Path(cfg.app.data), str(model)) == model
    with pytest.raises(ConfigError, match="no model 'nothing'"):
        find(Path(cfg.app.data), "nothing")
    with pytest.raises(ConfigError, match="no model ''"):
        find(Path(cfg.app.data), "")
