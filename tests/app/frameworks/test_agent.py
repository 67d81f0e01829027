"""An agent of LangGraph over a knowledge base, as docs/frameworks.md builds it; a server plays its model."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

CALL = {"name": "ask_documents", "arguments": json.dumps({"question": "How many days of annual leave do I have?"})}


class Model(ThreadingHTTPServer):
    """Calls the tool first, and then says again what that said."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.asked: list[dict[str, Any]] = []


class _Asked(BaseHTTPRequestHandler):
    server: Model  # type: ignore[override]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        last, finish = asked["messages"][-1], "stop"
        said: dict[str, Any] = {"role": "assistant", "content": None}
        if last["role"] == "tool":
            said["content"] = f"It says: {last['content']}"
        else:
            said["tool_calls"], finish = [{"id": "1", "type": "function", "function": CALL}], "tool_calls"
        choices = [{"index": 0, "message": said, "finish_reason": finish}]
        told = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": choices}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_the_agent_of_the_docs_asks_the_knowledge_base_and_keeps_the_citations(handbook: Path, model: Model) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "frameworks.md").read_text("utf-8"), re.DOTALL)
    (example,) = [each for each in examples if "langgraph" in each]
    env = os.environ | {
        "RAGSTONE_DATA": str(handbook), "RAGSTONE_LLM__BACKEND": "extractive", "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model.server_port}/v1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = model.asked
    assert [tool["function"]["name"] for tool in first["tools"]] == ["ask_documents", "search_documents"]
    assert "25 days" in second["messages"][-1]["content"]
    assert done.stdout.startswith("It says: ")
    assert re.search(r"^1 people/leave-policy\.md ", done.stdout, re.MULTILINE), done.stdout
