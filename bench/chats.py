"""Many chats at once with a server of the OpenAI form: when the first word of each answer came, and when the last."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import fmean
from typing import Any

import httpx

from retrieval.metrics import percentile

_TIMEOUT_S = 300.0
_SAMPLED_S = 0.1
_METRIC = re.compile(r"^(vllm:\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class Run:
    """What was measured of some chats: seconds to the first word of each, pieces of all, seconds from first to last."""

    first_s: list[float] = field(default_factory=list)
    pieces: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.first_s) / self.seconds

    def told(self) -> dict[str, float]:
        """The figures that are recorded."""
        waits = {f"first_p{p}_ms": round(percentile(self.first_s, p / 100) * 1000, 1) for p in (50, 95)}
        return {"requests": len(self.first_s), "per_second": round(self.rate, 3)} | waits | {
            "first_longest_ms": round(max(self.first_s) * 1000, 1),
            "pieces_per_second": round(self.pieces / self.seconds, 1),
        }  # fmt: skip


def chats(url: str, bodies: Sequence[dict[str, Any]], at_once: int, seconds: float) -> Run:
    """Send the requests, `at_once` at a time, each new one when another is answered; none is begun after `seconds`."""
    return asyncio.run(_chats(url, bodies, at_once, seconds))


async def _chats(url: str, bodies: Sequence[dict[str, Any]], at_once: int, seconds: float) -> Run:
    run, numbers, started = Run(), count(), time.perf_counter()
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, limits=limits) as client:

        async def one_after_another() -> None:
            while (number := next(numbers)) < len(bodies) and time.perf_counter() - started < seconds:
                await _chat(client, url, bodies[number], run)

        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    run.seconds = time.perf_counter() - started
    return run


async def _chat(client: httpx.AsyncClient, url: str, body: dict[str, Any], run: Run) -> None:
    sent = time.perf_counter()
    pieces = 0
    async with client.stream("POST", f"{url}/chat/completions", json=body | {"stream": True}) as response:
        if response.status_code != httpx.codes.OK:
            raise SystemExit(f"{url} answered HTTP {response.status_code}: {(await response.aread())[:500]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            if not pieces:
                told = json.loads(line[6:])
                if "choices" not in told:
                    raise SystemExit(f"{url} answered {line[:500]}")
                if not told["choices"][0]["delta"].get("content"):
                    continue
                run.first_s.append(time.perf_counter() - sent)
            pieces += 1
    if not pieces:
        raise SystemExit(f"{url} gave an empty answer")
    run.pieces += pieces


def alternated(
    ways: Mapping[str, tuple[str, Sequence[dict[str, Any]]]], at_once: int, seconds: float, rounds: int, between: str
) -> dict[str, list[Run]]:
    """The same chats in several ways, in turns, so that what else the machine does falls on all alike.

    `ways`: name -> (url, requests). `between`: the vLLM whose prefix cache is emptied before each.
    """
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            httpx.post(f"{between}/reset_prefix_cache", trust_env=False).raise_for_status()
            runs[name].append(chats(*ways[name], at_once, seconds))
    return runs


def middle(runs: Sequence[Run]) -> Run:
    """The run of the middle rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


# --- what vLLM tells of itself ---------------------------------------------------------------------------------------


def metrics(server: str) -> dict[str, float]:
    """The metrics of a vLLM by name; of several with the same name the sum."""
    found: dict[str, float] = {}
    for name, _, value in _METRIC.findall(httpx.get(f"{server}/metrics", trust_env=False).text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def cache_config(server: str) -> dict[str, str]:
    """The labels of vLLM's `cache_config_info`: block_size, num_gpu_blocks, ..."""
    text = httpx.get(f"{server}/metrics", trust_env=False).text
    line = next(line for line in text.splitlines() if line.startswith("vllm:cache_config_info{"))
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


async def watched(server: str, url: str, bodies: Sequence[dict[str, Any]], at_once: int) -> list[tuple[float, float]]:
    """Answer the requests, and tell (sequences in the batch, share of the blocks in use) every 0.1 s meanwhile."""
    seen: list[tuple[float, float]] = []

    async def look() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                text = (await client.get(f"{server}/metrics")).text
                now = {name: float(value) for name, _, value in _METRIC.findall(text)}
                seen.append((now["vllm:num_requests_running"], now["vllm:kv_cache_usage_perc"]))
                await asyncio.sleep(_SAMPLED_S)

    looking = asyncio.create_task(look())
    try:
        await _chats(url, bodies, at_once, _TIMEOUT_S)
    finally:
        looking.cancel()
    return [(running, used) for running, used in seen if running]


def mean_of(values: Sequence[float]) -> float:
    """The mean; 0 of none."""
    return fmean(values) if values else 0.0
