"""Goes through what the app does, without a model or with vLLM's: run by test_offline.py where there is no network.

Arguments: the data folder, and the folder of a model for vLLM or "-".
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.app.app_process import ROOT, command, environment, running

QUESTION = "How many days of annual leave do I have?"


def run(data: Path, *args: str, embedder: str = "auto") -> None:
    """One command, which must be done."""
    env = environment(data, {"RAGSTONE_RETRIEVAL__EMBEDDER": embedder})
    done = subprocess.run(command(*args), env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stderr)


def ask(url: str) -> str:
    """An answer over the API."""
    body = json.dumps({"model": "handbook", "messages": [{"role": "user", "content": QUESTION}]}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def main(data: Path, model: str) -> None:
    """Index, ask, train, show the page; or serve a model and ask it."""
    if model == "-":
        run(data, "index", str(ROOT / "examples" / "handbook"), "--kb", "handbook")
        run(data, "ask", QUESTION, "--kb", "handbook")
        run(data, "doctor")
        run(data, "index", str(ROOT / "examples" / "handbook"), "--kb", "trained", embedder="english")  # small
        tuning = ("--kb", "trained", "--drafted", "40", "--max-steps", "1")
        run(data, "finetune", "embedder", *tuning, embedder="english")
        with running("ui", data, data.parent / "ui.log", anew=True) as app:
            assert "gradio_config" in urllib.request.urlopen(app.url, timeout=60).read().decode()
            assert "days" in ask(app.url)
        return
    env = {
        "RAGSTONE_LLM__VLLM_MODEL": model, "RAGSTONE_LLM__VLLM_BUILD": "cpu", "RAGSTONE_LLM__VLLM_CPU_KV_GB": "1",
        "RAGSTONE_LLM__MAX_TOKENS": "20", "RAGSTONE_LLM__TIMEOUT_S": "300",
    }  # fmt: skip
    with running("serve", data, data.parent / "serve.log", env, start_s=400, anew=True) as app:
        ask(app.url)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
