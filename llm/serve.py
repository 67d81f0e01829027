"""vLLM as a child process: configuration -> argv and environment -> a running server, ended with the app.

The model and the port are examined first, then vLLM starts in a session of its own below vllm_launcher.py, which ends
it when the app is gone. Its output goes to a log file; a start that fails is explained from that log.
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from core.config import LlmConfig
from core.errors import ModelError
from llm.fit import config_of, quantized_as
from llm.suits import parser_of
from llm.vllm_env import Build, Progress, build_of, ensure
from llm.vllm_log import explain, last_step

log = logging.getLogger(__name__)

_LAUNCHER = Path(__file__).with_name("vllm_launcher.py")
_POLL_S, _REPORT_S = 0.25, 5.0
_STOP_S = 20.0  # above the grace that the launcher gives vLLM
_LOG_TAIL, _LOG_MOST = 400_000, 64 << 20  # bytes
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_UNDER_WAY = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
# These would lead vLLM's python into the app's packages, or hand it a secret that it has no use for.
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RAGSTONE_LLM__API_KEY")


def build_argv(cfg: LlmConfig, build: Build) -> list[str]:
    """The arguments after `vllm`. `llm.vllm_args` come last, so that they win."""
    argv = ["serve", model_path(cfg), "--served-model-name", model_name(cfg)]
    argv += ["--host", cfg.vllm_host, "--port", str(cfg.vllm_port)]
    if not _pools(cfg):  # an encoder keeps nothing that could be used again, and vLLM ends where it is told to
        argv += ["--enable-prefix-caching"]
    if cfg.vllm_max_model_len:
        argv += ["--max-model-len", str(cfg.vllm_max_model_len)]
    if build == "gpu":
        argv += ["--gpu-memory-utilization", f"{cfg.vllm_memory:g}"]
    else:  # no compilation, no worker process: it starts in a third of the time
        argv += ["--enforce-eager", "--distributed-executor-backend", "uni"]
    if cfg.vllm_lora_rank:
        rank = next(allowed for allowed in _LORA_RANKS if allowed >= cfg.vllm_lora_rank)
        argv += ["--enable-lora", "--max-lora-rank", str(rank)]
    own = any(arg.split("=")[0] == "--reasoning-parser" for arg in cfg.vllm_args)
    if not own and not is_hub_name(cfg.vllm_model) and (parser := parser_of(Path(model_path(cfg)))):
        argv += ["--reasoning-parser", parser]
    return [*argv, *cfg.vllm_args]


def environment(cfg: LlmConfig, build: Build, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of the child: `base` with no reports sent home and, for a model folder, no look at the hub.

    On the CPU the size of the cache is `llm.vllm_cpu_kv_gb`; threads are set where `base` does not set them.
    """
    env = {name: value for name, value in base.items() if name not in _NOT_PASSED_ON}
    env |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if not is_hub_name(cfg.vllm_model):
        env["HF_HUB_OFFLINE"] = "1"
    if cfg.vllm_lora_rank:
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if build == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(cfg.vllm_cpu_kv_gb)
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the other half of `--distributed-executor-backend uni`
        env.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))  # a core is left to the app
    return env


def is_hub_name(model: str) -> bool:
    """Whether a model is named as on a model hub (`maker/name`) and no folder of that name exists."""
    return bool(_HUB_NAME.fullmatch(model)) and not Path(model).exists()


def model_path(cfg: LlmConfig) -> str:
    """The model as vLLM is told it: an absolute folder, or a name to download."""
    return cfg.vllm_model if is_hub_name(cfg.vllm_model) else str(Path(cfg.vllm_model).expanduser().absolute())


def model_name(cfg: LlmConfig) -> str:
    """The name clients ask for: `llm.vllm_name`, else the last part of the model's path."""
    return cfg.vllm_name or Path(model_path(cfg)).name


def base_url(cfg: LlmConfig) -> str:
    """Where clients of this machine reach the server."""
    host = _ANY_ADDRESS.get(cfg.vllm_host, cfg.vllm_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{cfg.vllm_port}/v1"


def check_model(cfg: LlmConfig) -> None:
    """Raise `ModelError` where the model folder cannot be served, as a chat model unless `--runner` says otherwise.

    A hub name is left to vLLM.
    """
    if not cfg.vllm_model:
        raise ModelError("llm.vllm_model is empty: there is no model to serve", "set it to the folder of a model")
    if is_hub_name(cfg.vllm_model):
        return
    folder = Path(model_path(cfg))
    if not folder.is_dir():
        hint = "set it to a folder that holds a model (config.json, *.safetensors, tokenizer files), or maker/name"
        raise ModelError(f"llm.vllm_model: there is no folder {str(folder)!r}", hint)
    names = {item.name for item in folder.iterdir()}
    if not names & {"config.json", "params.json"}:  # params.json: Mistral's own format
        raise ModelError(
            f"llm.vllm_model: {str(folder)!r} holds no config.json, so it is no model",
            "give the folder that holds config.json itself, not one above it; is the download complete?",
        )
    if _pools(cfg):
        return
    own = any(arg.split("=")[0] in ("--chat-template", "--tokenizer", "--tokenizer-mode") for arg in cfg.vllm_args)
    if not own and not _has_chat_template(folder, names):
        raise ModelError(
            f"llm.vllm_model: the tokenizer in {str(folder)!r} has no chat template, so it cannot chat",
            "use the instruct or chat version of the model, or name a template: "
            'vllm_args = ["--chat-template", "/path/to/template.jinja"]',
        )


def _pools(cfg: LlmConfig) -> bool:
    """Whether an embedder or a reranker is served: `--runner pooling`."""
    words = [part for arg in cfg.vllm_args for part in arg.split("=", 1)]
    return ("--runner", "pooling") in pairwise(words)


def _has_chat_template(folder: Path, names: set[str]) -> bool:
    if names & {"chat_template.jinja", "chat_template.json", "tekken.json", "additional_chat_templates"}:
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError) as error:
        what = f"llm.vllm_model: {str(folder / 'tokenizer_config.json')!r} cannot be read: {error}"
        raise ModelError(what, "is the download of the model complete?") from None


def check_adapters(cfg: LlmConfig) -> None:
    """Raise `ModelError` where a stranger could have vLLM load files: who reaches its port may name any folder.

    And where it would die of them: the CPU build has no adapters for weights and activations in 8 bits.
    """
    if cfg.vllm_lora_rank and cfg.vllm_host not in _LOOPBACK:
        raise ModelError(
            f"llm.vllm_lora_rank: adapters may not be loaded at run time while vLLM listens on {cfg.vllm_host}",
            'set llm.vllm_host = "127.0.0.1", or llm.vllm_lora_rank = 0',
        )
    if cfg.vllm_lora_rank and _is_w8a8(Path(model_path(cfg))) and build_of(cfg) == "cpu":
        raise ModelError(
            f"llm.vllm_lora_rank: vLLM's CPU build loads no adapters into {model_path(cfg)!r}, which is W8A8",
            "set llm.vllm_lora_rank = 0, or serve the model unquantized",
        )


def _is_w8a8(folder: Path) -> bool:
    return (folder / "config.json").is_file() and quantized_as(config_of(folder)) == "w8a8"


def check_port(cfg: LlmConfig) -> None:
    """Raise `ModelError` where vLLM could not listen, saying what answers there if it is a model server."""
    where = f"{cfg.vllm_host}:{cfg.vllm_port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            cfg.vllm_host, cfg.vllm_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
        return
    except socket.gaierror as error:
        what = f"llm.vllm_host: {cfg.vllm_host!r} is no address of this machine: {error.strerror}"
        raise ModelError(what, 'use "127.0.0.1"') from None
    except PermissionError:
        raise ModelError(f"llm.vllm_port: {where} may not be used", "use a port above 1023") from None
    except OSError as error:
        if error.errno != 98:  # EADDRINUSE
            what = f"llm.vllm_host, llm.vllm_port: cannot listen on {where}: {error.strerror}"
            raise ModelError(what, 'use "127.0.0.1" and a free port') from None
    if served := _served_at(base_url(cfg)):
        raise ModelError(
            f"llm.vllm_port: {where} is taken by a model server that serves {', '.join(served)}",
            f'to use that server, set llm.base_url = "{base_url(cfg)}" and leave llm.vllm_model empty; '
            "to start another, set llm.vllm_port to a free port",
        )
    raise ModelError(
        f"llm.vllm_port: {where} is taken by another program", "set llm.vllm_port to a free port, or end that program"
    )


def _served_at(url: str) -> list[str]:
    import httpx

    try:
        response = httpx.get(f"{url}/models", timeout=2, trust_env=False)
        return [str(row["id"]) for row in response.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def _kill_session(leader: int) -> None:
    for name in os.listdir("/proc"):
        with contextlib.suppress(ProcessLookupError):
            if name.isdigit() and os.getsid(int(name)) == leader:
                os.kill(int(name), signal.SIGKILL)


class Server:
    """A running vLLM. `stop` ends it, and so does the end of this process, whatever ends that."""

    def __init__(self, process: "subprocess.Popen[bytes]", cfg: LlmConfig, log_path: Path, written: BinaryIO) -> None:
        self.base_url, self.model_name, self.log_path = base_url(cfg), model_name(cfg), log_path
        self._process, self._written = process, written  # open here too, so that a log that was deleted can be read
        self._stopped = False
        self._mutex = threading.Lock()
        self._last = ""  # the end of the log, once it is closed

    @classmethod
    def start(
        cls,
        cfg: LlmConfig,
        log_path: Path,
        progress: Progress,
        cancel: threading.Event | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "Server":
        """Start vLLM and wait until it answers, telling every few seconds how far it is.

        Makes vLLM's environment first where needed. The log of the start before is kept as `<log_path>.1`.
        Setting `cancel` ends the wait; `env` is added to vLLM's environment. Raises `ModelError` that says why it did
        not start.
        """
        check_model(cfg)
        check_adapters(cfg)
        check_port(cfg)
        python, build = ensure(cfg, progress), build_of(cfg)
        argv = [str(python), "-P", str(_LAUNCHER), str(os.getpid()), *build_argv(cfg, build)]
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            if log_path.exists():
                log_path.replace(log_path.with_name(log_path.name + ".1"))
            written = log_path.open("ab+")  # what is appended goes on at the end after `bound_log`
            try:
                process = subprocess.Popen(
                    argv,
                    env=environment(cfg, build, os.environ) | dict(env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that Ctrl-C in the terminal reaches the app alone, which then stops it
                )
            except BaseException:
                written.close()
                raise
        except OSError as error:
            what = f"vLLM could not be started: {error.strerror} ({error.filename})"
            raise ModelError(what, "check llm.vllm_env, and that the data folder can be written") from error
        server = cls(process, cfg, log_path, written)
        try:
            server._wait(cfg.vllm_start_timeout_s, progress, cancel)
        except BaseException:  # Ctrl-C too must not leave it running
            server.stop()
            raise
        return server

    def _wait(self, timeout_s: float, progress: Progress, cancel: threading.Event | None) -> None:
        import httpx

        health = self.base_url.removesuffix("/v1") + "/health"
        started = reported = time.monotonic()
        progress(f"starting vLLM with {self.model_name!r}; its log is {self.log_path}")
        with httpx.Client(timeout=2, trust_env=False) as client:  # never through a proxy
            while True:
                if (failure := self.failure()) is not None:
                    raise failure
                if cancel is not None and cancel.wait(_POLL_S):
                    raise ModelError("the start of vLLM was cancelled", "start the app again")
                if cancel is None:
                    time.sleep(_POLL_S)
                now = time.monotonic()
                try:
                    if client.get(health).status_code == httpx.codes.OK and self.running():
                        progress(f"vLLM serves {self.model_name!r} at {self.base_url} after {now - started:.0f} s")
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                if now - started > timeout_s:
                    raise ModelError(
                        f"vLLM did not answer within {timeout_s:g} s; last: {last_step(self._log())}",
                        f"raise llm.vllm_start_timeout_s, or see {self.log_path}",
                    )
                if now - reported >= _REPORT_S:
                    reported = now
                    progress(f"vLLM is starting, {now - started:.0f} s: {last_step(self._log())}")

    @property
    def pid(self) -> int:
        """The process that guards vLLM, whose session all of it is in."""
        return self._process.pid

    def log_tail(self, lines: int) -> tuple[str, ...]:
        """The last lines of the log."""
        return tuple(self._log().splitlines()[-lines:])

    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def healthy(self) -> bool:
        """Whether it says, within two seconds, that it is well."""
        import httpx

        try:
            health = self.base_url.removesuffix("/v1") + "/health"
            return httpx.get(health, timeout=2, trust_env=False, verify=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def under_way(self) -> int:
        """How many requests it says that it works on or has waiting; 0 where it does not answer."""
        import httpx

        try:
            url = self.base_url.removesuffix("/v1") + "/metrics"
            return sum(int(float(n)) for n in _UNDER_WAY.findall(httpx.get(url, timeout=2, trust_env=False).text))
        except httpx.HTTPError:
            return 0

    def failure(self) -> ModelError | None:
        """Why the server ended by itself, or None while it runs or where it was stopped."""
        code = self._process.poll()
        return None if code is None or self._stopped else explain(self._log(), code, self.log_path)

    def stop(self) -> None:
        """End vLLM and everything that it started, and close its log; does nothing the second time."""
        self._stopped = True
        if self.running():
            self._process.send_signal(signal.SIGTERM)  # to the launcher, which ends the rest of it in order
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.returncode < 0:  # the launcher was killed, so it could not end the others
            _kill_session(self._process.pid)
        last = self._log()
        with self._mutex:
            self._last = last
            self._written.close()

    def bound_log(self, most: int = _LOG_MOST) -> None:
        """Begin the log anew where it has more bytes; what it said is kept as `<log_path>.1`, if it can be."""
        with self._mutex:
            if self._written.closed or os.fstat(self._written.fileno()).st_size <= most:
                return
            try:
                with open(f"{self.log_path}.1", "wb") as kept:
                    offset = 0
                    while part := os.pread(self._written.fileno(), 1 << 20, offset):
                        offset += kept.write(part)
            except OSError as error:
                log.warning("%s.1 could not be written: %s", self.log_path, error)
            os.ftruncate(self._written.fileno(), 0)

    def _log(self) -> str:
        with self._mutex:
            if self._written.closed:
                return self._last
            size = os.fstat(self._written.fileno()).st_size
            tail = os.pread(self._written.fileno(), _LOG_TAIL, max(0, size - _LOG_TAIL))
        return tail.decode("utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
