"""A stand-in for a model hub on loopback, with the HTTP APIs of Hugging Face and of ModelScope over one folder.

Small files are answered in place, `*.safetensors` by a redirect to another host, as both services do. It is told when
to break off, to lie, or to refuse.
"""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
REPO = "maker/tiny"


@dataclass(slots=True)
class Asked:
    """A request as it came in; the host is the name that the client called the server by."""

    host: str
    path: str
    token: str
    cookie: str
    range: str


@dataclass(slots=True)
class StandIn:
    """What the hub holds and how it misbehaves.

    `breaks`: after so many bytes each of the next transfers of a weight file breaks off; `refusals`: statuses (with
    Retry-After) for the next downloads; `status` or `body` answers everything; `ranges`: whether it knows Range;
    `lies`: the file that arrives with a byte changed; `longer`: weights come with a byte too many; `names`: further
    names in the list.
    """

    folder: Path
    address: str = ""
    token: str = ""
    commit: str = COMMIT
    status: int = 0
    ranges: bool = True
    lies: str = ""
    longer: bool = False
    body: bytes = b""
    retry_after: str = "0"
    breaks: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        """The content of each file by name."""
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes()
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        }

    def transfers(self) -> list[Asked]:
        """Requests for weights at the host that they are redirected to."""
        return [asked for asked in self.asked if asked.path.startswith("/lfs/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def do_GET(self) -> None:
        headers = self.headers
        host, token = headers["Host"].partition(":")[0], headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.asked.append(Asked(host, self.path, token, headers.get("Cookie", ""), headers.get("Range", "")))
        url = urlsplit(self.path)
        path, query = unquote(url.path), {key: values[0] for key, values in parse_qs(url.query).items()}
        if path.startswith("/lfs/"):
            self._transfer(path.removeprefix("/lfs/"))
        elif self.hub.status:
            self._json({"error": "no"}, self.hub.status)
        elif self.hub.body:
            self._send(200, self.hub.body)
        elif self.hub.token and f"Bearer {self.hub.token}" != headers.get("Authorization"):
            self._json({"error": "Repository not found"}, 401)
        elif path == f"/api/models/{REPO}/revision/main" and query == {"blobs": "true"}:
            self._json(
                {"id": REPO, "sha": self.hub.commit, "siblings": [self._sibling(name) for name in self._names()]}
            )
        elif path == f"/api/v1/models/{REPO}/repo/files" and query.get("Revision") == "master":
            self._json({"Code": 200, "Success": True, "Data": self._data()})
        elif path == f"/api/v1/models/{REPO}/repo":
            self._download(query["FilePath"])
        elif found := re.fullmatch(rf"/{REPO}/resolve/{self.hub.commit}/(.*)", path):
            self._download(found[1])
        else:
            self._json({"error": "not found"}, 404)

    def _names(self) -> list[str]:
        return [*self.hub.files(), *self.hub.names]

    def _sibling(self, name: str) -> dict[str, Any]:
        content = self.hub.files().get(name, b"")
        row: dict[str, Any] = {"rfilename": name, "size": len(content)}
        row["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if name.endswith((".safetensors", ".bin")):
            row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return row

    def _data(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = [{"Path": "1_Pooling", "Name": "1_Pooling", "Type": "tree", "Size": 0}]
        for name in self._names():
            content = self.hub.files().get(name, b"")
            rows.append(
                {
                    "Path": name, "Name": name.rpartition("/")[2], "Type": "blob", "Size": len(content),
                    "Mode": self.hub.modes.get(name, "33188"), "Revision": self.hub.commit,
                    "Sha256": hashlib.sha256(content).hexdigest(),
                }
            )  # fmt: skip
        return {"Files": rows, "LatestCommitter": {"Id": self.hub.commit}}

    def _download(self, name: str) -> None:
        if self.hub.refusals:
            self._json({"error": "slow down"}, self.hub.refusals.pop(0))
        elif name.endswith(".safetensors"):
            port = urlsplit(self.hub.address).port
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{port}/lfs/{name}")  # another host than 127.0.0.1
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(200, self._content(name))

    def _content(self, name: str) -> bytes:
        content = self.hub.files()[name]
        return content[:-1] + bytes([content[-1] ^ 1]) if name == self.hub.lies else content

    def _transfer(self, name: str) -> None:
        content = self._content(name) + b" " * self.hub.longer
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        if not self.hub.ranges:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.hub.breaks:
            self.wfile.write(content[start : start + self.hub.breaks.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(content[start:])

    def _json(self, body: object, status: int = 200) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        if status == 429 or status >= 500:
            self.send_header("Retry-After", self.hub.retry_after)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are expected."""


@contextmanager
def serving(folder: Path) -> Iterator[StandIn]:
    """A hub that has the files of `folder` as the repository `maker/tiny`, on a free port of 127.0.0.1."""
    hub = StandIn(folder)
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True, name="stand-in-hub")
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
