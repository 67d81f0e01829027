"""Who asks, and what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.running.accounts import ROLES, Account, Accounts, Role
from app.running.directory import Directory
from app.running.provider import Provider
from core.config import AppConfig, Config, LdapConfig, OidcConfig
from core.errors import AccessError, ConfigError
from core.places import is_loopback

SESSION_COOKIE = "ragstone_session"
_NOTHING = Config()


@dataclass(frozen=True, slots=True)
class User:
    """Somebody at the app: a reader asks, an editor changes knowledge bases and prompts, an admin everything.

    `bases` are the knowledge bases that may be seen; None: all of them. What is somebody's is known by the `id`, which
    is never given again. `source` is where the account comes from: "" for this app, "oidc", "ldap". Without users there
    is one admin without name and id.
    """

    name: str = ""
    role: Role = "admin"
    bases: tuple[str, ...] | None = None
    id: str = ""
    source: str = ""

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
    """The users of a running app; `on` is False where it listens on loopback only and nothing else is configured.

    `provider` and `directory` let people in whose accounts are elsewhere; None where none is configured.
    """

    def __init__(
        self, cfg: AppConfig = _NOTHING.app, oidc: OidcConfig = _NOTHING.oidc, ldap: LdapConfig = _NOTHING.ldap
    ) -> None:
        elsewhere = bool(oidc.issuer or ldap.url)
        self.on = cfg.users == "on" or bool(cfg.hosts) or not is_loopback(cfg.host) or elsewhere
        self.accounts = Accounts(Path(cfg.data))
        self.provider = Provider(oidc) if oidc.issuer else None
        self.directory = Directory(ldap) if ldap.url else None
        self.only_provider = bool(oidc.issuer) and oidc.only

    def check_ready(self) -> None:
        """Raise `ConfigError` where users are on and nobody could log in."""
        for source in (self.provider, self.directory):
            if source:
                source.check_installed()
        accounts = self.accounts.all()
        if self.only_provider and not any(a.source == "oidc" and a.role == "admin" and self._open(a) for a in accounts):
            raise ConfigError(
                "oidc.only leaves no way in but the provider's, and no admin has come by it yet",
                "leave oidc.only away until a person of a group with the role admin has logged in by the provider",
            )
        if self.on and not (self.provider or self.directory or any(account.has_password for account in accounts)):
            raise ConfigError(
                "the app would be reachable by others (app.host, app.hosts) or app.users is on, but there is no user "
                "with a password",
                "`ragstone user add NAME --role admin` makes one; or set app.host to 127.0.0.1",
            )

    def _open(self, account: Account) -> bool:
        """Whether an account is made here, or whoever lets its person in is configured."""
        issuers = {"oidc": self.provider and self.provider.issuer, "ldap": self.directory and self.directory.issuer}
        return not account.source or account.issuer == issuers[account.source]

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
        if account is None or not self._open(account):
            raise AccessError(
                "this key is unknown, revoked or expired" if key else "nobody is logged in",
                "log in at /login, or send an API key as `Authorization: Bearer ...`",
            )
        return User(account.name, account.role, account.bases, account.id, account.source)

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
