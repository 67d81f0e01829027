"""The sampling settings of a request: each of them is said, also where it changes nothing.

What a request leaves out is the server's to choose: vLLM and SGLang take it from the model's generation_config.json (at
temperature 0 too), llama.cpp draws from 40 words. A server that knows a name not at all refuses it; then what changes
nothing is left out, since a server without the parameter has nothing to change.
"""

from typing import Any
from urllib.parse import urlsplit

from core.config import LlmConfig

# -1 is "all" for vLLM, SGLang and llama.cpp; SGLang refuses 0.
_NEUTRAL: dict[str, Any] = {
    "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip
_OTHER_NAMES = {"repeat_penalty": "repetition_penalty"}  # llama.cpp's
_OPENAI = "api.openai.com"


def sampling(cfg: LlmConfig, base_url: str) -> dict[str, Any]:
    """The fields of a chat request that [llm] decides, for the server at an address."""
    openai = urlsplit(base_url).hostname == _OPENAI
    limit = "max_completion_tokens" if openai else "max_tokens"  # its models refuse the name that all others know
    told: dict[str, Any] = {"temperature": cfg.temperature, "top_p": cfg.top_p, limit: cfg.max_tokens}
    if cfg.seed >= 0:
        told["seed"] = cfg.seed
    told |= _NEUTRAL | {"top_k": cfg.top_k if cfg.top_k > 0 else -1, "repetition_penalty": cfg.repetition_penalty}
    if cfg.repetition_penalty != 1.0:
        told |= dict.fromkeys(_OTHER_NAMES, cfg.repetition_penalty)
    return without_idle(told) if openai else told


def without_idle(body: dict[str, Any]) -> dict[str, Any]:
    """A request without the fields that change nothing, or that are another name of one that is there."""
    return {
        name: value for name, value in body.items()
        if name not in _OTHER_NAMES and not (name in _NEUTRAL and value == _NEUTRAL[name])
    }  # fmt: skip
