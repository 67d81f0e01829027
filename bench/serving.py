"""What serving through the app costs, and what vLLM's means gain: `python -m bench.serving`.

The model is made here (Qwen3 architecture, random weights that give an endless answer), so that every answer has as
many tokens as were asked for. vLLM is its CPU build (llm.vllm_env). All in one run, in turns, on the same machine:

- app: `ragstone serve`, which starts vLLM, over the sample handbook with real retrieval; bare: the same vLLM asked with
  the very same messages and settings. `retrieval.variants` is 0: other wordings would be requests of their own.
- transformers: the same model and prompts by `generate`, one after another, and in batches that are padded and run to
  the longest answer of each (answers of 16 to 128 tokens).
- prefix: the same prompts with prefix caching and without it: other passages each time, and four questions to the same.
- quantized: W8A8 as `ragstone quantize` makes it, against bfloat16, of a wider model.
- cache: blocks of the KV cache in use, against the whole context reserved for each sequence.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.answering.answer import Done, answer
from app.answering.plan import planned
from bench.chats import Run, alternated, cache_config, mean_of, metrics, middle, watched
from bench.record import environment, merge
from core.config import Config, load
from llm.fit import config_of, token_bytes
from llm.serve import Server
from retrieval.embed import Embedder
from retrieval.index import Index
from tests import learning_lm
from tests.fixtures_vllm import free_port
from tests.tiny_lm import Reply, build

_ROOT = Path(__file__).resolve().parent.parent
_RAGSTONE = str(Path(sys.executable).with_name("ragstone"))
_KB, _MODEL = "handbook", "bench-lm"
_CONTEXT, _TOKENS, _PASSAGES = 4096, 64, 800  # of the model, of an answer, of the passages in a prompt
_UNEVEN = (16, 32, 64, 128)
_BATCH = 16
_REPLY = (Reply("And the handbook goes on [1]. 手册继续写道 [1]。 ", endless=True),)
_ASKED = (
    "How many days of annual leave are there", "What does the LT-300 measure", "How is chemical waste stored",
    "When must expenses be approved", "How is the VPN reached", "What does the warranty cover",
    "Who may enter the laboratory", "How long is probation",
)  # fmt: skip
_PACKAGES = ("fastapi", "gradio", "aiohttp", "transformers", "uvicorn")
_ROLES = {"human": "user", "ai": "assistant"}
_SERVER = {"VLLM_SERVER_DEV_MODE": "1"}  # which lets the bench empty the prefix cache between runs

Body = dict[str, Any]


def questions(count: int) -> list[str]:
    """Questions to the handbook, no two alike."""
    return [f"{_ASKED[n % len(_ASKED)]}, case {n}?" for n in range(count)]


def configured(folder: Path, model: Path, port: int, **more: Any) -> Config:
    """The configuration that app and bare vLLM run with."""
    flags = {
        "app.data": str(folder / "data"), "app.kb": _KB, "app.answers_per_minute": 0, "app.answers_at_once": 0,
        "retrieval.variants": 0, "llm.vllm_port": port,
        "retrieval.context_tokens": _PASSAGES, "llm.backend": "vllm", "llm.vllm_model": str(model),
        "llm.vllm_build": "cpu", "llm.vllm_cpu_kv_gb": 2, "llm.vllm_max_model_len": _CONTEXT,
        "llm.max_tokens": _TOKENS,
    }  # fmt: skip
    return load(flags=flags | more).config


def indexed(data: Path) -> None:
    """Index the sample handbook in a data folder."""
    argv = [_RAGSTONE, "index", "examples/handbook", "--kb", _KB]
    subprocess.run(argv, env=os.environ | {"RAGSTONE_DATA": str(data)}, cwd=_ROOT, check=True)


def messages(cfg: Config, asked: Sequence[str]) -> list[list[dict[str, str]]]:
    """What the app sends for each question, while its vLLM answers."""
    index = Index.open(Path(cfg.app.data), _KB, Embedder(cfg.retrieval))
    short = cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"max_tokens": 1})})

    async def one(question: str) -> list[dict[str, str]]:
        async with aclosing(answer(index, question, await planned(short, index.home))) as events:
            async for event in events:
                if isinstance(event, Done):
                    return [{"role": _ROLES.get(role, role), "content": text} for role, text in event.answer.prompt]
        raise SystemExit(f"no answer to {question!r}")

    async def all_of_them() -> list[list[dict[str, str]]]:
        return [await one(question) for question in asked]

    try:
        return asyncio.run(all_of_them())
    finally:
        index.close()


def bare_bodies(cfg: Config, prompts: Sequence[list[dict[str, str]]], tokens: Sequence[int] = (_TOKENS,)) -> list[Body]:
    """Requests to vLLM itself, as the app makes them."""
    same = {"model": _MODEL, "temperature": cfg.llm.temperature, "top_p": cfg.llm.top_p}
    return [same | {"messages": p, "max_tokens": tokens[n % len(tokens)]} for n, p in enumerate(prompts)]


@contextmanager
def serving(cfg: Config, log: Path, **env: str) -> Iterator[str]:
    """A vLLM of its own; yields its address without /v1."""
    with Server.start(cfg.llm, log, _say, env=_SERVER | env) as server:
        yield server.base_url.removesuffix("/v1")


@contextmanager
def app_serving(cfg: Config, log: Path) -> Iterator[str]:
    """`ragstone serve` with its own vLLM; yields its address, /v1 included."""
    port = free_port()
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAGSTONE_")}
    for section in ("app", "retrieval", "llm"):
        for key, value in getattr(cfg, section).model_dump().items():
            if value != getattr(getattr(Config(), section), key):
                told = json.dumps(value) if isinstance(value, list) else str(value)
                own[f"RAGSTONE_{section.upper()}__{key.upper()}"] = told
    with log.open("wb") as sink:
        argv = [_RAGSTONE, "serve", "--kb", _KB, "--port", str(port)]
        app = subprocess.Popen(argv, env=own | _SERVER, cwd=_ROOT, stdout=sink, stderr=subprocess.STDOUT)
    try:
        while _status(f"http://127.0.0.1:{port}/healthz") != httpx.codes.OK:
            if app.poll() is not None:
                raise SystemExit(f"the app ended: {log.read_text('utf-8', errors='replace')[-2000:]}")
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        app.terminate()
        app.wait(60)


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return 0


# --- what is measured ------------------------------------------------------------------------------------------------


def through_the_app(cfg: Config, log: Path, levels: Sequence[int], seconds: float, rounds: int) -> dict[str, Any]:
    """App against bare at each number of chats at once; and the prompts, for what is measured after it."""
    rows: dict[str, Any] = {}
    server = f"http://127.0.0.1:{cfg.llm.vllm_port}"
    with app_serving(cfg, log) as app:
        for level in levels:
            asked = questions(max(12, 2 * level))
            body = {"model": _KB, "max_tokens": _TOKENS}
            prompts = messages(cfg, asked)
            ways: dict[str, tuple[str, Sequence[Body]]] = {
                "bare": (f"{server}/v1", bare_bodies(cfg, prompts)),
                "app": (app, [body | {"messages": [{"role": "user", "content": text}]} for text in asked]),
            }
            _same_prompts(server, ways)
            runs = alternated(ways, level, seconds, rounds, server)
            rows[str(level)] = _against(runs, "app", "bare")
            _say(f"{level} at once: {json.dumps(rows[str(level)])}")
    return rows


def _same_prompts(server: str, ways: dict[str, tuple[str, Sequence[Body]]]) -> None:
    """End the bench where the app does not send what is taken for its messages; loads what a first request loads."""
    counted = set()
    for url, bodies in ways.values():
        before = metrics(server)["vllm:prompt_tokens_total"]
        for body in bodies[:4]:
            httpx.post(f"{url}/chat/completions", json=body, timeout=300, trust_env=False).raise_for_status()
        counted.add(metrics(server)["vllm:prompt_tokens_total"] - before)
    if len(counted) > 1:
        raise SystemExit(f"the app's prompts are others than the bare ones: {counted} tokens")


def _against(runs: dict[str, list[Run]], name: str, other: str) -> dict[str, Any]:
    mine, theirs = middle(runs[name]), middle(runs[other])
    return {
        name: mine.told(), other: theirs.told(), "throughput": round(mine.rate / theirs.rate, 3),
        "first_p50_added_ms": round(mine.told()["first_p50_ms"] - theirs.told()["first_p50_ms"], 1),
        "throughput_of_each_round": [round(a.rate / b.rate, 3) for a, b in zip(runs[name], runs[other], strict=True)],
    }  # fmt: skip


def with_generate(model: Path, bodies: Sequence[Body], at_once: int) -> dict[str, float]:
    """Requests per second of transformers, `at_once` in a padded batch that runs to its longest answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # as many as vLLM has
    lm: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype="auto", local_files_only=True).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(str(model), local_files_only=True, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    pieces, started = 0, time.perf_counter()
    for start in range(0, len(bodies), at_once):
        batch = bodies[start : start + at_once]
        texts = [
            tokenizer.apply_chat_template(b["messages"], add_generation_prompt=True, tokenize=False) for b in batch
        ]
        ids = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            lm.generate(**ids, max_new_tokens=max(b["max_tokens"] for b in batch), do_sample=False)
        pieces += sum(b["max_tokens"] for b in batch)
    seconds = time.perf_counter() - started
    return {"per_second": round(len(bodies) / seconds, 3), "pieces_per_second": round(pieces / seconds, 1)}


def against_generate(cfg: Config, server: str, prompts: list[Any], seconds: float, rounds: int) -> dict[str, Any]:
    """Both on the same requests of uneven length, one at a time and sixteen."""
    found: dict[str, Any] = {}
    for name, at_once in (("one", 1), ("sixteen", _BATCH)):
        bodies = bare_bodies(cfg, prompts[: 8 if at_once == 1 else 3 * _BATCH], _UNEVEN)
        theirs = with_generate(Path(cfg.llm.vllm_model), bodies, at_once)
        runs = alternated({"vllm": (f"{server}/v1", bodies)}, at_once, seconds, rounds, server)["vllm"]
        found[name] = {"vllm": middle(runs).told(), "transformers": theirs}
        found[name]["throughput"] = round(middle(runs).rate / theirs["per_second"], 2)
    return found


def cache_memory(cfg: Config, server: str, bodies: Sequence[Body]) -> dict[str, Any]:
    """KV cache of sixteen chats: bytes in vLLM's blocks, and bytes where a context is reserved for each of them."""
    told = cache_config(server)
    config = config_of(Path(cfg.llm.vllm_model))
    per_token = token_bytes(config, 2)
    room = int(told["num_gpu_blocks"]) * int(told["block_size"]) * per_token
    seen = asyncio.run(watched(server, f"{server}/v1", bodies, _BATCH))
    paged = mean_of([used * room for _, used in seen])
    reserved = mean_of([running * _CONTEXT * per_token for running, _ in seen])
    return {
        "bytes_per_token": per_token, "block_tokens": int(told["block_size"]),
        "chats": round(mean_of([running for running, _ in seen]), 1),
        "paged_mib": round(paged / 2**20, 2), "reserved_mib": round(reserved / 2**20, 2),
        "share": round(paged / reserved, 3),
    }  # fmt: skip


def prefixes(prompts: list[Any]) -> dict[str, list[Any]]:
    """Prompts with other passages each time, and four questions to the same passages."""
    same = [[prompts[n - n % 4][0], prompts[n][-1]] for n in range(len(prompts))]
    return {"other passages": prompts, "same passages": same}


def quantized(folder: Path, cfg: Config, wide: Path) -> Path:
    """The wide model as `ragstone quantize` makes it in W8A8, calibrated on the rows that it was trained on."""
    (folder / "rows.jsonl").write_text(learning_lm.rows(), "utf-8")
    argv = [_RAGSTONE, "quantize", str(wide), "--scheme", "w8a8", "--name", "wide-w8a8"]
    argv += ["--data", str(folder / "rows.jsonl"), "--target", "cpu"]
    env = os.environ | {"RAGSTONE_DATA": cfg.app.data}
    subprocess.run(argv, env=env, cwd=_ROOT, check=True)
    return Path(cfg.app.data) / "models" / "wide-w8a8"


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description="What serving costs and gains.")
    parser.add_argument("--levels", default="1,4,16,50,64", help="chats at once (default 1,4,16,50,64)")
    parser.add_argument("--seconds", type=float, default=60.0, help="no request of a run is begun later (default 60)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured (default 3)")
    parser.add_argument("--parts", default="app,engine,quantized", help="what is measured (default: all)")
    parser.add_argument("--layers", type=int, default=4, help="of the model; the app's share shrinks as it grows")
    parser.add_argument("--hidden", type=int, default=256, help="size of the model's layers, a multiple of 64")
    options = parser.parse_args()
    made = f"app, {options.layers} layers of {options.hidden}"
    levels, parts = [int(level) for level in options.levels.split(",")], options.parts.split(",")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
        folder = Path(name)
        model = build(folder / _MODEL, _REPLY, layers=options.layers, hidden=options.hidden)
        cfg = configured(folder, model, free_port())
        indexed(Path(cfg.app.data))
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "app": lambda: {made: through_the_app(cfg, folder / "app.log", levels, options.seconds, options.rounds)},
            "engine": lambda: _engine(folder, cfg, options.seconds, options.rounds),
            "quantized": lambda: {"quantized": _quantized(folder, cfg, options.seconds, options.rounds)},
        }
        for part in parts:
            found |= measures[part]()
            merge("serving", found | {"environment": environment(_PACKAGES)})
    print(table(found))


def _engine(folder: Path, cfg: Config, seconds: float, rounds: int) -> dict[str, Any]:
    """What vLLM does by itself: against transformers, with and without prefix caching, and the memory of its cache."""
    found: dict[str, Any] = {}
    runs: dict[str, dict[str, Run]] = {}
    for caching in ("on", "off"):
        args = [] if caching == "on" else ["--no-enable-prefix-caching"]
        own = configured(folder, Path(cfg.llm.vllm_model), free_port(), **{"llm.vllm_args": args})
        with serving(own, folder / f"prefix-{caching}.log") as server:
            prompts = messages(own, questions(3 * _BATCH))
            for kind, bodies in ((kind, bare_bodies(own, each)) for kind, each in prefixes(prompts).items()):
                way = {caching: (f"{server}/v1", bodies)}
                runs.setdefault(kind, {})[caching] = middle(alternated(way, 4, seconds, rounds, server)[caching])
            if caching == "off":
                found["cache"] = cache_memory(own, server, bare_bodies(own, prompts, _UNEVEN))
                found["transformers"] = against_generate(own, server, prompts, seconds, rounds)
            else:
                found["cache, prefixes shared"] = cache_memory(own, server, bare_bodies(own, prompts, _UNEVEN))
    found["prefix"] = {
        kind: {
            "on": each["on"].told(), "off": each["off"].told(),
            "throughput": round(each["on"].rate / each["off"].rate, 2),
            "first_p50": round(each["on"].told()["first_p50_ms"] / each["off"].told()["first_p50_ms"], 2),
        }
        for kind, each in runs.items()
    }  # fmt: skip
    return found


def _quantized(folder: Path, cfg: Config, seconds: float, rounds: int) -> dict[str, Any]:
    """W8A8 against bfloat16 of the wider model, at one chat and at sixteen."""
    wide = learning_lm.build(folder / "wide-lm", layers=8, hidden=1024, steps=5, dtype="bfloat16")
    length = {"llm.vllm_name": _MODEL, "llm.vllm_max_model_len": learning_lm.CONTEXT}
    told: dict[str, dict[str, Run]] = {}
    for name, model in (("w8a8", quantized(folder, cfg, wide)), ("bf16", wide)):
        own = configured(folder, model, free_port(), **length)
        with serving(own, folder / f"{name}.log") as server:
            prompts = [[{"role": "user", "content": question}] for question in questions(2 * _BATCH)]
            for at_once in (1, _BATCH):
                bodies = [b | {"ignore_eos": True} for b in bare_bodies(own, prompts[: 8 if at_once == 1 else None])]
                runs = alternated({name: (f"{server}/v1", bodies)}, at_once, seconds, rounds, server)[name]
                told.setdefault(str(at_once), {})[name] = middle(runs)
    rates = {level: round(each["w8a8"].rate / each["bf16"].rate, 2) for level, each in told.items()}
    size = {m.name: sum(f.stat().st_size for f in m.glob("*.safetensors")) for m in (wide, _last(cfg))}
    each = {level: {name: run.told() for name, run in runs.items()} for level, runs in told.items()}
    return {"throughput": rates, "bytes": size, "runs": each}


def _last(cfg: Config) -> Path:
    return Path(cfg.app.data) / "models" / "wide-w8a8"


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = []
    for name in (name for name in found if name.startswith("app, ")):
        lines += [name, "", "| at once | requests a second, app / bare | ratio "
                  "| first word p50, p95, longest ms, app / bare | added |",
                  "|---|---|---|---|---|"]  # fmt: skip
        for level, row in found[name].items():
            app, bare = row["app"], row["bare"]
            lines.append(
                f"| {level} | {app['per_second']} / {bare['per_second']} | {row['throughput']} "
                f"| {_waits(app)} / {_waits(bare)} "
                f"| {row['first_p50_added_ms']} |"
            )
    for name, row in found.get("transformers", {}).items():
        lines.append(f"vLLM to transformers, {name} at a time: {row['throughput']} times the requests a second")
    for name, row in found.get("prefix", {}).items():
        lines.append(f"prefix caching, {name}: {row['throughput']} x requests, {row['first_p50']} x first word")
    for name in ("cache", "cache, prefixes shared"):
        if row := found.get(name):
            lines.append(f"{name}: {row['paged_mib']} MiB paged, {row['reserved_mib']} MiB reserved, {row['share']}")
    if row := found.get("quantized"):
        lines.append(f"w8a8 to bf16: {row['throughput']} x requests; bytes {row['bytes']}")
    return "\n".join(lines)


def _waits(told: dict[str, float]) -> str:
    return ", ".join(str(told[f"first_{name}_ms"]) for name in ("p50", "p95", "longest"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
