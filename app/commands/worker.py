"""The command `ragstone worker`: this machine reads and embeds for another one, or is where workers meet."""

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.markup import escape

from app.commands.terminal import err
from core.config import Settings
from core.errors import ConfigError

working = typer.Typer()


@working.command()
def worker(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(help="Of the scheduler, tls://HOST:PORT; default: ingest.workers.")] = "",
    scheduler: Annotated[bool, typer.Option("--scheduler", help="Be the scheduler at this address.")] = False,
    threads: Annotated[int, typer.Option("--threads", min=0, max=256, help="Files read at a time; 0: by cores.")] = 0,
    name: Annotated[str, typer.Option("--name", help="What it is called in messages; default: its address.")] = "",
    host: Annotated[
        str, typer.Option("--host", help="Address of this machine to listen on; default: that which leads there.")
    ] = "",
) -> None:
    """Read and embed for a `ragstone index --workers` elsewhere, by the workers of a Dask cluster, until ended.

    One process is the scheduler, any number are workers, on any machines with the same version and embedder.
    """
    from app.keeping.wire import address_of, dask

    settings: Settings = ctx.obj
    cfg = settings.config
    if not (address or cfg.ingest.workers):
        raise ConfigError("no address of a scheduler was given", "ragstone worker tls://HOST:PORT, or ingest.workers")
    where = address_of(cfg.ingest, at=address)
    dask()
    from app.keeping.worker import schedule, serve
    from retrieval.plugged import embedder_of

    def said(line: str) -> None:
        err.print(escape(line), highlight=False)

    if scheduler:
        asyncio.run(schedule(where, said))
        return
    embedder = embedder_of(cfg.retrieval, remembers=False)
    asyncio.run(serve(where, embedder, said, threads=threads, name=name, host=host))
    sys.stderr.flush()
    os._exit(0)  # what is still being read is somebody else's by now; its process ends with this one
