"""The records of answers in chats.sqlite; the latest are remembered as objects, since to validate one takes a while."""

import sqlite3
import threading
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any

from core.types import Answer

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_REMEMBERED = 16_000_000  # characters of records


class Answers:
    """What is remembered of them. Safe to use from many threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, float], tuple[Answer, int]] = OrderedDict()  # with its record's length
        self._mutex = threading.Lock()

    def of(self, db: sqlite3.Connection, message: int, made: float) -> Answer | None:
        """The record of an answer. One that is complete changes by `amend` and by what is erased of it."""
        key = (message, made)  # of another file the number may be another message's
        size = db.execute("SELECT length(record) FROM answers WHERE message = ?", [message]).fetchone()
        if size is None:
            return None
        with self._mutex:
            found = self._known.get(key)
            if found and found[1] == size[0]:
                self._known.move_to_end(key)
                return found[0]
        ((record,),) = db.execute("SELECT record FROM answers WHERE message = ?", [message]).fetchall()
        answer = adapter(Answer).validate_json(record)
        with self._mutex:
            self._known[key] = (answer, len(record))
            kept = sum(length for _, length in self._known.values())
            while kept > _REMEMBERED:
                kept -= self._known.popitem(last=False)[1][1]
        return answer

    def forget(self, message: int) -> None:
        """Remember an answer no longer: it may have been cut, and be gone on with."""
        with self._mutex:
            for key in [key for key in self._known if key[0] == message]:
                del self._known[key]


@cache
def adapter(kind: Any) -> "TypeAdapter[Any]":
    """What writes and reads a kind of object as JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def keep(db: sqlite3.Connection, message: int, answer: Answer | None) -> None:
    """Write the record of an answer, if there is one, in place of what was found for it."""
    if answer:
        db.execute("DELETE FROM found WHERE message = ?", [message])
        db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?)", [message, adapter(Answer).dump_json(answer).decode()]
        )
