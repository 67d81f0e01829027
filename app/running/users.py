"""Who asks, and what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from app.running.accounts import ROLES, Accounts, Role
from core.config import AppConfig
from core.errors import AccessError, ConfigError

SESSION_COOKIE = "ragstone_session"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody at the app: a reader asks, an editor changes knowledge bases and prompts, an admin everything.

    `bases` are the knowledge bases that may be seen; None: all of them. What is somebody's is known by the `id`, which
    is never given again. Without users there is one admin without name and id.
    """

    name: str = ""
    role: Role = "admin"
    bases: tuple[str, ...] | None = None
    id: str = ""

    def may(self, role: Role) -> bool:
        """Whether the user has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, kb: str) -> bool:
        """Whether the user may see a knowledge base."""
        return self.bases is None or kb in self.bases

    def seen(self, kbs: Iterable[str]) -> list[str]:
        """Those of some knowledge bases that the user may see."""
        return [kb for kb in kbs if self.sees(kb)]


class Users:
    """The users of a running app; `on` is False where it listens on loopback only and nothing else is configured."""

    def __init__(self, cfg: AppConfig = AppConfig()) -> None:  # noqa: B008
        self.on = cfg.users == "on" or bool(cfg.hosts) or not is_loopback(cfg.host)
        self.accounts = Accounts(Path(cfg.data))

    def check_ready(self) -> None:
        """Raise `ConfigError` where users are on and nobody could log in."""
        if self.on and not any(account.has_password for account in self.accounts.all()):
            raise ConfigError(
                "the app would be reachable by others (app.host, app.hosts) or app.users is on, but there is no user "
                "with a password",
                "`ragstone user add NAME --role admin` makes one; or set app.host to 127.0.0.1",
            )

    def of(self, request: Any) -> User:
        """Who sent a request (Starlette's or Gradio's: both have headers and cookies). Raises `AccessError`."""
        if not self.on:
            return User()
        key = bearer(request)
        if key is not None:
            account = self.accounts.by_key(key)
        else:
            token = request.cookies.get(SESSION_COOKIE) if request.cookies else None
            account = self.accounts.by_session(token) if token else None
        if account is None:
            raise AccessError(
                "this key is unknown, revoked or expired" if key else "nobody is logged in",
                "log in at /login, or send an API key as `Authorization: Bearer ...`",
            )
        return User(account.name, account.role, account.bases, account.id)

    def require(self, request: Any, role: Role, kb: str = "") -> User:
        """The same, who has at least this role and sees the knowledge base. Raises `AccessError`."""
        user = self.of(request)
        if not user.may(role):
            raise AccessError(f"this needs the role {role!r}, {user.name!r} is {user.role!r}", "ask an admin")
        if kb and not user.sees(kb):
            raise AccessError(f"{user.name!r} may not see the knowledge base {kb!r}", "ask an admin")
        return user


def bearer(request: Any) -> str | None:
    """The key that a request carries in its Authorization header (RFC 6750)."""
    scheme, _, key = (request.headers.get("authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
