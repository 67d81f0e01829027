"""Accounts of a version that knew no provider and no directory are there in the next, as they were."""

import hashlib
import time
from pathlib import Path

from app.running.accounts import Accounts
from app.running.accounts_schema import STEPS
from app.running.store import Store


def test_accounts_keys_and_sessions_of_before_work_on(tmp_path: Path) -> None:
    before = Store(tmp_path / "users.sqlite", STEPS[:2], 5.0)
    key, token, now = "rs-of-before", "a session of before", time.time()
    with before.writing() as db:
        db.execute("INSERT INTO user VALUES ('1', 'ann', 'editor', '[\"handbook\"]', 'hash', 1.0)")
        db.execute("INSERT INTO key VALUES (?, '1', 'nightly', 'rs-of-b', 1.0, NULL, ?)", (_digest(key), now))
        db.execute("INSERT INTO session VALUES (?, '1', ?)", (_digest(token), now + 100))
    before.close()
    accounts = Accounts(tmp_path)
    ann = accounts.get("ann")
    assert (ann.id, ann.role, ann.bases, ann.has_password) == ("1", "editor", ("handbook",), True)
    assert (ann.source, ann.issuer, ann.by_hand, ann.until) == ("", "", (), None)
    assert accounts.by_key(key) == accounts.by_session(token) == ann
    assert (tmp_path / "users.sqlite.schema-2").is_file()
    accounts.set_role("ann", "reader")
    assert accounts.get("ann").by_hand == ()  # all of an account that was made here is set by hand


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
