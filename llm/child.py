"""A program that is run to its end, and heard while it runs."""

import subprocess
from collections.abc import Callable, Mapping, Sequence

_LONGEST = 300  # characters of a line that are passed on


def run(argv: Sequence[str], env: Mapping[str, str], hear: Callable[[str], None]) -> int:
    """Run a program and hear each line of its stderr, each state of a bar too; its exit code.

    It is ended with this call, however that ends.
    """
    with subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace",
    ) as child:  # fmt: skip
        assert child.stderr is not None
        try:
            for line in child.stderr:
                hear(line.rstrip()[:_LONGEST])
        finally:
            child.kill()
    return child.returncode
