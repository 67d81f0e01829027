"""A Dask cluster of processes, as users start it: a scheduler and workers by `ragstone worker`, and certificates."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.config import Config
from tests.app.app_process import ROOT, command, environment
from tests.fixtures_vllm import free_port

START_S = 180
SMALL = {"RAGSTONE_RETRIEVAL__EMBEDDER": "english"}
DEADLY = "ends whoever reads it"
HELD = "is never read to its end"
# A worker with a fault: one text ends it at once, over another it waits for ever and says so by a file.
_FAULTY = f"""
import os, signal, sys, time
from pathlib import Path
import app.keeping.worker as worker
whole = worker.read_sent
def faulty(name, data, cfg, ocr_pages):
    if {DEADLY.encode()!r} in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if {HELD.encode()!r} in data:
        Path(os.environ["HELD"]).touch()
        time.sleep(3600)
    return whole(name, data, cfg, ocr_pages)
worker.read_sent = faulty
from app.cli import main
main()
"""


@dataclass
class Cluster:
    """Processes of a cluster; `before` stands before each command, as `ip netns exec NAME` does."""

    folder: Path
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def scheduler(self, before: Sequence[str] = ()) -> None:
        """Start the scheduler, and wait for it."""
        self._start("scheduler", [*before, *command("worker", self.url, "--scheduler")], {}, "workers meet at")

    def worker(
        self, name: str, *more: str, before: Sequence[str] = (), env: Mapping[str, str] | None = None,
        faulty: bool = False, wait: bool = True,
    ) -> "subprocess.Popen[bytes]":  # fmt: skip
        """Start a worker."""
        what = [sys.executable, "-c", _FAULTY] if faulty else command()
        args = [*before, *what, "worker", self.url, "--name", name, "--threads", "2", *more]
        own = {"HELD": str(self.folder / "held")} | SMALL | dict(env or {})
        return self._start(name, args, own, "works for" if wait else "")

    def _start(self, name: str, args: Sequence[str], env: Mapping[str, str], said: str) -> "subprocess.Popen[bytes]":
        log = self.folder / f"{name}.log"
        settings = environment(self.folder / name, dict(self.settings) | dict(env))
        with log.open("ab") as out:
            process = subprocess.Popen(args, cwd=ROOT, env=settings, stdout=out, stderr=out, start_new_session=True)
        self.processes.append(process)
        if said:
            until(lambda: said in self.log(name) or process.poll() is not None, name)
            assert process.poll() is None, self.log(name)
        return process

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def of(self, cfg: Config, **more: str) -> Config:
        """A configuration that indexes by this cluster."""
        files = {key.removeprefix("RAGSTONE_INGEST__").lower(): value for key, value in self.settings.items()}
        update = {"workers": self.url} | files | more
        return cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update=update)})

    def close(self) -> None:
        """End what runs."""
        for process in reversed(self.processes):
            end(process)


def until(met: Callable[[], object], what: str, seconds: float = START_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds} s"
        time.sleep(0.05)


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGKILL) -> None:
    """End a process with what it started."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.wait(timeout=60)


@contextmanager
def cluster(folder: Path, *names: str, url: str = "", settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster with workers of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, url or f"dask://127.0.0.1:{free_port()}", settings or {})
    try:
        made.scheduler()
        started = [made.worker(name, wait=False) for name in names]
        for name, process in zip(names, started, strict=True):
            until(lambda name=name, one=process: "works for" in made.log(name) or one.poll() is not None, name)
            assert process.poll() is None, made.log(name)
        yield made
    finally:
        made.close()


def certificates(folder: Path, name: str = "host") -> dict[str, str]:
    """An authority of one's own and a certificate by it, as docs/workers.md makes them; the settings that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ca.pem").exists():
        _openssl(folder, "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "365", "-subj", "/CN=workers",
                 "-keyout", "ca-key.pem", "-out", "ca.pem")  # fmt: skip
    _openssl(folder, "req", "-newkey", "rsa:3072", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem",
             "-out", f"{name}.csr")  # fmt: skip
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
             "-days", "365", "-out", f"{name}.pem")  # fmt: skip
    files = {"CA": "ca.pem", "CERT": f"{name}.pem", "KEY": f"{name}-key.pem"}
    return {f"RAGSTONE_INGEST__WORKERS_{key}": str(folder / file) for key, file in files.items()}


def _openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
