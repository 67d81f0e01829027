"""How light it starts: `python -m bench.start`, and with `--beside FOLDER` another checkout measured in the same run.

Each build indexes the sample handbook by its own default embedder. Then a cold process searches, another asks, by
turns, and their processor time is what the kernel says of them. The app is started, left alone until it is ready, and
asked one question; its resident memory is that of its process and those it started, also without what it only maps from
files (weights that every process shares).
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.record import merge, progress

ROOT = Path(__file__).resolve().parent.parent
_CODE = "from app.cli import main; main()"
_QUESTIONS = {"search": "年休假有几天？", "ask": "How many days of annual leave do I have?"}
_READY_S = 300.0


def command(build: Path, *arguments: str) -> list[str]:
    """`ragstone` of a checkout, in the Python of this one."""
    return [sys.executable, "-c", _CODE, "--set", "llm.backend=extractive", *arguments]


def environment(build: Path, data: Path) -> dict[str, str]:
    """What a build finds around it: its own code, and a data folder of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAGSTONE_")}
    cache = {key: os.environ[key] for key in ("RAGSTONE_CACHE",) if key in os.environ}
    return (
        kept
        | cache
        | {"PYTHONPATH": str(build), "RAGSTONE_DATA": str(data), "RAGSTONE_CONFIG": str(build / "config.toml")}
    )


def run(build: Path, data: Path, arguments: Sequence[str]) -> float:
    """Seconds of processor time that a command takes, with what it starts."""
    started = subprocess.Popen(
        command(build, *arguments), cwd=build, env=environment(build, data), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stderr
    said = started.stderr.read()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{build}: {arguments[0]} ended with {started.returncode}: {said[-500:]}")
    return usage.ru_utime + usage.ru_stime


def app(build: Path, data: Path) -> dict[str, float]:
    """Memory of the app in MiB: idle once it is ready, and after one question; and its seconds of processor time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ("ui", "--kb", "handbook", "--port", str(port))
    process = subprocess.Popen(
        command(build, *arguments), cwd=build, env=environment(build, data), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(f"http://127.0.0.1:{port}/healthz", process)
        time.sleep(5)
        idle = _memory(process.pid)
        seconds = _seconds(process.pid)
        body = {"model": "handbook", "messages": [{"role": "user", "content": _QUESTIONS["ask"]}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=_READY_S).read()
        asked = _memory(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    names = ("idle_mib", "idle_own_mib", "asked_mib", "asked_own_mib")
    return dict(zip(names, (*idle, *asked), strict=True)) | {"ready_cpu_s": seconds}


def _await(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if json.load(reply).get("status") == "ok":
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{url} was not ready within {_READY_S:.0f} s")


def _memory(pid: int) -> tuple[float, float]:
    """Resident MiB of a process and its children, and of these what is not mapped from files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    below = [_memory(int(child)) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return (
        round(kib.get("VmRSS", 0) / 1024 + sum(row[0] for row in below), 1),
        round(kib.get("RssAnon", 0) / 1024 + sum(row[1] for row in below), 1),
    )


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return round((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), 2)


def main() -> None:
    """Measure both builds by turns, print their figures and ratios, and record them."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.start", description="Processor time and memory at the start."
    )
    parser.add_argument("--beside", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--rounds", type=int, default=5, help="cold starts of each command")
    options = parser.parse_args()
    builds = {"here": ROOT} | ({"beside": options.beside.resolve()} if options.beside else {})
    figures: dict[str, dict[str, Any]] = {name: {command: [] for command in _QUESTIONS} for name in builds}
    with tempfile.TemporaryDirectory(prefix="ragstone-start-") as place:
        for name, build in builds.items():
            progress(f"{name} indexes", 0, 0)
            run(build, Path(place, name), ["index", str(ROOT / "examples" / "handbook"), "--kb", "handbook"])
        for turn in range(options.rounds):
            for name, build in builds.items():
                for what, question in _QUESTIONS.items():
                    figures[name][what].append(run(build, Path(place, name), [what, question, "--kb", "handbook"]))
            progress("cold starts", turn + 1, options.rounds)
        for row in figures.values():
            row |= {f"{what}_cpu_s": round(median(row.pop(what)), 2) for what in _QUESTIONS}
        print(figures, file=sys.stderr)
        for name, build in builds.items():
            figures[name] |= app(build, Path(place, name))
            progress(f"{name}: the app", 0, 0)
    results: dict[str, Any] = dict(figures)
    if options.beside:
        here, there = figures["here"], figures["beside"]
        results["ratio"] = {key: round(here[key] / there[key], 3) for key in here}
    for name, row in results.items():
        print(f"{name:7}", ", ".join(f"{key} {value}" for key, value in sorted(row.items())))
    merge("start", results)


if __name__ == "__main__":
    main()
