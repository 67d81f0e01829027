"""Log in at a provider of OpenID Connect: /login/oidc leads there, /login/oidc/done is where people come back to."""

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from app.http.coming_back import BEGIN, COOKIE, DONE, Logins, begin, led
from app.http.login import begun, end, ways
from app.http.login_page import TEXTS, login_page, own
from app.messages.texts import tongue
from app.running.arriving import let_in
from app.running.limits import Backoff, address
from core.errors import AccessError, ProviderError

if TYPE_CHECKING:
    from app.http.coming_back import Begun
    from app.running.accounts import Account
    from app.running.bases import State
    from app.running.provider import Provider

log = logging.getLogger(__name__)


def add_sign_on(api: FastAPI, state: "State", waits: Backoff) -> None:
    """GET of /login/oidc and /login/oidc/done; `waits` has those wait, by their address, with whom nothing comes."""
    if state.users.provider is None:
        return
    provider, logins = state.users.provider, Logins()

    @api.get(BEGIN, response_model=None)
    async def leave(request: Request) -> Response:
        to = own(request.query_params.get("to", "/"))
        try:
            login = begin(request, state.cfg.app.root_path, to)
            if login is None:
                return _told(state, request, to, "failed", HTTPStatus.BAD_REQUEST)
            url = await provider.leads_to(login.back, login.state, login.nonce, login.verifier)
        except ProviderError as error:
            return _refused(state, request, to, error)
        return led(url, login, secure=request.url.scheme == "https")

    @api.get(DONE, response_model=None)
    async def done(request: Request) -> Response:
        wait = waits.attempt(address(request))
        if wait > 0:
            return login_page(ways(state), tongue(request), "/", wait_s=wait)
        login = logins.fitting(request)
        response = await _come_back(state, provider, request, login)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
        if response.status_code == HTTPStatus.SEE_OTHER:
            waits.forgive(address(request), all_=False)
        return response


async def _come_back(state: "State", provider: "Provider", request: Request, login: "Begun | None") -> Response:
    """Let in whoever came back, or say why not."""
    if login is None:
        return _told(state, request, "/", "stale", HTTPStatus.BAD_REQUEST)
    came = {name: value[:4096] for name, value in request.query_params.items()}
    if "code" not in came:
        log.warning("the provider sent somebody back without a code: %r", came.get("error", "")[:100])
        return _told(state, request, login.to, "failed", HTTPStatus.UNAUTHORIZED)
    try:
        person = await provider.person(came, login.back, login.nonce, login.verifier)
    except ProviderError as error:
        return _refused(state, request, login.to, error)

    def let() -> "Account":
        oidc = state.cfg.oidc
        account = let_in(state.users.accounts, state.bases.data, person, oidc.groups, oidc.key_days)
        end(state, request)
        return account

    try:
        account = await run_in_threadpool(let)
    except AccessError as error:
        log.warning("%s", error.message)
        return _told(state, request, login.to, "no_group", HTTPStatus.FORBIDDEN)
    return await run_in_threadpool(begun, state, request, account, own(login.to), "oidc")


def _refused(state: "State", request: Request, to: str, error: ProviderError) -> Response:
    log.warning("%s", error)
    status = HTTPStatus.SERVICE_UNAVAILABLE if error.away else HTTPStatus.UNAUTHORIZED
    return _told(state, request, to, "away" if error.away else "failed", status)


def _told(state: "State", request: Request, to: str, what: str, status: int) -> Response:
    """The login page, with what went wrong."""
    said = tongue(request)
    return login_page(ways(state), said, to, problem=TEXTS[said][what], status=status)
