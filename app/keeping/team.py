"""Files are read and embedded by the workers of a Dask cluster; order, hashes and commits stay with who indexes.

A worker is sent the bytes of a file, or texts, and answers with JSON or numbers (`app/keeping/wire.py`). It answers
while its connection lasts; what a worker had in hand that goes away is given to another one. Dask keeps who is there:
its scheduler lists the workers, and leaves out one that went away or says nothing any more.
"""

import asyncio
import pickle
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np

from app.keeping.asked import TRIES, Job, Room, of_file, of_passages, settle
from app.keeping.index import chunker
from app.keeping.wire import (
    EMBED,
    HELLO,
    OURS,
    READ,
    Failed,
    Hello,
    address_of,
    allow_pickle,
    checked,
    refuse_pickle,
)
from app.keeping.work import BATCH, Work
from core.config import IngestConfig
from core.errors import ReadError, WorkersError
from core.places import installed_version, is_loopback
from core.types import F32, FileEntry, FileError
from ingest.reach import Reach
from ingest.workers import reader_identity
from retrieval.embed import Embedder

_LOOK_S = 1.0  # between two looks at who is there
_NOBODY_S = 60.0  # so long nobody works before a run gives up
_FIRST_S = 20.0  # so long the first worker is waited for
_LOOKING_S = 30.0  # so long one may take
_MEET_S = 4.0  # so long a worker that the scheduler names is tried to be reached
_MEETING_S = 15.0  # and so long it may take to say how it embeds
_IN_FLIGHT = 256 << 20  # bytes of files that are on their way at a time; a larger one goes alone
_EMBEDS = 2  # parts that a worker is sent at a time: one is on its way while the other is embedded
_PART = 32  # texts that a worker embeds at a time


@dataclass(eq=False)
class _Hand:
    """A worker that fits: its address, how many files it reads at a time, and who waits for its answers."""

    address: str
    threads: int
    turns: "Room"  # what is asked at a time; what a worker went away over before is asked alone
    gone: bool = False  # one of its connections broke
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)


class Team:
    """The workers of a cluster, as a context: within it files are read and passages embedded by them.

    Raises `WorkersError` where none is there that reads, cuts and embeds as this machine does, and `ConfigError`.
    """

    def __init__(self, cfg: IngestConfig, embedder: Embedder) -> None:
        self.cfg, self.embedder = cfg, embedder
        self.address = address_of(cfg)
        self.notes: list[str] = []
        self._sent = cfg.model_dump_json(exclude={"workers", "workers_ca", "workers_cert", "workers_key"})
        self._hands: dict[str, _Hand] = {}
        self._refused: dict[str, str] = {}  # why a worker does not fit, by its address
        self._numbers = iter(range(1 << 62))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="team", daemon=True)
        self._ends: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._begin()).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def batch(self) -> int:
        """Texts that are worth embedding together: each worker has its share."""
        return BATCH * max(1, len(self._hands))

    def ahead(self, reach: Reach, queue: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, Work | FileError]]:
        """Each file, read and cut, in the order of the queue; so many are ahead that every worker has enough."""
        ahead: deque[tuple[FileEntry, Future[Any]]] = deque()
        for entry in queue:
            ahead.append((entry, self._give(of_file(next(self._numbers), reach, entry, self.cfg, self._sent))))
            if len(ahead) > 2 * sum(hand.threads + 1 for hand in [*self._hands.values()]):
                yield ahead[0][0], ahead.popleft()[1].result()
        while ahead:
            yield ahead[0][0], ahead.popleft()[1].result()

    def embed(self, texts: Sequence[str]) -> F32:
        """Vectors of passages, (n, dimension) float32 unit rows."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths together: little padding
        parts = [order[start : start + _PART] for start in range(0, len(order), _PART)]
        given = [
            (rows, self._give(of_passages(next(self._numbers), [texts[i] for i in rows], self.embedder.dimension)))
            for rows in parts
        ]
        vectors = np.empty((len(texts), self.embedder.dimension), np.float32)
        for rows, future in given:
            vectors[rows] = future.result()
        return vectors

    def _give(self, job: Job) -> "Future[Any]":
        self._call(self._queue(job))
        return job.future

    async def _queue(self, job: Job) -> None:
        if self._ends:
            job.future.set_exception(self._ends)
        else:
            self._queues[job.operation].put_nowait(job)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        refuse_pickle()
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            allow_pickle()

    def _call(self, work: Any) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _end(self) -> None:
        with suppress(Exception):
            self._call(self._stop()).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _begin(self) -> None:
        self._queues: dict[str, asyncio.PriorityQueue[Job]] = {
            READ: asyncio.PriorityQueue(), EMBED: asyncio.PriorityQueue()
        }  # fmt: skip
        self._room = Room(_IN_FLIGHT)
        self._looking = None
        deadline = self._loop.time() + _FIRST_S
        while not self._hands:
            try:
                await self._look()
            except OSError as error:
                raise WorkersError(
                    f"no scheduler answers at {self.address.url}: {error}",
                    "start it with `ragstone worker --scheduler` there, and check the address and the certificates",
                ) from None
            if not self._hands and (self._refused or self._loop.time() > deadline):
                raise self._nobody()
            await asyncio.sleep(0 if self._hands else 0.2)
        self._looking = asyncio.ensure_future(self._follow())

    async def _stop(self) -> None:
        tasks = [task for hand in self._hands.values() for task in hand.tasks] + [t for t in [self._looking] if t]
        self._hands.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _nobody(self) -> WorkersError:
        if self._refused:
            return WorkersError(
                "no worker of the cluster fits: " + "; ".join(self._refused.values()),
                "let them run this version, with the same embedder, readers and plug-ins, and start them again",
            )
        return WorkersError(
            f"nobody works for {self.address.url}", "start workers with `ragstone worker`; what was committed is kept"
        )

    async def _follow(self) -> None:
        """See who comes and who went; give up where nobody is left."""
        last = self._loop.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(OSError, WorkersError):  # those who work go on without it
                await asyncio.wait_for(self._look(), _LOOKING_S)
            for hand in [*self._hands.values()]:
                if all(task.done() for task in hand.tasks):
                    self._hands.pop(hand.address, None)
            if self._hands:
                last = self._loop.time()
            elif self._loop.time() - last > _NOBODY_S:
                self._ends = self._nobody()
                for queue in self._queues.values():
                    while not queue.empty():
                        queue.get_nowait().future.set_exception(self._ends)
                return

    async def _look(self) -> None:
        comm = await self._connect(self.address.url)
        try:
            workers = (await _asked(comm, {"op": "identity"}))["workers"]
        finally:
            comm.abort()
        for address in self._hands.keys() - workers.keys():  # Dask no longer counts on it
            for task in self._hands.pop(address).tasks:
                task.cancel()
        for address in self._refused.keys() - workers.keys():
            del self._refused[address]
        for address, about in workers.items():
            if address not in self._hands and address not in self._refused:
                with suppress(OSError):  # it went, or says nothing: another look will tell
                    await asyncio.wait_for(self._meet(address, str(about.get("name") or address)), _MEETING_S)

    async def _meet(self, address: str, name: str) -> None:
        """Compare how a worker reads and embeds; one that does so otherwise is refused, by its name."""
        comm = await self._connect(address, _MEET_S)
        try:
            reply = await _asked(comm, {"op": HELLO, "cfg": self._sent})
            said = None if "failed" in reply else checked(Hello, reply["json"])
            why = f"it cannot: {checked(Failed, reply['failed']).error}" if said is None else self._differs(said)
        except WorkersError as error:
            said, why = None, error.message
        finally:
            comm.abort()
        if why or said is None:
            self._refused[address] = f"worker {name} is not used: {why}"
            self.notes.append(self._refused[address])
            return
        hand = self._hands[address] = _Hand(address, said.threads, Room(said.threads + _EMBEDS))
        for operation, count in ((READ, said.threads), (EMBED, _EMBEDS)):
            hand.tasks += [asyncio.ensure_future(self._work(hand, operation)) for _ in range(count)]

    def _differs(self, said: Hello) -> str:
        own = self.embedder
        if said.version != installed_version():
            return f"it runs Ragstone {said.version}, this machine {installed_version()}"
        if said.identity != own.identity:
            return (
                f"it embeds by {said.embedder!r} ({said.identity[:8]}), this machine by {own.name!r} "
                f"({own.identity[:8]}): set retrieval.embedder to the same model there, and start it again"
            )
        if (said.reader, said.chunker) != (reader_identity(self.cfg), chunker(self.cfg)):
            return "it lacks or has other readers or plug-ins (OCR, LibreOffice, packages) than this machine"
        return ""

    async def _work(self, hand: _Hand, operation: str) -> None:
        """Ask one worker for one thing after another, until it is gone."""
        job: Job | None = None
        comm = None
        asked = False
        try:
            comm = await self._connect(hand.address)
            while True:
                asked, job = False, await self._queues[operation].get()
                alone = hand.turns.most if job.over else 1
                async with hand.turns.of(alone), self._room.of(job.size):
                    if hand.gone:
                        return
                    asked = True
                    await self._do(comm, job, hand)
                job = None
        except OSError:  # it went away
            pass
        finally:
            if job and not job.future.done():
                if asked:  # what waited for its turn is not the reason
                    job.over.add(hand.address)  # once, however many of its connections broke
                self._again(job)
            if comm:
                comm.abort()

    async def _do(self, comm: Any, job: Job, hand: _Hand) -> None:
        """Ask for one thing. Raises `OSError` where the worker goes away meanwhile."""
        try:
            message = await job.message()
        except ReadError as error:
            settle(job.future, partial(job.failed, error))
            return
        try:
            reply = await _asked(comm, {"op": job.operation} | message)
        except OSError:
            hand.gone = True  # before another has its turn
            raise
        except WorkersError as error:
            job.future.set_exception(error)
            return
        settle(job.future, lambda: job.answered(reply))

    def _again(self, job: Job) -> None:
        if len(job.over) < TRIES:
            self._queues[job.operation].put_nowait(job)
            return
        settle(job.future, lambda: job.failed(job.lost))

    async def _connect(self, url: str, seconds: float | None = None) -> Any:
        """A connection over which nothing is unpickled. Raises `OSError`."""
        from distributed.comm.addressing import get_address_host
        from distributed.comm.core import connect

        if not self.address.encrypted and not is_loopback(get_address_host(url)):
            raise WorkersError(f"the worker at {url} is not on this machine, and documents go there only encrypted", "")
        kwargs = self.address.security.get_connection_args("client")
        return await connect(url, timeout=seconds, deserialize=False, **kwargs)


async def _asked(comm: Any, message: dict[str, Any]) -> dict[str, Any]:
    """The answer to a message. Raises `OSError` where the connection ends, `WorkersError` for what is no answer."""
    try:
        await comm.write(message | {"reply": True}, serializers=["msgpack"])
        reply = await comm.read(deserializers=["msgpack"])
    except pickle.UnpicklingError as error:
        raise WorkersError(f"a machine of the cluster sent something else: {error}", OURS) from None
    if not isinstance(reply, dict) or reply.get("status") == "uncaught-error":
        what = str(reply.get("exception_text", "")) if isinstance(reply, dict) else "no answer"
        raise WorkersError(f"a worker failed: {what[:300]}", "look at its log")
    return reply
