"""Who asks, and what they may do."""

from dataclasses import dataclass
from typing import Any, Literal

from core.errors import AccessError

Role = Literal["reader", "editor", "admin"]
ROLES: tuple[Role, ...] = ("reader", "editor", "admin")  # each may what those before it may


@dataclass(frozen=True, slots=True)
class User:
    """Somebody at the app: a reader asks, an editor changes knowledge bases and prompts, an admin everything.

    `bases` are the knowledge bases that may be seen; None: all of them. Without users there is one nameless admin.
    """

    name: str = ""
    role: Role = "admin"
    bases: tuple[str, ...] | None = None

    def may(self, role: Role) -> bool:
        """Whether the user has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, kb: str) -> bool:
        """Whether the user may see a knowledge base."""
        return self.bases is None or kb in self.bases


class Users:
    """The users of a running app."""

    def of(self, request: Any) -> User:
        """Who sent a request (Starlette's or Gradio's: both have headers and cookies). Raises `AccessError`."""
        return User()

    def require(self, request: Any, role: Role, kb: str = "") -> User:
        """The same, who has at least this role and sees the knowledge base. Raises `AccessError`."""
        user = self.of(request)
        if not user.may(role):
            raise AccessError(f"this needs the role {role!r}, {user.name!r} is {user.role!r}", "ask an admin")
        if kb and not user.sees(kb):
            raise AccessError(f"{user.name!r} may not see the knowledge base {kb!r}", "ask an admin")
        return user
