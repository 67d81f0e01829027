"""The conversations of the chat, data/chats.sqlite: trees of messages, of which one branch is shown at a time.

An edited question and a repeated answer are new branches beside the old ones; nothing is overwritten. An answer keeps
everything it rests on: passages, citations, trace, the prompt as it was sent. It is told only to who may see all of the
knowledge bases that it rests on, by their ids: one that was made again under a name is another. That is checked here,
in `_VISIBLE`, for the page, exports, search and follow-ups.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from app.running import chat_folders
from app.running.chats_answers import Answers, adapter, keep
from app.running.chats_export import as_markdown
from app.running.chats_schema import steps
from app.running.forgetting import ERASED, Documents, Forgotten, forget
from app.running.store import Store
from core.errors import AccessError
from core.text import well_formed
from core.types import Answer, Source, Turn

FILE = "chats.sqlite"
_WAIT_S = 30.0  # for another thread or process that writes
_TITLE = 60  # characters of a first question that name a conversation
_CHAT = "id, title, bases, open_mode, made, changed, pinned, folder"
_NEW = "id, owner, title, bases, open_mode, made, changed"
_BELOW = " / "  # between a folder and a name, as it is typed
# Of a message m: whether :sees, a JSON list of ids, holds all knowledge bases that it rests on.
_VISIBLE = """NOT EXISTS (
    SELECT 1 FROM json_each(m.rests_on) AS r WHERE r.value NOT IN (SELECT value FROM json_each(:sees)))"""
_BRANCH = f"""
WITH RECURSIVE shown(id, above) AS (
    SELECT leaf, 0 FROM chats WHERE id = :chat
    UNION ALL SELECT m.parent, above + 1 FROM shown JOIN messages m ON m.id = shown.id WHERE m.parent IS NOT NULL)
SELECT m.id, m.parent, m.role, m.text, m.made, m.vote, m.rests_on, {_VISIBLE},
    (SELECT count(*) FROM messages p WHERE p.chat = m.chat AND p.parent IS m.parent AND p.id <= m.id),
    (SELECT count(*) FROM messages p WHERE p.chat = m.chat AND p.parent IS m.parent)
FROM shown JOIN messages m ON m.id = shown.id ORDER BY above DESC
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose conversations are read, by the id of an account ("" without users), and the knowledge bases that are there
    and may be seen: the id of each by its name.
    """

    owner: str
    sees: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation: the knowledge bases it asks, and whether the model may add what it knows itself.

    `made` and `changed` are seconds since the epoch. A `pinned` one stands first in the list.
    """

    id: str
    title: str
    bases: tuple[str, ...]
    open_mode: bool
    made: float
    changed: float
    pinned: bool = False
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the branch that is shown: number `place` (from 1) among `siblings` that follow the same message.

    `answer` is what an assistant's message rests on; None for a question, and for an answer that was cut short.
    `rests_on` are the ids of the knowledge bases that it was written from, itself or by way of the answers before it. A
    `hidden` one rests on some that its reader may not see (any more): neither its text nor its `answer` is told.
    """

    id: int
    parent: int | None
    role: Literal["user", "assistant"]
    text: str
    made: float
    answer: Answer | None = None
    vote: str = ""
    place: int = 1
    siblings: int = 1
    rests_on: tuple[str, ...] = ()
    hidden: bool = False


class Chats:
    """All conversations of a data folder, each its owner's alone. Safe to use from many threads."""

    def __init__(self, data: Path) -> None:
        self.data, self.file = data, data / FILE
        self._store = Store(self.file, steps(data), _WAIT_S)
        self._answers = Answers()

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def begin(self, reader: Reader, bases: Sequence[str], open_mode: bool = False) -> Chat:
        """A new conversation, nameless until its first question."""
        chat = Chat(uuid.uuid4().hex, "", tuple(bases), open_mode, time.time(), time.time())
        with self._store.writing() as db:
            row = (chat.id, reader.owner, "", json.dumps(chat.bases), open_mode, chat.made, chat.changed)
            db.execute(f"INSERT INTO chats({_NEW}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return chat

    def get(self, reader: Reader, chat_id: str) -> Chat:
        """A conversation. Raises `AccessError` where its owner has none of this id."""
        with self._store.reading() as db:
            return _chat(_own(db, reader, chat_id, _CHAT))

    def latest(self, reader: Reader, search: str = "", limit: int = 200) -> list[Chat]:
        """The conversations in which something was said, or that a file named, newest first.

        `search` must stand in a title or in a message that its reader may see.
        """
        sql = f"SELECT {_CHAT} FROM chats c WHERE owner = :owner AND (leaf IS NOT NULL OR title != '')"
        values = {"owner": reader.owner, "sees": _sees(reader), "limit": limit}
        for n, word in enumerate(search.split()):
            values[f"like{n}"] = "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
            like = rf"LIKE :like{n} ESCAPE '\'"
            sql += f" AND (title {like} OR EXISTS(SELECT 1 FROM messages m WHERE m.chat = c.id AND m.text {like}"
            sql += f" AND {_VISIBLE}))"
        with self._store.reading() as db:
            return [_chat(row) for row in db.execute(f"{sql} ORDER BY pinned DESC, changed DESC LIMIT :limit", values)]

    def settle(self, reader: Reader, chat_id: str, bases: Sequence[str], open_mode: bool) -> None:
        """What a conversation asks from now on."""
        self._set(reader, chat_id, bases=json.dumps(bases), open_mode=open_mode)

    def rename(self, reader: Reader, chat_id: str, title: str) -> None:
        """Give a conversation another name; `folder / name` puts it into a folder, a name alone into none."""
        folder, below, name = " ".join(title.split()).rpartition(_BELOW)
        self._set(reader, chat_id, title=name[:200], folder=folder[:60] if below else "")

    def pin(self, reader: Reader, chat_id: str, pinned: bool) -> None:
        """Have a conversation stand first in the list, or no more."""
        self._set(reader, chat_id, pinned=pinned)

    def _set(self, reader: Reader, chat_id: str, **columns: object) -> None:
        with self._store.writing() as db:
            _own(db, reader, chat_id)
            named = ", ".join(f"{name} = :{name}" for name in columns)
            db.execute(f"UPDATE chats SET {named} WHERE id = :chat", columns | {"chat": chat_id})

    def delete(self, reader: Reader, chat_id: str) -> None:
        """Delete a conversation with all its branches and files; its text leaves the file at once."""
        with self._store.writing() as db:
            _own(db, reader, chat_id)
            db.execute("DELETE FROM chats WHERE id = ?", [chat_id])
            chat_folders.put_aside(self.data, [chat_id])
        self._store.empty_log()
        chat_folders.clear(self.data)

    def delete_all(self, owner: str) -> int:
        """Delete all conversations of an account that is removed, with their files; returns how many there were."""
        if not self._store.there():
            return 0
        with self._store.writing() as db:
            deleted = [i for (i,) in db.execute("DELETE FROM chats WHERE owner = ? RETURNING id", [owner]).fetchall()]
            chat_folders.put_aside(self.data, deleted)
        self._store.empty_log()
        chat_folders.clear(self.data)
        return len(deleted)

    def ids(self, owner: str | None = None) -> list[str]:
        """The ids of all conversations of an account; None: of all that there are."""
        if not self._store.there():
            return []
        with self._store.reading() as db:
            return [i for (i,) in db.execute("SELECT id FROM chats WHERE ?1 IS NULL OR owner = ?1", [owner])]

    def name(self, reader: Reader, chat_id: str, title: str) -> None:
        """Name a conversation that has no name yet."""
        with self._store.writing() as db:
            _own(db, reader, chat_id)
            db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", [title[:_TITLE], chat_id])

    def outline(self, reader: Reader, chat_id: str) -> list[Message]:
        """The messages that are shown, in order, each without its `answer`."""
        with self._store.reading() as db:
            return _outline(db, reader, chat_id)

    def branch(self, reader: Reader, chat_id: str) -> list[Message]:
        """The messages that are shown, in order, with what they rest on."""
        with self._store.reading() as db:
            return self._with_answers(db, _outline(db, reader, chat_id))

    def message(self, reader: Reader, chat_id: str, message: int) -> tuple[Message, str] | None:
        """A message that is shown, with what it rests on, and the question before it ("" for a question itself)."""
        with self._store.reading() as db:
            shown = {m.id: m for m in _outline(db, reader, chat_id)}
            found = shown.get(message)
            if found is None:
                return None
            question = shown.get(found.parent or 0)
            return self._with_answers(db, [found])[0], question.text if question else ""

    def holding(self, reader: Reader, message: int) -> str:
        """The id of the reader's conversation that a message is part of. Raises `AccessError` where it is in none."""
        with self._store.reading() as db:
            row = db.execute("SELECT chat FROM messages WHERE id = ?", [min(message, 2**63 - 1)]).fetchone()
            return str(_own(db, reader, row[0] if row else "")[0])

    def ask(self, reader: Reader, chat_id: str, parent: int | None, question: str) -> int:
        """Put a question behind a message (None: first), and show it. The first one names its conversation."""
        with self._store.writing() as db:
            message = _add(db, reader, chat_id, parent, "user", question)
            title = " ".join(question.split())[:_TITLE]
            db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", [title, chat_id])
        return message

    def reply(
        self, reader: Reader, chat_id: str, question: int, text: str, answer: Answer | None, rests_on: Collection[str]
    ) -> int:
        """Put an answer behind a question, and show it; without an `Answer` it was cut short.

        What was asked behind the question, before it was answered, follows the answer then, and goes on being shown.
        `rests_on`: the ids of the knowledge bases that were asked, and of those before (`history`).
        """
        with self._store.writing() as db:
            shown = db.execute("SELECT leaf FROM chats WHERE id = ?", [chat_id]).fetchone()
            message = _add(db, reader, chat_id, question, "assistant", text, rests_on)
            behind = "UPDATE messages SET parent = ? WHERE parent = ? AND role = 'user'"
            if db.execute(behind, [message, question]).rowcount and shown:
                db.execute("UPDATE chats SET leaf = ? WHERE id = ?", [*shown, chat_id])
            keep(db, message, answer)
        return message

    def amend(self, reply: int, text: str, answer: Answer | None) -> None:
        """What an answer says by now; with an `Answer` it is complete. It may have been deleted or erased meanwhile."""
        with self._store.writing() as db:
            sql = "UPDATE messages SET text = ? WHERE id = ? AND text <> ?"
            if db.execute(sql, [well_formed(text), reply, ERASED]).rowcount:
                keep(db, reply, answer)
        self._answers.forget(reply)

    def found(self, reply: int, sources: Sequence[Source]) -> None:
        """On which passages an answer rests that is not complete yet."""
        with self._store.writing() as db:
            if db.execute("SELECT 1 FROM messages WHERE id = ? AND text <> ?", [reply, ERASED]).fetchone():
                record = adapter(tuple[Source, ...]).dump_json(tuple(sources)).decode()
                db.execute("INSERT OR REPLACE INTO found VALUES (?, ?)", [reply, f'{{"sources": {record}}}'])

    def turn(self, reader: Reader, chat_id: str, message: int, step: int) -> None:
        """Show the branch `step` places beside a message, down to its newest message."""
        with self._store.writing() as db:
            _own(db, reader, chat_id)
            _check(db, chat_id, message)
            same = "parent IS (SELECT parent FROM messages WHERE id = ?)"
            sql = f"SELECT id FROM messages WHERE chat = ? AND {same} ORDER BY id"
            peers = [i for (i,) in db.execute(sql, [chat_id, message])]
            leaf = peers[min(max(peers.index(message) + step, 0), len(peers) - 1)]
            while below := db.execute("SELECT max(id) FROM messages WHERE parent = ?", [leaf]).fetchone()[0]:
                leaf = below
            db.execute("UPDATE chats SET leaf = ? WHERE id = ?", [leaf, chat_id])

    def vote(self, reader: Reader, chat_id: str, message: int, vote: str) -> None:
        """Remember what was thought of an answer: "up", "down", or "" for nothing any more."""
        with self._store.writing() as db:
            _own(db, reader, chat_id)
            db.execute("UPDATE messages SET vote = ? WHERE id = ? AND chat = ?", [vote, message, chat_id])

    def markdown(self, reader: Reader, chat_id: str) -> str:
        """The branch that is shown as Markdown."""
        return as_markdown(self.get(reader, chat_id), self.branch(reader, chat_id), reader.sees)

    def history(self, reader: Reader, chat_id: str, until: int) -> tuple[list[Turn], frozenset[str]]:
        """What was said before a message of the branch that is shown, and the ids of the knowledge bases it rests on.

        An answer that is hidden is left out with its question: a model is told nothing of it; so is a question that
        was never answered: many models take questions and answers in turn alone.
        """
        before: list[Message] = []
        for message in self.outline(reader, chat_id):
            if message.id == until:
                break
            if message.hidden:
                del before[-1:]
            elif message.role == "user" and before and before[-1].role == "user":
                before[-1] = message
            else:
                before.append(message)
        if before and before[-1].role == "user":
            del before[-1]
        return [Turn(m.role, m.text) for m in before], frozenset(kb for m in before for kb in m.rests_on)

    def forget(self, documents: Documents, shown: Collection[str] = ()) -> Forgotten:
        """Erase the answers of all conversations that rest on documents of a knowledge base that are gone.

        So are those that follow them, traces of what is gone, and prompts that hold a text `shown`. The copies from
        before a migration hold all of it, and go.
        """
        if not self._store.there():
            return Forgotten()
        with self._store.writing() as db:
            forgotten = forget(db, documents, shown)
        self._store.shrink()
        return forgotten

    def _with_answers(self, db: sqlite3.Connection, shown: Sequence[Message]) -> list[Message]:
        return [
            m if m.role == "user" or m.hidden else replace(m, answer=self._answers.of(db, m.id, m.made)) for m in shown
        ]


def _own(db: sqlite3.Connection, reader: Reader, chat_id: str, columns: str = "id") -> tuple[Any, ...]:
    row = db.execute(f"SELECT {columns} FROM chats WHERE id = ? AND owner = ?", [chat_id, reader.owner]).fetchone()
    if row is None:
        raise AccessError("there is no such conversation, or it is somebody else's", "begin a new one")
    return row


def _check(db: sqlite3.Connection, chat_id: str, message: int) -> None:
    if not db.execute("SELECT 1 FROM messages WHERE id = ? AND chat = ?", [message, chat_id]).fetchone():
        raise AccessError("this message is no part of the conversation", "open the conversation again")


def _outline(db: sqlite3.Connection, reader: Reader, chat_id: str) -> list[Message]:
    _own(db, reader, chat_id)
    rows = db.execute(_BRANCH, {"chat": chat_id, "sees": _sees(reader)})
    return [
        Message(id_, parent, role, text if visible else "", made, None, vote, place, siblings,
                tuple(json.loads(rests_on)), not visible)
        for id_, parent, role, text, made, vote, rests_on, visible, place, siblings in rows
    ]  # fmt: skip


def _add(
    db: sqlite3.Connection, reader: Reader, chat_id: str, parent: int | None, role: str, text: str,
    rests_on: Collection[str] = (),
) -> int:  # fmt: skip
    _own(db, reader, chat_id)
    if parent is not None:
        _check(db, chat_id, parent)
    row = [chat_id, parent, role, well_formed(text), time.time(), json.dumps(sorted(rests_on))]
    added = db.execute(
        "INSERT INTO messages(chat, parent, role, text, made, rests_on) VALUES (?, ?, ?, ?, ?, ?)", row
    ).lastrowid
    db.execute("UPDATE chats SET leaf = ?, changed = ? WHERE id = ?", [added, time.time(), chat_id])
    assert added is not None  # of an INSERT it never is
    return added


def _sees(reader: Reader) -> str:
    return json.dumps(sorted(reader.sees.values()))


def _chat(row: Sequence) -> Chat:
    chat_id, title, bases, open_mode, made, changed, pinned, folder = row
    return Chat(chat_id, title, tuple(json.loads(bases)), bool(open_mode), made, changed, bool(pinned), folder)
