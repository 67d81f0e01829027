"""Accounts, API keys and sessions of an app: one SQLite file `users.sqlite` beside the knowledge bases, mode 0600.

The command line writes it while the app runs, and the app reads it anew for every request: a change counts at once.
An account is known by a random id: its name may be given again once it is removed. Of sessions and keys only the
SHA-256 is stored: they are 256 random bits, which no dictionary finds; of passwords an Argon2id hash (RFC 9106).
"""

import hashlib
import json
import logging
import re
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.running.accounts_schema import STEPS
from app.running.store import Store
from core.errors import AccessError, CatalogError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

log = logging.getLogger(__name__)

Role = Literal["reader", "editor", "admin"]
ROLES: tuple[Role, ...] = ("reader", "editor", "admin")  # each may what those before it may

FILE = "users.sqlite"
KEY_PREFIX = "rs-"
SHOWN = 8  # characters of a key that stay visible, to tell keys apart
SHORTEST, LONGEST = 10, 1024  # characters of a password
_NAME = re.compile(r"\w[\w.@+-]{0,63}")
_DAY_S = 86400.0
_HASHING = threading.Semaphore(2)  # each takes 64 MiB for a moment
_WAIT_S = 10.0  # for another process that writes
_ACCOUNT = (
    "user.id, name, role, bases, password IS NOT NULL, user.source, user.issuer, role_by_hand, bases_by_hand, until"
)
_BY_IDENTITY = "user JOIN identity i ON i.user = user.id AND i.source = ? AND i.issuer = ? AND i.subject = ?"
_MADE = "id, name, role, bases, password, made"
_ALLOWED = "(until IS NULL OR until > ?)"


@dataclass(frozen=True, slots=True)
class Account:
    """An account without its secrets; `id` is never given again. `bases` None: it may see all.

    `source` is "" for one made here. One from elsewhere ("oidc", "ldap") has the `issuer` that let it in, goes by its
    groups but for what was set `by_hand` ("role", "bases"), and works `until` then, in seconds since the epoch.
    """

    id: str
    name: str
    role: Role
    bases: tuple[str, ...] | None
    has_password: bool
    source: str = ""
    issuer: str = ""
    by_hand: tuple[str, ...] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is elsewhere: `subject` is what the `issuer` of a `source` never gives twice."""

    source: Literal["oidc", "ldap"]
    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Key:
    """What may be shown of an API key. Times are seconds since the epoch; `used` is exact to a day."""

    user: str
    label: str
    prefix: str
    made: float
    expires: float | None
    used: float | None


class Accounts:
    """The accounts of a data folder. Safe to use from many threads; several processes may have it open."""

    def __init__(self, data: Path) -> None:
        self.file = data / FILE
        self._store = Store(self.file, STEPS, _WAIT_S)

    def all(self) -> list[Account]:
        """The accounts, by name; none where the file is not there."""
        if not self._store.there():
            return []
        with self._open() as db:
            rows = db.execute(f"SELECT {_ACCOUNT} FROM user ORDER BY name").fetchall()
        return [_account(row) for row in rows]

    def get(self, name: str) -> Account:
        """An account by its name. Raises `AccessError` where there is none."""
        with self._open() as db:
            row = db.execute(f"SELECT {_ACCOUNT} FROM user WHERE name = ?", (folded(name),)).fetchone()
        if row is None:
            raise _no_such(name)
        return _account(row)

    def add(self, name: str, role: Role, bases: Sequence[str] | None, password: str | None) -> None:
        """Make an account; without a password it only works by its keys. Raises `AccessError`."""
        stored = canonical(name)
        hashed = None if password is None else _hash(checked(name, password))
        seen = None if bases is None else json.dumps(sorted(set(bases)))
        row = (secrets.token_hex(16), stored, role, seen, hashed, time.time())
        try:
            with self._open("make") as db:
                db.execute(f"INSERT INTO user ({_MADE}) VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AccessError(f"there is a user {stored!r} already", "`ragstone user list` shows them") from None

    def remove(self, name: str) -> None:
        """Remove an account with its keys and sessions. Raises `AccessError` where there is none."""
        self._change(name, "DELETE FROM user WHERE name = ?")

    def set_role(self, name: str, role: Role) -> None:
        """Change a role; who is logged in has to do so again."""
        self._change(name, "UPDATE user SET role = ?, role_by_hand = 1 WHERE name = ?", role)

    def set_bases(self, name: str, bases: Sequence[str] | None) -> None:
        """Change which knowledge bases may be seen; None: all."""
        written = None if bases is None else json.dumps(sorted(set(bases)))
        self._change(name, "UPDATE user SET bases = ?, bases_by_hand = 1 WHERE name = ?", written)

    def go_by_groups(self, name: str) -> None:
        """Forget what was set by hand for an account from elsewhere: its next login sets it by its groups."""
        self._change(name, "UPDATE user SET role_by_hand = 0, bases_by_hand = 0 WHERE name = ?")

    def set_password(self, name: str, password: str) -> None:
        """Change a password; who is logged in has to do so again. Raises `AccessError` for one that is too short, and
        for an account from elsewhere, into which no second way may lead.
        """
        if source := self.get(name).source:
            raise AccessError(f"{name!r} has no password here: the account comes by {source}", "change it there")
        self._change(name, "UPDATE user SET password = ? WHERE name = ?", _hash(checked(name, password)))

    def check(self, name: str, password: str) -> Account | None:
        """The account if the password is its own; takes as long where there is no such account."""
        from argon2.exceptions import VerificationError

        password = unicodedata.normalize("NFKC", password[:LONGEST])
        row = None
        if self._store.there():  # before the first of a provider or a directory comes in, nobody has an account
            with self._open() as db:
                row = db.execute(f"SELECT {_ACCOUNT}, password FROM user WHERE name = ?", (folded(name),)).fetchone()
        known = row[-1] if row else None
        try:
            with _HASHING:
                _hasher().verify(known or _decoy(), password)
        except VerificationError:
            return None
        return _account(row[:-1]) if row and known else None

    def arrive(
        self, who: Identity, called: Sequence[str], role: Role, bases: Sequence[str] | None, until: float
    ) -> tuple[Account, str]:
        """The account of somebody who was let in elsewhere, with the rights of today's groups; what was done to it, ""
        for nothing: "add" where there was none, "groups" where rights changed, which ends its sessions.

        A new one gets the first name of `called` that is free, each of which is `canonical`. An account that was made
        here, to which an admin linked the identity, is left as it is. Raises `AccessError` where no name is free.
        """
        written = None if bases is None else json.dumps(sorted(set(bases)))
        with self._open("make") as db:
            row = db.execute(f"SELECT {_ACCOUNT} FROM {_BY_IDENTITY}", _key(who)).fetchone()
            if row is None:
                taken = {name for (name,) in db.execute("SELECT name FROM user")}
                name = next((name for name in called if name not in taken), None)
                if name is None:
                    raise AccessError(f"the name {called[0]!r} is taken", "`ragstone user list` shows the users")
                made = (secrets.token_hex(16), name, role, written, None, time.time())
                db.execute(f"INSERT INTO user ({_MADE}) VALUES (?, ?, ?, ?, ?, ?)", made)
                db.execute("UPDATE user SET source = ?, issuer = ? WHERE id = ?", (who.source, who.issuer, made[0]))
                db.execute("INSERT INTO identity VALUES (?, ?, ?, ?)", (*_key(who), made[0]))
            before = row and _account(row)
            if before is None or before.source:
                db.execute(
                    "UPDATE user SET role = iif(role_by_hand, role, ?), bases = iif(bases_by_hand, bases, ?), "
                    f"until = ? WHERE id = (SELECT user.id FROM {_BY_IDENTITY})",
                    (role, written, until, *_key(who)),
                )
            account = _account(db.execute(f"SELECT {_ACCOUNT} FROM {_BY_IDENTITY}", _key(who)).fetchone())
            if before is None:
                return account, "add"
            if (before.role, before.bases) == (account.role, account.bases):
                return account, ""
            db.execute("DELETE FROM session WHERE user = ?", (account.id,))
            return account, "groups"

    def close(self, who: Identity) -> Account | None:
        """End the sessions and keys of an account from elsewhere, until its next login; None where there is none."""
        if not self._store.there():
            return None
        with self._open("write") as db:
            row = db.execute(f"SELECT {_ACCOUNT} FROM {_BY_IDENTITY} WHERE user.source != ''", _key(who)).fetchone()
            if row is None:
                return None
            db.execute("DELETE FROM session WHERE user = ?", (row[0],))
            db.execute("UPDATE user SET until = 0 WHERE id = ?", (row[0],))
        return _account(row)

    def link(self, name: str, who: Identity) -> None:
        """Let somebody elsewhere into an account that was made here. Raises `AccessError` where they have one."""
        account = self.get(name)
        if account.source:
            raise AccessError(f"{name!r} comes by {account.source} itself", "name an account that was made here")
        try:
            with self._open("write") as db:
                db.execute("INSERT INTO identity VALUES (?, ?, ?, ?)", (*_key(who), account.id))
        except sqlite3.IntegrityError:
            raise AccessError(
                f"{who.subject!r} opens another account already", "remove that one first: `ragstone user remove`"
            ) from None

    def subjects(self) -> dict[str, str]:
        """Who an account's person is elsewhere, by its id."""
        if not self._store.there():
            return {}
        with self._open() as db:
            return dict(db.execute("SELECT user, source || ':' || subject FROM identity").fetchall())

    def begin_session(self, account: Account, hours: float) -> str:
        """Log somebody in; the token that the browser keeps. Raises `AccessError` where the account is gone."""
        token, now = secrets.token_urlsafe(32), time.time()
        try:
            with self._open("write") as db:
                db.execute("DELETE FROM session WHERE expires <= ?", (now,))
                db.execute("INSERT INTO session VALUES (?, ?, ?)", (_digest(token), account.id, now + hours * 3600))
        except sqlite3.IntegrityError:
            raise _no_such(account.name) from None
        return token

    def end_session(self, token: str) -> None:
        """Log somebody out."""
        with self._open("write") as db:
            db.execute("DELETE FROM session WHERE hash = ?", (_digest(token),))

    def by_session(self, token: str) -> Account | None:
        """Whose session a token is."""
        now = time.time()
        with self._open() as db:
            row = db.execute(
                f"SELECT {_ACCOUNT} FROM session JOIN user ON user = user.id "
                f"WHERE hash = ? AND expires > ? AND {_ALLOWED}",
                (_digest(token), now, now),
            ).fetchone()
        return _account(row) if row else None

    def add_key(self, name: str, label: str = "", days: float | None = None) -> str:
        """Make an API key, which is not shown again; without `days` it does not expire."""
        key, now = KEY_PREFIX + secrets.token_urlsafe(32), time.time()
        expires = None if days is None else now + days * _DAY_S
        with self._open("write") as db:
            row = (_digest(key), label, key[:SHOWN], now, expires, folded(name))
            if not db.execute("INSERT INTO key SELECT ?, id, ?, ?, ?, ?, NULL FROM user WHERE name = ?", row).rowcount:
                raise _no_such(name)
        return key

    def keys_of(self, name: str = "") -> list[Key]:
        """The API keys of an account, or of all."""
        if not self._store.there():
            return []
        with self._open() as db:
            rows = db.execute(
                "SELECT name, label, prefix, key.made, expires, used FROM key JOIN user ON user = user.id "
                "WHERE ? IN ('', name) ORDER BY name, key.made",
                (folded(name),),
            ).fetchall()
        return [Key(*row) for row in rows]

    def revoke_key(self, name: str, prefix: str) -> None:
        """Revoke the one key of an account that begins so. Raises `AccessError` where none does, or several do."""
        with self._open("write") as db:
            sql = "SELECT hash, prefix FROM key JOIN user ON user = user.id WHERE name = ?"
            rows = db.execute(sql, (folded(name),)).fetchall()
            found = [digest for digest, shown in rows if prefix and (prefix[:SHOWN] == shown[: len(prefix)])]
            if len(found) != 1:
                count = "several keys" if found else "no key"
                raise AccessError(f"{count} of {name!r} begin with {prefix!r}", "`ragstone user key list` shows them")
            db.execute("DELETE FROM key WHERE hash = ?", (found[0],))

    def by_key(self, key: str) -> Account | None:
        """Whose API key it is."""
        digest, now = _digest(key), time.time()
        with self._open() as db:
            row = db.execute(
                f"SELECT {_ACCOUNT}, used FROM key JOIN user ON user = user.id "
                f"WHERE hash = ? AND (expires IS NULL OR expires > ?) AND {_ALLOWED}", (digest, now, now),
            ).fetchone()  # fmt: skip
        if row and (row[-1] or 0.0) < now - _DAY_S:
            self._used(digest, now)
        return _account(row[:-1]) if row else None

    def _used(self, digest: bytes, now: float) -> None:
        """Note that a key was used; whoever came with it does not wait for that."""
        try:
            with self._store.writing(wait_s=0) as db:
                db.execute("UPDATE key SET used = ? WHERE hash = ?", (now, digest))
        except CatalogError as error:  # its next use is noted
            log.info("the use of a key was not noted: %s", error)

    def _change(self, name: str, statement: str, *values: str | None) -> None:
        """Change one account and end its sessions."""
        with self._open("write") as db:
            db.execute("DELETE FROM session WHERE user IN (SELECT id FROM user WHERE name = ?)", (folded(name),))
            if not db.execute(statement, (*values, folded(name))).rowcount:
                raise _no_such(name)

    @contextmanager
    def _open(self, to: Literal["read", "write", "make"] = "read") -> Iterator[sqlite3.Connection]:
        """A transaction; `make`: one that writes, and makes the file where it is not there."""
        if to != "make" and not self._store.there():
            raise AccessError("there are no users yet", "`ragstone user add NAME --role admin` makes the first")
        with self._store.reading() if to == "read" else self._store.writing() as db:
            yield db


def canonical(name: str) -> str:
    """A user's name as it is stored: names that differ only in case or width are one. Raises `AccessError`."""
    stored = folded(name)
    if not _NAME.fullmatch(stored):
        raise AccessError(
            f"{name!r} cannot be a user's name", "use at most 64 letters, digits and . _ @ + -, a letter or digit first"
        )
    return stored


def checked(name: str, password: str) -> str:
    """A password that is long enough, in one Unicode form. Raises `AccessError`."""
    password = unicodedata.normalize("NFKC", password)
    if not SHORTEST <= len(password) <= LONGEST or password.casefold() == folded(name):
        raise AccessError(
            "this password will not do", f"use {SHORTEST} to {LONGEST} characters, and not the name: a few words do"
        )
    return password


def folded(name: str) -> str:
    """The one form of a name: names of which it is the same are the same account's."""
    return unicodedata.normalize("NFKC", name[:200]).casefold()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _decoy() -> str:
    """What a password is compared with where there is none."""
    return _hasher().hash(secrets.token_urlsafe(32))


def _hash(password: str) -> str:
    with _HASHING:
        return _hasher().hash(password)


def _account(row: tuple[Any, ...]) -> Account:
    account_id, name, role, bases, has_password, source, issuer, role_by_hand, bases_by_hand, until = row
    seen = None if bases is None else tuple(json.loads(bases))
    by_hand = tuple(name for name, set_ in (("role", role_by_hand), ("bases", bases_by_hand)) if set_ and source)
    return Account(account_id, name, role, seen, bool(has_password), source, issuer, by_hand, until)


def _key(who: Identity) -> tuple[str, str, str]:
    return who.source, who.issuer, who.subject


def _no_such(name: str) -> AccessError:
    return AccessError(f"there is no user {name!r}", "`ragstone user list` shows them")
