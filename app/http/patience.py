"""How long a connection is waited for: whoever sends half a request, or does not read the reply, is cut off in time.

uvicorn itself only bounds the pause between two requests of a connection; RFC 9112, section 9.5, leaves it to a server.
Nor does it bound header fields, those before a body or behind it, which it keeps before anybody knows who sends them.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.running.limits import network

_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Patience:
    """Each connection is looked at every `seconds`. It is closed where, since the look before, it began no request
    though none is being answered, sent less than `least` bytes of a body that is waited for, or took nothing of a
    reply; and where its address has more than `most` of them. One that goes on with header fields after `fields` bytes
    of them is closed at once.

    `proxies` may have any number, many people being behind them: addresses and networks with commas between them, "*"
    for all; None for those that uvicorn trusts.
    """

    seconds: float = 30.0
    least: int = 30_000
    most: int = 256
    fields: int = 65_536
    proxies: str | None = None


def patient(patience: Patience = Patience()) -> type[asyncio.Protocol]:
    """A protocol for uvicorn's `http`."""
    told = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1") if patience.proxies is None else patience.proxies
    return type("Patient", (_Patient,), {"patience": patience, "proxies": _networks(told)})


class _Patient(HttpToolsProtocol):
    patience: Patience
    proxies: Sequence[IPv4Network | IPv6Network]

    def connection_made(self, transport: Any) -> None:
        self._received = self._begun = self._resumed = self._fields = 0
        self._blocked = False
        self._timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if self._too_many():
            transport.abort()
            return
        self._before = self._stand()
        self._timer = self.loop.call_later(self.patience.seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        self._received += len(data)
        self._fields += len(data)
        super().data_received(data)
        self._begun += self.cycle is not cycle
        if self._fields > self.patience.fields and not self.transport.is_closing():
            if self.cycle is None or not self.cycle.response_started:
                self.transport.write(_LONG)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._fields = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._fields = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fields = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._blocked = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._blocked = False
        self._resumed += 1
        super().resume_writing()

    def _too_many(self) -> bool:
        if self.client is None or _within(self.client[0], self.proxies):
            return False
        clients = [getattr(other, "client", None) for other in self.connections]
        same = [client for client in clients if client and network(client[0]) == network(self.client[0])]
        return len(same) > self.patience.most

    def _stand(self) -> tuple[str, int, int]:
        """What is waited for, and how far it has come: bytes of a body, else whatever differs once it went on."""
        cycle = self.cycle
        if self._blocked:
            return "reply", self._resumed, self.transport.get_write_buffer_size()
        if cycle is None or cycle.response_complete:
            return "request", self._begun, 0
        if cycle.more_body and not self.flow.read_paused and not cycle.waiting_for_100_continue:
            return "body", self._received, self._begun
        return "", 0, 0  # it is the app's turn

    def _look(self) -> None:
        (was, from_, _), (now, to, _) = before, stand = self._before, self._stand()
        idle = to - from_ < self.patience.least if now == was == "body" else stand == before
        if not now or not idle:
            self._before = stand
            self._timer = self.loop.call_later(self.patience.seconds, self._look)
        elif now == "reply":
            self.transport.abort()  # to close it would wait for what is not taken
        else:
            if self._received if now == "request" else not self.cycle.response_started:
                self.transport.write(_LATE)
            self.transport.close()


def _networks(told: str) -> list[IPv4Network | IPv6Network]:
    if told.strip() == "*":
        return [ip_network("0.0.0.0/0"), ip_network("::/0")]
    found = []
    for one in told.split(","):
        with suppress(ValueError):  # a name, by which nobody connects
            found.append(ip_network(one.strip(), strict=False))
    return found


def _within(host: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in one for one in networks)
