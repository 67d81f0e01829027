"""Nobody but its owner can read the data folder, whatever the umask was, nor any file that the commands write there."""

import json
import os
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.app.app_process import ROOT, command, environment, running

pytestmark = pytest.mark.slow

USE = """
import os, sys
from pathlib import Path
from app.running.bases import Bases
from app.running.chats import Chats, Reader
from core.config import load
from core.files import PRIVATE
os.umask(PRIVATE)
Bases(load().config).upload("handbook", [Path(sys.argv[1])])
chats = Chats(Path(os.environ["RAGSTONE_DATA"]))
ann = Reader("", {"handbook": "handbook"})
chats.ask(ann, chats.begin(ann, ["handbook"]).id, None, "How much leave?")
os._exit(0)  # a log that is not yet written back stays there
"""


def ragstone(data: Path, *args: str) -> None:
    done = subprocess.run(
        command(*args), env=environment(data), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        input="correct horse battery\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def open_to_others(data: Path) -> list[str]:
    paths = [data, *data.rglob("*")]
    return [f"{stat.S_IMODE(path.stat().st_mode):o} {path}" for path in paths if path.stat().st_mode & 0o077]


def test_what_index_chat_upload_users_golden_backup_and_restore_write_is_private(tmp_path: Path) -> None:
    data, docs = tmp_path / "data", tmp_path / "docs"
    docs.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nAnnual leave is 25 days.", encoding="utf-8")
    upload = tmp_path / "parking.md"
    upload.write_text("The garage opens at 06:30.", encoding="utf-8")
    before = os.umask(0o000)
    try:
        ragstone(data, "index", str(docs), "--kb", "handbook")
        with running("ui", data, tmp_path / "log", {"RAGSTONE_LLM__BACKEND": "extractive"}, anew=True) as app:
            asked = {"model": "handbook", "messages": [{"role": "user", "content": "How much leave?"}]}
            request = urllib.request.Request(
                f"{app.url}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                assert "25 days" in response.read().decode()
            assert open_to_others(data) == []  # also what is there while it runs
        subprocess.run(
            [sys.executable, "-c", USE, str(upload)], env=environment(data), cwd=ROOT, check=True, timeout=120
        )
        assert open_to_others(data) == []
        ragstone(data, "user", "add", "ann", "--role", "admin", "--password-stdin")
        ragstone(data, "golden", "add", "--question", "How much?", "--kb", "handbook", "--file", "leave.md",
                 "--evidence", "Annual leave is 25 days.")  # fmt: skip
        ragstone(data, "backup", str(data / "kb.tar"), "--kb", "handbook")
        ragstone(data, "restore", str(data / "kb.tar"), "--kb", "copy")
        ragstone(data, "index", "--kb", "copy")
        ragstone(data, "index", "--kb", "handbook", "--rebuild")
        ragstone(data, "purge", "--kb", "copy")
    finally:
        os.umask(before)
    assert {path.name for path in data.iterdir()} >= {"handbook", "copy", "users.sqlite", "chats.sqlite", "kb.tar"}
    assert open_to_others(data) == []
