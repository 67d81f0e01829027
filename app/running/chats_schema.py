"""The schema of data/chats.sqlite, and what leads to it from earlier ones."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.running.accounts import Accounts
from app.running.store import Step, statements
from core.errors import CatalogError
from retrieval.catalog import Catalog
from retrieval.home import current, identity, names

_FIRST = """
CREATE TABLE IF NOT EXISTS chats(
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, bases TEXT NOT NULL, open_mode INTEGER NOT NULL,
    made REAL NOT NULL, changed REAL NOT NULL, leaf INTEGER);
CREATE INDEX IF NOT EXISTS chats_by_owner ON chats(owner, changed);
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT, chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE,
    parent INTEGER REFERENCES messages ON DELETE CASCADE, role TEXT NOT NULL, text TEXT NOT NULL, made REAL NOT NULL,
    answer TEXT, vote TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS messages_by_chat ON messages(chat, parent);
CREATE INDEX IF NOT EXISTS messages_by_parent ON messages(parent)
"""
# Apart from the messages, so that a conversation can be read without what its answers hold: some 100 kB each.
_ANSWERS = """
ALTER TABLE messages ADD COLUMN rests_on TEXT NOT NULL DEFAULT '[]';
CREATE TABLE answers(message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, record TEXT NOT NULL);
INSERT INTO answers SELECT id, answer FROM messages WHERE answer IS NOT NULL;
ALTER TABLE messages DROP COLUMN answer
"""


# Of an answer that is not complete, its passages.
_FOUND = "CREATE TABLE found(message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, record TEXT NOT NULL)"
# Which conversations stand first in the list, and in which folder of it.
_PLACES = """
ALTER TABLE chats ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN folder TEXT NOT NULL DEFAULT ''
"""


def steps(data: Path) -> Sequence[Step]:
    """What makes the file of a data folder, step by step."""
    places = lambda db: statements(db, _PLACES)  # noqa: E731
    return (lambda db: statements(db, _FIRST), partial(_of_accounts, data), partial(_of_ids, data), places)


def _of_accounts(data: Path, db: sqlite3.Connection) -> None:
    """Conversations belong to the accounts that hold their owners' names now; each answer says what it rests on."""
    ids = {account.name: account.id for account in Accounts(data).all()}
    for (owner,) in db.execute("SELECT DISTINCT owner FROM chats WHERE owner != ''").fetchall():
        nobody = f"name:{owner}"  # which is no account's id
        db.execute("UPDATE chats SET owner = ? WHERE owner = ?", [ids.get(owner, nobody), owner])
    rests = list(_rests(db, names(data)))
    statements(db, _ANSWERS)
    db.executemany("UPDATE messages SET rests_on = ? WHERE id = ?", rests)


def _rests(db: sqlite3.Connection, there: Sequence[str]) -> list[tuple[str, int]]:
    """(JSON list of knowledge bases, message) for every answer.

    Where its record does not say, because it was cut short or found nothing: those that its conversation asked or its
    question names, of which `there` are, without any of these all that are there.
    """
    columns = "m.id, m.parent, m.role, m.text, m.answer, c.bases"
    rows = db.execute(f"SELECT {columns} FROM messages m JOIN chats c ON c.id = m.chat ORDER BY m.id")
    found: list[tuple[str, int]] = []
    before: dict[int, tuple[set[str], str]] = {}  # message -> what the answers up to it rest on, its text if it asks
    for message, parent, role, text, record, bases in rows:
        rests, question = before.get(parent, (set(), ""))
        if role == "assistant":
            own = _recorded(record)
            if not own:
                named = {kb for kb in there if f"#{kb}" in question or f'#"{kb}' in question}
                own = {*json.loads(bases), *named} or set(there)
            rests = rests | own
            found.append((json.dumps(sorted(rests)), message))
        before[message] = (rests, text if role == "user" else "")
    return found


def _recorded(record: str | None) -> set[str]:
    """The knowledge bases that an answer's record names: those of its passages, and those that were searched."""
    try:
        answer = json.loads(record or "{}")
        kbs = {source["hit"]["kb"] for source in answer.get("sources", ())}
        stages = [name for name, _ in answer.get("trace", {}).get("stages", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    kbs |= {name.partition(": ")[0] for name in stages if ": " in name}  # so they are called where there were several
    return kbs if all(isinstance(kb, str) and kb for kb in kbs) else set()


def _of_ids(data: Path, db: sqlite3.Connection) -> None:
    """What an answer rests on is told by ids, which a knowledge base that is made again under a name does not have.

    Where it cannot be told that the one which has the name now is the one of then, nobody may see the answer.
    """
    statements(db, _FOUND)
    bases = {kb: _now(data / kb) for kb in names(data)}
    sql = "SELECT m.id, m.made, m.rests_on, a.record FROM messages m LEFT JOIN answers a ON a.message = m.id"
    rows = db.execute(f"{sql} WHERE m.rests_on != '[]'")
    changed = []
    for message, made, rests_on, record in rows:
        hits = _hits(record)
        ids = sorted(_id_of(bases.get(kb), kb, made, hits) for kb in json.loads(rests_on))
        changed.append((json.dumps(ids), message))
    db.executemany("UPDATE messages SET rests_on = ? WHERE id = ?", changed)


@dataclass(frozen=True, slots=True)
class _Base:
    """A knowledge base as it is: since when it has the oldest of its documents, their ids by path, where it lies."""

    id: str
    since: float
    paths: Mapping[str, Sequence[int]]
    file: Path

    def holds(self, path: str, text: str) -> bool:
        """Whether a passage still stands in a document."""
        with closing(Catalog(self.file)) as catalog:
            sql = "SELECT 1 FROM chunks WHERE document_id = ? AND text = ?"  # which catalogs of all forms know
            return any(catalog.asked(sql, [i, text]) for i in self.paths.get(path, ()))


def _now(home: Path) -> _Base | None:
    """What is known of a knowledge base; None where it cannot be read, or holds nothing."""
    try:
        file = home / str(current(home)) / "catalog.sqlite"
        with closing(Catalog(file)) as catalog:
            documents = catalog.documents()
        since = min(document.indexed_at for document in documents)
        paths: dict[str, list[int]] = {}
        for document in documents:
            paths.setdefault(document.path, []).append(document.id)
        return _Base(identity(home), since, paths, file)
    except (CatalogError, ValueError):
        return None


def _hits(record: str | None) -> list[Mapping[str, Any]]:
    try:
        return [source["hit"] for source in json.loads(record or "{}").get("sources", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _id_of(base: _Base | None, kb: str, made: float, hits: Sequence[Mapping[str, Any]]) -> str:
    """The id of the knowledge base that an answer calls `kb`, or what is no id."""
    own = [(str(hit.get("path")), str(hit.get("text"))) for hit in hits if hit.get("kb") == kb]
    if base is None:
        return f"name:{kb}"
    if base.since <= made:  # it was there, unless it came out of a backup of another
        same = not own or any(path in base.paths for path, _ in own)
    else:  # built anew since, or another
        same = bool(own) and all(base.holds(path, text) for path, text in own)
    return base.id if same else f"name:{kb}"
