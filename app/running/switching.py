"""Another model is promoted while people chat: its server starts beside the one that answers, and takes over.

New questions go to the new one once it answers; answers that are being written end on the old one, which then goes.
Where memory has no room for both, the old one ends first. One that does not start leaves the old one as it is.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.running import model_server
from app.running.bases import State
from app.running.jobs import Progress as JobProgress
from app.running.taking import serve_by
from core.config import LlmConfig, Settings
from core.errors import ConfigError, ModelError
from llm import registry
from llm.forecast import forecast
from llm.serve import check_port
from llm.supervise import Supervisor, beside, each_port

log = logging.getLogger(__name__)

_LOOK_S, _POLL_S = 2.0, 0.25
_QUIET_S = 1.0  # without a request, until a server has answered all
_LONGEST_S = 900.0  # that an answer is waited for
_PORTS = 10  # that are tried


def switch(state: State, note: Callable[[str], None]) -> None:
    """Serve what is promoted now in place of what is served. Does nothing where that is the same, or nothing runs.

    Raises `ModelError` where it does not start; what answered before goes on, and `state.fell_back` says so.
    """

    def told(line: str) -> None:
        state.switching = line
        note(line)

    with model_server.starting():
        old, before = state.vllm, state.settings
        options = model_server.candidates(before)
        meant = options[0]
        if old is None or not model_server.wanted(meant):
            return
        if meant.config.llm.vllm_model == before.config.llm.vllm_model:
            state.fell_back = ""  # it answers already
            return
        try:
            options = [_at(each, _free_port(state, before.config.llm)) for each in options]
            expected = forecast(options[0].config.llm, model_server.starts_file(Path(before.config.app.data)))
            if expected.fits and old.failure() is None:
                _beside(state, options[0], old, told)
            else:
                told(f"there is no room for {expected.model!r} beside {old.model_name!r}, which ends once its answers "
                     "have; until the new one answers, answers quote the documents")  # fmt: skip
                _after(state, options, old, told)
        finally:
            state.switching = ""


def _beside(state: State, settings: Settings, old: Supervisor, told: Callable[[str], None]) -> None:
    """Start the new one while the old one answers."""
    log_path = model_server.log_file(Path(settings.config.app.data))
    if old.log_path == log_path:
        log_path = beside(log_path)
    told(f"{Path(settings.config.llm.vllm_model).name!r} starts beside {old.model_name!r}, which answers until then")
    try:
        new = model_server.begun(settings, log_path, told, state.closing)
    except ModelError as error:
        if not state.closing.is_set():
            state.fell_back = model_server.instead(settings, state.settings, error)
            log.error("%s", state.fell_back)
        raise
    state.vllm, state.failure, state.fell_back = new, None, ""
    serve_by(state, settings)
    told(f"{new.model_name!r} answers; {old.model_name!r} ends once its answers have")
    try:
        _drain(state, old)
    finally:
        old.stop()


def _after(state: State, options: list[Settings], old: Supervisor, told: Callable[[str], None]) -> None:
    """End the old one, then start the new one; where it does not start, one promoted before it."""
    serve_by(state, options[0])  # so that no further question is put to the old one
    try:
        _drain(state, old)
    finally:
        model_server.stop(state)
    try:
        model_server.serve_first(state, options, told, state.closing)
    except ModelError as error:
        state.vllm_status = str(error)
        raise


def _drain(state: State, old: Supervisor) -> None:
    """Wait until all answers have ended that were begun before now, and whatever else a server is asked."""
    now = time.monotonic()
    quiet_since = now
    while not state.closing.wait(_POLL_S) and time.monotonic() - now < _LONGEST_S and old.failure() is None:
        if state.limits.begun_before(now) or old.under_way():
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > _QUIET_S:
            return


def _at(settings: Settings, port: int) -> Settings:
    llm = settings.config.llm.model_copy(update={"vllm_port": port})
    return replace(settings, config=settings.config.model_copy(update={"llm": llm}))


def _free_port(state: State, cfg: LlmConfig) -> int:
    """The configured port where it is free, else one behind it. Raises `ModelError` where ten of them are taken."""
    failure = None
    for number in range(_PORTS):
        port = state.own_port + number * cfg.vllm_replicas
        try:
            for each in each_port(cfg.model_copy(update={"vllm_port": port})):
                check_port(each)
            return port
        except ModelError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def follow(state: State, note: Callable[[str], None], stop: threading.Event) -> None:
    """Switch whenever another model is promoted, here or by another process, until `stop`."""
    seen = _promoted(state)
    while not stop.wait(_LOOK_S):
        now = _promoted(state)
        if now == seen or model_server.is_starting():
            continue
        seen = now
        if state.vllm is not None and model_server.startable(state.settings):
            begin(state, note)


def begin(state: State, note: Callable[[str], None]) -> None:
    """Switch in the background, as the job of the model server."""

    def work(progress: JobProgress) -> str:
        def told(line: str) -> None:
            note(line)
            progress(line, 0, 0)

        switch(state, told)
        return state.cfg.llm.vllm_model

    state.jobs.start(model_server.JOB, "model server", "", work)


def _promoted(state: State) -> tuple[int, str, str]:
    """What tells one state of the promotions from another."""
    try:
        history = registry.promotions(Path(state.cfg.app.data))
    except ConfigError as error:
        log.warning("%s", error)
        return 0, "", ""
    return (len(history), history[-1].name, history[-1].when) if history else (0, "", "")
