"""Who answers: a model at an endpoint, or the extractive answerer; decided anew for each question, never silently."""

from dataclasses import dataclass, replace

from core.config import LlmConfig
from core.errors import ConfigError, ModelError
from llm.chat import Endpoint, probe

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


async def resolve(cfg: LlmConfig) -> Backend:
    """The backend for the next question, by `llm.backend`.

    `auto`: the configured endpoint where it answers, else the model vLLM serves for us, else extractive, with a note
    that says why. `openai` and `vllm` raise `ModelError` where theirs does not answer.
    """
    if cfg.backend == "extractive":
        return replace(EXTRACTIVE, notes=())
    if cfg.backend == "openai" and not cfg.base_url:
        raise ConfigError('llm.backend = "openai" needs llm.base_url', "set it to e.g. http://127.0.0.1:8000/v1")
    if cfg.backend == "vllm" and not cfg.vllm_model:
        raise ConfigError('llm.backend = "vllm" needs llm.vllm_model', "set it to the folder of a model")
    candidates = []
    if cfg.backend in ("auto", "openai") and cfg.base_url:
        candidates.append(("openai", cfg.base_url))
    if cfg.backend in ("auto", "vllm") and cfg.vllm_model:
        candidates.append(("vllm", f"http://{cfg.vllm_host}:{cfg.vllm_port}/v1"))
    failures: list[str] = []
    for name, url in candidates:
        try:
            endpoint = await probe(url, cfg if name == "openai" else cfg.model_copy(update={"model": ""}))
        except ModelError as error:
            if cfg.backend != "auto":
                raise
            failures.append(f"{error.message}; {error.hint}. The documents are quoted instead.")
        else:
            return Backend(name, endpoint.model, endpoint, tuple(failures))
    return replace(EXTRACTIVE, notes=tuple(failures)) if failures else EXTRACTIVE
