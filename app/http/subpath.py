"""The app below a path of a site, as a reverse proxy puts it there (`app.root_path`)."""

import re
from http import HTTPStatus
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WHOLE = re.compile(rb"; *path=/(?=;|$)", re.I)  # of a cookie: the whole site


def normal(root_path: str) -> str:
    """A path with a slash before it and none behind it; "" for none.

    >>> [normal(path) for path in ("", "/", "rag", "/team/rag/")]
    ['', '', '/rag', '/team/rag']
    """
    return "".join(f"/{name}" for name in root_path.split("/") if name)


class SubPath:
    """The outermost layer, where there is such a path: plain ASGI, so that streams are not buffered.

    Requests come with the path or without it, as proxies pass on or take off; within, there is none. Links of the pages
    are relative to them; redirects and cookies get it back here: other apps of the site are sent none of ours.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root = app, root_path  # as `normal` makes it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as if there were no path before its own."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        outside = quote(self.root)
        if scope["path"] == self.root:  # links of the page need the slash
            query = scope["query_string"].decode("latin-1")
            to = f"{self.root}/" + (f"?{query}" if query else "")
            await RedirectResponse(to, HTTPStatus.PERMANENT_REDIRECT)(scope, receive, send)
            return
        if scope["path"].startswith(f"{self.root}/"):
            raw = scope.get("raw_path") or b""
            inner = raw.removeprefix(outside.encode()) if raw else raw
            scope = dict(scope) | {"path": scope["path"].removeprefix(self.root), "raw_path": inner}

        async def led(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, _below(outside.encode(), name.lower(), value)) for name, value in message["headers"]]
                message = dict(message) | {"headers": headers}
            await send(message)

        await self.app(scope, receive, led)


def _below(outside: bytes, name: bytes, value: bytes) -> bytes:
    """The value of a header as it is for the whole site."""
    if name == b"location" and _own(value):
        return outside + value
    return _WHOLE.sub(rb"\g<0>" + outside[1:] + b"/", value) if name == b"set-cookie" else value


def _own(location: bytes) -> bool:
    return location.startswith(b"/") and not location.startswith(b"//")
