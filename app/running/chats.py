"""The conversations of the chat, data/chats.sqlite: trees of messages, of which one branch is shown at a time.

An edited question and a repeated answer are new branches beside the old ones; nothing is overwritten. An answer keeps
everything it rests on: passages, citations, trace, the prompt as it was sent.
"""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import AccessError, CatalogError
from core.types import Answer, Turn

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "chats.sqlite"
_TITLE = 60  # characters of a first question that name a conversation
_SCHEMA = """
CREATE TABLE IF NOT EXISTS chats(
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, bases TEXT NOT NULL, open_mode INTEGER NOT NULL,
    made REAL NOT NULL, changed REAL NOT NULL, leaf INTEGER);
CREATE INDEX IF NOT EXISTS chats_by_owner ON chats(owner, changed);
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT, chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE,
    parent INTEGER REFERENCES messages ON DELETE CASCADE, role TEXT NOT NULL, text TEXT NOT NULL, made REAL NOT NULL,
    answer TEXT, vote TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS messages_by_chat ON messages(chat, parent);
CREATE INDEX IF NOT EXISTS messages_by_parent ON messages(parent);
"""
_CHAT = "id, title, bases, open_mode, made, changed"
_ERASED = "(erased: a document it rested on was deleted / 已清除：它所依据的文档已被删除)"


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation: the knowledge bases it asks, and whether the model may add what it knows itself.

    `made` and `changed` are seconds since the epoch.
    """

    id: str
    title: str
    bases: tuple[str, ...]
    open_mode: bool
    made: float
    changed: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the branch that is shown: number `place` (from 1) among `siblings` that follow the same message.

    `answer` is what an assistant's message rests on; None for a question, and for an answer that was cut short.
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


class Chats:
    """All conversations of a data folder, each its owner's alone. Safe to use from many threads."""

    def __init__(self, data: Path) -> None:
        self.file = data / FILE
        self._threads = threading.local()

    def begin(self, owner: str, bases: Sequence[str], open_mode: bool = False) -> Chat:
        """A new conversation, nameless until its first question."""
        chat = Chat(uuid.uuid4().hex, "", tuple(bases), open_mode, time.time(), time.time())
        with self._write() as db:
            row = (chat.id, owner, "", json.dumps(chat.bases), open_mode, chat.made, chat.changed)
            db.execute("INSERT INTO chats VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row)
        return chat

    def get(self, owner: str, chat_id: str) -> Chat:
        """A conversation. Raises `AccessError` where its owner has none of this id."""
        return _chat(self._row(owner, chat_id, _CHAT))

    def latest(self, owner: str, search: str = "", limit: int = 200) -> list[Chat]:
        """The conversations in which something was said, newest first; `search` must stand in a title or a message."""
        sql = f"SELECT {_CHAT} FROM chats c WHERE owner = ? AND leaf IS NOT NULL"
        values: list[object] = [owner]
        for word in search.split():
            like = "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
            found = r"SELECT 1 FROM messages m WHERE m.chat = c.id AND m.text LIKE ? ESCAPE '\'"
            sql += rf" AND (title LIKE ? ESCAPE '\' OR EXISTS({found}))"
            values += [like, like]
        rows = self._rows(f"{sql} ORDER BY changed DESC LIMIT ?", [*values, limit])
        return [_chat(row) for row in rows]

    def settle(self, owner: str, chat_id: str, bases: Sequence[str], open_mode: bool) -> None:
        """What a conversation asks from now on."""
        self._row(owner, chat_id, "id")
        with self._write() as db:
            row = [json.dumps(bases), open_mode, chat_id]
            db.execute("UPDATE chats SET bases = ?, open_mode = ? WHERE id = ?", row)

    def rename(self, owner: str, chat_id: str, title: str) -> None:
        """Give a conversation another name."""
        self._row(owner, chat_id, "id")
        with self._write() as db:
            db.execute("UPDATE chats SET title = ? WHERE id = ?", [" ".join(title.split())[:200], chat_id])

    def delete(self, owner: str, chat_id: str) -> None:
        """Delete a conversation with all its branches; its text leaves the file at once."""
        self._row(owner, chat_id, "id")
        with self._write() as db:
            db.execute("DELETE FROM chats WHERE id = ?", [chat_id])

    def branch(self, owner: str, chat_id: str) -> list[Message]:
        """The messages that are shown, in order."""
        (leaf,) = self._row(owner, chat_id, "leaf")
        columns = "id, parent, role, text, made, answer, vote"
        rows = {row[0]: row for row in self._rows(f"SELECT {columns} FROM messages WHERE chat = ?", [chat_id])}
        beside: dict[int | None, list[int]] = {}
        for row in rows.values():
            beside.setdefault(row[1], []).append(row[0])
        shown: list[Message] = []
        while leaf is not None:
            _, parent, role, text, made, answer, vote = rows[leaf]
            peers = beside[parent]
            said = _answers().validate_json(answer) if answer else None
            shown.append(Message(leaf, parent, role, text, made, said, vote, peers.index(leaf) + 1, len(peers)))
            leaf = parent
        return shown[::-1]

    def ask(self, owner: str, chat_id: str, parent: int | None, question: str) -> int:
        """Put a question behind a message (None: first), and show it. The first one names its conversation."""
        message = self._add(owner, chat_id, parent, "user", question)
        with self._write() as db:
            title = " ".join(question.split())[:_TITLE]
            db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", [title, chat_id])
        return message

    def reply(self, owner: str, chat_id: str, question: int, text: str, answer: Answer | None) -> int:
        """Put an answer behind a question, and show it; without an `Answer` it was cut short."""
        return self._add(owner, chat_id, question, "assistant", text, answer)

    def amend(self, reply: int, text: str, answer: Answer | None) -> None:
        """What an answer says by now; with an `Answer` it is complete. It may have been deleted meanwhile."""
        record = _answers().dump_json(answer).decode() if answer else None
        with self._write() as db:
            row = [text.encode("utf-8", "replace").decode(), record, reply]
            db.execute("UPDATE messages SET text = ?, answer = ? WHERE id = ?", row)

    def turn(self, owner: str, chat_id: str, message: int, step: int) -> None:
        """Show the branch `step` places beside a message, down to its newest message."""
        self._row(owner, chat_id, "id")
        self._check(chat_id, message)
        same = "parent IS (SELECT parent FROM messages WHERE id = ?)"
        sql = f"SELECT id FROM messages WHERE chat = ? AND {same} ORDER BY id"
        peers = [i for (i,) in self._rows(sql, [chat_id, message])]
        leaf = peers[min(max(peers.index(message) + step, 0), len(peers) - 1)]
        while below := self._rows("SELECT max(id) FROM messages WHERE parent = ?", [leaf])[0][0]:
            leaf = below
        with self._write() as db:
            db.execute("UPDATE chats SET leaf = ? WHERE id = ?", [leaf, chat_id])

    def vote(self, owner: str, chat_id: str, message: int, vote: str) -> None:
        """Remember what was thought of an answer: "up", "down", or "" for nothing any more."""
        self._row(owner, chat_id, "id")
        with self._write() as db:
            db.execute("UPDATE messages SET vote = ? WHERE id = ? AND chat = ?", [vote, message, chat_id])

    def markdown(self, owner: str, chat_id: str) -> str:
        """The branch that is shown, with the passages that its answers cite, as Markdown."""
        chat = self.get(owner, chat_id)
        parts = [f"# {chat.title or chat.id}", f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(chat.made))}"
                 f" · {', '.join(chat.bases)}"]  # fmt: skip
        for message in self.branch(owner, chat_id):
            if message.role == "user":
                parts.append("\n".join(f"> {line}" for line in message.text.splitlines()))
                continue
            parts.append(message.text)
            for citation in message.answer.citations if message.answer else ():
                page = f", p. {citation.page}" if citation.page else ""
                parts.append(f"- [{citation.n}] `{citation.path}`{page}: {citation.quote}")
        return "\n\n".join(parts) + "\n"

    def history(self, owner: str, chat_id: str, until: int) -> list[Turn]:
        """What was said before a message of the branch that is shown."""
        before: list[Turn] = []
        for message in self.branch(owner, chat_id):
            if message.id == until:
                break
            before.append(Turn(message.role, message.text))
        return before

    def forget(self, kb: str, documents: Collection[str]) -> int:
        """Erase the answers of all conversations that rest on documents of a knowledge base that are gone.

        `documents` are the paths that are still there. Returns how many answers were erased.
        """
        if not self.file.is_file():
            return 0
        there, erased = set(documents), []
        for message, text in self._rows("SELECT id, answer FROM messages WHERE answer IS NOT NULL"):
            rests_on = {source.hit.path for source in _answers().validate_json(text).sources if source.hit.kb == kb}
            if not rests_on <= there:
                erased.append(message)
        with self._write() as db:
            rows = [(_ERASED, message) for message in erased]
            db.executemany("UPDATE messages SET text = ?, answer = NULL WHERE id = ?", rows)
        with closing(self._connect()) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(erased)

    def _add(
        self, owner: str, chat_id: str, parent: int | None, role: str, text: str, answer: Answer | None = None
    ) -> int:
        self._row(owner, chat_id, "id")
        if parent is not None:
            self._check(chat_id, parent)
        record = _answers().dump_json(answer).decode() if answer else None
        text = text.encode("utf-8", "replace").decode()
        with self._write() as db:
            row = [chat_id, parent, role, text, time.time(), record]
            added = db.execute(
                "INSERT INTO messages(chat, parent, role, text, made, answer) VALUES (?, ?, ?, ?, ?, ?)", row
            ).lastrowid
            db.execute("UPDATE chats SET leaf = ?, changed = ? WHERE id = ?", [added, time.time(), chat_id])
        assert added is not None  # of an INSERT it never is
        return added

    def _check(self, chat_id: str, message: int) -> None:
        if not self._rows("SELECT 1 FROM messages WHERE id = ? AND chat = ?", [message, chat_id]):
            raise AccessError("this message is no part of the conversation", "open the conversation again")

    def _row(self, owner: str, chat_id: str, columns: str) -> tuple[Any, ...]:
        rows = self._rows(f"SELECT {columns} FROM chats WHERE id = ? AND owner = ?", [chat_id, owner])
        if not rows:
            raise AccessError("there is no such conversation, or it is somebody else's", "begin a new one")
        return rows[0]

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._told():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._told(), self._db as db:
            yield db

    @property
    def _db(self) -> sqlite3.Connection:
        connection = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(_SCHEMA)
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CatalogError(
                f"{str(self.file)!r} could not be read or written: {error}",
                "check free space and permissions; moved aside, a new one is begun",
            ) from error


@cache
def _answers() -> "TypeAdapter[Answer]":
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _chat(row: Sequence) -> Chat:
    chat_id, title, bases, open_mode, made, changed = row
    return Chat(chat_id, title, tuple(json.loads(bases)), bool(open_mode), made, changed)
