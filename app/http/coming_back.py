"""A login at a provider of OpenID Connect, from when a browser is sent there until it comes back.

What is known of a login that was begun lies in a cookie of the browser that began it, signed by this process: nobody
fills the app's memory, and a link that somebody else began opens nothing.
"""

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import asdict, dataclass
from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse

from app.http.subpath import normal

COOKIE = "ragstone_oidc"
BEGIN, DONE = "/login/oidc", "/login/oidc/done"
_FOR_S = 600.0  # a login may take at the provider
_KEY = secrets.token_bytes(32)
_NETLOC = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_LONGEST = 1000  # characters of where it leads afterwards: browsers drop a cookie of more than 4 kB
_REMEMBERED = 100_000  # logins that came back


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that was begun: what comes back must fit it. `at` is seconds since the epoch."""

    state: str
    nonce: str
    verifier: str
    back: str
    to: str
    at: float


def begin(request: Request, root_path: str, to: str) -> Begun | None:
    """A new login; None where the request's Host is none."""
    base = base_url(request, root_path)
    if not base:
        return None
    state, nonce, verifier = (secrets.token_urlsafe(size) for size in (32, 32, 48))
    to = to if len(to) <= _LONGEST else "/"
    return Begun(state, nonce, verifier, base + DONE, to, time.time())


def base_url(request: Request, root_path: str) -> str:
    """Where the app is for whoever asks, as a proxy in front says it is, without a slash at its end; "" for nowhere."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host}{quote(normal(root_path))}" if _NETLOC.fullmatch(host) else ""


def led(url: str, begun: Begun, *, secure: bool) -> RedirectResponse:
    """The browser on its way to the provider."""
    response = RedirectResponse(url, HTTPStatus.SEE_OTHER, {"cache-control": "no-store"})
    text = urlsafe_b64encode(json.dumps(asdict(begun)).encode()).decode()
    # Lax: the provider leads back by a link, with which it is sent.
    response.set_cookie(
        COOKIE, f"{text}.{_signed(text)}", max_age=int(_FOR_S), httponly=True, samesite="lax", secure=secure
    )
    return response


class Logins:
    """What came back; each login once."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, float] = OrderedDict()  # by when
        self._mutex = threading.Lock()

    def fitting(self, request: Request) -> Begun | None:
        """The login that a browser began and comes back from; None where it is another's, too old, or was used."""
        text, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not _same(_signed(text), signature):
            return None
        begun = Begun(**json.loads(urlsafe_b64decode(text)))
        now = time.time()
        fits = _same(begun.state, request.query_params.get("state", "")) and 0 <= now - begun.at <= _FOR_S
        with self._mutex:
            while self._used and (len(self._used) > _REMEMBERED or now - next(iter(self._used.values())) > _FOR_S):
                self._used.popitem(last=False)
            if not fits or begun.state in self._used:
                return None
            self._used[begun.state] = now
        return begun


def _signed(text: str) -> str:
    return hmac.new(_KEY, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))
