"""Connections left half way, on raw sockets against a real uvicorn: they are closed in time, others are not."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, contextmanager

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.patience import Patience, patient

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
WHOLE = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
_LONG_S = 30  # by then, whatever is to happen has happened


class Served:
    """What the app was told: the lengths of bodies, "left" for one that broke off; and that a reply was cut."""

    def __init__(self) -> None:
        self.port, self.cut = 0, threading.Event()
        self.told: list[int | str] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self.told.append(len(await Request(scope, receive).body()))
        except ClientDisconnect:
            self.told.append("left")
            return
        pieces = self._reply(scope["path"])
        async with aclosing(pieces):
            await StreamingResponse(pieces)(scope, receive, send)

    async def _reply(self, path: str) -> AsyncGenerator[bytes, None]:
        if path == "/slow":  # an answer that is thought about for long
            await asyncio.sleep(4)
        try:
            for _ in range(1000 if path == "/large" else 1):
                yield b"x" * 100_000
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            self.cut.set()
            raise


@contextmanager
def serving(patience: Patience) -> Iterator[Served]:
    served = Served()
    config = uvicorn.Config(
        served.app, log_level="error", lifespan="off", interface="asgi3", http=patient(patience)
    )  # fmt: skip
    server = uvicorn.Server(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        served.port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield served
        server.should_exit = True
        thread.join(_LONG_S)


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    """A server with little patience."""
    with serving(Patience(seconds=1, least=2000)) as served:
        yield served


@contextmanager
def connected(served: Served) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=_LONG_S)) as client:
        yield client


def rest(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection; raises where it does not."""
    said = b""
    try:
        while piece := client.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def trickle(client: socket.socket, pieces: bytes) -> None:
    """Send byte by byte, until the other side has had enough: the bytes would last for minutes."""
    ended = threading.Event()

    def send() -> None:
        try:
            for n in range(len(pieces)):
                client.sendall(pieces[n : n + 1])
                if ended.wait(0.05):
                    return
        except OSError:
            pass

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        rest(client)
    finally:
        ended.set()
        thread.join()


def test_a_connection_on_which_nothing_is_asked_is_closed(quick: Served) -> None:
    with connected(quick) as client:
        assert rest(client) == b""


def test_headers_that_trickle_are_cut_off(quick: Served) -> None:
    with connected(quick) as client:
        client.sendall(WHOLE[:20])
        assert rest(client).startswith(b"HTTP/1.1 408 ")
    with connected(quick) as client:
        trickle(client, b"GET / HTTP/1.1\r\nx: " + b"y" * 10_000)


def test_headers_that_trickle_behind_a_whole_request_are_cut_off(quick: Served) -> None:
    with connected(quick) as client:
        client.sendall(WHOLE + b"GET /")
        assert b" 200 " in rest(client)[:20]


@pytest.mark.parametrize("sent", [b"", b"x" * 500])
def test_a_body_that_never_comes_is_not_waited_for(quick: Served, sent: bytes) -> None:
    before = len(quick.told)
    with connected(quick) as client:
        client.sendall(HEAD + sent)
        assert rest(client).startswith(b"HTTP/1.1 408 ")
    with connected(quick) as client:  # served behind it
        client.sendall(WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        rest(client)
    assert quick.told[before:] == ["left", 0]


def test_a_body_that_trickles_is_not_waited_for(quick: Served) -> None:
    with connected(quick) as client:
        client.sendall(HEAD)
        trickle(client, b"x" * 100_000)


def test_a_slow_upload_that_goes_on_is_received_whole(quick: Served) -> None:
    with connected(quick) as client:
        client.sendall(HEAD.replace(b"host", b"connection: close\r\nhost"))
        for _ in range(50):
            client.sendall(b"x" * 2000)
            threading.Event().wait(0.1)
        assert rest(client).startswith(b"HTTP/1.1 200 ")
    assert quick.told[-1] == 100_000


def test_an_answer_may_take_its_time(quick: Served) -> None:
    with connected(quick) as client:
        client.sendall(WHOLE.replace(b" / ", b" /slow ").replace(b"host", b"connection: close\r\nhost"))
        assert rest(client).startswith(b"HTTP/1.1 200 ")


def test_a_reply_that_nobody_takes_is_dropped_and_one_that_is_taken_slowly_is_not(quick: Served) -> None:
    asked = WHOLE.replace(b" / ", b" /large ").replace(b"host", b"connection: close\r\nhost")
    with connected(quick) as client:
        client.sendall(asked)
        assert quick.cut.wait(_LONG_S)
    quick.cut.clear()
    with connected(quick) as client:
        client.sendall(asked)
        taken = 0
        while piece := client.recv(2_000_000):
            taken += len(piece)
            threading.Event().wait(0.02)
        assert taken > 100_000_000
    assert not quick.cut.is_set()


def test_an_address_has_so_many_connections_and_a_proxy_any_number() -> None:
    for proxies, open_ in (("10.0.0.0/8,proxy.example", [True, True, False]), ("127.0.0.0/8", [True] * 3)):
        with (
            serving(Patience(seconds=60, most=2, proxies=proxies)) as served,
            connected(served) as first, connected(served) as second, connected(served) as third,
        ):  # fmt: skip
            found = []
            for client in (first, second, third):
                try:
                    client.sendall(WHOLE)
                    found.append(client.recv(12) == b"HTTP/1.1 200")
                except ConnectionError:
                    found.append(False)
            assert found == open_


_CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ", b"a" * 1000),  # one field without end
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"x-a: b\r\n" * 100),  # fields without end
        (b"GET /", b"a" * 1000),
        (_CHUNKED, b"x-a: b\r\n" * 100),  # behind the body
        (_CHUNKED + b"x-a: ", b"a" * 1000),
    ],
    ids=["field", "fields", "path", "trailers", "trailer"],
)
def test_header_fields_without_end_are_cut_off(begin: bytes, more: bytes) -> None:
    with serving(Patience()) as served, socket.create_connection(("127.0.0.1", served.port), _LONG_S) as sender:
        sender.sendall(begin)
        with pytest.raises(ConnectionError):
            sender.sendall(more * (20_000_000 // len(more)))


def test_a_long_head_and_a_long_body_in_small_pieces_are_taken() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncookie: " + b"a" * 40_000 + b"\r\ntransfer-encoding: chunked\r\n"
    with serving(Patience()) as served, socket.create_connection(("127.0.0.1", served.port), _LONG_S) as sender:
        sender.sendall(head + b"connection: close\r\n\r\n")
        for _ in range(200):
            sender.sendall(b"1\r\nx\r\n" * 1000)
        sender.sendall(b"0\r\n\r\n")
        assert sender.recv(100).startswith(b"HTTP/1.1 200")
        assert served.told == [200_000]
