"""The command `ragstone adapter`."""

from pathlib import Path
from typing import Annotated

import typer

from app.answering.adapter import assign
from app.commands.terminal import AsJson, Kb, noted, out, print_json
from core.config import Config
from core.errors import ConfigError
from llm import adapters
from retrieval.home import check_name
from retrieval.index import Index

adapting = typer.Typer()


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
    if kb not in Index.names(Path(cfg.app.data), cfg.app.database):
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
