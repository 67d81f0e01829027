"""The model server of a running app: vLLM started with the configured or the promoted model, and stopped."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.answering.backend import with_promoted
from app.running.bases import State
from app.running.jobs import Job
from app.running.jobs import Progress as JobProgress
from core.config import Settings
from core.errors import ConfigError, ModelError, RagstoneError
from llm.supervise import Replica, Supervisor, tail

JOB = "vllm"
BY_PROMOTION = "ragstone promote"  # the origin of llm.vllm_model where app/answering/backend.py set it

_STARTING = threading.Lock()  # an app has one model server


def log_file(data: Path) -> Path:
    """Where vLLM's log is."""
    return data / "logs" / "vllm.log"


def wanted(settings: Settings) -> bool:
    """Whether the app is to serve a model itself."""
    return bool(settings.config.llm.vllm_model) and settings.config.llm.backend in ("auto", "vllm")


def startable(settings: Settings) -> str:
    """The model that a start would serve now, "" where none."""
    present = _present(settings)
    return present.config.llm.vllm_model if wanted(present) else ""


def log_tail(state: State, lines: int) -> str:
    """The last lines of the log: of the first replica that has crashed, else of the first."""
    file = str(log_file(Path(state.cfg.app.data)))
    replicas = state.vllm.status().replicas if state.vllm else (Replica("", "stopped", 0, 0.0, 0, (), file),)
    return "\n".join(tail(next((each for each in replicas if each.crashes), replicas[0]), lines))


def start(state: State, note: Callable[[str], None], cancel: threading.Event | None = None) -> None:
    """Start vLLM and wait until it answers. `state.vllm_status` says how far it is, or why it failed.

    Raises `ConfigError` where no model is to be served, `ModelError` where it runs already or does not start.
    """
    if not _STARTING.acquire(blocking=False):
        raise ModelError("the model server is being started already", "wait for it")
    try:
        if state.vllm is not None and state.vllm.failure() is None:
            raise ModelError("the model server runs already", "stop it first")
        state.settings = settings = _present(state.settings)
        if not wanted(settings):
            raise ConfigError(
                "there is no model to serve", 'set llm.vllm_model, or promote a model; llm.backend is "auto" or "vllm"'
            )

        def told(line: str) -> None:
            state.vllm_status = line
            note(line)

        stop(state)
        state.vllm_status = "…"
        state.vllm = Supervisor.start(settings.config.llm, log_file(Path(settings.config.app.data)), told, cancel)
        state.vllm_status, state.failure = "", None
    except RagstoneError as error:
        if state.vllm is None:
            state.vllm_status = str(error)
        raise
    except BaseException:  # cancelled
        state.vllm_status = ""
        raise
    finally:
        _STARTING.release()


def stop(state: State) -> None:
    """End vLLM and all that it started; does nothing where none runs."""
    vllm, state.vllm, state.vllm_status = state.vllm, None, ""
    if vllm is not None:
        vllm.stop()


def begin(state: State, owner: str) -> Job:
    """Start it in the background; its progress is what it says of itself."""

    def work(progress: JobProgress) -> str:
        start(state, lambda line: progress(line, 0, 0))
        return state.cfg.llm.vllm_model

    return state.jobs.start(JOB, "model server", owner, work)


def _present(settings: Settings) -> Settings:
    """The settings with what is promoted now, where that decides."""
    if settings.origins["llm.vllm_model"] == BY_PROMOTION:
        llm = settings.config.llm.model_copy(update={"vllm_model": ""})
        origins = {**settings.origins, "llm.vllm_model": "default"}
        settings = replace(settings, config=settings.config.model_copy(update={"llm": llm}), origins=origins)
    return with_promoted(settings)
