"""vLLM kept running: one or several replicas, started again after a crash with growing waits, each crash remembered.

One that lives but answers no more counts as crashed.

What they are doing is in a file beside the log, so that another process (`ragstone doctor`) can tell.
"""

import json
import logging
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from core.config import LlmConfig
from core.errors import ModelError
from core.files import write_whole
from llm.serve import Server, base_url, check_port, model_name
from llm.vllm_env import Progress, build_of

log = logging.getLogger(__name__)

State = Literal["starting", "running", "waiting", "failed", "stopped"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_SETTLED_S = 300.0  # who has run so long has crashed for another reason than before
_POLL_S, _ASK_S = 0.25, 5.0  # between looks at the process; between questions for its health
_KEPT_CRASHES, _SHOWN_LINES = 20, 20
_STATUS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Crash:
    """That a replica ended by itself: when, and why by its log."""

    when: str
    cause: str


@dataclass(frozen=True, slots=True)
class Replica:
    """What one vLLM is doing. `since`: Unix time of its start, `pid` the process that guards it; 0 where none runs.

    `restarts` counts those since it was settled last, as `llm.vllm_restarts` limits them; `crashes` are the last ones.
    """

    base_url: str
    state: State
    pid: int
    since: float
    restarts: int
    crashes: tuple[Crash, ...]
    log: str


@dataclass(frozen=True, slots=True)
class Status:
    """All replicas of a model; `owner` is the process that keeps them running."""

    model: str
    replicas: tuple[Replica, ...]
    owner: int


def addresses(cfg: LlmConfig) -> tuple[str, ...]:
    """Where the replicas answer: `llm.vllm_port` and the ports after it."""
    return tuple(base_url(each) for each in each_port(cfg))


def each_port(cfg: LlmConfig) -> list[LlmConfig]:
    """The settings of each replica, with its own port. Raises `ModelError` where there are not so many ports."""
    return [_of(cfg, number) for number in range(cfg.vllm_replicas)]


def beside(log_path: Path) -> Path:
    """The log of replicas that are started while those of this log still answer."""
    return log_path.with_name(f"{log_path.stem}-beside{log_path.suffix}")


def status_file(log_path: Path) -> Path:
    """The file in which the replicas of a log are told of."""
    return log_path.with_name(f"{log_path.stem}.status.json")


def read_status(log_path: Path) -> Status | None:
    """What was last told; None where nothing was, or the process that told it is gone or another user's.

    Of this log and the one beside it, that of the replicas which were started last.
    """
    told = [status for each in (log_path, beside(log_path)) if (status := _read_status(status_file(each)))]
    return max(told, key=_begun, default=None)


def _begun(status: Status) -> float:
    return max((each.since for each in status.replicas), default=0.0)


def _read_status(file: Path) -> Status | None:
    try:
        if file.stat().st_size > _STATUS_BYTES:
            return None
        told = json.loads(file.read_text("utf-8"))
        owner = int(told["owner"])
        os.kill(owner, 0)
        rows = [row | {"crashes": tuple(Crash(**crash) for crash in row["crashes"])} for row in told["replicas"]]
        return Status(str(told["model"]), tuple(Replica(**row) for row in rows), owner)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tail(replica: Replica, lines: int = _SHOWN_LINES) -> tuple[str, ...]:
    """The last lines of a replica's log."""
    try:
        with open(replica.log, "rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - 400 * lines))
            return tuple(handle.read().decode("utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ()


def _of(cfg: LlmConfig, number: int) -> LlmConfig:
    port = cfg.vllm_port + number
    if port > 65535:
        raise ModelError(f"llm.vllm_replicas: replica {number + 1} would need port {port}", "lower llm.vllm_port")
    return cfg.model_copy(update={"vllm_port": port})


def share(cfg: LlmConfig, number: int, devices: list[str]) -> tuple[LlmConfig, dict[str, str]]:
    """The settings and environment of one replica: GPUs of its own, or a share of one where there are fewer GPUs.

    `devices`: what CUDA_VISIBLE_DEVICES would list; with none, or one replica, nothing is changed but the port.
    """
    own = _of(cfg, number)
    if not devices or cfg.vllm_replicas == 1:
        return own, {}
    if len(devices) >= cfg.vllm_replicas:
        each = len(devices) // cfg.vllm_replicas
        return own, {"CUDA_VISIBLE_DEVICES": ",".join(devices[number * each : (number + 1) * each])}
    on_one = -(-cfg.vllm_replicas // len(devices))
    own = own.model_copy(update={"vllm_memory": cfg.vllm_memory / on_one})
    return own, {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}


def _devices(cfg: LlmConfig, environ: Mapping[str, str]) -> list[str]:
    if cfg.vllm_replicas == 1 or build_of(cfg) == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in environ:
        return [name for name in environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    return [str(number) for number, _ in enumerate(filter(None, listed.stdout.splitlines()))]


class _Kept:
    """One replica: its server, and the thread that starts it again."""

    def __init__(self, cfg: LlmConfig, env: dict[str, str], log_path: Path) -> None:
        self.cfg, self.env, self.log_path = cfg, env, log_path
        self.state: State = "starting"
        self.since, self.restarts = 0.0, 0
        self.asked = self.heard = 0.0  # by the clock that never jumps: when its health was asked for, and was well
        self.crashes: deque[Crash] = deque(maxlen=_KEPT_CRASHES)
        self.server: Server | None = None

    def told(self) -> Replica:
        alive = self.server is not None and self.state == "running"
        pid = self.server.pid if self.server and alive else 0
        return Replica(
            base_url(self.cfg), self.state, pid, self.since if alive else 0.0, self.restarts, tuple(self.crashes),
            str(self.log_path),
        )  # fmt: skip


class Supervisor:
    """The replicas of a model. `stop` ends them, and so does the end of this process, whatever ends that."""

    def __init__(self, cfg: LlmConfig, log_path: Path, progress: Progress) -> None:
        self.base_urls, self.model_name = addresses(cfg), model_name(cfg)
        devices = _devices(cfg, os.environ)
        self._kept = []
        for number in range(cfg.vllm_replicas):
            own = log_path if number == 0 else log_path.with_name(f"{log_path.stem}-{number}{log_path.suffix}")
            self._kept.append(_Kept(*share(cfg, number, devices), own))
        self.log_path, self._progress = log_path, progress
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._mutex = threading.Lock()

    @classmethod
    def start(
        cls, cfg: LlmConfig, log_path: Path, progress: Progress, cancel: threading.Event | None = None
    ) -> "Supervisor":
        """Start `llm.vllm_replicas` servers one after another (on a shared GPU each measures what the ones before left
        free), and watch over them from then on.

        Raises `ModelError` as `Server.start` does, and then leaves none of them running.
        """
        supervisor = cls(cfg, log_path, progress)
        try:
            for kept in supervisor._kept:
                check_port(kept.cfg)  # of all, before the first takes minutes to load
            for kept in supervisor._kept:
                supervisor._start(kept, cancel)
        except BaseException:
            supervisor.stop()
            raise
        for kept in supervisor._kept:
            thread = threading.Thread(target=supervisor._watch, args=(kept,), daemon=True, name="watch vllm")
            supervisor._threads.append(thread)
            thread.start()
        return supervisor

    def status(self) -> Status:
        """What each replica is doing now."""
        return Status(self.model_name, tuple(kept.told() for kept in self._kept), os.getpid())

    def under_way(self) -> int:
        """How many requests the replicas that answer are working on, by their own word."""
        return sum(kept.server.under_way() for kept in self._kept if kept.server is not None)

    def failure(self) -> ModelError | None:
        """Why no replica answers or will, or None while one of them does or may."""
        if any(kept.state not in ("failed", "stopped") for kept in self._kept):
            return None
        crashes = [crash for kept in self._kept for crash in kept.crashes]
        if not crashes or self._ended.is_set():
            return None
        return ModelError(
            f"vLLM crashed {len(crashes)} times and is not started again; the last time at {crashes[-1].when}: "
            f"{crashes[-1].cause}",
            f"mend the cause and start the app again; logs: {self.log_path.parent}",
        )

    def stop(self) -> None:
        """End all replicas; does nothing the second time."""
        self._ended.set()
        for kept in self._kept:
            if kept.server:
                kept.server.stop()
        for thread in self._threads:
            thread.join()
        for kept in self._kept:  # one that was just being started
            if kept.server:
                kept.server.stop()
            self._set(kept, "stopped")

    def _start(self, kept: _Kept, cancel: threading.Event | None) -> None:
        self._set(kept, "starting")
        kept.server = Server.start(kept.cfg, kept.log_path, self._progress, cancel, kept.env)
        kept.since = time.time()
        kept.asked = kept.heard = time.monotonic()
        self._set(kept, "running")

    def _watch(self, kept: _Kept) -> None:
        """Start a replica again whenever it ends by itself, until it has done so too often."""
        while not self._ended.wait(_POLL_S):
            failure = self._failure(kept)
            if failure is None:
                continue
            if time.time() - kept.since > _SETTLED_S:
                kept.restarts = 0
            self._crashed(kept, failure)
            if not self._again(kept):
                return

    def _failure(self, kept: _Kept) -> ModelError | None:
        """Why a replica must be started again: it ended by itself, or was silent for too long and was ended here."""
        server, limit = kept.server, kept.cfg.vllm_silent_s
        if server is None or not server.running():
            return server.failure() if server else None
        now = time.monotonic()
        if not limit or now - kept.asked < _ASK_S:
            return None
        kept.asked = now
        server.bound_log()
        if server.healthy():
            kept.heard = time.monotonic()
        if time.monotonic() - kept.heard <= limit or self._ended.is_set():
            return None
        server.stop()
        what = f"vLLM was alive, but did not answer for {limit:g} s, and was ended"
        return ModelError(what, f"see its log {kept.log_path}; where it was only slow, raise llm.vllm_silent_s")

    def _again(self, kept: _Kept) -> bool:
        """Wait, then start once more; whether that was allowed."""
        while kept.restarts < kept.cfg.vllm_restarts:
            kept.restarts += 1
            wait_s = min(_FIRST_WAIT_S * 2 ** (kept.restarts - 1), _LONGEST_WAIT_S)
            self._set(kept, "waiting")
            self._progress(f"vLLM at {base_url(kept.cfg)} is started again in {wait_s:g} s")
            if self._ended.wait(wait_s):
                return False
            try:
                self._start(kept, self._ended)
                return True
            except ModelError as error:
                if self._ended.is_set():
                    return False
                self._crashed(kept, error)
        self._set(kept, "failed")
        return False

    def _crashed(self, kept: _Kept, error: ModelError) -> None:
        if kept.server:
            kept.server.stop()  # its log is open here too, and a launcher that was killed leaves children behind
        kept.server = None
        kept.crashes.append(Crash(time.strftime("%Y-%m-%d %H:%M:%S"), error.message))
        log.error("vLLM at %s: %s", base_url(kept.cfg), error)

    def _set(self, kept: _Kept, state: State) -> None:
        with self._mutex:
            kept.state = state
            told = asdict(self.status())
            try:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(status_file(self.log_path), json.dumps(told, ensure_ascii=False))
            except OSError as error:  # what serves goes on serving
                log.warning("the status of vLLM could not be written: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
