"""The tables of users.sqlite, and the steps by which a file of an earlier version comes to them."""

from app.running.store import Step, statements

_FIRST = """
CREATE TABLE user (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, bases TEXT, password TEXT, made REAL NOT NULL
) STRICT;
CREATE TABLE key (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name) ON DELETE CASCADE, label TEXT NOT NULL,
    prefix TEXT NOT NULL, made REAL NOT NULL, expires REAL, used REAL
) STRICT;
CREATE TABLE session (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name) ON DELETE CASCADE, expires REAL NOT NULL
) STRICT
"""
_WITH_IDS = """
ALTER TABLE user RENAME TO user_1;
ALTER TABLE key RENAME TO key_1;
ALTER TABLE session RENAME TO session_1;
CREATE TABLE user (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, bases TEXT, password TEXT, made REAL NOT NULL
) STRICT;
CREATE TABLE key (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(id) ON DELETE CASCADE, label TEXT NOT NULL,
    prefix TEXT NOT NULL, made REAL NOT NULL, expires REAL, used REAL
) STRICT;
CREATE TABLE session (
    hash BLOB PRIMARY KEY, user TEXT NOT NULL REFERENCES user(id) ON DELETE CASCADE, expires REAL NOT NULL
) STRICT;
INSERT INTO user SELECT lower(hex(randomblob(16))), name, role, bases, password, made FROM user_1;
INSERT INTO key SELECT hash, id, label, prefix, k.made, expires, used FROM key_1 k JOIN user ON name = k.user;
INSERT INTO session SELECT hash, id, expires FROM session_1 s JOIN user ON name = s.user;
DROP TABLE session_1;
DROP TABLE key_1;
DROP TABLE user_1
"""
# `source` "": made here; else "oidc" or "ldap", and `issuer` which one. `until`: when sessions and keys end to work.
# An identity opens an account: that of its source, and one made here where an admin linked it.
_FROM_ELSEWHERE = """
ALTER TABLE user ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE user ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE user ADD COLUMN role_by_hand INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user ADD COLUMN bases_by_hand INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user ADD COLUMN until REAL;
CREATE TABLE identity (
    source TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,
    user TEXT NOT NULL REFERENCES user(id) ON DELETE CASCADE, PRIMARY KEY (source, issuer, subject)
) STRICT
"""
STEPS: tuple[Step, ...] = (
    lambda db: statements(db, _FIRST),
    lambda db: statements(db, _WITH_IDS),
    lambda db: statements(db, _FROM_ELSEWHERE),
)
