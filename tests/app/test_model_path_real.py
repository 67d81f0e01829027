"""The whole model path on pretrained weights: a real vocabulary, tied embeddings, a maker's template and settings.

handbook -> data set -> LoRA -> merged -> quantized -> served by vLLM -> parity -> promoted -> a question answered.
Prompts are short and steps few: it shows that each tool takes what the one before it wrote, on a few minutes of two
cores; how well a model of 135M answers is beside the point.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.answering.answer import Done, answer
from app.answering.backend import with_promoted
from app.answering.plan import planned
from app.keeping.index import run as index_run
from app.training import adapt, dataset, parity, quantize
from app.upkeep.doctor import examine
from core.config import LlmConfig, Settings, load
from llm import fit, harness, registry
from llm.examples import read_examples
from llm.methods import Shape
from llm.serve import base_url
from llm.supervise import Supervisor
from llm.trainers import Settings as Tuning
from retrieval.embed import Embedder
from retrieval.index import Index
from tests import compressor
from tests.conftest import ROOT, SMALL
from tests.fixtures_vllm import free_port
from tests.llm import hellaswag
from tests.needs import needs

needs("trl", "peft")
pytestmark = [pytest.mark.nightly, pytest.mark.vllm, pytest.mark.compressor, pytest.mark.slow]

KB = "handbook"
LONGEST = 360  # tokens of a row that is trained on
STEPS = 8


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    sys.stderr.write(f"{what}: {time.monotonic() - started:.0f} s\n")


@pytest.fixture(scope="module")
def settings(vllm_cfg: LlmConfig, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    flags: dict[str, object] = {
        "app.data": str(tmp_path_factory.mktemp("data")), "ingest.chunk_tokens": 60, "ingest.chunk_overlap": 0,
        "retrieval.k": 1, "retrieval.neighbours": 0, "retrieval.variants": 0, "llm.max_tokens": 48,
        "llm.temperature": 0.0, "llm.compressor_env": compressor.environment(), "llm.vllm_env": vllm_cfg.vllm_env,
        "llm.vllm_build": "cpu", "llm.vllm_port": free_port(), "llm.vllm_cpu_kv_gb": 1,
        "llm.vllm_start_timeout_s": 600.0, "llm.vllm_max_model_len": 2048,
    }  # fmt: skip
    return load(flags=flags | SMALL, environ={})


def asked(settings: Settings, question: str) -> Done:
    async def one(index: Index) -> Done:
        async for event in answer(index, question, await planned(settings.config, index.home)):
            if isinstance(event, Done):
                return event
        raise AssertionError("no answer")

    index = Index.open(Path(settings.config.app.data), KB, Embedder(settings.config.retrieval))
    try:
        return asyncio.run(one(index))
    finally:
        index.close()


@pytest.mark.timeout(2400)
def test_a_pretrained_model_is_tuned_on_the_handbook_made_smaller_proven_and_served(
    settings: Settings, smollm: Path, tmp_path: Path
) -> None:
    import torch

    torch.set_num_threads(1)
    cfg = settings.config
    data = Path(cfg.app.data)
    with timed("index and data set"):
        index_run(cfg, KB, [ROOT / "examples" / "handbook"])
        made = dataset.run(cfg, dataset.Request(KB, "hr", drafted=18, without_gold=0.1))
    assert made["counts"]["train"] > 10
    assert made["counts"]["test"] > 2
    with timed(f"LoRA, {STEPS} steps"):
        tuning = Tuning(
            "lora", shape=Shape(rank=16, alpha=32), max_steps=STEPS, batch_size=1, learning_rate=1e-3,
            max_length=LONGEST, recompute=False,
        )  # fmt: skip
        tuned = adapt.run(cfg, adapt.Request("tuned", str(smollm), "hr", tuning))
    told = tuned["metrics"]
    assert told["after"]["train_loss"] < 0.7 * told["before"]["train_loss"]

    with timed("W8A8"):
        small = quantize.run(cfg, quantize.Request("tuned", "w8a8", "hr", name="small", samples=2))
    found, folder = small["metrics"], data / "models" / "small"
    assert found["perplexity_after"] < 1.15 * found["perplexity_before"]
    # tied embeddings stay one matrix in 16 bits: written twice, they would outweigh what quantizing saves
    config = fit.config_of(folder)
    assert config["tie_word_embeddings"]
    layers = fit.weight_bytes(smollm) - 2 * 49152 * 576
    assert fit.weight_bytes(folder) < 2 * 49152 * 576 + 0.55 * layers
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (smollm / name).read_bytes()
    assert "small" not in json.dumps(registry.promotions(data))

    with timed("parity"):
        report = parity.run(cfg, parity.Request("small", "hr", samples=2), say=lambda line: None)
    told = {name: check["found"] for name, check in report["checks"].items()}
    sys.stderr.write(f"{json.dumps([tuned['metrics'], found, told, report['notes']], indent=1)}\n")
    assert report["passed"], json.dumps(report, indent=1)
    assert report["found"]["template"] == 1.0
    assert any(note.startswith("compared one conversation at a time") for note in report["notes"])
    registry.promote(data, "small")

    promoted = with_promoted(settings)
    log = data / "logs" / "vllm.log"
    with timed("served and asked"), Supervisor.start(promoted.config.llm, log, lambda _: None):
        question = read_examples(data / "datasets" / "hr" / "train.jsonl")[0].prompt[-1].content
        done = asked(promoted, question)
        checks = {check.name: check for check in examine(promoted.config)}
        hellaswag.write(tmp_path)
        exam = harness.Exam(("hellaswag",), str(tmp_path))
        seen: list[tuple[str, int, int]] = []
        url = base_url(promoted.config.llm)
        scored = harness.ask(url, "small", folder, 2048, exam, lambda *told: seen.append(told))
        hellaswag.write(tmp_path, right=2)
        wrong = harness.ask(url, "small", folder, 2048, exam, lambda *told: None)
    assert (scored["questions"], scored["scores"]["hellaswag"]["acc"]) == (4, 1.0)
    assert seen[-1] == ("questions", 16, 16)  # the likelihood of each ending
    assert wrong["scores"]["hellaswag"]["acc"] == 0.0
    assert done.answer.model == "small"
    assert done.answer.text.strip()
    assert checks["answers"].ok
    assert "context 2048 tokens" in checks["answers"].detail
    # what doctor reckons for a token of the cache is what vLLM finds room for
    sized = re.search(r"KV cache size: ([\d,]+) tokens", log.read_text())
    assert sized, log.read_text()[-2000:]
    need = fit.need(promoted.config.llm, "cpu")
    assert (1 << 30) / need.per_token == pytest.approx(int(sized[1].replace(",", "")), rel=0.1)
