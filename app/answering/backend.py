"""Who answers: a model at an endpoint, or the extractive answerer; decided for each question, never silently."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from core.config import Config, LlmConfig, Settings
from core.errors import ConfigError, ModelError
from llm import registry
from llm.endpoint import Endpoint, probe, probe_all
from llm.plugged import endpoint_of
from llm.supervise import addresses, read_status

PROMOTED = "promoted"  # the value of llm.vllm_model that means: what `ragstone promote` chose

HOW_TO = (
    "No model is configured: answers quote the documents. To have a model write them, set llm.vllm_model to a model "
    "folder (needs `ragstone serve` or `ragstone ui`), or llm.base_url to any OpenAI-compatible server, in config.toml."
)


@dataclass(frozen=True, slots=True)
class Backend:
    """`endpoint` is None for the extractive answerer; `notes` are for the reader of the answer."""

    name: str
    model: str
    endpoint: Endpoint | None
    notes: tuple[str, ...] = ()


EXTRACTIVE = Backend("extractive", "extractive", None, (HOW_TO,))


def with_promoted(settings: Settings) -> Settings:
    """The settings, with the promoted model as `llm.vllm_model` where that is empty or "promoted".

    Raises `ConfigError` where the file of promotions is damaged.
    """
    config = settings.config
    if config.llm.vllm_model not in ("", PROMOTED):
        return settings
    data = Path(config.app.data)
    name = registry.promoted(data)
    llm = config.llm.model_copy(update={"vllm_model": str(registry.home(data, name)) if name else ""})
    origins = {**settings.origins, "llm.vllm_model": "ragstone promote"} if name else settings.origins
    return replace(settings, config=config.model_copy(update={"llm": llm}), origins=origins)


def with_running(cfg: Config) -> Config:
    """The settings, with the port at which another process's app serves its model now.

    It moves to another where a model that is promoted meanwhile starts beside the one before.
    """
    status = read_status(Path(cfg.app.data) / "logs" / "vllm.log") if cfg.llm.vllm_model else None
    if status is None or status.owner == os.getpid():
        return cfg
    ports = [urlsplit(each.base_url).port for each in status.replicas if each.state == "running"]
    if not ports or cfg.llm.vllm_port in ports:
        return cfg
    return cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"vllm_port": min(filter(None, ports))})})


async def resolve(cfg: LlmConfig) -> Backend:
    """The backend for the next question, by `llm.backend`.

    `auto`: the configured chat model of LangChain, else the configured endpoint where it answers, else the model vLLM
    serves for us, else extractive, with a note that says why. `openai` and `vllm` raise `ModelError` where theirs does
    not answer.
    """
    if cfg.backend == "extractive":
        return replace(EXTRACTIVE, notes=())
    if cfg.backend == "openai" and not cfg.base_url:
        raise ConfigError('llm.backend = "openai" needs llm.base_url', "set it to e.g. http://127.0.0.1:8000/v1")
    if cfg.backend == "vllm" and not cfg.vllm_model:
        raise ConfigError('llm.backend = "vllm" needs llm.vllm_model', "set it to the folder of a model")
    if cfg.backend == "chat" and not cfg.chat:
        raise ConfigError('llm.backend = "chat" needs llm.chat', "set it to the class of a chat model of LangChain")
    if cfg.chat and cfg.backend in ("auto", "chat"):
        endpoint = await asyncio.to_thread(endpoint_of, cfg)  # what it imports may take seconds
        return Backend("chat", endpoint.model, endpoint)
    candidates: list[tuple[str, tuple[str, ...]]] = []
    if cfg.backend in ("auto", "openai") and cfg.base_url:
        candidates.append(("openai", (cfg.base_url, *cfg.base_urls)))
    if cfg.backend in ("auto", "vllm") and cfg.vllm_model:
        candidates.append(("vllm", addresses(cfg)))
    failures: list[str] = []
    for name, urls in candidates:
        try:
            endpoint = await probe_all(urls, cfg if name == "openai" else cfg.model_copy(update={"model": ""}))
        except ModelError as error:
            if cfg.backend != "auto":
                raise
            failures.append(f"{error.message}; {error.hint}. The documents are quoted instead.")
        else:
            return Backend(name, endpoint.model, endpoint, tuple(failures))
    return replace(EXTRACTIVE, notes=tuple(failures)) if failures else EXTRACTIVE


async def by_model(backend: Backend, model: str, cfg: LlmConfig) -> Backend:
    """The backend with another model of the same server. Raises `ModelError` where that serves none of this name."""
    assert backend.endpoint
    asked = cfg.model_copy(update={"model": model, "api_key": backend.endpoint.api_key})
    return replace(backend, model=model, endpoint=await probe(backend.endpoint.base_url, asked))
