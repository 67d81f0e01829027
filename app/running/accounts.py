"""Accounts, API keys and sessions of an app: one SQLite file `users.sqlite` beside the knowledge bases, mode 0600.

The command line writes it while the app runs, and the app reads it anew for every request: a change counts at once.
Of sessions and keys only the SHA-256 is stored: they are 256 random bits, which no dictionary finds; of passwords an
Argon2id hash (RFC 9106).
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.errors import AccessError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["reader", "editor", "admin"]
ROLES: tuple[Role, ...] = ("reader", "editor", "admin")  # each may what those before it may

FILE = "users.sqlite"
KEY_PREFIX = "rs-"
_SHOWN = 8  # characters of a key that stay visible, to tell keys apart
SHORTEST, LONGEST = 10, 1024  # characters of a password
_NAME = re.compile(r"\w[\w.@+-]{0,63}")
_DAY_S = 86400.0
_HASHING = threading.Semaphore(2)  # each takes 64 MiB for a moment
_SCHEMA = """
CREATE TABLE user (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, bases TEXT, password TEXT, made REAL NOT NULL
) STRICT;
CREATE TABLE key (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name) ON DELETE CASCADE, label TEXT NOT NULL,
    prefix TEXT NOT NULL, made REAL NOT NULL, expires REAL, used REAL
) STRICT;
CREATE TABLE session (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name) ON DELETE CASCADE, expires REAL NOT NULL
) STRICT;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Account:
    """An account without its secrets; `bases` None: it may see all."""

    name: str
    role: Role
    bases: tuple[str, ...] | None
    has_password: bool


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
        self._mutex = threading.Lock()

    def all(self) -> list[Account]:
        """The accounts, by name; none where the file is not there."""
        if not self.file.is_file():
            return []
        with self._open() as db:
            rows = db.execute("SELECT name, role, bases, password IS NOT NULL FROM user ORDER BY name").fetchall()
        return [_account(row) for row in rows]

    def add(self, name: str, role: Role, bases: Sequence[str] | None, password: str | None) -> None:
        """Make an account; without a password it only works by its keys. Raises `AccessError`."""
        stored = canonical(name)
        hashed = None if password is None else _hash(checked(name, password))
        row = (stored, role, None if bases is None else json.dumps(sorted(set(bases))), hashed, time.time())
        try:
            with self._open("make") as db:
                db.execute("INSERT INTO user VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AccessError(f"there is a user {stored!r} already", "`ragstone user list` shows them") from None

    def remove(self, name: str) -> None:
        """Remove an account with its keys and sessions. Raises `AccessError` where there is none."""
        self._change(name, "DELETE FROM user WHERE name = ?")

    def set_role(self, name: str, role: Role) -> None:
        """Change a role; who is logged in has to do so again."""
        self._change(name, "UPDATE user SET role = ? WHERE name = ?", role)

    def set_bases(self, name: str, bases: Sequence[str] | None) -> None:
        """Change which knowledge bases may be seen; None: all."""
        written = None if bases is None else json.dumps(sorted(set(bases)))
        self._change(name, "UPDATE user SET bases = ? WHERE name = ?", written)

    def set_password(self, name: str, password: str) -> None:
        """Change a password; who is logged in has to do so again. Raises `AccessError` for one that is too short."""
        self._change(name, "UPDATE user SET password = ? WHERE name = ?", _hash(checked(name, password)))

    def check(self, name: str, password: str) -> str | None:
        """The account's name if the password is its own; takes as long where there is no such account."""
        from argon2.exceptions import VerificationError

        name, password = _folded(name), unicodedata.normalize("NFKC", password[:LONGEST])
        with self._open() as db:
            row = db.execute("SELECT password FROM user WHERE name = ?", (name,)).fetchone()
        known = row[0] if row else None
        try:
            with _HASHING:
                _hasher().verify(known or _decoy(), password)
        except VerificationError:
            return None
        return name if known else None

    def begin_session(self, name: str, hours: float) -> str:
        """Log somebody in; the token that the browser keeps."""
        token, now = secrets.token_urlsafe(32), time.time()
        with self._open("write") as db:
            db.execute("DELETE FROM session WHERE expires <= ?", (now,))
            db.execute("INSERT INTO session VALUES (?, ?, ?)", (_digest(token), name, now + hours * 3600))
        return token

    def end_session(self, token: str) -> None:
        """Log somebody out."""
        with self._open("write") as db:
            db.execute("DELETE FROM session WHERE hash = ?", (_digest(token),))

    def by_session(self, token: str) -> Account | None:
        """Whose session a token is."""
        with self._open() as db:
            row = db.execute(
                "SELECT name, role, bases, password IS NOT NULL FROM session JOIN user ON user = name "
                "WHERE hash = ? AND expires > ?", (_digest(token), time.time()),
            ).fetchone()  # fmt: skip
        return _account(row) if row else None

    def add_key(self, name: str, label: str = "", days: float | None = None) -> str:
        """Make an API key, which is not shown again; without `days` it does not expire."""
        key, now = KEY_PREFIX + secrets.token_urlsafe(32), time.time()
        expires = None if days is None else now + days * _DAY_S
        row = (_digest(key), canonical(name), label, key[:_SHOWN], now, expires, None)
        try:
            with self._open("write") as db:
                db.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise _no_such(name) from None
        return key

    def keys_of(self, name: str = "") -> list[Key]:
        """The API keys of an account, or of all."""
        if not self.file.is_file():
            return []
        with self._open() as db:
            rows = db.execute(
                "SELECT user, label, prefix, made, expires, used FROM key WHERE ? IN ('', user) ORDER BY user, made",
                (_folded(name),),
            ).fetchall()
        return [Key(*row) for row in rows]

    def revoke_key(self, name: str, prefix: str) -> None:
        """Revoke the one key of an account that begins so. Raises `AccessError` where none does, or several do."""
        with self._open("write") as db:
            rows = db.execute("SELECT hash, prefix FROM key WHERE user = ?", (_folded(name),)).fetchall()
            found = [digest for digest, shown in rows if prefix and (prefix[:_SHOWN] == shown[: len(prefix)])]
            if len(found) != 1:
                count = "several keys" if found else "no key"
                raise AccessError(f"{count} of {name!r} begin with {prefix!r}", "`ragstone user key list` shows them")
            db.execute("DELETE FROM key WHERE hash = ?", (found[0],))

    def by_key(self, key: str) -> Account | None:
        """Whose API key it is."""
        digest, now = _digest(key), time.time()
        with self._open() as db:
            row = db.execute(
                "SELECT name, role, bases, password IS NOT NULL, used FROM key JOIN user ON user = name "
                "WHERE hash = ? AND (expires IS NULL OR expires > ?)", (digest, now),
            ).fetchone()  # fmt: skip
        if row and (row[4] or 0.0) < now - _DAY_S:
            with self._open("write") as db:
                db.execute("UPDATE key SET used = ? WHERE hash = ?", (now, digest))
        return _account(row[:4]) if row else None

    def _change(self, name: str, statement: str, *values: str | None) -> None:
        """Change one account and end its sessions."""
        with self._open("write") as db:
            if not db.execute(statement, (*values, _folded(name))).rowcount:
                raise _no_such(name)
            db.execute("DELETE FROM session WHERE user = ?", (_folded(name),))

    @contextmanager
    def _open(self, to: Literal["read", "write", "make"] = "read") -> Iterator[sqlite3.Connection]:
        """A transaction; `make`: one that writes, and makes the file where it is not there."""
        if not self.file.is_file():
            if to != "make":
                raise AccessError("there are no users yet", "`ragstone user add NAME --role admin` makes the first")
            self.file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.file, os.O_CREAT | os.O_WRONLY, 0o600))  # SQLite's journals take its mode
        try:
            with self._mutex, closing(sqlite3.connect(self.file, timeout=10, isolation_level=None)) as db:
                db.execute("PRAGMA foreign_keys = ON")
                db.execute("PRAGMA secure_delete = ON")
                db.execute("BEGIN" if to == "read" else "BEGIN IMMEDIATE")
                if to == "make" and not db.execute("PRAGMA user_version").fetchone()[0]:
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)
                yield db
                db.execute("COMMIT")  # without it, closing rolls back
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            hint = "check the disk and the file's permissions; the users can also be made anew"
            raise AccessError(f"{str(self.file)!r} cannot be used: {error}", hint) from error


def canonical(name: str) -> str:
    """A user's name as it is stored: names that differ only in case or width are one. Raises `AccessError`."""
    folded = _folded(name)
    if not _NAME.fullmatch(folded):
        raise AccessError(
            f"{name!r} cannot be a user's name", "use at most 64 letters, digits and . _ @ + -, a letter or digit first"
        )
    return folded


def checked(name: str, password: str) -> str:
    """A password that is long enough, in one Unicode form. Raises `AccessError`."""
    password = unicodedata.normalize("NFKC", password)
    if not SHORTEST <= len(password) <= LONGEST or password.casefold() == _folded(name):
        raise AccessError(
            "this password will not do", f"use {SHORTEST} to {LONGEST} characters, and not the name: a few words do"
        )
    return password


def _folded(name: str) -> str:
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


def _account(row: tuple[str, Role, str | None, int]) -> Account:
    name, role, bases, has_password = row
    return Account(name, role, None if bases is None else tuple(json.loads(bases)), bool(has_password))


def _no_such(name: str) -> AccessError:
    return AccessError(f"there is no user {name!r}", "`ragstone user list` shows them")
