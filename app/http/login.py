"""The pages where people log in and out and change their password: plain HTML without a script, in two languages."""

import asyncio
import html
import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.messages.texts import Tongue, tongue
from app.running.accounts import LONGEST, SHORTEST, Account, Accounts, folded
from app.running.limits import Backoff, address
from app.running.users import SESSION_COOKIE
from core.errors import AccessError

if TYPE_CHECKING:
    from app.running.bases import State

log = logging.getLogger(__name__)

_FREE_BY_NAME, _FREE_BY_ADDRESS = 5, 20  # attempts before each has to wait; behind a proxy many share an address
_NO_STORE = {"cache-control": "no-store"}

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "login": "Log in", "name": "Name", "password": "Password", "logout": "Log out", "back": "Back",
        "wrong": "Name or password is wrong.", "wait": "Too many attempts: try again in {} s.",
        "who": "You are logged in as {} ({}).", "forgot": "Forgotten? An admin sets a new one: ragstone user password",
        "change": "Change password", "new": "New password", "refused": "The password is wrong.",
        "short": "Use {} to {} characters, and not the name: a few words do.",
        "elsewhere": "You stay logged in here, and are logged out everywhere else.",
    },
    "zh": {
        "login": "登录", "name": "用户名", "password": "密码", "logout": "退出登录", "back": "返回",
        "wrong": "用户名或密码错误。", "wait": "尝试次数过多，请在 {} 秒后重试。",
        "who": "您已登录为 {}（{}）。", "forgot": "忘记密码？请管理员重设：ragstone user password",
        "change": "修改密码", "new": "新密码", "refused": "密码错误。",
        "short": "请使用 {} 到 {} 个字符，且不能与用户名相同：几个词即可。",
        "elsewhere": "您在此处保持登录，其他地方的登录都会失效。",
    },
}  # fmt: skip

_PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ragstone · {title}</title><link rel="icon" href="data:,"><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 0; min-height: 100vh;
  display: grid; place-items: center; }}
main {{ width: min(20rem, 88vw); }}
label, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit; }}
input {{ padding: .5rem; margin: .25rem 0 1rem; border: 1px solid #888; border-radius: .4rem; }}
button {{ padding: .55rem; border: 0; border-radius: .4rem; background: #0f766e; color: #fff; cursor: pointer; }}
:is(input, button, a):focus-visible {{ outline: 3px solid #14b8a6; outline-offset: 2px; }}
[role=alert] {{ color: #b91c1c; }} small {{ opacity: .75; }}
@media (prefers-color-scheme: dark) {{ [role=alert] {{ color: #fca5a5; }} }}
</style></head><body><main><h1>Ragstone</h1>{body}</main></body></html>"""


class _Guard:
    """Passwords are tried here: who guesses has to wait, by the name and by the address."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.by_name, self.by_address = Backoff(_FREE_BY_NAME), Backoff(_FREE_BY_ADDRESS)

    async def known(self, request: Request, name: str, password: str) -> Account | float | None:
        """The account that a password opens, None for none; or the seconds to wait before it may be tried."""
        name = name.strip()
        where, who = address(request), folded(name)
        wait = self.by_address.attempt(where) or self.by_name.attempt(who)
        if wait > 0:
            return wait
        known = await asyncio.to_thread(self.accounts.check, name, password)
        if known is None:
            log.warning("a password from %s was refused", where)
            return None
        self.by_name.forgive(who, all_=True)
        self.by_address.forgive(where, all_=False)  # who has an account does not guess more for it at those of others
        return known


def add_login(api: FastAPI, state: "State") -> None:
    """GET and POST of /login, /logout and /password."""
    users, guard = state.users, _Guard(state.users.accounts)
    _add_password(api, state, guard)

    @api.get("/login", response_model=None)
    def show(request: Request) -> Response:
        to = request.query_params.get("to", "/")
        return _login(tongue(request), to) if users.on else RedirectResponse("/", HTTPStatus.SEE_OTHER)

    @api.post("/login", response_model=None)
    async def login(request: Request) -> Response:
        said = tongue(request)
        if not users.on:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        async with request.form(max_files=0, max_fields=5) as form:
            name, password = str(form.get("name", ""))[:200], str(form.get("password", ""))
            to = str(form.get("to", "/"))
        known = await guard.known(request, name, password)
        if isinstance(known, float | int):
            return _login(said, to, name, wait_s=known)
        if known is None:
            return _login(said, to, name, TEXTS[said]["wrong"], 401)
        await run_in_threadpool(_end, state, request)
        return await run_in_threadpool(_begun, state, request, known, _own(to))

    @api.get("/logout", response_model=None)
    def leave(request: Request) -> Response:
        user, said = users.of(request), tongue(request)
        texts = TEXTS[said]
        who = html.escape(texts["who"].format(user.name or "-", user.role))
        button = f'<form method="post" action="logout"><button>{texts["logout"]}</button></form>' if users.on else ""
        return _page(said, texts["logout"], f'<p>{who}</p>{button}<p><a href=".">{texts["back"]}</a></p>')

    @api.post("/logout", response_model=None)
    def logout(request: Request) -> Response:
        _end(state, request)
        response = RedirectResponse("/login", HTTPStatus.SEE_OTHER, _NO_STORE)
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
        return response


def _add_password(api: FastAPI, state: "State", guard: _Guard) -> None:
    users = state.users

    @api.get("/password", response_model=None)
    def ask(request: Request) -> Response:
        return _password(tongue(request)) if users.on else RedirectResponse("/", HTTPStatus.SEE_OTHER)

    @api.post("/password", response_model=None)
    async def change(request: Request) -> Response:
        if not users.on:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        said = tongue(request)
        texts = TEXTS[said]
        async with request.form(max_files=0, max_fields=2) as form:
            present, new = str(form.get("password", "")), str(form.get("new", ""))
        user = await run_in_threadpool(users.of, request)
        known = await guard.known(request, user.name, present)
        if isinstance(known, float | int):
            return _password(said, wait_s=known)
        if known is None:
            return _password(said, texts["refused"], 401)
        try:
            await asyncio.to_thread(users.accounts.set_password, user.name, new)
        except AccessError:
            return _password(said, texts["short"].format(SHORTEST, LONGEST), 400)
        return await run_in_threadpool(_begun, state, request, known, "/")


def _begun(state: "State", request: Request, account: Account, to: str) -> Response:
    """Log somebody in, and lead the browser on."""
    token = state.users.accounts.begin_session(account, state.cfg.app.session_hours)
    response = RedirectResponse(to, HTTPStatus.SEE_OTHER, _NO_STORE)
    # Lax, so that a link from elsewhere opens the page and not the login; what changes anything passes the gate.
    response.set_cookie(
        SESSION_COOKIE, token, max_age=int(state.cfg.app.session_hours * 3600), httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


def _end(state: "State", request: Request) -> None:
    token = request.cookies.get(SESSION_COOKIE)
    if token and state.users.on:
        state.users.accounts.end_session(token)


def _own(to: str) -> str:
    """A path of this app; the page itself where it would lead elsewhere (to a browser a backslash is a slash)."""
    return to if to.isprintable() and to.startswith("/") and to[1:2] not in ("/", "\\") else "/"


def _login(
    said: Tongue, to: str, name: str = "", problem: str = "", status: int = 200, *, wait_s: float = 0.0
) -> HTMLResponse:
    texts = TEXTS[said]
    return _page(
        said,
        texts["login"],
        '<form method="post" action="login">'
        f'<label for="name">{texts["name"]}</label><input id="name" name="name" autocomplete="username" '
        f'maxlength="200" required autocapitalize="none" value="{html.escape(name)}"{"" if name else " autofocus"}>'
        f'<label for="password">{texts["password"]}</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" maxlength="{LONGEST}" required{" autofocus" if name else ""}>'
        f'<input type="hidden" name="to" value="{html.escape(_own(to))}">'
        f"<button>{texts['login']}</button></form><p><small>{texts['forgot']}</small></p>",
        problem,
        status,
        wait_s=wait_s,
    )


def _password(said: Tongue, problem: str = "", status: int = 200, *, wait_s: float = 0.0) -> HTMLResponse:
    texts = TEXTS[said]
    return _page(
        said,
        texts["change"],
        '<form method="post" action="password">'
        f'<label for="password">{texts["password"]}</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" maxlength="{LONGEST}" required autofocus>'
        f'<label for="new">{texts["new"]}</label><input id="new" name="new" type="password" '
        f'autocomplete="new-password" minlength="{SHORTEST}" maxlength="{LONGEST}" required>'
        f"<button>{texts['change']}</button></form><p><small>{texts['elsewhere']}</small></p>"
        f'<p><a href=".">{texts["back"]}</a></p>',
        problem,
        status,
        wait_s=wait_s,
    )


def _page(
    said: Tongue, title: str, body: str, problem: str = "", status: int = 200, *, wait_s: float = 0.0
) -> HTMLResponse:
    """A page with what went wrong above it, if anything did; where it may be tried again in `wait_s`, that."""
    headers = dict(_NO_STORE)
    if wait_s > 0:
        again = math.ceil(wait_s)
        problem, status, headers["retry-after"] = TEXTS[said]["wait"].format(again), 429, str(again)
    alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    page = _PAGE.format(lang="zh-CN" if said == "zh" else "en", title=title, body=alert + body)
    return HTMLResponse(page, status, headers)
