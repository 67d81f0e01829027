"""llama.cpp's own server over a GGUF file, which Ollama and LM Studio run too, in a child process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any


@contextmanager
def serving(file: Path, context: int = 2048) -> Iterator[str]:
    """Serve a file; the server's address, without /v1."""
    argv = [sys.executable, "-m", "tests.llama_cpp", str(file), str(context)]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address.startswith("http"), f"llama.cpp did not start: {address!r}"
        yield address
    finally:
        child.kill()
        child.communicate()


def main() -> None:
    llama: Any = import_module("xllamacpp")  # compiled, without types
    params = llama.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], int(sys.argv[2]), 1, False
    params.cpuparams.n_threads, params.port, params.model_alias = 1, 0, {"exported"}
    server = llama.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the parent closes it


if __name__ == "__main__":
    main()
