"""What is erased of conversations with the documents that it rests on, and with what follows from it.

A model is told the conversation before a question, so that each answer below one that is erased may repeat it, and its
record holds the prompt that does: they go too. An answer that is still being written is erased before it says anything,
and stays so. Of other answers the trace goes, as far as it names what is gone.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

ERASED = "(erased: a document it rested on was deleted / 已清除：它所依据的文档已被删除)"

_SHORT = 20  # characters
Record = dict[str, Any]  # an `Answer` as JSON has it


class Documents(Protocol):
    """The documents that a knowledge base holds now."""

    kb: str
    id: str

    def holds(self, source: Mapping[str, Any]) -> bool:
        """Whether a passage, a `Source` as JSON has it, still stands in its document."""
        ...

    def has(self, path: str) -> bool:
        """Whether there is a document of a path."""
        ...


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased: answers as (conversation, message), and of how many further ones a part of the trace."""

    answers: tuple[tuple[str, int], ...] = ()
    traces: int = 0
    prompts: tuple[tuple[str, int], ...] = ()  # answers whose prompt was erased, since it showed what is gone

    @property
    def conversations(self) -> int:
        """How many conversations they were of."""
        return len({chat for chat, _ in self.answers})


@dataclass(frozen=True, slots=True)
class _Row:
    parent: int | None
    chat: str
    reply: bool  # whether it is an answer that was not erased
    said: bool  # and says anything
    own: bool  # whether it may rest on the knowledge base


def forget(db: sqlite3.Connection, documents: Documents, shown: Collection[str] = ()) -> Forgotten:
    """Erase what rests on documents that are gone, in the transaction that is open.

    `shown` are texts of demonstrations that are gone: prompts that hold one are erased too.
    """
    rows = {message: row for message, row in _rows(db, documents)}
    unknown = {message for message, row in rows.items() if row.own and row.reply}  # cut short: no record says on what
    gone: set[int] = set()
    scrubbed: list[tuple[str, int]] = []
    prompts: set[int] = set()
    for message, text in db.execute("SELECT message, record FROM answers UNION ALL SELECT message, record FROM found"):
        unknown.discard(message)
        record = json.loads(text)
        sources = [source for source in record["sources"] if source["hit"]["kb"] == documents.kb]
        if not all(documents.holds(source) for source in sources):
            gone.add(message)
            continue
        if any(_shows(said, text) for _, said in record.get("prompt", ()) for text in shown):
            record["prompt"] = []
            prompts.add(message)
        traced = message in rows and rows[message].own and _scrub(record, documents, rows[message].chat)
        if traced or message in prompts:
            scrubbed.append((json.dumps(record, ensure_ascii=False), message))
    gone |= unknown
    erased = [message for message in rows if rows[message].reply and _below(message, rows, gone)]
    db.executemany("UPDATE messages SET text = ? WHERE id = ?", [(ERASED, message) for message in erased])
    for table in ("answers", "found"):
        db.executemany(f"DELETE FROM {table} WHERE message = ?", [(message,) for message in {*erased, *gone}])
    scrubbed = [(record, message) for record, message in scrubbed if message not in erased]
    for table in ("answers", "found"):
        db.executemany(f"UPDATE {table} SET record = ? WHERE message = ?", scrubbed)
    said = tuple((rows[message].chat, message) for message in erased if rows[message].said)
    of = tuple((rows[message].chat, message) for message in prompts.difference(erased) if message in rows)
    return Forgotten(said, len(scrubbed), of)


def _shows(said: str, text: str) -> bool:
    """Whether a message shows a text; a short one, such as a yes, may stand in many and is looked for as a whole."""
    return said == text or (len(text) > _SHORT and text in said)


def _rows(db: sqlite3.Connection, documents: Documents) -> Iterator[tuple[int, _Row]]:
    known = {documents.id, f"name:{documents.kb}"}
    for message, parent, chat, role, text, rests_on in db.execute(
        "SELECT id, parent, chat, role, text, rests_on FROM messages"
    ):
        reply = role == "assistant" and text != ERASED
        yield message, _Row(parent, chat, reply, reply and bool(text), not known.isdisjoint(json.loads(rests_on)))


def _below(asked: int, rows: Mapping[int, _Row], gone: set[int]) -> bool:
    """Whether a message, or one that it follows, is among those that are gone."""
    message: int | None = asked
    seen: set[int] = set()
    while message is not None and message in rows and message not in seen:
        if message in gone:
            return True
        seen.add(message)
        message = rows[message].parent
    return False


def _scrub(record: Record, documents: Documents, chat: str) -> bool:
    """Take out of a trace what was found in documents that are gone; whether anything was.

    By the id of its `chat` are called the files of the conversation, which are none of a knowledge base.
    """
    trace = record.get("trace") or {}
    several = any(": " in name for name, _ in trace.get("stages", ()))
    others = {source["hit"]["kb"] for source in record["sources"]} - {documents.kb, chat}

    def there(path: str) -> bool:
        kb, _, within = path.partition("/") if several else ("" if others else documents.kb, "", path)
        return kb != documents.kb or documents.has(within)

    candidates = trace.get("candidates", [])
    kept = [row for row in candidates if there(row["path"])]
    if len(kept) == len(candidates):
        return False
    trace["candidates"] = kept
    for query in trace.get("queries", ()):
        if query["origin"] == "feedback":  # its words are of passages that were found
            query["text"] = ERASED
    return True
