"""Starts apps from a process that has imported what they import: most of what a start takes, once for many.

An app is then a fork of that process: with its own arguments, environment, output and umask, as if the command line
had been run, but that its modules were imported before. What an import reads must be the same, so only settings of
ours (`RAGSTONE_...`, read as an app starts) and where uploads go may differ: `fits`.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_OWN = ("RAGSTONE_", "GRADIO_TEMP_DIR", "PYTEST_")
_OF_LIBRARIES = ("HF_XET_", "KMP_", "LD_LIBRARY_PATH", "TORCHINDUCTOR_")  # torch, lm_eval and cv2 set them in the tests
_IMPORTED = (
    "app.cli", "app.serving", "app.ui.page", "faiss", "mcp.server.mcpserver", "retrieval.light", "retrieval.search",
    "tantivy", "tokenizers", "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.websockets.auto", "uvloop",
)  # fmt: skip
_POLL_S = 0.02


def _seen_by_imports(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith((*_OWN, *_OF_LIBRARIES))}


class Forks:
    """The process that forks, and what is asked of it: one request after the other."""

    def __init__(self) -> None:
        self._env = _seen_by_imports(os.environ) | {"PYTHONUNBUFFERED": "1"}
        self._lock = threading.Lock()
        argv = [sys.executable, "-m", "tests.app.preloaded"]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            argv, cwd=root, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._end)

    def fits(self, env: Mapping[str, str]) -> bool:
        """Whether what was imported would be the same with this environment."""
        return _seen_by_imports(env) == self._env

    def start(self, argv: list[str], env: Mapping[str, str], cwd: Path, log: Path) -> "Fork":
        """Run a command line of `ragstone`; `log` receives what it writes to stdout and stderr."""
        umask = os.umask(0)
        os.umask(umask)
        asked = {"argv": argv, "env": dict(env), "cwd": str(cwd), "log": str(log), "umask": umask}
        return Fork(self, self.ask(asked)["pid"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its reply."""
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class Fork:
    """One of its children, as `subprocess.Popen` has it."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._forks.ask({"poll": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("ragstone", timeout or 0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(15)

    def kill(self) -> None:
        """End it."""
        self.send_signal(9)


@cache
def forks() -> Forks:
    """The one of this process, which ends with it."""
    return Forks()


def _serve() -> list[str] | None:
    """Answer requests until there are no more; in a child: its command line."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is no reply
    for line in sys.stdin:
        asked = json.loads(line)
        if "poll" in asked:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            reply = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        elif pid := os.fork():
            reply = {"pid": pid}
        else:
            replies.close()
            _become(asked)
            return asked["argv"]
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    return None


def _become(asked: dict[str, Any]) -> None:
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.umask(asked["umask"])
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]
    sys.orig_argv = [sys.executable, *asked["argv"]]


def main() -> None:
    """Import what apps import, then fork as told; a child runs the command line."""
    for name in _IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    if _serve():
        sys.exit(import_module("app.cli").main())


if __name__ == "__main__":
    main()
