"""A/B: who answers a chat, and how votes are counted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.commands.models import models
from app.training.variants import tallies, variant_for
from app.training.votes import Vote, add_vote, votes_file
from core.config import LlmConfig, load
from core.errors import ConfigError
from llm import adapters
from llm.endpoint import Endpoint
from llm.examples import Message
from tests.app.stub_model import MODEL, serving

CHATS = [f"chat-{n}" for n in range(2000)]


def names(cfg: LlmConfig) -> list[str]:
    return [variant_for(cfg, chat).name for chat in CHATS]


def test_without_a_share_nothing_is_compared_and_nothing_changes() -> None:
    cfg = LlmConfig(ab_model="b")
    assert variant_for(cfg, "x").name == ""
    assert variant_for(cfg, "x").llm is cfg


def test_a_share_of_the_chats_has_the_second_variant_and_keeps_it() -> None:
    cfg = LlmConfig(ab_percent=30.0, ab_model="b")
    found = names(cfg)
    assert found == names(cfg)
    assert 0.27 < found.count("B") / len(found) < 0.33
    assert set(names(cfg.model_copy(update={"ab_percent": 100.0}))) == {"B"}


def test_a_larger_share_moves_chats_from_a_to_b_only() -> None:
    cfg = LlmConfig(ab_percent=20.0, ab_model="b")
    pairs = set(zip(names(cfg), names(cfg.model_copy(update={"ab_percent": 60.0})), strict=True))
    assert pairs == {("A", "A"), ("A", "B"), ("B", "B")}
    other = names(cfg.model_copy(update={"ab_model": "c"}))
    assert other != names(cfg)  # another comparison divides the chats anew


def test_the_second_variant_is_another_server_or_another_model_of_the_same() -> None:
    base = LlmConfig(ab_percent=100.0, base_url="http://a/v1", base_urls=["http://a2/v1"], model="m", ab_model="b")
    same = variant_for(base, "x").llm
    assert (same.base_url, same.base_urls, same.model, same.adapter) == ("http://a/v1", ["http://a2/v1"], "b", "b")
    other = variant_for(base.model_copy(update={"ab_base_url": "http://b/v1"}), "x").llm
    assert (other.backend, other.base_url, other.base_urls, other.model) == ("openai", "http://b/v1", [], "b")
    with pytest.raises(ConfigError, match="no second variant") as caught:
        variant_for(LlmConfig(ab_percent=1.0), "x")
    assert "llm.ab_model" in caught.value.hint


def test_the_adapter_of_the_second_variant_comes_before_that_of_the_knowledge_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in ("own", "second"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        told = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": str(base)}
        (folder / "adapter_config.json").write_text(json.dumps(told))
        (folder / "adapter_model.safetensors").write_bytes(b"")
    cfg = LlmConfig(ab_percent=100.0, ab_model="second", vllm_lora_rank=8, vllm_model=str(base))
    adapters.assign(tmp_path, tmp_path / "models", "own", cfg)
    with serving() as stub:
        endpoint = Endpoint(stub.base_url, MODEL, "")
        asked = (cfg, variant_for(cfg, "x").llm)
        models_ = [adapters.adapted(endpoint, tmp_path / "models", tmp_path, each).model for each in asked]
    assert [adapters.name_of(model) for model in models_] == ["own", "second"]


def vote(number: int, kind: str, model: str, variant: str = "", correction: str | None = None) -> Vote:
    told = {"id": str(number), "time": "2026-01-01T00:00:00Z", "question": "Q?", "answer": "A.", "vote": kind}
    prompt = (Message(role="user", content="Q?"),)
    return Vote.model_validate(told | {"prompt": prompt, "model": model, "variant": variant, "correction": correction})


def test_votes_are_counted_by_variant_with_an_interval() -> None:
    votes = [vote(n, "up", "base", "A") for n in range(8)] + [vote(8, "down", "base", "A")]
    votes += [vote(9, "up", "base", "A", "Better."), vote(10, "down", "tuned", "B")]
    a, b = tallies(votes)
    assert (a.variant, a.model, a.up, a.down) == ("A", "base", 8, 2)
    # by hand for 8 of 10: (0.8 + 0.19208) / 1.38416 -/+ 1.96 / 1.38416 x sqrt(0.016 + 0.009604)
    assert (round(a.low, 3), round(a.high, 3)) == (0.490, 0.943)
    assert (b.variant, b.up, b.down, b.low, round(b.high, 3)) == ("B", 0, 1, 0.0, 0.793)


def test_the_command_counts_over_all_knowledge_bases(tmp_path: Path) -> None:
    settings = load(flags={"app.data": str(tmp_path)}, environ={})
    for number, kb in enumerate(("one", "two")):
        (tmp_path / kb).mkdir()
        (tmp_path / kb / "CURRENT").write_text("g1")
        add_vote(votes_file(tmp_path, kb), vote(number, "up", "base"))
    told = CliRunner().invoke(models, ["votes", "--json"], obj=settings, catch_exceptions=False).stdout
    assert [(row["variant"], row["model"], row["up"]) for row in json.loads(told)["votes"]] == [("", "base", 2)]
    shown = CliRunner().invoke(models, ["votes", "--kb", "one"], obj=settings, catch_exceptions=False).stdout
    assert "21% to 100%" in shown
