import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.api import KnowledgeBase
from core.config import Config
from retrieval.embed import Embedder
from tests.retrieval.corpus import DOCUMENTS, build


@pytest.fixture
def base(cfg: Config, embedder: Embedder) -> KnowledgeBase:
    build(cfg, embedder, DOCUMENTS | {"guide.md": "Leave of absence is agreed with the head of the team."}).close()
    return KnowledgeBase("kb", cfg, embedder)


class _Words(BaseHTTPRequestHandler):
    """A rerank server that counts how many words of the question a document has; the shorter is better."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = set(asked["query"].lower().split())
        scores = [len(words & set(text.lower().split())) + 1 / len(text) for text in asked["documents"]]
        rows = [{"index": n, "relevance_score": score} for n, score in enumerate(scores)]
        body = json.dumps({"results": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def reranking(cfg: Config) -> Iterator[Config]:
    """The configuration with a reranker behind an address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Words) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update={"rerank_url": url})})
        server.shutdown()
