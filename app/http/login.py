"""Where people log in and out and change their password: by a password of this app, or by that of a directory."""

import asyncio
import html
import logging
import unicodedata
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.http.coming_back import base_url
from app.http.login_page import NO_STORE, TEXTS, Ways, login_page, own, page, password_page
from app.messages.texts import Tongue, tongue
from app.running.accounts import LONGEST, SHORTEST, Account, Accounts, folded
from app.running.arriving import let_in
from app.running.audit import record
from app.running.limits import Backoff, address
from app.running.users import SESSION_COOKIE
from core.errors import AccessError, CatalogError, ProviderError

if TYPE_CHECKING:
    from app.running.bases import State

log = logging.getLogger(__name__)

_FREE_BY_NAME, _FREE_BY_ADDRESS = 5, 20  # attempts before each has to wait; behind a proxy many share an address
_ASKING = 4  # people whom the directory is asked about at a time: where it hangs, nothing else does


class _Guard:
    """Passwords are tried here: who guesses has to wait, by the name and by the address."""

    def __init__(self, accounts: Accounts, state: "State | None" = None) -> None:
        self.accounts, self._state = accounts, state
        self.by_name, self.by_address = Backoff(_FREE_BY_NAME), Backoff(_FREE_BY_ADDRESS)
        self._asking = CapacityLimiter(_ASKING)

    async def known(self, request: Request, name: str, password: str) -> Account | float | None:
        """The account that a password opens, None for none; or the seconds to wait before it may be tried.

        A password that is none of this app's is tried at the directory, where there is one; raises `ProviderError`
        where that cannot be asked, `AccessError` for somebody whom none of its groups lets in.
        """
        name = name.strip()
        where, who = address(request), _counted(name)
        wait = self.by_address.attempt(where) or self.by_name.attempt(who)
        if wait > 0:
            return wait
        known = await asyncio.to_thread(self.accounts.check, name, password)
        if known is None and self._state and self._state.users.directory:
            asked = partial(_of_directory, self._state, name, password)
            known = await to_thread.run_sync(asked, limiter=self._asking)
        if known is None:
            log.warning("a password from %s was refused", where)
            return None
        self.by_name.forgive(who, all_=True)
        self.by_address.forgive(where, all_=False)  # who has an account does not guess more for it at those of others
        return known


def _counted(name: str) -> str:
    """What spellings of a name have in common by which this app or a directory may find one person.

    Directories compare without accents, what is not seen, and how much space there is (RFC 4518; Active Directory).
    """
    apart = unicodedata.normalize("NFKD", folded(name))
    return "".join(c for c in apart if unicodedata.category(c)[0] not in "MCZ").casefold()


def _of_directory(state: "State", name: str, password: str) -> Account | None:
    """The account of somebody whom the directory knows by name and password, brought up to their groups."""
    directory = state.users.directory
    person = directory.person(name, password) if directory else None
    if person is None:
        return None
    ldap = state.cfg.ldap
    return let_in(state.users.accounts, state.bases.data, person, ldap.groups, ldap.key_days)


def add_login(api: FastAPI, state: "State") -> Backoff:
    """GET and POST of /login, /logout and /password; returns who has to wait by their address."""
    users, guard = state.users, _Guard(state.users.accounts, state)
    _add_password(api, state, guard)

    @api.get("/login", response_model=None)
    def show(request: Request) -> Response:
        to = request.query_params.get("to", "/")
        return login_page(ways(state), tongue(request), to) if users.on else _home()

    @api.post("/login", response_model=None)
    async def login(request: Request) -> Response:
        said = tongue(request)
        if not users.on:
            return _home()
        async with request.form(max_files=0, max_fields=5) as form:
            name, password = str(form.get("name", ""))[:200], str(form.get("password", ""))
            to = str(form.get("to", "/"))
        again = partial(login_page, ways(state), said, to, name)
        if users.only_provider:
            return again(TEXTS[said]["wrong"], 401)
        try:
            known = await guard.known(request, name, password)
        except AccessError as error:
            log.warning("%s", error.message)
            return again(TEXTS[said]["no_group"], 403)
        except (ProviderError, CatalogError) as error:
            log.warning("%s", error)
            return again(TEXTS[said]["gone" if isinstance(error, CatalogError) else "away_here"], 503)
        if isinstance(known, float | int):
            return again(wait_s=known)
        if known is None:
            return again(TEXTS[said]["wrong"], 401)
        await run_in_threadpool(end, state, request)
        return await run_in_threadpool(begun, state, request, known, own(to))

    @api.get("/logout", response_model=None)
    def leave(request: Request) -> Response:
        user, said = users.of(request), tongue(request)
        texts = TEXTS[said]
        who = html.escape(texts["who"].format(user.name or "-", user.role))
        button = f'<form method="post" action="logout"><button>{texts["logout"]}</button></form>' if users.on else ""
        return page(said, texts["logout"], f'<p>{who}</p>{button}<p><a href=".">{texts["back"]}</a></p>')

    @api.post("/logout", response_model=None)
    async def logout(request: Request) -> Response:
        account = await run_in_threadpool(end, state, request)
        there = ""
        if account and account.source == "oidc" and users.provider:
            base = base_url(request, state.cfg.app.root_path)
            there = await users.provider.leaves_by(f"{base}/login") if base else ""
        response = _left(state, tongue(request), there) if there else _home("/login")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
        return response

    return guard.by_address


def _add_password(api: FastAPI, state: "State", guard: _Guard) -> None:
    users = state.users

    @api.get("/password", response_model=None)
    def ask(request: Request) -> Response:
        if not users.on:
            return _home()
        said = tongue(request)
        return _not_here(said) if users.of(request).source else password_page(said)

    @api.post("/password", response_model=None)
    async def change(request: Request) -> Response:
        if not users.on:
            return _home()
        said = tongue(request)
        texts = TEXTS[said]
        async with request.form(max_files=0, max_fields=2) as form:
            present, new = str(form.get("password", "")), str(form.get("new", ""))
        user = await run_in_threadpool(users.of, request)
        if user.source:
            return _not_here(said)
        wait = guard.by_address.attempt(address(request)) or guard.by_name.attempt(_counted(user.name))
        if wait > 0:
            return password_page(said, wait_s=wait)
        known = await asyncio.to_thread(users.accounts.check, user.name, present)
        if known is None:
            return password_page(said, texts["refused"], 401)
        guard.by_name.forgive(_counted(user.name), all_=True)
        guard.by_address.forgive(address(request), all_=False)
        try:
            await asyncio.to_thread(users.accounts.set_password, user.name, new)
        except AccessError:
            return password_page(said, texts["short"].format(SHORTEST, LONGEST), 400)
        await asyncio.to_thread(record, state.bases.data, user.name, "user.password", user.name)
        return await run_in_threadpool(begun, state, request, known, "/")


def ways(state: "State") -> Ways:
    """By what people log in here."""
    provider = state.users.provider
    return Ways(provider.label or provider.host if provider else "", not state.users.only_provider)


def begun(state: "State", request: Request, account: Account, to: str, by: str = "") -> Response:
    """Log somebody in, and lead the browser on; `by` is who vouched for them, where an account made here was linked."""
    cfg = state.cfg
    lasts = {"oidc": cfg.oidc.session_hours, "ldap": cfg.ldap.session_hours}
    hours = min(cfg.app.session_hours, lasts.get(by or account.source, cfg.app.session_hours))
    token = state.users.accounts.begin_session(account, hours)
    response = RedirectResponse(to, HTTPStatus.SEE_OTHER, NO_STORE)
    # Lax, so that a link from elsewhere opens the page and not the login; what changes anything passes the gate.
    response.set_cookie(
        SESSION_COOKIE, token, max_age=int(hours * 3600), httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


def end(state: "State", request: Request) -> Account | None:
    """Log out whoever is logged in; their account."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token or not state.users.on:
        return None
    account = state.users.accounts.by_session(token)
    state.users.accounts.end_session(token)
    return account


def _home(to: str = "/") -> RedirectResponse:
    return RedirectResponse(to, HTTPStatus.SEE_OTHER, NO_STORE)


def _not_here(said: Tongue) -> Response:
    texts = TEXTS[said]
    return page(said, texts["change"], f'<p>{texts["not_here"]}</p><p><a href=".">{texts["back"]}</a></p>')


def _left(state: "State", said: Tongue, there: str) -> Response:
    """A page that leads on to the provider: a redirect of a form may only lead to this app itself (`form-action`)."""
    texts, to = TEXTS[said], html.escape(there)
    leave_too = html.escape(texts["leave_too"].format(ways(state).provider))
    link = f'<p>{texts["left"]}</p><p><a class="button" href="{to}">{leave_too}</a></p>'
    return page(said, texts["logout"], link, head=f'<meta http-equiv="refresh" content="0; url={to}">')
