"""Somebody whose account is elsewhere comes in: their groups say what they may here, and whether they may anything.

Who they are is what the issuer never gives twice; a name opens nothing. So an account of the same name that was made
here is another one, unless an admin links the two.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.running.accounts import ROLES, Account, Accounts, Identity, canonical, folded
from app.running.audit import record
from core.errors import AccessError
from core.sections import Rights

EVERYBODY = "*"  # among the groups of config.toml
_NAMED_ALIKE = 100  # people
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom a provider or a directory vouches for: who, called what, in which groups there."""

    who: Identity
    name: str
    groups: tuple[str, ...]


def rights(groups: Iterable[str], mapping: Mapping[str, Mapping[str, Any]]) -> Rights | None:
    """What the groups of a person may together; None where none of them may anything.

    The highest role counts, for the knowledge bases of all.
    """
    held = {*groups, EVERYBODY}
    found = [Rights.model_validate(dict(allowed)) for group, allowed in mapping.items() if group in held]
    if not found:
        return None
    role = ROLES[max(ROLES.index(each.role) for each in found)]
    kbs = None if any(each.kbs is None for each in found) else sorted({kb for each in found for kb in each.kbs or ()})
    return Rights(role=role, kbs=kbs)


def let_in(
    accounts: Accounts, data: Path, person: Person, mapping: Mapping[str, Mapping[str, Any]], key_days: float
) -> Account:
    """The account of a person, made or brought up to their groups. Raises `AccessError` where no group may anything;
    then the account that they had works no more, nor do its keys.
    """
    by = f"{person.who.source} {person.who.issuer}"
    allowed = rights(person.groups, mapping)
    if allowed is None:
        closed = accounts.close(person.who)
        if closed and closed.until != 0:
            record(data, by, "user.close", closed.name, "in none of the groups that may get in")
        raise AccessError(
            f"{person.name!r} is in none of the groups that may get in",
            f"ask an admin; [{person.who.source}] groups in config.toml says which do",
        )
    until = time.time() + key_days * _DAY_S
    account, done = accounts.arrive(person.who, _called(person), allowed.role, allowed.kbs, until)
    if done:
        seen = "all knowledge bases" if account.bases is None else ", ".join(account.bases)
        record(data, by, f"user.{done}", account.name, f"{account.role}; {seen}")
    return account


def _called(person: Person) -> list[str]:
    """Names for a person's account, the first choice first: as they are called, then with where they come from."""
    plain = re.sub(r"[^\w.@+-]+", "-", folded(person.name)).strip("-.@+")[:40] or "person"
    issuer = person.who.issuer
    where = urlsplit(issuer).hostname if "://" in issuer else ".".join(re.findall(r"dc=([^,+]+)", issuer.lower()))
    with_place = f"{plain}@{re.sub(r'[^a-z0-9.-]', '-', where or person.who.source)[:20].strip('-.')}"
    return [canonical(name) for name in (plain, with_place, *(f"{plain}-{n}" for n in range(2, _NAMED_ALIKE)))]
