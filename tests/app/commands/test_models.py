import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from app.answering.backend import with_promoted
from app.commands.models import models, proofs
from core.config import Settings, load
from core.errors import ConfigError, ModelError
from llm import registry

whole = typer.Typer()
whole.add_typer(models, name="models")
whole.add_typer(proofs)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(flags={"app.data": str(tmp_path / "data")}, environ={})


def make(
    settings: Settings, name: str, kind: str = "merged", parity: dict[str, Any] | None = None, **told: Any
) -> Path:
    """A model's folder with its record and, where it has one, its parity report."""
    folder = registry.home(Path(settings.config.app.data), name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({"kind": kind, "base": {"name": "/models/lm-1b"}} | told))
    if parity is not None:
        files = registry.folder_hash(folder, lambda name: name != "parity.json")
        (folder / "parity.json").write_text(json.dumps({"causes": [], "files": files} | parity))
    return folder


def command(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(whole, words, obj=settings)


def served(settings: Settings) -> str:
    return with_promoted(settings).config.llm.vllm_model


def test_models_are_listed_with_their_parity_and_the_one_that_answers(settings: Settings) -> None:
    assert "no models yet" in command(settings, "models").output
    make(settings, "good", parity={"passed": True}, finished="2026-11-21")
    make(settings, "bad", parity={"passed": False})
    (make(settings, "torn") / "run.json").write_text("{")
    command(settings, "promote", "good")
    shown = command(settings, "models").output
    lines = {line.replace("→", "").split()[0]: line for line in shown.splitlines()[1:]}
    assert "→" in lines["good"]
    assert "passed" in lines["good"]
    assert "lm-1b" in lines["good"]
    assert "failed" in lines["bad"]
    assert "isnotJSON" in "".join(shown.split())  # as wide as the terminal is, the reason is there
    told = json.loads(command(settings, "models", "--json").stdout)
    assert told["promoted"] == "good"
    assert {row["name"]: row["kind"] for row in told["models"]} == {"good": "merged", "bad": "merged", "torn": ""}


def test_a_promoted_model_is_served_until_it_is_rolled_back(settings: Settings) -> None:
    first, second = (make(settings, name, parity={"passed": True}) for name in ("first", "second"))
    assert served(settings) == ""
    assert "promoted: first (before: none)" in command(settings, "promote", "first").output
    assert served(settings) == str(first)
    done = command(settings, "promote", "second")
    assert "promoted: second (before: first)" in done.output
    assert 'llm.vllm_model is empty or "promoted"' in done.output
    assert served(settings) == str(second)
    assert with_promoted(settings).origins["llm.vllm_model"] == "ragstone promote"
    assert "promoted: first (before: second)" in command(settings, "models", "rollback").output
    assert served(settings) == str(first)
    command(settings, "models", "rollback")
    assert served(settings) == ""
    assert isinstance(command(settings, "models", "rollback").exception, ConfigError)


def test_a_model_that_is_set_is_served_in_spite_of_a_promotion_and_that_is_said(settings: Settings) -> None:
    make(settings, "mine", parity={"passed": True})
    own = load(flags={"app.data": settings.config.app.data, "llm.vllm_model": "/models/other"}, environ={})
    assert 'note: llm.vllm_model = "/models/other" is served' in command(own, "promote", "mine").output
    assert served(own) == "/models/other"
    named = load(flags={"app.data": settings.config.app.data, "llm.vllm_model": "promoted"}, environ={})
    assert Path(served(named)).name == "mine"
    assert "note" not in command(with_promoted(settings), "promote", "mine").output
    command(settings, "models", "rollback")
    assert served(named) == ""


def test_without_a_parity_that_passed_a_model_is_promoted_by_force_alone(settings: Settings) -> None:
    make(settings, "unproven")
    make(settings, "drifted", parity={"passed": False, "causes": ["template: other"]})
    for name, reason in (("unproven", "ragstone parity unproven"), ("drifted", "template: other")):
        refused = command(settings, "promote", name).exception
        assert isinstance(refused, ModelError)
        assert reason in refused.message
        assert served(settings) == ""
    assert command(settings, "promote", "drifted", "--force").exit_code == 0
    assert Path(served(settings)).name == "drifted"


def test_a_model_that_changed_after_its_parity_report_is_not_promoted(settings: Settings) -> None:
    folder = make(settings, "m", parity={"passed": True})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    refused = command(settings, "promote", "m").exception
    assert isinstance(refused, ModelError)
    assert "has changed since its parity report" in refused.message


def test_an_adapter_is_merged_before_it_is_promoted(settings: Settings) -> None:
    (make(settings, "lora", "adapter", {"passed": True}) / "adapter_config.json").write_text("{}")
    refused = command(settings, "promote", "lora").exception
    assert isinstance(refused, ConfigError)
    assert "ragstone models merge lora" in refused.hint


def test_what_is_recorded_of_a_model_is_shown(settings: Settings) -> None:
    make(settings, "m", "quantized", {"passed": True}, scheme="awq")
    told = json.loads(command(settings, "models", "show", "m").stdout)
    assert (told["scheme"], told["parity"]["passed"]) == ("awq", True)
    assert isinstance(command(settings, "models", "show", "absent").exception, ConfigError)


def test_a_damaged_file_of_promotions_is_an_error_that_names_it(settings: Settings) -> None:
    make(settings, "m", parity={"passed": True})
    command(settings, "promote", "m")
    (Path(settings.config.app.data) / "models" / "promoted.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"promoted\.json"):
        with_promoted(settings)


def test_what_suits_a_model_is_said_of_its_config_alone(settings: Settings) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "num_hidden_layers": 30,
              "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152,
              "tie_word_embeddings": True}  # fmt: skip
    (make(settings, "smol") / "config.json").write_text(json.dumps(config))
    told = json.loads(command(settings, "models", "suits", "smol", "--target", "cpu", "--json").stdout)
    assert (told["parameters"], told["target"], told["parser"]) == (134_515_008, "cpu", "")
    assert told["methods"]["lora"] == told["schemes"]["w8a8"] == told["adapter"] == ""
    shown = " ".join(command(settings, "models", "suits", "smol", "--target", "cpu").output.split())
    assert "w8a8 on cpu yes" in shown
    assert "0.135 billion, " in shown
    assert "22.5 KiB a token" in shown
