"""What the benches share: the evaluation folder, progress on stderr, and `results.json`."""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
_VARIABLE = "RAGSTONE_EVAL"


def evaluation_folder(needed: Sequence[str]) -> Path:
    """The folder that RAGSTONE_EVAL names, which must hold the `needed` folders; else a message and exit 2."""
    value = os.environ.get(_VARIABLE, "")
    if not value:
        _leave(f"{_VARIABLE} is not set: it names the folder of the evaluation sets ({', '.join(needed)})")
    folder = Path(value).expanduser()
    absent = [name for name in needed if not (folder / name).is_dir()]
    if absent:
        _leave(f"{_VARIABLE}={value!r} has no folder {absent[0]!r}")
    return folder


def _leave(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(2)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


_shown_at = 0.0


def progress(stage: str, done: int, total: int) -> None:
    """Show how far a stage is on stderr: one line that is written over; in a file, a line every half minute."""
    global _shown_at
    finished, screen, now = done == total > 0, sys.stderr.isatty(), time.monotonic()
    if finished or now - _shown_at > (0.2 if screen else 30.0):
        _shown_at = now
        end = "" if screen and not finished else "\n"
        print(
            f"{chr(13) if screen else ''}{stage}: {done}{f' of {total}' if total else ''}  ", end=end, file=sys.stderr
        )


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """Python, number of CPUs, threads a model may use, and the versions of the packages that are installed."""
    import torch

    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in packages}
    machine = {"cpus": os.cpu_count(), "threads": torch.get_num_threads()}
    return machine | {"python": platform.python_version(), "packages": dict(sorted(found.items()))}


def recorded(bench: str) -> dict[str, Any]:
    """What `results.json` holds of a benchmark."""
    known: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return known.get(bench, {})


def merge(bench: str, results: Mapping[str, Any]) -> None:
    """Put results under their keys in `results.json`; what other runs wrote there stays."""
    known: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    known.setdefault(bench, {}).update(results)
    aside = RESULTS.with_suffix(".writing")
    aside.write_text(json.dumps(known, indent=2, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    aside.replace(RESULTS)
