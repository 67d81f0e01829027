"""What a server need not compute again in a conversation: `python -m bench.prefixes --against TREE`.

Three conversations of ten questions each to the sample handbook go through `ragstone serve` of this build, and of the
one in TREE (another checkout). A stand-in takes down each prompt and answers with the beginning of its first passage.
The prompts are then put to vLLM's CPU build, one after another, its prefix cache emptied before each conversation:
`usage.prompt_tokens_details.cached_tokens` says how many tokens of a prompt it did not compute. vLLM keeps whole blocks
(of 128 tokens on the CPU, by default of 16 on a GPU): `--block` sets how many tokens one has.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.record import environment, merge, recorded
from bench.serving import configured, indexed, serving
from tests.app.stub_model import Call, Stub
from tests.app.stub_model import serving as standing_in
from tests.fixtures_vllm import free_port
from tests.tiny_lm import Reply, build

_ROOT = Path(__file__).resolve().parent.parent
_RAGSTONE = str(Path(sys.executable).with_name("ragstone"))
_KB, _MODEL, _CONTEXT = "handbook", "bench-lm", 16384
_ANSWER = 60  # words, or twice as many Chinese characters
_SOURCE = re.compile(r'^<source n="1" [^\n]*>\n(.*?)\n</source>$', re.DOTALL | re.MULTILINE)
_START_S = 600.0
CONVERSATIONS = {
    "work": (
        "How many vacation days are there in Rotterdam after seven years?",
        "By when must vacation days left over from last year be used up?",
        "How many vacation days could be carried over under the 2024 rules?",
        "How many weeks of notice are there in the probation period?",
        "Between which times does everyone have to be at work?",
        "How much money is there for courses and conferences each year?",
        "What does a lost badge cost?",
        "For how long may the projector be borrowed?",
        "How long does a password have to be?",
        "Which server address is entered in the VPN client?",
    ),
    "products": (
        "Up to what turbidity does the LT-300 measure?",
        "What does E-4102 mean on an LT-300?",
        "Which code opens the calibration menu of the LT-300?",
        "Why was firmware 3.4.0 of the LT-300 pulled back?",
        "How is the LT-520 calibrated after a new cap?",
        "What does E-5201 mean on an LT-520?",
        "How many sensors can be plugged into the field hub?",
        "How long is the warranty of the LG-9?",
        "What does a customer pay when a returned sensor is fine?",
        "What does the conductivity sensor LT-640 cost?",
    ),
    "差旅与办公": (
        "国内出差酒店一晚最多能报多少钱？",
        "出差期间的餐费补贴标准是多少？",
        "出差前借款的上限是多少？",
        "商务舱机票由谁批准？",
        "差旅办法第十三条规定的现场津贴一天多少？",
        "采购三万块的仪器谁有权批准？",
        "合同一天里什么时候可以盖章？",
        "试用期工资打几折？",
        "病假从第几天起要交医院证明？",
        "杭州四年工龄的年假有几天？",
    ),
}


def prompts(tree: Path, data: Path, log: Path) -> dict[str, list[Any]]:
    """The messages that the app of a checkout sends for each question of the conversations."""
    found: dict[str, list[Any]] = {}
    with standing_in() as stub:
        stub.rows = [{"id": "stand-in", "max_model_len": _CONTEXT}]
        stub.thinks = _quotes
        with _app(tree, data, stub, log) as url:
            for name, asked in CONVERSATIONS.items():
                stub.calls.clear()
                turns: list[dict[str, str]] = []
                for question in asked:
                    turns.append({"role": "user", "content": question})
                    told = httpx.post(
                        f"{url}/v1/chat/completions", json={"model": _KB, "messages": turns}, timeout=_START_S,
                        trust_env=False,
                    ).raise_for_status()  # fmt: skip
                    turns.append({"role": "assistant", "content": told.json()["choices"][0]["message"]["content"]})
                found[name] = [call.body["messages"] for call in stub.answers()]
                if len(found[name]) != len(asked):
                    raise SystemExit(f"{name}: {len(asked)} questions, {len(found[name])} prompts")
    return found


def _quotes(call: Call) -> str:
    """The beginning of the first passage of the last question, as a model's answer."""
    shown = _SOURCE.findall(call.text)
    text = " ".join((shown[-1] if shown else "nothing").split())
    words = text.split(" ")
    return f"{' '.join(words[:_ANSWER])[: 4 * _ANSWER]} [1]."


@contextmanager
def _app(tree: Path, data: Path, stub: Stub, log: Path) -> Iterator[str]:
    port = free_port()
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAGSTONE_")}
    own |= {"PYTHONPATH": str(tree), "RAGSTONE_DATA": str(data), "RAGSTONE_LLM__BASE_URL": stub.base_url}
    own |= {"RAGSTONE_RETRIEVAL__VARIANTS": "0", "RAGSTONE_APP__ANSWERS_PER_MINUTE": "0"}
    with log.open("wb") as sink:
        argv = [_RAGSTONE, "serve", "--kb", _KB, "--port", str(port)]
        app = subprocess.Popen(argv, env=own, cwd=tree, stdout=sink, stderr=subprocess.STDOUT)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + _START_S
    try:
        while not _healthy(url):
            if app.poll() is not None or time.monotonic() > end:
                raise SystemExit(
                    f"the app of {tree} does not answer: {log.read_text('utf-8', errors='replace')[-2000:]}"
                )
            time.sleep(0.3)
        yield url
    finally:
        app.terminate()
        app.wait(60)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def cached(server: str, conversation: Sequence[Any]) -> list[tuple[int, int]]:
    """(tokens, of them cached) of each prompt of a conversation, which finds an empty cache."""
    httpx.post(f"{server}/reset_prefix_cache", trust_env=False).raise_for_status()
    found = []
    for messages in conversation:
        body = {"model": _MODEL, "messages": messages, "max_tokens": 1, "temperature": 0.0}
        told = httpx.post(f"{server}/v1/chat/completions", json=body, timeout=_START_S, trust_env=False)
        usage = told.raise_for_status().json()["usage"]
        found.append((usage["prompt_tokens"], (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0))
    return found


def _told(rows: Sequence[tuple[int, int]]) -> dict[str, Any]:
    total, kept = sum(n for n, _ in rows), sum(n for _, n in rows)
    return {"prompt_tokens": total, "cached": kept, "computed": total - kept, "cached_by_turn": [n for _, n in rows]}


def main() -> None:
    """Measure, print the table and record it."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefixes", description="Cached tokens of conversations.")
    parser.add_argument("--against", type=Path, help="the checkout of another build (default: what was recorded of it)")
    parser.add_argument(
        "--data", type=Path, help="a data folder with the handbook as `handbook` (default: indexed here)"
    )
    parser.add_argument("--block", type=int, default=0, help="tokens of a block of the cache (default: vLLM's own)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name:
        folder = Path(name)
        data = options.data or folder / "data"
        if not options.data:
            indexed(data)
        trees = {"now": _ROOT} | ({"before": options.against.resolve()} if options.against else {})
        sent = {build_: prompts(tree, data, folder / f"{build_}.log") for build_, tree in trees.items()}
        model = build(folder / _MODEL, (Reply("And so it goes on [1]. ", endless=True),))
        args = ["--enable-prompt-tokens-details", *(["--block-size", str(options.block)] if options.block else [])]
        more = {"llm.vllm_args": args, "llm.vllm_max_model_len": 2 * _CONTEXT}  # a small vocabulary cuts finer
        with serving(configured(folder, model, free_port(), **more), folder / "vllm.log") as server:
            rows = {
                talk: {build_: _told(cached(server, sent[build_][talk])) for build_ in trees} for talk in CONVERSATIONS
            }
    name = f"prefixes, blocks of {options.block or 128}"
    rows = {talk: {"before": recorded(name).get(talk, {}).get("before")} | row for talk, row in rows.items()}
    print("| conversation | cached tokens, now / before | | computed, now / before |\n|---|---|---|---|")
    for talk, row in rows.items():
        now, before = row["now"], row["before"] or row["now"]
        times = now["cached"] / max(before["cached"], 1)
        computed = f"{now['computed']} / {before['computed']}"
        print(f"| {talk} | {now['cached']} / {before['cached']} | {times:.1f} | {computed} |")
    merge(name, rows | {"environment": environment(("tokenizers",))})


if __name__ == "__main__":
    main()
