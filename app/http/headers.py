"""The headers that every response carries, whoever made it."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing is ever fetched from another host, and no text is run as a script: the page names its own inline scripts by a
# nonce (app/ui/page.py). Gradio sets styles inline.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
CSP = b"content-security-policy"
_HEADERS = ((CSP, _POLICY.encode()), (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"), (b"x-frame-options", b"DENY"))  # fmt: skip


class SecurityHeaders:
    """Adds what every response says of scripts and of being kept; plain ASGI, so that streams are not buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*(own := message.get("headers", [])), *_HEADERS, *_kept(own)]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Nobody keeps an answer that says nothing of how long it may be kept; a file that can be asked after is."""
    named = {name.lower() for name, _ in headers}
    return [] if named & {b"cache-control", b"etag"} else [(b"cache-control", b"no-store")]
