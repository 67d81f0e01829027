"""The LoRA adapter that a knowledge base is answered with, and the command `ragstone adapter`."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from app.backend import Backend
from app.commands.terminal import AsJson, Kb, noted, out, print_json
from core.config import Config
from core.errors import ConfigError, RagstoneError
from llm import adapters
from llm.supervise import addresses, read_status
from retrieval.home import check_name, names

adapting = typer.Typer()


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
    users = {kb: adapters.assigned(data / kb) for kb in names(data)}
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
    if kb not in names(Path(cfg.app.data)):
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


@adapting.command()
def adapter(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A folder of llm.adapters; without one the present is shown.")] = "",
    kb: Kb = None,
    none: Annotated[bool, typer.Option("--none", help="Answer with the base model again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a knowledge base answered with a LoRA adapter, from its next question on; a running vLLM loads it then."""
    cfg: Config = ctx.obj.config
    kb = check_name(kb or cfg.app.kb)
    if kb not in names(Path(cfg.app.data)):
        raise ConfigError(f"there is no knowledge base {kb!r}", "`ragstone list` shows them")
    home = Path(cfg.app.data) / kb
    before = assign(cfg, kb, "" if none else name) if name or none else adapters.assigned(home)
    now = adapters.assigned(home)
    if name or none:
        noted(ctx.obj, "adapter.assign", kb, now)
    if as_json:
        print_json({"kb": kb, "adapter": now, "before": before})
    else:
        told = f"adapter {now!r}" if now else "the base model"
        out.print(f"knowledge base {kb!r} is answered with {told}", markup=False, highlight=False)


def _drop(cfg: Config, before: str, now: str) -> None:
    """Unload an adapter that no knowledge base uses any more from a vLLM that the app is running."""
    data = Path(cfg.app.data)
    status = read_status(data / "logs" / "vllm.log")
    if not before or before == now or status is None or any(each.state != "running" for each in status.replicas):
        return
    if all(adapters.assigned(data / kb) != before for kb in names(data)):
        adapters.unload(addresses(cfg.llm), before)
