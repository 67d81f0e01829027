"""Long work of a running app: it goes on when the page that began it is closed, and any page may look at it again."""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.errors import RagstoneError

log = logging.getLogger(__name__)

JobState = Literal["running", "done", "failed", "cancelled"]
Progress = Callable[[str, int, int], None]  # (stage, done, total)
_KEPT = 50  # ended jobs that are remembered


class Cancelled(Exception):
    """Raised in a job's own thread, by its `Progress`, once somebody has cancelled it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of one piece of work; times are seconds since the epoch, `total` 0 where it is not known.

    `key` names what it works on (e.g. "index handbook"): of one key there is one running job at most.
    """

    id: str
    key: str
    title: str
    owner: str
    state: JobState
    started: float
    ended: float = 0.0
    stage: str = ""
    stage_started: float = 0.0
    done: int = 0
    total: int = 0
    result: Any = None
    error: str = ""
    cancelling: bool = False  # it ends at its next report of progress

    @property
    def word(self) -> str:
        """How it stands, for people: its state, or "ending" where it was cancelled and is still at something."""
        return "ending" if self.cancelling and self.state == "running" else self.state

    @property
    def seconds_left(self) -> float | None:
        """An estimate for the present stage, from its pace so far; None where nothing tells."""
        spent = time.time() - self.stage_started
        if self.state != "running" or not 0 < self.done <= self.total or spent < 1:
            return None
        return spent * (self.total - self.done) / self.done


class Jobs:
    """The jobs of one process, each in a thread of its own. Safe to use from many threads."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._mutex = threading.Lock()

    def start(self, key: str, title: str, owner: str, work: Callable[[Progress], Any]) -> Job:
        """Run `work` in the background, or return the job that is already at it.

        What it returns becomes the job's `result`; a `RagstoneError` its `error`. Its progress raises `Cancelled`.
        """
        with self._mutex:
            for job in self._jobs.values():
                if job.key == key and job.state == "running":
                    return job
            now = time.time()
            job = Job(uuid.uuid4().hex, key, title, owner, "running", now, stage_started=now)
            self._jobs[job.id] = job
            ended = [old.id for old in self._jobs.values() if old.state != "running"]
            for old in ended[: max(len(ended) - _KEPT, 0)]:
                del self._jobs[old]
        threading.Thread(target=self._run, args=(job.id, work), daemon=True, name=key).start()
        return job

    def get(self, job_id: str) -> Job | None:
        """A job by its id; None where it is not remembered."""
        with self._mutex:
            return self._jobs.get(job_id)

    def latest(self, prefix: str = "") -> list[Job]:
        """The jobs whose key begins so, the newest first."""
        with self._mutex:
            return [job for job in reversed(self._jobs.values()) if job.key.startswith(prefix)]

    def cancel(self, job_id: str) -> None:
        """Ask a job to end; it does at its next report of progress."""
        with self._mutex:
            if job := self._jobs.get(job_id):
                self._jobs[job_id] = replace(job, cancelling=True)

    def _run(self, job_id: str, work: Callable[[Progress], Any]) -> None:
        def report(stage: str, done: int, total: int) -> None:
            if self._jobs[job_id].cancelling:
                raise Cancelled
            started = time.time() if self._jobs[job_id].stage != stage else self._jobs[job_id].stage_started
            self._set(job_id, stage=stage, stage_started=started, done=done, total=total)

        try:
            result = work(report)
        except Cancelled:
            self._set(job_id, state="cancelled", ended=time.time())
        except RagstoneError as error:
            self._set(job_id, state="failed", error=str(error), ended=time.time())
        except Exception as error:  # a thread has nobody above it who would tell
            log.exception("job %s failed", self._jobs[job_id].key)
            self._set(job_id, state="failed", error=f"{type(error).__name__}: {error}", ended=time.time())
        else:
            self._set(job_id, state="done", result=result, ended=time.time())

    def _set(self, job_id: str, **changes: Any) -> None:
        with self._mutex:
            self._jobs[job_id] = replace(self._jobs[job_id], **changes)
