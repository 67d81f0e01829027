"""A chat model of LangChain in place of a server: a `BaseChatModel` that config.toml names (`llm.chat`)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from core import plugins
from core.config import LlmConfig
from core.errors import ConfigError
from llm.endpoint import Endpoint, late

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_REASONS = ("finish_reason", "stop_reason", "done_reason")  # where providers say why an answer ends
_SAME = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}


def endpoint_of(cfg: LlmConfig) -> Endpoint:
    """The chat model as what answers: its class stands where a server's address would. Raises `ConfigError`."""
    model = _made(cfg.chat, cfg).what
    named = (getattr(model, key, None) for key in ("model_name", "model", "model_id"))
    name = next((one for one in named if isinstance(one, str) and one), type(model).__name__)
    profile = getattr(model, "profile", None)
    longest = profile.get("max_input_tokens") if isinstance(profile, dict) else None
    return Endpoint(cfg.chat, name, "", longest if isinstance(longest, int) else None)


def is_plugged(endpoint: Endpoint) -> bool:
    """Whether a chat model of LangChain answers, and no server."""
    return plugins.is_named(endpoint.base_url)


async def said(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]"
) -> AsyncGenerator[tuple[str, str, str], None]:
    """(text, thought, why it ended) of each piece; closing the generator closes the model's own stream.

    Raises `ModelError` where the model fails or is late.
    """
    from langsmith.run_helpers import tracing_context

    made = _made(endpoint.base_url, cfg)
    with made.guarded():
        async with aclosing(_limited(made.what, cfg).astream(messages)) as chunks:
            while True:
                try:
                    # Passages are private: a variable of the environment must not have LangChain report them elsewhere.
                    with tracing_context(enabled=False):
                        async with asyncio.timeout(cfg.timeout_s):
                            chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise late(endpoint.base_url, cfg.timeout_s) from None
                yield _piece(chunk)


def _made(name: str, cfg: LlmConfig) -> plugins.Plugged:
    if plugins.scheme_of(name) != "langchain":
        raise ConfigError(f"llm.chat = {name!r} names no chat model", 'e.g. "langchain:package.module:Class"')
    return plugins.make("chat", name, cfg.chat_settings, "astream")


def _limited(model: Any, cfg: LlmConfig) -> Any:
    """The model with the longest answer that is asked for, where it knows that setting and config.toml sets none."""
    if "max_tokens" not in getattr(type(model), "model_fields", {}) or "max_tokens" in cfg.chat_settings:
        return model
    return model.model_copy(update={"max_tokens": cfg.max_tokens})


def _piece(chunk: Any) -> tuple[str, str, str]:
    text = thought = ""
    for block in chunk.content_blocks:
        match block:
            case {"type": "text", "text": str(part)}:
                text += part
            case {"type": "reasoning", "reasoning": str(part)} | {"value": {"type": "thinking", "thinking": str(part)}}:
                thought += part
    told = next((one for key in _REASONS if isinstance(one := chunk.response_metadata.get(key), str)), "")
    return text, thought, _SAME.get(told, told.lower())
