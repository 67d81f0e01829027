"""The whole model path: documents -> data set -> LoRA -> merged -> quantized -> proven -> promoted -> served.

On a tiny model that is known to have learnt, with tied embeddings, as small pretrained ones have; at night on one of
those, in test_model_path_real.py.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.answering.answer import Done, answer
from app.answering.backend import with_promoted
from app.answering.plan import planned
from app.keeping.index import run as index_run
from app.measuring import golden
from app.training import adapt, dataset, parity, quantize
from app.upkeep.doctor import examine
from core.config import LlmConfig, Settings, load
from llm import fit, registry
from llm.examples import Example, read_examples
from llm.methods import Shape
from llm.supervise import Supervisor
from llm.trainers import Settings as Tuning
from prompts.load import load as load_prompt
from retrieval.embed import Embedder
from retrieval.index import Index
from tests import compressor, learning_lm
from tests.fixtures_vllm import free_port
from tests.needs import needs

needs("trl", "peft")
pytestmark = [pytest.mark.vllm, pytest.mark.compressor, pytest.mark.slow]

_COLOURS = {
    "sand": "yellow", "rust": "red", "moss": "green", "milk": "white", "coal": "black", "plum": "purple",
    "snow": "pale", "clay": "brown",
}  # fmt: skip


def _settings(data: Path, vllm: LlmConfig) -> Settings:
    flags = {
        "app.data": str(data), "retrieval.k": 1, "retrieval.neighbours": 0, "retrieval.variants": 0,
        "llm.max_tokens": 32, "llm.temperature": 0.0, "llm.compressor_env": compressor.environment(),
        "llm.vllm_env": vllm.vllm_env, "llm.vllm_build": "cpu", "llm.vllm_port": free_port(),
        "llm.vllm_cpu_kv_gb": 1, "llm.vllm_start_timeout_s": 300.0,
        "prompts.sources": "rules",  # so small a model learns where its passage stands from some dozen examples
    }  # fmt: skip
    return load(flags=flags, environ={})


def _said(folder: Path, examples: Sequence[Example]) -> list[str]:
    """What the weights of a folder answer to the prompts of examples, greedily, by transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    said = []
    for example in examples:
        asked = [message.model_dump() for message in example.prompt]
        ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        new = model.generate(**ids, max_new_tokens=32, do_sample=False)[0, ids["input_ids"].shape[1] :]
        said.append(str(tokenizer.decode(new, skip_special_tokens=True)))
    return said


def _asked(settings: Settings, questions: Sequence[str]) -> list[tuple[str, str]]:
    """What the app answers, and which model spoke."""

    async def one(index: Index, question: str) -> tuple[str, str]:
        async for event in answer(index, question, await planned(settings.config, index.home)):
            if isinstance(event, Done):
                return event.answer.text, event.answer.model
        raise AssertionError("no answer")

    index = Index.open(Path(settings.config.app.data), "colours", Embedder(settings.config.retrieval))
    try:
        return [asyncio.run(one(index, question)) for question in questions]
    finally:
        index.close()


def test_what_the_documents_say_is_learnt_quantized_and_served(vllm_cfg: LlmConfig, tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    docs, data = tmp_path / "docs", tmp_path / "data"
    docs.mkdir()
    for thing, colour in _COLOURS.items():
        (docs / f"{thing}.md").write_text(f"# {thing}\n\nThe colour of {thing} is {colour}.\n")
    settings = _settings(data, vllm_cfg)
    cfg = settings.config
    index_run(cfg, "colours", [docs])
    asked = [
        golden.made(
            f"Which colour is {thing}?", [f"The colour of {thing} is {colour}."], f"{thing}.md", "person",
            status="approved", answer=f"It is {colour}.",
        )
        for thing, colour in _COLOURS.items()
    ]  # fmt: skip
    golden.append(golden.golden_file(data, "colours"), asked)

    dataset.run(cfg, dataset.Request("colours", "colours", without_gold=0.0))
    train = read_examples(data / "datasets" / "colours" / "train.jsonl")
    assert 4 <= len(train) < len(_COLOURS)  # the others are of files that are held out
    system = load_prompt(Path(cfg.prompts.library), "answer").parts["en"][0]
    questions = [example.prompt[-1].content for example in train]
    wrong = [example.answer for example in (*train[1:], train[0])]
    texts = [message.content for example in train for message in example.messages]
    base = learning_lm.build(
        tmp_path / "base", questions, wrong, texts=[system, *texts * 4], vocabulary=900, hidden=128, dtype="bfloat16",
        tied=True,
    )  # fmt: skip
    tuning = Tuning(
        "lora", shape=Shape(rank=32, alpha=64), max_steps=160, batch_size=8, learning_rate=1e-2, recompute=False
    )
    adapt.run(cfg, adapt.Request("tuned", str(base), "colours", tuning, dev=0))
    quantize.run(cfg, quantize.Request("tuned", "w8a8", "colours", name="small"))
    small = data / "models" / "small"
    config = fit.config_of(small)
    # tied embeddings stay one matrix in 16 bits: written twice, they would outweigh what quantizing saves
    assert config["tie_word_embeddings"]
    embeddings = 2 * config["vocab_size"] * config["hidden_size"]
    assert fit.weight_bytes(small) < embeddings + 0.6 * (fit.weight_bytes(base) - embeddings)
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (small / name).read_bytes() == (base / name).read_bytes()
    assert "small" not in json.dumps(registry.promotions(data))
    report = parity.run(cfg, parity.Request("small", str(data / "datasets" / "colours" / "train.jsonl")))
    assert report["passed"], json.dumps(report, indent=1)
    assert report["found"]["template"] == 1.0
    assert any(note.startswith("compared one conversation at a time") for note in report["notes"])
    registry.promote(data, "small")

    merged = _said(data / "models" / "tuned-merged", train)
    assert merged == [example.answer for example in train]
    assert all(before != after for before, after in zip(_said(base, train), merged, strict=True))
    promoted = with_promoted(settings)
    with Supervisor.start(promoted.config.llm, tmp_path / "vllm.log", lambda _: None):
        answers = _asked(promoted, questions)
        checks = {check.name: check for check in examine(promoted.config)}
    assert answers == [(text, "small") for text in merged]
    assert checks["answers"].ok
    assert f"context {learning_lm.CONTEXT} tokens" in checks["answers"].detail
