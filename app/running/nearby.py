"""Model servers of this machine, found at the ports that they usually listen on; and a trial of any server."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.config import LlmConfig
from core.errors import ModelError
from llm.chat import stream
from llm.endpoint import probe, served
from llm.thinking import Thought

USUAL = {8000: "vLLM", 11434: "Ollama", 8080: "llama.cpp", 1234: "LM Studio"}
_PATIENCE_S = 1.5  # for a server of this machine that has nothing to compute
_TRIAL_S, _TRIAL_TOKENS, _SHOWN = 60.0, 512, 80  # a model that thinks first takes tokens before its first word
_NO_CHAT = ("embed", "rerank", "bge-", "e5-")  # in the names of models that answer no questions
_GREETING = {"en": "Say hello in one short sentence.", "zh": "用一句短话问好。"}


@dataclass(frozen=True, slots=True)
class Server:
    """What answers at a port of this machine: the program that usually does, its address and its models."""

    name: str
    base_url: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model said when it was greeted, and after how many seconds its first word came; `context` in tokens."""

    model: str
    said: str
    seconds: float
    context: int | None


async def look(ports: Iterable[str | int]) -> list[Server]:
    """The model servers at some ports of 127.0.0.1, and nowhere else; no key is shown to them."""
    found = await asyncio.gather(*(_ask(port) for port in dict.fromkeys(map(int, ports))))
    return [server for server in found if server]


async def _ask(port: int) -> Server | None:
    url = f"http://127.0.0.1:{port}/v1"
    try:
        async with asyncio.timeout(_PATIENCE_S):
            models = await served(url)
    except (ModelError, TimeoutError):
        return None
    names = sorted(map(str, models), key=lambda name: any(part in name.lower() for part in _NO_CHAT))
    return Server(USUAL.get(port, "OpenAI API"), url, tuple(names))


async def models_of(base_url: str, api_key: str) -> list[str]:
    """The models that a server says to serve. Raises `ModelError`."""
    check_address(base_url)
    return list(map(str, await served(base_url, api_key)))


async def trial(cfg: LlmConfig, tongue: str = "en") -> Trial:
    """Greet the model of `llm.base_url` and `llm.model`. Raises `ModelError` where it does not answer."""
    from langchain_core.messages import HumanMessage

    check_address(cfg.base_url)
    endpoint = await probe(cfg.base_url, cfg)
    asked = cfg.model_copy(update={"max_tokens": _TRIAL_TOKENS, "timeout_s": _TRIAL_S})
    started, first, said = time.monotonic(), 0.0, ""
    try:
        async with asyncio.timeout(_TRIAL_S), aclosing(
            stream(endpoint, asked, [HumanMessage(content=_GREETING[tongue])])
        ) as pieces:  # fmt: skip
            async for piece in pieces:
                first = first or time.monotonic() - started
                said += piece if isinstance(piece, str) else ""
                if isinstance(piece, Thought) or len(said) > _SHOWN:  # it lives: its thoughts may go on for minutes
                    break
    except TimeoutError:
        raise ModelError(f"{cfg.base_url} did not answer within {_TRIAL_S:g} s", "use a smaller model") from None
    return Trial(endpoint.model, said.strip()[:_SHOWN], first, endpoint.context)


def check_address(url: str) -> None:
    """Raise `ModelError` for what is no address of a server."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.username
    except ValueError:
        good = False
    if not good:
        raise ModelError(f"{url!r} is no address of a model server", "give one such as http://127.0.0.1:11434/v1")
