"""The LoRA adapter that a knowledge base is answered with."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from app.answering.backend import Backend
from core.config import Config
from core.errors import ConfigError, RagstoneError
from llm import adapters
from llm.supervise import addresses, read_status
from retrieval.index import Index


def root_of(cfg: Config) -> Path:
    """The folder that adapters are loaded from: `llm.adapters`, or the models of the data folder."""
    return Path(cfg.llm.adapters) if cfg.llm.adapters else Path(cfg.app.data) / "models"


@dataclass(frozen=True, slots=True)
class Listed:
    """An adapter of the folder that they are loaded from; `problem` says why vLLM would not load it, "" where it would.

    `bases` are the knowledge bases that are answered with it.
    """

    name: str
    problem: str
    bases: tuple[str, ...]


def listed(cfg: Config) -> list[Listed]:
    """All adapters there are, by name."""
    data, root = Path(cfg.app.data), root_of(cfg)
    users = {kb: adapters.assigned(data / kb) for kb in Index.names(data, cfg.app.database)}
    rows = []
    for file in sorted(root.glob("*/adapter_config.json")):
        name, problem = file.parent.name, ""
        try:
            adapters.check(root, name, cfg.llm)
        except RagstoneError as error:
            problem = error.message
        rows.append(Listed(name, problem, tuple(kb for kb, used in users.items() if used == name)))
    return rows


def assign(cfg: Config, kb: str, name: str) -> str:
    """Have a knowledge base answered with an adapter, with none for ""; returns the one before.

    A running vLLM drops one that no other uses. Raises `ConfigError` and `ModelError` for what cannot be.
    """
    if kb not in Index.names(Path(cfg.app.data), cfg.app.database):
        raise ConfigError(f"there is no knowledge base {kb!r}", "`ragstone list` shows them")
    home = Path(cfg.app.data) / kb
    before = adapters.assigned(home)
    adapters.assign(home, root_of(cfg), name, cfg.llm)
    _drop(cfg, before, name)
    return before


async def adapted(backend: Backend, cfg: Config, home: Path) -> Backend:
    """The backend for a question to the knowledge base in `home`: with its adapter, where vLLM answers and it has one.

    Raises `ConfigError` and `ModelError` where that cannot be loaded: it is never left out silently.
    """
    if backend.endpoint is None or backend.name != "vllm":
        return backend
    endpoint = await asyncio.to_thread(adapters.adapted, backend.endpoint, root_of(cfg), home, cfg.llm)
    return replace(backend, model=adapters.name_of(endpoint.model), endpoint=endpoint)


def _drop(cfg: Config, before: str, now: str) -> None:
    """Unload an adapter that no knowledge base uses any more from a vLLM that the app is running."""
    data = Path(cfg.app.data)
    status = read_status(data / "logs" / "vllm.log")
    if not before or before == now or status is None or any(each.state != "running" for each in status.replicas):
        return
    if all(adapters.assigned(data / kb) != before for kb in Index.names(data, cfg.app.database)):
        adapters.unload(addresses(cfg.llm), before)
