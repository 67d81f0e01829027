"""A small OpenAI-compatible server on loopback, for tests of what speaks to one: it says what it is told, and how.

It is a real HTTP server in a thread: pieces go out one by one, and it sees when a client leaves before the end.
"""

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

MODEL = "stub-model"
Failure = Literal["", "overflow", "error", "refused", "unknown_model", "garbage", "cut", "ended", "stall"]

# vLLM's own answer to a prompt that is too long, read from vLLM 0.32.0.
OVERFLOW = {
    "message": "This model's maximum context length is 512 tokens. However, you requested 1024 output tokens and your "
    "prompt contains at least 1 input tokens, for a total of at least 1025 tokens.",
    "type": "BadRequestError", "param": "input_tokens", "code": 400,
}  # fmt: skip
_STATUS: dict[str, tuple[int, dict[str, Any]]] = {
    "overflow": (400, OVERFLOW),
    "error": (500, {"message": "the engine died", "type": "InternalServerError", "param": None, "code": 500}),
    "refused": (401, {"message": "no such key", "type": "AuthenticationError", "param": None, "code": 401}),
    "unknown_model": (404, {"message": "no such model", "type": "NotFoundError", "param": "model", "code": 404}),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the stub does when it is asked.

    `cut`: the connection breaks after the pieces; `ended`: the stream ends without a finish reason; `stall`: nothing
    comes, until the client leaves. `delay_s` stands before each piece. `raw` is sent as it is behind the pieces.
    """

    pieces: Sequence[str] = ("The answer ", "stands here ", "[1].")
    delay_s: float = 0.0
    failure: Failure = ""
    finish: str = "stop"
    raw: bytes = b""


@dataclass(slots=True)
class Call:
    """One request for a completion. `sent` counts pieces; `left` is set when the client went before the end.

    Once a test sets `hurry`, the pieces that are left go out at once.
    """

    body: dict[str, Any]
    key: str
    sent: int = 0
    hurry: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        """All messages of the request."""
        return "\n".join(str(message["content"]) for message in self.body["messages"])

    @property
    def question(self) -> str:
        """The last message, without the passages in front of it."""
        return str(self.body["messages"][-1]["content"]).rpartition("</source>\n\n")[2]

    @property
    def varies(self) -> bool:
        """Whether the request asks for other wordings of a question."""
        return '{"queries":' in self.text

    @property
    def rewrites(self) -> bool:
        """Whether the request asks to rewrite a follow-up question."""
        return "Conversation:" in self.text or "对话：" in self.text


class Stub:
    """`reply` may be exchanged at any time, or `thinks` say what is replied to a call; `rewritten` answers requests to
    rewrite a question, `variants` those for other wordings of it (which are kept in `varied`, all others in `calls`),
    at once.

    `unknown` are fields of a request that it refuses, `rows` what it says that it serves (else itself and adapters).
    `asked` is set by the first request for a completion; `probes` counts those for what it serves. Like vLLM it loads
    adapters, which `adapters` names with their folders.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.reset()

    def reset(self) -> None:
        """Forget what it was told and asked."""
        self.reply = Reply()
        self.rewritten = ""
        self.variants = Reply(('{"queries": []}',))
        self.thinks: Callable[[Call], str] | None = None
        self.calls: list[Call] = []
        self.varied: list[Call] = []
        self.asked = threading.Event()
        self.adapters: dict[str, str] = {}
        self.probes = 0
        self.unknown: set[str] = set()
        self.rows: list[dict[str, Any]] = []

    def answers(self) -> list[Call]:
        """The requests so far that were for an answer."""
        return [call for call in self.calls if not call.rewrites]


class _Gone(Exception):
    """The client left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as real servers do
    stub: Stub

    def do_GET(self) -> None:
        if self.stub.reply.failure == "refused":
            self._json(*_STATUS["refused"])
        elif self.path == "/v1/models":
            self.stub.probes += 1
            rows = [{"id": MODEL, "object": "model", "max_model_len": 4096}]
            rows += [{"id": n, "object": "model", "root": f, "parent": MODEL} for n, f in self.stub.adapters.items()]
            self._json(200, {"object": "list", "data": self.stub.rows or rows})
        elif self.path == "/health":
            self._json(200, {})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("_lora_adapter"):
            self._adapter(body)
            return
        call = Call(body, self.headers.get("Authorization", "").removeprefix("Bearer "))
        (self.stub.varied if call.varies else self.stub.calls).append(call)
        if unknown := sorted(self.stub.unknown & body.keys()):
            self._json(400, {"error": {"message": f"Unrecognized request argument supplied: {', '.join(unknown)}"}})
            return
        reply = self.stub.variants if call.varies else self.stub.reply
        if not call.varies:
            self.stub.asked.set()
            if self.stub.thinks:
                reply = Reply((self.stub.thinks(call),))
        if call.rewrites and self.stub.rewritten:
            reply = Reply((self.stub.rewritten,))
        try:
            self._answer(call, reply)
        except (_Gone, BrokenPipeError, ConnectionResetError):
            call.left.set()
            self.close_connection = True
        finally:
            call.ended.set()

    def _adapter(self, body: dict[str, Any]) -> None:
        if self.path == "/v1/load_lora_adapter":
            self.stub.adapters[body["lora_name"]] = body["lora_path"]
        else:
            del self.stub.adapters[body["lora_name"]]
        self._json(200, {})

    def _answer(self, call: Call, reply: Reply) -> None:
        if reply.failure in _STATUS:
            status, error = _STATUS[reply.failure]
            self._json(status, {"error": error})
            return
        if reply.failure == "stall":
            while True:
                self._wait(60)
        self.send_response(200)
        html = reply.failure == "garbage"
        self.send_header("Content-Type", "text/html" if html else "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if html:
            self._chunk("data: <html>this is the login page of a router</html>\n\n")
        for piece in reply.pieces if not html else ():
            self._wait(0 if call.hurry.is_set() else reply.delay_s)
            self._event({"content": piece}, None)
            call.sent += 1
        if reply.raw:
            self._chunk(reply.raw)
        if reply.failure == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if not reply.failure:
            self._event({}, reply.finish)
            self._chunk("data: [DONE]\n\n")
        self._chunk("")

    def _event(self, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        self._chunk(f"data: {json.dumps(head | {'choices': [choice]}, ensure_ascii=False)}\n\n")

    def _chunk(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _wait(self, seconds: float) -> None:
        """Wait, or find that the client has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise _Gone

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's own report is what matters."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that may wait to be taken: many come at once
    block_on_close = False  # a stalled answer would hold the end of the tests up

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are what is tested: no traceback of theirs on stderr."""


@contextmanager
def serving() -> Iterator[Stub]:
    """A stub that listens on a free port of 127.0.0.1."""
    stub = Stub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    with _Server(("127.0.0.1", 0), handler) as server:
        stub.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True, name="stub-model")
        thread.start()
        yield stub
        server.shutdown()
        thread.join()
