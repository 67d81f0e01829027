"""The pages where people log in and out and change their password: plain HTML without a script, in two languages."""

import html
import math
from dataclasses import dataclass
from urllib.parse import quote

from fastapi.responses import HTMLResponse

from app.messages.texts import Tongue
from app.running.accounts import LONGEST, SHORTEST

NO_STORE = {"cache-control": "no-store"}

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "login": "Log in", "name": "Name", "password": "Password", "logout": "Log out", "back": "Back",
        "wrong": "Name or password is wrong.", "wait": "Too many attempts: try again in {} s.",
        "who": "You are logged in as {} ({}).", "forgot": "Forgotten? An admin sets a new one: ragstone user password",
        "change": "Change password", "new": "New password", "refused": "The password is wrong.",
        "short": "Use {} to {} characters, and not the name: a few words do.",
        "elsewhere": "You stay logged in here, and are logged out everywhere else.",
        "by": "Log in with {}", "here": "Or by name and password",
        "no_group": "You are known there, but none of your groups may use this app. Ask an admin.",
        "failed": "The login there did not succeed. Try again; the app's log says why.",
        "away": "The login there does not work at the moment. Try again in a while.",
        "away_here": "The directory cannot be asked at the moment. Accounts with a password of this app can log in.",
        "gone": "The accounts cannot be read at the moment. Try again in a while.",
        "stale": "This login was begun elsewhere, or too long ago. Begin it again.",
        "left": "You are logged out here.", "leave_too": "Log out at {} too",
        "not_here": "Your account comes from elsewhere: its password is changed there.",
    },
    "zh": {
        "login": "登录", "name": "用户名", "password": "密码", "logout": "退出登录", "back": "返回",
        "wrong": "用户名或密码错误。", "wait": "尝试次数过多，请在 {} 秒后重试。",
        "who": "您已登录为 {}（{}）。", "forgot": "忘记密码？请管理员重设：ragstone user password",
        "change": "修改密码", "new": "新密码", "refused": "密码错误。",
        "short": "请使用 {} 到 {} 个字符，且不能与用户名相同：几个词即可。",
        "elsewhere": "您在此处保持登录，其他地方的登录都会失效。",
        "by": "使用 {} 登录", "here": "或使用用户名和密码",
        "no_group": "对方认识您，但您所在的用户组都无权使用此应用。请联系管理员。",
        "failed": "未能在对方处登录。请重试；原因见应用的日志。",
        "away": "目前无法在对方处登录，请稍后重试。",
        "away_here": "目前无法查询目录服务。有本应用密码的账户可以登录。",
        "gone": "目前无法读取账户，请稍后重试。",
        "stale": "这次登录是在别处开始的，或开始得太久了。请重新开始。",
        "left": "您已在此处退出登录。", "leave_too": "也在 {} 退出登录",
        "not_here": "您的账户来自别处：请在那里修改密码。",
    },
}  # fmt: skip

_PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ragstone · {title}</title><link rel="icon" href="data:,">{head}<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 0; min-height: 100vh;
  display: grid; place-items: center; }}
main {{ width: min(20rem, 88vw); }}
label, input, button {{ display: block; width: 100%; box-sizing: border-box; font: inherit; }}
input {{ padding: .5rem; margin: .25rem 0 1rem; border: 1px solid #888; border-radius: .4rem; }}
button, .button {{ padding: .55rem; border: 0; border-radius: .4rem; background: #0f766e; color: #fff; }}
button {{ cursor: pointer; }}
.button {{ display: block; text-align: center; text-decoration: none; margin: 1rem 0; }}
:is(input, button, a):focus-visible {{ outline: 3px solid #14b8a6; outline-offset: 2px; }}
[role=alert] {{ color: #b91c1c; }} small {{ opacity: .75; }}
@media (prefers-color-scheme: dark) {{ [role=alert] {{ color: #fca5a5; }} }}
</style></head><body><main><h1>Ragstone</h1>{body}</main></body></html>"""


@dataclass(frozen=True, slots=True)
class Ways:
    """By what people log in: what the button of a provider names, "" without one; and passwords."""

    provider: str
    passwords: bool


def own(to: str) -> str:
    """A path of this app; the page itself where it would lead elsewhere (to a browser a backslash is a slash)."""
    return to if to.isprintable() and to.startswith("/") and to[1:2] not in ("/", "\\") else "/"


def login_page(
    ways: Ways, said: Tongue, to: str, name: str = "", problem: str = "", status: int = 200, *, wait_s: float = 0.0
) -> HTMLResponse:
    """The page to log in by; what went wrong stands above, or that it may be tried again in `wait_s`."""
    texts, own_ = TEXTS[said], own(to)
    form = _form(said, own_, name) if ways.passwords else ""
    if not ways.provider:
        return page(said, texts["login"], form, problem, status, wait_s=wait_s)
    by, there = html.escape(texts["by"].format(ways.provider)), quote(own_)
    button = f'<a class="button" href="login/oidc?to={there}">{by}</a>'
    between = f"<p>{texts['here']}</p>" if form else ""
    return page(said, texts["login"], button + between + form, problem, status, wait_s=wait_s)


def _form(said: Tongue, to: str, name: str) -> str:
    texts = TEXTS[said]
    return (
        '<form method="post" action="login">'
        f'<label for="name">{texts["name"]}</label><input id="name" name="name" autocomplete="username" '
        f'maxlength="200" required autocapitalize="none" value="{html.escape(name)}"{"" if name else " autofocus"}>'
        f'<label for="password">{texts["password"]}</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" maxlength="{LONGEST}" required{" autofocus" if name else ""}>'
        f'<input type="hidden" name="to" value="{html.escape(to)}">'
        f"<button>{texts['login']}</button></form><p><small>{texts['forgot']}</small></p>"
    )


def password_page(said: Tongue, problem: str = "", status: int = 200, *, wait_s: float = 0.0) -> HTMLResponse:
    """The page to change a password."""
    texts = TEXTS[said]
    return page(
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


def page(
    said: Tongue, title: str, body: str, problem: str = "", status: int = 200, *, wait_s: float = 0.0, head: str = ""
) -> HTMLResponse:
    """A page with what went wrong above it, if anything did; where it may be tried again in `wait_s`, that."""
    headers = dict(NO_STORE)
    if wait_s > 0:
        again = math.ceil(wait_s)
        problem, status, headers["retry-after"] = TEXTS[said]["wait"].format(again), 429, str(again)
    alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    whole = _PAGE.format(lang="zh-CN" if said == "zh" else "en", title=title, body=alert + body, head=head)
    return HTMLResponse(whole, status, headers)
