"""A server that speaks as S3 does, but says what a real one would not: hostile keys, half listings, broken bodies."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass(slots=True)
class Stub:
    """What it says: pages of keys with their bytes; of some keys less than it promises, or an error's code."""

    pages: list[dict[str, bytes]] = field(default_factory=list)
    ends_after: int = 1_000  # pages: the next one is an error
    cut: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # as listed
    token: str | None = None  # of the page after, whichever it is
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """What a client needs."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return dict.fromkeys(names, "anything") | {"AWS_ENDPOINT_URL": self.url}


def _row(stub: Stub, key: str, data: bytes) -> str:
    size = stub.sizes.get(key, len(data))
    etag = f"&quot;{hash(data) & 0xFFFF:x}&quot;"
    when = "<LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    return f"<Contents><Key>{quote(key)}</Key><Size>{size}</Size><ETag>{etag}</ETag>{when}</Contents>"


@contextmanager
def speaking() -> Iterator[Stub]:
    """A stub on loopback; stopped at the end."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = parse_qs(url.query)
            if "list-type" in asked:
                self._list(int(asked.get("continuation-token", ["0"])[0]))
            else:
                self._get(unquote(url.path).removeprefix("/papers/"))

        def _list(self, number: int) -> None:
            if number >= stub.ends_after:
                return self._fail(500, "InternalError")
            rows = "".join(_row(stub, *each) for each in stub.pages[number].items())
            last = number + 1 == len(stub.pages)
            token = str(number + 1) if stub.token is None else stub.token
            more = "" if last else f"<NextContinuationToken>{token}</NextContinuationToken>"
            truncated = "false" if last else "true"
            head = f"<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{more}"
            self._answer(200, f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode())

        def _get(self, key: str) -> None:
            stub.asked.append(key)
            if key in stub.refused:
                return self._fail(403, stub.refused[key])
            data = next((page[key] for page in stub.pages if key in page), None)
            if data is None:
                return self._fail(404, "NoSuchKey")
            self.close_connection = key in stub.cut
            self._answer(200, data, len(data) + 10 if key in stub.cut else len(data))

        def _fail(self, status: int, code: str) -> None:
            said = f"<Error><Code>{code}</Code><Message>words of a server</Message></Error>"
            self._answer(status, said.encode())

        def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.send_header("ETag", f'"{hash(body) & 0xFFFF:x}"')
            self.end_headers()
            with suppress(ConnectionError):  # who asked has enough
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
