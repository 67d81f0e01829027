"""Training in several processes: `accelerate launch` of `llm.finetune`, by a person's accelerate configuration."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from core.errors import DatasetError, ModelError
from llm.finetune import FAILURE, OUTCOME, SPOKEN, Progress

LOG = "train.log"
_TAIL = 12  # lines of the log in a message
_GRACE = 10  # seconds between asking a process to end and making it


def command(folder: Path, config: Path, module: str = "llm.finetune") -> list[str]:
    """What is run: one process for each device that the configuration names, each of them `module`."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    return [*launcher, "--module", module, str(folder)]


def train_launched(folder: Path, config: Path, progress: Progress, module: str = "llm.finetune") -> dict[str, Any]:
    """As `llm.finetune.train`, in the processes of an accelerate configuration (DDP, FSDP, ZeRO), each a `module`.

    Their output is in train.log. They end with this process; were it killed, at their next step, of which they cannot
    tell anybody. Raises what `train` raises there, else `ModelError` with the end of the log.
    """
    for name in (FAILURE, OUTCOME):
        (folder / name).unlink(missing_ok=True)
    with (folder / LOG).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(folder, config, module), stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(SPOKEN):
                    stage, done, total = json.loads(line.removeprefix(SPOKEN))
                    progress(stage, done, total)
                else:
                    log.write(line)
            process.wait()
        finally:
            _end(process)
            process.stdout.close()
    if (folder / FAILURE).exists():
        told = json.loads((folder / FAILURE).read_text("utf-8"))
        kind = DatasetError if told["kind"] == "DatasetError" else ModelError
        raise kind(told["message"], told["hint"])
    if process.returncode or not (folder / OUTCOME).exists():
        tail = "\n".join((folder / LOG).read_text("utf-8").splitlines()[-_TAIL:])
        raise ModelError(
            f"accelerate launch ended with {process.returncode}:\n{tail}",
            f"check {str(config)!r} (`accelerate config` writes one), then --resume",
        )
    return json.loads((folder / OUTCOME).read_text("utf-8"))


def _end(process: subprocess.Popen[str]) -> None:
    """End the launcher and what it started, which share a session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
