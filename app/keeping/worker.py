"""`ragstone worker`: a worker of a Dask cluster that reads, cuts and embeds for another machine, and its scheduler.

Of Dask's own operations (run this function, load this module, keep this data) a worker has none, and the scheduler
only those by which workers register and are listed. What a worker does is named in `app/keeping/wire.py`.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from distributed import Scheduler, Worker
from distributed.comm.core import connect

from app.keeping.index import chunker
from app.keeping.wire import EMBED, HELLO, READ, Address, Failed, Hello, packed, refuse_pickle
from app.keeping.work import READERS, cut
from core.config import IngestConfig
from core.errors import ConfigError, RagstoneError, ReadError
from core.places import installed_version, is_loopback
from core.types import Correction, FileEntry
from ingest.workers import close as close_readers
from ingest.workers import read_sent, reader_identity
from retrieval.embed import Embedder

_SCHEDULES = ("register-worker", "heartbeat_worker", "unregister", "identity")
_ENDS = ("close", "worker-status-change", "remove-worker")  # what a scheduler may tell a worker
_NO_PORT = "127.0.0.1:0"  # of the health page, which nobody elsewhere needs

Said = Callable[[str], None]


class Hands(Worker):
    """A worker without Dask's operations: it says how it reads and embeds, reads a file, embeds passages."""

    def __init__(self, address: Address, embedder: Embedder, threads: int, name: str, host: str) -> None:
        super().__init__(
            address.url, nthreads=threads, name=name or None, host=host or None, security=address.security,
            extensions={}, metrics={}, startup_information={}, plugins=(), preload=[], memory_limit=0,
            dashboard_address=_NO_PORT,
        )  # fmt: skip
        self.embedder, self.threads_at_once = embedder, threads
        self.readers = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self.embedders = ThreadPoolExecutor(1, thread_name_prefix="embedder")
        self.deserialize = False
        self.handlers = {HELLO: self.hello, READ: self.read, EMBED: self.embed}
        self.stream_handlers = {name: self.stream_handlers[name] for name in _ENDS}

    async def hello(self, cfg: str) -> dict[str, Any]:
        """Say how this worker would read and embed by these settings of `ingest`."""
        return await self._answer(None, lambda: self._hello(_settings(cfg)))

    async def read(
        self, cfg: str, name: str, data: bytes, ocr_pages: Sequence[int] = (), corrections: Sequence[Sequence[str]] = ()
    ) -> dict[str, Any]:
        """Read and cut one file, by its name without folders and its bytes; of a PDF, these pages by OCR.

        `corrections`: of what is read, each as (before, was, now).
        """
        corrected = tuple(Correction(*map(str, each)) for each in corrections)
        entry = FileEntry(name, len(data), 0, 0, 0, ocr_pages=tuple(ocr_pages), corrections=corrected)
        return await self._answer(self.readers, lambda: self._read(_settings(cfg), entry, bytes(data)))

    async def embed(self, texts: str) -> dict[str, Any]:
        """Vectors of passages, a JSON list of strings: float32, row after row."""
        return await self._answer(self.embedders, lambda: self._embed(json.loads(texts)))

    async def _answer(self, pool: ThreadPoolExecutor | None, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RagstoneError as error:
            transient = isinstance(error, ReadError) and error.transient
            failed = Failed(kind=type(error).__name__, error=error.message, hint=error.hint, transient=transient)
            return {"failed": failed.model_dump_json()}

    def _hello(self, cfg: IngestConfig) -> dict[str, Any]:
        said = Hello(
            version=installed_version(), embedder=self.embedder.name, identity=self.embedder.identity,
            reader=reader_identity(cfg), chunker=chunker(cfg), threads=self.threads_at_once,
        )  # fmt: skip
        return {"json": said.model_dump_json()}

    def _read(self, cfg: IngestConfig, entry: FileEntry, data: bytes) -> dict[str, Any]:
        if len(data) > cfg.max_file_mb * 1_000_000:
            raise ReadError(f"too large: {len(data) / 1e6:,.1f} MB", "raise ingest.max_file_mb, or split the file")
        work = cut(entry, read_sent(entry.path, data, cfg, entry.ocr_pages), cfg, self.embedder)
        return {"json": packed(work)}

    def _embed(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"vectors": self.embedder.embed_passages(texts).tobytes()}


def _settings(cfg: str) -> IngestConfig:
    return IngestConfig.model_validate(json.loads(cfg))


async def serve(
    address: Address, embedder: Embedder, said: Said, *, threads: int = 0, name: str = "", host: str = ""
) -> None:
    """Work for a cluster until SIGTERM or SIGINT; a scheduler that goes away is waited for.

    `threads` files are read at a time, by default as many as `ragstone index` would. `host` is the address of this
    machine on which it listens, by default the one that leads to the scheduler. Raises `ConfigError`, `ModelError`.
    """
    refuse_pickle(everywhere=True)
    if not address.encrypted:
        host = host or "127.0.0.1"
        if not is_loopback(host):
            raise ConfigError(f"a worker on {host!r} would not be encrypted", "name the certificate files")
    embedder.embed_passages(["a"])  # an embedder that cannot be loaded is no news to the first who asks
    _ = embedder.identity
    stopped = _stopping()
    while not stopped.is_set():
        if not await _reached(address, said, stopped):
            continue
        hands = Hands(address, embedder, threads or READERS, name, host)
        began = asyncio.ensure_future(hands.start())
        await _first(stopped, began)
        if began.done() and not began.exception():
            said(f"works for {address.url} as {hands.name}, {hands.threads_at_once} files at a time")
            await _first(stopped, asyncio.ensure_future(hands.finished()))
        began.cancel()
        with suppress(asyncio.CancelledError, Exception):  # what it failed by is that its scheduler is away
            await began
        await hands.close(timeout=2, executor_wait=False)
        if not stopped.is_set():
            said("the scheduler is away")
    close_readers()


async def _reached(address: Address, said: Said, stopped: asyncio.Event) -> bool:
    """Whether a scheduler answers; until it does, what keeps it is said once."""
    told = ""
    while not stopped.is_set():
        try:
            comm = await connect(
                address.url, timeout=5, deserialize=False, **address.security.get_connection_args("worker")
            )
        except OSError as error:
            if told != (told := str(error)):
                said(f"no scheduler answers at {address.url}: {error}; trying again")
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), 1)
        else:
            comm.abort()
            return True
    return False


async def schedule(address: Address, said: Said) -> None:
    """Be the scheduler of a cluster, at which workers meet, until SIGTERM or SIGINT."""
    refuse_pickle(everywhere=True)
    stopped = _stopping()
    scheduler = Scheduler(
        host=address.host, port=address.port, protocol=address.url.partition(":")[0], security=address.security,
        extensions={}, dashboard=False, dashboard_address=_NO_PORT, preload=[], plugins=(),
    )  # fmt: skip
    scheduler.handlers = {name: scheduler.handlers[name] for name in _SCHEDULES}
    try:
        await scheduler
    except OSError as error:
        raise ConfigError(f"no scheduler can listen at {address.url}: {error}", "choose another address") from None
    said(f"workers meet at {address.url}")
    await stopped.wait()
    await scheduler.close()


def _stopping() -> asyncio.Event:
    """Set once this process is told to end."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def _first(stopped: asyncio.Event, other: "asyncio.Future[Any]") -> None:
    waits = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([waits, other], return_when=asyncio.FIRST_COMPLETED)
    waits.cancel()
