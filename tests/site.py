"""A web server on loopback that tests follow pages of, as if it were one of the public web."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ingest import pages, web

PAGE = b"<!doctype html><html><body><h1>Leave</h1><p>26 days a year.</p></body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
Answer = tuple[int, dict[str, str], bytes]


class Site:
    """`pages`: what it answers by path; `asked`: what it was asked for, with the headers."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()  # a page that never ends does, with the test
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers)))
                status, headers, body = site.pages.get(self.path, (404, {}, b""))
                if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                    status, body = 304, b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                if "Endless" in headers:
                    with suppress(OSError):
                        while not site.over.wait(0.05):
                            self.wfile.write(b" ")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def at(self, path: str) -> str:
        """The address of a page."""
        return f"http://site.example:{self.port}{path}"

    def says(self, path: str, text: str, **headers: str) -> None:
        """Have a page say something."""
        self.pages[path] = (200, HTML | headers, f"<html><body><h1>Page</h1><p>{text}</p></body></html>".encode())

    def times(self, path: str) -> int:
        """How often a page was asked for."""
        return [asked for asked, _ in self.asked].count(path)


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that `site.example` leads to; all other names are looked up, and checked, as ever."""
    made, real = Site(), web.looked_up
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(web, "looked_up", lambda h, p: ["127.0.0.1"] if h == "site.example" else real(h, p))
    monkeypatch.setattr(pages, "_PAUSE_S", 0.0)
    try:
        yield made
    finally:
        made.over.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()
