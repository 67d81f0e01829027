"""The model server of a running app: vLLM started with the configured or the promoted model, and stopped.

What another promotion does while it runs is in switching.py.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.answering.backend import with_promoted
from app.running.bases import State
from app.running.jobs import Job
from app.running.jobs import Progress as JobProgress
from app.running.taking import serve_by
from core.config import Settings
from core.errors import ConfigError, ModelError, RagstoneError
from llm import registry
from llm.forecast import forecast, keep
from llm.supervise import Replica, Supervisor, tail

JOB = "vllm"
BY_PROMOTION = "ragstone promote"  # the origin of llm.vllm_model where app/answering/backend.py set it

log = logging.getLogger(__name__)

_STARTING = threading.Lock()  # an app has one model server
_MOST_TRIED = 3  # models, each of which may take minutes to fail
_CLOSE_S = 25.0  # above what an orderly end takes


def log_file(data: Path) -> Path:
    """Where vLLM's log is."""
    return data / "logs" / "vllm.log"


def starts_file(data: Path) -> Path:
    """Where it is kept how long starts lasted."""
    return data / "logs" / "vllm-starts.json"


def wanted(settings: Settings) -> bool:
    """Whether the app is to serve a model itself."""
    return bool(settings.config.llm.vllm_model) and settings.config.llm.backend in ("auto", "vllm")


def startable(settings: Settings) -> str:
    """The model that a start would serve now, "" where none."""
    settings = present(settings)
    return settings.config.llm.vllm_model if wanted(settings) else ""


def log_tail(state: State, lines: int) -> str:
    """The last lines of the log: of the first replica that has crashed, else of the first."""
    file = str(log_file(Path(state.cfg.app.data)))
    replicas = state.vllm.status().replicas if state.vllm else (Replica("", "stopped", 0, 0.0, 0, (), file),)
    return "\n".join(tail(next((each for each in replicas if each.crashes), replicas[0]), lines))


def start(state: State, note: Callable[[str], None], cancel: threading.Event | None = None) -> None:
    """Start vLLM and wait until it answers. `state.vllm_status` says how far it is, or why it failed.

    Where the promoted model does not start, the one promoted before it does, and `state.fell_back` says so. Raises
    `ConfigError` where no model is to be served, `ModelError` where it runs already or does not start.
    """

    def told(line: str) -> None:
        state.vllm_status = line
        note(line)

    with starting():
        if state.vllm is not None and state.vllm.failure() is None:
            raise ModelError("the model server runs already", "stop it first")
        try:
            options = candidates(state.settings)
            if not wanted(options[0]):
                raise ConfigError(
                    "there is no model to serve",
                    'set llm.vllm_model, or promote a model; llm.backend is "auto" or "vllm"',
                )
            stop(state)
            state.vllm_status = "…"
            serve_first(state, options, told, cancel or state.closing)
            state.vllm_status = ""
        except RagstoneError as error:
            state.vllm_status = str(error)
            raise
        except BaseException:  # cancelled
            state.vllm_status = ""
            raise


@contextmanager
def starting() -> Iterator[None]:
    """Hold the place of the one start. Raises `ModelError` where another is under way."""
    if not _STARTING.acquire(blocking=False):
        raise ModelError("the model server is being started already", "wait for it")
    try:
        yield
    finally:
        _STARTING.release()


def is_starting() -> bool:
    """Whether a start or a switch is under way."""
    return _STARTING.locked()


def candidates(settings: Settings) -> list[Settings]:
    """What is to be served, and behind it what answers where it does not start: the models promoted before it."""
    now = present(settings)
    if now.origins["llm.vllm_model"] != BY_PROMOTION:
        return [now]
    data = Path(now.config.app.data)
    names = dict.fromkeys(each.name for each in reversed(registry.promotions(data)))
    folders = [folder for name in names if (folder := registry.home(data, name)).is_dir()]
    return [now, *(_of(now, str(folder), BY_PROMOTION) for folder in folders[1:_MOST_TRIED])]


def serve_first(
    state: State, options: Sequence[Settings], told: Callable[[str], None], cancel: threading.Event
) -> None:
    """Serve the first of some models that starts, and have it answer; of the others the log and the page tell.

    Raises `ModelError` with why the first did not start where none does.
    """
    failed: list[ModelError] = []
    for settings in options:
        try:
            state.vllm = begun(settings, log_file(Path(settings.config.app.data)), told, cancel)
        except ModelError as error:
            if cancel.is_set():
                raise
            failed.append(error)
            log.error("%s", error)
            continue
        state.failure = None
        state.fell_back = instead(options[0], settings, failed[0]) if failed else ""
        serve_by(state, settings)
        if failed:
            log.error("%s", state.fell_back)
            told(state.fell_back)
        return
    raise failed[0]


def begun(
    settings: Settings, log_path: Path, told: Callable[[str], None], cancel: threading.Event | None
) -> Supervisor:
    """Start vLLM with these settings, and wait until it answers; what it takes is told before. Raises `ModelError`."""
    llm, starts = settings.config.llm, starts_file(Path(settings.config.app.data))
    told(forecast(llm, starts).told())
    since = time.monotonic()
    server = Supervisor.start(llm, log_path, told, cancel)
    keep(llm, starts, time.monotonic() - since)
    return server


def instead(meant: Settings, serves: Settings, why: ModelError) -> str:
    """What is said where another model answers than is meant to."""
    return f"{_name(meant)!r} did not start, so {_name(serves)!r}, promoted before it, answers: {why.message}"


def _name(settings: Settings) -> str:
    return Path(settings.config.llm.vllm_model).name


def stop(state: State) -> None:
    """End vLLM and all that it started; does nothing where none runs."""
    vllm, state.vllm, state.vllm_status, state.fell_back = state.vllm, None, "", ""
    if vllm is not None:
        vllm.stop()


def close(state: State) -> None:
    """End vLLM as the app ends, one that is being started or about to end included."""
    state.closing.set()
    stop(state)
    if _STARTING.acquire(timeout=_CLOSE_S):  # who was at it has seen `closing`
        _STARTING.release()
    stop(state)


def begin(state: State, owner: str) -> Job:
    """Start it in the background; its progress is what it says of itself."""

    def work(progress: JobProgress) -> str:
        start(state, lambda line: progress(line, 0, 0))
        return state.cfg.llm.vllm_model

    return state.jobs.start(JOB, "model server", owner, work)


def present(settings: Settings) -> Settings:
    """The settings with what is promoted now, where that decides."""
    if settings.origins["llm.vllm_model"] == BY_PROMOTION:
        settings = _of(settings, "", "default")
    return with_promoted(settings)


def _of(settings: Settings, model: str, origin: str) -> Settings:
    """The settings with another model to serve."""
    llm = settings.config.llm.model_copy(update={"vllm_model": model})
    origins = {**settings.origins, "llm.vllm_model": origin}
    return replace(settings, config=settings.config.model_copy(update={"llm": llm}), origins=origins)
