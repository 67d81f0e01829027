import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.keeping.index import run
from core.config import Config
from core.errors import CatalogError
from tests.app.app_process import command
from tests.conftest import ROOT

Write = Callable[[str, str], Path]


@contextmanager
def watching(data: Path, log: Path, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    env = os.environ | {"RAGSTONE_DATA": str(data), "RAGSTONE_RETRIEVAL__PRECISION": "float32"}
    with log.open("wb") as sink:
        process = subprocess.Popen(command("watch", *arguments), stdout=sink, stderr=sink, cwd=ROOT, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(text: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 90
    while text not in log.read_text("utf-8"):
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < end, log.read_text("utf-8")
        time.sleep(0.1)


@pytest.mark.slow
def test_a_service_follows_all_knowledge_bases_also_a_later_one_and_ends_in_order(
    cfg: Config, write: Write, tmp_path: Path
) -> None:
    data, log = Path(cfg.app.data), tmp_path / "log"
    one = write("one/a.md", "# One\n\nSomething.").parent
    run(cfg, "one", [one])
    with watching(data, log) as process:
        wait_for(f"one: watching {one}", log, process)
        write("one/b.md", "# Two\n\nSomething else.")
        wait_for("1 added, 0 changed", log, process)
        two = write("two/c.md", "# Three\n\nSomething third.").parent
        run(cfg, "two", [two])
        wait_for("two: watching", log, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_knowledge_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["watch", "--kb", "nope", "--set", f"app.data={tmp_path}"])
    assert isinstance(done.exception, CatalogError)
    assert "no knowledge base 'nope'" in done.exception.message
