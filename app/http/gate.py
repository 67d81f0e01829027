"""What every request passes before anything else sees it: whence it comes, who sent it, how large it is.

- Without users, the app answers on this machine only, by its own names: a page elsewhere whose name was pointed at
  127.0.0.1 (DNS rebinding) is refused by its Host header, and whoever comes through a proxy by the proxy's headers.
- A request that another site's page sends is refused by Sec-Fetch-Site, or, where a browser does not send it (plain
  http in a network), by Origin (https://web.dev/articles/fetch-metadata; Go's net/http.CrossOriginProtection).
- With users, everything but logging in and /healthz needs a session or a key.
"""

import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.coming_back import BEGIN, DONE
from app.http.openai_form import error_body
from app.running.users import bearer
from core.errors import AccessError, CatalogError

if TYPE_CHECKING:
    from app.running.bases import State

_OPEN = {"/healthz": "GET HEAD", "/login": "GET HEAD POST", BEGIN: "GET", DONE: "GET"}  # for everybody
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE = frozenset({"GET", "HEAD"})
_BODY = 10 * 2**20  # bytes of a request that carries no files
_EVENT = 2**20  # of one of the page: what people type
_FORM = 2**14  # of a form with a name and passwords, which anybody may send
_LOOKUPS = 8  # threads, apart from those that answer: where users.sqlite is slow, only who needs it waits


class Gate:
    """The outermost layer; plain ASGI, so that streams are not buffered."""

    def __init__(self, app: ASGIApp, state: "State") -> None:
        self.app, self.state = app, state
        self._lookups = CapacityLimiter(_LOOKUPS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Never request.url: it is put together from the Host header, so that "Host: x/login?" would be its path.
        request, started, begun = Request(scope), time.monotonic(), False

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and not begun:
                begun = True
                seconds = time.monotonic() - started
                self.state.metrics.request(request.method, scope["path"], message["status"], seconds)
            await send(message)

        refusal = self._foreign(request)
        if refusal is None and request.method not in _OPEN.get(scope["path"], "").split():
            refusal = await to_thread.run_sync(self._unknown, request, limiter=self._lookups)
        if refusal:
            await refusal(scope, receive, counted)
        else:
            room = self._room(request)
            full = refused(413, f"the request is larger than {_said(room)}", "send less at a time")
            await bounded(self.app, room, full, scope, receive, counted)

    def _foreign(self, request: Request) -> Response | None:
        """The refusal of a request that was not sent from where it may be."""
        host = _hostname(f"//{request.headers.get('host', '')}")
        if not self.state.users.on:
            if host not in _LOCAL:
                return refused(421, f"this app is not {host!r}", "open it as http://127.0.0.1, or see app.hosts")
            if any(name in request.headers for name in _PROXIED):
                hint = "behind a proxy, set app.hosts to the name it is reached by, and make users"
                return refused(403, "without users, the app answers on its own machine only", hint)
        elif bearer(request):  # nothing that a browser would send by itself
            return None
        if self._same_site(request, host):
            return None
        return refused(403, "a page of another site sent this", "open the app itself; programs send an API key")

    def _same_site(self, request: Request, host: str) -> bool:
        headers = request.headers
        site = headers.get("sec-fetch-site")
        if site is not None:
            opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            return site in ("same-origin", "none") or (request.method in _SAFE and opened)
        origin = headers.get("origin")
        if origin is None:
            return True
        own = urlsplit(f"//{headers.get('host', '')}").netloc
        return urlsplit(origin).netloc == own or _hostname(origin) in self.state.cfg.app.hosts

    def _unknown(self, request: Request) -> Response | None:
        """The refusal of a request of which nobody knows who sent it: browsers are sent to the login page."""
        try:
            request.scope["user"] = self.state.users.of(request)
        except CatalogError as error:
            return refused(503, error.message, error.hint)
        except AccessError as error:
            if request.method in _SAFE and "text/html" in request.headers.get("accept", ""):
                query = request.scope["query_string"].decode("latin-1")
                asked = request.scope["path"] + (f"?{query}" if query else "")
                where = "/login" if asked == "/" else f"/login?to={quote(asked)}"
                return RedirectResponse(where, HTTPStatus.SEE_OTHER, {"cache-control": "no-store"})
            return refused(401, error.message, error.hint)
        return None

    def _room(self, request: Request) -> int:
        """Bytes that the body may have; Gradio itself stops at a file that is larger than one may be."""
        if request.scope["path"] in (*_OPEN, "/logout", "/password"):
            return _FORM
        if request.scope["path"].startswith("/gradio_api/upload"):
            return self.state.cfg.app.pending_uploads_mb * 2**20
        return _EVENT if request.scope["path"].startswith("/gradio_api/") else _BODY


def refused(status: int, message: str, hint: str) -> JSONResponse:
    """A refusal as OpenAI's clients, and people, read it."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(error_body(status, f"{message}\n  → {hint}"), status, headers)


def _said(room: int) -> str:
    return f"{room // 2**20} MiB" if room >= 2**20 else f"{room // 2**10} KiB"


class _TooLarge(Exception):
    """A body went over its limit while it was received."""


async def bounded(app: ASGIApp, room: int, refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request on, but not more than so many bytes of it; one that announces more is not read at all."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not announced.isdigit() or int(announced) > room:
        await refusal(scope, receive, send)
        return
    received, too_large, begun = 0, False, False

    async def limited() -> Message:
        nonlocal received, too_large
        message = await receive()
        received += len(message.get("body", b""))
        if received > room:
            too_large = True
            raise _TooLarge
        return message

    async def first(message: Message) -> None:
        nonlocal begun
        if too_large and not begun:  # whatever the app makes of a body that broke off
            raise _TooLarge
        begun = True
        await send(message)

    try:
        await app(scope, limited, first)
    except _TooLarge:
        if not begun:
            await refusal(scope, receive, send)


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
