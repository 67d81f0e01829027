"""What a worker of a cluster is asked for, and what becomes of its answer (`app/keeping/team.py` asks)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.keeping.wire import EMBED, OURS, READ, Failed, checked, unpacked
from app.keeping.work import Work
from core.config import IngestConfig
from core.errors import ConfigError, ModelError, RagstoneError, ReadError, WorkersError
from core.types import F32, FileEntry, FileError
from ingest.reach import Reach
from ingest.read import load_file
from ingest.workers import content_hash

TRIES = 3  # workers that went away over one thing, before it is taken for the reason


@dataclass(eq=False)
class Job:
    """What one worker is asked for: an operation, its message, and what becomes of the answer.

    `message` is made when a worker is free, so that files wait on the disk and not in memory.
    """

    number: int
    operation: str
    message: Callable[[], Awaitable[dict[str, Any]]]
    answered: Callable[[dict[str, Any]], Any]
    failed: Callable[[RagstoneError], Any]  # what comes of it where it cannot be done; may raise
    lost: RagstoneError  # what is wrong when it took too many workers with it
    size: int = 0
    over: set[str] = field(default_factory=set)  # addresses of the workers that went away over it
    future: "Future[Any]" = field(default_factory=Future)

    def __lt__(self, other: "Job") -> bool:
        return self.number < other.number


def of_file(number: int, reach: Reach, entry: FileEntry, cfg: IngestConfig, sent: str) -> Job:
    """To read and cut a file; `sent` are the settings as a worker gets them. What comes of it is `Work | FileError`."""
    content = ""

    async def message() -> dict[str, Any]:
        nonlocal content
        data = await asyncio.to_thread(load_file, Path(reach.root, entry.path), cfg, reach)
        content = content_hash(data)
        name = Path(entry.path).name.encode("utf-8", "replace").decode()
        corrections = [[each.before, each.was, each.now] for each in entry.corrections]
        told = {"ocr_pages": list(entry.ocr_pages), "corrections": corrections}
        return {"cfg": sent, "name": name, "data": data} | told

    def answered(reply: dict[str, Any]) -> Work | FileError:
        if "failed" not in reply:
            return unpacked(reply["json"], entry, content)
        return unread(error_of(checked(Failed, reply["failed"])))

    def unread(error: RagstoneError) -> FileError:
        if not isinstance(error, ReadError):
            raise error
        return FileError(entry.path, error.message, error.hint, error.transient)

    hint = "it must have ended them; see what they say, or leave it out with ingest.exclude"
    lost = ReadError(f"{TRIES} workers went away while they read it", hint)
    return Job(number, READ, message, answered, unread, lost, entry.size)


def of_passages(number: int, texts: Sequence[str], dimension: int) -> Job:
    """To embed passages. What comes of it is (n, dimension) float32."""

    async def message() -> dict[str, Any]:
        return {"texts": json.dumps(list(texts))}

    def answered(reply: dict[str, Any]) -> F32:
        if "failed" in reply:
            return failed(error_of(checked(Failed, reply["failed"])))
        shape = (len(texts), dimension)
        vectors = np.frombuffer(reply["vectors"], np.float32)
        if vectors.size != shape[0] * shape[1] or not np.isfinite(vectors).all():
            raise WorkersError(f"a worker sent {vectors.size} numbers for vectors of {shape}", "look at its log")
        return vectors.reshape(shape)

    def failed(error: RagstoneError) -> F32:
        raise error

    hint = "see what they say: most often memory is short; run the same command again"
    lost = WorkersError(f"{TRIES} workers went away while they embedded {len(texts)} passages", hint)
    return Job(number, EMBED, message, answered, failed, lost)


def settle(future: "Future[Any]", made: Callable[[], Any]) -> None:
    """What a job waited for is there, or why it is not."""
    try:
        future.set_result(made())
    except RagstoneError as error:
        future.set_exception(error)
    except (KeyError, TypeError, ValueError) as error:
        future.set_exception(WorkersError(f"a worker sent something else: {error}", OURS))


class Room:
    """Bytes that are on their way: whoever finds no room waits, but one alone always finds it."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self.door, self.changed = asyncio.Lock(), asyncio.Condition()  # they go in as they came

    def of(self, size: int) -> "_Reserved":
        """So many of them, within the context."""
        return _Reserved(self, size)


@dataclass
class _Reserved:
    room: Room
    size: int

    async def __aenter__(self) -> None:
        room = self.room
        async with room.door, room.changed:
            await room.changed.wait_for(lambda: not room.taken or room.taken + self.size <= room.most)
            room.taken += self.size

    async def __aexit__(self, *_: object) -> None:
        self.room.taken -= self.size
        async with self.room.changed:
            self.room.changed.notify_all()


def error_of(failed: Failed) -> RagstoneError:
    """The error that a worker told."""
    if failed.kind == "ReadError":
        return ReadError(failed.error, failed.hint, transient=failed.transient)
    kinds = {"ConfigError": ConfigError, "ModelError": ModelError}
    return kinds.get(failed.kind, WorkersError)(f"on a worker: {failed.error}", failed.hint)
