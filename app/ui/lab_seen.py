"""Who sees which version of a prompt: what quotes documents is for those who see their knowledge base."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.running.users import User
from prompts.load import Prompt
from prompts.resting import mark, resting

if TYPE_CHECKING:
    from app.running.bases import State


def seen_by(state: "State", user: User) -> Callable[[Prompt], bool]:
    """Whether a user may see a version. An admin who sees all knowledge bases does, whatever it rests on."""
    if sees_all(user):
        return lambda prompt: True
    seen: set[str] = set()

    def sees(prompt: Prompt) -> bool:
        rests_on = resting(prompt)
        if rests_on and not seen:
            seen.update(state.bases.seen(user).values())
        return rests_on == "" or rests_on in seen

    return sees


def sees_all(user: User) -> bool:
    """Whether a user sees every version: an admin of all knowledge bases."""
    return user.may("admin") and user.bases is None


def marked_by(state: "State", prompt: Prompt, kb: str | None, request: Any) -> Prompt:
    """The version as it is saved for somebody at the page: demonstrations of which nobody said whence they are rest on
    the knowledge base that is chosen there. Raises `AccessError`, `CatalogError`.
    """
    if not kb or resting(prompt) is not None:
        return prompt
    state.users.require(request, "editor", kb)
    return replace(prompt, rests_on=mark(state.bases.get(kb).identity, state.bases.data))
