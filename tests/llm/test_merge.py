import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import ConfigError, ModelError
from llm import registry
from llm.finetune import train, write_job
from llm.merge import merge
from llm.methods import Method
from llm.trainers import Settings
from tests import learning_lm
from tests.learning_lm import QUESTIONS, RIGHT
from tests.needs import needs

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.slow

needs("trl", "peft")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learning_lm.build(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Method], Path]:
    """The finished run of a method, in a registry; trained once."""
    import torch

    data = tmp_path_factory.mktemp("data")
    torch.set_num_threads(1)

    def trained(method: Method) -> Path:
        folder = registry.home(data, method)
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "train.jsonl").write_text(learning_lm.rows())
            rate = 5e-2 if method in ("ia3", "prompt") else 1e-2
            write_job(folder, base, Settings(method, max_steps=25, batch_size=6, learning_rate=rate, recompute=False))
            train(folder, lambda *_: None)
            told = {"name": str(base), "identity": registry.weights_hash(base)}
            (folder / "run.json").write_text(
                json.dumps({"kind": "adapter", "method": method, "base": told, "key": "k"})
            )
        return folder

    return trained


def logits(model: Any, folder: Path) -> "torch.Tensor":
    import torch

    from llm.tokens import load_tokenizer

    ids = load_tokenizer(folder)("Which colour is sand? It is yellow", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_what_is_merged_says_what_base_and_adapter_say(
    base: Path, adapters: Callable[[Method], Path], method: Method, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = adapters(method)
    merged = merge(adapter, folder=tmp_path / "merged")
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    whole = AutoModelForCausalLM.from_pretrained(merged)
    assert torch.allclose(logits(whole, merged), logits(both, base), atol=1e-3)
    assert not torch.allclose(logits(whole, merged), logits(AutoModelForCausalLM.from_pretrained(base), base), atol=0.1)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    record = registry.read_record(merged)
    assert (record["kind"], record["method"]) == ("merged", method)
    assert record["adapter"]["name"] == str(adapter)
    assert record["base"] == registry.read_record(adapter)["base"]


def test_merging_is_done_once_and_comes_out_the_same(adapters: Callable[[Method], Path]) -> None:
    adapter = adapters("lora")
    merged = merge(adapter)
    assert merged == adapter.with_name("lora-merged")
    before, written = registry.weights_hash(merged), (merged / "model.safetensors").stat().st_mtime_ns
    assert merge(adapter) == merged
    assert (merged / "model.safetensors").stat().st_mtime_ns == written
    assert merge(merged) == merged
    shutil.rmtree(merged)
    assert registry.weights_hash(merge(adapter)) == before


def test_the_adapter_of_a_4_bit_base_is_merged_with_the_base_in_its_own_format(
    adapters: Callable[[Method], Path], base: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    half = tmp_path / "base"
    shutil.copytree(base, half)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    adapter = tmp_path / "models" / "qlora"
    shutil.copytree(adapters("qlora"), adapter)
    told = {"name": str(half), "identity": registry.weights_hash(half)}
    (adapter / "run.json").write_text(json.dumps({"kind": "adapter", "method": "qlora", "base": told}))
    merged = merge(adapter)
    assert {weights.dtype for weights in load_file(merged / "model.safetensors").values()} == {torch.bfloat16}
    assert "quantization_config" not in json.loads((merged / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert [learning_lm.answer(model, merged, question) for question in QUESTIONS] == list(RIGHT)


def test_the_adapter_of_another_base_is_refused(adapters: Callable[[Method], Path], tmp_path: Path) -> None:
    other = learning_lm.build(tmp_path / "other", steps=1)
    with pytest.raises(ConfigError, match="belongs to another base"):
        merge(adapters("lora"), other, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_weights_cannot_take_in_is_refused_with_the_reason(
    adapters: Callable[[Method], Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="prompt cannot be merged: it adds virtual tokens"):
        merge(adapters("prompt"))
    with pytest.raises(ConfigError, match=r"run\.json"):
        merge(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "embedder"}')
    with pytest.raises(ConfigError, match="kind 'embedder', not an adapter"):
        merge(tmp_path)


def test_damaged_adapters_are_refused_and_leave_no_model(adapters: Callable[[Method], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = tmp_path / "models" / "broken"
    shutil.copytree(adapters("lora"), adapter)
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({name: value * float("nan") for name, value in weights.items()}, file)
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(adapter)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(adapter)
    assert not adapter.with_name("broken-merged").exists()
