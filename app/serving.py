"""What `ragstone ui` and `ragstone serve` start: the HTTP surface, the page on it, a model server, a watched folder."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import uvicorn

from app.http.patience import patient
from app.http.server import build
from app.http.subpath import SubPath, normal
from app.keeping.index import Report
from app.keeping.watch import keep_following
from app.running import model_server, switching
from app.running.bases import State
from app.running.chat_folders import clear
from core.config import Settings
from core.errors import ConfigError, RagstoneError

log = logging.getLogger(__name__)


def run(settings: Settings, kb: str, port: int, *, with_ui: bool, watch: bool = False) -> None:
    """Serve until interrupted; `watch` keeps the knowledge base in step with its folders meanwhile.

    Where an admin starts the app anew on the page, this process becomes a new one of the same command.
    Raises `ConfigError` for a taken port, `ModelError` where vLLM does not start.
    """
    state = State(settings)
    state.users.check_ready()
    host = settings.config.app.host
    _check_port(host, port)
    if not with_ui:
        _start_vllm(state)
        if state.failure:
            raise state.failure
    app: Any = build(state)
    if with_ui:
        from app.ui.page import mount  # Gradio loads for seconds

        app = mount(app, state, kb)
    if root_path := normal(settings.config.app.root_path):
        app = SubPath(app, root_path)
    threading.Thread(target=_prepare, args=(state, kb, with_ui), daemon=True, name="prepare").start()
    shown = f"[{host}]" if ":" in host else host
    print(f"Ragstone {'UI' if with_ui else 'API'} on http://{shown}:{port}  (Ctrl-C ends)", flush=True)  # noqa: T201
    stop = threading.Event()
    if watch:
        threading.Thread(target=_follow, args=(state, kb, stop), daemon=True, name="watch").start()
    threading.Thread(target=switching.follow, args=(state, _say, stop), daemon=True, name="promotions").start()
    # uvicorn ends in order, then sends itself the signal once more, by which nothing below would be reached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": 3, "http": patient()}
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, **options))
    anew = threading.Event()

    def start_anew() -> None:
        anew.set()
        server.should_exit = True

    state.start_anew = start_anew
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        stop.set()
        model_server.close(state)
    if not server.started:
        raise ConfigError("the app did not start", "see its log")
    if anew.is_set():
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _prepare(state: State, kb: str, with_ui: bool) -> None:
    try:
        _clear(state)
        state.bases.warm_up(kb)
        state.ready.set()
        if with_ui:
            _start_vllm(state)
    except RagstoneError as error:
        log.error("%s", error)
        state.failure = error


def _clear(state: State) -> None:
    """Delete the files of conversations that were deleted while an earlier app was killed."""
    try:
        clear(state.bases.data)
    except RagstoneError as error:
        log.warning("%s", error)


def _follow(state: State, kb: str, stop: threading.Event) -> None:
    def tell(what: Report | Exception) -> None:
        if isinstance(what, Exception):
            state.watching = str(what) or type(what).__name__
            expected = isinstance(what, RagstoneError)
            log.error("watching %r failed, and is tried again: %s", kb, what, exc_info=None if expected else what)
            return
        state.watching = ""
        log.info("watch added=%d changed=%d deleted=%d", what.added, what.changed, what.deleted)
        for failure in what.failed:
            log.warning("%s: %s", failure.path, failure.error)

    keep_following(lambda: state.bases.get(kb), lambda: state.cfg, tell, stop)


def _start_vllm(state: State) -> None:
    """Start the configured model, unless an endpoint is configured to be used instead."""
    if not model_server.wanted(state.settings):
        return
    try:
        model_server.start(state, _say)
    except RagstoneError as error:
        log.error("%s", error)
        state.failure = error if state.cfg.llm.backend == "vllm" else None


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _check_port(host: str, port: int) -> None:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used: {error.strerror}", "end the other program, or choose another --port"
            ) from None
